"""The space that probes see: each dimension z-scored, what is no more than rounding left out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError

Floats = npt.NDArray[np.float64]

ROUNDING = 4.0
"""Units in the last place of a dimension's largest value up to which its SD is rounding, as float32 sums leave it."""

LEAST_SHARE = 0.3
"""Share of the SD among all training records below which the SD of a subset is chance, and not a dimension's unit."""

_TAIL = 5.0  # per cent of the records on either side that may be outliers
_WIDENED = 3.0  # times the range of the others that a value may lie beyond it
_BLOCK = 1 << 18  # numbers held at once: 2 MB


@dataclass(frozen=True)
class Standard:
    """Centre and unit of each dimension, shape (d,).

    Attributes
    ----------
    mean, scale : ndarray of float64
        ``(rows - mean) / scale``; infinite where a dimension is constant, so that it is 0 for every record.
    low, high : ndarray of float64
        Values beyond are taken for these limits; infinite where there is none.
    rounding : float
        Root mean square over dimensions of one unit in the last place, in this space: the size of what rounding adds.
    """

    mean: Floats
    scale: Floats
    low: Floats
    high: Floats
    rounding: float

    def __call__(self, embeddings: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return rows in this space, shape (n, d), as float32: block by block, as embeddings may be large."""
        rows = np.asarray(embeddings)
        scaled = np.empty(rows.shape, np.float32)
        done = 0
        for block in blocks(rows):
            wide = np.clip(block.astype(np.float64), self.low, self.high)
            wide -= self.mean
            wide /= self.scale
            scaled[done : done + len(block)] = wide
            done += len(block)
        return scaled


def blocks(rows: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield rows in parts whose double-precision copies stay in the processor's cache."""
    size = max(1, _BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _precision(rows: npt.NDArray[Any]) -> float:
    """Return the distance from 1 to the next number of the rows' type."""
    return float(np.finfo(rows.dtype if rows.dtype.kind == "f" else np.float64).eps)


def standardisation(embeddings: npt.ArrayLike, least: npt.ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Return mean and SD (``ddof=0``) of each dimension, shape (d,).

    Parameters
    ----------
    embeddings : array_like, shape (n, d)
        Finite, with a row at least. Their type says what rounding is: float32 for what encoders give.
    least : array_like, shape (d,), optional
        Smallest SD that is taken; a smaller one is replaced by it. Infinite values say that a dimension is constant.

    Returns
    -------
    mean, scale : ndarray of float64, shape (d,)
        The scale is infinite where a dimension is constant, or where its SD is within `ROUNDING` units in the last
        place of its largest value: divided by it, the dimension is 0 for every record. For all others, and without
        `least`, the two are what scikit-learn's ``StandardScaler`` finds.
    """
    rows = np.asarray(embeddings)
    first = rows[0].astype(np.float64)
    total, squares, largest = np.zeros_like(first), np.zeros_like(first), np.zeros_like(first)
    varies = np.zeros(first.size, dtype=np.bool_)
    # From the first row on: sums of deviations keep digits that sums of large values lose.
    for block in blocks(rows):
        from_first = np.subtract(block, first, dtype=np.float64)
        total += from_first.sum(axis=0)
        varies |= from_first.any(axis=0)
        np.maximum(largest, np.abs(block).max(axis=0), out=largest)
    mean: Floats = first + total / len(rows)
    for block in blocks(rows):
        deviations = np.subtract(block, mean, dtype=np.float64)
        squares += np.einsum("nd,nd->d", deviations, deviations)
    scale: Floats = np.sqrt(squares / len(rows))
    constant = ~varies | (scale <= ROUNDING * _precision(rows) * largest)
    if least is not None:
        scale = np.maximum(scale, np.asarray(least, dtype=np.float64))
        constant |= ~np.isfinite(scale)
    return np.where(constant, first, mean), np.where(constant, np.inf, scale)


def standard(embeddings: npt.ArrayLike) -> Standard:
    """Return the space in which distances are measured: z-scored, and not dominated by outliers.

    A value may lie outside the middle nine tenths of the records by at most three times their range. A value further
    away is replaced by that limit, here and wherever the space is used: otherwise one record of an enormous value would
    squeeze all others to a point. Of normally distributed values none lies there, so for them this is plain z-scoring
    (`standardisation`). If nine records of ten have the same value in a dimension, it has no such limits.

    Parameters
    ----------
    embeddings : array_like, shape (n, d)
        Of the training records.

    Raises
    ------
    EcgfmError
        If the shape is wrong, there is no record, or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[0.0, 5.0], [2.0, 5.0]], dtype=np.float32)
    >>> standard(rows)(rows)  # the second dimension is constant
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """
    rows = np.asarray(embeddings)
    if rows.ndim != 2 or not len(rows):
        raise EcgfmError(f"embeddings.shape={rows.shape}, but should be (records, dimensions) with a record at least.")
    if not np.isfinite(rows).all():
        raise EcgfmError(f"the embedding of row {int(np.argmin(np.isfinite(rows).all(axis=1)))} is not finite.")
    below, above = np.percentile(rows, [_TAIL, 100 - _TAIL], axis=0, method="closest_observation").astype(np.float64)
    margin = np.where(above > below, _WIDENED * (above - below), np.inf)
    low, high = below - margin, above + margin
    inside = rows
    if (rows.min(axis=0) < low).any() or (rows.max(axis=0) > high).any():
        # In the rows' own type, which says what rounding is.
        inside = np.clip(rows, low, high).astype(rows.dtype)
    mean, scale = standardisation(inside)
    varies = np.isfinite(scale)
    bits = _precision(rows) * np.abs(inside).max(axis=0).astype(np.float64)[varies] / scale[varies]
    rounding = float(np.sqrt((bits**2).mean())) if varies.any() else 0.0
    return Standard(mean, scale, low, high, rounding)
