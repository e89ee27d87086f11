"""Bootstrap over patients: resampled records, percentile intervals, weighted AUROC (Efron, Tibshirani 1993).

A percentile interval stays within the limits of its quantity, as each resample does. So does Wilson's interval of a
share (J. Am. Stat. Assoc. 22:209, 1927), which is used if all resamples may be alike.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

RESAMPLES = 400
"""Resamples of the patient bootstrap."""


class Interval(NamedTuple):
    """An estimate with its 95 % interval; NaN where it is undefined."""

    value: float
    low: float
    high: float

    def named(self, name: str) -> dict[str, float]:
        """Return it as variables of the cube: ``name``, ``name_low``, ``name_high``."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


UNDEFINED = Interval(math.nan, math.nan, math.nan)


def resampled(patients: npt.NDArray[Any], resamples: int, seed: int) -> Floats:
    """Return how often each record is drawn, shape (resamples, n): whole patients, with replacement."""
    _, codes = np.unique(patients, return_inverse=True)
    if not codes.size:
        return np.zeros((resamples, 0))
    count = int(codes.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.asarray(drawn[:, codes], dtype=np.float64)


def percentiles(value: float, draws: Floats) -> Interval:
    """Return the percentile interval of an estimate, which always holds the estimate itself."""
    known = draws[np.isfinite(draws)]
    if not math.isfinite(value) or not known.size:
        return UNDEFINED
    low, high = np.quantile(known, (0.025, 0.975))
    return Interval(value, float(min(low, value)), float(max(high, value)))


def mean_interval(each: Floats, weights: Floats) -> Interval:
    """Return the mean of a value a record, with its interval over resamples as `resampled` returns them."""
    if not each.size or not np.isfinite(each).all():
        return UNDEFINED
    totals = weights.sum(axis=1)
    return percentiles(float(each.mean()), weights @ each / np.where(totals > 0, totals, np.nan))


def median_interval(each: Floats, weights: Floats) -> Interval:
    """Return the median of a value a record, with its interval over resamples as `resampled` returns them."""
    if not each.size or not np.isfinite(each).all():
        return UNDEFINED
    order = np.argsort(each)
    share = np.cumsum(weights[:, order], axis=1)
    draws = each[order][np.argmax(share >= share[:, -1:] / 2, axis=1)]
    return percentiles(float(np.median(each)), draws)


def wilson(share: float, mean: float, deviation: float) -> tuple[float, float]:
    """Return the 95 % limits of a share in [0, 1] that chance alone would scatter by `deviation` around `mean`.

    Wilson's interval for as many independent records as scatter so: it holds `mean` exactly where the share lies within
    1.96 deviations of it, and stays in [0, 1]. NaN where an input is; no width where chance does not scatter.
    """
    spread = mean * (1 - mean)
    if not (math.isfinite(share) and math.isfinite(spread) and math.isfinite(deviation)):
        return math.nan, math.nan
    # z^2 / n, n records: their share has the variance mean * (1 - mean) / n.
    reach = (1.96 * deviation) ** 2 / spread if spread > 0 else 0.0
    centre = (share + reach / 2) / (1 + reach)
    half = math.sqrt(reach * share * (1 - share) + reach**2 / 4) / (1 + reach)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def weighted_auroc(scores: Floats, labels: Booleans, weights: Floats) -> Floats:
    """Return the AUROC for each row of record weights, ties counting half; NaN where a class was not drawn."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    positive, negative = weights[:, order] * labels[order], weights[:, order] * ~labels[order]
    # Of the negatives: those of a smaller score, and half of those of the same one.
    first = np.searchsorted(ranked, ranked, side="left")
    last = np.searchsorted(ranked, ranked, side="right")
    cumulated = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(negative, axis=1)], axis=1)
    below = (cumulated[:, first] + cumulated[:, last]) / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return np.asarray((positive * below).sum(axis=1) / np.where(pairs > 0, pairs, np.nan))
