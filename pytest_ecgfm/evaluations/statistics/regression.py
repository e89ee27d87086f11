"""How well predictions agree with the values of a quantity: R2, mean absolute error and Spearman correlation.

Intervals come from resampled patients, as those of the AUROC do where patients repeat, and hold the variance between
seeds, too. Each is built on a scale on which its quantity has no end, so that it keeps to the limits.

References
----------
.. [1] Field, Welsh (2007), J. R. Stat. Soc. B 69:369-390: bootstrapping clustered data.
.. [2] Fisher (1921), Metron 1:3-32: the inverse hyperbolic tangent of a correlation.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.statistics import RESAMPLES, combined, half_width, seed_parts, seed_spread
from pytest_ecgfm.evaluations.statistics.bootstrap import UNDEFINED, Interval
from pytest_ecgfm.evaluations.statistics.variance import Floats, multiplicities, resampled_variance

AGREEMENTS = ("r2", "mae", "spearman")
"""Coefficient of determination, mean absolute error, rank correlation."""


class Agreement(NamedTuple):
    """One of `AGREEMENTS` of several seeds.

    Attributes
    ----------
    each : ndarray of float64, shape (k,)
        Of each seed.
    mean : Interval
        Mean over seeds; its interval holds the variance from test records and from seeds.
    """

    each: Floats
    mean: Interval


class _Scale(NamedTuple):
    """A scale without ends, and the way back; `slope` is the derivative of the first."""

    there: Callable[[Floats], Floats]
    back: Callable[[float], float]
    slope: Callable[[float], float]


_TINY = 1e-300  # keeps the logarithm of a perfect resample finite

_SCALES: Mapping[str, _Scale] = {
    # 1 - R2 is a ratio of sums of squares: above 0, without an upper end.
    "r2": _Scale(
        lambda x: -np.log(np.maximum(1 - x, _TINY)), lambda y: 1 - math.exp(-y), lambda x: 1 / max(1 - x, _TINY)
    ),
    "mae": _Scale(lambda x: np.log(np.maximum(x, _TINY)), math.exp, lambda x: 1 / max(x, _TINY)),
    "spearman": _Scale(
        lambda x: np.arctanh(np.clip(x, -1 + 1e-15, 1 - 1e-15)), math.tanh, lambda x: 1 / max(1 - x * x, 1e-15)
    ),
}
_ENDS = {"r2": (1.0,), "mae": (0.0,), "spearman": (-1.0, 1.0)}


def agreements(
    predictions: npt.ArrayLike,
    values: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Agreement]:
    """Return `AGREEMENTS` of predictions with values, each with its interval.

    Parameters
    ----------
    predictions : array_like, shape (k, n) or (n,)
        One row a seed, in the units of the quantity.
    values : array_like, shape (n,)
    patients : array_like, shape (n,), optional
        They are resampled [1]_, the same ones for every seed; without them, the records are.
    level : float
        Nominal coverage, in (0, 1).
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    dict of str to Agreement
        R2 (at most 1, below 0 where the predictions are worse than the mean of the values), mean absolute error in the
        units of the quantity, Spearman correlation. R2 and Spearman are NaN where all values are the same, Spearman
        also where all predictions are. A quantity that is perfect has an interval of no width.

    Raises
    ------
    EcgfmError
        If shapes disagree.
    """
    rows, truth, clusters = _checked(predictions, values, patients)
    points = _agreements(rows, truth, np.ones((truth.size, 1)))
    drawn = _resampled(rows, truth, clusters, resamples, seed)
    return {
        name: Agreement(points[name][:, 0], _interval(name, points[name][:, 0], drawn[name], level))
        for name in AGREEMENTS
    }


def agreement_difference(
    name: str,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    values: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the mean R2, error or Spearman correlation of `first` minus that of `second` on the same records.

    Both see the same resamples. With as many seeds on both sides, row i of one is paired with row i of the other, and
    the spread between seeds is that of the differences; else both spreads add. Equal predictions differ by exactly 0,
    without an interval.

    Parameters
    ----------
    name : str
        One of `AGREEMENTS`.
    first, second : array_like, shape (k, n) or (n,), and (k2, n) or (n,)
    values, patients, level, resamples, seed
        As for `agreements`.

    Raises
    ------
    EcgfmError
        If shapes disagree.
    """
    (a, truth, clusters), (b, _, _) = (_checked(side, values, patients) for side in (first, second))
    both = np.vstack([a, b])
    points = _agreements(both, truth, np.ones((truth.size, 1)), (name,))[name][:, 0]
    drawn = _resampled(both, truth, clusters, resamples, seed, (name,))[name]
    mine, other = points[: len(a)], points[len(a) :]
    value = float(mine.mean() - other.mean())
    if not math.isfinite(value):
        return UNDEFINED
    variance = resampled_variance(drawn[: len(a)].mean(axis=0) - drawn[len(a) :].mean(axis=0))
    half = half_width(*combined(variance, seed_parts(mine, other)), level)
    return Interval(value, value - half, value + half)


def _checked(
    predictions: npt.ArrayLike, values: npt.ArrayLike, patients: npt.ArrayLike | None
) -> tuple[Floats, Floats, npt.NDArray[np.intp]]:
    rows = np.atleast_2d(np.asarray(predictions, dtype=np.float64))
    truth = np.asarray(values, dtype=np.float64)
    names = np.arange(truth.size) if patients is None else np.asarray(patients)
    if rows.ndim != 2 or truth.ndim != 1 or rows.shape[1] != truth.size or names.shape != truth.shape:
        raise EcgfmError(
            f"predictions.shape={np.shape(predictions)}, values.shape={truth.shape} and patients.shape={names.shape}, "
            "but should be (records,) or (seeds, records), (records,) and (records,)."
        )
    return rows, truth, np.unique(names, return_inverse=True)[1].astype(np.intp)


def _resampled(
    rows: Floats,
    truth: Floats,
    clusters: npt.NDArray[np.intp],
    resamples: int,
    seed: int,
    names: tuple[str, ...] = AGREEMENTS,
) -> dict[str, Floats]:
    """Return each agreement over resampled patients, shape (k, resamples)."""
    if truth.size == 0:
        return {name: np.full((len(rows), resamples), np.nan) for name in names}
    patients = int(clusters.max()) + 1
    parts = [
        _agreements(rows, truth, counts[clusters].astype(np.float64), names)
        for counts in multiplicities(patients, resamples, truth.size, seed)
    ]
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in names}


def _agreements(rows: Floats, truth: Floats, counts: Floats, names: tuple[str, ...] = AGREEMENTS) -> dict[str, Floats]:
    """Return each agreement, shape (k, b), where each record counts as often as `counts` (n, b) says."""
    total = counts.sum(axis=0)
    errors = rows - truth
    out = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        if "r2" in names:
            # From the mean of all records on: sums of squares of large values lose digits.
            centred = truth - truth.mean() if truth.size else truth
            spread = (centred**2) @ counts - (centred @ counts) ** 2 / total
            constant = spread <= 1e-12 * ((centred**2) @ counts)
            out["r2"] = 1 - ((errors**2) @ counts) / np.where(constant, np.nan, spread)
        if "mae" in names:
            out["mae"] = (np.abs(errors) @ counts) / total
        if "spearman" in names:
            upper = _ranks(truth, counts)
            out["spearman"] = np.stack([_correlation(_ranks(row, counts), upper, counts) for row in rows])
    return out


def _ranks(values: Floats, counts: Floats) -> Floats:
    """Return midranks less their mean, shape (n, b), of a sample in which each value occurs `counts` (n, b) times."""
    if np.isnan(values).any():
        return np.full(counts.shape, np.nan)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    summed = np.concatenate([np.zeros((1, counts.shape[1])), np.cumsum(counts[order], axis=0)])
    first, last = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return np.asarray((summed[first] + summed[last] - summed[-1]) / 2)


def _correlation(a: Floats, b: Floats, counts: Floats) -> Floats:
    weighted = counts * a
    products = [np.einsum("nb,nb->b", x, y) for x, y in ((weighted, b), (weighted, a), (counts * b, b))]
    size = np.sqrt(products[1] * products[2])
    return np.asarray(np.clip(products[0] / np.where(size > 0, size, np.nan), -1.0, 1.0))


def _interval(name: str, points: Floats, drawn: Floats, level: float) -> Interval:
    value, scale = float(points.mean()), _SCALES[name]
    if not math.isfinite(value):
        return UNDEFINED
    if value in _ENDS[name]:
        return Interval(value, value, value)
    variance = resampled_variance(scale.there(drawn.mean(axis=0)))
    parts = [(seed_spread(points)[1] * scale.slope(value) ** 2, points.size)]
    half = half_width(*combined(variance, parts), level)
    centre = float(scale.there(np.array(value)))
    low, high = scale.back(centre - half), scale.back(centre + half)
    return Interval(value, min(low, value), max(high, value))
