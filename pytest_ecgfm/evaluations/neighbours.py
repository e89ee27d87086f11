"""Nearest neighbours among the records of other patients."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.evaluations.clusters import NEIGHBOURS

Integers = npt.NDArray[np.intp]


def neighbours_elsewhere(
    queries: npt.NDArray[Any],
    pool: npt.NDArray[Any],
    of_queries: npt.NDArray[Any],
    of_pool: npt.NDArray[Any],
    count: int = NEIGHBOURS,
) -> Integers:
    """Return the nearest rows of `pool` that are of other patients, shape (queries, count); -1 for those missing.

    Parameters
    ----------
    queries, pool : ndarray, shapes (m, d) and (n, d)
    of_queries, of_pool : ndarray of str, shapes (m,) and (n,)
        Patients: a record of the same one is no evidence of anything.
    """
    from sklearn.neighbors import NearestNeighbors

    found = np.full((len(queries), count), -1, dtype=np.intp)
    if not len(pool) or not len(queries):
        return found
    _, repeats = np.unique(of_pool, return_counts=True)
    # Enough to be left with `count` after a patient's own records are struck out.
    wanted = min(len(pool), count + int(np.sort(repeats)[-1:].sum()))
    near = NearestNeighbors(n_neighbors=wanted).fit(pool).kneighbors(queries, return_distance=False)
    strange = of_pool[near] != of_queries[:, None]
    order = np.argsort(~strange, axis=1, kind="stable")[:, :count]
    chosen = np.take_along_axis(near, order, axis=1)
    found[:, : order.shape[1]] = np.where(np.take_along_axis(strange, order, axis=1), chosen, -1)
    return found
