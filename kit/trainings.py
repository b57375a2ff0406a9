"""Trainings with the project's settings and launcher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from egpo.backbones.architecture import of_folder
from egpo.config.backbones import Backbone
from egpo.config.methods import Method
from egpo.config.training import Training
from egpo.training.fit import fit
from egpo.training.launch import train
from egpo.training.limits import Limits
from egpo.training.progress import read_lines
from egpo.training.settings import verl_config

# Seconds; the time limits of the steps are shorter.
LIMIT, GRACE, NO_PROGRESS = 3600, 30, 300
CPU_GIB = 8  # of a dry run on a CPU


def run_training(
    training: Training,
    chosen: Method,
    backbone: Backbone,
    model: Path,
    train_file: Path,
    validation_file: Path,
    out: Path,
) -> list[dict[str, Any]]:
    """Train and export to `out`; returns the lines of metrics, one a step."""
    work = out / "work"
    sizes = fit(of_folder(model), backbone, training, CPU_GIB)
    config = verl_config(training, chosen, backbone, model, train_file, validation_file, 1, work, sizes)
    train(config, out, work, Limits(LIMIT, GRACE, NO_PROGRESS), lambda text: print(text, flush=True))
    return read_lines(out / "metrics.jsonl")
