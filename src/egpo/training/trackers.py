"""Where a training is tracked, beside its metrics.jsonl: the run's name and id, and what each tracker needs.

Trackers show a training and change nothing of it. egpo.verl_plugin.tracking runs verl's loggers for them.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from egpo.common.files import write_text
from egpo.common.paths import ROOT, Paths
from egpo.config.experiment import Tracker

if TYPE_CHECKING:
    from omegaconf import DictConfig

RUN_ID = "run-id"  # in a training's work folder: a training that starts anew is another run
# verl's settings that say where a training is tracked; what checkpoints depend on does not include them.
KEYS = ("trainer.logger", "trainer.project_name", "trainer.experiment_name", "egpo_run.trackers")
# What the pinned lists leave out, in the versions that were tried. `--no-deps`, because the packages ask for older
# versions of pinned ones (pillow, cachetools, protobuf) and work with those that are pinned.
OPTIONAL: dict[Tracker, str] = {
    "mlflow": "mlflow-skinny==3.17.2 databricks-sdk==0.162.0 sqlparse==0.6.1",
    "swanlab": "swanlab==0.10.3 pwinput==1.0.3 pyecharts==2.1.0 pyroaring==1.0.3 prettytable==3.18.0 wcwidth==0.9.4 "
    "watchdog==7.1.0 nvidia-ml-py==13.615.71",
    "trackio": "trackio==0.43.0 gradio-client==2.7.2 brotli==1.2.1",
}


@dataclass(frozen=True)
class Tracked:
    """By which trackers a training is tracked, and as what.

    Attributes:
        project: the experiment.
        run: backbone/method/seed-n.
        folder: of what trackers store for the whole experiment.
    """

    names: tuple[Tracker, ...]
    project: str
    run: str
    folder: Path

    @classmethod
    def of(cls, names: Iterable[Tracker], experiment: str, backbone: str, method: str, seed: int) -> Tracked:
        """A training of an experiment by its own trackers."""
        return cls(tuple(names), experiment, f"{backbone}/{method}/seed-{seed}", Paths(experiment).trackers)

    def add_to(self, config: DictConfig) -> None:
        """Write it into verl's settings."""
        from omegaconf import OmegaConf, open_dict  # Snakemake, which reads this module at each start, needs none of it

        values = (list(self.names), self.project, self.run, str(self.folder.absolute()))
        with open_dict(config):
            for key, value in zip(KEYS, values, strict=True):
                OmegaConf.update(config, key, value, merge=False, force_add=True)


def name_run(work: Path) -> None:
    """Give the training in `work` an id, unless it has one: a resumed training goes on in the same run."""
    if not (work / RUN_ID).exists():
        write_text(work / RUN_ID, secrets.token_hex(4))


def defaults(config: DictConfig) -> dict[str, str]:
    """Environment variables of the trackers, which the user's own replace: nothing asks for a network or an account.

    Files stay below the experiment's results. Each tracker would otherwise choose the home or the current folder.
    """
    folder = Path(config.egpo_run.get("trackers") or config.egpo_run.work)
    of: dict[Tracker, dict[str, str]] = {
        "mlflow": {
            "MLFLOW_TRACKING_URI": (folder / "mlflow").as_uri(),
            "MLFLOW_ALLOW_FILE_STORE": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        "swanlab": {
            "SWANLAB_MODE": "offline",
            "SWANLAB_LOG_DIR": str(folder / "swanlab"),
            "SWANLAB_SAVE_DIR": str(folder / "swanlab" / "settings"),
        },
        # SQLite's default of trackio, a write-ahead log, does not work between the nodes of a cluster.
        "trackio": {"TRACKIO_DIR": str(folder / "trackio"), "TRACKIO_SQLITE_JOURNAL_MODE": "delete"},
        "wandb": {
            "WANDB_MODE": "offline",
            "WANDB_DIR": str(folder),
            "WANDB_CACHE_DIR": str(folder / "wandb" / "cache"),
            "WANDB_CONFIG_DIR": str(folder / "wandb" / "config"),
            "WANDB_DATA_DIR": str(folder / "wandb" / "data"),
            "WANDB_CONSOLE": "off",  # the log of the job has it
            "WANDB_ERROR_REPORTING": "false",
        },
    }
    return {key: value for name in config.trainer.logger for key, value in of.get(name, {}).items()}


def same_run(config: DictConfig) -> dict[str, str]:
    """Environment variables that make a tracker go on in the training's run: one value could not be that of several."""
    file = Path(config.egpo_run.work) / RUN_ID
    if not file.exists():
        return {}
    of = {
        "swanlab": {"SWANLAB_RUN_ID": file.read_text(), "SWANLAB_RESUME": "allow"},
        "wandb": {"WANDB_RUN_ID": file.read_text(), "WANDB_RESUME": "allow"},
    }
    return {key: value for name in config.trainer.logger for key, value in of.get(name, {}).items()}


def remedy(name: Tracker) -> str | None:
    """How to install the package of a tracker; None where it is installed."""
    found = find_spec(name)
    if found is not None and found.origin is not None:  # a folder of the name, such as ./wandb, has no origin
        return None
    python = Path(sys.executable)
    shown = python.relative_to(ROOT) if python.is_relative_to(ROOT) else python
    if name not in OPTIONAL:
        return "Run `make env`"
    return f"Run `{shown} -m pip install --no-deps {OPTIONAL[name]}`"
