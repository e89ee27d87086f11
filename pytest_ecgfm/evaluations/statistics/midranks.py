"""Ranks, of which equal values share the mean.

`scipy.stats.rankdata` gives the same, and the tests compare the two. This is here because importing scipy.stats takes
longer than all else that comparing two runs does, and because ranks of a few hundred scores are asked for thousands of
times in a run, where checks of its arguments are most of what rankdata spends.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def midranks(values: npt.ArrayLike) -> Floats:
    """Rank along the last axis, from 1 on.

    Parameters
    ----------
    values : array_like of shape (..., n)

    Returns
    -------
    ndarray of float64, of the same shape
        Where a value is NaN, all ranks of its row are.

    Examples
    --------
    >>> midranks([30, 10, 30, 20])
    array([3.5, 1. , 3.5, 2. ])
    """
    rows = np.asarray(values)
    if rows.size == 0:
        return np.empty(rows.shape)
    order = np.argsort(rows, axis=-1)
    ordered = np.take_along_axis(rows, order, axis=-1)
    first = np.ones(rows.shape, bool)
    np.not_equal(ordered[..., 1:], ordered[..., :-1], out=first[..., 1:])
    # Equal values stand together; each run of them begins where `first` is true, in the rows laid end to end.
    starts = np.flatnonzero(first)
    counts = np.diff(starts, append=rows.size)
    shared = starts % rows.shape[-1] + (counts + 1) / 2
    ranks = np.empty(rows.shape)
    np.put_along_axis(ranks, order, np.repeat(shared, counts).reshape(rows.shape), axis=-1)
    # NaN comes last.
    ranks[np.isnan(ordered[..., -1])] = np.nan
    return ranks
