"""Sampling by quota and the validation split (appendix A.2), by keyed hashes: the order of rows does not matter."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pandas as pd

from egpo.common.errors import UserError
from egpo.common.hashing import digest
from egpo.config.data import Quotas, Rows

# Reasons of this stage, in their order.
INCORRECT, NOT_SAMPLED, LONG_FINAL_PROMPT = "entirely-incorrect", "not-sampled", "long-final-prompt"
BUCKETS = ("mixed", "correct", "incorrect", "unknown")

Stratum = tuple[str, str]  # subset and bucket


def strata(quotas: Quotas | Rows) -> dict[Stratum, int]:
    """Rows to sample from each stratum; a source without generations is one stratum."""
    if isinstance(quotas, Rows):
        return {("default", "unknown"): quotas.rows}
    return {(name.split("_")[0], name.split("_")[1]): rows for name, rows in quotas.model_dump().items()}


def ranked(uuids: pd.Series, seed: int, stage: str) -> list:
    """Labels of the rows in the order of their keyed hashes, whatever the order of rows and shards."""
    return sorted(uuids.index, key=lambda label: (digest(seed, stage, uuids[label]), uuids[label]))


def allocate(available: dict[str, int], quota: int, cap: float | None) -> dict[str, int]:
    """Rows of each source for a quota: in proportion to the available ones, by largest remainder.

    Args:
        available: rows by source.
        quota: rows to take.
        cap: largest share of the quota from one source; the other sources give the rest.

    Returns:
        Rows by source; equal remainders are resolved by name.
    """
    limits = {
        name: rows if cap is None else min(rows, int(Fraction(str(cap)) * quota)) for name, rows in available.items()
    }
    given: dict[str, int] = {}
    while True:
        left = min(quota, sum(limits.values())) - sum(given.values())
        free = {name: rows for name, rows in available.items() if name not in given}
        total = sum(free.values())
        ideal = {name: Fraction(left * rows, total) for name, rows in free.items()} if total else {}
        full = {name: limits[name] for name, share in ideal.items() if share > limits[name]}
        if not full:
            break
        given |= full
    whole = {name: int(share) for name, share in ideal.items()}
    rest = left - sum(whole.values())
    for name in sorted(ideal, key=lambda name: (whole[name] - ideal[name], name)):
        if rest and whole[name] < limits[name]:
            whole[name] += 1
            rest -= 1
    return {name: given.get(name, whole.get(name, 0)) for name in sorted(available)}


@dataclass(frozen=True)
class Sampled:
    """What `sample` drew.

    Attributes:
        reasons: why each row is not in the pool, or "".
        deficits: rows that each stratum lacks for its quota.
        filled: how many of these came from which other stratum.
    """

    reasons: pd.Series
    deficits: dict[Stratum, int]
    filled: dict[Stratum, dict[Stratum, int]]


def _within_strata(rows: pd.DataFrame, quotas: Quotas | Rows, cap: float | None, order: list) -> pd.Series:
    """(n,) bool, True for the rows taken for the quota of the stratum that they are in."""
    taken = pd.Series(False, index=rows.index)
    by_hash = rows.loc[order]
    for (subset, bucket), quota in strata(quotas).items():
        members = by_hash[(by_hash["subset"] == subset) & (by_hash["bucket"] == bucket)]
        available = {str(source): int(rows) for source, rows in members["source"].value_counts().items()}
        counts = allocate(available, quota, cap)
        for source, count in counts.items():
            taken[members.index[members["source"] == source][:count]] = True
    return taken


def _donors(stratum: Stratum) -> list[Stratum]:
    """Where missing rows come from: the other bucket of the subset, the other subset, entirely-incorrect groups."""
    subset, bucket = stratum
    if bucket == "unknown":  # a source without buckets has one stratum
        return []
    other = {"default": "extended", "extended": "default"}[subset]
    second = {"mixed": "correct", "correct": "mixed"}[bucket]
    return [(subset, second), (other, bucket), (other, second), (subset, "incorrect"), (other, "incorrect")]


def _fill(
    rows: pd.DataFrame, taken: pd.Series, deficits: dict[Stratum, int], order: list
) -> dict[Stratum, dict[Stratum, int]]:
    """Take rows of other strata in place of missing ones, and mark them in `taken`."""
    by_hash = rows.loc[order]
    filled: dict[Stratum, dict[Stratum, int]] = {}
    for stratum, missing in deficits.items():
        for subset, bucket in _donors(stratum):
            free = by_hash.index[(by_hash["subset"] == subset) & (by_hash["bucket"] == bucket) & ~taken[by_hash.index]]
            chosen = free[: missing - sum(filled.get(stratum, {}).values())]
            if len(chosen):
                taken[chosen] = True
                filled.setdefault(stratum, {})[subset, bucket] = len(chosen)
    return filled


def sample(rows: pd.DataFrame, quotas: Quotas | Rows, cap: float | None, max_deficit: float, seed: int) -> Sampled:
    """Draw the quota of each stratum, from its sources in proportion; missing rows come from other strata.

    Args:
        rows: with uuid, subset, bucket and source.
        cap: largest share of a quota from one source.
        max_deficit: largest share of all rows that may come from other strata.

    Raises:
        UserError: if more rows than that are missing.
    """
    order = ranked(rows["uuid"], seed, "sample")
    taken = _within_strata(rows, quotas, cap, order)
    drawn = rows[taken].groupby(["subset", "bucket"]).size()
    deficits = {stratum: quota - int(drawn.get(stratum, 0)) for stratum, quota in strata(quotas).items()}
    deficits = {stratum: missing for stratum, missing in deficits.items() if missing}
    if sum(deficits.values()) > max_deficit * sum(strata(quotas).values()):
        raise UserError(_too_short(rows, quotas, deficits, cap, max_deficit))
    filled = _fill(rows, taken, deficits, order)
    reasons = pd.Series(NOT_SAMPLED, index=rows.index)
    reasons[rows["bucket"] == "incorrect"] = INCORRECT
    reasons[taken] = ""
    return Sampled(reasons, deficits, filled)


def _too_short(
    rows: pd.DataFrame, quotas: Quotas | Rows, deficits: dict[Stratum, int], cap: float | None, max_deficit: float
) -> str:
    sizes = rows.groupby(["subset", "bucket"]).size()
    lines = [
        f"data.quotas.{'rows' if bucket == 'unknown' else f'{subset}_{bucket}'}: {strata(quotas)[subset, bucket]} rows "
        f"asked, {int(sizes.get((subset, bucket), 0))} available after the filters"
        f"{f', {missing} missing with data.source_cap {cap}' if cap else ''}."
        for (subset, bucket), missing in deficits.items()
    ]
    share = f"{sum(deficits.values())} of {quotas.total} rows are missing, data.max_deficit allows {max_deficit:.0%}."
    return "\n".join([*lines, f"{share} Lower these quotas, or give data.source more rows."])


def hold_out(rows: pd.DataFrame, near: set, count: int, seed: int) -> list:
    """Labels of `count` rows by keyed hash, for the entropies of problems that no training saw.

    Args:
        rows: those that no quota took.
        near: labels of rows with a near-duplicate in the pool, which are left out.

    Raises:
        UserError: if too few rows are left.
    """
    free = rows["uuid"][~rows.index.isin(near)]
    if count > len(free):
        raise UserError(
            f"data.heldout_rows: {count}, but the quotas leave {len(free)} rows without a near-duplicate in the pool. "
            "Lower it or data.quotas."
        )
    return ranked(free, seed, "heldout")[:count]


def split(pool: pd.DataFrame, near: set, validation_rows: int, seed: int) -> pd.Series:
    """'validation' for `validation_rows` rows of smallest keyed hash, 'train' for the others.

    Args:
        near: labels of rows that have a near-duplicate in the pool; they are for training.

    Raises:
        UserError: if too few rows are left for either split.
    """
    free = pool["uuid"][~pool.index.isin(near)]
    if validation_rows >= len(pool) or validation_rows > len(free):
        raise UserError(
            f"data.validation_rows: {validation_rows} of the {len(pool)} rows of data.quotas, {len(free)} of them "
            "without a near-duplicate, leave none for training. Lower it."
        )
    chosen = ranked(free, seed, "validation")[:validation_rows]
    return pd.Series("train", index=pool.index).mask(pool.index.isin(chosen), "validation")
