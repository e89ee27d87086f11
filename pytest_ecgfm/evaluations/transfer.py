"""Transfer: what a probe that was fitted in one cohort is worth in another (docs/method.md#transfer)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.evaluations.downstream import DownstreamResult
from pytest_ecgfm.evaluations.measured import described
from pytest_ecgfm.evaluations.probe_kinds import RIDGE
from pytest_ecgfm.evaluations.probes import Probe, fit_probe
from pytest_ecgfm.evaluations.splits import Fold, Split
from pytest_ecgfm.evaluations.statistics import Estimate, mean_auroc, mean_auroc_difference
from pytest_ecgfm.evaluations.statistics.midranks import midranks

Floats = npt.NDArray[np.float64]

_DIFFERENCE = "paired on the same records: DeLong's covariance, or resampled patients where they repeat"

METRICS = described(
    ("auroc", "AUROC in the target of a probe of the source", [0.0, 1.0], True, "Mann-Whitney with midranks"),
    ("auroc_low", "lower 95 % limit of auroc", [0.0, 1.0], True, "logit scale"),
    ("auroc_high", "upper 95 % limit of auroc", [0.0, 1.0], True, "logit scale"),
    ("drop", "AUROC of the target's own probe minus auroc", [-1.0, 1.0], False, _DIFFERENCE),
    ("drop_low", "lower 95 % limit of drop", [-1.0, 1.0], False, _DIFFERENCE),
    ("drop_high", "upper 95 % limit of drop", [-1.0, 1.0], False, _DIFFERENCE),
)
"""Attributes of each variable in the cube."""


@dataclass(frozen=True)
class Source:
    """The records of one cohort that a probe is fitted to, and chosen by.

    Attributes
    ----------
    embeddings : ndarray of float32, shape (n, d)
    targets : ndarray of bool or float64, shape (n,)
        A label, or the values of a quantity.
    patients : ndarray of str, shape (n,)
    split : Split
        Its first fold's training and validation parts are used; its test part is not.
    """

    embeddings: npt.NDArray[Any]
    targets: npt.NDArray[Any]
    patients: npt.NDArray[Any]
    split: Split


@dataclass(frozen=True)
class TransferResult:
    """What a foreign probe is worth.

    Attributes
    ----------
    auroc : Estimate
        On the records on which the target's own probe is tested.
    drop : Estimate
        AUROC of the target's own probe minus that.
    """

    auroc: Estimate
    drop: Estimate

    def values(self) -> dict[str, float]:
        """Return the cube's variables."""
        return {
            f"{name}{suffix}": float(getattr(one, field))
            for name, one in (("auroc", self.auroc), ("drop", self.drop))
            for suffix, field in (("", "value"), ("_low", "low"), ("_high", "high"))
        }


def fit_source(sources: Sequence[Source], *, seed: int = 0) -> Probe | None:
    """Fit a probe to the training records of one cohort, or of several together.

    It is a logistic regression of a label, and a ridge regression of a quantity. Each cohort's features are
    standardised together with the others': the probe has one scale for all.

    Parameters
    ----------
    sources : sequence of Source
        Of one label, or of one quantity in the same units. With several, patients of different cohorts are different
        patients.
    seed : int
        Of inner folds, where validation has too few positives to choose C.

    Returns
    -------
    Probe or None
        None where the training records lack a class, or all hold one value.
    """
    rows, targets, patients = training_part(sources)
    if not targets.size or (targets == targets[0]).all():
        return None
    held = [(one.embeddings[fold.validation], one.targets[fold.validation]) for one, fold in _folds(sources)]
    held_rows, held_targets = (np.concatenate(parts) for parts in zip(*held, strict=True))
    kind = RIDGE if targets.dtype.kind == "f" else "logistic"
    return fit_probe(kind, rows, targets, patients, held_rows, held_targets, seed=seed)


def training_part(sources: Sequence[Source]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.str_]]:
    """Return what `fit_source` fits a probe to: embeddings, targets and patients, of all cohorts together."""
    train = [
        (one.embeddings[fold.train], one.targets[fold.train], _named(one.patients[fold.train], number))
        for number, (one, fold) in enumerate(_folds(sources))
    ]
    rows, targets, patients = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return rows, targets, patients


def _folds(sources: Sequence[Source]) -> list[tuple[Source, Fold]]:
    return [(one, one.split.folds[0]) for one in sources]


def _named(patients: npt.NDArray[Any], cohort: int) -> npt.NDArray[np.str_]:
    return np.array([f"{cohort} {name}" for name in patients], dtype=np.str_)


def transfer(probe: Probe, embeddings: npt.ArrayLike, own: DownstreamResult) -> TransferResult:
    """Score a cohort's test records with a probe of another cohort.

    Parameters
    ----------
    probe : Probe
        From `fit_source`, of other cohorts.
    embeddings : array_like, shape (n, d)
        Of the target's records with a known label.
    own : DownstreamResult
        Results of the target's own probes with the whole training set, for one seed or several.

    Returns
    -------
    TransferResult
        If the target's own scores are midranks within folds (cross-validation), the foreign scores are ranked within
        the same folds, so that pooling favours neither side.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.evaluations.downstream import evaluate
    >>> from pytest_ecgfm.evaluations.splits import make_split
    >>> rng = np.random.default_rng(0)
    >>> targets, patients = rng.random(400) < 0.5, np.arange(400).astype(str)
    >>> here = rng.normal(size=(400, 8)) + targets[:, None]
    >>> there = rng.normal(size=(400, 8)) - targets[:, None]  # the same label, the other way round
    >>> split = make_split(targets, patients)
    >>> probe = fit_source([Source(here, targets, patients, split)])
    >>> own = evaluate(there, targets, patients, split, 1.0, [0])
    >>> transfer(probe, there, own).drop.low > 0.5
    True
    """
    scores = probe.scores(np.asarray(embeddings)[own.tested])
    if own.split == "cv":
        ranked = np.full(scores.shape, math.nan)
        for fold in np.unique(own.fold):
            mine = own.fold == fold
            ranked[mine] = (midranks(scores[mine]) - 0.5) / mine.sum()
        scores = ranked
    return TransferResult(
        mean_auroc(scores, own.targets, own.patients),
        mean_auroc_difference(own.scores, scores, own.targets, own.patients),
    )
