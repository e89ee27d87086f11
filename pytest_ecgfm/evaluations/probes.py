"""Small classifiers on frozen embeddings: L2 logistic regression (gated), nearest neighbours, a network (reported)."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit

from pytest_ecgfm.errors import EcgfmError, unknown_name
from pytest_ecgfm.evaluations.splits import patient_folds
from pytest_ecgfm.statistics import aurocs

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

PROBES = ("logistic", "knn", "mlp")
"""Kinds of probe; ``logistic`` decides, the others are reported."""

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the L2 penalty to choose from."""

FALLBACK_C = 0.1
"""Taken where neither validation nor the training subset can tell: a strong penalty suits the few records there are."""

MINIMUM_VALIDATION_POSITIVES = 10
_INNER_FOLDS = 5
_BLOCK = 1 << 22  # numbers held at once: 32 MB
_NEWTON_STEPS = 100
_LBFGS_STEPS = 10_000
_NEWTON_WORK = 2e7  # n r^2 beyond which a Hessian costs more than all of sklearn's gradients (measured)


class Path(NamedTuple):
    """Solutions along the grid of C: coefficients (len(grid), d) and intercepts (len(grid),)."""

    coefficients: Floats
    intercepts: Floats


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes
    ----------
    kind : str
        One of `PROBES`.
    mean, scale : ndarray of float64, shape (d,)
        Of the training subset; embeddings are z-scored with them.
    C : float
        Of the logistic probe; NaN for the others and where one class was missing.
    coefficients : ndarray of float64, shape (d,)
        On z-scored dimensions; empty for the other kinds.
    intercept : float
        On the logit scale.
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
        """Return the probability of the label for each row, shape (n,), in [0, 1]."""
        if self.estimator is None:
            return np.asarray(expit(self.scores(embeddings)), dtype=np.float64)
        scaled = _scaled(embeddings, self.mean, self.scale)
        return np.asarray(self.estimator.predict_proba(scaled)[:, 1], dtype=np.float64)

    def scores(self, embeddings: npt.ArrayLike) -> Floats:
        """Return a score for each row, shape (n,): the logit for ``logistic``, the probability for other kinds."""
        if self.estimator is not None:
            return self.probabilities(embeddings)
        return _scaled(embeddings, self.mean, self.scale) @ self.coefficients + self.intercept


def _scaled(embeddings: npt.ArrayLike, mean: Floats, scale: Floats) -> Floats:
    return (np.asarray(embeddings, dtype=np.float64) - mean) / scale


def standardisation(embeddings: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return mean and SD (``ddof=0``) of each dimension, shape (d,); an SD of 1 where a dimension is constant."""
    rows = np.asarray(embeddings, dtype=np.float64)
    mean: Floats = rows.mean(axis=0)
    # In blocks of columns: the deviations of all would take as much memory as the embedding.
    blocks = np.array_split(rows, max(1, rows.size // _BLOCK), axis=1) if rows.size > _BLOCK else [rows]
    scale: Floats = np.concatenate([block.std(axis=0) for block in blocks])
    # Rounding leaves constant columns an SD of some 1e-17; dividing by it would make noise into a feature.
    constant = (rows == rows[:1]).all(axis=0) | (scale <= 10 * np.finfo(np.float64).eps * np.abs(mean))
    return np.where(constant, rows[0], mean), np.where(constant, 1.0, scale)


def _newton(features: Floats, targets: Floats, C: float, start: Floats) -> Floats:
    """Minimise 0.5 ||w||^2 + C sum(log-loss) over w and an intercept (last), from `start`."""
    penalty = np.ones(features.shape[1])
    penalty[-1] = 0.0
    signs = 2 * targets - 1
    theta = start
    margins = features @ theta
    value = 0.5 * float(penalty @ theta**2) - C * float(log_expit(signs * margins).sum())
    for _ in range(_NEWTON_STEPS):
        probability = expit(margins)
        gradient = penalty * theta + C * ((probability - targets) @ features)
        weights = C * probability * (1 - probability)
        weighted = features * np.sqrt(weights)[:, None]
        hessian = weighted.T @ weighted
        hessian[np.diag_indices_from(hessian)] += penalty
        # Saturated probabilities leave the unpenalised intercept no curvature; the step then needs a floor.
        hessian[-1, -1] += 1e-12
        # numpy's solver, not scipy's Cholesky: the two wheels bring a BLAS each, and their idle threads, spinning, made
        # this loop fifty times slower on two cores.
        step = np.linalg.solve(hessian, gradient)
        decrement = float(gradient @ step)
        along = features @ step
        size = 1.0
        while True:
            candidate = theta - size * step
            moved = margins - size * along
            reached = 0.5 * float(penalty @ candidate**2) - C * float(log_expit(signs * moved).sum())
            if reached <= value - 1e-4 * size * decrement or size < 1e-8:
                break
            size /= 2
        theta, margins, value = candidate, moved, reached
        # Convergence is quadratic: after a step from here, the error is far below the tolerance.
        if decrement <= 1e-9 * min(1.0, C * targets.size):
            break
    return theta


def _lbfgs_path(features: Floats, targets: Floats, grid: Sequence[float]) -> Path:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(tol=1e-9, max_iter=_LBFGS_STEPS, warm_start=True)
    coefficients, intercepts = np.empty((len(grid), features.shape[1])), np.empty(len(grid))
    with warnings.catch_warnings():
        # At this tolerance rounding may end the line search first: as exact as it gets, and no news.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for i, C in enumerate(grid):
            model.set_params(C=C).fit(features, targets)
            coefficients[i], intercepts[i] = model.coef_[0], model.intercept_[0]
    return Path(coefficients, intercepts)


def logistic_path(features: npt.ArrayLike, targets: npt.ArrayLike, grid: Sequence[float] = C_GRID) -> Path:
    """Fit L2 logistic regression for each C, with scikit-learn's objective: 0.5 ||w||^2 + C sum(log-loss).

    Parameters
    ----------
    features : array_like, shape (n, d)
        Already standardised.
    targets : array_like of bool, shape (n,)
        Needs both classes.
    grid : sequence of float
        Ascending.

    Returns
    -------
    Path

    Raises
    ------
    EcgfmError
        If a class is missing: the intercept would be infinite.

    Notes
    -----
    Small fits do not use scikit-learn's solver, for speed: a default run makes tens of thousands of them, and there
    most of the time goes into validation and a fresh start at each C. Here a path shares one factorisation, each C
    starts from the last, and Newton's method needs a handful of steps. With n < d the solution lies in the span of
    the rows (the penalty punishes anything else), so a thin QR of the transposed features gives the exact solution
    from n unknowns instead of d. Large fits, where a Hessian is dear, are scikit-learn's (L-BFGS, also warm).
    """
    rows = np.asarray(features, dtype=np.float64)
    labels = np.asarray(targets, dtype=np.float64)
    count, dimensions = rows.shape
    share = float(labels.mean())
    if not 0 < share < 1:
        raise EcgfmError("a logistic probe needs both classes in its training records.")
    if count * min(count, dimensions) ** 2 > _NEWTON_WORK:
        return _lbfgs_path(rows, labels, grid)
    basis = None
    if count < dimensions:
        basis, upper = np.linalg.qr(rows.T)
        rows = upper.T
    design = np.column_stack([rows, np.ones(count)])
    theta = np.zeros(design.shape[1])
    theta[-1] = math.log(share / (1 - share))
    solutions = np.empty((len(grid), theta.size))
    for i, C in enumerate(grid):
        theta = _newton(design, labels, C, theta)
        solutions[i] = theta
    coefficients = solutions[:, :-1] if basis is None else solutions[:, :-1] @ basis.T
    return Path(coefficients, solutions[:, -1])


def _path_aurocs(path: Path, features: Floats, targets: Booleans) -> Floats:
    return aurocs(path.coefficients @ features.T + path.intercepts[:, None], targets)


def _best(values: Floats) -> int:
    """Return the first index whose value is within rounding of the best: ties go to the smallest C."""
    return int(np.flatnonzero(values >= values.max() - 1e-12)[0])


def _inner_folds(targets: Booleans, patients: npt.ArrayLike) -> int:
    """Return how many inner folds the training patients allow, with both classes in each."""
    names = np.asarray(patients).astype(str)
    positive = set(names[targets].tolist())
    return min(_INNER_FOLDS, len(positive), len(set(names.tolist()) - positive))


def _inner_choice(embeddings: Floats, targets: Booleans, patients: npt.ArrayLike, folds: int, seed: int) -> int:
    """Return the index of the C with the best mean AUROC over inner, patient-grouped, stratified folds."""
    part = patient_folds(targets, patients, folds, seed)
    total = np.zeros(len(C_GRID))
    for i in range(folds):
        inside = part != i
        mean, scale = standardisation(embeddings[inside])
        path = logistic_path((embeddings[inside] - mean) / scale, targets[inside])
        total += _path_aurocs(path, (embeddings[~inside] - mean) / scale, targets[~inside])
    return _best(total)


def _fit_logistic(
    train: tuple[Floats, Booleans, npt.ArrayLike], validation: tuple[npt.ArrayLike, Booleans], seed: int
) -> Probe:
    embeddings, targets, patients = train
    mean, scale = standardisation(embeddings)
    path = logistic_path((embeddings - mean) / scale, targets)
    held, held_targets = validation
    positives = int(held_targets.sum())
    both = 0 < positives < held_targets.size
    folds = 0
    if positives < MINIMUM_VALIDATION_POSITIVES or not both:
        folds = _inner_folds(targets, patients)
    if folds >= 2:
        chosen = _inner_choice(embeddings, targets, patients, folds, seed)
    elif both:
        chosen = _best(_path_aurocs(path, _scaled(held, mean, scale), held_targets))
    else:
        chosen = C_GRID.index(FALLBACK_C)
    return Probe("logistic", mean, scale, C_GRID[chosen], path.coefficients[chosen], float(path.intercepts[chosen]))


def _estimator(kind: str, count: int, seed: int) -> Any:
    """Return an unfitted scikit-learn classifier; imported here, as most runs ask for none."""
    if kind == "knn":
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(n_neighbors=min(10, count))
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(hidden_layer_sizes=(64,), alpha=1e-2, max_iter=200, random_state=seed)


def _fit_other(kind: str, embeddings: Floats, targets: Booleans, seed: int) -> Probe:
    from sklearn.exceptions import ConvergenceWarning

    mean, scale = standardisation(embeddings)
    estimator = _estimator(kind, len(embeddings), seed)
    with warnings.catch_warnings():
        # A network that stops at 200 passes is what is reported; that it could go on is no news.
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit((embeddings - mean) / scale, targets)
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
) -> Probe:
    """Fit a probe on a training subset; validation serves the choice of C and nothing else.

    C is the grid's best by AUROC on validation (ties: the smallest). Where validation holds fewer than 10 positives, by
    mean AUROC over inner folds of the training patients (5, or as many as patients of either class allow). Where
    these allow fewer than 2, by validation after all if it has both classes, else `FALLBACK_C`.

    Parameters
    ----------
    kind : str
        One of `PROBES`.
    embeddings : array_like, shape (n, d)
        Finite; z-scored here by their own mean and SD.
    targets : array_like of bool, shape (n,)
    patients : array_like of str, shape (n,)
    validation_embeddings, validation_targets : array_like, shapes (v, d) and (v,)
        May be empty.
    seed : int
        Of the inner folds and of the network's weights.

    Returns
    -------
    Probe
        With one class only, a probe that scores every record the same (its C is NaN).

    Raises
    ------
    EcgfmError
        If the kind is unknown or there is no record.
    """
    if kind not in PROBES:
        raise unknown_name("probe", kind, PROBES)
    rows = np.asarray(embeddings, dtype=np.float64)
    labels = np.asarray(targets, dtype=np.bool_)
    if rows.ndim != 2 or len(rows) != labels.size or not len(rows):
        raise EcgfmError(
            f"embeddings.shape={rows.shape}, but should be ({labels.size} records, dimensions) and not empty."
        )
    if labels.all() or not labels.any():
        mean, scale = standardisation(rows)
        # Laplace's rule: a probe that saw one class must not be certain of it.
        odds = math.log((labels.sum() + 1) / (labels.size - labels.sum() + 1))
        return Probe(kind, mean, scale, math.nan, np.zeros(rows.shape[1]), odds)
    if kind == "logistic":
        held_targets = np.asarray(validation_targets, dtype=np.bool_)
        return _fit_logistic((rows, labels, patients), (validation_embeddings, held_targets), seed)
    return _fit_other(kind, rows, labels, seed)
