"""Writes verl's settings of every training of an experiment, checked by verl; needs no data, model or GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from egpo.backbones.architecture import of_backbone
from egpo.common.files import write_text
from egpo.common.paths import Paths
from egpo.config.experiment import Catalogue
from egpo.training.fit import Fit, fit
from egpo.training.memory import FORMULA, Memory
from egpo.training.settings import as_text, check, verl_config

Model = tuple[str, str, int]  # backbone, method, training seed
COLUMNS = {
    "backbone": "Backbone",
    "state": "state",
    "gathered": "gathered",
    "activations": "activations",
    "logits": "logits",
    "update": "update",
    "rollout": "rollout",
    "limit": "of",
    "responses": "longest responses in the cache",
}


def write_settings(
    catalogue: Catalogue, models: dict[Model, Path], files: tuple[Path, Path], out: Path, report: Callable[[str], None]
) -> None:
    """Write `out/<backbone>/<method>/seed-<n>.yaml` for each training, and `out/memory.md` and `.csv`.

    Args:
        models: the model's folder for each (backbone, method, training seed); need not exist.
        files: rows of training and of validation; need not exist.
        out: the folder to write to.
        report: called with what was written, and with warnings about memory.

    Raises:
        UserError: verl refuses the settings.
    """
    paths = Paths(catalogue.experiment.experiment)
    for (backbone, method, seed), model in models.items():
        work = paths.training(backbone, method, seed) / "work"
        config = verl_config(
            catalogue.experiment.of(backbone).training,
            catalogue.methods[method],
            catalogue.backbones[backbone],
            model,
            *files,
            seed,
            work,
            _fit(catalogue, backbone),
        )
        check(config)
        write_text(out / backbone / method / f"seed-{seed}.yaml", as_text(config))
    report(f"{len(models)} trainings: verl accepts the settings, now in {out}")
    _write_memory(catalogue, out, report)


def _fit(catalogue: Catalogue, name: str) -> Fit:
    own, backbone = catalogue.experiment.of(name), catalogue.backbones[name]
    return fit(of_backbone(backbone), backbone, own.training, own.jobs.train.memory_gib)


def _write_memory(catalogue: Catalogue, out: Path, report: Callable[[str], None]) -> None:
    experiment = catalogue.experiment
    fits = {catalogue.backbones[name].label: _fit(catalogue, name) for name in experiment.backbones}
    warnings = [f"{label}: {warning}" for label, sizes in fits.items() for warning in sizes.warnings]
    for warning in warnings:
        report(f"warning: {warning}")
    rows = [_row(label, sizes.memory) for label, sizes in fits.items() if isinstance(sizes.memory, Memory)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_text(out / "memory.csv", table.to_csv(index=False, float_format="%.2f"))
    gpus = [
        training.nodes * training.gpus_per_node
        for training in (experiment.of(name).training for name in experiment.backbones)
    ]
    on_gpus = _table(table, gpus) if rows else []
    on_cpus = [f"- {label}: {sizes.line}." for label, sizes in fits.items() if not isinstance(sizes.memory, Memory)]
    verdict = [f"- {warning}" for warning in warnings] or ["Everything fits, by this estimate."]
    lines = ["# Memory of the trainings, estimated", "", *on_cpus, *on_gpus, "", *verdict]
    write_text(out / "memory.md", "\n".join([*lines, *(["", FORMULA] if rows else [])]) + "\n")


def _row(label: str, memory: Memory) -> dict[str, Any]:
    return {"backbone": label, **asdict(memory), "responses": max(memory.kv_tokens // memory.longest_tokens, 0)}


def _table(table: pd.DataFrame, gpus: list[int]) -> list[str]:
    numbers = ", ".join(dict.fromkeys(map(str, gpus)))
    head = [f"{numbers} GPUs for a training; GiB on each. Arithmetic, not a measurement.", ""]
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "| --- |" + " ---: |" * (len(COLUMNS) - 1)]
    for row in table.itertuples(index=False):
        cells = [f"{value:.1f}" if isinstance(value, float) else str(value) for value in row]
        lines.append("| " + " | ".join(cells) + " |")
    return [*head, *lines]
