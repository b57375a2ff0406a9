"""verl's loggers as trackers, each in a thread of its own: none can end a training, or make it wait."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from omegaconf import DictConfig, OmegaConf

from egpo.common.files import write_text

SECONDS_TO_FINISH = 60  # for a tracker to store what it has been given, once the training has ended


class Background:
    """A logger of verl in a thread. What fails is printed once; the training goes on, and metrics.jsonl has all.

    Args:
        name: of the tracker.
        start: makes the logger; called in the thread, because some trackers keep their run for a thread.
    """

    def __init__(self, name: str, start: Callable[[], Any]) -> None:
        self.name, self._start, self._warned, self._exit_code = name, start, False, 0
        self._given: SimpleQueue[tuple[dict[str, Any], int] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"tracker-{name}", daemon=True)
        self._thread.start()

    def log(self, data: dict[str, Any], step: int) -> None:
        """Hand over the metrics of a step."""
        self._given.put((dict(data), step))

    def finish(self, exit_code: int = 0) -> None:
        """Let the tracker store what it has, for SECONDS_TO_FINISH at most."""
        self._exit_code = exit_code
        self._given.put(None)
        self._thread.join(SECONDS_TO_FINISH)
        if self._thread.is_alive():
            self._warn(f"has not stored everything in {SECONDS_TO_FINISH} s")

    def _run(self) -> None:
        logger = self._try("did not start", self._start)
        while (given := self._given.get()) is not None:
            data, step = given
            if logger is not None:
                self._try(f"failed at step {step}", partial(logger.log, data=data, step=step))
        if logger is not None:
            self._try("failed at its end", lambda: logger.finish(self._exit_code))

    def _try(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except BaseException as error:  # SystemExit too: in this thread it says nothing about the training
            if not self._warned:
                traceback.print_exception(error)
            self._warn(f"{what} ({type(error).__name__}: {error})")
            return None

    def _warn(self, what: str) -> None:
        if not self._warned:
            print(
                f"warning: the tracker {self.name} {what}. The training goes on; metrics.jsonl has it all", flush=True
            )
        self._warned = True


def start(names: tuple[str, ...], config: DictConfig, step: int) -> dict[str, Background]:
    """Start the trackers of a training, by their names.

    Args:
        config: verl's settings.
        step: the first step that will be logged.
    """
    settings: Any = OmegaConf.to_container(config, resolve=True)  # the trainer may write to config
    return {name: Background(name, partial(_logger, name, settings, step)) for name in names}


def _logger(name: str, settings: dict[str, Any] | None, step: int) -> Any:
    """verl's own logger of a tracker, which goes on in the training's run."""
    from verl.utils.tracking import Tracking

    assert settings is not None
    project, run = settings["trainer"]["project_name"], settings["trainer"]["experiment_name"]
    mark = Path(settings["egpo_run"]["work"]) / f"{name}-run"
    known = mark.exists()
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        # Steps of an earlier attempt that are repeated are hidden.
        SummaryWriter(os.environ["TENSORBOARD_DIR"], purge_step=step).close()
    elif name == "trackio":
        import trackio

        trackio.init(project=project, name=run, config=settings, resume="allow" if known else "never")
    elif name == "mlflow":
        import mlflow

        os.environ.pop("MLFLOW_RUN_ID", None)
        if known:
            os.environ["MLFLOW_RUN_ID"] = mark.read_text()
            settings = None  # a run's parameters are written once: verl gives MLflow up where one has another value
    tracking = Tracking(project, run, [name], settings)
    if name not in tracking.logger:
        raise RuntimeError("verl gave it up, for the reason above")
    write_text(mark, mlflow.active_run().info.run_id if name == "mlflow" else "")
    return tracking
