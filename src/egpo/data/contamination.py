"""Which problems are items of an evaluation set, by the rules of `egpo.config.Decontamination`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from egpo.config import Decontamination, Deduplication
from egpo.data.minhash import band_keys, layout
from egpo.data.texts import NUMBER, SIGN, WORD, Runs, Tokens, runs, whole_texts

REASON, CLUSTER = "contaminated", "contaminated-cluster"
STOCK = 8  # words in a row that stock phrases share with items: reported, never a reason
LEAST_SHINGLES = 8  # of an item that containment judges: what is shorter occurs in texts of other problems
ROWS = 20_000  # multiplied at a time


@dataclass(frozen=True)
class Prepared:
    """What the rules compare of some texts, computed once."""

    whole: np.ndarray
    digitless: np.ndarray
    shingles: Runs
    words: Runs
    stock: Runs

    @classmethod
    def of(cls, tokens: Tokens, settings: Decontamination, shingle: int) -> Prepared:
        words = tokens.of_kinds(WORD, NUMBER)
        return cls(
            whole_texts(tokens),
            whole_texts(tokens.of_kinds(WORD, SIGN)),
            runs(tokens, shingle),
            runs(words, settings.words, short=False),
            runs(words, STOCK, short=False),
        )


def _any_run(texts: Runs, items: Runs) -> np.ndarray:
    """(n,) whether a text has a run that an item has."""
    owners = np.repeat(np.arange(len(texts.counts)), texts.counts)
    return np.bincount(owners[np.isin(texts.hashes, items.hashes)], minlength=len(texts.counts)) > 0


def _shared(texts: Runs, items: Runs) -> sparse.coo_array:
    """(n, items) how many different runs a text and an item share."""
    vocabulary = np.unique(items.hashes)

    def matrix(part: Runs) -> sparse.csr_array:
        columns = np.searchsorted(vocabulary, part.hashes)
        known = vocabulary[np.minimum(columns, len(vocabulary) - 1)] == part.hashes
        before = np.concatenate([[0], np.cumsum(known)])
        made = sparse.csr_array(
            (np.ones(known.sum(), dtype=np.int32), columns[known], before[part.starts]),
            shape=(len(part.counts), len(vocabulary)),
        )
        made.sum_duplicates()
        made.data[:] = 1
        return made

    left, right = matrix(texts), matrix(items).T.tocsr()
    parts = [left[start : start + ROWS] @ right for start in range(0, left.shape[0], ROWS)]
    return sparse.coo_array(sparse.vstack(parts)) if parts else sparse.coo_array((0, right.shape[1]))


def _different(texts: Runs, members: np.ndarray) -> np.ndarray:
    """How many different runs each of the texts named by `members` has."""
    return np.array(
        [len(np.unique(texts.hashes[texts.starts[member] : texts.starts[member + 1]])) for member in members]
    )


def _overlaps(texts: Runs, items: Runs, settings: Decontamination) -> tuple[np.ndarray, np.ndarray]:
    """(n,) twice: by Jaccard similarity with an item, and by the share of an item's shingles."""
    sizes = _different(items, np.arange(len(items.counts)))
    shared = _shared(texts, items)
    share = shared.data / np.maximum(sizes[shared.col], 1)
    # A Jaccard similarity is at most the share of the smaller set, so nothing below these bounds can count.
    near = share >= min(settings.jaccard, settings.containment)
    row, column, count, share = shared.row[near], shared.col[near], shared.data[near], share[near]
    union = _different(texts, row) + sizes[column] - count
    flags = np.zeros((2, len(texts.counts)), dtype=bool)
    flags[0, row[count / np.maximum(union, 1) >= settings.jaccard]] = True
    flags[1, row[(share >= settings.containment) & (sizes[column] >= LEAST_SHINGLES)]] = True
    return flags[0], flags[1]


def _shares_band(texts: Runs, items: Runs, settings: Deduplication) -> np.ndarray:
    """(n,) what datasketch's MinHashLSH over the items answers to each text, unchecked, with its own bands."""
    paper = settings.model_copy(update={"mode": "paper"})

    def keys(part: Runs) -> tuple[np.ndarray, np.ndarray]:
        filled = np.flatnonzero(part.counts)
        return filled, band_keys(part.take(filled), settings.permutations, layout(paper))

    (asked, left), (_, right) = keys(texts), keys(items)
    hits = np.zeros(len(asked), dtype=bool)
    for band in range(left.shape[1]):
        hits |= np.isin(left[:, band], right[:, band])
    flags = np.zeros(len(texts.counts), dtype=bool)
    flags[asked[hits]] = True
    return flags


def found(
    texts: Prepared, items: Prepared, settings: Decontamination, deduplication: Deduplication
) -> dict[str, np.ndarray]:
    """(n,) bool for each rule of the settings, in their order, and last for 'stock-phrase', which is no reason.

    texts: the problems; items: the questions of one evaluation set. Raises ValueError if there is no item.
    """
    if not len(items.whole):
        raise ValueError("an evaluation set without items")
    flags = {
        "exact": np.isin(texts.whole, items.whole[items.whole != 0]),
        "digitless": np.isin(texts.digitless, items.digitless[items.digitless != 0]),
        "words": _any_run(texts.words, items.words),
    }
    if {"jaccard", "containment"} & set(settings.rules):
        flags["jaccard"], flags["containment"] = _overlaps(texts.shingles, items.shingles, settings)
    if "lsh" in settings.rules:
        flags["lsh"] = _shares_band(texts.shingles, items.shingles, deduplication)
    return {**{rule: flags[rule] for rule in settings.rules}, "stock-phrase": _any_run(texts.stock, items.stock)}
