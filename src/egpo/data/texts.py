"""Texts as arrays: their tokens, and hashes of runs of tokens, for hundreds of thousands of texts at a time.

A token is a number, a word or a single sign, in lower case, so that x+y=3 and x-y=3 differ; blanks and dollars, which
only say where LaTeX begins, are none. Equality of tokens and runs is equality of 64-bit hashes: among a hundred
million different runs the chance that any two meet is 3 in 10,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 128  # texts at a time: arrays that stay in the processor's cache
NOT_A_TOKEN, WORD, NUMBER, SIGN, _UNKNOWN = range(5)
_CHARACTER = np.uint64(0x9E3779B97F4A7C15)  # odd: base of a token's polynomial over its characters
_TOKEN = np.uint64(0xD6E8FEB86659FD93)  # odd: base of a run's polynomial over its tokens
_kinds = np.full(0x110000, _UNKNOWN, dtype=np.uint8)  # of every character met so far


@dataclass(frozen=True)
class Tokens:
    """Tokens of n texts, one after the other.

    hashes: (tokens,) uint64. kinds: (tokens,) uint8, WORD, NUMBER or SIGN. starts: (n + 1,) int64; text i has the
    tokens starts[i] to starts[i + 1].
    """

    hashes: np.ndarray
    kinds: np.ndarray
    starts: np.ndarray

    def of_kinds(self, *kinds: int) -> Tokens:
        """The same texts without tokens of other kinds."""
        kept = np.isin(self.kinds, kinds)
        before = np.concatenate([[0], np.cumsum(kept)])
        return Tokens(self.hashes[kept], self.kinds[kept], before[self.starts])


@dataclass(frozen=True)
class Ngrams:
    """Hashes of the runs of tokens in n texts, possibly repeated: (runs,) uint64; starts: (n + 1,) int64 as above."""

    hashes: np.ndarray
    starts: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """(n,) how many runs each text has, repeated ones as often as they occur."""
        return np.diff(self.starts)

    def take(self, members: np.ndarray) -> Ngrams:
        """The runs of the texts numbered by `members`, in that order."""
        counts = self.counts[members]
        starts = np.concatenate([[0], np.cumsum(counts)])
        place = np.arange(starts[-1]) + np.repeat(self.starts[members] - starts[:-1], counts)
        return Ngrams(self.hashes[place], starts)


def mixed(values: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer: a bijection of 64-bit integers after which every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _kind(character: str) -> int:
    if character.isdecimal():
        return NUMBER
    if character.isalnum():
        return WORD
    return NOT_A_TOKEN if character.isspace() or character == "$" else SIGN


def _kinds_of(codes: np.ndarray) -> np.ndarray:
    kinds = _kinds[codes]
    if (kinds == _UNKNOWN).any():
        for code in np.unique(codes[kinds == _UNKNOWN]).tolist():
            _kinds[code] = _kind(chr(code))
        kinds = _kinds[codes]
    return kinds


def _powers(base: np.uint64, count: int) -> np.ndarray:
    return np.concatenate([[np.uint64(1)], np.cumprod(np.full(max(count - 1, 0), base, dtype=np.uint64))])[:count]


def _tokenised(texts: Sequence[str]) -> Tokens:
    lower = [text.lower() for text in texts]
    codes = np.frombuffer("\n".join([*lower, ""]).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ends = np.cumsum([len(text) + 1 for text in lower])  # the blank after each text keeps tokens apart
    kinds = _kinds_of(codes)
    places = np.flatnonzero(kinds)
    inside = kinds[places]
    first = np.ones(len(places), dtype=bool)
    if len(places):
        first[1:] = (inside[1:] == SIGN) | (inside[1:] != inside[:-1]) | (places[1:] != places[:-1] + 1)
    heads = np.flatnonzero(first)
    lengths = np.diff(np.append(heads, len(places)))
    position = np.arange(len(places)) - np.repeat(heads, lengths)
    terms = (codes[places].astype(np.uint64) + np.uint64(1)) * _powers(_CHARACTER, lengths.max(initial=0))[position]
    hashes = np.add.reduceat(terms, heads) if len(heads) else terms
    starts = np.concatenate([[0], np.searchsorted(places[heads], ends)])
    return Tokens(mixed(hashes), inside[heads], starts)


def _joined_starts(parts: list[np.ndarray]) -> np.ndarray:
    offsets = np.cumsum([0, *(part[-1] for part in parts)])
    return np.concatenate([[0], *(part[1:] + offset for part, offset in zip(parts, offsets, strict=False))])


def tokenised(texts: Sequence[str]) -> Tokens:
    """The tokens of every text."""
    parts = [_tokenised(texts[start : start + CHUNK]) for start in range(0, max(len(texts), 1), CHUNK)]
    return Tokens(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.kinds for part in parts]),
        _joined_starts([part.starts for part in parts]),
    )


def _runs(tokens: np.ndarray, starts: np.ndarray, size: int, short: bool) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and counts of the runs of some texts; starts: where each text's tokens begin, and the end."""
    count = np.diff(starts)
    made = np.maximum(count - size + 1, (count > 0) & short)
    weights = _powers(_TOKEN, size)
    sums = np.zeros(max(len(tokens) - size + 1, 0), dtype=np.uint64)
    for offset, weight in enumerate(weights):
        sums += tokens[offset : offset + len(sums)] * weight
    # A run is known by its first token, which must have size - 1 more of its own text behind it.
    last = np.repeat(starts[1:] - size, count)
    whole = np.arange(len(tokens)) <= last
    hashes = sums[whole[: len(sums)]]
    lone = np.flatnonzero((count > 0) & (count < size)) if short else np.empty(0, dtype=np.int64)
    if len(lone):
        ends = (np.cumsum(made) - made)[lone] - np.arange(len(lone))
        own = [tokens[starts[text] : starts[text + 1]] for text in lone]
        hashes = np.insert(hashes, ends, [(part * weights[: len(part)]).sum() for part in own])
    return mixed(hashes), made


def runs(tokens: Tokens, size: int, short: bool = True) -> Ngrams:
    """Every run of `size` tokens; a text of fewer is one run by itself if `short`, else it has none.

    A text without tokens has no run.
    """
    parts = []
    for first in range(0, len(tokens.starts) - 1, CHUNK):
        starts = tokens.starts[first : first + CHUNK + 1]
        parts.append(_runs(tokens.hashes[starts[0] : starts[-1]], starts - starts[0], size, short))
    counts = np.concatenate([np.empty(0, dtype=np.int64), *(made for _, made in parts)])
    hashes = np.concatenate([np.empty(0, dtype=np.uint64), *(part for part, _ in parts)])
    return Ngrams(hashes, np.concatenate([[0], np.cumsum(counts)]))


def whole_texts(tokens: Tokens) -> np.ndarray:
    """(n,) uint64, one hash for all tokens of each text in their order; 0 for a text without tokens."""
    count = np.diff(tokens.starts)
    position = np.arange(len(tokens.hashes)) - np.repeat(tokens.starts[:-1], count)
    terms = tokens.hashes * _powers(_TOKEN, count.max(initial=0))[position]
    hashes = np.zeros(len(count), dtype=np.uint64)
    if len(terms):
        hashes[count > 0] = mixed(np.add.reduceat(terms, tokens.starts[:-1][count > 0]))
    return hashes
