"""A share of records, with an interval that knows that the records of one patient are alike.

References
----------
.. [1] Korn, Graubard (1998), Survey Methodology 24:193-201: intervals of shares by the effective number of records.
.. [2] Dean, Pagano (2015), J. Surv. Stat. Methodol. 3:484-503: of such intervals, Wilson's keeps its coverage best.
.. [3] Kish (1965), Survey Sampling, section 8.2: the effective number where all records of a patient agree.
"""

import math

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.statistics.bootstrap import UNDEFINED, Interval, wilson
from pytest_ecgfm.evaluations.statistics.variance import Floats, Integers


def share(hits: npt.ArrayLike, patients: npt.ArrayLike | None = None) -> Interval:
    """Return the share of records that are hits, with Wilson's 95 % interval for their effective number [1]_ [2]_.

    Parameters
    ----------
    hits : array_like of bool, shape (n,)
    patients : array_like, shape (n,), optional
        Without them, each record is a patient of its own.

    Returns
    -------
    Interval
        In [0, 1]; NaN without records. Where patients repeat, the effective number of records is the binomial variance
        over the cluster-robust one. It is at most the number of records, and at least what it would be if all records
        of a patient agreed [3]_; this number is also taken where no record, or every one, is a hit.

    Raises
    ------
    EcgfmError
        If shapes disagree.

    Examples
    --------
    >>> found = share([True] * 8 + [False] * 2)
    >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
    (0.8, 0.49, 0.94)
    """
    each = np.asarray(hits, dtype=np.bool_)
    names = np.arange(each.size) if patients is None else np.asarray(patients)
    if each.ndim != 1 or names.shape != each.shape:
        raise EcgfmError(f"hits.shape={each.shape} and patients.shape={names.shape}, but both should be (records,).")
    if not each.size:
        return UNDEFINED
    value = float(each.mean())
    codes = np.unique(names, return_inverse=True)[1].astype(np.intp)
    # With a mean of one half, Wilson's formula is that of so many independent records.
    parts = each.astype(np.float64) - value
    low, high = wilson(value, 0.5, 0.5 / math.sqrt(_effective(parts, codes, value * (1 - value))))
    return Interval(value, low, high)


def clustered(parts: Floats, codes: Integers) -> float:
    """Return the cluster-robust variance of a sum of parts of mean 0, one a record; infinite for a single patient."""
    sums = np.bincount(codes, weights=parts)
    return float((sums**2).sum() * sums.size / (sums.size - 1)) if sums.size > 1 else np.inf


def _effective(parts: Floats, codes: Integers, spread: float) -> float:
    sizes = np.bincount(codes)
    least = codes.size**2 / float((sizes**2).sum())
    variance = clustered(parts, codes) / codes.size**2
    return float(np.clip(spread / variance, least, codes.size)) if variance > 0 and sizes.max() > 1 else least
