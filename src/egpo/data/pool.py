"""The steps that compare rows with each other: from filtered rows to the pool and its splits.

A table has one line per source row, `reason` (the first that drops the row, or "") and a column for every reason that
was looked for. Each step adds its columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from egpo.common.errors import UserError
from egpo.config.data import Data
from egpo.data import contamination, deduplicate, sample
from egpo.data.filters import REASONS
from egpo.data.near import exact_pairs
from egpo.data.ngrams import Ngrams
from egpo.data.tokens import Tokens, tokenised

DUPLICATE_UUID = "duplicate-uuid"
HELD_OUT = "heldout"
# Every reason to drop a row, in the order of the chain.
ORDER = (
    DUPLICATE_UUID,
    *REASONS,
    contamination.REASON,
    contamination.CLUSTER,
    deduplicate.CONFLICT,
    deduplicate.REASON,
    deduplicate.TEMPLATE,
    sample.INCORRECT,
    sample.NOT_SAMPLED,
    sample.LONG_FINAL_PROMPT,
)


@dataclass
class Pool:
    """The rows, the shingles of their problems, and what the steps found, for the manifest.

    Attributes:
        templates: hash of each problem without its numbers, for data.deduplication.max_per_template.
    """

    table: pd.DataFrame
    shingles: Ngrams
    templates: np.ndarray
    found: dict[str, Any] = field(default_factory=dict)


def ordered(table: pd.DataFrame, keep: Iterable[str]) -> pd.DataFrame:
    """Filtered rows with `reason`, sorted by uuid, then content, so that the order of the shards does not matter.

    Args:
        table: the rows; of those that share a uuid the first one counts.
        keep: reasons that drop no row.

    Raises:
        UserError: if there is no row.
    """
    if table.empty:
        raise UserError("data.source: its shards hold no row at all.")
    table = table.sort_values(list(table.columns), ignore_index=True)
    table.insert(len(table.columns) - len(REASONS), DUPLICATE_UUID, table["uuid"].duplicated())
    flags = table[[DUPLICATE_UUID, *(reason for reason in REASONS if reason not in set(keep))]]
    return table.assign(reason=flags.idxmax(axis=1).where(flags.any(axis=1), ""))


def _drop(table: pd.DataFrame, flags: np.ndarray, reason: str) -> None:
    """Add the column of a reason; it is the `reason` of the rows in `flags` that have none yet."""
    table[reason] = flags
    table.loc[flags & (table["reason"] == ""), "reason"] = reason


def decontaminate(pool: Pool, tokens: Tokens, questions: dict[str, list[str]], data: Data) -> None:
    """Flag items of the evaluation sets, with a column per rule. questions: texts by benchmark."""
    settings = data.decontamination
    texts = contamination.Prepared.of(tokens, settings, data.deduplication)
    flags: dict[str, np.ndarray] = {}
    counts: dict[str, dict[str, int]] = {}
    for name, items in questions.items():
        prepared = contamination.Prepared.of(tokenised(items), settings, data.deduplication)
        rules = contamination.found(texts, prepared, settings)
        counts[name] = {"items": len(items), **{rule: int(hits.sum()) for rule, hits in rules.items()}}
        for rule, hits in rules.items():
            flags[rule] = flags.get(rule, False) | hits
    for rule, hits in flags.items():
        pool.table[f"found-by-{rule}"] = hits
    nothing = np.zeros(len(pool.table), dtype=bool)
    hits = np.logical_or.reduce([nothing, *(flags[rule] for rule in settings.rules if rule in flags)])
    _drop(pool.table, hits, contamination.REASON)
    pool.found["decontamination"] = counts


def drop_clusters(pool: Pool, data: Data) -> None:
    """Drop clusters with an evaluation item and clusters of different answers; of any other cluster keep one row.

    Adds the column `cluster`: the uuid of the row that the cluster would keep.
    """
    table, settings = pool.table, data.deduplication
    # With the contaminated rows: their near-duplicates must be dropped as well.
    members = np.flatnonzero((table["reason"] == "") | (table["reason"] == contamination.REASON))
    rows = table.iloc[members]
    made = deduplicate.clusters(rows, pool.shingles.take(members), settings)
    kept = made.kept
    table["cluster"] = pd.Series(rows["uuid"].to_numpy()[kept], index=rows.index).reindex(table.index, fill_value="")

    def everywhere(flags: np.ndarray) -> np.ndarray:
        spread = np.zeros(len(table), dtype=bool)
        spread[members] = flags
        return spread

    hit = rows[contamination.REASON].to_numpy()
    # Whatever its numbers: a row that differs from a benchmark's item in them alone is too close to it.
    _drop(table, everywhere(np.isin(made.similar, made.similar[hit]) & ~hit), contamination.CLUSTER)
    conflicts = np.zeros(len(members), dtype=bool)
    if settings.conflicts == "drop":
        alive = (table["reason"].iloc[members] == "").to_numpy()
        conflicts[alive] = deduplicate.conflicting(rows["answer"][alive], _renumbered(kept, alive))
    _drop(table, everywhere(conflicts), deduplicate.CONFLICT)
    _drop(table, everywhere(kept != np.arange(len(kept))), deduplicate.REASON)
    if settings.max_per_template is not None:
        left = np.flatnonzero(table["reason"] == "")
        late = deduplicate.beyond(pool.templates[left], table.iloc[left], settings.max_per_template)
        _drop(table, np.isin(np.arange(len(table)), left[late]), deduplicate.TEMPLATE)
    sizes = np.bincount(kept, minlength=len(kept))
    pool.found["near_duplicates"] = {
        **made.counts,
        "clusters": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max(initial=0)),
    }


def _renumbered(kept: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """`kept` as positions among the rows of whole clusters that are still there."""
    place = np.cumsum(alive) - 1
    return place[kept[alive]]


def _near_in_pool(pool: Pool, data: Data) -> np.ndarray:
    """(pairs, 2) row numbers of all near-duplicates in the pool: those that LSH has missed."""
    members = np.flatnonzero(pool.table["reason"] == "")
    pairs = exact_pairs(pool.shingles.take(members), data.deduplication.threshold)
    return members[pairs]


def _sampled_once(pool: Pool, data: Data) -> sample.Sampled:
    rows = pool.table[pool.table["reason"] == ""]
    made = sample.sample(rows, data.quotas, data.source_cap, data.max_deficit, data.seed)
    pool.table.loc[made.reasons.index, "reason"] = made.reasons
    return made


def draw(pool: Pool, data: Data) -> None:
    """Sample the pool by quota and split it; adds the column `split` ('train', 'validation', 'heldout' or '').

    In mode `verified` the pool is searched exactly, near-duplicates that LSH missed are dropped, and the pool is drawn
    again until none is left. In either mode no validation row has a near-duplicate in the pool.
    """
    table = pool.table
    before = table["reason"].copy()
    missed = 0
    while True:
        made = _sampled_once(pool, data)
        pairs = _near_in_pool(pool, data)
        copies = pairs[deduplicate.same_problem(table["problem"], table["answer"], pairs)]
        if data.deduplication.mode == "paper" or not len(copies):
            break
        for reason, lost in _missed(table, copies, data).items():
            before.iloc[lost] = reason
            table.loc[table.index[lost], reason] = True
            missed += len(lost)
        table["reason"] = before
    chosen = table[table["reason"] == ""]
    near = set(table.index[np.unique(pairs)])
    parts = sample.split(chosen, near, data.validation_rows, data.seed)
    table["split"] = parts.reindex(table.index, fill_value="")
    late = (table["reason"] == "") & (table["prompt_tokens"] > data.final_prompt_tokens)
    table.loc[late, ["reason", "split"]] = (sample.LONG_FINAL_PROMPT, "")
    if data.heldout_rows:
        _hold_out(pool, data)
    pool.found["sampling"] = {
        "missed_by_lsh": missed,
        "near_pairs_left": len(pairs) if data.deduplication.mode == "paper" else len(copies),
        "other_numbers_left": len(pairs) - len(copies),
        "deficits": _named(made.deficits),
        "filled": {"_".join(stratum): _named(rows) for stratum, rows in made.filled.items()},
    }


def _missed(table: pd.DataFrame, copies: np.ndarray, data: Data) -> dict[str, np.ndarray]:
    """Row numbers to drop for each reason, of pairs of copies that LSH has missed."""
    members, places = np.unique(copies, return_inverse=True)
    rows = table.iloc[members]
    kept = deduplicate.chosen(rows, places.reshape(-1, 2))
    conflicts = np.zeros(len(members), dtype=bool)
    if data.deduplication.conflicts == "drop":
        conflicts = deduplicate.conflicting(rows["answer"], kept)
    lesser = (kept != np.arange(len(kept))) & ~conflicts
    return {deduplicate.CONFLICT: members[conflicts], deduplicate.REASON: members[lesser]}


def _hold_out(pool: Pool, data: Data) -> None:
    """Put rows without a near-duplicate in the pool into the split 'heldout'; they keep their reason."""
    table = pool.table
    left = table[(table["reason"] == sample.NOT_SAMPLED) & (table["prompt_tokens"] <= data.final_prompt_tokens)]
    members = np.concatenate([np.flatnonzero(table["split"] != ""), table.index.get_indexer(left.index)])
    pairs = exact_pairs(pool.shingles.take(members), data.deduplication.threshold)
    near = set(table.index[np.unique(members[pairs])])
    table.loc[sample.hold_out(left, near, data.heldout_rows, data.seed), "split"] = HELD_OUT


def _named(strata: dict[sample.Stratum, int]) -> dict[str, int]:
    return {"_".join(stratum): rows for stratum, rows in strata.items()}
