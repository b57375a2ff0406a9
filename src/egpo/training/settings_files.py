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
from egpo.training.memory import FORMULA, Memory, estimate
from egpo.training.settings import as_text, check, micro_batch_tokens, verl_config

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
        )
        check(config)
        write_text(out / backbone / method / f"seed-{seed}.yaml", as_text(config))
    report(f"{len(models)} trainings: verl accepts the settings, now in {out}")
    _write_memory(catalogue, out, report)


def _write_memory(catalogue: Catalogue, out: Path, report: Callable[[str], None]) -> None:
    rows, warnings = [], []
    for name in catalogue.experiment.backbones:
        training = catalogue.experiment.of(name).training
        backbone = catalogue.backbones[name]
        architecture = of_backbone(backbone)
        if architecture is None or training.platform == "cpu":
            continue
        memory = estimate(architecture, backbone, training, micro_batch_tokens(backbone))
        rows.append(_row(backbone.label, memory))
        warnings += [f"{backbone.label}: {warning}" for warning in memory.warnings()]
    for warning in warnings:
        report(f"warning: {warning}")
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_text(out / "memory.csv", table.to_csv(index=False, float_format="%.2f"))
    write_text(out / "memory.md", _markdown(catalogue, table, warnings))


def _row(label: str, memory: Memory) -> dict[str, Any]:
    return {"backbone": label, **asdict(memory), "responses": max(memory.kv_tokens // memory.longest_tokens, 0)}


def _markdown(catalogue: Catalogue, table: pd.DataFrame, warnings: list[str]) -> str:
    experiments = {name: catalogue.experiment.of(name).training for name in catalogue.experiment.backbones}
    gpus = {name: str(training.nodes * training.gpus_per_node) for name, training in experiments.items()}
    numbers = ", ".join(dict.fromkeys(gpus.values()))
    head = [
        "# Memory of each GPU, estimated",
        "",
        f"{numbers} GPUs for a training; GiB on each. Arithmetic, not a measurement.",
        "",
    ]
    if table.empty:
        return "\n".join([*head, "No training of this experiment runs on a GPU."]) + "\n"
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "| --- |" + " ---: |" * (len(COLUMNS) - 1)]
    for row in table.itertuples(index=False):
        cells = [f"{value:.1f}" if isinstance(value, float) else str(value) for value in row]
        lines.append("| " + " | ".join(cells) + " |")
    verdict = [f"- {warning}" for warning in warnings] or ["Everything fits, by this estimate."]
    return "\n".join([*head, *lines, "", *verdict, "", FORMULA]) + "\n"
