"""What a design can find: the variance of a difference between two methods, and the power of its test.

The model of `egpo.analysis.statistics.paired`: the methods' trained models answer the same questions; training seeds
and questions are drawn anew, and crossed. Accuracies and their errors are shares (0 to 1).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy import special
from scipy.optimize import brentq
from scipy.stats import qmc

from egpo.analysis.statistics import LEVEL, residual_variance

POWER = 0.8
MOST_SEEDS = 500  # that `seeds_needed` looks at
RESAMPLES = 200
MOST_VARIANCE = 0.25  # of a share
SCENARIOS = 512  # of what a test may find of the variances: chances come out right to 0.1%


@dataclass(frozen=True)
class Parts:
    """Variances; those of models are the mean of the two methods'.

    Attributes:
        seed: of a model's accuracy between training seeds; nan where there is one seed.
        question: of the methods' difference, from question to question.
        cross: of a model's accuracy on a question between training seeds, beside `seed`; 0 where there is one seed.
        trial: of a single answer, p (1 - p), mean over the questions.
    """

    seed: float
    question: float
    cross: float
    trial: float


@dataclass(frozen=True)
class Design:
    """Training seeds of each method, questions, trials of each question."""

    seeds: int
    questions: int
    trials: int


def parts_of(first: np.ndarray, second: np.ndarray, chances: tuple[float, float] = (1.0, 1.0)) -> Parts:
    """The variances in the answers (seeds, questions, trials) of two methods to the same questions.

    The ANOVA estimators of crossed random effects, 0 where they come out negative (Searle, Casella and McCulloch 1992,
    "Variance components"). With one trial, that of an answer cannot be told from the others: it is 0, and in them.

    Args:
        chances: what the seeds' mean square of each method is divided by.

    Raises:
        ValueError: the numbers of questions differ, or there is one question.
    """
    if first.shape[1] != second.shape[1] or first.shape[1] < 2:
        raise ValueError(f"{first.shape[1]} questions against {second.shape[1]}: equal numbers above 1 are needed")
    each = [_of_model(model.astype(float), chance) for model, chance in zip((first, second), chances, strict=True)]
    seed, cross, trial = (
        float(np.nanmean(part)) if not np.isnan(part).all() else math.nan for part in zip(*each, strict=True)
    )
    cross = 0.0 if math.isnan(cross) else cross
    differences = first.mean(axis=(0, 2)) - second.mean(axis=(0, 2))
    noise = sum(cross / model.shape[0] + trial / (model.shape[0] * model.shape[2]) for model in (first, second))
    return Parts(seed, max(0.0, float(differences.var(ddof=1)) - noise), cross, trial)


def _of_model(answers: np.ndarray, chance: float) -> tuple[float, float, float]:
    """(seed, cross, trial) of one method."""
    seeds, questions, trials = answers.shape
    cells = answers.mean(axis=2)
    trial = answers.var(axis=2, ddof=1).mean() if trials > 1 else 0.0
    if seeds == 1:
        return math.nan, math.nan, float(trial)
    rest = residual_variance(cells)
    seed = max(0.0, float(cells.mean(axis=1).var(ddof=1) / chance - rest / questions))
    return seed, max(0.0, float(rest - trial / trials)), float(trial)


def resampled(first: np.ndarray, second: np.ndarray, seed: int = 0) -> list[Parts]:
    """Variances that could be behind the answers, for `interval`.

    Questions are resampled. Seeds are too few for that: their mean square is divided by draws of what a mean square is
    of its expectation, chi-square over its degrees of freedom, as in a generalised confidence interval (Weerahandi
    1993). So two or three seeds, which say little about their variance, give wide intervals.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        questions = rng.integers(first.shape[1], size=first.shape[1])
        degrees = [max(1, len(model) - 1) for model in (first, second)]
        one, other = (float(rng.chisquare(number)) / number for number in degrees)
        parts = parts_of(first[:, questions], second[:, questions], (one, other))
        found.append(replace(parts, seed=min(parts.seed, MOST_VARIANCE)))
    return found


def interval(values: Iterable[float]) -> tuple[float, float]:
    """95% interval by the quantiles of values; nan does not count, and inf does."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975], method="nearest")
    return float(low), float(high)


# --- the test --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Test:
    """What `paired` does in a design.

    Attributes:
        sd: standard deviation of the difference between the two methods' accuracies.
        reach: (SCENARIOS,) how far from 0 the difference must be to be found, by what is found of the variances.
    """

    sd: float
    reach: np.ndarray


@cache
def _mean_squares(seeds: int, questions: int) -> np.ndarray:
    """(5, SCENARIOS) mean squares over their expectations: of questions; of seeds, of the rest, for either method."""
    degrees = np.array([questions - 1, *[max(1, seeds - 1)] * 2, *[max(1, seeds - 1) * (questions - 1)] * 2])[:, None]
    return special.chdtri(degrees, qmc.Sobol(5, rng=0).random(SCENARIOS).T) / degrees


def _test(parts: Parts, design: Design, level: float) -> _Test:
    """The variances are found as mean squares, which are independent and distributed as chi-square where effects are
    normal; from them `paired` takes standard error and degrees of freedom."""
    seeds, questions, trials = design.seeds, design.questions, design.trials
    rest = parts.cross + parts.trial / trials
    of_questions, *of_seeds, rest_of_first, rest_of_second = _mean_squares(seeds, questions)
    over_questions = (parts.question + 2 * rest / seeds) / questions
    between_seeds = 0.0 if seeds == 1 and math.isnan(parts.seed) else 2 * parts.seed / seeds
    variance = over_questions * of_questions
    terms = variance**2 / (questions - 1)
    if seeds > 1:
        for of_seed, of_rest in zip(of_seeds, (rest_of_first, rest_of_second), strict=True):
            between = (parts.seed + rest / questions) / seeds * of_seed
            noise = rest / (seeds * questions) * of_rest
            variance = variance + np.maximum(0.0, between - noise)
            terms = terms + between**2 / (seeds - 1) + noise**2 / ((seeds - 1) * (questions - 1))
    degrees = np.maximum(1.0, variance**2 / np.where(terms > 0, terms, 1.0))
    reach = special.stdtrit(degrees, 1 - level / 2) * np.sqrt(variance)
    return _Test(math.sqrt(over_questions + between_seeds), reach)


def _found(test: _Test, gain: float) -> float:
    """Chance that a test finds a difference of `gain`, with its sign."""
    return math.nan if test.sd == 0 else float(special.ndtr((gain - test.reach) / test.sd).mean())


def power(parts: Parts, design: Design, gain: float, level: float = LEVEL) -> float:
    """Chance that `paired` finds the first method above the second, where it is by `gain`.

    For 0 the chance of a false alarm, of either sign. With one training seed the test is about two trained models; the
    chance here is that for the two methods, whose next models would differ: false alarms are then more frequent than
    `level` unless `parts.seed` is 0. nan where a variance that the design needs is unknown, or nothing varies.
    """
    return _found(_test(parts, design, level), gain) * (1 if gain else 2)


def smallest(parts: Parts, design: Design, chance: float = POWER, level: float = LEVEL) -> float:
    """The smallest difference that is found with this chance; nan as in `power`, inf if none below 1 is."""
    test = _test(parts, design, level)
    most = _found(test, 1.0)
    if math.isnan(most) or most < chance:
        return math.nan if math.isnan(most) else math.inf
    return float(brentq(lambda gain: _found(test, gain) - chance, 0.0, 1.0))


def seeds_needed(
    parts: Parts, questions: int, trials: int, gain: float, chance: float = POWER, level: float = LEVEL
) -> int | None:
    """Training seeds of each method, at least two, with which `gain` is found with this chance.

    None if MOST_SEEDS are too few: the questions themselves then set the bound.
    """

    def found(seeds: int) -> float:
        return power(parts, Design(seeds, questions, trials), gain, level)

    return 2 + bisect_left(range(2, MOST_SEEDS), chance, key=found) if found(MOST_SEEDS) >= chance else None
