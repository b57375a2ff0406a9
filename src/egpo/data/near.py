"""Pairs of texts that share buckets, their exact Jaccard similarity, and the clusters that they form."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from egpo.data.texts import Ngrams

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
        # Buckets are stretches of equal keys, so who has no partner at this distance has none further on.
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


def incidence(runs: Ngrams) -> sparse.csr_array:
    """(texts, different runs) 0/1 matrix of which run occurs in which text; columns in the order of the hashes."""
    vocabulary, columns = np.unique(runs.hashes, return_inverse=True)
    matrix = sparse.csr_array(
        (np.ones(len(columns), dtype=np.int32), columns, runs.starts), shape=(len(runs.counts), len(vocabulary))
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def jaccard(runs: Ngrams, pairs: np.ndarray) -> np.ndarray:
    """(pairs,) exact Jaccard similarity of the sets of runs of two texts each; every text must have a run."""
    members, rows = np.unique(pairs, return_inverse=True)
    rows = rows.reshape(pairs.shape)
    matrix = incidence(runs.take(members))
    sizes = np.diff(matrix.indptr)
    similarities = [np.empty(0)]
    for start in range(0, len(pairs), PAIRS):
        left, right = rows[start : start + PAIRS].T
        shared = matrix[left].multiply(matrix[right]).sum(axis=1)
        similarities.append(shared / (sizes[left] + sizes[right] - shared))
    return np.concatenate(similarities)


def exact_pairs(runs: Ngrams, threshold: float) -> np.ndarray:
    """(pairs, 2): every two texts whose Jaccard similarity is `threshold` or more, the smaller number first.

    A prefix-filter join: with a set's runs in one order for all, here the rarest first, two sets of n runs or more
    can reach the threshold only if they share one of their first n - ceil(threshold * n) + 1.
    """
    filled = np.flatnonzero(runs.counts)
    matrix = incidence(runs.take(filled))
    rarity = np.argsort(np.argsort(np.bincount(matrix.indices, minlength=matrix.shape[1]), kind="stable"))
    ranked = sparse.csr_array((matrix.data, rarity[matrix.indices], matrix.indptr), shape=matrix.shape)
    ranked.sort_indices()
    sizes = np.diff(ranked.indptr)
    kept = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1
    place = np.arange(ranked.nnz) - np.repeat(ranked.indptr[:-1], sizes)
    prefix = place < np.repeat(kept, sizes)
    owners = np.repeat(np.arange(len(filled)), sizes)[prefix]
    found = [filled[pairs] for pairs in all_pairs(ranked.indices[prefix], owners)]
    pairs = distinct(found, len(runs.counts))
    return pairs[jaccard(runs, pairs) >= threshold]


def components(pairs: np.ndarray, count: int) -> np.ndarray:
    """(count,) for each text the smallest number among those that pairs connect it to, itself included."""
    links = (np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1]))
    _, labels = connected_components(sparse.coo_array(links, shape=(count, count)), directed=False)
    smallest = np.full(labels.max(initial=-1) + 1, count)
    np.minimum.at(smallest, labels, np.arange(count))
    return smallest[labels]
