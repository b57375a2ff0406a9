"""The first words of the report: what was run, its main result, and what that can bear."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from egpo.analysis.statistics import LEVEL
from egpo.common.paths import BASE
from egpo.config.experiment import Catalogue


def glance(catalogue: Catalogue, comparisons: Path) -> list[str]:
    """Paragraphs of plain text, one of results for each backbone; comparisons: comparisons.csv."""
    rows = pd.read_csv(comparisons)
    return [_run(catalogue), *_results(catalogue, rows), _bearing(catalogue, rows)]


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


def _results(catalogue: Catalogue, rows: pd.DataFrame) -> Iterator[str]:
    experiment = catalogue.experiment
    mine = rows[(rows["first"] == experiment.main_method) & rows["second"].isin([BASE, *experiment.methods])]
    for backbone, pairs in mine.groupby("backbone", sort=False):
        means = [
            f"{one['difference'].mean():+.1f} points against "
            f"{'the base' if second == BASE else catalogue.methods[str(second)].label}"
            for second, one in pairs.groupby("second", sort=False)
        ]
        found = pairs.loc[pairs["p_holm"] < LEVEL, "difference"]
        counts = f"{(found > 0).sum()} above 0 and {(found < 0).sum()} below" if len(found) else "none"
        yield (
            f"{catalogue.methods[experiment.main_method].label} on {catalogue.backbones[str(backbone)].label}: "
            f"{', '.join(means)}, on average over {pairs['benchmark'].nunique()} benchmarks. "
            f"Significant at 5% after Holm's correction, of {len(pairs)} differences on single benchmarks: {counts}."
        )


def _bearing(catalogue: Catalogue, rows: pd.DataFrame) -> str:
    seeds = len(catalogue.experiment.training_seeds)
    about = (
        "One training per method: the intervals are about these trained models, and another training seed could give "
        "another order."
        if seeds == 1
        else f"The intervals cover {seeds} training seeds and the questions: they are about the methods."
    )
    experiment = catalogue.experiment
    mine = (rows["first"] == experiment.main_method) & rows["second"].isin(experiment.methods)
    smallest = rows[mine]["smallest"].dropna()
    if smallest.empty:
        return about
    low, high = ("over 100" if math.isinf(value) else f"{value:.1f}" for value in (smallest.min(), smallest.max()))
    found = low if low == high else f"{low} to {high}"
    return (
        f"{about} To be found on a benchmark in four of five such experiments, a difference between "
        f"{catalogue.methods[experiment.main_method].label} and another method must be {found} points."
    )
