"""The trainings of a study, one after another: `python -m egpo.study.run request.json`, started by `egpo study`.

This process imports torch, verl and vLLM once, and does nothing else: each training is a fork of it
(egpo.study.trainings, egpo.runtime.forks) that trains, asks the trained model the held-out questions and writes a row.
So a start takes seconds, and changes no result.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from egpo.common.errors import UserError
from egpo.runtime import forks
from egpo.runtime.fork_server import NO_JOB
from egpo.study import rows
from egpo.study.request import Request, Training
from egpo.study.trainings import SIGNALS, Trainings, ignore_signals, say
from egpo.verl_plugin.cpu.modules import MODULES

MOST_FAILURES = 3  # in a row; more are the machine's fault, and would use up the attempts of all trainings
# Beside those of a training's workers: of its driver, of vLLM's offline engine, and of this package.
FURTHER = (
    "egpo.verl_plugin.driver",
    "egpo.inference.engine_process",
    "vllm.entrypoints.llm",
    "vllm.v1.engine.llm_engine",
    "vllm.v1.worker.cpu_worker",
    "vllm.model_executor.models.qwen2",
    "transformers.models.qwen2.modeling_qwen2",
    "egpo.study.measure",
)


def import_everything() -> None:
    """Import what trainings and evaluations need, as their own processes would."""
    # SIGTERM is blocked where egpo.verl_plugin.plugin is imported in a training, and the plug-in looks at that.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # Ray's library reads these for workers when it is imported (egpo.runtime.fork_server); a driver has its own job.
    ray = {"RAY_JOB_ID": NO_JOB, "RAY_RAYLET_PID": str(os.getpid())}
    os.environ.update(ray)
    forks.import_once((*MODULES, *FURTHER), hidden=ray)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _stop(*_: object) -> None:
    ignore_signals()
    raise KeyboardInterrupt


def main(file: Path) -> int:
    """Train until every training has its row; returns the exit code, 1 where one has failed twice."""
    request = Request.read(file)
    import_everything()  # first, as it decides how torch is imported, which `origins` needs
    for number in SIGNALS:
        signal.signal(number, _stop)
    trainings = Trainings(request)
    try:
        trainings.take_finished()
        say(f"{len(request.left())} trainings are left")
        _train_all(request, trainings)
    except KeyboardInterrupt:
        say("interrupted; run the same command again to go on")
        return 130
    except UserError as error:
        say(f"stopped: {error}")
        return 1
    finally:
        trainings.end_all()
    status, failed = rows.read(request.out)["status"], request.failed()
    say(f"{request.out}: {len(status)} rows, of which {(status == 'failed').sum()} failed")
    for backbone, method, seed in failed:
        say(f"failed twice: {method}, seed {seed}, on {backbone}")
    return 1 if failed else 0


def _train_all(request: Request, trainings: Trainings) -> None:
    """Until nothing is left.

    Raises:
        KeyboardInterrupt: a training was interrupted, or this process.
        UserError: going on would waste trainings.
    """
    started: set[Training] = set()
    while True:
        # Anew each time: a failure leaves its second attempt.
        waiting = [training for training in request.left() if training not in started]
        while waiting and len(trainings) < request.at_once:
            _check_origins(request)
            started.add(waiting[0])
            trainings.start(waiting.pop(0))
        if not len(trainings):
            return
        if not trainings.end_one():
            raise KeyboardInterrupt
        if trainings.failures >= MOST_FAILURES:
            raise UserError(
                f"{MOST_FAILURES} trainings in a row have failed, which points to this machine: see `reason` in "
                f"{request.out} and {request.folder / 'logs'}. Each has one attempt less."
            )


def _check_origins(request: Request) -> None:
    """Raise a UserError where the trainings of this run would not all come from the same files."""
    for backbone, now in request.origins_now().items():
        pairs = zip(rows.ORIGIN, request.origins[backbone], now, strict=True)
        if odd := [name for name, before, after in pairs if before != after]:
            raise UserError(
                f"{', '.join(odd)} of {backbone}: not what it was when this run began, as a file was edited. Run a "
                "study in a checkout of its own that nobody edits. The same command goes on, and trains a seed that is "
                "not whole again."
            )


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # without Python's clean-up, at which libraries that are imported for the forks complain
