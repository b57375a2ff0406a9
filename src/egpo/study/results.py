"""What the rows of a study say: paired differences between methods, and means of a method over its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from egpo.analysis.power import MOST_SEEDS, POWER, parts_of
from egpo.analysis.power import seeds_needed as seeds_needed_unpaired
from egpo.analysis.statistics import LEVEL, holm, paired_by_seed, residual_variance
from egpo.common.errors import UserError
from egpo.config.frozen import Planned

OUTCOMES = {"sampled": "sampled_right", "greedy": "greedy_right"}  # accuracy by the column with its answers


def finished(table: pd.DataFrame, backbone: str) -> pd.DataFrame:
    """The rows of trainings that have ended well, on one backbone."""
    return table[(table["backbone"] == backbone) & (table["status"] == "ok")]


def answers(rows: pd.DataFrame, method: str, column: str, trials: int) -> dict[int, np.ndarray]:
    """(questions, trials) booleans of each training seed of a method, from the digits of the CSV.

    Which of a question's trials was right is not kept: the right ones come first, which no statistic here looks at.

    Raises:
        UserError: a digit is above the number of trials.
    """
    found = {}
    for seed, text in rows.loc[rows["method"] == method, ["seed", column]].itertuples(index=False):
        counts = np.array([int(digit) for digit in text.replace("|", "")])
        if counts.max(initial=0) > trials:
            raise UserError(
                f"{column}: method {method}, seed {seed} has a question with more than {trials} right trials."
            )
        found[int(seed)] = np.arange(trials) < counts[:, None]
    return found


def pair(
    rows: pd.DataFrame, first: str, second: str, outcome: str, trials: int
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Answers (seeds, questions, trials) of two methods on the seeds that both have, and these seeds."""
    trials = 1 if outcome == "greedy" else trials
    one, other = (answers(rows, method, OUTCOMES[outcome], trials) for method in (first, second))
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return np.zeros((0, 0, trials)), np.zeros((0, 0, trials)), []
    return np.stack([one[seed] for seed in seeds]), np.stack([other[seed] for seed in seeds]), seeds


def compare(table: pd.DataFrame, planned: Sequence[Planned], outcome: str, trials: int) -> pd.DataFrame:
    """A row for each comparison that is planned, in points of accuracy; nan with fewer than two common seeds.

    Args:
        table: of egpo.study.rows.
        outcome: a key of OUTCOMES.
        trials: of each question, sampled.

    Returns:
        family, backbone, first, second, expected, seeds, difference, se, low, high, p_value, p_holm, verdict.
    """
    made = []
    for one in planned:
        first, second, seeds = pair(finished(table, one.backbone), one.first, one.second, outcome, trials)
        row = {"family": one.family, "backbone": one.backbone, "first": one.first, "second": one.second}
        row |= {"expected": one.expected, "seeds": len(seeds)}
        if len(seeds) > 1:
            found = paired_by_seed(first, second)
            points = {"difference": found.mean, "se": found.se, "low": found.low, "high": found.high}
            row |= {name: 100 * value for name, value in points.items()} | {"p_value": found.p_value}
        made.append(row)
    columns = ["family", "backbone", "first", "second", "expected", "seeds"]
    result = pd.DataFrame(made).reindex(columns=[*columns, "difference", "se", "low", "high", "p_value"])
    result["p_holm"] = result.groupby(["backbone", "family"], sort=False)["p_value"].transform(
        lambda values: holm(values.to_numpy(float))
    )
    result["verdict"] = [
        verdict(difference, p_value, expected)
        for difference, p_value, expected in result[["difference", "p_holm", "expected"]].itertuples(index=False)
    ]
    return result


def verdict(difference: float, p_value: float, expected: str) -> str:
    """What a comparison says of the paper's claim: for, against, or open where no difference was found."""
    if not p_value < LEVEL:  # nan as well
        return "open"
    if expected == "different":
        return "a difference"
    return "for" if (difference > 0) == (expected == "above") else "against"


@dataclass(frozen=True)
class Mean:
    """A mean over training seeds with its 95% interval (Student's t); nan bounds for one seed."""

    value: float
    low: float
    high: float
    sd: float
    seeds: int


def mean(values: Sequence[float] | pd.Series) -> Mean:
    """The mean of what each training seed has; nan is left out."""
    known = np.array([value for value in values if not math.isnan(value)], dtype=float)
    if not len(known):
        return Mean(math.nan, math.nan, math.nan, math.nan, 0)
    if len(known) == 1:
        return Mean(float(known[0]), math.nan, math.nan, math.nan, 1)
    sd = float(known.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(known) - 1)) * sd / math.sqrt(len(known))
    return Mean(float(known.mean()), float(known.mean()) - half, float(known.mean()) + half, sd, len(known))


def by_seed(rows: pd.DataFrame, first: str, second: str, column: str) -> Mean:
    """The mean over seeds of a column's difference between two methods, on the seeds that both have."""
    one, other = (rows[rows["method"] == method].set_index("seed")[column].astype(float) for method in (first, second))
    return mean((one - other).dropna())


# --- the pilot -------------------------------------------------------------------------------------


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
