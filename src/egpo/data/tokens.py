"""Tokens of hundreds of thousands of texts as arrays of 64-bit hashes.

A token is a number, a word or a single sign, in lower case, so that x+y=3 and x-y=3 differ. Blanks and dollars, which
only mark where LaTeX begins, are not tokens. Quotation marks, dashes and grouped digits count alike in every
way to write them. Equal hashes count as equal tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 128  # texts at a time: arrays that stay in the processor's cache
NOT_A_TOKEN, WORD, NUMBER, SIGN, _UNKNOWN = range(5)
_CHARACTER = np.uint64(0x9E3779B97F4A7C15)  # odd: base of a token's polynomial over its characters
# What people type and what a word processor makes of it.
_PLAIN_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u02bc\u00b4`", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    }
)
_GROUPED = re.compile(r"(?<=\d)(?:,|\{,\}|\\,)(?=\d{3}(?!\d))")
_kinds = np.full(0x110000, _UNKNOWN, dtype=np.uint8)  # of every character met so far


@dataclass(frozen=True)
class Tokens:
    """Tokens of n texts, one text after the other.

    Attributes:
        hashes: (tokens,) uint64.
        kinds: (tokens,) uint8, each WORD, NUMBER or SIGN.
        starts: (n + 1,) int64; text i has the tokens starts[i] to starts[i + 1].
    """

    hashes: np.ndarray
    kinds: np.ndarray
    starts: np.ndarray

    def of_kinds(self, *kinds: int) -> Tokens:
        """The same texts without tokens of other kinds."""
        kept = np.isin(self.kinds, kinds)
        return Tokens(self.hashes[kept], self.kinds[kept], starts_of(kept)[self.starts])


def starts_of(counts: np.ndarray) -> np.ndarray:
    """(n + 1,) int64: where each of n stretches of these lengths begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(counts)])


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


def powers(base: np.uint64, count: int) -> np.ndarray:
    """(count,) uint64: base to the power 0, 1, 2, ... modulo 2**64."""
    return np.concatenate([[np.uint64(1)], np.cumprod(np.full(max(count - 1, 0), base, dtype=np.uint64))])[:count]


def written_alike(text: str) -> str:
    """The text in lower case, with plain quotation marks and dashes, and 1,000 as 1000: sources differ in these."""
    lower = text.lower().translate(_PLAIN_SIGNS)
    return _GROUPED.sub("", lower) if "," in lower else lower


def _tokenised(texts: Sequence[str]) -> Tokens:
    lower = [written_alike(text) for text in texts]
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
    terms = (codes[places].astype(np.uint64) + np.uint64(1)) * powers(_CHARACTER, lengths.max(initial=0))[position]
    hashes = np.add.reduceat(terms, heads) if len(heads) else terms
    starts = np.concatenate([[0], np.searchsorted(places[heads], ends)])
    return Tokens(mixed(hashes), inside[heads], starts)


def tokenised(texts: Sequence[str]) -> Tokens:
    """The tokens of every text."""
    parts = [_tokenised(texts[start : start + CHUNK]) for start in range(0, max(len(texts), 1), CHUNK)]
    return Tokens(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.kinds for part in parts]),
        starts_of(np.concatenate([np.diff(part.starts) for part in parts])),
    )
