"""Sampling by quota, the validation split and the last length filter (appendix A.2)."""

from __future__ import annotations

import pandas as pd

from egpo.config import Quotas
from egpo.data.keyed import digest
from egpo.errors import UserError

# Reasons of this stage, in their order.
INCORRECT, NOT_SAMPLED, LONG_FINAL_PROMPT = "entirely-incorrect", "not-sampled", "long-final-prompt"


def smallest(uuids: pd.Series, count: int, seed: int, stage: str) -> pd.Series:
    """Whether a row is among the `count` of smallest keyed hash: a random choice that no order can change."""
    ranked = sorted(uuids.index, key=lambda label: (digest(seed, stage, uuids[label]), uuids[label]))
    return pd.Series(uuids.index.isin(ranked[:count]), index=uuids.index)


def _shortages(rows: pd.DataFrame, quotas: Quotas) -> list[str]:
    lines = []
    for stratum, asked in quotas.model_dump().items():
        available = int((rows["subset"] + "_" + rows["bucket"]).eq(stratum).sum())
        if available < asked:
            lines.append(f"data.quotas.{stratum}: {asked} rows asked, {available} available after the filters.")
    return lines


def sample(rows: pd.DataFrame, quotas: Quotas, seed: int) -> pd.Series:
    """Why each row is not in the pool, or "" if it is; needs the columns uuid, subset, bucket.

    Each stratum (subset x bucket) gives as many rows as its quota says, those of the smallest keyed hash.
    Entirely-incorrect rows have no quota. Raises UserError when a stratum holds too few.
    """
    lines = _shortages(rows, quotas)
    if lines:
        raise UserError("\n".join([*lines, "Lower these quotas, or give data.source more rows."]))
    reasons = pd.Series(NOT_SAMPLED, index=rows.index)
    reasons[rows["bucket"] == "incorrect"] = INCORRECT
    strata = rows["subset"] + "_" + rows["bucket"]
    for stratum, count in quotas.model_dump().items():
        members = rows.loc[strata == stratum, "uuid"]
        chosen = smallest(members, count, seed, "sample")
        reasons[chosen.index[chosen]] = ""
    return reasons


def split(pool: pd.DataFrame, validation_rows: int, seed: int) -> pd.Series:
    """'validation' for `validation_rows` rows of smallest keyed hash, 'train' for the others."""
    if validation_rows >= len(pool):
        raise UserError(
            f"data.validation_rows: {validation_rows} of the {len(pool)} rows of data.quotas leave none for training."
        )
    return smallest(pool["uuid"], validation_rows, seed, "validation").map({True: "validation", False: "train"})
