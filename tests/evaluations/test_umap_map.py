import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pytest_ecgfm.evaluations import umap_map as module
from pytest_ecgfm.evaluations.umap_map import SEEDS, umap_map


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # Small matrices: threads that wait for a busy core cost more than the work.
    with threadpool_limits(1):
        yield


def clustered(groups=10, n=200, d=32, distance=20.0):
    rng = np.random.default_rng(1)
    members = np.arange(n) % groups
    centres = distance * rng.normal(size=(groups, d)) / math.sqrt(d)
    return StandardScaler().fit_transform(centres[members] + rng.normal(size=(n, d))), members


def noise(n=200, d=32):
    return np.random.default_rng(2).normal(size=(n, d))


@pytest.fixture(scope="module")
def of_clusters():
    return umap_map(clustered()[0])


@pytest.fixture(scope="module")
def of_noise():
    return umap_map(noise())


def by_hand(rows, coordinates, k):
    """Trustworthiness as Venna and Kaski define it."""
    n = len(rows)
    far, near = cdist(rows, rows), cdist(coordinates, coordinates)
    penalty = 0
    for i in range(n):
        others = np.delete(np.arange(n), i)
        ranks = np.empty(n, int)
        ranks[others[np.argsort(far[i, others])]] = np.arange(1, n)
        shown = others[np.argsort(near[i, others])][:k]
        penalty += np.maximum(ranks[shown] - k, 0).sum()
    return 1 - 2 * penalty / (n * k * (2 * n - 3 * k - 1))


def disparity(a, b):
    """What is left of a squared distance of one after shift, scale and rotation."""
    x, y = (one.astype(float) - one.mean(axis=0) for one in (a, b))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    return 1 - np.linalg.svd(x.T @ y)[1].sum() ** 2


def test_coordinates_are_finite_and_spread(of_clusters, of_noise):
    for found in (of_clusters, of_noise):
        assert found.coordinates.shape == (200, 2) and found.coordinates.dtype == np.float32
        assert np.isfinite(found.coordinates).all()
        assert (found.coordinates.std(axis=0) > 0.1).all()
        assert 0 <= found.trustworthiness <= 1 and found.agreement <= 1


def test_the_same_records_give_the_same_map_twice(of_clusters):
    again = umap_map(clustered()[0])
    np.testing.assert_array_equal(again.coordinates, of_clusters.coordinates)
    assert (again.trustworthiness, again.agreement) == (of_clusters.trustworthiness, of_clusters.agreement)


def test_clusters_are_trustworthy_and_noise_is_less_so(of_clusters, of_noise):
    assert of_clusters.trustworthiness > 0.98
    assert 0.5 < of_noise.trustworthiness < 0.8


def test_clusters_stay_clusters_on_the_map(of_clusters):
    members = clustered()[1]
    assert silhouette_score(of_clusters.coordinates, members) > 0.6
    near = np.argsort(cdist(of_clusters.coordinates, of_clusters.coordinates), axis=1)[:, 1:11]
    assert (members[near] == members[:, None]).mean() > 0.98


def test_trustworthiness_equals_its_definition(of_clusters, of_noise):
    for rows, found in ((clustered()[0], of_clusters), (noise(), of_noise)):
        # Rows become single precision on the way, which may turn a rank or two.
        assert found.trustworthiness == pytest.approx(by_hand(rows, found.coordinates, 15), abs=1e-4)


def test_agreement_is_that_of_the_seeds_maps(of_noise):
    other = umap_map(noise(), seeds=SEEDS[1:])
    assert math.isnan(other.agreement)
    assert (other.coordinates != of_noise.coordinates).any()
    expected = 1 - disparity(of_noise.coordinates, other.coordinates)
    assert of_noise.agreement == pytest.approx(expected, abs=1e-5)
    turned = umap_map(noise(), seeds=SEEDS[::-1])
    np.testing.assert_array_equal(turned.coordinates, other.coordinates)
    assert turned.agreement == pytest.approx(of_noise.agreement, abs=1e-5)
    assert umap_map(noise(), seeds=(42, 42)).agreement == pytest.approx(1.0)
    three = umap_map(noise(), seeds=(42, 43, 42))
    assert three.agreement == pytest.approx((of_noise.agreement + 1) / 2, abs=1e-5)


def test_records_of_two_dimensions_keep_their_neighbours():
    rows = np.random.default_rng(3).normal(size=(200, 2))
    found = umap_map(rows, seeds=(42,))
    assert found.trustworthiness > 0.95
    rank = np.argsort(np.argsort(pdist(rows)))
    shown = np.argsort(np.argsort(pdist(found.coordinates)))
    assert np.corrcoef(rank, shown)[0, 1] > 0.5


def test_many_dimensions_are_reduced_to_their_principal_components_and_judged_on_all():
    rows = noise(d=80) * np.r_[np.full(5, 6.0), np.ones(75)]
    found = umap_map(rows, seeds=(42,))
    # Trust is that in the embedding, not in its components.
    assert found.trustworthiness == pytest.approx(by_hand(rows, found.coordinates, 15), abs=1e-4)
    reduced = PCA(50, svd_solver="covariance_eigh").fit_transform(rows.astype(np.float32))
    np.testing.assert_array_equal(umap_map(reduced, seeds=(42,)).coordinates, found.coordinates)
    # Fewer records than components are left as they are.
    few = umap_map(rows[:40], seeds=(42,))
    assert few.coordinates.shape == (40, 2) and np.isfinite(few.coordinates).all()


@pytest.mark.parametrize(("n", "d", "reduced"), [(50, 80, False), (51, 80, True), (60, 50, False), (60, 51, True)])
def test_principal_components_are_taken_of_more_than_fifty_records_and_dimensions(n, d, reduced):
    rows = noise(n, d).astype(np.float32)
    seen = PCA(50, svd_solver="covariance_eigh").fit_transform(rows) if reduced else rows
    np.testing.assert_array_equal(umap_map(rows, seeds=(42,)).coordinates, module._maps(seen, (42,))[0])


def test_trustworthiness_of_many_records_is_that_of_a_seeded_sample(monkeypatch, of_noise):
    monkeypatch.setattr(module, "_SAMPLE", 80)
    found = umap_map(noise())
    np.testing.assert_array_equal(found.coordinates, of_noise.coordinates)
    chosen = np.sort(np.random.default_rng(0).permutation(200)[:80])
    expected = by_hand(noise()[chosen], found.coordinates[chosen], 15)
    assert found.trustworthiness == pytest.approx(expected, abs=1e-4)
    assert found.trustworthiness != of_noise.trustworthiness


@pytest.mark.parametrize("n", [6, 16, 31])
def test_fewer_records_than_neighbours_are_mapped_too(n):
    rows = noise(n, 5)
    found = umap_map(rows, seeds=(42,))
    assert found.coordinates.shape == (n, 2) and np.isfinite(found.coordinates).all()
    assert found.trustworthiness == pytest.approx(by_hand(rows, found.coordinates, min(15, (n - 1) // 2)), abs=1e-4)


def test_five_records_are_mapped_and_four_are_not():
    rows = noise(5, 3)
    assert np.isfinite(umap_map(rows, seeds=(42,)).coordinates).all()
    found = umap_map(rows[:4])
    assert found.coordinates.shape == (4, 2) and found.coordinates.dtype == np.float32
    assert np.isnan([*found.coordinates.flat, found.trustworthiness, found.agreement]).all()


@pytest.mark.parametrize(("n", "neighbours"), [(6, 5), (15, 14), (16, 15), (40, 15)])
def test_the_graph_joins_fifteen_neighbours_or_all_others(n, neighbours, monkeypatch):
    asked = []

    class Umap:
        def __init__(self, **options):
            asked.append(options)

        def fit_transform(self, rows):
            return rows[:, :2]

    monkeypatch.setattr("umap.UMAP", Umap)
    umap_map(noise(n, 5), seeds=(42,))
    assert asked[0]["n_neighbors"] == neighbours
    assert asked[0]["precomputed_knn"][0].shape == (n, neighbours)


def test_records_that_repeat_are_mapped_together():
    rows = np.repeat(noise(12, 5), 8, axis=0)
    found = umap_map(rows, seeds=(42,))
    assert np.isfinite(found.coordinates).all()
    within = np.mean([pdist(found.coordinates[np.arange(96) // 8 == i]).mean() for i in range(12)])
    assert within < 0.5 * pdist(found.coordinates).mean()


def test_constants_give_finite_coordinates():
    found = umap_map(np.ones((40, 5)), seeds=(42,))
    assert np.isfinite(found.coordinates).all()


def test_the_graph_is_exact_and_each_record_comes_first_among_its_neighbours():
    rows = noise(120, 6).astype(np.float32)
    rows[20:45] = rows[20]
    indices, distances, _ = module._neighbours(rows, 15)
    np.testing.assert_array_equal(indices[:, 0], np.arange(120))
    assert all(len(set(one)) == 15 for one in indices)
    np.testing.assert_allclose(distances, np.sort(cdist(rows, rows), axis=1)[:, :15], atol=1e-6)


def test_many_records_take_the_approximate_graph(monkeypatch):
    # Not UMAP's own search, which numba compiles for half a minute: what it is asked.
    asked = []
    monkeypatch.setattr(module, "_EXACT", 59)
    monkeypatch.setattr("umap.umap_.nearest_neighbors", lambda *given: asked.append(given) or ("found",))
    assert module._neighbours(noise(59, 6), 5)[0].shape == (59, 5) and not asked
    assert module._neighbours(noise(60, 6), 5) == ("found",)
    assert len(asked) == 1 and asked[0][1:3] == (5, "euclidean")
