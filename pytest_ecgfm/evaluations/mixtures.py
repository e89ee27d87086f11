"""Two Gaussians of full covariance: scikit-learn's mixture, and a short way to its result for few records."""

import math
import warnings

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

INITIALISATIONS = 10

_RIDGE = 1e-6  # scikit-learn's `reg_covar`
_CERTAIN = 50.0  # log-odds beyond which a responsibility is 1 within rounding


def mixture_labels(features: Floats, seed: int) -> Integers:
    """Return what scikit-learn's mixture of two Gaussians gives: full covariance, the best of 10 initialisations.

    Parameters
    ----------
    features : ndarray of float64, shape (n, d)
        Finite.
    seed : int
        Of the initialisations.

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

    labels = _certain_labels(features, seed)
    if labels is not None:
        return labels
    model = GaussianMixture(2, covariance_type="full", n_init=INITIALISATIONS, reg_covar=_RIDGE, random_state=seed)
    with warnings.catch_warnings():
        # Stopped after 100 steps is part of the paper's setting.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(model.fit_predict(features), dtype=np.intp)


def _certain_labels(features: Floats, seed: int) -> Integers | None:
    """Return the most likely of the partitions by k-means; None unless each keeps every record where it is."""
    from sklearn.cluster import KMeans

    count, dimensions = features.shape
    # With more, no component can be short of records, and nothing is gained.
    if count >= 2 * dimensions:
        return None
    # Drawn as the mixture draws them: one generator for all initialisations.
    random = np.random.RandomState(seed)
    gram = features @ features.T
    best, highest = None, -math.inf
    for _ in range(INITIALISATIONS):
        labels = np.asarray(KMeans(2, n_init=1, random_state=random).fit(features).labels_, dtype=np.intp)
        likelihood = _likelihood_if_certain(features, gram, labels)
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
    densities = [_log_densities(features, gram, sides[one], sides[1 - one]) for one in (0, 1)]
    total = 0.0
    for one in (0, 1):
        own, elsewhere = densities[one][0], densities[1 - one][1]
        if (own - elsewhere < _CERTAIN).any():
            return None
        total += float(own.sum())
    return total


def _log_densities(features: Floats, gram: Floats, members: Integers, others: Integers) -> tuple[Floats, Floats]:
    """Return log of weight times density of the component of `members`, at these and at the others."""
    count, dimensions = members.size, features.shape[1]
    determinant, own, far = (
        _by_products(gram, members, others, dimensions)
        if count < dimensions
        else _by_covariance(features, members, others)
    )
    constant = math.log(count / len(features)) - 0.5 * (dimensions * math.log(2 * math.pi) + determinant)
    return constant - 0.5 * own, constant - 0.5 * far


def _by_covariance(features: Floats, members: Integers, others: Integers) -> tuple[float, Floats, Floats]:
    """Return the covariance's log-determinant, and squared Mahalanobis distances of members and of others."""
    from scipy.linalg import solve_triangular

    centre = features[members].mean(axis=0)
    centred = features[members] - centre
    covariance = centred.T @ centred / members.size
    covariance[np.diag_indices_from(covariance)] += _RIDGE
    root = np.linalg.cholesky(covariance)
    distances = [
        (solve_triangular(root, rows.T, lower=True) ** 2).sum(axis=0) for rows in (centred, features[others] - centre)
    ]
    return 2 * float(np.log(np.diag(root)).sum()), distances[0], distances[1]


def _by_products(gram: Floats, members: Integers, others: Integers, dimensions: int) -> tuple[float, Floats, Floats]:
    """Return the same from inner products of fewer records than dimensions.

    With centred members C (n x d) the covariance is ``C'C / n + ridge``; its determinant and its inverse follow from
    the n x n matrix ``CC' / n + ridge`` (Sylvester's and Woodbury's identities).
    """
    from scipy.linalg.lapack import dtrtri

    count = members.size
    inside, across = gram[np.ix_(members, members)], gram[np.ix_(members, others)]
    means = inside.mean(axis=1, keepdims=True)
    middle = float(means.mean())
    small = (inside - means - means.T + middle) / count
    small[np.diag_indices_from(small)] += _RIDGE
    root = np.linalg.cholesky(small)
    determinant = (dimensions - count) * math.log(_RIDGE) + 2 * float(np.log(np.diag(root)).sum())
    inverse, _ = dtrtri(root, lower=1)
    # diag(K (K/n + ridge)^-1) for the centred members' own products K.
    own = count * (1 - _RIDGE * (inverse**2).sum(axis=0))
    # The others, seen from the members' centre: what the members do not span of them is divided by the ridge.
    squared = np.diag(gram)[others] - 2 * across.mean(axis=0) + middle
    towards = across - across.mean(axis=0) - means + middle
    far = (squared - ((inverse @ towards) ** 2).sum(axis=0) / count) / _RIDGE
    return determinant, own, far
