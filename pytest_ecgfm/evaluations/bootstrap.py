"""Bootstrap over patients: resampled records, percentile intervals, weighted AUROC (Efron, Tibshirani 1993)."""

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
