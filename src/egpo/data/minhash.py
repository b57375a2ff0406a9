"""MinHash-LSH over many texts at once: datasketch's permutations and band layout, applied to whole arrays.

For hashes given to it, a signature has the very values of `datasketch.MinHash` (scheme affine32), and two texts share
a band exactly when `datasketch.MinHashLSH` has them in one bucket.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash, MinHashLSH

from egpo.config.data import Deduplication
from egpo.data.ngrams import Ngrams
from egpo.data.tokens import mixed

# datasketch changed its default scheme in 2.0; the signatures, and so the clusters, depend on both.
SCHEME, SEED = "affine32", 1
CHUNK = 16384  # n-grams at a time: a permutation of them stays in the processor's fastest cache


@dataclass(frozen=True)
class Layout:
    """How a signature is cut: `bands` pieces of `rows` values each."""

    bands: int
    rows: int

    def probability(self, jaccard: float) -> float:
        """The probability that two texts of this Jaccard similarity share a band."""
        return 1 - (1 - jaccard**self.rows) ** self.bands


def layout(settings: Deduplication) -> Layout:
    """datasketch's choice for the threshold in mode `paper`, that of the settings in mode `verified`."""
    if settings.mode == "paper":
        chosen = MinHashLSH(threshold=settings.threshold, num_perm=settings.num_perm)
        return Layout(chosen.b, chosen.r)
    return Layout(settings.bands, settings.num_perm // settings.bands)


def hash32(hashes: np.ndarray) -> np.ndarray:
    """The lower half of 64-bit hashes: what datasketch's 32-bit scheme takes from a hash function."""
    return (hashes & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def _finalised(values: np.ndarray) -> np.ndarray:
    """MurmurHash3's 32-bit finalizer, which the scheme affine32 applies first."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


def _chunks(starts: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first, last) of consecutive texts that have about CHUNK n-grams together, at least one text."""
    first = 0
    while first < len(starts) - 1:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + CHUNK, side="right")) - 1)
        yield first, last
        first = last


def signatures(ngrams: Ngrams, permutations: int) -> Iterator[tuple[int, np.ndarray]]:
    """(first text, (texts, permutations) uint32 signatures) of chunks of consecutive texts.

    Raises:
        ValueError: for a text without an n-gram, since the signatures of empty sets are all alike.
    """
    if (ngrams.counts == 0).any():
        raise ValueError("a text without a token has no signature: leave it out")
    factors, terms = MinHash(num_perm=permutations, seed=SEED, scheme=SCHEME).permutations
    for first, last in _chunks(ngrams.starts):
        start, end = ngrams.starts[first], ngrams.starts[last]
        values = _finalised(hash32(ngrams.hashes[start:end]))
        heads = ngrams.starts[first:last] - start
        made = np.empty((permutations, last - first), dtype=np.uint32)
        permuted = np.empty_like(values)
        for number, (factor, term) in enumerate(zip(factors, terms, strict=True)):
            np.multiply(values, factor, out=permuted)
            np.add(permuted, term, out=permuted)
            np.minimum.reduceat(permuted, heads, out=made[number])
        yield first, made.T


def band_keys(ngrams: Ngrams, permutations: int, layout: Layout) -> np.ndarray:
    """(texts, bands) uint64: two texts share band b exactly when their keys b are equal (up to 64-bit collisions)."""
    keys = np.zeros((len(ngrams.starts) - 1, layout.bands), dtype=np.uint64)
    for first, signature in signatures(ngrams, permutations):
        part = keys[first : first + len(signature)]
        for row in range(layout.rows):
            values = signature[:, row : layout.bands * layout.rows : layout.rows].astype(np.uint64)
            part[:] = mixed(part ^ (values + np.uint64(row + 1)))
    return keys
