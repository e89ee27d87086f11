"""How many dimensions an embedding really uses."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_ROWS = 2000
_BLOCK = 1 << 22  # numbers held at once: 32 MB


def effective_rank(embeddings: npt.ArrayLike, *, rounding: float = 0.0) -> float:
    """Return the effective rank: the exponential of the entropy of the singular values' shares.

    RankMe (Garrido et al., ICML 2023, arXiv 2210.02885) of the centred embedding. It is centred because a large common
    offset would be one singular value that says nothing about records.

    Parameters
    ----------
    embeddings : array_like, shape (n, d)
        Finite.
    rounding : float
        Size of what rounding adds to each number: directions that contain only noise of that size do not count.

    Returns
    -------
    float
        From 1 (all records on a line) to min(n - 1, d); 0 if all records are the same.

    Examples
    --------
    >>> import numpy as np
    >>> round(effective_rank(np.random.default_rng(0).normal(size=(1000, 8))), 1)
    8.0
    >>> effective_rank(np.ones((1000, 8)))
    0.0
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if not len(rows):
        return 0.0
    centred = rows - rows.mean(axis=0)
    if not _varies(rows, centred):
        return 0.0
    # The Gram matrix of the smaller side has the squared singular values.
    gram = centred.T @ centred if rows.shape[0] >= rows.shape[1] else centred @ centred.T
    values = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0.0, None))
    # What rounding left of a squared value that is 0 would count as a dimension each.
    floor = values.max() * math.sqrt(np.finfo(np.float64).eps * max(rows.shape))
    # The largest singular value of noise (Bai, Yin 1993).
    noise = rounding * (math.sqrt(rows.shape[0]) + math.sqrt(rows.shape[1]))
    values = values[values > max(floor, noise)]
    if not values.size:
        return 0.0
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def distinct_weights(embeddings: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return how much of each dimension is its own: one over the number of dimensions that say the same.

    A thousand copies of a dimension count as one, and a thousand mixtures of five as twelve. Copies add nothing to what
    an embedding says, but to every distance.

    Parameters
    ----------
    embeddings : array_like, shape (n, d)
        z-scored. At most 2,000 rows are looked at, evenly spaced.

    Returns
    -------
    ndarray of float64, shape (d,)
        One over the sum of the fourth powers of a dimension's correlations with all, itself among them, less what
        chance gives; in (0, 1], and 0 for constants. Fourth powers: squares of a thousand weak correlations with
        copies of one dimension would weigh down what is no copy of it.
    """
    given = np.asarray(embeddings)
    rows = given[:: max(1, math.ceil(len(given) / _MOST_ROWS))].astype(np.float64)
    rows -= rows.mean(axis=0)
    lengths = np.linalg.norm(rows, axis=0)
    varies = lengths > 0
    rows /= np.where(varies, lengths, 1.0)
    shared = np.empty(rows.shape[1])
    step = max(1, _BLOCK // max(1, rows.shape[1]))
    for begin in range(0, rows.shape[1], step):
        part = slice(begin, begin + step)
        shared[part] = ((rows[:, part].T @ rows) ** 4).sum(axis=1)
    # The mean of the fourth power between unrelated normal variables.
    shared -= (int(varies.sum()) - 1) * 3 / max(1, len(rows) ** 2 - 1)
    return np.where(varies, 1 / np.maximum(shared, 1.0), 0.0)


def collapse_bound(records: int, dimensions: int) -> float:
    """Return the largest effective rank that may be asked of an embedding: half way from a line to its own maximum.

    The effective rank lies below ``min(records - 1, dimensions)``, and reaches it only where all directions are
    alike. Of two dimensions 1.5 is asked at most (a correlation of 0.96), of one 1, which any that varies has.
    """
    return 1 + (max(1, min(records - 1, dimensions)) - 1) / 2


def _varies(rows: npt.NDArray[Any], centred: npt.NDArray[Any]) -> bool:
    return bool(np.abs(centred).max(initial=0.0) > 1e-6 * np.abs(rows).max(initial=0.0)) if rows.size else False


def intrinsic_dimension(embeddings: npt.ArrayLike) -> float:
    """Return the intrinsic dimension by TwoNN: the ratio of the distances to the second and first neighbour.

    Facco et al., Sci. Rep. 7:12140 (2017), by maximum likelihood: the ratios have a Pareto distribution, and the
    dimension is its exponent.

    Parameters
    ----------
    embeddings : array_like, shape (n, d)
        Finite; repeated rows count once.

    Returns
    -------
    float
        NaN with fewer than three different rows.

    Examples
    --------
    >>> import numpy as np
    >>> line = np.random.default_rng(0).random((1000, 1)) * [[1.0, 2.0, 3.0]]
    >>> round(intrinsic_dimension(line))
    1
    """
    from sklearn.neighbors import NearestNeighbors

    rows = np.unique(np.asarray(embeddings, dtype=np.float64), axis=0)
    if len(rows) < 3:
        return math.nan
    near = NearestNeighbors(n_neighbors=2).fit(rows - rows.mean(axis=0)).kneighbors(return_distance=False)
    # From the differences themselves: fast searches expand the square, which leaves near rows without digits.
    first, second = (np.linalg.norm(rows - rows[near[:, k]], axis=1) for k in (0, 1))
    ratios = np.maximum(first, second) / np.maximum(np.minimum(first, second), np.finfo(np.float64).tiny)
    total = float(np.log(ratios).sum())
    return len(rows) / total if total > 0 else math.nan
