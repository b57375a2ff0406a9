"""The table of accuracies by training step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from egpo.analysis.by_step import by_step
from egpo.analysis.labels import note
from egpo.common.files import write_text
from egpo.common.paths import Milestone, Model
from egpo.config.experiment import Catalogue
from egpo.report.document import document, markdown_table

ABOUT = (
    "Mean pass@1 in percent, with the 95% interval. Step 0 is the backbone, the last step the final model; between "
    "them are the models that `training.milestones` keeps."
)


def _cell(point: pd.Series) -> str:
    between = f" ({point['low']:.1f} to {point['high']:.1f})" if pd.notna(point["low"]) else ""
    return f"{point['accuracy']:.1f}{between}"


def _rows(catalogue: Catalogue, mine: pd.DataFrame) -> Iterator[list[str]]:
    for (name, method), points in mine.groupby(["benchmark", "method"], sort=False):
        yield [
            catalogue.benchmarks[str(name)].label,
            catalogue.methods[str(method)].label,
            *(_cell(point) for _, point in points.iterrows()),
        ]


def write_accuracy_by_step(
    catalogue: Catalogue,
    records: dict[Model, Path],
    ablated: dict[Model, Path],
    milestones: dict[Milestone, Path],
    metrics: dict[Model, Path],
    out: Path,
) -> None:
    """Write accuracy_by_step.md and .csv into `out`.

    Args:
        records, ablated: `records.parquet` of the models of Tables 1 and 2.
        milestones: `records.parquet` of each milestone.
        metrics: `metrics.jsonl` of each training.
    """
    table = by_step(catalogue, records | ablated, milestones, metrics)
    lines = ["# Accuracy by training step", "", ABOUT]
    for backbone, mine in table.groupby("backbone", sort=False):
        heads = ["Benchmark", "Method", *(f"step {step}" for step in dict.fromkeys(mine["step"]))]
        lines += ["", f"## {catalogue.backbones[str(backbone)].label}", ""]
        lines += markdown_table(heads, _rows(catalogue, mine), texts=2)
    trials = " or ".join(map(str, sorted(set(table["n_trials"]))))
    below = f"Trials of each question: {trials}. Training seeds: {len(catalogue.experiment.training_seeds)}."
    write_text(out / "accuracy_by_step.md", document(lines, below, note(catalogue)))
    write_text(out / "accuracy_by_step.csv", table.to_csv(index=False, float_format="%.4f"))
