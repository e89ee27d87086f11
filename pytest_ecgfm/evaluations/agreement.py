"""Agreement of two partitions into two groups, adjusted for chance: the Rand index and the mutual information.

scikit-learn's functions have the same values. Own code because a null distribution asks for thousands of these for one
partition, and each call checks and sorts all labels anew; a two by two table and its margins are all that is needed.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_SMALLEST = float(np.finfo(np.float64).eps)


class Agreement(NamedTuple):
    """How well two partitions agree: 1 where they are the same, 0 on average by chance.

    Attributes
    ----------
    rand : float
        Adjusted Rand index (Hubert, Arabie, J. Classif. 2:193, 1985).
    information : float
        Adjusted mutual information, arithmetic mean (Vinh, Epps, Bailey, JMLR 11:2837, 2010).
    """

    rand: float
    information: float


def agreement(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Agreement:
    """Return the agreement of two partitions.

    Parameters
    ----------
    one, other : ndarray of int, shape (n,)
        0 or 1.

    Examples
    --------
    >>> import numpy as np
    >>> agreement(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])).rand
    1.0
    """
    a, b, c, d = (int(count) for count in np.bincount(2 * one + other, minlength=4))
    rows, columns = (a + b, c + d), (a + c, b + d)
    if not min(*rows, *columns):
        # One group only, on either side: nothing is split, and scikit-learn says what that is worth.
        from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

        return Agreement(float(adjusted_rand_score(one, other)), float(adjusted_mutual_info_score(one, other)))
    return Agreement(_rand((a, b, c, d), rows, columns), _information((a, b, c, d), rows, columns))


def _rand(table: tuple[int, ...], rows: tuple[int, int], columns: tuple[int, int]) -> float:
    # Pairs of records: together in both, in the first only, in the second only, in neither.
    both = sum(count * (count - 1) for count in table)
    first = sum(count * (count - 1) for count in rows) - both
    second = sum(count * (count - 1) for count in columns) - both
    neither = sum(rows) * (sum(rows) - 1) - both - first - second
    if not first and not second:
        return 1.0
    apart = (both + first) * (first + neither) + (both + second) * (second + neither)
    return 2.0 * (both * neither - first * second) / apart


def _information(table: tuple[int, ...], rows: tuple[int, int], columns: tuple[int, int]) -> float:
    total = sum(rows)
    found = sum(
        count / total * math.log(count * total / (rows[cell // 2] * columns[cell % 2]))
        for cell, count in enumerate(table)
        if count
    )
    entropies = [-sum(count / total * math.log(count / total) for count in margin) for margin in (rows, columns)]
    expected = _expected(rows[0], columns[0], total)
    return _away_from_zero(found - expected) / _away_from_zero(sum(entropies) / 2 - expected)


def _away_from_zero(value: float) -> float:
    """Keep the sign of a difference that rounding may leave at 0, as scikit-learn does: a perfect match is 1."""
    return min(value, -_SMALLEST) if value < 0 else max(value, _SMALLEST)


@lru_cache(maxsize=4096)
def _expected(row: int, column: int, total: int) -> float:
    """Return the expected mutual information of random tables with these margins: permutations do not change them."""
    from sklearn.metrics.cluster import expected_mutual_information

    corner = max(0, row + column - total)
    table = np.array([[corner, row - corner], [column - corner, total - row - column + corner]], dtype=np.int64)
    return float(expected_mutual_information(table, total))
