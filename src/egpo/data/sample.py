"""Sampling by quota and the validation split (appendix A.2). Every choice is by keyed hash: no order can change it."""

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
    """Labels of the rows by their keyed hash: a random order that neither rows nor shards can change."""
    return sorted(uuids.index, key=lambda label: (digest(seed, stage, uuids[label]), uuids[label]))


def allocate(available: dict[str, int], quota: int, cap: float | None) -> dict[str, int]:
    """How many rows each source gives to a quota: in proportion to what it has, by largest remainder.

    A source gives no more than it has, nor than the share `cap` of the quota; what it cannot give the others do.
    Equal remainders go by the name of the source.
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
    """reasons: why each row is not in the pool, or "". deficits: rows that a stratum could not give itself.

    filled: of those, how many came from which other stratum.
    """

    reasons: pd.Series
    deficits: dict[Stratum, int]
    filled: dict[Stratum, dict[Stratum, int]]


def _own_share(rows: pd.DataFrame, quotas: Quotas | Rows, cap: float | None, order: list) -> pd.Series:
    """(n,) bool, True for the rows that fill the quota of their own stratum."""
    taken = pd.Series(False, index=rows.index)
    by_hash = rows.loc[order]
    for (subset, bucket), quota in strata(quotas).items():
        members = by_hash[(by_hash["subset"] == subset) & (by_hash["bucket"] == bucket)]
        counts = allocate(members["source"].value_counts().to_dict(), quota, cap)
        for source, count in counts.items():
            taken[members.index[members["source"] == source][:count]] = True
    return taken


def _donors(stratum: Stratum) -> list[Stratum]:
    """Where missing rows come from: the same subset's other bucket, the other subset, entirely-incorrect groups."""
    subset, bucket = stratum
    if bucket == "unknown":  # a source without buckets has one stratum
        return []
    other = {"default": "extended", "extended": "default"}[subset]
    second = {"mixed": "correct", "correct": "mixed"}[bucket]
    return [(subset, second), (other, bucket), (other, second), (subset, "incorrect"), (other, "incorrect")]


def _fill(
    rows: pd.DataFrame, taken: pd.Series, deficits: dict[Stratum, int], order: list
) -> dict[Stratum, dict[Stratum, int]]:
    """Take rows of other strata for what is missing; marks them in `taken`."""
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
    """The pool: from each stratum its quota, from each source in proportion; needs uuid, subset, bucket, source.

    What a stratum cannot give comes from others. Raises UserError when that is more than the share `max_deficit`.
    """
    order = ranked(rows["uuid"], seed, "sample")
    taken = _own_share(rows, quotas, cap, order)
    own = rows[taken].groupby(["subset", "bucket"]).size()
    deficits = {stratum: quota - int(own.get(stratum, 0)) for stratum, quota in strata(quotas).items()}
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
    """Labels of `count` rows by keyed hash: of those that no quota took, for the diagnosis of entropies.

    near: labels of rows with a near-duplicate in the pool. Raises UserError when too few rows are left.
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

    near: labels of rows that have a near-duplicate in the pool: they stay in training. Raises UserError when too few
    rows are left on either side.
    """
    free = pool["uuid"][~pool.index.isin(near)]
    if validation_rows >= len(pool) or validation_rows > len(free):
        raise UserError(
            f"data.validation_rows: {validation_rows} of the {len(pool)} rows of data.quotas, {len(free)} of them "
            "without a near-duplicate, leave none for training. Lower it."
        )
    chosen = ranked(free, seed, "validation")[:validation_rows]
    return pd.Series("train", index=pool.index).mask(pool.index.isin(chosen), "validation")
