"""How much of an AUROC a few labels give."""

import math

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError


def label_efficiency(fractions: npt.ArrayLike, aurocs: npt.ArrayLike) -> float:
    """Return the mean AUROC over the logarithm of the fraction: the trapezoidal area divided by the range.

    Parameters
    ----------
    fractions : array_like, shape (f,)
        Distinct, in (0, 1], in any order.
    aurocs : array_like, shape (f,)
        In [0, 1].

    Returns
    -------
    float
        In [0, 1]; with one fraction, its AUROC; NaN with none, or if an AUROC is NaN.

    Raises
    ------
    EcgfmError
        If shapes disagree, or if a fraction repeats or is outside (0, 1].

    Examples
    --------
    >>> round(label_efficiency([0.01, 0.1, 1.0], [0.7, 0.8, 0.9]), 6)
    0.8
    """
    shares, values = np.asarray(fractions, dtype=np.float64), np.asarray(aurocs, dtype=np.float64)
    distinct = np.unique(shares)
    if shares.ndim != 1 or shares.shape != values.shape or distinct.size != shares.size:
        raise EcgfmError(f"label efficiency needs one AUROC for each distinct fraction, not {shares} and {values}.")
    if ((shares <= 0) | (shares > 1)).any():
        raise EcgfmError(f"fractions {shares} should lie in (0, 1].")
    if shares.size < 2:
        return float(values[0]) if shares.size else math.nan
    order = np.argsort(shares)
    at = np.log(shares[order])
    return float(np.trapezoid(values[order], at) / (at[-1] - at[0]))
