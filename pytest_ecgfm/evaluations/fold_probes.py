"""The probes behind `evaluate`, one a fold, and the scale of their scores."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.probes import Probe, fit_probe
from pytest_ecgfm.evaluations.splits import Fold, Split, nested_subset
from pytest_ecgfm.evaluations.standardise import LEAST_SHARE, standardisation

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]


class FoldProbe(NamedTuple):
    """A fitted probe, and which records it may be judged on.

    Attributes
    ----------
    probe : Probe
    train_rows : ndarray of int
        Sorted rows that it was fitted to: the fold's subset of training patients.
    test_rows : ndarray of int
        Sorted rows of the fold's test part; no patient of theirs is in `train_rows`.
    fold : int
        Number of the fold in the split.
    """

    probe: Probe
    train_rows: Integers
    test_rows: Integers
    fold: int


class Prepared(NamedTuple):
    """Checked arrays: embeddings (n, d), targets (n,), and patients (n,) as numbers in their sorted order.

    Targets are of bool for a label, of float for a quantity.

    `spreads` keeps what `fit_fold` finds out about the dimensions of a fold, for its next fraction or seed.
    """

    embeddings: npt.NDArray[Any]
    targets: npt.NDArray[Any]
    patients: Integers
    spreads: dict[int, Floats]


def prepared(embeddings: npt.ArrayLike, targets: npt.ArrayLike, patients: npt.ArrayLike) -> Prepared:
    """Return the arrays that folds are fitted to.

    Raises
    ------
    EcgfmError
        If shapes disagree or an embedding, or the value of a quantity, is not finite.
    """
    rows, labels, names = np.asarray(embeddings), np.asarray(targets), np.asarray(patients)
    labels = labels.astype(np.float64 if labels.dtype.kind == "f" else np.bool_)
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or names.shape != labels.shape:
        raise EcgfmError(
            f"embeddings.shape={rows.shape}, targets.shape={labels.shape} and patients.shape={names.shape}, "
            "but should be (records, dimensions), (records,) and (records,)."
        )
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if wrong.size:
        raise EcgfmError(f"the embedding of row {wrong[0]} is not finite ({wrong.size} such rows of {len(rows)}).")
    if not np.isfinite(labels).all():
        raise EcgfmError(f"the value of row {int(np.argmin(np.isfinite(labels)))} is not finite.")
    codes = np.unique(names, return_inverse=True)[1].astype(np.intp)
    return Prepared(rows, labels, codes, {})


def fit_fold(kind: str, data: Prepared, fold: Fold, fraction: float, seed: int) -> tuple[Probe | None, Integers]:
    """Return a fold's probe and the rows that it saw; no probe where the fold has no training records.

    Raises
    ------
    EcgfmError
        If the kind of probe is unknown or `fraction` lies outside (0, 1].
    """
    embeddings, targets, patients, _ = data
    if not fold.train.size:
        return None, fold.train
    rows = nested_subset(fold.train, targets, patients, fraction, seed)
    held = fold.validation
    probe = fit_probe(
        kind,
        embeddings[rows],
        targets[rows],
        patients[rows],
        embeddings[held],
        targets[held],
        seed=seed,
        least=_least_spread(data, fold) if fraction < 1 else None,
    )
    return probe, rows


def _least_spread(data: Prepared, fold: Fold) -> Floats:
    """Return the smallest unit of each dimension: a share of its SD among all training records of the fold.

    In a handful of records a dimension may hardly vary, by chance. Divided by what it varies there, it would be
    enormous in other records, and the first digit that rounding takes would decide the probe. No label is looked at,
    and no record that is tested or validates.
    """
    key = first_tested(fold)
    if key not in data.spreads:
        data.spreads[key] = LEAST_SHARE * standardisation(data.embeddings[fold.train])[1]
    return data.spreads[key]


def first_tested(fold: Fold) -> int:
    """Return a number that tells the folds of a split apart: they test different records."""
    return int(fold.test[0]) if fold.test.size else -1


Fitted = tuple[Probe | None, Integers]
"""What `fit_fold` returns."""

Fit = Callable[[str, Prepared, Fold, float, int], Fitted]
"""`fit_fold`, or what remembers its results."""


def each_fit(
    kind: str, data: Prepared, split: Split, fraction: float, seeds: Sequence[int], fit: Fit
) -> Iterator[tuple[int, int, Fold, Probe | None, Integers]]:
    """Fit every fold's probe for every seed: yields the numbers of both, the fold, its probe and the rows it saw."""
    for number, fold in enumerate(split.folds):
        for i, seed in enumerate(seeds):
            yield number, i, fold, *fit(kind, data, fold, fraction, seed)


def _fold_probes(kind: str, data: Prepared, split: Split, fraction: float, seed: int, fit: Fit) -> Iterator[FoldProbe]:
    for number, fold in enumerate(split.folds):
        probe, rows = fit(kind, data, fold, fraction, seed)
        if probe is not None and fold.test.size:
            yield FoldProbe(probe, rows, fold.test, number)


def fold_probes(
    embeddings: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: npt.ArrayLike,
    split: Split,
    fraction: float = 1.0,
    seed: int = 0,
    kind: str = "logistic",
    *,
    fit: Fit = fit_fold,
) -> tuple[FoldProbe, ...]:
    """Fit the probes whose scores `pytest_ecgfm.evaluations.downstream.evaluate` reports for one seed.

    Parameters
    ----------
    embeddings : array_like of float32, shape (n, d)
        Finite.
    targets : array_like of bool, shape (n,)
        Of the records with a known label.
    patients : array_like of str, shape (n,)
    split : Split
        With rows into these arrays.
    fraction : float
        Share of each fold's training patients, in (0, 1].
    seed : int
        Which subset is drawn.
    kind : str
        One of `pytest_ecgfm.evaluations.probe_kinds.PROBES`.
    fit : callable
        `fit_fold`, or what remembers its results.

    Returns
    -------
    tuple of FoldProbe
        One for a published split or a holdout, one a fold in cross-validation. Folds without a training or a test
        record are left out.

    Raises
    ------
    EcgfmError
        If shapes disagree, an embedding is not finite, `fraction` lies outside (0, 1], or the kind is unknown.
    """
    return tuple(_fold_probes(kind, prepared(embeddings, targets, patients), split, fraction, seed, fit))


def score_scale(probe: Probe, embeddings: npt.ArrayLike) -> tuple[float, float]:
    """Return mean and SD (``ddof=0``) of a probe's scores, on the logit scale for ``logistic``.

    With a probe's own training embeddings, ``(score - mean) / sd`` puts the scores of different folds on one scale:
    probes of different folds differ in C, and so in the size of their logits.

    Parameters
    ----------
    probe : Probe
    embeddings : array_like, shape (n, d)
        Of the rows that the probe was fitted to.

    Returns
    -------
    mean, sd : float
        An SD of 1 where all scores are the same, so that it can be divided by.

    Raises
    ------
    EcgfmError
        If there is no record.
    """
    scores = _training_scores(probe, embeddings)
    # Equal rows may give sums that differ in their last bit.
    constant = np.ptp(scores) <= 1e-12 * max(1.0, float(np.abs(scores).max()))
    return float(scores.mean()), 1.0 if constant else float(scores.std())


def operating_threshold(probe: Probe, embeddings: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the score above which as large a share of the training records lies as is positive.

    A decision of yes or no needs a threshold; this one needs no cost of errors, and calls as many positive as there
    are. It is the middle between the m-th and the (m + 1)-th highest of the scores, m being the number of positives, so
    that no training record lies on it (unless these two tie).

    Parameters
    ----------
    probe : Probe
    embeddings : array_like, shape (n, d)
        Of the rows that the probe was fitted to.
    targets : array_like of bool, shape (n,)

    Returns
    -------
    float
        On the scale of `Probe.scores`; a record is called positive where its score is greater. Infinite without
        positives, minus infinity without negatives.

    Raises
    ------
    EcgfmError
        If there is no record or shapes disagree.
    """
    scores = np.sort(_training_scores(probe, embeddings))
    labels = np.asarray(targets, dtype=np.bool_)
    if labels.shape != scores.shape:
        raise EcgfmError(f"targets.shape={labels.shape}, but should be {scores.shape} like the embeddings' rows.")
    negatives = int((~labels).sum())
    if negatives in (0, labels.size):
        return -math.inf if negatives == 0 else math.inf
    return float((scores[negatives - 1] + scores[negatives]) / 2)


def _training_scores(probe: Probe, embeddings: npt.ArrayLike) -> Floats:
    rows = np.asarray(embeddings)
    if rows.ndim != 2 or not len(rows):
        raise EcgfmError(f"embeddings.shape={rows.shape}, but should be (records, dimensions) with a record at least.")
    return probe.scores(rows)
