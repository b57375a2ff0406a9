"""Pairs of texts that share buckets, their exact Jaccard similarity, and the clusters that they form."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from egpo.data.ngrams import Ngrams

PAIRS = 200_000  # compared at a time


def neighbours(keys: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(pairs, 2): for each bucket of equal keys its members in a chain, enough to connect them all."""
    order = np.lexsort((members, keys))
    same = keys[order][1:] == keys[order][:-1]
    return np.stack([members[order[:-1][same]], members[order[1:][same]]], axis=1)


def all_pairs(keys: np.ndarray, members: np.ndarray) -> Iterator[np.ndarray]:
    """(pairs, 2) arrays that together hold every two members of equal key, the smaller first."""
    order = np.lexsort((members, keys))
    keys, members = keys[order], members[order]
    left = np.arange(len(keys) - 1)
    distance = 1
    while len(left):
        # Equal keys are consecutive, so a member without a partner at this distance has none further on.
        left = left[left + distance < len(keys)]
        left = left[keys[left] == keys[left + distance]]
        yield np.stack([members[left], members[left + distance]], axis=1)
        distance += 1


def distinct(pairs: list[np.ndarray], count: int) -> np.ndarray:
    """(pairs, 2): each pair of numbers below `count` once, sorted, none with itself."""
    together = np.concatenate([np.empty((0, 2), dtype=np.int64), *pairs])
    codes = np.unique(together[:, 0] * count + together[:, 1])
    first, second = codes // count, codes % count
    return np.stack([first, second], axis=1)[first != second]


def zero_one(columns: np.ndarray, starts: np.ndarray, width: int) -> sparse.csr_array:
    """(rows, width) matrix with a 1 in the columns[starts[i]:starts[i + 1]] of row i, which may repeat."""
    # A copy: the matrix takes the array itself, and summing duplicates moves the starts.
    parts = (np.ones(len(columns), dtype=np.int32), columns, starts.copy())
    matrix = sparse.csr_array(parts, shape=(len(starts) - 1, width))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def incidence(ngrams: Ngrams) -> sparse.csr_array:
    """(texts, different n-grams) 0/1 matrix: which n-gram occurs in which text; columns in the order of the hashes."""
    vocabulary, columns = np.unique(ngrams.hashes, return_inverse=True)
    return zero_one(columns, ngrams.starts, len(vocabulary))


def jaccard(ngrams: Ngrams, pairs: np.ndarray) -> np.ndarray:
    """(pairs,) exact Jaccard similarity of the sets of n-grams of two texts each; every text must have an n-gram."""
    members, rows = np.unique(pairs, return_inverse=True)
    rows = rows.reshape(pairs.shape)
    matrix = incidence(ngrams.take(members))
    sizes = np.diff(matrix.indptr)
    similarities = [np.empty(0)]
    for start in range(0, len(pairs), PAIRS):
        left, right = rows[start : start + PAIRS].T
        shared = matrix[left].multiply(matrix[right]).sum(axis=1)
        similarities.append(shared / (sizes[left] + sizes[right] - shared))
    return np.concatenate(similarities)


def exact_pairs(ngrams: Ngrams, threshold: float) -> np.ndarray:
    """(pairs, 2): every two texts whose Jaccard similarity is `threshold` or more, the smaller number first.

    A prefix-filter join: with the n-grams of every set in one order, here the rarest first, two sets of n or more can
    reach the threshold only if they share one of their first n - ceil(threshold * n) + 1.
    """
    filled = np.flatnonzero(ngrams.counts)
    matrix = incidence(ngrams.take(filled))
    rarity = np.argsort(np.argsort(np.bincount(matrix.indices, minlength=matrix.shape[1]), kind="stable"))
    ranked = sparse.csr_array((matrix.data, rarity[matrix.indices], matrix.indptr), shape=matrix.shape)
    ranked.sort_indices()
    sizes = np.diff(ranked.indptr)
    kept = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1
    place = np.arange(ranked.nnz) - np.repeat(ranked.indptr[:-1], sizes)
    prefix = place < np.repeat(kept, sizes)
    owners = np.repeat(np.arange(len(filled)), sizes)[prefix]
    found = [filled[pairs] for pairs in all_pairs(ranked.indices[prefix], owners)]
    pairs = distinct(found, len(ngrams.counts))
    return pairs[jaccard(ngrams, pairs) >= threshold]


def components(pairs: np.ndarray, count: int) -> np.ndarray:
    """(count,) for each text the smallest number among those that pairs connect it to, itself included."""
    links = (np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1]))
    _, labels = connected_components(sparse.coo_array(links, shape=(count, count)), directed=False)
    _, smallest = np.unique(labels, return_index=True)
    return smallest[labels]
