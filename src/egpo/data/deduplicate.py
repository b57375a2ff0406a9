"""Near-duplicates among the problem texts: datasketch's MinHash-LSH over word shingles (appendix A.2).

LSH finds most of the pairs at the threshold or above, and accepts a few below it: with 128 permutations
and 0.8, a pair of Jaccard similarity 0.8 is found with probability 0.4, one of 0.9 with 0.93.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from datasketch import MinHash, MinHashLSH

from egpo.config import Deduplication
from egpo.data.schema import FOLDERS

# datasketch changed its default in 2.0; the signatures, and so the result, depend on both.
SCHEME, SEED = "affine32", 1
REASON = "near-duplicate"

# A number, a word or a single sign: x+y=3 and x-y=3 differ. Dollars only say where LaTeX begins.
_TOKEN = re.compile(r"\d+|[^\W\d_]+|[^\w\s$]|_")


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def shingles(text: str, size: int) -> set[str]:
    """Runs of `size` tokens; a shorter text is one shingle, a text without tokens has none."""
    words = tokens(text)
    if not words:
        return set()
    return {" ".join(words[start : start + size]) for start in range(max(1, len(words) - size + 1))}


def signatures(texts: Sequence[str], settings: Deduplication) -> list[MinHash | None]:
    """MinHash of each text's shingles; None for a text without any, since all empty sets look alike."""
    sets = [shingles(text, settings.shingle) for text in texts]
    filled = [[shingle.encode() for shingle in sorted(items)] for items in sets if items]
    made = iter(MinHash.bulk(filled, num_perm=settings.permutations, seed=SEED, scheme=SCHEME))
    return [next(made) if items else None for items in sets]


def clusters(texts: Sequence[str], settings: Deduplication) -> list[int]:
    """For each text the smallest index among the texts it is connected to by near-duplicate pairs."""
    parent = list(range(len(texts)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    lsh = MinHashLSH(threshold=settings.threshold, num_perm=settings.permutations)
    for index, signature in enumerate(signatures(texts, settings)):
        if signature is None:
            continue
        for other in sorted(lsh.query(signature)):
            first, second = sorted((root(index), root(other)))
            parent[second] = first
        lsh.insert(index, signature)
    return [root(index) for index in range(len(texts))]


def parameters(settings: Deduplication) -> dict[str, Any]:
    """Everything that the clusters depend on beside the texts."""
    lsh = MinHashLSH(threshold=settings.threshold, num_perm=settings.permutations)
    return {
        **settings.model_dump(),
        "scheme": SCHEME,
        "seed": SEED,
        "hash": "sha1, first 32 bits",
        "bands": lsh.b,
        "rows_per_band": lsh.r,
        "candidates_checked": False,
    }


def deduplicate(rows: pd.DataFrame, settings: Deduplication) -> pd.DataFrame:
    """Columns `cluster` (uuid of the row that is kept for it) and `duplicate` (bool), indexed as `rows`.

    Of a cluster that row is kept which comes first by subset (default before extended), then higher
    correctness_count, then smaller uuid. Needs the columns uuid, subset, problem, correctness_count.
    """
    preference = pd.DataFrame(
        {
            "subset": rows["subset"].map(list(FOLDERS).index),
            "count": -rows["correctness_count"],
            "uuid": rows["uuid"],
        }
    )
    ordered = rows.loc[preference.sort_values(["subset", "count", "uuid"]).index]
    # In this order, a cluster's smallest index is the row to keep.
    found = clusters(ordered["problem"].tolist(), settings)
    uuids = ordered["uuid"].to_numpy()
    result = pd.DataFrame({"cluster": uuids[found], "duplicate": uuids[found] != uuids}, index=ordered.index)
    return result.loc[rows.index]
