"""Which problems are items of an evaluation set, by the rules of `egpo.config.data.Decontamination`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from egpo.config.data import Decontamination, Deduplication
from egpo.data.minhash import band_keys, layout
from egpo.data.near import incidence, zero_one
from egpo.data.ngrams import Ngrams, ngrams, whole_texts
from egpo.data.tokens import NUMBER, SIGN, WORD, Tokens, starts_of

REASON, CLUSTER = "contaminated", "contaminated-cluster"
STOCK = 8  # words in a row, as stock phrases share them with items: counted, never a reason
LEAST_SHINGLES = 8  # of an item that containment considers: shorter ones occur in other problems by chance
ROWS = 2000  # texts multiplied with all items at a time: a stock phrase makes nearly every product of a pair nonzero
SLOTS = np.uint64(2**22)  # of a table by the lower bits of a hash


@dataclass(frozen=True)
class Prepared:
    """What the rules compare of some texts, computed once; `bands` only for the rule 'lsh', of texts with a shingle."""

    whole: np.ndarray
    digitless: np.ndarray
    shingles: Ngrams
    words: Ngrams
    stock: Ngrams
    bands: np.ndarray | None

    @classmethod
    def of(cls, tokens: Tokens, settings: Decontamination, deduplication: Deduplication) -> Prepared:
        words, shingles = tokens.of_kinds(WORD, NUMBER), ngrams(tokens, deduplication.ngram_size)
        return cls(
            whole_texts(tokens),
            whole_texts(tokens.of_kinds(WORD, SIGN)),
            shingles,
            ngrams(words, settings.words, short=False),
            ngrams(words, STOCK, short=False),
            _bands(shingles, deduplication) if "lsh" in settings.rules else None,
        )


def _bands(shingles: Ngrams, settings: Deduplication) -> np.ndarray:
    """(texts with a shingle, bands) keys with the bands of mode `paper`."""
    paper = settings.model_copy(update={"mode": "paper"})
    return band_keys(shingles.take(np.flatnonzero(shingles.counts)), settings.num_perm, layout(paper))


def _among(hashes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """np.isin for very many hashes against few: a table by their lower bits rules most of them out at once."""
    table = np.zeros(int(SLOTS), dtype=bool)
    table[wanted % SLOTS] = True
    found = table[hashes % SLOTS]
    maybe = np.flatnonzero(found)
    found[maybe] = np.isin(hashes[maybe], wanted)
    return found


def _any_ngram(texts: Ngrams, items: Ngrams) -> np.ndarray:
    """(n,) whether a text has an n-gram that an item has."""
    hits = np.flatnonzero(_among(texts.hashes, items.hashes))
    flags = np.zeros(len(texts.counts), dtype=bool)
    flags[np.searchsorted(texts.starts, hits, side="right") - 1] = True
    return flags


def _incidence_of(texts: Ngrams, vocabulary: np.ndarray) -> sparse.csr_array:
    """(texts, vocabulary) 0/1 matrix: which of the given n-grams occurs in which text."""
    known = _among(texts.hashes, vocabulary)
    columns = np.searchsorted(vocabulary, texts.hashes[known])
    return zero_one(columns, starts_of(known)[texts.starts], len(vocabulary))


def _near(texts: Ngrams, items: Ngrams, sizes: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(text, item, n-grams shared) of the pairs where the text has at least the share `least` of the item's n-grams.

    sizes: (items,) number of different n-grams of each item.
    """
    vocabulary = np.unique(items.hashes)
    left, right = _incidence_of(texts, vocabulary), _incidence_of(items, vocabulary).T.tocsr()
    found = [np.empty((3, 0), dtype=np.int64)]
    for start in range(0, left.shape[0], ROWS):
        shared = sparse.coo_array(left[start : start + ROWS] @ right)
        near = shared.data >= least * np.maximum(sizes[shared.col], 1)
        found.append(np.stack([shared.row[near] + start, shared.col[near], shared.data[near]]))
    row, column, count = np.concatenate(found, axis=1)
    return row, column, count


def _different(texts: Ngrams) -> np.ndarray:
    """(n,) number of different n-grams of each text."""
    return np.diff(incidence(texts).indptr)


def _overlaps(texts: Ngrams, items: Ngrams, settings: Decontamination) -> tuple[np.ndarray, np.ndarray]:
    """(n,) twice: by Jaccard similarity with an item, and by the share of an item's shingles."""
    sizes = _different(items)
    # A Jaccard similarity is at most the shared part of either set, so no pair below these bounds can count.
    row, column, count = _near(texts, items, sizes, min(settings.jaccard, settings.containment))
    share = count / np.maximum(sizes[column], 1)
    union = _different(texts.take(row)) + sizes[column] - count
    flags = np.zeros((2, len(texts.counts)), dtype=bool)
    flags[0, row[count / np.maximum(union, 1) >= settings.jaccard]] = True
    flags[1, row[(share >= settings.containment) & (sizes[column] >= LEAST_SHINGLES)]] = True
    return flags[0], flags[1]


def _shares_band(texts: Prepared, items: Prepared) -> np.ndarray:
    """(n,) what datasketch's MinHashLSH over the items answers to each text, unchecked."""
    assert texts.bands is not None and items.bands is not None
    hits = np.zeros(len(texts.bands), dtype=bool)
    for left, right in zip(texts.bands.T, items.bands.T, strict=True):
        hits |= np.isin(left, right)
    flags = np.zeros(len(texts.shingles.counts), dtype=bool)
    flags[np.flatnonzero(texts.shingles.counts)[hits]] = True
    return flags


def found(texts: Prepared, items: Prepared, settings: Decontamination) -> dict[str, np.ndarray]:
    """(n,) bool for each rule of the settings, in their order, and last for 'stock-phrase', which is not a reason.

    Args:
        texts: the problems.
        items: the questions of one evaluation set.

    Raises:
        ValueError: if there is no item.
    """
    if not len(items.whole):
        raise ValueError("an evaluation set without items")
    flags = {
        "exact": np.isin(texts.whole, items.whole[items.whole != 0]),
        "digitless": np.isin(texts.digitless, items.digitless[items.digitless != 0]),
        "words": _any_ngram(texts.words, items.words),
    }
    if {"jaccard", "containment"} & set(settings.rules):
        flags["jaccard"], flags["containment"] = _overlaps(texts.shingles, items.shingles, settings)
    if "lsh" in settings.rules:
        flags["lsh"] = _shares_band(texts, items)
    return {**{rule: flags[rule] for rule in settings.rules}, "stock-phrase": _any_ngram(texts.stock, items.stock)}
