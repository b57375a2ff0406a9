"""The first words of the report: what was run, its main result, and what that can bear."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from egpo.analysis.statistics import LEVEL
from egpo.common.paths import BASE
from egpo.config.experiment import Catalogue


def glance(catalogue: Catalogue, comparisons: Path) -> list[str]:
    """Three paragraphs of plain text; comparisons: comparisons.csv."""
    rows = pd.read_csv(comparisons)
    return [_run(catalogue), _result(catalogue, rows), _bearing(catalogue, rows)]


def _run(catalogue: Catalogue) -> str:
    experiment = catalogue.experiment
    names = ", ".join(catalogue.methods[name].label for name in experiment.methods)
    models = ", ".join(catalogue.backbones[name].label for name in experiment.backbones)
    seeds = len(experiment.training_seeds)
    asked = sum(catalogue.benchmarks[name].num_questions for name in experiment.benchmarks)
    return (
        f"{names}: trained on {models} with {seeds} training seed{'s' if seeds > 1 else ''}, and asked {asked} "
        f"questions of {len(experiment.benchmarks)} benchmarks, {len(experiment.evaluation.seeds)} times each."
    )


def _result(catalogue: Catalogue, rows: pd.DataFrame) -> str:
    experiment = catalogue.experiment
    mine = rows[(rows["first"] == experiment.main_method) & rows["second"].isin([BASE, *experiment.methods])]
    parts = []
    for key, pairs in mine.groupby(["backbone", "second"], sort=False):
        backbone, second = map(str, key)
        found = pairs[pairs["p_holm"] < LEVEL]["difference"]
        other = "its start" if second == BASE else catalogue.methods[second].label
        where = f" on {catalogue.backbones[backbone].label}" if len(experiment.backbones) > 1 else ""
        parts.append(
            f"{other}{where} {pairs['difference'].mean():+.1f} points on average, found above on {(found > 0).sum()} "
            f"and below on {(found < 0).sum()} of {len(pairs)} benchmarks"
        )
    return f"{catalogue.methods[experiment.main_method].label} against {'; against '.join(parts)}."


def _bearing(catalogue: Catalogue, rows: pd.DataFrame) -> str:
    seeds = len(catalogue.experiment.training_seeds)
    about = (
        "One training per method: the intervals are of these trained models, and another training seed could give "
        "another order."
        if seeds == 1
        else f"The intervals count {seeds} training seeds and the questions, so they are of the methods."
    )
    experiment = catalogue.experiment
    mine = (rows["first"] == experiment.main_method) & rows["second"].isin(experiment.methods)
    smallest = rows[mine]["smallest"].dropna()
    if smallest.empty:
        return about
    low, high = ("over 100" if math.isinf(value) else f"{value:.1f}" for value in (smallest.min(), smallest.max()))
    found = low if low == high else f"{low} to {high}"
    return (
        f"{about} By benchmark, differences of {found} points between "
        f"{catalogue.methods[experiment.main_method].label} and another method could be found."
    )
