"""What a design can find: the variance of a difference between two methods, and the power of its test.

The model of `egpo.analysis.statistics.paired`: the methods' trained models answer the same questions; training seeds
and questions are drawn anew, and crossed. Accuracies and their errors are shares (0 to 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from egpo.analysis.statistics import LEVEL, residual_variance

POWER = 0.8
MOST_SEEDS = 500  # that `seeds_needed` looks at
RESAMPLES = 200


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


def parts_of(first: np.ndarray, second: np.ndarray) -> Parts:
    """The variances in the answers (seeds, questions, trials) of two methods to the same questions.

    The ANOVA estimators of crossed random effects, 0 where they come out negative (Searle, Casella and McCulloch 1992,
    "Variance components"). With one trial, that of an answer cannot be told from the others: it is 0, and in them.

    Raises:
        ValueError: the numbers of questions differ, or there is one question.
    """
    if first.shape[1] != second.shape[1] or first.shape[1] < 2:
        raise ValueError(f"{first.shape[1]} questions against {second.shape[1]}: equal numbers above 1 are needed")
    each = [_of_model(model.astype(float)) for model in (first, second)]
    seed, cross, trial = (
        float(np.nanmean(part)) if not np.isnan(part).all() else math.nan for part in zip(*each, strict=True)
    )
    cross = 0.0 if math.isnan(cross) else cross
    differences = first.mean(axis=(0, 2)) - second.mean(axis=(0, 2))
    noise = sum(cross / model.shape[0] + trial / (model.shape[0] * model.shape[2]) for model in (first, second))
    return Parts(seed, max(0.0, float(differences.var(ddof=1)) - noise), cross, trial)


def _of_model(answers: np.ndarray) -> tuple[float, float, float]:
    """(seed, cross, trial) of one method."""
    seeds, questions, trials = answers.shape
    cells = answers.mean(axis=2)
    trial = answers.var(axis=2, ddof=1).mean() if trials > 1 else 0.0
    if seeds == 1:
        return math.nan, math.nan, float(trial)
    rest = residual_variance(cells)
    seed = max(0.0, float(cells.mean(axis=1).var(ddof=1) - rest / questions))
    return seed, max(0.0, float(rest - trial / trials)), float(trial)


# --- the test --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Test:
    """What `paired` works with in a design, on average.

    Attributes:
        se: the standard error that it finds.
        degrees: of freedom.
        unseen: standard deviation of the difference that is not in `se`: of one training seed.
    """

    se: float
    degrees: float
    unseen: float


def _test(parts: Parts, design: Design) -> _Test:
    seeds, questions, trials = design.seeds, design.questions, design.trials
    rest = parts.cross + parts.trial / trials
    over_questions = (parts.question + 2 * rest / seeds) / questions
    if seeds == 1:
        unseen = 0.0 if math.isnan(parts.seed) else math.sqrt(2 * parts.seed)
        return _Test(math.sqrt(over_questions), questions - 1, unseen)
    between, noise = (parts.seed + rest / questions) / seeds, rest / (seeds * questions)
    variance = over_questions + 2 * parts.seed / seeds
    terms = 2 * (between**2 / (seeds - 1) + noise**2 / ((seeds - 1) * (questions - 1)))
    degrees = variance**2 / (over_questions**2 / (questions - 1) + terms) if variance > 0 else 1.0
    return _Test(math.sqrt(variance), max(1.0, degrees), 0.0)


def power(parts: Parts, design: Design, gain: float, level: float = LEVEL) -> float:
    """Chance that `paired` finds a difference where the methods differ by `gain`; for 0, that of a false alarm.

    With one training seed the test is about two trained models; the chance here is that for the two methods, whose next
    models would differ: it is above `level` for a gain of 0 unless `parts.seed` is 0.
    """
    test = _test(parts, design)
    if test.se == 0:
        return math.nan
    critical = stats.t.ppf(1 - level / 2, test.degrees)
    if test.unseen:
        total = math.hypot(test.se, test.unseen)
        high, low = (critical * test.se - gain) / total, (-critical * test.se - gain) / total
        return float(stats.norm.sf(high) + stats.norm.cdf(low))
    shift = gain / test.se
    other_side = np.nan_to_num(stats.nct.cdf(-critical, test.degrees, shift))  # scipy's nan is a chance of about 0
    return float(stats.nct.sf(critical, test.degrees, shift) + other_side)


def smallest(parts: Parts, design: Design, chance: float = POWER, level: float = LEVEL) -> float:
    """The smallest difference that is found with this chance; nan where nothing varies, inf if none below 1 is."""
    most = power(parts, design, 1.0, level)
    if math.isnan(most) or most < chance:
        return math.nan if math.isnan(most) else math.inf
    return float(brentq(lambda gain: power(parts, design, gain, level) - chance, 0.0, 1.0))


def seeds_needed(
    parts: Parts, questions: int, trials: int, gain: float, chance: float = POWER, level: float = LEVEL
) -> int | None:
    """Training seeds of each method, at least two, with which `gain` is found with this chance.

    None if MOST_SEEDS are too few: the questions themselves then set the bound.
    """
    for seeds in range(2, MOST_SEEDS + 1):
        if power(parts, Design(seeds, questions, trials), gain, level) >= chance:
            return seeds
    return None


def resampled(
    first: np.ndarray, second: np.ndarray, of: Callable[[Parts], float], seed: int = 0
) -> tuple[float, float]:
    """95% interval of a quantity by resampling questions and, where there are several, training seeds.

    With few seeds it is too narrow: three seeds say little about their variance.
    """
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLES):
        questions = rng.integers(first.shape[1], size=first.shape[1])
        drawn = [model[rng.integers(len(model), size=len(model))][:, questions] for model in (first, second)]
        values.append(of(parts_of(*drawn)))
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975], method="nearest")
    return float(low), float(high)
