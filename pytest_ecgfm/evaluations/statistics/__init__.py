"""Intervals, paired tests and corrections: AUROC with both of its sources of variance.

References
----------
.. [1] DeLong, DeLong, Clarke-Pearson (1988), Biometrics 44:837-845: structural components of the AUROC.
.. [2] Sun, Xu (2014), IEEE Signal Processing Letters 21:1389-1393: the same in O(n log n) with midranks.
.. [3] Qin, Hotilovac (2008), Stat. Methods Med. Res. 17:207-221: Wald interval on the logit scale.
.. [4] Clopper, Pearson (1934), Biometrika 26:404-413: exact binomial limits.
.. [5] Bhatia, Davis (2000), Am. Math. Monthly 107:353-357: Var <= (max - mean)(mean - min).
.. [6] Field, Welsh (2007), J. R. Stat. Soc. B 69:369-390: bootstrapping clustered data.
.. [7] Satterthwaite (1946), Biometrics Bulletin 2:110-114: degrees of freedom of a sum of variances.
.. [8] Zou, Donner (2008), Stat. Med. 27:1693-1702: interval of a difference from two intervals.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, stdtr, stdtrit

from pytest_ecgfm.evaluations.holm import holm
from pytest_ecgfm.evaluations.statistics.midranks import midranks
from pytest_ecgfm.evaluations.statistics.variance import (
    Floats,
    aurocs,
    checked,
    contrast_variances,
    placements,
    sample_design,
)

__all__ = [
    "RESAMPLES",
    "Estimate",
    "auroc",
    "auroc_estimates",
    "aurocs",
    "delong_interval",
    "holm",
    "mean_auroc",
    "mean_auroc_difference",
    "p_value",
    "placements",
]

RESAMPLES = 1000
"""Resamples of the patient-cluster bootstrap."""


@dataclass(frozen=True)
class Estimate:
    """A quantity with its interval.

    Attributes
    ----------
    value, low, high : float
        The point and the limits of its interval; NaN where the quantity is undefined.
    standard_error : float
        Of `value`, from test records and seeds together.
    sd_seeds : float
        Standard deviation over seeds (``ddof=1``); NaN for one seed, as one seed says nothing about spread.
    n_seeds : int
        Seeds averaged; for a difference, the smaller number of the two sides.
    scale : {"logit", "identity"}
        On which scale the interval was built.
    pairs : int
        How many disjoint, independent (positive, negative) pairs the test records hold; what `low` rests on where
        the AUROC is exactly 0 or 1.
    degrees_of_freedom : float
        Of the t quantile; infinite for one seed.
    level : float
        Nominal coverage, in (0, 1).
    """

    value: float
    low: float
    high: float
    standard_error: float
    sd_seeds: float
    n_seeds: int
    scale: Literal["logit", "identity"] = "logit"
    pairs: int = 0
    degrees_of_freedom: float = math.inf
    level: float = 0.95


def auroc(scores: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the AUROC of one score vector, in [0, 1]; NaN without both classes or with a NaN score.

    Parameters
    ----------
    scores : array_like, shape (n,)
    targets : array_like of bool, shape (n,)

    Raises
    ------
    EcgfmError
        If shapes disagree.

    Examples
    --------
    >>> auroc([0.9, 0.8, 0.4, 0.1], [True, False, True, False])
    0.75
    """
    return float(aurocs(scores, targets)[0])


def delong_interval(
    auroc: float, variance: float, level: float = 0.95, *, pairs: int, degrees_of_freedom: float = math.inf
) -> tuple[float, float]:
    """Return the interval of an AUROC on the logit scale [3]_, which keeps it inside [0, 1].

    At an AUROC of exactly 0 or 1 the estimated variance is 0 and says nothing. There the limit is exact: an encoder of
    true AUROC A orders `pairs` disjoint, independent (positive, negative) pairs without error with probability
    A ** pairs, which bounds the probability of perfect separation; so the limit is Clopper and Pearson's [4]_
    for `pairs` successes in `pairs` trials, ``((1 - level) / 2) ** (1 / pairs)``.

    Parameters
    ----------
    auroc : float
        In [0, 1] or NaN.
    variance : float
        Of `auroc`; 0 with an AUROC inside (0, 1) (all scores tied) gives an interval of no width.
    level : float
        Nominal coverage, in (0, 1).
    pairs : int
        Disjoint pairs of independent records: the smaller of positives and negatives, at least 1.
    degrees_of_freedom : float
        Of the t quantile; infinite means normal.

    Returns
    -------
    tuple of float
        Low and high limit, in [0, 1]; NaN where an input is NaN.
    """
    if math.isnan(auroc) or math.isnan(variance):
        return math.nan, math.nan
    if auroc in (0.0, 1.0):
        exact = float(((1 - level) / 2) ** (1 / max(pairs, 1)))
        return (exact, 1.0) if auroc == 1.0 else (0.0, 1.0 - exact)
    half = half_width(variance, degrees_of_freedom, level) / (auroc * (1 - auroc))
    centre = float(logit(auroc))
    return float(expit(centre - half)), float(expit(centre + half))


def seed_spread(values: Floats) -> tuple[float, float]:
    """Return the SD over seeds (NaN for one) and the variance that it adds to the mean (0 for one)."""
    if values.size < 2:
        return math.nan, 0.0
    sd = float(values.std(ddof=1))
    return sd, sd**2 / values.size


def seed_parts(a: Floats, b: Floats) -> list[tuple[float, int]]:
    """Return what seeds add to the variance of a difference of means, each part with its number of values.

    With as many seeds on both sides, seeds are paired; else both sides vary by themselves.
    """
    sides = (a - b,) if a.size == b.size else (a, b)
    return [(seed_spread(side)[1], side.size) for side in sides]


def combined(test_variance: float, parts: list[tuple[float, int]]) -> tuple[float, float]:
    """Return a sum of variances and its degrees of freedom [7]_; the part from test records counts as known."""
    denominator = sum(variance**2 / (k - 1) for variance, k in parts if k > 1)
    total = test_variance + sum(variance for variance, _ in parts)
    return total, total**2 / denominator if denominator > 0 else math.inf


def half_width(variance: float, degrees_of_freedom: float, level: float) -> float:
    """Return half the width of an interval by the t quantile; infinite degrees of freedom mean the normal one."""
    return float(stdtrit(degrees_of_freedom, (1 + level) / 2)) * math.sqrt(variance)


def auroc_estimate(values: Floats, test_variance: float, pairs: int, level: float) -> Estimate:
    sd, seed_variance = seed_spread(values)
    value = float(values.mean())
    variance, freedom = combined(test_variance, [(seed_variance, values.size)])
    low, high = delong_interval(value, variance, level, pairs=pairs, degrees_of_freedom=freedom)
    return Estimate(value, low, high, math.sqrt(variance), sd, values.size, "logit", pairs, freedom, level)


def auroc_estimates(
    scores: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[list[Estimate], Estimate]:
    """Return the AUROC of every seed, and their mean, each with its interval.

    Parameters
    ----------
    scores : array_like, shape (k, n) or (n,)
        One row a seed.
    targets : array_like of bool, shape (n,)
    patients : array_like, shape (n,), optional
        Where one repeats, variances come from resampling patients [6]_ (the same resamples for every seed);
        else from DeLong's placements, averaged over the seeds of the mean.
    level : float
        Nominal coverage, in (0, 1).
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    list of Estimate
        One a seed; test records are the only source of variance.
    Estimate
        The mean over seeds; its variance is that of the test records plus the variance between seeds over k.
        All NaN without both classes or with a NaN score.

    Raises
    ------
    EcgfmError
        If shapes disagree.
    """
    rows, labels = checked(scores, targets)
    sample = sample_design(labels, patients)
    k = len(rows)
    values = aurocs(rows, labels)
    variances = np.full(k + 1, np.nan)
    if np.isfinite(values).all():
        contrasts = np.vstack([np.eye(k), np.full((1, k), 1 / k)])
        variances = contrast_variances(rows, sample, contrasts, resamples, seed)
    each = [auroc_estimate(values[i : i + 1], float(variances[i]), sample.pairs, level) for i in range(k)]
    return each, auroc_estimate(values, float(variances[-1]), sample.pairs, level)


def mean_auroc(
    scores: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return the mean over seeds of the AUROC, with the interval of `auroc_estimates`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> targets = rng.random(500) < 0.2
    >>> found = mean_auroc(rng.normal(size=500) + 2 * targets, targets)
    >>> found.low < found.value < found.high
    True
    """
    return auroc_estimates(scores, targets, patients, level=level, resamples=resamples, seed=seed)[1]


def _exact_difference(a: float, b: float, level: float, pairs: int) -> tuple[float, float]:
    """Combine the limits of two AUROCs of no estimated variance, as if they were independent [8]_."""
    low_a, high_a = delong_interval(a, 0.0, level, pairs=pairs)
    low_b, high_b = delong_interval(b, 0.0, level, pairs=pairs)
    return a - b - math.hypot(a - low_a, high_b - b), a - b + math.hypot(high_a - a, b - low_b)


def mean_auroc_difference(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return the mean AUROC of `scores_a` minus that of `scores_b` on the same records: paired DeLong or bootstrap.

    If both sides have the same number of seeds, row i of one is paired with row i of the other (the subsets of a seed
    are the same for every encoder), and the spread between seeds is that of the differences. Otherwise both spreads are
    added. If both AUROCs are at a limit and the scores differ, the paired variance of 0 says nothing; then the two
    exact intervals are combined [8]_. If both scores put the records in the same order, the difference is exactly 0,
    without an interval.

    Parameters
    ----------
    scores_a, scores_b : array_like, shape (k, n) or (n,), and (k2, n) or (n,)
    targets : array_like of bool, shape (n,)
    patients, level, resamples, seed
        As for `auroc_estimates`.

    Returns
    -------
    Estimate
        In [-1, 1], positive where `scores_a` is better; interval on the plain scale.

    Raises EcgfmError if shapes disagree.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> targets = rng.random(500) < 0.2
    >>> now, then = rng.normal(size=500) + 2 * targets, rng.normal(size=500)
    >>> mean_auroc_difference(now, then, targets).low > 0
    True
    """
    rows_a, labels = checked(scores_a, targets)
    rows_b, _ = checked(scores_b, targets)
    sample = sample_design(labels, patients)
    a, b = aurocs(rows_a, labels), aurocs(rows_b, labels)
    value = float(a.mean() - b.mean())
    same = rows_a.shape == rows_b.shape and np.array_equal(midranks(rows_a), midranks(rows_b))
    test_variance = 0.0 if same and math.isfinite(value) else math.nan
    if math.isfinite(value) and not same:
        contrast = np.concatenate([np.full(a.size, 1 / a.size), np.full(b.size, -1 / b.size)])[None, :]
        test_variance = float(contrast_variances(np.vstack([rows_a, rows_b]), sample, contrast, resamples, seed)[0])
    parts = seed_parts(a, b)
    sd = seed_spread(a - b)[0] if a.size == b.size else math.sqrt(sum(variance * k for variance, k in parts))
    variance, freedom = combined(test_variance, parts)
    half = half_width(variance, freedom, level)
    low, high = value - half, value + half
    if variance <= 1e-24 and not same:
        low, high = _exact_difference(float(a.mean()), float(b.mean()), level, sample.pairs)
    low, high = max(low, -1.0), min(high, 1.0)
    return Estimate(
        value, low, high, math.sqrt(variance), sd, min(a.size, b.size), "identity", sample.pairs, freedom, level
    )


def p_value(estimate: Estimate, threshold: float, alternative: Literal["greater", "less"] = "greater") -> float:
    """Return the one-sided p-value that agrees with the estimate's interval.

    Parameters
    ----------
    estimate : Estimate
        From `mean_auroc`, `auroc_estimates` or `mean_auroc_difference`.
    threshold : float
        The null hypothesis: the quantity is at most (``"greater"``) or at least (``"less"``) this.
    alternative : {"greater", "less"}
        What a small p-value supports.

    Returns
    -------
    float
        In [0, 1]; NaN where the estimate is. Without any variance, 0 or 1; exactly at the threshold, 1.
    """
    if math.isnan(estimate.value) or math.isnan(estimate.low):
        return math.nan
    if alternative == "less":
        mirrored = _mirrored(estimate)
        return p_value(mirrored, 1 - threshold if estimate.scale == "logit" else -threshold)
    if estimate.scale == "logit":
        if not 0 < threshold < 1:
            return 0.0 if threshold < 0 or (threshold == 0 and estimate.low > 0) else 1.0
        if estimate.value in (0.0, 1.0):
            return threshold**estimate.pairs if estimate.value else 1.0
    convert = logit if estimate.scale == "logit" else float
    distance = float(convert(estimate.value)) - float(convert(threshold))
    # The standard error is read off the interval: it then holds for every way in which the limit was found.
    spread = float(convert(estimate.value)) - float(convert(estimate.low))
    if spread <= 0:
        return 0.0 if distance > 0 else 1.0
    quantile = float(stdtrit(estimate.degrees_of_freedom, (1 + estimate.level) / 2))
    return float(stdtr(estimate.degrees_of_freedom, -distance * quantile / spread))


def _mirrored(estimate: Estimate) -> Estimate:
    centre = 1.0 if estimate.scale == "logit" else 0.0
    fields = {**estimate.__dict__, "value": centre - estimate.value}
    return Estimate(**{**fields, "low": centre - estimate.high, "high": centre - estimate.low})
