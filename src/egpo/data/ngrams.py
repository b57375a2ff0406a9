"""N-grams of the tokens of many texts, as arrays of 64-bit hashes.

Equal hashes count as equal n-grams: among a hundred million different ones, the chance that any two collide is 3 in
10,000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from egpo.data.tokens import CHUNK, Tokens, mixed, powers, starts_of

_TOKEN = np.uint64(0xD6E8FEB86659FD93)  # odd: base of an n-gram's polynomial over its tokens


@dataclass(frozen=True)
class Ngrams:
    """N-grams of n texts, one text after the other; those that a text repeats are repeated here.

    Attributes:
        hashes: (ngrams,) uint64.
        starts: (n + 1,) int64; text i has the n-grams starts[i] to starts[i + 1].
    """

    hashes: np.ndarray
    starts: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """(n,) number of n-grams of each text, repeated ones included."""
        return np.diff(self.starts)

    def take(self, members: np.ndarray) -> Ngrams:
        """The n-grams of the texts numbered by `members`, in that order."""
        counts = self.counts[members]
        starts = starts_of(counts)
        place = np.arange(starts[-1]) + np.repeat(self.starts[members] - starts[:-1], counts)
        return Ngrams(self.hashes[place], starts)


def _ngrams(tokens: np.ndarray, starts: np.ndarray, size: int, short: bool) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and counts of the n-grams of some texts; starts: as in Tokens."""
    count = np.diff(starts)
    made = np.maximum(count - size + 1, (count > 0) & short)
    weights = powers(_TOKEN, size)
    sums = np.zeros(max(len(tokens) - size + 1, 0), dtype=np.uint64)
    for offset, weight in enumerate(weights):
        sums += tokens[offset : offset + len(sums)] * weight
    # An n-gram is known by its first token, which must have size - 1 more tokens of the same text behind it.
    last = np.repeat(starts[1:] - size, count)
    whole = np.arange(len(tokens)) <= last
    hashes = sums[whole[: len(sums)]]
    lone = np.flatnonzero((count > 0) & (count < size)) if short else np.empty(0, dtype=np.int64)
    if len(lone):
        ends = (np.cumsum(made) - made)[lone] - np.arange(len(lone))
        texts = [tokens[starts[text] : starts[text + 1]] for text in lone]
        hashes = np.insert(hashes, ends, [(text * weights[: len(text)]).sum() for text in texts])
    return mixed(hashes), made


def ngrams(tokens: Tokens, size: int, short: bool = True) -> Ngrams:
    """Every n-gram of `size` tokens.

    Args:
        tokens: of n texts; a text without tokens has no n-gram.
        size: tokens per n-gram.
        short: whether a text of fewer tokens than `size` is one n-gram by itself; otherwise it has none.
    """
    parts = []
    for first in range(0, len(tokens.starts) - 1, CHUNK):
        starts = tokens.starts[first : first + CHUNK + 1]
        parts.append(_ngrams(tokens.hashes[starts[0] : starts[-1]], starts - starts[0], size, short))
    counts = np.concatenate([np.empty(0, dtype=np.int64), *(made for _, made in parts)])
    hashes = np.concatenate([np.empty(0, dtype=np.uint64), *(part for part, _ in parts)])
    return Ngrams(hashes, starts_of(counts))


def whole_texts(tokens: Tokens) -> np.ndarray:
    """(n,) uint64: one hash of all tokens of a text in their order; 0 for a text without tokens."""
    count = np.diff(tokens.starts)
    position = np.arange(len(tokens.hashes)) - np.repeat(tokens.starts[:-1], count)
    terms = tokens.hashes * powers(_TOKEN, count.max(initial=0))[position]
    hashes = np.zeros(len(count), dtype=np.uint64)
    if len(terms):
        hashes[count > 0] = mixed(np.add.reduceat(terms, tokens.starts[:-1][count > 0]))
    return hashes
