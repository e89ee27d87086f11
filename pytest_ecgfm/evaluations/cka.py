"""Debiased linear CKA, which sees whether two embeddings of the same records agree up to rotation and scale.

References
----------
.. [1] Kornblith et al., ICML 2019: centred kernel alignment (CKA).
.. [2] Song et al., J. Mach. Learn. Res. 13:1393 (2012): the unbiased estimate of HSIC behind debiased CKA.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def debiased_cka(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return debiased linear CKA [1]_ with the unbiased estimate of HSIC [2]_; NaN for constants or below four rows.

    Parameters
    ----------
    a, b : array_like, shapes (m, d) and (m, e)

    Returns
    -------
    float
        1 for embeddings that agree up to rotation and scale; near 0 for unrelated ones (it can be negative).

    Examples
    --------
    >>> import numpy as np
    >>> embeddings = np.random.default_rng(0).normal(size=(50, 3))
    >>> round(debiased_cka(embeddings, 2 * embeddings + 1), 6)
    1.0
    """
    return float(cka_of(gram(a), gram(b), np.ones((1, len(np.asarray(a)))))[0])


def gram(rows: npt.ArrayLike) -> Floats:
    """Return the inner products of centred rows, shape (m, m), with a diagonal of zeros."""
    values = np.asarray(rows, dtype=np.float64)
    # Centring changes nothing in theory, and keeps a large common offset from eating the digits.
    values = values - values.mean(axis=0)
    products: Floats = values @ values.T
    np.fill_diagonal(products, 0.0)
    return products


def cka_of(k: Floats, l: Floats, weights: Floats) -> Floats:  # noqa: E741
    """Return CKA for each row of record weights: a record drawn twice counts twice, and never with itself."""

    def hsic(p: Floats, q: Floats) -> Floats:
        pq = p * q
        n = weights.sum(axis=1)
        pw, qw = weights @ p, weights @ q
        trace = np.einsum("bi,ij,bj->b", weights, pq, weights, optimize=True)
        sums = (pw * weights).sum(axis=1) * (qw * weights).sum(axis=1)
        cross = (weights * pw * qw).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((trace + sums / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3)))

    if len(k) < 4:
        return np.full(len(weights), np.nan)
    product = hsic(k, k) * hsic(l, l)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(product > 0, hsic(k, l) / np.sqrt(product), np.nan)
