"""Paired differences between models, corrected for their number, and what the design could have found."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pandas as pd

from egpo.analysis.measured import Model, label, measure, note
from egpo.analysis.statistics import holm, paired, smallest_difference, spread
from egpo.common.files import write_text
from egpo.common.paths import BASE
from egpo.config.experiment import Catalogue
from egpo.report.tables.accuracy import markdown_table

COLUMNS = ["family", "backbone", "first", "second", "benchmark"]
AGAINST_BASE, BETWEEN, ABLATIONS = "against the base", "between methods", "ablations"


def pairs(catalogue: Catalogue) -> Iterator[tuple[str, str, str, str, list[str]]]:
    """(family, backbone, first method, second method, benchmarks); a difference is that of first less second."""
    experiment = catalogue.experiment
    names = list(experiment.benchmarks)
    for backbone in experiment.backbones:
        for method in experiment.methods:
            yield f"{backbone}, {AGAINST_BASE}", backbone, method, BASE, names
        for earlier, later in combinations(experiment.methods, 2):
            yield f"{backbone}, {BETWEEN}", backbone, later, earlier, names
    ablations = experiment.ablations
    if ablations is not None:
        for method in ablations.methods:
            yield ABLATIONS, ablations.backbone, method, experiment.main_method, list(ablations.benchmarks)


def compare(catalogue: Catalogue, records: dict[Model, Path], ablated: dict[Model, Path]) -> pd.DataFrame:
    """A row per pair and benchmark; differences, errors and bounds in points. ablated: records of Table 2's models."""
    experiment = catalogue.experiment
    found = measure(catalogue, records, experiment.benchmarks)
    if experiment.ablations is not None:
        found |= measure(catalogue, ablated, experiment.ablations.benchmarks)
    rows = []
    for family, backbone, first, second, names in pairs(catalogue):
        for name in names:
            one, other = (found[backbone, method, name].correct for method in (first, second))
            difference, parts = paired(one, other), spread(one, other)
            rows.append(
                {
                    **dict(zip(COLUMNS, (family, backbone, first, second, name), strict=True)),
                    "difference": 100 * difference.mean,
                    "se": 100 * difference.se,
                    "low": 100 * difference.low,
                    "high": 100 * difference.high,
                    "p_value": difference.p_value,
                    "smallest": 100
                    * smallest_difference(one.shape[1], one.shape[2], parts.sd_question, parts.sd_within),
                }
            )
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby("family")["p_value"].transform(lambda values: holm(values.to_numpy()))
    return table


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) else format(value, form)


def p_text(value: float) -> str:
    """A p-value as it is printed; nothing where there is none."""
    return "" if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _family(catalogue: Catalogue, table: pd.DataFrame) -> list[str]:
    lines = []
    for row in table.itertuples():
        name = f"{label(catalogue, row.backbone, row.first)} less {_short(catalogue, row.second)}"
        lines.append(
            [
                name,
                catalogue.benchmarks[row.benchmark].label,
                f"{row.difference:+.2f}",
                f"{_number(row.low, '+.2f')} to {_number(row.high, '+.2f')}" if not pd.isna(row.low) else "",
                p_text(row.p_value),
                p_text(row.p_holm),
                _number(row.smallest, ".2f"),
            ]
        )
    heads = ["Models", "Benchmark", "Difference", "95% interval", "p", "p (Holm)", "smallest"]
    return markdown_table(heads, lines, texts=2)


def _short(catalogue: Catalogue, method: str) -> str:
    return "base" if method == BASE else catalogue.methods[method].label


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
        "`smallest` is the smallest difference that the test would find in four of five such evaluations, with so many "
        "questions and trials and answers as uncertain as these (Miller 2024, equation 10; 5%, two-sided, before "
        "correction). What lies below it says nothing, in either direction. No variance between training seeds is in "
        "it.",
    ]
    for family, rows in table.groupby("family", sort=False):
        lines += ["", f"## {str(family)[0].upper()}{str(family)[1:]}", "", *_family(catalogue, rows)]
    below = note(catalogue)
    return "\n".join([*lines, *(["", below] if below else [])]) + "\n"


def write_comparisons(catalogue: Catalogue, records: dict[Model, Path], ablated: dict[Model, Path], out: Path) -> None:
    """Write comparisons.md and comparisons.csv into `out`. Raises UserError for other records."""
    table = compare(catalogue, records, ablated)
    write_text(out / "comparisons.md", markdown(catalogue, table))
    write_text(out / "comparisons.csv", table.to_csv(index=False, float_format="%.6g"))
