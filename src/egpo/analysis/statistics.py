"""Statistics of right and wrong answers: pure functions on arrays of shape (training seeds, questions, trials).

The array has every question that was asked, with False where there is no usable answer. Accuracies and their errors
are shares (0 to 1). What cannot be estimated is nan.

With one training seed, errors and tests are about this trained model on questions like these. With several,
the seeds are the outer unit: they are about the method, trained anew, on questions like these. Questions and
seeds count as random and crossed, since each trained model answers each question.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import comb

LEVEL = 0.05  # of the tests in comparisons, claims, plans and power
NO_SPREAD = 1e-12  # a standard error below this is rounding
MOST_SUBSETS = 20_000  # C(16, 8) is 12,870
BATCH = 500  # resamples held in memory at once


def correctness(records: pd.DataFrame, column: str = "correct") -> np.ndarray:
    """Booleans of shape (questions, trials) from the records of one model on one benchmark.

    Args:
        column: the column with the verdicts; a missing one counts as wrong.

    Raises:
        ValueError: there is not exactly one record for every question and trial.
    """
    verdicts = records[["question", "trial"]].assign(right=records[column].eq(True).astype(float))
    table = verdicts.pivot(index="question", columns="trial", values="right")
    if table.isna().to_numpy().any():
        raise ValueError("a question has no record in some trial")
    return table.to_numpy(dtype=bool)


def accuracy(correct: np.ndarray) -> float:
    """Mean pass@1 over trials and training seeds: the share of right answers among all asked, 0 to 1."""
    return float(correct.mean())


def sd_over_trials(correct: np.ndarray) -> float:
    """Standard deviation (n - 1) of the accuracy from trial to trial of one model; nan for one trial.

    Over several training seeds the root of the mean variance, so that no spread between models enters.
    """
    trials = correct.mean(axis=1)
    return float(np.sqrt(trials.var(axis=1, ddof=1).mean())) if trials.shape[1] > 1 else float("nan")


def clustered_se(correct: np.ndarray) -> float:
    """Standard error of the accuracy over questions, each one a cluster of its answers; nan for one question.

    Answers to one question are not independent, so the questions' means are the observations
    (Miller 2024, "Adding error bars to evals"). The spread between training seeds is not in it.
    """
    questions = correct.mean(axis=(0, 2))
    return float(questions.std(ddof=1) / np.sqrt(questions.size)) if questions.size > 1 else float("nan")


def residual_variance(cells: np.ndarray) -> float:
    """Mean square of what neither seed nor question explains, in the means over trials (seeds, questions)."""
    seeds, questions = cells.shape
    residuals = cells - cells.mean(axis=1, keepdims=True) - cells.mean(axis=0) + cells.mean()
    return float((residuals**2).sum() / ((seeds - 1) * (questions - 1)))


def _seed_share(correct: np.ndarray) -> tuple[float, float]:
    """What the training seeds add to the variance of the accuracy, and its square over its degrees of freedom.

    The seeds' means also differ by how each model meets each question, and by the trials. That part is in
    the variance over questions already, so it is subtracted: the ANOVA estimator of crossed random effects,
    0 where it comes out negative. The second value is this term of Satterthwaite's formula, for two mean squares.
    """
    seeds, questions, _ = correct.shape
    if seeds == 1 or questions == 1:
        return 0.0, 0.0
    cells = correct.mean(axis=2)
    means = cells.mean(axis=1, keepdims=True)
    freedom = (seeds - 1) * (questions - 1)
    between = means.var(ddof=1) / seeds
    noise = residual_variance(cells) / (seeds * questions)
    left = between - noise
    share = left if left > NO_SPREAD * between else 0.0  # less is rounding
    return float(share), float(between**2 / (seeds - 1) + noise**2 / freedom)


def standard_error(correct: np.ndarray) -> float:
    """Standard error of the accuracy; nan for one question.

    One training seed: `clustered_se`. Several: its square plus what the seeds add, which estimates without
    bias (but for the cut at 0) the variance of the accuracy when seeds and questions are both drawn anew:
    seed / S + question / Q + rest / (S Q). Brennan 2001, "Generalizability theory", gives this variance of a
    mean over two crossed random facets; Searle, Casella and McCulloch 1992, "Variance components", the
    estimator. It is never below `clustered_se`. Two or three seeds say little about their spread.
    """
    return math.hypot(clustered_se(correct), math.sqrt(_seed_share(correct)[0]))


def interval(correct: np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the accuracy; (nan, nan) for one question or where nothing varies.

    Resamples questions, each with all its trials. With several training seeds it resamples seeds and
    questions, crossed: every drawn seed meets every drawn question (Owen 2007, "The pigeonhole bootstrap").
    Resampling n units understates their variance by the factor (n - 1) / n. With few seeds that differ much the
    interval is too narrow: it comes near the lowest and highest seed, and 95% near 50% for 2 and 75% for 3 seeds.
    The same arguments give the same interval.
    """
    cells = correct.mean(axis=2)
    seeds, questions = cells.shape
    if questions == 1 or np.ptp(cells) == 0:
        return float("nan"), float("nan")

    def mean(drawn_seeds: np.ndarray, drawn_questions: np.ndarray, axis: int) -> np.ndarray:
        """Means (...) over drawn indices (..., seeds) and (..., questions); axis: the last."""
        weights = (drawn_seeds[..., None] == np.arange(seeds)).mean(axis=-2)
        return np.take_along_axis(weights @ cells, drawn_questions, axis=axis).mean(axis=axis)

    data, statistic = ((cells[0],), np.mean) if seeds == 1 else ((np.arange(seeds), np.arange(questions)), mean)
    result = stats.bootstrap(
        data,
        statistic,
        vectorized=True,
        confidence_level=level,
        n_resamples=resamples,
        method="percentile",  # BCa covers no better here, and is nan where the means of seeds and questions are equal
        batch=BATCH,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


@dataclass(frozen=True)
class Difference:
    """Accuracy of a first model minus that of a second, over the same questions. Shares, -1 to 1."""

    mean: float
    se: float
    low: float  # the interval's bounds
    high: float
    p_value: float  # two-sided, of no difference
    degrees: float  # of freedom of Student's t behind interval and p-value


def paired(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Difference:
    """Compare two models over the same questions. Seeds and trials may differ in number between them.

    One training seed each: the paired t-test over the questions' means (scipy's `ttest_rel`). The unit is the
    question, the claim about these two trained models.
    With several seeds of a model, what they add to the variance of its accuracy is added (see
    `standard_error`), and Satterthwaite's formula gives the degrees of freedom: Welch's test on the seeds'
    means, plus the paired variance over questions. Seeds of the two are independent units, even where
    their numbers are equal. A model with one seed, such as an untrained base, is taken as it is.
    What a nominal 5% is, simulated: 0.5 to 5% where both have 2 or 3 seeds; against a model with one seed up to
    13% with 2 seeds, 8% with 3, 7% with 5.
    All but `mean` are nan for one question or where nothing varies.

    Raises:
        ValueError: the numbers of questions differ.
    """
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape[1]} questions against {second.shape[1]}")
    differences = first.mean(axis=(0, 2)) - second.mean(axis=(0, 2))
    return _difference(differences, [_seed_share(model) for model in (first, second)], level)


def paired_by_seed(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Difference:
    """`paired`, for trainings of two methods that share their seeds: the same problems in the same order.

    The units are the differences of the two trainings of a seed, on each question: seeds and questions count as random
    and crossed. What the two trainings of a seed have in common is not in the standard error.

    Args:
        first, second: (seeds, questions, trials); the trainings at one place have one seed.

    Raises:
        ValueError: seeds or questions differ in number, or there is one seed.
    """
    if first.shape[:2] != second.shape[:2] or first.shape[0] < 2:
        raise ValueError(
            f"(seeds, questions) {first.shape[:2]} against {second.shape[:2]}: equal ones, two seeds or more"
        )
    cells = first.mean(axis=2) - second.mean(axis=2)
    return _difference(cells.mean(axis=0), [_seed_share(cells[:, :, None])], level)


def _difference(differences: np.ndarray, shares: list[tuple[float, float]], level: float) -> Difference:
    """From the (questions,) differences, and what `_seed_share` says of the training seeds."""
    mean, questions = float(differences.mean()), differences.size
    over_questions = float(differences.var(ddof=1) / questions) if questions > 1 else 0.0
    variance = over_questions + sum(share for share, _ in shares)
    se = math.sqrt(variance)
    if se < NO_SPREAD:
        return Difference(mean, *[float("nan")] * 5)
    # A share that is nearly 0 has its mean squares' terms all the same: the formula would go below any number of units.
    degrees = max(1.0, variance**2 / (over_questions**2 / (questions - 1) + sum(term for _, term in shares)))
    half = float(stats.t.ppf((1 + level) / 2, degrees)) * se
    p_value = 2 * float(stats.t.sf(abs(mean) / se, degrees))
    return Difference(mean, se, mean - half, mean + half, p_value, degrees)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values of one family, corrected by Holm's step-down method; nan stays nan and does not count.

    Equal to statsmodels' multipletests, which takes a second to import and collects all garbage at each call.
    """
    corrected = np.array(p_values, dtype=float)
    known = np.flatnonzero(~np.isnan(corrected))
    rising = known[np.argsort(corrected[known], kind="stable")]
    steps = corrected[rising] * np.arange(len(rising), 0, -1)
    corrected[rising] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected


def _checked(ks: Iterable[int], trials: int) -> list[int]:
    """The ks as a list; ValueError for one outside of 1 to `trials`."""
    ks = list(ks)
    if not all(1 <= k <= trials for k in ks):
        raise ValueError(f"k has to be from 1 to the {trials} trials: {ks}")
    return ks


def pass_at_k(correct: np.ndarray, ks: Iterable[int]) -> dict[int, float]:
    """Chance that one of k answers is right, for each k: mean of 1 - C(T - c, k) / C(T, k), c of T trials right.

    Unbiased (Chen et al. 2021, "Evaluating large language models trained on code"); mean over questions
    and training seeds.

    Raises:
        ValueError: a k is above the number of trials.
    """
    trials = correct.shape[2]
    wrong = trials - correct.sum(axis=2)
    return {k: float((1 - comb(wrong, k) / comb(trials, k)).mean()) for k in _checked(ks, trials)}


def majority_at_k(answers: np.ndarray, correct: np.ndarray, ks: Iterable[int]) -> dict[int, float]:
    """Expected accuracy of the vote among k of the T trials, drawn without replacement, for each k.

    The most frequent key wins; tied keys win equally often; None wins only where there is no other key, and is wrong.
    The vote returns a random one of the winner's answers in the draw, which matters only where answers of one key
    were scored differently: majority@1 is always the accuracy. Exact, over all C(T, k) draws.

    Args:
        answers: objects (seeds, questions, trials), the canonical key of each answer, None for no answer.

    Raises:
        ValueError: a k is above the number of trials, there are more than MOST_SUBSETS draws, the shapes differ, or a
            right answer has no key.
    """
    if answers.shape != correct.shape:
        raise ValueError(f"answers {answers.shape} against {correct.shape}")
    trials = correct.shape[2]
    keys = pd.factorize(answers.ravel())[0].reshape(-1, trials)  # -1 for None
    right = correct.reshape(-1, trials)
    if right[keys < 0].any():
        raise ValueError("a right answer has no key")
    agree = (keys[:, :, None] == keys[:, None, :]) & (keys >= 0)[:, :, None]
    result = {}
    for k in _checked(ks, trials):
        if math.comb(trials, k) > MOST_SUBSETS:
            raise ValueError(f"majority@{k} of {trials} trials: too many draws to go through")
        scores = []
        for draw in combinations(range(trials), k):
            votes = agree[:, draw][:, :, draw].sum(axis=2)
            wins = (votes == votes.max(axis=1, keepdims=True)) & (votes > 0)
            scores.append(((wins & right[:, draw]).sum(axis=1) / np.maximum(wins.sum(axis=1), 1)).mean())
        result[k] = float(np.mean(scores))
    return result


def length_quantiles(tokens: Sequence[float | None] | np.ndarray | pd.Series) -> dict[str, float]:
    """10, 50 and 90 percent quantile (interpolated) and maximum of the lengths, in tokens; all nan without any.

    Args:
        tokens: of each response; None or nan, where there is no response, does not count.
    """
    lengths = pd.Series(tokens, dtype=float).dropna()
    quantiles = lengths.quantile([0.1, 0.5, 0.9, 1.0])
    return dict(zip(("p10", "p50", "p90", "max"), map(float, quantiles), strict=True))


@dataclass(frozen=True)
class Spread:
    """What decides how small a paired difference can be found. Standard deviations of shares."""

    sd_question: float  # of the true difference from question to question: omega of Miller 2024
    sd_within: float  # of the difference of one answer of each model to one question: (sigma_A^2 + sigma_B^2)^(1/2)


def spread(first: np.ndarray, second: np.ndarray) -> Spread:
    """The components for `smallest_difference`, from the data of two models over the same questions.

    Unbiased variances, the one over questions 0 where it comes out negative. Trained models count as they are:
    the difference is between the means over their seeds. nan for one trial or one question.

    Raises:
        ValueError: the numbers of questions differ.
    """
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape[1]} questions against {second.shape[1]}")
    if min(first.shape[1], first.shape[2], second.shape[2]) == 1:
        return Spread(float("nan"), float("nan"))
    within = [model.var(axis=2, ddof=1).mean() for model in (first, second)]
    differences = first.mean(axis=(0, 2)) - second.mean(axis=(0, 2))
    noise = sum(one / (model.shape[0] * model.shape[2]) for one, model in zip(within, (first, second), strict=True))
    question = max(0.0, differences.var(ddof=1) - noise)
    return Spread(sd_question=math.sqrt(question), sd_within=math.sqrt(sum(within)))


def smallest_difference(
    questions: int, trials: int, sd_question: float, sd_within: float, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Smallest difference of accuracy (a share) that the paired test of this design finds with this power.

    (z_{alpha/2} + z_beta) ((omega^2 + (sigma_A^2 + sigma_B^2) / K) / n)^(1/2): equation 10 of Miller 2024, "Adding
    error bars to evals", with the same number of trials K for both models; two-sided at alpha. z, not t: for
    a power of 80% the t-test has 77% with 30 questions, 79% with 100. No variance between training seeds is in it.
    nan where no answer differs from another, as nothing is known then about how much answers vary.
    """
    if sd_question == 0 and sd_within == 0:
        return math.nan
    z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
    return float(z * math.sqrt((sd_question**2 + sd_within**2 / trials) / questions))
