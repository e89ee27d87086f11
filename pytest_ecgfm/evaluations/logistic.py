"""L2 logistic regression along a grid of penalties: the objective is scikit-learn's, the work is shared."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dtrsv
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.threads import thread_pools

Floats = npt.NDArray[np.float64]

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the L2 penalty to choose from."""

_NEWTON_STEPS = 100
_NEWTON_WORK = 8e6  # n r^2 up to which a Hessian costs less than what it saves (measured)
_THREADED_WORK = 1e9  # n r^2 from which a second thread is worth waking; in small fits, spinning, it costs forty-fold
_STALE = 20  # steps after which a new curvature is worth its price (measured)
_CURVATURES = 50
_SLAB = 1024  # rows that stay in the processor's cache between the two products of a gradient


class Path(NamedTuple):
    """Solutions along the grid of C: coefficients (len(grid), d) and intercepts (len(grid),)."""

    coefficients: Floats
    intercepts: Floats


def _newton(features: Floats, targets: Floats, C: float, start: Floats) -> Floats:
    """Minimise 0.5 ||w||^2 + C sum(log-loss) over w and an intercept (last), from `start`."""
    penalty = np.ones(features.shape[1])
    penalty[-1] = 0.0
    signs = 2 * targets - 1

    def objective(theta: Floats, margins: Floats) -> float:
        return 0.5 * float(penalty @ theta**2) - C * float(log_expit(signs * margins).sum())

    theta = start
    margins = features @ theta
    value = objective(theta, margins)
    for _ in range(_NEWTON_STEPS):
        probability = expit(margins)
        gradient = penalty * theta + C * ((probability - targets) @ features)
        weights = C * probability * (1 - probability)
        weighted = features * np.sqrt(weights)[:, None]
        hessian = weighted.T @ weighted
        hessian[np.diag_indices_from(hessian)] += penalty
        # Saturated probabilities leave the unpenalised intercept no curvature; the step then needs a floor.
        hessian[-1, -1] += 1e-12
        # numpy's solver, not scipy's Cholesky: the two wheels bring a BLAS each, whose idle threads disturb each other.
        step = np.linalg.solve(hessian, gradient)
        decrement = float(gradient @ step)
        along = features @ step
        size = 1.0
        while True:
            candidate = theta - size * step
            moved = margins - size * along
            reached = objective(candidate, moved)
            if reached <= value - 1e-4 * size * decrement or size < 1e-8:
                break
            size /= 2
        theta, margins, value = candidate, moved, reached
        # Convergence is quadratic: after a step from here, the error is far below the tolerance.
        if decrement <= 1e-9 * min(1.0, C * targets.size):
            break
    return theta


def _newton_path(features: Floats, targets: Floats, grid: Sequence[float], start: Floats) -> Floats:
    design = np.column_stack([features, np.ones(len(features))])
    solutions = np.empty((len(grid), start.size))
    for i, C in enumerate(grid):
        solutions[i] = start = _newton(design, targets, C, start)
    return solutions


class _Curvature(NamedTuple):
    """The log-loss's Hessian at one point, once the intercept has been taken out of it.

    The penalty adds a multiple of the identity, so that it serves every C.
    """

    gram: Floats  # (d, d)
    mean: Floats  # (d,): of the features, weighted by the curvature of each record's loss
    weight: float  # sum of these weights

    def scaled(self, C: float) -> "_Scale":
        """Return the steps in whose units the objective's Hessian is 1."""
        hessian = C * self.gram
        diagonal = np.diag_indices_from(hessian)
        hessian[diagonal] += 1.0
        # Rounding to single precision may leave less than the penalty adds.
        floor = np.finfo(np.float32).eps * float(hessian[diagonal].max())
        while True:
            try:
                return _Scale(np.linalg.cholesky(hessian), self.mean, math.sqrt(C * self.weight))
            except np.linalg.LinAlgError:
                hessian[diagonal] += floor
                floor *= 10


class _Scale(NamedTuple):
    """Steps in units in which a Hessian is 1."""

    root: npt.NDArray[Any]  # (d, d), lower
    mean: Floats  # (d,)
    spread: float

    def moves(self, steps: Floats) -> Floats:
        """Return the changes of the coefficients and the intercept that steps mean."""
        out: Floats = dtrsv(self.root.T, steps[:-1])
        return np.append(out, steps[-1] / self.spread - self.mean @ out)

    def slopes(self, gradient: Floats) -> Floats:
        """Return the gradient with respect to such steps."""
        inner = dtrsv(self.root.T, gradient[:-1] - gradient[-1] * self.mean, trans=1)
        return np.append(inner, gradient[-1] / self.spread)


class _Loss:
    """The log-loss of linear scores, summed over records, with its derivatives.

    Parameters
    ----------
    features : ndarray of float64, shape (n, d)
    targets : ndarray of float64, shape (n,)
    """

    def __init__(self, features: Floats, targets: Floats) -> None:
        self.features, self.targets = features, targets
        self.signs = 2 * targets - 1
        self.slabs = [slice(start, start + _SLAB) for start in range(0, len(features), _SLAB)]

    def _margins(self, part: slice, theta: Floats) -> Floats:
        return np.asarray(self.features[part] @ theta[:-1] + theta[-1])

    def __call__(self, theta: Floats) -> tuple[float, Floats]:
        """Return the loss and its gradient, the intercept's last."""
        value, gradient = 0.0, np.zeros(theta.size)
        for part in self.slabs:
            rows, margins = self.features[part], self._margins(part, theta)
            value -= float(log_expit(self.signs[part] * margins).sum())
            residuals = expit(margins) - self.targets[part]
            gradient[-1] += residuals.sum()
            gradient[:-1] += residuals @ rows
        return value, gradient

    def curvature(self, theta: Floats) -> _Curvature:
        """Return what the Hessian is at `theta`. It only guides the steps: single precision is enough."""
        dimensions = theta.size - 1
        gram, first, total = np.zeros((dimensions, dimensions)), np.zeros(dimensions), 0.0
        for part in self.slabs:
            chance = expit(self._margins(part, theta))
            # Where all are certain, the intercept has no curvature; a step then needs a floor.
            weights = chance * (1 - chance) + 1e-15
            rows = self.features[part].astype(np.float32)
            first += weights.astype(np.float32) @ rows
            total += float(weights.sum())
            rows *= np.sqrt(weights).astype(np.float32)[:, None]
            gram += rows.T @ rows
        gram -= np.outer(first, first / total)
        return _Curvature(gram, first / total, total)


def _preconditioned_path(features: Floats, targets: Floats, grid: Sequence[float], start: Floats) -> Floats:
    """Descend by L-BFGS in the units of a Hessian that is made once, and again where it has become stale."""
    loss = _Loss(features, targets)
    curvature = loss.curvature(start)
    solutions = np.empty((len(grid), start.size))
    theta = start
    for i, C in enumerate(grid):
        for _ in range(_CURVATURES):
            theta, done = _descend(loss, curvature, C, theta)
            if done:
                break
            curvature = loss.curvature(theta)
        solutions[i] = theta
    return solutions


def _descend(loss: _Loss, curvature: _Curvature, C: float, theta: Floats) -> tuple[Floats, bool]:
    """Take at most `_STALE` steps; say whether that was enough."""

    def objective(steps: Floats) -> tuple[float, Floats]:
        point = theta + scale.moves(steps * unit)
        value, gradient = loss(point)
        weights = point[:-1]
        gradient *= C
        gradient[:-1] += weights
        slopes = scale.slopes(gradient)
        return (0.5 * float(weights @ weights) + C * value) / unit**2, slopes / unit

    scale = curvature.scaled(C)
    unit = 1.0
    slopes = objective(np.zeros(theta.size))[1]
    # scipy's first step has length 1: this makes it Newton's.
    unit = float(np.linalg.norm(slopes))
    limit = 1e-6 * math.sqrt(min(1.0, C * loss.targets.size))
    if np.abs(slopes).max() <= limit:
        return theta, True
    found = minimize(
        objective,
        np.zeros(theta.size),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": limit / unit, "ftol": 0.0, "maxiter": _STALE, "maxfun": 4 * _STALE},
    )
    # Status 2, a line search without an end, is as far as rounding lets it come.
    return theta + scale.moves(found.x * unit), found.status != 1


def logistic_path(
    features: npt.ArrayLike, targets: npt.ArrayLike, grid: Sequence[float] = C_GRID, *, near: Path | None = None
) -> Path:
    """Fit L2 logistic regression for each C, with scikit-learn's objective: 0.5 ||w||^2 + C sum(log-loss).

    Parameters
    ----------
    features : array_like, shape (n, d)
        Already standardised.
    targets : array_like of bool, shape (n,)
        Needs both classes.
    grid : sequence of float
        Ascending.
    near : Path, optional
        A solution that cannot be far, such as that of most of these records: the search begins there, and is shorter.

    Returns
    -------
    Path

    Raises
    ------
    EcgfmError
        If a class is missing: the intercept would be infinite.

    Notes
    -----
    Not scikit-learn's solver: a default run makes tens of thousands of fits, and there each begins anew.
    `benchmarks/probes.py` compares, with scikit-learn's default tolerance and with one as strict as here. Here each C
    starts from the last. With n < d the solution lies in the span of
    the rows (the penalty punishes anything else), so a thin QR of the transposed features gives the exact solution
    from n unknowns instead of d. Small fits take a handful of Newton's steps. In large ones, where a Hessian is dear,
    L-BFGS (scipy's) works in the units of one, which serves all C: the penalty only adds to its diagonal.
    """
    rows = np.asarray(features, dtype=np.float64)
    labels = np.asarray(targets, dtype=np.float64)
    count, dimensions = rows.shape
    share = float(labels.mean())
    if not 0 < share < 1:
        raise EcgfmError("a logistic probe needs both classes in its training records.")
    # With n < d the span of the rows is enough.
    work = count * min(count, dimensions) ** 2
    with thread_pools().limit(limits=1, user_api="blas") if work <= _THREADED_WORK else nullcontext():
        basis = None
        if count < dimensions:
            basis, upper = np.linalg.qr(rows.T)
            rows = np.ascontiguousarray(upper.T)
        start = np.zeros(rows.shape[1] + 1)
        start[-1] = math.log(share / (1 - share))
        if near is not None:
            known = near.coefficients[0]
            start = np.append(known if basis is None else basis.T @ known, near.intercepts[0])
        fit = _newton_path if work <= _NEWTON_WORK else _preconditioned_path
        solutions = fit(rows, labels, grid, start)
        coefficients = solutions[:, :-1] if basis is None else solutions[:, :-1] @ basis.T
    return Path(coefficients, solutions[:, -1])
