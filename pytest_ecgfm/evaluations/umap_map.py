"""A map of an embedding in two dimensions, by UMAP, with what it can be trusted for.

References
----------
.. [1] McInnes, Healy, Melville, arXiv 1802.03426: UMAP.
.. [2] Venna, Kaski, ICANN 2001: trustworthiness.
.. [3] Gower, Psychometrika 40:33 (1975): Procrustes.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SEEDS = (42, 43)

MINIMUM = 5
"""Records below which there is no map."""

_NEIGHBOURS = 15
_TRUSTED = 15
_COMPONENTS = 50
_SAMPLE = 2000
_EXACT = 20_000
"""Records up to which all distances are computed. UMAP's own search is approximate, and numba compiles it anew in each
process: 45 CPU seconds against 0.1 for 4,000 records of 50 dimensions (`benchmarks/umap_graph.py`)."""


@dataclass(frozen=True)
class Map:
    """Coordinates and their worth.

    Attributes
    ----------
    coordinates : ndarray of float32, shape (n, 2)
        Of the first seed.
    trustworthiness : float
        In [0, 1] [2]_: whether neighbours on the map are neighbours in the embedding.
    agreement : float
        Procrustes agreement of the seeds' maps, 1 - disparity [3]_, mean over the other seeds; NaN for one seed.
    """

    coordinates: npt.NDArray[np.float32]
    trustworthiness: float
    agreement: float


def umap_map(features: npt.ArrayLike, seeds: Sequence[int] = SEEDS) -> Map:
    """Draw records on a map.

    Parameters
    ----------
    features : array_like, shape (n, d)
        z-scored. With more than 50 dimensions, the first 50 principal components: UMAP's graph of neighbours hardly
        changes, and costs a tenth.
    seeds : sequence of int
        Each gives a map; seeded UMAP runs in one thread, and gives the same map each time.

    Returns
    -------
    Map
        NaN below five records.
        Trustworthiness is that of a seeded sample of 2,000 records where there are more: it needs N x N ranks.
    """
    from scipy.spatial import procrustes
    from sklearn.decomposition import PCA
    from sklearn.manifold import trustworthiness

    rows = np.asarray(features, dtype=np.float32)
    if len(rows) < MINIMUM:
        return Map(np.full((len(rows), 2), np.nan, np.float32), math.nan, math.nan)
    reduced = rows
    if rows.shape[1] > _COMPONENTS and len(rows) > _COMPONENTS:
        reduced = PCA(_COMPONENTS, svd_solver="covariance_eigh").fit_transform(rows)
    maps = _maps(reduced, seeds)
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:_SAMPLE])
    neighbours = min(_TRUSTED, (len(chosen) - 1) // 2)
    worth = float(trustworthiness(rows[chosen], maps[0][chosen], n_neighbors=neighbours))
    others = [1 - float(procrustes(maps[0], one)[2]) for one in maps[1:]]
    return Map(maps[0], worth, float(np.mean(others)) if others else math.nan)


def _maps(rows: npt.NDArray[Any], seeds: Sequence[int]) -> list[npt.NDArray[np.float32]]:
    with warnings.catch_warnings():
        # numba and umap tell about their own internals, and that a seed means one thread: nothing to act upon.
        warnings.simplefilter("ignore")
        from umap import UMAP

        count = min(_NEIGHBOURS, len(rows) - 1)
        # The graph of neighbours is the same for every seed of the layout.
        known = _neighbours(rows, count)
        return [
            np.asarray(
                UMAP(n_neighbors=count, random_state=seed, precomputed_knn=known, n_jobs=1).fit_transform(rows),
                np.float32,
            )
            for seed in seeds
        ]


def _neighbours(rows: npt.NDArray[Any], count: int) -> tuple[Any, ...]:
    """Return what UMAP takes as `precomputed_knn`: indices, distances, and its own index where it has one."""
    if len(rows) > _EXACT:
        from umap.umap_ import nearest_neighbors

        found: tuple[Any, ...] = nearest_neighbors(rows, count, "euclidean", {}, False, np.random.RandomState(0))
        return found
    from sklearn.neighbors import NearestNeighbors

    distances, indices = NearestNeighbors(n_neighbors=count).fit(rows).kneighbors(rows)
    # A record comes first among its own neighbours, also where another one equals it: UMAP expects it there.
    for row in np.flatnonzero(indices[:, 0] != np.arange(len(rows))):
        others = indices[row][indices[row] != row][: count - 1]
        indices[row] = [row, *others]
    return indices, distances.astype(np.float32), None
