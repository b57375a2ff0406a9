"""How many training seeds a difference needs, by the rows of a pilot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from egpo.analysis.power import MOST_SEEDS, POWER, parts_of
from egpo.analysis.power import seeds_needed as seeds_needed_unpaired
from egpo.analysis.statistics import LEVEL, paired_by_seed, residual_variance
from egpo.study.results import finished, pair


@dataclass(frozen=True)
class Variances:
    """Of the difference of two methods on one seed and question, as shares squared.

    Attributes:
        seed: between training seeds.
        question: between questions.
        rest: of seeds on questions, with that of the trials.
        seeds: that these come from.
    """

    seed: float
    question: float
    rest: float
    seeds: int


def variances(first: np.ndarray, second: np.ndarray) -> Variances:
    """The ANOVA estimators of crossed random effects in the differences, 0 where they come out negative."""
    cells = first.mean(axis=2) - second.mean(axis=2)
    seeds, questions = cells.shape
    rest = residual_variance(cells)
    seed = float(cells.mean(axis=1).var(ddof=1)) - rest / questions
    question = float(cells.mean(axis=0).var(ddof=1)) - rest / seeds
    return Variances(max(0.0, seed), max(0.0, question), rest, seeds)


def power(of: Variances, seeds: int, questions: int, gain: float, level: float = LEVEL) -> float:
    """Chance that `paired_by_seed` finds a difference of `gain` (a share) with this number of seeds."""
    over_questions = (of.question + of.rest / seeds) / questions
    between, noise = (of.seed + of.rest / questions) / seeds, of.rest / (seeds * questions)
    variance = over_questions + of.seed / seeds
    if variance == 0:
        return 1.0  # nothing varies, as where every answer is wrong
    terms = between**2 / (seeds - 1) + noise**2 / ((seeds - 1) * (questions - 1))
    degrees = max(1.0, variance**2 / (over_questions**2 / (questions - 1) + terms))
    critical, shift = stats.t.ppf(1 - level / 2, degrees), gain / math.sqrt(variance)
    return float(stats.nct.sf(critical, degrees, shift) + np.nan_to_num(stats.nct.cdf(-critical, degrees, shift)))


def seeds_needed(of: Variances, questions: int, gain: float, chance: float = POWER) -> int | None:
    """Training seeds, at least two, with which `gain` is found with this chance; None if MOST_SEEDS are too few."""
    for seeds in range(2, MOST_SEEDS + 1):
        if power(of, seeds, questions, gain) >= chance:
            return seeds
    return None


def unpaired_seeds_needed(first: np.ndarray, second: np.ndarray, gain: float) -> int | None:
    """The same by `egpo power`, for trainings that share no seeds."""
    return seeds_needed_unpaired(parts_of(first, second), first.shape[1], first.shape[2], gain)


def bounds(of: Variances, chance: float = 0.9) -> list[Variances]:
    """The variances with the lower and with the upper bound of the seeds' part, by chi-square: few seeds say little."""
    degrees = of.seeds - 1
    factors = [degrees / float(stats.chi2.ppf(part, degrees)) for part in ((1 + chance) / 2, (1 - chance) / 2)]
    return [replace(of, seed=of.seed * factor) for factor in factors]


def lines(table: pd.DataFrame, gain: float, trials: int) -> Iterator[str]:
    """Text for each two methods that have two seeds in common.

    Args:
        table: of egpo.study.rows.
        gain: in points of sampled accuracy.
        trials: of each question.
    """
    for backbone in dict.fromkeys(table["backbone"]):
        rows = finished(table, backbone)
        for second, first in combinations(dict.fromkeys(rows["method"]), 2):
            one, other, seeds = pair(rows, first, second, "sampled", trials)
            if len(seeds) > 1:
                yield f"{backbone}: {first} less {second}, training seeds {', '.join(map(str, seeds))}"
                yield from _of_pair(one, other, gain)


def _of_pair(first: np.ndarray, second: np.ndarray, gain: float) -> Iterator[str]:
    found, of, questions = paired_by_seed(first, second), variances(first, second), first.shape[1]
    yield f"  difference {100 * found.mean:+.1f} points, 95% interval [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    parts = {"seeds": of.seed, "questions": of.question, "seeds on questions, and trials": of.rest}
    listed = ", ".join(f"{name} {100 * math.sqrt(value):.1f}" for name, value in parts.items())
    yield f"  standard deviation of the difference by {listed} points"
    means = [model.mean(axis=(1, 2)) for model in (first, second)]
    sds = " and ".join(f"{100 * one.std(ddof=1):.1f}" for one in means)
    with np.errstate(invalid="ignore"):  # of what does not vary there is none
        correlation = np.corrcoef(*means)[0, 1]
    yield f"  of a method's accuracy over seeds {sds} points, with a correlation of {correlation:+.2f}"
    low, high = (seeds_needed(one, questions, gain / 100) for one in bounds(of))
    yield (
        f"  seeds for {gain:g} points in {POWER:.0%} of the cases: {seeds_needed(of, questions, gain / 100)} paired by "
        f"seed, {low} to {high} by the 90% interval of the seeds' variance; "
        f"{unpaired_seeds_needed(first, second, gain / 100)} by `egpo power`, which does not pair"
    )
