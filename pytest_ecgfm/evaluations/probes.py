"""Probes on frozen embeddings: classifiers of labels, and the ridge regression of quantities.

Classifiers are L2 logistic regression, neighbours, a network, or one that others declare.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from pytest_ecgfm.errors import EcgfmError, first_line, unknown_name
from pytest_ecgfm.evaluations.logistic import C_GRID, Path, logistic_path
from pytest_ecgfm.evaluations.probe_kinds import PROBES, RIDGE, ProbeKind
from pytest_ecgfm.evaluations.splits import patient_folds
from pytest_ecgfm.evaluations.standardise import blocks, standardisation
from pytest_ecgfm.evaluations.statistics.smoothed import smoothed_aurocs

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

PENALTIES = tuple(float(10**power) for power in range(7))
"""Penalties of the ridge probe, as scikit-learn's ``alpha``: from hardly any, with the records of a cohort, to one that
leaves a handful of records their mean."""

FALLBACK_C = 0.1
"""Taken where neither validation nor the training subset can tell: a strong penalty suits the few records there are."""

MINIMUM_VALIDATION_POSITIVES = 10
_INNER_FOLDS = 5
_SAME = 1e-9  # AUROCs that differ by less are those of one order of the records


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes
    ----------
    kind : str
        One of `PROBES`, or `RIDGE`.
    mean, scale : ndarray of float64, shape (d,)
        Of the training subset; embeddings are z-scored with them. The scale is infinite where a dimension is constant.
    C : float
        Of the logistic probe; of the ridge probe 1 / alpha; NaN for the others and where one class was missing.
    coefficients : ndarray of float64, shape (d,)
        On z-scored dimensions; empty for the other kinds.
    intercept : float
        On the logit scale; of the ridge probe in the units of the quantity.
    estimator : object or None
        scikit-learn's, for the other kinds.
    """

    kind: str
    mean: Floats
    scale: Floats
    C: float
    coefficients: Floats
    intercept: float
    estimator: Any = None

    def probabilities(self, embeddings: npt.ArrayLike) -> Floats:
        """Return the probability of the label for each row, shape (n,), in [0, 1]; NaN where the probe has none."""
        return self.likelihood(self.scores(embeddings))

    def likelihood(self, scores: Floats) -> Floats:
        """Return the probabilities that belong to this probe's scores; NaN where the probe has none."""
        if self.estimator is None:
            return np.asarray(expit(scores), dtype=np.float64)
        return scores if hasattr(self.estimator, "predict_proba") else np.full_like(scores, np.nan)

    def scores(self, embeddings: npt.ArrayLike) -> Floats:
        """Return a score for each row, shape (n,): more is more likely, or a larger quantity.

        The logit for ``logistic``, the predicted value for ``ridge``; for other kinds the probability, or the decision
        function of an estimator that gives no probability.

        Raises
        ------
        EcgfmError
            If somebody else's probe gives no finite score for each row.
        """
        if self.estimator is not None:
            return _scores_of(self.estimator, _scaled(embeddings, self.mean, self.scale), PROBES.get(self.kind))
        path = Path(self.coefficients[None], np.array([self.intercept]))
        found: Floats = _logits(path, embeddings, self.mean, self.scale)[0]
        return found


def _scaled(embeddings: npt.ArrayLike, mean: Floats, scale: Floats) -> Floats:
    rows = np.subtract(embeddings, mean, dtype=np.float64)
    return np.divide(rows, scale, out=rows)


def _logits(path: Path, embeddings: npt.ArrayLike, mean: Floats, scale: Floats) -> Floats:
    """Return the logits of rows that are not standardised, shape (len(grid), n)."""
    rows = np.asarray(embeddings)
    weights = path.coefficients / scale
    offsets = path.intercepts - weights @ mean
    found = np.empty((len(offsets), len(rows)))
    done = 0
    for block in blocks(rows):
        found[:, done : done + len(block)] = weights @ block.astype(np.float64).T + offsets[:, None]
        done += len(block)
    return found


def _best(values: Floats) -> int:
    """Return the first index whose value is within rounding of the best: ties go to the smallest C."""
    return int(np.flatnonzero(values >= values.max() - _SAME)[0])


def inner_folds(targets: Booleans, patients: npt.ArrayLike) -> int:
    """Return how many inner folds the training patients allow; below 2 there are none."""
    names = np.asarray(patients).astype(str)
    positive = set(names[targets].tolist())
    return min(_INNER_FOLDS, len(positive), len(set(names.tolist()) - positive))


def _inner_choice(
    embeddings: npt.NDArray[Any],
    targets: Booleans,
    patients: npt.ArrayLike,
    folds: int,
    seed: int,
    least: Floats | None,
) -> int | None:
    """Return the index of the C with the best mean smoothed AUROC over inner, patient-grouped, stratified folds.

    Of few patients, a fold may hold one class only, or leave one only: it says nothing. None where none says anything.
    """
    part = patient_folds(targets, patients, folds, seed)
    total, used = np.zeros(len(C_GRID)), 0
    for i in range(folds):
        inside = part != i
        if not (_both(targets[inside]) and _both(targets[~inside])):
            continue
        mean, scale = standardisation(embeddings[inside], least)
        path = logistic_path(_scaled(embeddings[inside], mean, scale), targets[inside])
        total += smoothed_aurocs(_logits(path, embeddings[~inside], mean, scale), targets[~inside])
        used += 1
    return _best(total) if used else None


def _both(targets: Booleans) -> bool:
    return bool(targets.any() and not targets.all())


def _fit_logistic(
    train: tuple[npt.NDArray[Any], Booleans, npt.ArrayLike],
    validation: tuple[npt.ArrayLike, Booleans],
    seed: int,
    least: Floats | None,
) -> Probe:
    embeddings, targets, patients = train
    mean, scale = standardisation(embeddings, least)
    path = logistic_path(_scaled(embeddings, mean, scale), targets)
    held, held_targets = validation
    both = _both(held_targets)
    chosen: int | None = None
    if int(held_targets.sum()) < MINIMUM_VALIDATION_POSITIVES or not both:
        folds = inner_folds(targets, patients)
        if folds >= 2:
            chosen = _inner_choice(embeddings, targets, patients, folds, seed, least)
    if chosen is None and both:
        chosen = _best(smoothed_aurocs(_logits(path, held, mean, scale), held_targets))
    if chosen is None:
        chosen = C_GRID.index(FALLBACK_C)
    return Probe("logistic", mean, scale, C_GRID[chosen], path.coefficients[chosen], float(path.intercepts[chosen]))


def _fit_ridge(
    embeddings: npt.NDArray[Any], values: Floats, patients: npt.ArrayLike, seed: int, least: Floats | None
) -> Probe:
    """Fit a ridge regression; its penalty has the smallest squared error over inner, patient-grouped folds.

    Ties go to the stronger penalty; a single patient has the strongest.
    """
    mean, scale = standardisation(embeddings, least)
    if np.ptp(values) == 0:
        return Probe(RIDGE, mean, scale, math.nan, np.zeros(embeddings.shape[1]), float(values[0]))
    folds = min(_INNER_FOLDS, np.unique(np.asarray(patients)).size)
    alpha = PENALTIES[-1]
    if folds >= 2:
        part = patient_folds(values, patients, folds, seed)
        errors = np.zeros(len(PENALTIES))
        for i in range(folds):
            inside = part != i
            centre, unit = standardisation(embeddings[inside], least)
            path = _ridge_path(_scaled(embeddings[inside], centre, unit), values[inside], PENALTIES)
            found = _logits(path, embeddings[~inside], centre, unit)
            errors += ((found - values[~inside]) ** 2).sum(axis=1)
        alpha = PENALTIES[int(np.flatnonzero(errors <= errors.min() * (1 + 1e-12))[-1])]
    path = _ridge_path(_scaled(embeddings, mean, scale), values, (alpha,))
    return Probe(RIDGE, mean, scale, 1 / alpha, path.coefficients[0], float(path.intercepts[0]))


def _ridge_path(scaled: Floats, values: Floats, penalties: tuple[float, ...]) -> Path:
    """Fit the regression for several penalties at once: they share their matrix of products."""
    from sklearn.linear_model import Ridge

    repeated = np.repeat(values[:, None], len(penalties), axis=1)
    # Cholesky's way shares the products, and no penalty is small enough for it to fail.
    fitted = Ridge(alpha=np.array(penalties), solver="cholesky").fit(scaled, repeated)
    # Of one target, scikit-learn drops the first axis.
    return Path(np.atleast_2d(fitted.coef_), np.atleast_1d(fitted.intercept_))


@contextmanager
def _naming(kind: ProbeKind | None, doing: str) -> Iterator[None]:
    """Say whose probe it is that raises."""
    try:
        yield
    except Exception as error:
        if kind is None or not kind.where:
            raise
        text = first_line(error)
        raise EcgfmError(
            f"{kind.where}: probe {kind.name!r} cannot {doing} ({type(error).__name__}: {text})."
        ) from error


def _scores_of(estimator: Any, rows: Floats, kind: ProbeKind | None) -> Floats:
    with _naming(kind, f"score {len(rows)} records"):
        if hasattr(estimator, "predict_proba"):
            found = np.asarray(estimator.predict_proba(rows)[:, 1], dtype=np.float64)
        else:
            found = np.asarray(estimator.decision_function(rows), dtype=np.float64)
        if found.shape != (len(rows),) or not np.isfinite(found).all():
            raise ValueError(f"its scores, shape {found.shape}, should be one finite number a record")
    return found


def _fit_other(kind: str, embeddings: npt.NDArray[Any], targets: Booleans, seed: int, least: Floats | None) -> Probe:
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    mean, scale = standardisation(embeddings, least)
    make = PROBES[kind].make
    assert make is not None
    with warnings.catch_warnings(), _naming(PROBES[kind], f"be fitted to {len(embeddings)} records"):
        # A network that stops at 200 passes is what is reported; that it could go on is no news.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # A copy without what it learnt: an estimator that is shared, or fitted already, brings nothing from elsewhere.
        estimator = clone(make(seed, len(embeddings)))
        if not (hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")):
            raise TypeError("an estimator should have predict_proba or decision_function")
        estimator.fit(_scaled(embeddings, mean, scale), targets)
    return Probe(kind, mean, scale, math.nan, np.empty(0), math.nan, estimator)


def fit_probe(
    kind: str,
    embeddings: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: npt.ArrayLike,
    validation_embeddings: npt.ArrayLike,
    validation_targets: npt.ArrayLike,
    *,
    seed: int = 0,
    least: Floats | None = None,
) -> Probe:
    """Fit a probe on a training subset; the validation part is used only to choose C.

    C is the value of the grid with the best smoothed AUROC on the validation part (of equal ones, the smallest). With
    the AUROC itself, rounding that turns over one pair of records could decide. If the validation part contains fewer
    than 10 positives, the mean over inner folds of the training patients decides (5, or as many as the patients of
    either class allow). If fewer than 2 folds are possible, or none has both classes, the validation part decides after
    all if it has both; otherwise C is `FALLBACK_C`.

    Parameters
    ----------
    kind : str
        One of `PROBES`, or `RIDGE`.
    embeddings : array_like, shape (n, d)
        Finite; z-scored here by their own mean and SD.
    targets : array_like of bool, shape (n,)
        For ``ridge`` the values of a quantity, of float.
    patients : array_like of str, shape (n,)
    validation_embeddings, validation_targets : array_like, shapes (v, d) and (v,)
        May be empty. ``ridge`` uses neither, and chooses its penalty by inner folds of the training patients.
    seed : int
        For the inner folds, and for what a kind of probe draws by chance, such as a network's weights.
    least : ndarray of float64, shape (d,), optional
        Smallest SD by which a dimension is divided; see `pytest_ecgfm.evaluations.standardise.standardisation`.

    Returns
    -------
    Probe
        If there is only one class, or one value, the probe gives every record the same score (its C is NaN).

    Raises
    ------
    EcgfmError
        If the kind is unknown or there is no record.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.evaluations.statistics import auroc
    >>> rng = np.random.default_rng(0)
    >>> targets = rng.random(100) < 0.5
    >>> embeddings = rng.normal(size=(100, 3)) + 2 * targets[:, None]
    >>> probe = fit_probe("logistic", embeddings, targets, np.arange(100), embeddings[:0], [])
    >>> auroc(probe.scores(embeddings), targets) > 0.9
    True
    """
    if kind not in (*PROBES, RIDGE):
        raise unknown_name("probe", kind, (*PROBES, RIDGE))
    rows = np.asarray(embeddings)
    labels: npt.NDArray[Any] = np.asarray(targets, dtype=np.float64 if kind == RIDGE else np.bool_)
    if rows.ndim != 2 or len(rows) != labels.size or not len(rows):
        raise EcgfmError(
            f"embeddings.shape={rows.shape}, but should be ({labels.size} records, dimensions) and not empty."
        )
    if kind == RIDGE:
        return _fit_ridge(rows, labels, patients, seed, least)
    if not _both(labels):
        mean, scale = standardisation(rows, least)
        # Laplace's rule: a probe that saw one class must not be certain of it.
        odds = math.log((labels.sum() + 1) / (labels.size - labels.sum() + 1))
        return Probe(kind, mean, scale, math.nan, np.zeros(rows.shape[1]), odds)
    if kind == "logistic":
        held_targets = np.asarray(validation_targets, dtype=np.bool_)
        return _fit_logistic((rows, labels, patients), (validation_embeddings, held_targets), seed, least)
    return _fit_other(kind, rows, labels, seed, least)


def refitted(probe: Probe, embeddings: npt.ArrayLike, targets: npt.ArrayLike, *, seed: int = 0) -> Probe:
    """Fit a probe of the same kind, with the same C, to other records: to some of its own, say.

    Parameters
    ----------
    probe : Probe
        A classifier.
    embeddings : array_like, shape (n, d)
    targets : array_like of bool, shape (n,)
        Both classes.
    seed : int
        For what a kind of probe draws by chance.

    Raises
    ------
    EcgfmError
        If a class is missing, or somebody else's probe cannot be fitted.
    """
    rows, labels = np.asarray(embeddings), np.asarray(targets, dtype=np.bool_)
    if probe.kind != "logistic":
        return _fit_other(probe.kind, rows, labels, seed, None)
    mean, scale = standardisation(rows)
    # The probe itself, in the units of these records; a dimension that is constant in either has no weight.
    weights = probe.coefficients / probe.scale
    shift = probe.intercept + float(weights @ (mean - probe.mean))
    near = Path((weights * np.where(np.isfinite(scale), scale, 0.0))[None], np.array([shift]))
    path = logistic_path(_scaled(rows, mean, scale), labels, (probe.C,), near=near)
    return Probe(probe.kind, mean, scale, probe.C, path.coefficients[0], float(path.intercepts[0]))
