"""Stability of an embedding: how far records move when they are perturbed.

What a probe makes of it is in `label_stability`.

References
----------
.. [1] Ethayarajh, EMNLP 2019: in anisotropic spaces any two embeddings have a cosine near 1.
.. [2] Kornblith et al., ICML 2019: centred kernel alignment (CKA).
.. [3] Song et al., J. Mach. Learn. Res. 13:1393 (2012): the unbiased estimate of HSIC behind debiased CKA.
.. [4] Efron, Tibshirani, *An Introduction to the Bootstrap* (1993); patients are what is resampled.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.cka import cka_of, gram
from pytest_ecgfm.evaluations.label_stability import MINIMUM_CLASS as MINIMUM_CLASS
from pytest_ecgfm.evaluations.label_stability import LabelStability as LabelStability
from pytest_ecgfm.evaluations.label_stability import label_stability as label_stability
from pytest_ecgfm.evaluations.statistics.bootstrap import (
    RESAMPLES,
    UNDEFINED,
    Interval,
    mean_interval,
    median_interval,
    percentiles,
    resampled,
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

_PAIRS = 20_000  # of different patients, for the median distance: its sampling error is below 1 %
_BLOCK = 1 << 22  # numbers held at once: 32 MB
_INTERVAL = "95 % interval, patients resampled"
_UNIT = [0.0, 1.0]


def _described(name: str, text: str, limits: list[float] | None, higher: bool | None, reference: str) -> dict[str, Any]:
    about = {"units": "1", "range": limits, "higher_is_better": higher}
    return {
        name: {"long_name": text, **about, "reference": reference},
        f"{name}_low": {"long_name": f"lower limit of {text}", **about, "reference": _INTERVAL},
        f"{name}_high": {"long_name": f"upper limit of {text}", **about, "reference": _INTERVAL},
    }


METRICS: Mapping[str, Mapping[str, Any]] = {
    **_described("cosine", "cosine to the clean embedding, both without the cohort's mean", [-1.0, 1.0], True, "[1]_"),
    **_described(
        "displacement", "distance to the clean embedding, divided by that between patients", None, False, "medians"
    ),
    **_described("retrieval", "share of records nearest to their clean twin", _UNIT, True, "of the whole cohort"),
    **_described("raw_displacement", "displacement in the embedding as it is", None, False, "medians, not z-scored"),
    **_described("raw_retrieval", "retrieval in the embedding as it is", _UNIT, True, "whole cohort, not z-scored"),
    **_described("cka", "debiased linear CKA with the clean embeddings", [-1.0, 1.0], True, "[2]_, [3]_"),
    **_described(
        "flip_rate", "share of records to which a probe gives another class, mean over labels", _UNIT, False, ""
    ),
    **_described("auroc_drop", "AUROC on clean minus perturbed records, mean over labels", [-1.0, 1.0], False, ""),
    **_described("label_flip_rate", "share of records to which a probe gives another class", _UNIT, False, ""),
    **_described("label_auroc_drop", "AUROC on clean minus perturbed records", [-1.0, 1.0], False, ""),
    "n_records": {"long_name": "records that were perturbed", "units": "1"},
    "n_positive": {"long_name": "positives among the perturbed records with a known label", "units": "1"},
    "effective_rank": {"long_name": "effective rank", "units": "1", "higher_is_better": True, "reference": "RankMe"},
    "history": {
        "long_name": "largest displacement of a new record by similar ones that were embedded before it",
        "units": "1",
        "higher_is_better": False,
        "reference": "copies of the process",
    },
    "raw_effective_rank": {
        "long_name": "effective rank of the embedding as it is",
        "units": "1",
        "higher_is_better": True,
        "reference": "RankMe, not z-scored",
    },
}
"""Attributes of each variable in the cube; None where there is nothing to say."""


@dataclass(frozen=True)
class Reference:
    """The clean embeddings of a cohort, against which perturbed ones are seen.

    Attributes
    ----------
    embeddings : ndarray of float32 or float64, shape (n, d)
    patients : ndarray of str, shape (n,)
    mean : ndarray of float64, shape (d,)
    typical : float
        Median distance between records of different patients; 0 for an encoder of constants.
    weights : ndarray of float64, shape (d,), or None
        Of the squared differences of each dimension, in a second distance; see `reference`.
    distinct : float
        Median of that distance; `typical` without weights.
    """

    embeddings: npt.NDArray[Any]
    patients: npt.NDArray[Any]
    mean: Floats
    typical: float
    weights: Floats | None
    distinct: float

    def displacements(self, a: Floats, b: Floats) -> Floats:
        """Return the distance of each pair of rows over that between patients: the larger of the two distances."""
        distances = np.linalg.norm(a - b, axis=1) / self.typical
        if self.weights is None or not self.distinct > 0:
            return np.asarray(distances)
        return np.asarray(np.maximum(distances, np.sqrt((a - b) ** 2 @ self.weights) / self.distinct))


def reference(
    embeddings: npt.ArrayLike, patients: npt.ArrayLike, *, weights: Floats | None = None, seed: int = 0
) -> Reference:
    """Prepare a cohort's clean embeddings once, for all perturbations.

    Distances are those of the rows as given. Give rows of a `pytest_ecgfm.evaluations.standardise.Standard`, and
    perturbed rows of the same, so that no single dimension dominates the distances.

    Parameters
    ----------
    embeddings : array_like of float32, shape (n, d)
        Finite.
    patients : array_like of str, shape (n,)
    weights : ndarray of float64, shape (d,), optional
        Weight of each dimension in a second distance, such as `pytest_ecgfm.evaluations.geometry.distinct_weights`.
        This distance counts too, so that copies of steady dimensions hide none that move.
    seed : int
        For the 20,000 pairs of records that give the median distance.

    Raises
    ------
    EcgfmError
        If shapes disagree.

    Examples
    --------
    >>> import numpy as np
    >>> clean = np.random.default_rng(0).normal(size=(100, 4))
    >>> round(reference(clean, np.arange(100)).typical)
    3
    """
    rows, names = np.asarray(embeddings), np.asarray(patients)
    rows = rows if rows.dtype.kind == "f" else rows.astype(np.float64)
    if rows.ndim != 2 or names.shape != rows.shape[:1]:
        raise EcgfmError(
            f"embeddings.shape={rows.shape} and patients.shape={names.shape}, but should be (n, d) and (n,)."
        )
    if not len(rows):
        raise EcgfmError("no embedding to compare with.")
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, len(rows), (2, _PAIRS))
    different = names[a] != names[b]
    distances: list[list[Floats]] = [[], []]
    for i, j in zip(np.array_split(a[different], 40), np.array_split(b[different], 40), strict=True):
        between = rows[i].astype(np.float64) - rows[j]
        distances[0].append(np.linalg.norm(between, axis=1))
        distances[1].append(distances[0][-1] if weights is None else np.sqrt(between**2 @ weights))
    # Rounding makes constants differ by next to nothing; a distance in units of that would be noise.
    least = 1e-6 * float(np.abs(rows).max(initial=0.0)) * math.sqrt(rows.shape[1])
    typical, distinct = (_middle(np.concatenate(each), least) for each in distances)
    return Reference(rows, names, rows.mean(axis=0, dtype=np.float64), typical, weights, distinct)


def _middle(distances: Floats, least: float) -> float:
    middle = float(np.median(distances)) if distances.size else math.nan
    return 0.0 if middle <= least else middle


@dataclass(frozen=True)
class Stability:
    """How records move; see `METRICS`."""

    cosine: Interval
    displacement: Interval
    retrieval: Interval
    cka: Interval

    def values(self) -> dict[str, float]:
        """Return the cube's variables."""
        return dict(_named({name: getattr(self, name) for name in ("cosine", "displacement", "retrieval", "cka")}))


def _named(intervals: Mapping[str, Interval]) -> list[tuple[str, float]]:
    limits = (("", "value"), ("_low", "low"), ("_high", "high"))
    return [(f"{name}{end}", getattr(one, which)) for name, one in intervals.items() for end, which in limits]


def centred_cosine(clean: npt.ArrayLike, other: npt.ArrayLike, mean: npt.ArrayLike) -> Floats:
    """Return the cosine of each pair of rows after the mean is removed, shape (m,); NaN where a row is the mean."""
    centre = np.asarray(mean, dtype=np.float64)
    a = np.asarray(clean, dtype=np.float64) - centre
    b = np.asarray(other, dtype=np.float64) - centre
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    floor = 1e-12 * max(float(np.abs(centre).max(initial=0.0)) ** 2, 1e-300)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lengths > floor, (a * b).sum(axis=1) / lengths, np.nan)


def retrieved(against: Reference, rows: Integers, perturbed: npt.ArrayLike) -> Booleans:
    """Say for each perturbed record whether its clean twin is the nearest of the cohort; a tie is no success."""
    queries = np.asarray(perturbed, dtype=np.float64) - against.mean
    own, others, largest = np.full(len(rows), np.inf), np.full(len(rows), np.inf), 0.0
    step = max(1, _BLOCK // max(1, len(rows), against.embeddings.shape[1]))
    for begin in range(0, len(against.embeddings), step):
        clean = against.embeddings[begin : begin + step] - against.mean
        squares = (clean**2).sum(axis=1)
        largest = max(largest, float(squares.max(initial=0.0)))
        # The query's own square is the same for every candidate.
        distances = squares - 2 * queries @ clean.T
        here = np.flatnonzero((rows >= begin) & (rows < begin + step))
        own[here] = distances[here, rows[here] - begin]
        distances[here, rows[here] - begin] = np.inf
        np.minimum(others, distances.min(axis=1), out=others)
    return np.asarray(own < others - largest * 1e-12)


def stability(
    against: Reference, rows: npt.ArrayLike, perturbed: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Stability:
    """Compare perturbed records with their clean twins.

    Parameters
    ----------
    against : Reference
        The cohort's clean embeddings.
    rows : array_like of int, shape (m,)
        Which of its records were perturbed.
    perturbed : array_like, shape (m, d)
    resamples, seed : int
        Of the patient bootstrap [4]_.

    Returns
    -------
    Stability
        Mean centred cosine, median relative displacement, share of clean twins that are retrieved, debiased CKA (its
        interval comes from resampled records, which are never paired with themselves). For an encoder whose answer is
        constant, retrieval is 0 and all others are NaN: it does not look stable.

    Raises
    ------
    EcgfmError
        If shapes disagree or a perturbed embedding is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(100, 4))
    >>> moved = stability(reference(clean, np.arange(100)), range(20), clean[:20] + 0.01)
    >>> moved.retrieval.value, moved.displacement.value < 0.02
    (1.0, True)
    """
    chosen, other = np.asarray(rows, dtype=np.intp), np.asarray(perturbed, dtype=np.float64)
    if other.shape != (chosen.size, against.embeddings.shape[1]):
        raise EcgfmError(f"perturbed.shape={other.shape}, but should be {(chosen.size, against.embeddings.shape[1])}.")
    if not np.isfinite(other).all():
        bad = int(np.flatnonzero(~np.isfinite(other).all(axis=1))[0])
        raise EcgfmError(f"the embedding of row {bad} is not finite after the perturbation.")
    clean = against.embeddings[chosen].astype(np.float64)
    weights = resampled(against.patients[chosen], resamples, seed)
    if not against.typical > 0:
        return Stability(UNDEFINED, UNDEFINED, Interval(0.0, 0.0, 0.0), UNDEFINED)
    k, q = gram(clean), gram(other)
    cka = cka_of(k, q, np.ones((1, chosen.size)))[0]
    # Eighty resamples are enough for the limits of a quantity that gates nothing, and cost m squared each.
    return Stability(
        mean_interval(centred_cosine(clean, other, against.mean), weights),
        median_interval(against.displacements(other, clean), weights),
        mean_interval(retrieved(against, chosen, other).astype(np.float64), weights),
        percentiles(float(cka), cka_of(k, q, weights[:80])),
    )


def raw_values(against: Reference, rows: npt.ArrayLike, perturbed: npt.ArrayLike) -> dict[str, float]:
    """Return the cube's variables of the embedding as it is: what it moves by, and whether it is found again.

    Parameters
    ----------
    against : Reference
        The cohort's clean embeddings, not standardised.
    rows : array_like of int, shape (m,)
        Which of its records were perturbed.
    perturbed : array_like, shape (m, d)
        Finite.
    """
    chosen, other = np.asarray(rows, dtype=np.intp), np.asarray(perturbed, dtype=np.float64)
    if not against.typical > 0:
        return dict(_named({"raw_displacement": UNDEFINED, "raw_retrieval": Interval(0.0, 0.0, 0.0)}))
    weights = resampled(against.patients[chosen], RESAMPLES, 0)
    moved = against.displacements(other, against.embeddings[chosen].astype(np.float64))
    nearest = retrieved(against, chosen, other).astype(np.float64)
    named = {"raw_displacement": median_interval(moved, weights), "raw_retrieval": mean_interval(nearest, weights)}
    return dict(_named(named))


def retest(
    against: Reference, first: npt.ArrayLike, second: npt.ArrayLike, patients: npt.ArrayLike, *, seed: int = 0
) -> Interval:
    """Return the median distance between two embeddings of the same thing, over the distance between patients.

    Parameters
    ----------
    against : Reference
        For the distance between patients.
    first, second : array_like, shape (m, d)
        Such as the halves of a record, or two records of a patient.
    patients : array_like, shape (m,)
        Resampled for the interval.

    Examples
    --------
    >>> import numpy as np
    >>> clean = np.random.default_rng(0).normal(size=(100, 4))
    >>> retest(reference(clean, np.arange(100)), clean[:20], clean[:20] + 0.01, np.arange(20)).value < 0.02
    True
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not against.typical > 0 or not len(a):
        return UNDEFINED
    weights = resampled(np.asarray(patients), RESAMPLES, seed)
    return median_interval(against.displacements(a, b), weights)


def pairs_of_patients(patients: npt.ArrayLike) -> tuple[Integers, Integers]:
    """Return rows of the first and the second record of each patient who has two."""
    names = np.asarray(patients)
    order = np.argsort(names, kind="stable")
    _, start, count = np.unique(names[order], return_index=True, return_counts=True)
    first = order[start[count > 1]]
    second = order[start[count > 1] + 1]
    return first.astype(np.intp), second.astype(np.intp)
