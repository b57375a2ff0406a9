"""What the rows of a study say: paired differences between methods, and means of a method over its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from egpo.analysis.statistics import LEVEL, holm, paired_by_seed
from egpo.common.errors import UserError
from egpo.common.paths import BASE
from egpo.config.frozen import Planned
from egpo.study.blocks import failed, of_blocks
from egpo.study.rows import ORIGIN

OUTCOMES = {"sampled": "sampled_right", "greedy": "greedy_right"}  # accuracy by the column with its answers


def finished(table: pd.DataFrame, backbone: str) -> pd.DataFrame:
    """The rows of trainings that have ended well, on one backbone, each seed from one block."""
    table = of_blocks(table[table["backbone"] == backbone])
    return table[table["status"] == "ok"]


def answers(rows: pd.DataFrame, method: str, column: str, trials: int) -> dict[int, np.ndarray]:
    """(questions, trials) booleans of each training seed of a method, from the digits of the CSV.

    Which of a question's trials was right is not kept: the right ones come first, which no statistic here looks at.

    Raises:
        UserError: a digit is above the number of trials.
    """
    found = {}
    for seed, text in rows.loc[rows["method"] == method, ["seed", column]].itertuples(index=False):
        counts = _counts(text)
        if counts.max(initial=0) > trials:
            raise UserError(
                f"{column}: method {method}, seed {seed} has a question with more than {trials} right trials."
            )
        found[int(seed)] = np.arange(trials) < counts[:, None]
    return found


def _counts(text: str) -> np.ndarray:
    """(questions,) right trials, from the digits of the CSV."""
    return np.frombuffer(text.replace("|", "").encode(), dtype=np.uint8) - ord("0")


def by_difficulty(rows: pd.DataFrame, trials: int) -> dict[str, np.ndarray]:
    """(questions,) booleans: those that the untrained models answer right in none, some and all of their trials.

    Empty where there is no untrained model.
    """
    counts = [_counts(text) for text in rows.loc[rows["method"] == BASE, OUTCOMES["sampled"]]]
    if not counts:
        return {}
    right, most = np.sum(counts, axis=0, dtype=int), trials * len(counts)
    return {"never": right == 0, "sometimes": (right > 0) & (right < most), "always": right == most}


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


def compare(
    table: pd.DataFrame, planned: Sequence[Planned], outcome: str, trials: int, questions: np.ndarray | None = None
) -> pd.DataFrame:
    """A row for each comparison that is planned, in points of accuracy; nan with fewer than two common seeds.

    Holm's correction is for all comparisons that a family has in the plan, also those that did not come.

    Args:
        table: of egpo.study.rows.
        outcome: a key of OUTCOMES.
        trials: of each question, sampled.
        questions: booleans, which of them are looked at; without it all.

    Returns:
        family, backbone, first, second, expected, seeds, difference, se, low, high, p_value, p_holm, verdict.
    """
    made = []
    rows = {backbone: finished(table, backbone) for backbone in {one.backbone for one in planned}}
    for one in planned:
        first, second, seeds = pair(rows[one.backbone], one.first, one.second, outcome, trials)
        row: dict[str, Any] = {"family": one.family, "backbone": one.backbone, "first": one.first, "second": one.second}
        row |= {"expected": one.expected, "seeds": len(seeds)}
        if questions is not None and seeds:
            first, second = first[:, questions], second[:, questions]
        if len(seeds) > 1 and first.shape[1] > 1:
            found = paired_by_seed(first, second)
            points = {"difference": found.mean, "se": found.se, "low": found.low, "high": found.high}
            row |= {name: 100 * value for name, value in points.items()} | {"p_value": found.p_value}
        made.append(row)
    columns = ["family", "backbone", "first", "second", "expected", "seeds"]
    result = pd.DataFrame(made).reindex(columns=[*columns, "difference", "se", "low", "high", "p_value"])
    result["p_holm"] = result.groupby(["backbone", "family"], sort=False)["p_value"].transform(
        lambda values: np.where(values.isna(), np.nan, holm(values.fillna(1).to_numpy(float)))
    )
    result["verdict"] = [
        verdict(difference, p_value, expected)
        for difference, p_value, expected in result[["difference", "p_holm", "expected"]].itertuples(index=False)
    ]
    return result


def withheld(compared: pd.DataFrame, table: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """The comparisons without p-value and verdict where not all planned seeds are there.

    A test that is looked at after each seed finds differences by chance more often than at its level. A seed with a
    training that has failed for good counts as there: nothing more will come of it.

    Args:
        compared: of `compare`.
        table: that it was made from.
        seeds: how many are planned.
    """
    lost = failed(table)
    result = compared.copy()
    for place, row in compared.iterrows():
        methods = row["first"], row["second"]
        gone = {seed for backbone, method, seed in lost if backbone == row["backbone"] and method in methods}
        if row["seeds"] + len(gone) < seeds:
            result.loc[place, ["p_value", "p_holm"]] = math.nan
            result.loc[place, "verdict"] = f"not yet: {row['seeds']} of {seeds} seeds"
    return result


def with_untrained(table: pd.DataFrame) -> pd.DataFrame:
    """The rows, with the untrained model's answers for each training that has failed for good."""
    used, columns = of_blocks(table), [*ORIGIN, *OUTCOMES.values()]
    untrained = used.loc[(used["method"] == BASE) & (used["status"] == "ok"), ["backbone", *columns]]
    lost = pd.DataFrame(failed(table), columns=["backbone", "method", "seed"])
    attempts = used.drop(columns=list(OUTCOMES.values())).merge(lost).drop_duplicates(list(lost), keep="last")
    instead = attempts.assign(status="ok").merge(untrained, on=["backbone", *ORIGIN])
    return pd.concat([table, instead], ignore_index=True) if len(instead) else table


def exploratory(methods: Sequence[str], planned: Sequence[Planned], backbone: str) -> list[Planned]:
    """The comparisons with the first method that are not planned."""
    first, *others = methods
    known = {(one.first, one.second) for one in planned if one.backbone == backbone}
    return [
        Planned(backbone=backbone, first=name, second=first, benchmarks=(), family="exploratory", expected="different")
        for name in others
        if (name, first) not in known
    ]


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
    """The mean over seeds of a column's difference between two methods, on the seeds that both have.

    The untrained model has no seed: the second is then the one that the first was trained from.
    """
    on = ORIGIN if second == BASE else ["seed"]
    one, other = (rows.loc[rows["method"] == method, [*on, column]] for method in (first, second))
    both = one.merge(other, on=on, suffixes=("_first", "_second"))
    return mean(both[f"{column}_first"].astype(float) - both[f"{column}_second"].astype(float))
