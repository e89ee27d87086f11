"""Clusters in an embedding: the paper's metrics, computed once for every grouping of the same records.

The definitions are those of scikit-learn with the settings of Filice et al. (arXiv 2601.21830). What does not depend on
the grouping (scaling, distances, neighbours, the partitions of two clustering algorithms) is made once for a `Space`.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.agreement import agreement
from pytest_ecgfm.evaluations.distances import nearest_by_products, scanned
from pytest_ecgfm.evaluations.mixtures import mixture_labels
from pytest_ecgfm.evaluations.standardise import standardisation
from pytest_ecgfm.evaluations.threads import thread_pools

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

NEIGHBOURS = 10
SEED = 42

METRICS = (
    "silhouette",
    "davies_bouldin",
    "calinski_harabasz",
    "knn_agreement",
    "spectral_ari",
    "spectral_ami",
    "gmm_ari",
    "gmm_ami",
    "centroid_distance",
    "intra_class_dispersion",
    "centroid_separation",
)
"""Names of the paper's metrics."""

_BLOCK = 1 << 22  # distances held at once: 32 MB


class Space:
    """Records in a space, z-scored, with everything that all groupings share.

    Parameters
    ----------
    embeddings : array_like, shape (n, d)
        Finite.
    scale : bool
        Whether to z-score each dimension (the mean and SD of all rows, ``ddof=0``); not for a map by UMAP.
    most : int, optional
        Clustering algorithms see at most so many rows, the first after a seeded shuffle; others stay unassigned.

    Raises
    ------
    EcgfmError
        If the shape is wrong or a row is not finite.
    """

    def __init__(self, embeddings: npt.ArrayLike, *, scale: bool = True, most: int | None = None) -> None:
        rows = np.array(embeddings, dtype=np.float64)
        if rows.ndim != 2 or not rows.shape[1]:
            raise EcgfmError(f"embeddings.shape={rows.shape}, but should be (records, dimensions).")
        if not np.isfinite(rows).all():
            raise EcgfmError(f"the embedding of row {int(np.argmin(np.isfinite(rows).all(axis=1)))} is not finite.")
        if scale and len(rows):
            # Of the rows as given: their type says what rounding is.
            mean, deviation = standardisation(embeddings)
            rows -= mean
            rows /= deviation
        self.features = rows
        self.most = len(rows) if most is None else min(most, len(rows))

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def neighbours(self) -> Integers:
        """The nearest other rows of each, shape (n, 10 or fewer), the nearest first."""
        return scanned(self.features, np.empty((len(self), 0)), min(NEIGHBOURS, len(self) - 1)).neighbours

    @cached_property
    def _clustered(self) -> Integers:
        """Rows that the clustering algorithms see, ascending."""
        if self.most == len(self):
            return np.arange(len(self))
        return np.sort(np.random.default_rng(SEED).permutation(len(self))[: self.most])

    @cached_property
    def spectral(self) -> Integers:
        """Spectral clustering into two: graph of 10 nearest neighbours (itself one of them), k-means; -1 unassigned."""
        from scipy.sparse import csr_array
        from sklearn.cluster import SpectralClustering

        rows = self._clustered
        count = min(NEIGHBOURS, len(rows))
        others = (
            self.neighbours[:, : count - 1]
            if rows.size == len(self)
            else nearest_by_products(self._products, count - 1)
        )
        near = np.column_stack([np.arange(rows.size), others])
        # Solvers of sparse systems take indices of 32 bits alone.
        starts = np.arange(0, near.size + 1, count, dtype=np.int32)
        graph = csr_array((np.ones(near.size), near.reshape(-1).astype(np.int32), starts))
        model = SpectralClustering(2, affinity="precomputed", assign_labels="kmeans", random_state=SEED)
        with warnings.catch_warnings(), thread_pools().limit(limits=1):
            # A graph in several parts is what separated groups look like.
            warnings.simplefilter("ignore", UserWarning)
            return self._assigned(model.fit_predict(0.5 * (graph + graph.T)))

    @cached_property
    def mixture(self) -> Integers:
        """Mixture of two Gaussians of full covariance, best of 10 initialisations; -1 unassigned."""
        # Many small products: threads wait for each other longer than they work.
        with thread_pools().limit(limits=1):
            return self._assigned(mixture_labels(self.features[self._clustered], SEED, lambda: self._products))

    @cached_property
    def _products(self) -> Floats:
        """Inner products of the rows that the clustering algorithms see: for few rows only."""
        rows = self.features[self._clustered]
        return rows @ rows.T

    def _assigned(self, labels: npt.ArrayLike) -> Integers:
        out = np.full(len(self), -1, dtype=np.intp)
        out[self._clustered] = labels
        return out

    def class_distances(self, indicators: npt.NDArray[Any]) -> Floats:
        """Return the sum of distances from each row to the rows of each column of `indicators`, shape (n, columns)."""
        # Neighbours fall out of the same pass.
        wanted = 0 if "neighbours" in self.__dict__ else min(NEIGHBOURS, len(self) - 1)
        found = scanned(self.features, np.asarray(indicators, dtype=np.float64), wanted)
        if wanted:
            self.__dict__["neighbours"] = found.neighbours
        return found.sums


def cluster_metrics(embeddings: npt.ArrayLike, groups: npt.ArrayLike) -> dict[str, float]:
    """Return the paper's metrics for two groups of records.

    Parameters
    ----------
    embeddings : array_like, shape (n, d)
        z-scored here.
    groups : array_like, shape (n,)
        Two different values.

    Returns
    -------
    dict of str to float
        Under the names of `METRICS`: silhouette, Davies-Bouldin and Calinski-Harabasz index; share of the 10 nearest
        other records in the same group; ARI and AMI of spectral clustering and of a Gaussian mixture; distance of the
        two centroids, mean over groups of the mean distance to the centroid, and their ratio. NaN if undefined: not
        exactly two groups, a group of one record, all records the same, or fewer than 12 records.

    Raises
    ------
    EcgfmError
        If shapes disagree or an embedding is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> groups = np.repeat([0, 1], 50)
    >>> embeddings = rng.normal(size=(100, 4)) + 6 * groups[:, None]
    >>> round(cluster_metrics(embeddings, groups)["gmm_ari"], 6)
    1.0
    """
    return many_metrics(Space(embeddings), [groups])[0]


def many_metrics(
    space: Space, groupings: Sequence[npt.ArrayLike], names: Sequence[str] = METRICS
) -> list[dict[str, float]]:
    """Return the paper's metrics for several groupings of the same records; see `cluster_metrics`.

    Parameters
    ----------
    space : Space
    groupings : sequence of array_like, shape (n,)
    names : sequence of str
        Which of `METRICS`.
    """
    codes = [_codes(space, one) for one in groupings]
    usable = [number for number, one in enumerate(codes) if one is not None]
    out = [dict.fromkeys(names, math.nan) for _ in groupings]
    if not usable or len(space) < 12 or not np.ptp(space.features, axis=0).any():
        return out
    stacked = np.stack([codes[number] for number in usable])  # type: ignore[misc]
    silhouettes = _silhouettes(space, stacked) if "silhouette" in names else np.full(len(usable), math.nan)
    for number, silhouette, one in zip(usable, silhouettes, stacked, strict=True):
        found = {**_scattered(space, one), **_clustered(space, one, names), "silhouette": float(silhouette)}
        found["knn_agreement"] = (
            float((one[space.neighbours] == one[:, None]).mean()) if "knn_agreement" in names else 0
        )
        out[number] = {name: found[name] for name in names}
    return out


def _codes(space: Space, groups: npt.ArrayLike) -> Integers | None:
    """Return 0 or 1 for each row; None unless there are two groups of two rows at least."""
    given = np.asarray(groups)
    if given.shape != (len(space),):
        raise EcgfmError(f"groups.shape={given.shape}, but should be ({len(space)},) like the embeddings' rows.")
    found, codes, counts = np.unique(given, return_inverse=True, return_counts=True)
    return codes.astype(np.intp) if len(found) == 2 and counts.min() >= 2 else None


def _silhouettes(space: Space, codes: Integers) -> Floats:
    """Return the mean silhouette of every grouping, from one pass over the distances."""
    inside = codes.astype(np.float64).T
    sums = space.class_distances(np.concatenate([inside, 1 - inside], axis=1))
    ones, zeros = np.split(sums, 2, axis=1)
    sizes = inside.sum(axis=0)
    member = inside > 0.5
    own = np.where(member, ones / (sizes - 1), zeros / (len(inside) - sizes - 1))
    other = np.where(member, zeros / (len(inside) - sizes), ones / sizes)
    largest = np.maximum(own, other)
    return np.asarray(np.where(largest > 0, (other - own) / np.where(largest > 0, largest, 1), 0.0).mean(axis=0))


def _squared_distances(features: Floats, rows: Integers, centre: Floats) -> Floats:
    """Return squared distances of some rows to a point, block by block."""
    step = max(1, _BLOCK // features.shape[1])
    blocks = [((features[rows[i : i + step]] - centre) ** 2).sum(axis=1) for i in range(0, rows.size, step)]
    return np.concatenate(blocks)


def _scattered(space: Space, codes: Integers) -> dict[str, float]:
    """Return what follows from centroids, and distances to them."""
    members = [np.flatnonzero(codes == group) for group in (0, 1)]
    sizes = [rows.size for rows in members]
    # As products: a copy of either group's rows would be as large as the embedding.
    centroids = np.stack([codes == 0, codes == 1]).astype(np.float64) @ space.features / np.array(sizes)[:, None]
    squared = [
        _squared_distances(space.features, rows, centre) for rows, centre in zip(members, centroids, strict=True)
    ]
    spreads = [float(np.sqrt(each).mean()) for each in squared]
    distance = float(np.linalg.norm(centroids[0] - centroids[1]))
    dispersion = sum(spreads) / 2
    # Two groups: the variance ratio needs no more than the squared distances.
    within = sum(float(each.sum()) for each in squared)
    middle = space.features.mean(axis=0)
    between = sum(size * float(((c - middle) ** 2).sum()) for size, c in zip(sizes, centroids, strict=True))
    return {
        "centroid_distance": distance,
        "intra_class_dispersion": dispersion,
        "centroid_separation": distance / dispersion if dispersion > 0 else math.nan,
        "davies_bouldin": sum(spreads) / distance if distance > 0 else math.nan,
        "calinski_harabasz": between * (len(space) - 2) / within if within > 0 else math.nan,
    }


def _clustered(space: Space, codes: Integers, names: Sequence[str]) -> dict[str, float]:
    found = {}
    for kind, source in (("spectral", "spectral"), ("gmm", "mixture")):
        if {f"{kind}_ari", f"{kind}_ami"} & set(names):
            partition: Integers = getattr(space, source)
            use = partition >= 0
            found[f"{kind}_ari"], found[f"{kind}_ami"] = agreement(codes[use], partition[use])
    return found


DESCRIPTIONS: Mapping[str, tuple[str, bool]] = {
    "silhouette": ("mean silhouette", True),
    "davies_bouldin": ("Davies-Bouldin index", False),
    "calinski_harabasz": ("Calinski-Harabasz index", True),
    "knn_agreement": ("share of the 10 nearest others in the same group", True),
    "spectral_ari": ("adjusted Rand index of spectral clustering", True),
    "spectral_ami": ("adjusted mutual information of spectral clustering", True),
    "gmm_ari": ("adjusted Rand index of a Gaussian mixture", True),
    "gmm_ami": ("adjusted mutual information of a Gaussian mixture", True),
    "centroid_distance": ("distance of the two centroids", True),
    "intra_class_dispersion": ("mean distance to the own centroid, mean over groups", False),
    "centroid_separation": ("centroid distance over dispersion", True),
}
"""Each metric in words, and whether more of it means more separated."""
