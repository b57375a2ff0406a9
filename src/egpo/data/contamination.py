"""Which problems are items of an evaluation set, by the rules of `egpo.config.data.Decontamination`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from egpo.config.data import Decontamination, Deduplication
from egpo.data.minhash import band_keys, layout
from egpo.data.texts import NUMBER, SIGN, WORD, Ngrams, Tokens, runs, whole_texts

REASON, CLUSTER = "contaminated", "contaminated-cluster"
STOCK = 8  # words in a row that stock phrases share with items: reported, never a reason
LEAST_SHINGLES = 8  # of an item that containment judges: what is shorter occurs in texts of other problems
ROWS = 2000  # texts multiplied with all items at a time: a stock phrase makes nearly every product of a pair nonzero
SLOTS = np.uint64(2**22)  # of a table by the lower bits of a hash


@dataclass(frozen=True)
class Prepared:
    """What the rules compare of some texts, computed once. bands: of the texts with a shingle, for rule 'lsh' alone."""

    whole: np.ndarray
    digitless: np.ndarray
    shingles: Ngrams
    words: Ngrams
    stock: Ngrams
    bands: np.ndarray | None

    @classmethod
    def of(cls, tokens: Tokens, settings: Decontamination, deduplication: Deduplication) -> Prepared:
        words, shingles = tokens.of_kinds(WORD, NUMBER), runs(tokens, deduplication.ngram_size)
        return cls(
            whole_texts(tokens),
            whole_texts(tokens.of_kinds(WORD, SIGN)),
            shingles,
            runs(words, settings.words, short=False),
            runs(words, STOCK, short=False),
            _bands(shingles, deduplication) if "lsh" in settings.rules else None,
        )


def _bands(shingles: Ngrams, settings: Deduplication) -> np.ndarray:
    """(texts with a shingle, bands) keys with datasketch's own bands."""
    paper = settings.model_copy(update={"mode": "paper"})
    return band_keys(shingles.take(np.flatnonzero(shingles.counts)), settings.num_perm, layout(paper))


def _among(hashes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """np.isin for very many hashes against few: a table by their lower bits lets most of them go at once."""
    table = np.zeros(int(SLOTS), dtype=bool)
    table[wanted % SLOTS] = True
    found = table[hashes % SLOTS]
    maybe = np.flatnonzero(found)
    found[maybe] = np.isin(hashes[maybe], wanted)
    return found


def _any_run(texts: Ngrams, items: Ngrams) -> np.ndarray:
    """(n,) whether a text has a run that an item has."""
    hits = np.flatnonzero(_among(texts.hashes, items.hashes))
    flags = np.zeros(len(texts.counts), dtype=bool)
    flags[np.searchsorted(texts.starts, hits, side="right") - 1] = True
    return flags


def _incidence(part: Ngrams, vocabulary: np.ndarray) -> sparse.csr_array:
    """(texts, vocabulary) 0/1 matrix of which of the given runs a text has."""
    known = _among(part.hashes, vocabulary)
    before = np.concatenate([[0], np.cumsum(known)])
    columns = np.searchsorted(vocabulary, part.hashes[known])
    made = sparse.csr_array(
        (np.ones(len(columns), dtype=np.int32), columns, before[part.starts]),
        shape=(len(part.counts), len(vocabulary)),
    )
    made.sum_duplicates()
    made.data[:] = 1
    return made


def _near(texts: Ngrams, items: Ngrams, sizes: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(text, item, runs shared) of the pairs in which the text has at least the share `least` of the item's runs.

    sizes: (items,) how many different runs each item has.
    """
    vocabulary = np.unique(items.hashes)
    left, right = _incidence(texts, vocabulary), _incidence(items, vocabulary).T.tocsr()
    found = [np.empty((3, 0), dtype=np.int64)]
    for start in range(0, left.shape[0], ROWS):
        shared = sparse.coo_array(left[start : start + ROWS] @ right)
        near = shared.data >= least * np.maximum(sizes[shared.col], 1)
        found.append(np.stack([shared.row[near] + start, shared.col[near], shared.data[near]]))
    row, column, count = np.concatenate(found, axis=1)
    return row, column, count


def _different(texts: Ngrams, members: np.ndarray) -> np.ndarray:
    """How many different runs each of the texts named by `members` has."""
    return np.array(
        [len(np.unique(texts.hashes[texts.starts[member] : texts.starts[member + 1]])) for member in members]
    )


def _overlaps(texts: Ngrams, items: Ngrams, settings: Decontamination) -> tuple[np.ndarray, np.ndarray]:
    """(n,) twice: by Jaccard similarity with an item, and by the share of an item's shingles."""
    sizes = _different(items, np.arange(len(items.counts)))
    # A Jaccard similarity is at most the share of the smaller set, so nothing below these bounds can count.
    row, column, count = _near(texts, items, sizes, min(settings.jaccard, settings.containment))
    share = count / np.maximum(sizes[column], 1)
    union = _different(texts, row) + sizes[column] - count
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
        flags["lsh"] = _shares_band(texts, items)
    return {**{rule: flags[rule] for rule in settings.rules}, "stock-phrase": _any_run(texts.stock, items.stock)}
