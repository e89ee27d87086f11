"""Probes that can score each record of a cohort without having seen its patient."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations.fold_probes import (
    Fit,
    FoldProbe,
    Prepared,
    first_tested,
    fold_probes,
    operating_threshold,
    score_scale,
)
from pytest_ecgfm.evaluations.probes import Probe
from pytest_ecgfm.evaluations.splits import Fold
from pytest_ecgfm.measurements.probe_grid import fit_anywhere
from pytest_ecgfm.run.run import Run

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


SHARED_SEEDS = 2
"""Seeds of each fraction whose probes serve several suites: they tell how far profiles of relevance vary."""


@dataclass(frozen=True)
class RecordProbes:
    """The logistic probes of one label, as linear functions of the embedding.

    Attributes
    ----------
    fold : ndarray of int, shape (records of the cohort,)
        Which probe may score a record; -1 where none may (the label is unknown, or the record trains).
    targets : ndarray of float64, shape (records of the cohort,)
        1 or 0; NaN where the label is unknown.
    weights : ndarray of float64, shape (folds, d)
        On the embedding as it is.
    offsets : ndarray of float64, shape (folds,)
        So that ``weights @ embedding + offset`` is the logit.
    centres, spreads : ndarray of float64, shape (folds,)
        Mean and SD of the logits of each probe's training records: the scale on which folds are comparable.
    thresholds : ndarray of float64, shape (folds,)
        Logit above which as many training records lie as are positive.
    fitted : tuple of FoldProbe
        The probes themselves; their rows count the records with a known label.
    """

    fold: Rows
    targets: Floats
    weights: Floats
    offsets: Floats
    centres: Floats
    spreads: Floats
    thresholds: Floats
    fitted: tuple[FoldProbe, ...]

    def scored(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Say which records can be scored."""
        return np.asarray(self.fold[rows] >= 0)

    def logits(self, rows: Rows, embeddings: npt.NDArray[Any]) -> Floats:
        """Return the logit of each embedding, shape (records,); NaN where no probe may score the record."""
        fold = self.fold[rows]
        found = np.einsum("nd,nd->n", self.weights[fold], embeddings.astype(np.float64)) + self.offsets[fold]
        return np.where(fold >= 0, found, np.nan)

    def standardised(self, rows: Rows, embeddings: npt.NDArray[Any]) -> Floats:
        """Return logits on the scale that folds share."""
        fold = self.fold[rows]
        return (self.logits(rows, embeddings) - self.centres[fold]) / self.spreads[fold]

    def cuts(self, rows: Rows) -> Floats:
        """Return each record's threshold on that scale."""
        fold = self.fold[rows]
        return np.asarray((self.thresholds[fold] - self.centres[fold]) / self.spreads[fold])


def fitted_once(run: Run, encoder: Encoder, cohort: Cohort, label: str) -> Fit:
    """Return `fit_fold` for one cell, which fits what several suites ask for once in a process."""
    fit_one = fit_anywhere(run, encoder, cohort, label)

    def fit(
        kind: str, data: Prepared, fold: Fold, fraction: float, seed: int
    ) -> tuple[Probe | None, npt.NDArray[np.intp]]:
        if seed >= SHARED_SEEDS:
            return fit_one(kind, data, fold, fraction, seed)
        key = ("fold probe", encoder.card.name, cohort.name, label, kind, fraction, seed, first_tested(fold))
        return run.once(key, lambda: fit_one(kind, data, fold, fraction, seed))

    return fit


def record_probes(
    run: Run, encoder: Encoder, cohort: Cohort, label: str, fraction: float = 1.0, seed: int = 0
) -> RecordProbes | None:
    """Fit the probes of one cell, once in a process; None where a class is too rare for any split."""
    key = ("record probes", encoder.card.name, cohort.name, label, fraction, seed)
    return run.once(key, lambda: _fit(run, encoder, cohort, label, fraction, seed))


def shuffled_probe(run: Run, encoder: Encoder, cohort: Cohort, label: str, shuffle: int) -> Floats | None:
    """Fit a probe to labels that were shuffled by a seed: what it finds is chance.

    Returns
    -------
    ndarray of float64, shape (d,), or None
        Its weights on the embedding as it is; None where a class is too rare for any split.
    """
    labelled = run.labelled(cohort, label)
    if labelled.split is None:
        return None
    embeddings = labelled.of(run.embeddings(encoder, cohort))
    targets = np.random.default_rng([shuffle, 17]).permutation(labelled.targets)
    # One fold is enough: it is the labels that chance chose.
    for fold in labelled.split.folds:
        split = replace(labelled.split, folds=(fold,))
        for one in fold_probes(embeddings, targets, labelled.patients, split):
            return one.probe.coefficients / one.probe.scale
    return None


def _fit(run: Run, encoder: Encoder, cohort: Cohort, label: str, fraction: float, seed: int) -> RecordProbes | None:
    labelled = run.labelled(cohort, label)
    if labelled.split is None:
        return None
    embeddings = labelled.of(run.embeddings(encoder, cohort))
    targets = labelled.targets
    fit = fitted_once(run, encoder, cohort, label)
    fitted = fold_probes(embeddings, targets, labelled.patients, labelled.split, fraction, seed, fit=fit)
    fold = np.full(len(cohort), -1, dtype=np.intp)
    known = np.full(len(cohort), np.nan)
    known[labelled.rows] = labelled.targets
    scales, thresholds = [], []
    for number, one in enumerate(fitted):
        fold[labelled.rows[one.test_rows]] = number
        seen = embeddings[one.train_rows]
        scales.append(score_scale(one.probe, seen))
        thresholds.append(operating_threshold(one.probe, seen, targets[one.train_rows]))
    weights = np.stack([one.probe.coefficients / one.probe.scale for one in fitted])
    means = np.stack([one.probe.mean for one in fitted])
    offsets = np.array([one.probe.intercept for one in fitted]) - np.einsum("fd,fd->f", weights, means)
    centres, spreads = np.array(scales).T
    return RecordProbes(fold, known, weights, offsets, centres, spreads, np.array(thresholds), fitted)
