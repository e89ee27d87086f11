"""How far two embeddings of the same records lie apart, seen from the distance between records."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.evaluations.standardise import ROUNDING, standard

KERNELS = 32.0
"""Units in the last place of a dimension's largest value: what kernels of other sizes add up in another order."""

_HARMLESS = 0.1
"""Share of a dimension's SD up to which rounding stays rounding: more of it is seen by probes, whatever its cause."""

_USUAL = 0.1  # quantile over dimensions
_MOST_PAIRS = 2000

Floats = npt.NDArray[np.float64]


def apart(
    first: npt.ArrayLike, second: npt.ArrayLike, records: Sequence[str], others: npt.ArrayLike | None = None
) -> Measured:
    """Return the largest distance between two embeddings of a record, over the median distance between records.

    Both are measured in the space that probes see: each dimension is z-scored over these records. So neither a large
    constant nor one large dimension can hide a difference. A change of at most `KERNELS` units in the last place of a
    dimension's largest value, or of a value that nine tenths of the dimensions exceed, is rounding, and does not count.
    But at most `_HARMLESS` of the dimension's SD counts as rounding, or `ROUNDING` units if these are more: behind a
    constant of 1e5, 32 units can be all that tells records apart.

    Parameters
    ----------
    first, second : array_like of float32, shape (n, d)
        Two embeddings of the same records, in the same order.
    records : sequence of str, length n
        Their names.
    others : array_like, shape (m, d), optional
        Embeddings of more records, for the z-scores and the distance between records; `first` by default.

    Returns
    -------
    Measured
        0 if they agree; about 1 if a record moves as far as the distance to another record. Infinite if records do not
        differ among themselves, and still move. With a single record, its change over the size of its embedding.

    Examples
    --------
    >>> import numpy as np
    >>> first = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    >>> apart(first, first, ["a", "b", "c"]).value
    0.0
    >>> apart(first, first + [[0, 0], [0, 0], [1, 0]], ["a", "b", "c"]).note
    'record c'
    """
    a, b = np.asarray(first), np.asarray(second)
    pool = a if others is None else np.asarray(others)
    unit = _unit(a, b, pool)
    moved = np.abs(a.astype(np.float64) - b)
    moved = np.where(moved > _rounding(unit, pool), moved, 0.0)
    if not moved.any():
        return Measured.exact(0.0)
    if len(pool) < 2:
        size = float(np.linalg.norm(a.astype(np.float64)))
        return Measured.exact(
            float(np.linalg.norm(moved)) / size if size > 0 else math.inf, note=f"record {records[0]}"
        )
    space = standard(pool.astype(np.float32))
    # What is the same for all records must not move either: its unit is rounding.
    distances = np.linalg.norm(moved / np.where(np.isfinite(space.scale), space.scale, KERNELS * unit), axis=1)
    worst = int(np.argmax(distances))
    typical = between(space(pool))
    return Measured.exact(
        float(distances[worst]) / typical if typical > 0 else math.inf, note=f"record {records[worst]}"
    )


def _unit(*embeddings: npt.NDArray[Any]) -> Floats:
    """Return one unit in the last place of each dimension, shape (d,)."""
    largest = np.max([np.abs(rows).max(axis=0) for rows in embeddings], axis=0).astype(np.float64)
    # A dimension near 0 may be a difference of larger numbers: its rounding is that of its neighbours. Not of the
    # largest of them, or one huge dimension would hide all others.
    usual = float(np.quantile(largest[largest > 0], _USUAL)) if (largest > 0).any() else 0.0
    return np.asarray(np.finfo(np.float32).eps * np.maximum(largest, max(usual, float(np.finfo(np.float32).tiny))))


def _rounding(unit: Floats, pool: npt.NDArray[Any]) -> Floats:
    """Return the largest change of each dimension that may be rounding, shape (d,)."""
    spread = pool.astype(np.float64).std(axis=0)
    # Of records that are alike, or one alone, nothing says what is small.
    harmless = np.where(spread > 0, np.maximum(_HARMLESS * spread, ROUNDING * unit), np.inf)
    return np.minimum(KERNELS * unit, harmless)


def between(rows: npt.ArrayLike) -> float:
    """Return the median distance between records, shape (n, d); 0 where they are all alike."""
    points = np.asarray(rows, dtype=np.float64)
    pairs = np.array(list(combinations(range(min(len(points), 200)), 2)))
    if len(pairs) > _MOST_PAIRS:
        pairs = pairs[np.random.default_rng(0).choice(len(pairs), _MOST_PAIRS, replace=False)]
    return float(np.median(np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)))
