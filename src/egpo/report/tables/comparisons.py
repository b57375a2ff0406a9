"""The page on differences between models."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from egpo.analysis.comparisons import compare, p_text
from egpo.analysis.labels import label, note
from egpo.common.files import write_text
from egpo.common.paths import BASE, Model
from egpo.config.experiment import Catalogue
from egpo.report.document import document, markdown_table


def _family(catalogue: Catalogue, table: pd.DataFrame) -> list[str]:
    rows = []
    for row in table.to_dict("records"):
        second = "base" if row["second"] == BASE else catalogue.methods[row["second"]].label
        rows.append(
            [
                f"{label(catalogue, row['backbone'], row['first'])} less {second}",
                catalogue.benchmarks[row["benchmark"]].label,
                f"{row['difference']:+.2f}",
                "" if pd.isna(row["low"]) else f"{row['low']:+.2f} to {row['high']:+.2f}",
                p_text(row["p_value"]),
                p_text(row["p_holm"]),
                _smallest(row["smallest"]),
            ]
        )
    heads = ["Models", "Benchmark", "Difference", "95% interval", "p", "p (Holm)", "smallest"]
    return markdown_table(heads, rows, texts=2)


def _smallest(points: float) -> str:
    return "" if math.isnan(points) else "none" if math.isinf(points) else f"{points:.2f}"


def markdown(catalogue: Catalogue, table: pd.DataFrame) -> str:
    experiment = catalogue.experiment
    seeds = len(experiment.training_seeds)
    unit = (
        "One training seed per method: every statement is about these trained models, not about the methods; a "
        "training with another seed could give another difference."
        if seeds == 1
        else f"{seeds} training seeds per method are the outer unit of intervals and tests."
    )
    lines = [
        "# Differences between models",
        "",
        "In points of accuracy, over the same questions. Intervals and p-values are those of the paired t-test over "
        "the questions' means; the second p-value is corrected by Holm's method for the number of tests in its "
        "section. An empty cell: the two never differ, or nothing can be estimated.",
        "",
        unit,
        "",
        "`smallest` is the smallest difference that the test would find in four of five such evaluations, with as many "
        "questions and trials and answers as uncertain as these (Miller 2024, equation 10; 5%, two-sided, before "
        "correction). A smaller difference says nothing, in either direction. It counts the variance between training "
        "seeds where both methods have several (`egpo.analysis.power`).",
    ]
    for family, rows in table.groupby("family", sort=False):
        lines += ["", f"## {_heading(catalogue, str(family))}", "", *_family(catalogue, rows)]
    return document(lines, note(catalogue))


def _heading(catalogue: Catalogue, family: str) -> str:
    """The family, with the backbone as it is called elsewhere on the page."""
    backbone, comma, rest = family.partition(", ")
    return f"{catalogue.backbones[backbone].label}{comma}{rest}" if comma else family.capitalize()


def write_comparisons(catalogue: Catalogue, records: dict[Model, Path], ablated: dict[Model, Path], out: Path) -> None:
    """Write comparisons.md and comparisons.csv into `out`; see `compare` for the arguments."""
    table = compare(catalogue, records, ablated)
    write_text(out / "comparisons.md", markdown(catalogue, table))
    write_text(out / "comparisons.csv", table.to_csv(index=False, float_format="%.6g"))
