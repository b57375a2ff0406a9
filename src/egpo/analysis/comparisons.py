"""Paired differences between models, corrected for their number, and what the design could have found."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from egpo.analysis.answers import read_answers
from egpo.analysis.power import Design, parts_of, smallest
from egpo.analysis.statistics import holm, paired, smallest_difference, spread
from egpo.common.paths import BASE, Model
from egpo.config.experiment import Catalogue

COLUMNS = ["family", "backbone", "first", "second", "benchmark"]
AGAINST_BASE, BETWEEN, ABLATIONS = "against the base", "between methods", "ablations"


def pairs(catalogue: Catalogue) -> Iterator[tuple[str, str, str, str, list[str]]]:
    """What is compared: (family, backbone, first method, second method, benchmarks).

    The difference is that of the first less the second. The main method is the first in all its pairs with other
    methods; between the others it is the later one of `methods`.
    """
    experiment = catalogue.experiment
    names = list(experiment.benchmarks)
    ordered = [*(method for method in experiment.methods if method != experiment.main_method), experiment.main_method]
    for backbone in experiment.backbones:
        for method in experiment.methods:
            yield f"{backbone}, {AGAINST_BASE}", backbone, method, BASE, names
        for earlier, later in combinations(ordered, 2):
            yield f"{backbone}, {BETWEEN}", backbone, later, earlier, names
    ablations = experiment.ablations
    if ablations is not None:
        for method in ablations.methods:
            yield ABLATIONS, ablations.backbone, method, experiment.main_method, list(ablations.benchmarks)


def compare(catalogue: Catalogue, records: dict[Model, Path], ablated: dict[Model, Path]) -> pd.DataFrame:
    """A row for every pair and benchmark; differences, errors and bounds in points of accuracy.

    Args:
        records: `records.parquet` of the models of Table 1.
        ablated: `records.parquet` of the models of Table 2; none without the section `ablations`.

    Raises:
        UserError: a file does not hold what the experiment asks for.
    """
    experiment = catalogue.experiment
    found = read_answers(catalogue, records, experiment.benchmarks)
    if experiment.ablations is not None:
        found |= read_answers(catalogue, ablated, experiment.ablations.benchmarks)
    rows = []
    for family, backbone, first, second, names in pairs(catalogue):
        for name in names:
            one, other = (found[backbone, method, name].correct for method in (first, second))
            difference = paired(one, other)
            rows.append(
                {
                    **dict(zip(COLUMNS, (family, backbone, first, second, name), strict=True)),
                    "difference": 100 * difference.mean,
                    "se": 100 * difference.se,
                    "low": 100 * difference.low,
                    "high": 100 * difference.high,
                    "p_value": difference.p_value,
                    "smallest": 100 * _smallest(one, other),
                }
            )
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby("family")["p_value"].transform(lambda values: holm(values.to_numpy()))
    return table


def _smallest(first: np.ndarray, second: np.ndarray) -> float:
    """The smallest difference that the test finds in four of five cases: of methods where both have several seeds."""
    seeds, questions, trials = first.shape
    if min(seeds, len(second)) > 1 and questions > 1:
        return smallest(parts_of(first, second), Design(seeds, questions, trials))
    parts = spread(first, second)
    return smallest_difference(questions, trials, parts.sd_question, parts.sd_within)


def p_text(value: float) -> str:
    """A p-value as tables print it; empty for nan."""
    return "" if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
