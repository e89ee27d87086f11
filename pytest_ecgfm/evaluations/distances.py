"""Euclidean distances among many records: sums over classes and nearest neighbours in one pass, never all at once.

Own code where scikit-learn has ``pairwise_distances_chunked`` and ``NearestNeighbors``: these two compute every
distance twice each, four times in all. Here each is computed once and serves both.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

_ROWS = 1024  # a block of distances takes 8 MB


class Scanned(NamedTuple):
    """What one pass over the distances gives.

    Attributes
    ----------
    sums : ndarray of float64, shape (n, columns)
        Weighted sums of the distances from each row to all.
    neighbours : ndarray of int, shape (n, count)
        Other rows, the nearest first.
    """

    sums: Floats
    neighbours: Integers


def scanned(features: Floats, weights: npt.NDArray[Any], count: int) -> Scanned:
    """Go through all pairs of rows once.

    Parameters
    ----------
    features : ndarray of float64, shape (n, d)
    weights : ndarray, shape (n, columns)
        Such as one column a class, 1 for its members.
    count : int
        How many neighbours; fewer than n.
    """
    rows = len(features)
    sums = np.zeros((rows, weights.shape[1]))
    nearest, names = np.full((rows, count), np.inf), np.full((rows, count), -1, dtype=np.intp)
    for one, other, block in _blocks(features):
        sums[one] += block @ weights[other]
        if one != other:
            sums[other] += block.T @ weights[one]
        elif count:
            block[np.diag_indices_from(block)] = np.inf
        if count:
            _offer(nearest[one], names[one], block, other.start)
            if one != other:
                _offer(nearest[other], names[other], block.T, one.start)
    order = np.argsort(nearest, axis=1, kind="stable")
    return Scanned(sums, np.take_along_axis(names, order, axis=1))


def _blocks(features: Floats) -> Iterator[tuple[slice, slice, Floats]]:
    """Yield distances of blocks of rows, each pair of blocks once."""
    squares = np.einsum("ij,ij->i", features, features)
    parts = [slice(start, min(start + _ROWS, len(features))) for start in range(0, len(features), _ROWS)]
    for number, one in enumerate(parts):
        for other in parts[number:]:
            block = features[one] @ features[other].T
            block *= -2
            block += squares[one, None]
            block += squares[other]
            np.maximum(block, 0, out=block)
            np.sqrt(block, out=block)
            if one == other:
                block[np.diag_indices_from(block)] = 0
            yield one, other, block


def _offer(nearest: Floats, names: Integers, block: Floats, start: int) -> None:
    """Let a block's columns, rows `start` and following, into the nearest of each row; in place."""
    count = nearest.shape[1]
    kept = np.argpartition(block, count - 1, axis=1)[:, :count] if count < block.shape[1] else None
    found = block if kept is None else np.take_along_axis(block, kept, axis=1)
    called = np.broadcast_to(np.arange(block.shape[1]), block.shape) if kept is None else kept
    distances = np.concatenate([nearest, found], axis=1)
    candidates = np.concatenate([names, called + start], axis=1)
    best = np.argpartition(distances, count - 1, axis=1)[:, :count]
    nearest[:] = np.take_along_axis(distances, best, axis=1)
    names[:] = np.take_along_axis(candidates, best, axis=1)
