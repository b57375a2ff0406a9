"""Near-duplicates among the problem texts: MinHash-LSH over shingles of tokens (appendix A.2), in two modes.

`paper` takes datasketch's bands as they are: two texts that share one are duplicates. With 128 permutations and 0.8
that is 9 bands of 13, which find a pair of Jaccard similarity 0.8 with probability 0.40 and one of 0.7 with 0.08.
`verified` has more bands and compares the shingles of every pair that they propose. There, texts that differ in their
numbers are different problems: generated and taught problems come in families of one story.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from egpo.common.answers import answers_equivalent
from egpo.config.data import Deduplication
from egpo.data.minhash import SCHEME, SEED, band_keys, layout
from egpo.data.near import all_pairs, components, distinct, jaccard, neighbours
from egpo.data.ngrams import Ngrams
from egpo.data.schema import FOLDERS
from egpo.data.tokens import written_alike

REASON, CONFLICT, TEMPLATE = "near-duplicate", "conflicting-answers", "same-template"
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_SMALL += " seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_OTHERS = "hundred thousand million half third quarter twice double triple thrice dozen"
_WORDS = {
    **{word: str(number) for number, word in enumerate(_SMALL.split())},
    **{word: str(10 * number) for number, word in enumerate(_TENS.split(), start=2)},
    **{word: word for word in _OTHERS.split()},
}
_NUMBER = re.compile(rf"\d*\.\d+|\d+|\b(?:{'|'.join(_WORDS)})\b")


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


@dataclass(frozen=True)
class Clusters:
    """Which of n rows belong together.

    Attributes:
        kept: (n,) position of the row that stays of all copies of one problem.
        similar: (n,) the same, of all rows of similar text, whatever their numbers.
        counts: what the search has found.
    """

    kept: np.ndarray
    similar: np.ndarray
    counts: dict[str, int]


def clusters(rows: pd.DataFrame, ngrams: Ngrams, settings: Deduplication) -> Clusters:
    """The clusters of near-duplicates among some rows.

    Args:
        rows: the columns uuid, subset, correctness_count, problem and answer.
        ngrams: of their problems, in the same order.
    """
    order = preference(rows)
    pairs, counts = near_pairs(ngrams.take(order), settings)
    pairs = order[pairs]
    copies = pairs
    if settings.mode == "verified":
        copies = pairs[same_problem(rows["problem"], rows["answer"], pairs)]
        counts["other_numbers"] = len(pairs) - len(copies)
    return Clusters(chosen(rows, copies), chosen(rows, pairs), counts)


def chosen(rows: pd.DataFrame, pairs: np.ndarray) -> np.ndarray:
    """(n,) for each row the position of the first by `preference` among those that pairs of positions connect it to."""
    order = preference(rows)
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows))
    found = np.empty(len(rows), dtype=np.int64)
    found[order] = order[components(rank[pairs], len(rows))]
    return found


def same_problem(problems: pd.Series, answers: pd.Series, pairs: np.ndarray) -> np.ndarray:
    """(pairs,) bool: which pairs of similar texts are copies of one problem, and not one story with other numbers.

    They are if they have the same numbers. Also if one has all numbers of the other, as with "3. (6 points)" before
    it, and they have the same answer: with another answer it is another problem.
    """
    texts, values = problems.to_numpy(), answers.to_numpy()
    numbers = {row: numbers_of(texts[row]) for row in np.unique(pairs).tolist()}

    def same(one: int, other: int) -> bool:
        if numbers[one] == numbers[other]:
            return True
        fewer, more = sorted((numbers[one], numbers[other]), key=len)
        return _within(fewer, more) and answers_equivalent(values[one], values[other])

    return np.fromiter((same(one, other) for one, other in pairs.tolist()), dtype=bool, count=len(pairs))


def numbers_of(problem: str) -> tuple[str, ...]:
    """The numbers of a text in their order, written alike: digits, and the words for numbers that stories have."""
    found = _NUMBER.findall(written_alike(problem))
    return tuple(_WORDS[text] if text in _WORDS else _plain(text) for text in found)


def _plain(number: str) -> str:
    """Digits without leading zeros, and without zeros at the end of a decimal."""
    whole, _, decimals = number.partition(".")
    return f"{whole.lstrip('0') or '0'}.{decimals.rstrip('0')}".rstrip(".")


def _within(fewer: tuple[str, ...], more: tuple[str, ...]) -> bool:
    """Whether `more` has the numbers of `fewer` in their order, perhaps with others between them."""
    left = iter(more)
    return all(number in left for number in fewer)


def conflicting(answers: pd.Series, kept: np.ndarray) -> np.ndarray:
    """(n,) bool: rows of clusters in which some row's answer is not the answer of the row to keep."""
    texts = answers.to_numpy()
    others = np.flatnonzero(kept != np.arange(len(kept)))
    differ = [index for index in others if not answers_equivalent(texts[index], texts[kept[index]])]
    return np.isin(kept, kept[differ])


def beyond(templates: np.ndarray, rows: pd.DataFrame, limit: int) -> np.ndarray:
    """(n,) bool: rows after the first `limit` of their template, in the order of `preference`.

    Args:
        templates: (n,) hash of each text without its numbers; 0 for a text without any words.
        rows: the columns uuid, subset and correctness_count.
    """
    order = preference(rows)
    place = pd.Series(templates[order]).groupby(templates[order]).cumcount().to_numpy()
    flags = np.zeros(len(rows), dtype=bool)
    flags[order] = place >= limit
    return flags & (templates != 0)
