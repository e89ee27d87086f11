"""One decision of yes or no: a threshold from the training patients alone, and what it gives in those who are tested.

References
----------
.. [1] Youden (1950), Cancer 3:32-35: sensitivity plus specificity minus 1.
.. [2] Perkins, Schisterman (2006), Am. J. Epidemiol. 163:670-675: a point chosen on the records that it is judged by
   looks better than it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.calibration import Calibration, calibration
from pytest_ecgfm.evaluations.fold_probes import FoldProbe
from pytest_ecgfm.evaluations.measured import described
from pytest_ecgfm.evaluations.probes import Probe, inner_folds, refitted
from pytest_ecgfm.evaluations.splits import patient_folds
from pytest_ecgfm.evaluations.statistics.bootstrap import UNDEFINED, Interval
from pytest_ecgfm.evaluations.statistics.shares import share

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

By = Literal["sensitivity", "specificity", "youden"]
"""What a threshold is chosen by."""

SHARES = ("sensitivity", "specificity", "ppv", "npv")

_UNIT = [0.0, 1.0]
_WILSON = "Wilson by the effective number of records: Korn, Graubard (1998); Dean, Pagano (2015)"
_COX = "Cox, Biometrika 45:562 (1958); cluster-robust variance"
_ICI = "Austin, Steyerberg, Stat. Med. 38:4051 (2019), by lowess; resampled patients"
_TRAINING = "of out-of-fold scores of the training patients, at the threshold; mean over folds"

METRICS = described(
    ("slope", "calibration slope: of the label on the logit of the probability", None, None, _COX),
    ("slope_low", "lower 95 % limit of slope", None, None, _COX),
    ("slope_high", "upper 95 % limit of slope", None, None, _COX),
    ("intercept", "calibration in the large: of the label, with the logit as an offset", None, None, _COX),
    ("intercept_low", "lower 95 % limit of intercept", None, None, _COX),
    ("intercept_high", "upper 95 % limit of intercept", None, None, _COX),
    ("ici", "integrated calibration index", _UNIT, False, _ICI),
    ("ici_low", "lower 95 % limit of ici", _UNIT, False, _ICI),
    ("ici_high", "upper 95 % limit of ici", _UNIT, False, _ICI),
    ("ici_chance", "ici that right probabilities would show by chance", _UNIT, None, "resampled patients"),
    ("predicted", "probability, at points of the reliability curve", _UNIT, None, "1st to 99th percentile"),
    ("observed", "smoothed share of positives at that probability", _UNIT, None, "lowess: Cleveland (1979)"),
    ("observed_low", "lower 95 % limit of observed, point by point", _UNIT, None, "resampled patients"),
    ("observed_high", "upper 95 % limit of observed, point by point", _UNIT, None, "resampled patients"),
    ("threshold", "probability from which on a record is called positive", _UNIT, None, "median over folds"),
    ("training_sensitivity", "sensitivity in training", _UNIT, True, _TRAINING),
    ("training_specificity", "specificity in training", _UNIT, True, _TRAINING),
    ("sensitivity", "share of the positives that are called so", _UNIT, True, _WILSON),
    ("sensitivity_low", "lower 95 % limit of sensitivity", _UNIT, True, _WILSON),
    ("sensitivity_high", "upper 95 % limit of sensitivity", _UNIT, True, _WILSON),
    ("specificity", "share of the negatives that are called so", _UNIT, True, _WILSON),
    ("specificity_low", "lower 95 % limit of specificity", _UNIT, True, _WILSON),
    ("specificity_high", "upper 95 % limit of specificity", _UNIT, True, _WILSON),
    ("ppv", "positive predictive value: share of positives among those called positive", _UNIT, True, _WILSON),
    ("ppv_low", "lower 95 % limit of ppv", _UNIT, True, _WILSON),
    ("ppv_high", "upper 95 % limit of ppv", _UNIT, True, _WILSON),
    ("npv", "negative predictive value: share of negatives among those called negative", _UNIT, True, _WILSON),
    ("npv_low", "lower 95 % limit of npv", _UNIT, True, _WILSON),
    ("npv_high", "upper 95 % limit of npv", _UNIT, True, _WILSON),
    ("n_test", "tested records", None, None, "records with a known label"),
    ("n_test_positive", "positives among the tested records", None, None, "records with a known label"),
)
"""Attributes of each variable in the cube; None where there is nothing to say."""


class Chosen(NamedTuple):
    """A threshold, and what it gives where it was chosen.

    Attributes
    ----------
    threshold : float
        A record is called positive where its score is this or more; infinite where none is.
    sensitivity, specificity : float
        Of the scores that it was chosen on.
    """

    threshold: float
    sensitivity: float
    specificity: float


def chosen_threshold(scores: npt.ArrayLike, targets: npt.ArrayLike, by: By, at: float | None = None) -> Chosen:
    """Choose a threshold.

    Parameters
    ----------
    scores : array_like, shape (n,)
        Finite; more is more likely.
    targets : array_like of bool, shape (n,)
        Both classes.
    by : {"sensitivity", "specificity", "youden"}
        The highest threshold whose sensitivity is at least `at`; the lowest one whose specificity is; or the one where
        their sum is largest [1]_, the highest of equals.
    at : float, optional
        In (0, 1); not for ``"youden"``.

    Raises
    ------
    EcgfmError
        If shapes disagree, a class is missing, a score is not finite, or `at` is not in (0, 1).

    Examples
    --------
    >>> chosen_threshold([0.1, 0.2, 0.6, 0.7, 0.9], [False, True, False, True, True], "sensitivity", 0.6)
    Chosen(threshold=0.7, sensitivity=0.6666666666666666, specificity=1.0)
    """
    from sklearn.metrics import roc_curve

    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(targets, dtype=np.bool_)
    if values.ndim != 1 or labels.shape != values.shape:
        raise EcgfmError(
            f"scores.shape={values.shape} and targets.shape={labels.shape}, but both should be (records,)."
        )
    if not np.isfinite(values).all() or labels.all() or not labels.any():
        raise EcgfmError("a threshold needs finite scores of both classes.")
    if by != "youden" and not (at is not None and 0 < at < 1):
        raise EcgfmError(f"at={at}, but a threshold by {by} needs a share between 0 and 1.")
    false_positive, true_positive, thresholds = roc_curve(labels, values, drop_intermediate=False)
    specificity = 1 - false_positive
    # Shares of records are multiples of their number: a little less than asked is rounding.
    if by == "youden":
        place = int(np.argmax(true_positive + specificity >= (true_positive + specificity).max() - 1e-12))
    elif by == "sensitivity":
        place = int(np.argmax(true_positive >= float(at or 0) - 1e-12))
    else:
        place = int(np.flatnonzero(specificity >= float(at or 0) - 1e-12)[-1])
    return Chosen(float(thresholds[place]), float(true_positive[place]), float(specificity[place]))


def out_of_fold(
    probe: Probe, embeddings: npt.ArrayLike, targets: npt.ArrayLike, patients: npt.ArrayLike, *, seed: int = 0
) -> Floats | None:
    """Score the training records of a probe by probes of the same kind and C that did not see their patients.

    A probe's own scores of its training records are too good: a threshold from them misses new positives.

    Parameters
    ----------
    probe : Probe
    embeddings, targets, patients : array_like, shapes (n, d), (n,) and (n,)
        What the probe was fitted to.
    seed : int
        Deals patients into folds: five, or as many as the patients of either class allow.

    Returns
    -------
    ndarray of float64, shape (n,), or None
        On the scale of `Probe.scores`; None where two folds with both classes are not possible.
    """
    rows, labels = np.asarray(embeddings), np.asarray(targets, dtype=np.bool_)
    part = _parts(labels, patients, seed)
    if part is None:
        return None
    scores = np.empty(labels.size)
    for fold in range(int(part.max()) + 1):
        inside = part != fold
        scores[~inside] = refitted(probe, rows[inside], labels[inside], seed=seed).scores(rows[~inside])
    return scores


def _parts(labels: Booleans, patients: npt.ArrayLike, seed: int) -> npt.NDArray[np.intp] | None:
    """Deal records into as many folds as can each be left out without losing a class; None below two."""
    for folds in range(inner_folds(labels, patients), 1, -1):
        part = patient_folds(labels, patients, folds, seed)
        left = [labels[part != fold] for fold in range(folds)]
        if all(one.any() and not one.all() for one in left):
            return part
    return None


def threshold_of(
    probe: Probe,
    embeddings: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: npt.ArrayLike,
    by: By,
    at: float | None,
) -> Chosen | None:
    """Choose the threshold of a probe on out-of-fold scores of its training records [2]_; None where there are none."""
    scores = out_of_fold(probe, embeddings, targets, patients)
    return None if scores is None else chosen_threshold(scores, targets, by, at)


@dataclass(frozen=True)
class Calls:
    """What probes with their thresholds say of tested records.

    Attributes
    ----------
    called : ndarray of bool, shape (n,)
    probabilities : ndarray of float64, shape (n,)
        NaN for a probe that gives none.
    targets : ndarray of bool, shape (n,)
    patients : ndarray, shape (n,)
    chosen : tuple of Chosen
        One a probe, its threshold a probability.
    """

    called: Booleans
    probabilities: Floats
    targets: Booleans
    patients: npt.NDArray[Any]
    chosen: tuple[Chosen, ...]
    shares: dict[str, Interval] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", operating_point(self.called, self.targets, self.patients))

    def calibration(self) -> Calibration:
        """Return how right the probabilities are."""
        return calibration(self.probabilities, self.targets, self.patients)

    def values(self) -> dict[str, float]:
        """Return the cube's variables of the operating point."""
        kept = {"n_test": float(self.targets.size), "n_test_positive": float(self.targets.sum())}
        kept["threshold"] = float(np.median([one.threshold for one in self.chosen]))
        kept["training_sensitivity"] = float(np.mean([one.sensitivity for one in self.chosen]))
        kept["training_specificity"] = float(np.mean([one.specificity for one in self.chosen]))
        return kept | limits(self.shares)


def limits(found: dict[str, Interval]) -> dict[str, float]:
    """Spell intervals as the cube's variables: ``name``, ``name_low``, ``name_high``."""
    return {
        f"{name}{ending}": value
        for name, one in found.items()
        for ending, value in zip(("", "_low", "_high"), one, strict=True)
    }


def operating_point(
    called: npt.ArrayLike, targets: npt.ArrayLike, patients: npt.ArrayLike | None = None
) -> dict[str, Interval]:
    """Return sensitivity, specificity, PPV and NPV of decisions, each with its patient-clustered 95 % interval.

    Parameters
    ----------
    called, targets : array_like of bool, shape (n,)
    patients : array_like, shape (n,), optional

    Returns
    -------
    dict of str to Interval
        By `SHARES`, in [0, 1]; NaN where no record counts, such as the PPV where none is called positive.

    Examples
    --------
    >>> found = operating_point([True, True, False, False], [True, False, False, False])
    >>> found["sensitivity"].value, found["ppv"].value, found["npv"].value
    (1.0, 0.5, 1.0)
    """
    yes, truth = np.asarray(called, dtype=np.bool_), np.asarray(targets, dtype=np.bool_)
    names = np.arange(truth.size) if patients is None else np.asarray(patients)
    if truth.ndim != 1 or yes.shape != truth.shape or names.shape != truth.shape:
        raise EcgfmError(
            f"called.shape={yes.shape}, targets.shape={truth.shape} and patients.shape={names.shape}, "
            "but all should be (records,)."
        )
    among = {"sensitivity": (truth, yes), "specificity": (~truth, ~yes), "ppv": (yes, truth), "npv": (~yes, ~truth)}
    return {name: share(hit[those], names[those]) if those.any() else UNDEFINED for name, (those, hit) in among.items()}


def calls_at_home(
    probes: Sequence[FoldProbe],
    embeddings: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: npt.ArrayLike,
    by: By,
    at: float | None,
) -> Calls | None:
    """Decide on each tested record by its fold's probe, with a threshold from that probe's own training patients.

    Parameters
    ----------
    probes : sequence of FoldProbe
        From `pytest_ecgfm.evaluations.fold_probes.fold_probes`.
    embeddings, targets, patients : array_like, shapes (n, d), (n,) and (n,)
        Of the records with a known label.
    by, at
        As for `chosen_threshold`.

    Returns
    -------
    Calls or None
        Of the tested records, ascending; in cross-validation each record once, and probabilities as they are: what is
        ranked within folds is neither calibrated nor has it a threshold. None where the training patients of a fold
        are too few for a threshold.
    """
    rows, labels, names = np.asarray(embeddings), np.asarray(targets, dtype=np.bool_), np.asarray(patients)
    called = np.zeros(labels.size, dtype=np.bool_)
    probabilities = np.full(labels.size, math.nan)
    chosen = []
    for one in probes:
        train = one.train_rows
        found = threshold_of(one.probe, rows[train], labels[train], names[train], by, at)
        if found is None:
            return None
        called[one.test_rows], probabilities[one.test_rows], told = _decided(one.probe, found, rows[one.test_rows])
        chosen.append(told)
    if not chosen:
        return None
    tested = np.sort(np.concatenate([one.test_rows for one in probes]))
    return Calls(called[tested], probabilities[tested], labels[tested], names[tested], tuple(chosen))


def calls_abroad(
    probe: Probe, chosen: Chosen, embeddings: npt.ArrayLike, targets: npt.ArrayLike, patients: npt.ArrayLike
) -> Calls:
    """Decide on records of another cohort by one probe and its threshold, both from home."""
    called, probabilities, told = _decided(probe, chosen, np.asarray(embeddings))
    return Calls(called, probabilities, np.asarray(targets, dtype=np.bool_), np.asarray(patients), (told,))


def _decided(probe: Probe, chosen: Chosen, rows: npt.NDArray[Any]) -> tuple[Booleans, Floats, Chosen]:
    scores = probe.scores(rows)
    threshold = float(probe.likelihood(np.array([chosen.threshold]))[0])
    return scores >= chosen.threshold, probe.likelihood(scores), chosen._replace(threshold=min(threshold, 1.0))
