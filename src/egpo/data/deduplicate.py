"""Near-duplicates among the problem texts: MinHash-LSH over shingles of tokens (appendix A.2), in two modes.

`paper` takes datasketch's bands as they are: two texts that share one are duplicates. With 128 permutations and 0.8
that is 9 bands of 13, which find a pair of Jaccard similarity 0.8 with probability 0.40 and one of 0.7 with 0.08.
`verified` has more bands and compares the shingles of every pair that they propose.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from egpo.common.answers import answers_equivalent
from egpo.config.data import Deduplication
from egpo.data.minhash import SCHEME, SEED, band_keys, layout
from egpo.data.near import all_pairs, components, distinct, jaccard, neighbours
from egpo.data.ngrams import Ngrams
from egpo.data.schema import FOLDERS

REASON, CONFLICT = "near-duplicate", "conflicting-answers"


def near_pairs(ngrams: Ngrams, settings: Deduplication) -> tuple[np.ndarray, dict[str, int]]:
    """(pairs, 2) of texts found to be near-duplicates, and how many pairs were candidates, checked and accepted.

    In mode `paper` not every pair of a bucket is listed, but enough to connect its members.
    """
    count = len(ngrams.counts)
    filled = np.flatnonzero(ngrams.counts)
    keys = band_keys(ngrams.take(filled), settings.num_perm, layout(settings))
    if settings.mode == "paper":
        pairs = distinct([neighbours(column, filled) for column in keys.T], count)
        return pairs, {"candidates": len(pairs), "checked": 0, "accepted": len(pairs)}
    found = [pairs for column in keys.T for pairs in all_pairs(column, filled)]
    candidates = distinct(found, count)
    pairs = candidates[jaccard(ngrams, candidates) >= settings.threshold]
    return pairs, {"candidates": len(candidates), "checked": len(candidates), "accepted": len(pairs)}


def parameters(settings: Deduplication) -> dict[str, Any]:
    """Everything but the texts that the clusters depend on."""
    chosen = layout(settings)
    return {
        **settings.model_dump(),
        **asdict(chosen),
        "scheme": SCHEME,
        "seed": SEED,
        "hash": "lower 32 bits of egpo.data.ngrams.ngrams",
        "candidates_checked": settings.mode == "verified",
        "found_at": {str(jaccard): round(chosen.probability(jaccard), 3) for jaccard in (0.6, 0.7, 0.8, 0.85, 0.9)},
    }


def preference(rows: pd.DataFrame) -> np.ndarray:
    """Positions of the rows in the order in which a cluster's row is chosen.

    Subset (default before extended), then higher correctness_count, then smaller uuid.
    """
    order = pd.DataFrame(
        {
            "subset": rows["subset"].map(list(FOLDERS).index).to_numpy(),
            "count": -rows["correctness_count"].to_numpy(),
            "uuid": rows["uuid"].to_numpy(),
        }
    )
    return order.sort_values(["subset", "count", "uuid"]).index.to_numpy()


def clusters(rows: pd.DataFrame, ngrams: Ngrams, settings: Deduplication) -> tuple[np.ndarray, dict[str, int]]:
    """(n,) for each row the position of the one that its cluster would keep, and the counts of `near_pairs`.

    Args:
        rows: the columns uuid, subset, correctness_count.
        ngrams: of their problems, in the same order.
    """
    order = preference(rows)
    pairs, counts = near_pairs(ngrams.take(order), settings)
    kept = np.empty(len(rows), dtype=np.int64)
    kept[order] = order[components(pairs, len(rows))]  # in this order, the smallest is the row to keep
    return kept, counts


def conflicting(answers: pd.Series, kept: np.ndarray) -> np.ndarray:
    """(n,) bool: rows of clusters in which some row's answer is not the answer of the row to keep."""
    texts = answers.to_numpy()
    others = np.flatnonzero(kept != np.arange(len(kept)))
    differ = [index for index in others if not answers_equivalent(texts[index], texts[kept[index]])]
    return np.isin(kept, kept[differ])
