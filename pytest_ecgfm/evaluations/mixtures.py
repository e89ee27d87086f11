"""Two Gaussians of full covariance: scikit-learn's mixture, and a short way to its result for few records."""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

INITIALISATIONS = 10

_RIDGE = 1e-6  # scikit-learn's `reg_covar`
_CERTAIN = 50.0  # log-odds beyond which a responsibility is 1 within rounding


def mixture_labels(features: Floats, seed: int, products: Callable[[], Floats]) -> Integers:
    """Return what scikit-learn's mixture of two Gaussians gives: full covariance, the best of 10 initialisations.

    Parameters
    ----------
    features : ndarray of float64, shape (n, d)
        Finite.
    seed : int
        Of the initialisations.
    products : callable
        Returns the inner products of the records, shape (n, n); called where records are few for their dimensions.

    Returns
    -------
    ndarray of int, shape (n,)
        0 or 1.

    Notes
    -----
    Own code where a component has fewer records than dimensions, which is the rule for foundation models: records are
    at an immense distance from such a component if they do not belong to it, so that expectation-maximisation stays
    where k-means put it, and only the likelihood of each initialisation is needed. It follows from inner products of
    records (n x n, the same for all initialisations) instead of d x d covariances. Where any record is not that certain
    of its component, scikit-learn's own mixture decides.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    labels = _certain_labels(features, seed, products)
    if labels is not None:
        return labels
    model = GaussianMixture(2, covariance_type="full", n_init=INITIALISATIONS, reg_covar=_RIDGE, random_state=seed)
    with warnings.catch_warnings():
        # Stopped after 100 steps is part of the paper's setting.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(model.fit_predict(features), dtype=np.intp)


def _certain_labels(features: Floats, seed: int, products: Callable[[], Floats]) -> Integers | None:
    """Return the most likely of the partitions by k-means; None unless each keeps every record where it is."""
    from sklearn.cluster import KMeans

    count, dimensions = features.shape
    # With more, no component can be short of records, and nothing is gained.
    if count >= 2 * dimensions:
        return None
    gram = products()
    # Drawn as the mixture draws them: one generator for all initialisations.
    random = np.random.RandomState(seed)
    best, highest, known = None, -math.inf, dict[bytes, float | None]()
    for _ in range(INITIALISATIONS):
        labels = np.asarray(KMeans(2, n_init=1, random_state=random).fit(features).labels_, dtype=np.intp)
        # Groups that stand apart are found again and again.
        key = (labels == labels[0]).tobytes()
        if key not in known:
            known[key] = _likelihood_if_certain(features, gram, labels)
        likelihood = known[key]
        if likelihood is None:
            return None
        if likelihood > highest:
            best, highest = labels, likelihood
    return best


def _likelihood_if_certain(features: Floats, gram: Floats, labels: Integers) -> float | None:
    """Return the log-likelihood of two Gaussians fitted to a partition; None if a record is not certain of its own."""
    sides = [np.flatnonzero(labels == side) for side in (0, 1)]
    if min(side.size for side in sides) < 2:
        return None
    fitted = [_component(features, gram, sides[one], sides[1 - one]) for one in (0, 1)]
    for one in (0, 1):
        # No member is farther than this (squared leverage), and no other record nearer.
        own = fitted[one].constant - 0.5 * sides[one].size
        elsewhere = fitted[1 - one].constant - 0.5 * fitted[1 - one].nearest_other
        if not own - elsewhere >= _CERTAIN:
            return None
    return sum(side.size * one.constant - 0.5 * one.total for side, one in zip(sides, fitted, strict=True))


class _Component(NamedTuple):
    """A Gaussian: log of weight times density at its centre, and squared Mahalanobis distances from there."""

    constant: float
    total: float  # of all members
    nearest_other: float


def _component(features: Floats, gram: Floats, members: Integers, others: Integers) -> _Component:
    """Fit a component to its members."""
    count, dimensions = members.size, features.shape[1]
    determinant, total, nearest = (
        _by_products(gram, members, others, dimensions)
        if count < dimensions
        else _by_covariance(features, members, others)
    )
    constant = math.log(count / len(features)) - 0.5 * (dimensions * math.log(2 * math.pi) + determinant)
    return _Component(constant, total, nearest)


def _by_covariance(features: Floats, members: Integers, others: Integers) -> tuple[float, float, float]:
    """Return the covariance's log-determinant, the members' squared distances summed, and the least of the others."""
    from scipy.linalg import solve_triangular

    count, dimensions = members.size, features.shape[1]
    centre = features[members].mean(axis=0)
    centred = features[members] - centre
    covariance = centred.T @ centred / count
    covariance[np.diag_indices_from(covariance)] += _RIDGE
    root, logarithm = _factorised(covariance)
    away = solve_triangular(root, (features[others] - centre).T, lower=True, check_finite=False)
    total = count * (dimensions - _RIDGE * _inverted(root)[1])
    return logarithm, total, float((away**2).sum(axis=0).min())


def _by_products(gram: Floats, members: Integers, others: Integers, dimensions: int) -> tuple[float, float, float]:
    """Return the same from inner products of fewer records than dimensions.

    With centred members C (n x d) the covariance is ``C'C / n + ridge``; its determinant and its inverse follow from
    the n x n matrix ``CC' / n + ridge`` (Sylvester's and Woodbury's identities).
    """
    from scipy.linalg.blas import dtrmm

    count = members.size
    # Columns contiguous, as LAPACK wants them: it works in place.
    small, towards = gram[members][:, members].T, gram[others][:, members].T
    means = small.mean(axis=1, keepdims=True)
    middle, across = float(means.mean()), towards.mean(axis=0)
    small -= means
    small -= means.T
    small += middle
    small /= count
    small[np.diag_indices_from(small)] += _RIDGE
    root, logarithm = _factorised(small)
    inverse, trace = _inverted(root)
    determinant = (dimensions - count) * math.log(_RIDGE) + logarithm
    # The others, seen from the members' centre: what the members do not span of them is divided by the ridge.
    squared = np.diag(gram)[others] - 2 * across + middle
    towards -= across - middle
    towards -= means
    spanned = (dtrmm(1.0, inverse, towards, lower=1, overwrite_b=1) ** 2).sum(axis=0) / count
    return determinant, count * (count - _RIDGE * trace), float((squared - spanned).min()) / _RIDGE


def _factorised(matrix: Floats) -> tuple[Floats, float]:
    """Return the lower Cholesky factor of a matrix, which may be overwritten, and the log-determinant of that."""
    from scipy.linalg import cholesky

    root: Floats = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    return root, 2 * float(np.log(np.diag(root)).sum())


def _inverted(root: npt.NDArray[Any]) -> tuple[Floats, float]:
    """Return the inverse of a Cholesky factor, which is overwritten, and the trace of what it factorised, inverted."""
    from scipy.linalg.lapack import dtrtri

    inverse, _ = dtrtri(root, lower=1, overwrite_c=1)
    return inverse, float(np.einsum("ij,ij->", inverse, inverse))
