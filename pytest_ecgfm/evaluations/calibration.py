"""Whether probabilities are right: calibration slope, calibration in the large, and the integrated calibration index.

References
----------
.. [1] Cox (1958), Biometrika 45:562-565: a logistic regression of the outcome on the logit of its probability.
.. [2] Van Calster et al. (2019), BMC Med. 17:230: slope, calibration in the large and flexible curves.
.. [3] Austin, Steyerberg (2019), Stat. Med. 38:4051-4065: the integrated calibration index.
.. [4] Cleveland (1979), J. Am. Stat. Assoc. 74:829-836: lowess.
.. [5] Liang, Zeger (1986), Biometrika 73:13-22: variances that are right where the records of a patient are alike.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.statistics import half_width
from pytest_ecgfm.evaluations.statistics.bootstrap import UNDEFINED, Interval, percentiles
from pytest_ecgfm.evaluations.statistics.shares import clustered
from pytest_ecgfm.evaluations.statistics.variance import Booleans, Floats, Integers, multiplicities

SPAN = 2 / 3
"""Share of the records that the smooth curve looks at around each probability: that of Cleveland's lowess [4]_."""

POINTS = 21
"""Points of a reliability curve, evenly from the 1st to the 99th percentile of the probabilities."""

RESAMPLES = 200
"""Of patients, for the band and the interval of the index: for every pair of cohorts, so as many as do."""

_NEAREST = 1e-8  # to 0 and to 1: a probability of exactly 0 has no logit
_GROUPS = 250  # of records with neighbouring probabilities: more do not change the index
_KNOTS = 60  # where the curve is computed; straight lines in between
_LEVEL = 0.95


class Curve(NamedTuple):
    """A reliability curve with its band, each an ndarray of float64 of shape (`POINTS`,), in [0, 1].

    Attributes
    ----------
    predicted : ndarray
        Probabilities, ascending.
    observed : ndarray
        Share of positives among records of that probability, smoothed.
    low, high : ndarray
        Its 95 % band, point by point.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats


class Calibration(NamedTuple):
    """How right probabilities are.

    Attributes
    ----------
    slope : Interval
        1 is right; below 1 the probabilities are too extreme, above 1 not extreme enough.
    intercept : Interval
        Calibration in the large, on the logit scale. 0 is right; above 0 there are more positives than predicted.
    ici : Interval
        Mean distance of the smooth curve from the probabilities; 0 is right.
    chance : float
        The index that right probabilities would show on as many records, by chance.
    curve : Curve or None
    note : str
        Why something is undefined; empty where everything is there.
    """

    slope: Interval
    intercept: Interval
    ici: Interval
    chance: float
    curve: Curve | None
    note: str = ""


def calibration(
    probabilities: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Calibration:
    """Return how well probabilities agree with what was found.

    Parameters
    ----------
    probabilities : array_like, shape (n,)
        In [0, 1]; NaN where there are none. For slope and intercept, they count as at least 1e-8 away from 0 and 1.
    targets : array_like of bool, shape (n,)
    patients : array_like, shape (n,), optional
        Variances are cluster-robust [5]_, and patients are resampled; without them, each record is a patient.
    resamples, seed : int
        Of the bootstrap behind the band and the interval of the index.

    Returns
    -------
    Calibration
        Undefined is NaN, with a note: everything where a class is missing or there are no probabilities; the slope
        where all probabilities are the same, or where they separate the classes (it would be infinite).

    Raises
    ------
    EcgfmError
        If shapes disagree, or a probability is outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> likely = rng.random(2000)
    >>> found = calibration(likely, rng.random(2000) < likely)
    >>> found.slope.low < 1 < found.slope.high, found.ici.value < 0.05
    (True, True)
    """
    chances, labels, codes = _checked(probabilities, targets, patients)
    nothing = Calibration(UNDEFINED, UNDEFINED, UNDEFINED, math.nan, None)
    if np.isnan(chances).any():
        return nothing._replace(note="the probe gives no probabilities")
    if labels.all() or not labels.any():
        return nothing._replace(note="all tested records are of one class")
    odds = logit(np.clip(chances, _NEAREST, 1 - _NEAREST))
    slope, note = _slope(odds, labels, codes)
    ici, chance, curve = _smooth(chances, labels, codes, resamples, seed)
    return Calibration(slope, _intercept(odds, labels, codes), ici, chance, curve, note)


def _checked(
    probabilities: npt.ArrayLike, targets: npt.ArrayLike, patients: npt.ArrayLike | None
) -> tuple[Floats, Booleans, Integers]:
    chances, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(targets, dtype=np.bool_)
    names = np.arange(labels.size) if patients is None else np.asarray(patients)
    if labels.ndim != 1 or chances.shape != labels.shape or names.shape != labels.shape:
        raise EcgfmError(
            f"probabilities.shape={chances.shape}, targets.shape={labels.shape} and patients.shape={names.shape}, "
            "but all should be (records,)."
        )
    wrong = np.flatnonzero((chances < 0) | (chances > 1))
    if wrong.size:
        raise EcgfmError(f"the probability of row {wrong[0]} is {chances[wrong[0]]:g}, but should be in [0, 1].")
    return chances, labels, np.unique(names, return_inverse=True)[1].astype(np.intp)


def _intercept(odds: Floats, labels: Booleans, codes: Integers) -> Interval:
    """Return the intercept of a logistic regression whose slope is fixed at 1 [1]_."""

    def surplus(shift: float) -> float:
        return float(labels.sum() - expit(odds + shift).sum())

    # Further than from one end of the logits to the other, and as many records' odds.
    reach = 2 * float(logit(1 - _NEAREST)) + math.log(labels.size + 1.0)
    value = float(brentq(surplus, -reach, reach, xtol=1e-12))
    found = expit(odds + value)
    information = float((found * (1 - found)).sum())
    return _wald(value, clustered(labels - found, codes) / information**2)


def _slope(odds: Floats, labels: Booleans, codes: Integers) -> tuple[Interval, str]:
    """Return the slope of a logistic regression of the label on the logit [1]_, or say why there is none."""
    spread = float(odds.std())
    if np.ptp(odds) <= 1e-9 * max(1.0, float(np.abs(odds).max())):
        return UNDEFINED, "all probabilities are the same, so there is no slope"
    positive, negative = odds[labels], odds[~labels]
    if positive.min() >= negative.max() or positive.max() <= negative.min():
        return UNDEFINED, "the probabilities separate the classes, so the slope is infinite"
    from sklearn.linear_model import LogisticRegression

    scaled = (odds - odds.mean()) / spread
    # Without a penalty; scikit-learn's Newton comes to a limit that others only come near.
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-9).fit(scaled[:, None], labels)
    value, start = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    found = expit(start + value * scaled)
    design = np.column_stack([np.ones_like(scaled), scaled])
    inverse = np.linalg.inv((design * (found * (1 - found))[:, None]).T @ design)
    # Of the slope alone: its row of the inverse information picks its part of each record's score.
    variance = clustered((labels - found) * (design @ inverse[1]), codes)
    return _wald(value / spread, variance / spread**2), ""


def _wald(value: float, variance: float) -> Interval:
    half = half_width(variance, math.inf, _LEVEL) if math.isfinite(variance) else math.inf
    return Interval(value, value - half, value + half)


def _smooth(
    chances: Floats, labels: Booleans, codes: Integers, resamples: int, seed: int
) -> tuple[Interval, float, Curve]:
    """Return the index with its interval, what it is by chance, and the curve with its band.

    Not statsmodels' lowess: a resample of records would need a call of its own. Here a resample is a vector of weights
    of the same groups of records, so that all of them are five products of matrices.
    """
    order = np.argsort(chances, kind="stable")
    starts = np.unique(np.linspace(0, order.size, min(order.size, _GROUPS) + 1).astype(np.intp)[:-1])
    sizes = np.diff(np.append(starts, order.size)).astype(np.float64)
    centres = np.add.reduceat(chances[order], starts) / sizes
    positives = np.add.reduceat(labels[order].astype(np.float64), starts)
    lines = _Lines(centres, sizes)
    observed = lines.fit(sizes[:, None], positives[:, None])

    drawn_sizes, drawn_positives = _resampled(order, starts, labels, codes, resamples, seed)
    draws = lines.fit(drawn_sizes, drawn_positives)
    # A resample that has nobody near a knot says nothing there.
    draws = np.where(np.isfinite(draws), draws, observed)
    # What resamples are from the sample, the sample is from the truth: right probabilities would show that much.
    chance = lines.apart(draws - observed, sizes[:, None])
    value = float(lines.distance(observed, sizes[:, None])[0])
    # A distance grows by noise, about as the root of a sum of squares: the sample holds it once, a resample twice.
    freed = np.sqrt(np.maximum(lines.distance(draws, drawn_sizes) ** 2 - 2 * np.mean(chance**2), 0))
    ici = percentiles(value, freed)
    first, last = np.quantile(chances, (0.01, 0.99)).tolist()
    at = np.linspace(first, last, POINTS)
    across = lines.between(at)
    band = np.quantile(across @ draws, ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2), axis=1)
    middle = (across @ observed)[:, 0]
    return ici, float(chance.mean()), Curve(at, middle, np.minimum(band[0], middle), np.maximum(band[1], middle))


def _resampled(
    order: Integers, starts: Integers, labels: Booleans, codes: Integers, resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """Return records and positives of each group of records, shape (groups, resamples), over resampled patients."""
    sizes, positives = [], []
    members, truth = codes[order], labels[order][:, None]
    for counts in multiplicities(int(codes.max()) + 1, resamples, labels.size, seed):
        weights = counts[members]
        sizes.append(np.add.reduceat(weights, starts, axis=0, dtype=np.float64))
        positives.append(np.add.reduceat(weights * truth, starts, axis=0, dtype=np.float64))
    return np.concatenate(sizes, axis=1), np.concatenate(positives, axis=1)


class _Lines:
    """Lowess without robustness steps: a straight line through the neighbours of each knot, near ones weighing more.

    Parameters
    ----------
    centres, sizes : ndarray of float64, shape (groups,)
        Probability of each group of records, ascending, and how many records it has.
    """

    def __init__(self, centres: Floats, sizes: Floats) -> None:
        self.centres = centres
        few = np.unique(centres)
        if few.size > _KNOTS:
            # Half of them where the records are, half of them evenly.
            by_rank = np.quantile(few, np.linspace(0, 1, _KNOTS // 2))
            few = np.unique(np.concatenate([by_rank, np.linspace(few[0], few[-1], _KNOTS // 2)]))
        self.knots = few
        apart = centres - few[:, None]
        distance = np.abs(apart)
        near = np.argsort(distance, axis=1, kind="stable")
        enough = np.cumsum(sizes[near], axis=1) >= max(np.floor(SPAN * sizes.sum() + 1e-10), 1)
        last = np.take_along_axis(near, np.argmax(enough, axis=1)[:, None], axis=1)
        reach = np.maximum(np.take_along_axis(distance, last, axis=1), 1e-12)
        self.weights = np.clip(1 - (distance / reach) ** 3, 0, None) ** 3
        self.moments = [self.weights * apart**power for power in (0, 1, 2)]
        self.least = (0.001 * float(np.ptp(centres))) ** 2
        self.across = self.between(centres)

    def between(self, at: Floats) -> Floats:
        """Return the matrix that takes values at the knots to values at other places, shape (places, knots)."""
        columns = np.eye(self.knots.size)
        return np.stack([np.interp(at, self.knots, column) for column in columns], axis=1)

    def fit(self, sizes: npt.NDArray[np.float64], positives: npt.NDArray[np.float64]) -> Floats:
        """Return the share of positives at each knot, in [0, 1], shape (knots, b): of b samples at once."""
        total, first, second = (moment @ sizes for moment in self.moments)
        found, tilted = self.weights @ positives, self.moments[1] @ positives
        with np.errstate(invalid="ignore", divide="ignore"):
            level = found / total
            spread = second / total - (first / total) ** 2
            # The line through the neighbours, read off at the knot; their mean where they do not differ.
            line = (second * found - first * tilted) / (total**2 * spread)
        return np.asarray(np.clip(np.where(spread > self.least, line, level), 0.0, 1.0))

    def distance(self, fitted: Floats, sizes: npt.NDArray[np.float64]) -> Floats:
        """Return the mean distance of curves from the diagonal over the records, shape (b,)."""
        return self._mean(self.across @ fitted - self.centres[:, None], sizes)

    def apart(self, differences: Floats, sizes: npt.NDArray[np.float64]) -> Floats:
        """Return the mean size of differences at the knots over the records, shape (b,)."""
        return self._mean(self.across @ differences, sizes)

    def _mean(self, differences: Floats, sizes: npt.NDArray[np.float64]) -> Floats:
        return np.asarray((np.abs(differences) * sizes).sum(axis=0) / sizes.sum(axis=0))
