"""Euclidean distances among many records: sums over classes and nearest neighbours in one pass, never all at once.

Own code where scikit-learn has ``pairwise_distances_chunked`` and ``NearestNeighbors``: these two compute every
distance twice each, four times in all. Here each is computed once and serves both.

Of many rows, products are taken in single precision, which is several times as fast. Rounding then moves a squared
distance by about 1e-7 of the product of the two norms: pairs so near that this could be seen are computed again in
double precision, and so are the distances of each row whose nearest are too close together to tell their order.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Integers = npt.NDArray[np.intp]

_ROWS = 1024  # a block of distances takes 8 MB
_MANY = 1025  # rows from which on products are taken in single precision
_NEAR = 0.1  # squared distance over the product of norms, below which a pair is computed again
_SAME = 4e-6  # relative difference of two distances that single precision cannot order


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
    single = features.astype(np.float32) if rows >= _MANY else None
    # One more than asked for tells whether the last of them is the nearer for certain.
    kept = min(count + 1, rows - 1) if count and single is not None else count
    squares = np.einsum("ij,ij->i", features, features)
    sums = np.zeros((rows, weights.shape[1]))
    nearest, names = np.full((rows, kept), np.inf), np.full((rows, kept), -1, dtype=np.intp)
    for one, other, block in _blocks(features, squares, single):
        sums[one] += block @ weights[other]
        if one != other:
            sums[other] += block.T @ weights[one]
        elif count:
            block[np.diag_indices_from(block)] = np.inf
        if count:
            _offer(nearest[one], names[one], block, other.start)
            if one != other:
                _offer(nearest[other], names[other], block, one.start, across=True)
    order = np.argsort(nearest, axis=1, kind="stable")
    names = np.take_along_axis(names, order, axis=1)
    if count and single is not None:
        _settle(features, squares, np.take_along_axis(nearest, order, axis=1), names)
    return Scanned(sums, names[:, :count])


def nearest_by_products(products: Floats, count: int) -> Integers:
    """Return the other rows nearest to each, the nearest first, from inner products of all rows.

    Parameters
    ----------
    products : ndarray of float64, shape (n, n)
    count : int
        Fewer than n.

    Returns
    -------
    ndarray of int, shape (n, count)
    """
    squares = np.diag(products)
    return _nearest(_squared(products, squares, squares), np.arange(len(products)), count)


def _nearest(found: Floats, rows: Integers, count: int) -> Integers:
    """Return the columns of the least squared distances but a row's own, the least first; changes `found`."""
    found[np.arange(rows.size), rows] = np.inf
    best = np.argpartition(found, count - 1, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(found, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def _blocks(features: Floats, squares: Floats, single: Singles | None) -> Iterator[tuple[slice, slice, Floats]]:
    """Yield distances of blocks of rows, each pair of blocks once."""
    norms = np.sqrt(squares)
    parts = [slice(start, min(start + _ROWS, len(features))) for start in range(0, len(features), _ROWS)]
    for number, one in enumerate(parts):
        for other in parts[number:]:
            if single is None:
                block = _squared(features[one] @ features[other].T, squares[one], squares[other])
            else:
                block = _squared(single[one] @ single[other].T, squares[one], squares[other])
                _mend(block, features, squares, one, other, _NEAR * float(norms[one].max() * norms[other].max()))
            np.sqrt(block, out=block)
            if one == other:
                block[np.diag_indices_from(block)] = 0
            yield one, other, block


def _squared(products: npt.NDArray[Any], one: Floats, other: Floats) -> Floats:
    """Turn inner products into squared distances."""
    found: Floats = np.multiply(products, -2, dtype=np.float64)
    found += one[:, None]
    found += other
    np.maximum(found, 0, out=found)
    return found


def _mend(block: Floats, features: Floats, squares: Floats, one: slice, other: slice, least: float) -> None:
    """Compute squared distances of less than `least` again, in double precision and in place."""
    flat = np.flatnonzero(block < least)
    if flat.size > block.size // 64:
        block[:] = _squared(features[one] @ features[other].T, squares[one], squares[other])
        return
    rows, columns = np.divmod(flat, block.shape[1])
    apart = features[one][rows] - features[other][columns]
    block[rows, columns] = np.einsum("ij,ij->i", apart, apart)


def _settle(features: Floats, squares: Floats, nearest: Floats, names: Integers) -> None:
    """Order neighbours in double precision where single precision cannot, in place."""
    close = np.diff(nearest, axis=1) <= _SAME * nearest[:, 1:]
    kept = names.shape[1]
    # Which records are the nearest is in doubt only where the last two are close and others are left; else their order.
    everyone = close[:, -1] & (kept < len(names) - 1)
    candidates = close.any(axis=1) & ~everyone
    for rows in _in_parts(np.flatnonzero(candidates), _ROWS // kept + 1):
        apart = features[names[rows]] - features[rows][:, None]
        order = np.argsort(np.einsum("ikd,ikd->ik", apart, apart), axis=1, kind="stable")
        names[rows] = np.take_along_axis(names[rows], order, axis=1)
    for rows in _in_parts(np.flatnonzero(everyone), max(1, _ROWS * _ROWS // len(names))):
        names[rows] = _nearest(_squared(features[rows] @ features.T, squares[rows], squares), rows, kept)


def _in_parts(rows: Integers, size: int) -> Iterator[Integers]:
    yield from (rows[start : start + size] for start in range(0, rows.size, size))


def _offer(nearest: Floats, names: Integers, block: Floats, start: int, *, across: bool = False) -> None:
    """Let a block's columns, rows `start` and following, into the nearest of each row; in place.

    With `across`, the block's rows into those of each column.
    """
    count = nearest.shape[1]
    farthest = nearest.max(axis=1)
    # Once some blocks are seen, little is nearer than the farthest that is kept, and that alone is looked at.
    flat = np.flatnonzero(block < (farthest if across else farthest[:, None]))
    if flat.size > block.size // 8:
        turned = block.T if across else block
        kept = np.argpartition(turned, min(count, turned.shape[1]) - 1, axis=1)[:, :count]
        rows, columns = np.repeat(np.arange(len(turned)), kept.shape[1]), kept.reshape(-1)
        values = turned[rows, columns]
    else:
        values = block.reshape(-1)[flat]
        rows, columns = np.divmod(flat, block.shape[1])
        if across:
            order = np.argsort(columns, kind="stable")
            rows, columns, values = columns[order], rows[order], values[order]
    if not rows.size:
        return
    touched, first, counts = np.unique(rows, return_index=True, return_counts=True)
    at = np.repeat(np.arange(touched.size), counts), np.arange(rows.size) - np.repeat(first, counts)
    found = np.full((touched.size, int(counts.max())), np.inf)
    called = np.full(found.shape, -1, dtype=np.intp)
    found[at], called[at] = values, columns + start
    distances = np.concatenate([nearest[touched], found], axis=1)
    candidates = np.concatenate([names[touched], called], axis=1)
    best = np.argpartition(distances, count - 1, axis=1)[:, :count]
    nearest[touched] = np.take_along_axis(distances, best, axis=1)
    names[touched] = np.take_along_axis(candidates, best, axis=1)
