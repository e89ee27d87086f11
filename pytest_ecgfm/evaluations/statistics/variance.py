"""AUROC of many score vectors at once, and how it varies with the test records: DeLong, or resampled patients.

References
----------
.. [1] DeLong, DeLong, Clarke-Pearson (1988), Biometrics 44:837-845: structural components of the AUROC.
.. [2] Sun, Xu (2014), IEEE Signal Processing Letters 21:1389-1393: the same in O(n log n) with midranks.
.. [3] Bhatia, Davis (2000), Am. Math. Monthly 107:353-357: Var <= (max - mean)(mean - min).
.. [4] Field, Welsh (2007), J. R. Stat. Soc. B 69:369-390: bootstrapping clustered data.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.statistics.midranks import midranks

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

_CELLS = 1 << 22  # weights held at once by the bootstrap: bounds its memory to a few tens of MB


class Placements(NamedTuple):
    """Structural components of the AUROC [1]_.

    Attributes
    ----------
    positive : ndarray of float64, shape (k, positives)
        V10: for each positive, the share of negatives that it outscores (ties count half), in [0, 1].
    negative : ndarray of float64, shape (k, negatives)
        V01: for each negative, the share of positives that outscore it, in [0, 1].
    """

    positive: Floats
    negative: Floats


def checked(scores: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Floats, Booleans]:
    """Return scores as (k, n) and targets as (n,).

    Raises
    ------
    EcgfmError
        If shapes disagree.
    """
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    labels = np.asarray(targets, dtype=np.bool_)
    if rows.ndim != 2 or labels.ndim != 1 or rows.shape[1] != labels.size or not rows.shape[0]:
        raise EcgfmError(
            f"scores.shape={np.shape(scores)} and targets.shape={labels.shape}, "
            "but should be (records,) or (seeds, records), and (records,)."
        )
    return rows, labels


def placements(scores: npt.ArrayLike, targets: npt.ArrayLike) -> Placements:
    """Return the placement values of every record, in O(k n log n) by midranks [2]_.

    Parameters
    ----------
    scores : array_like, shape (k, n) or (n,)
        One row a score vector; a row with NaN gives NaN.
    targets : array_like of bool, shape (n,)
        Needs both classes.

    Raises
    ------
    EcgfmError
        If shapes disagree or a class is missing.
    """
    rows, labels = checked(scores, targets)
    m = int(labels.sum())
    n = labels.size - m
    if not m or not n:
        raise EcgfmError(f"placement values need both classes, but there are {m} positives and {n} negatives.")
    ranks = midranks(rows)
    within_positive = midranks(rows[:, labels])
    within_negative = midranks(rows[:, ~labels])
    return Placements((ranks[:, labels] - within_positive) / n, 1.0 - (ranks[:, ~labels] - within_negative) / m)


def aurocs(scores: npt.ArrayLike, targets: npt.ArrayLike) -> Floats:
    """Return the AUROC of each row of scores (Mann-Whitney with midranks): shape (k,), in [0, 1].

    NaN where a class is missing or a row holds NaN.

    Raises
    ------
    EcgfmError
        If shapes disagree.
    """
    rows, labels = checked(scores, targets)
    m = int(labels.sum())
    n = labels.size - m
    if not m or not n:
        return np.full(rows.shape[0], np.nan)
    # Summed before dividing: midranks are multiples of 1/2, so equal orders give equal bits.
    rank_sums: Floats = midranks(rows)[:, labels].sum(axis=1)
    return (rank_sums - m * (m + 1) / 2) / (m * n)


def multiplicities(patients: int, resamples: int, records: int, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield how often each patient is drawn, shape (patients, some resamples): the same draws for the same sizes."""
    rng = np.random.default_rng(seed)
    size = int(np.clip(_CELLS // max(records, 1), 1, resamples))
    for start in range(0, resamples, size):
        width = min(size, resamples - start)
        drawn = rng.integers(0, patients, size=(patients, width), dtype=np.uint32).astype(np.intp)
        drawn *= width
        drawn += np.arange(width)
        counts = np.bincount(drawn.ravel(), minlength=patients * width)
        yield counts.reshape(patients, width).astype(np.float32)


def bootstrap_aurocs(
    scores: Floats, targets: Booleans, clusters: Integers, draws: Iterable[npt.NDArray[np.float32]]
) -> Floats:
    """Return the AUROC of each row over resampled patients, shape (k, resamples); NaN where a class was not drawn.

    `draws` are those of `multiplicities`, over at least the patients that `clusters` numbers.

    A resample is a vector of weights, so each row is sorted once, and all its resamples are cumulative sums.
    """
    positive, negative = np.flatnonzero(targets), np.flatnonzero(~targets)
    plans = []
    for row in scores:
        order = negative[np.argsort(row[negative], kind="stable")]
        below = np.searchsorted(row[order], row[positive], side="left")
        upto = np.searchsorted(row[order], row[positive], side="right")
        plans.append((clusters[order], below, upto, bool((below != upto).any())))
    blocks = []
    for counts in draws:
        weights = counts[clusters[positive]]
        # float32 holds these sums of counts exactly below 2 ** 24 records and halves the memory traffic.
        cumulative = np.zeros((negative.size + 1, counts.shape[1]), np.float32)
        block = np.empty((len(plans), counts.shape[1]))
        total = weights.sum(axis=0, dtype=np.float64)
        for i, (members, below, upto, tied) in enumerate(plans):
            np.cumsum(counts[members], axis=0, out=cumulative[1:])
            wins = cumulative[below]
            if tied:
                wins += cumulative[upto]
                wins *= 0.5
            with np.errstate(invalid="ignore", divide="ignore"):
                block[i] = np.einsum("mb,mb->b", weights, wins) / (total * cumulative[-1])
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def resampled_variance(drawn: Floats) -> float:
    """Return the variance over resamples; those in which the quantity is undefined do not count, and NaN below two."""
    known = drawn[np.isfinite(drawn)]
    return float(known.var(ddof=1)) if known.size > 1 else math.nan


class SampleDesign(NamedTuple):
    """Which test records there are, as far as intervals care."""

    targets: Booleans
    clusters: Integers | None  # None where every patient has one record
    positives: int  # independent units that hold a positive: records, or patients
    negatives: int
    pairs: int


def sample_design(targets: Booleans, patients: npt.ArrayLike | None) -> SampleDesign:
    """Return what intervals must know of the test records.

    Raises
    ------
    EcgfmError
        If `patients` is given and is not one a record.
    """
    m = int(targets.sum())
    n = targets.size - m
    if patients is None:
        return SampleDesign(targets, None, m, n, min(m, n))
    names = np.asarray(patients)
    if names.shape != targets.shape:
        raise EcgfmError(f"patients.shape={names.shape}, but should be {targets.shape} like targets.")
    codes = np.asarray(pd.factorize(names)[0], dtype=np.intp)
    units = int(codes.max(initial=-1)) + 1
    if units == targets.size:
        return SampleDesign(targets, None, m, n, min(m, n))
    with_positive = np.unique(codes[targets]).size
    with_negative = np.unique(codes[~targets]).size
    # A patient with both classes can serve one pair only, on one of its sides.
    return SampleDesign(targets, codes, with_positive, with_negative, min(with_positive, with_negative, units // 2))


def contrast_variances(scores: Floats, sample: SampleDesign, contrasts: Floats, resamples: int, seed: int) -> Floats:
    """Return the variance, over test records, of weighted sums of AUROCs: shape (contrasts,)."""
    ceiling = np.maximum(contrasts, 0).sum(axis=1)
    floor = np.minimum(contrasts, 0).sum(axis=1)
    points = contrasts @ aurocs(scores, sample.targets)
    # One patient of a class leaves its variance unknown, not zero: take the largest that the range allows [3].
    bound: Floats = np.maximum((ceiling - points) * (points - floor), 0)
    if sample.clusters is not None:
        if min(sample.positives, sample.negatives) < 2:
            return bound
        draws = multiplicities(int(sample.clusters.max()) + 1, resamples, sample.targets.size, seed)
        drawn = contrasts @ bootstrap_aurocs(scores, sample.targets, sample.clusters, draws)
        return np.array([resampled_variance(row) for row in drawn])
    total = np.zeros(len(contrasts))
    for components in placements(scores, sample.targets):
        units = components.shape[1]
        total += (contrasts @ components).var(axis=1, ddof=1) / units if units > 1 else bound
    return total
