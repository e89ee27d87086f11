import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group
from sklearn.cluster import SpectralClustering
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    calinski_harabasz_score,
    davies_bouldin_score,
    silhouette_score,
)
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import kneighbors_graph
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations import clusters
from pytest_ecgfm.evaluations.clusters import DESCRIPTIONS, METRICS, Space, cluster_metrics, many_metrics

PARTITIONS = ("spectral_ari", "spectral_ami", "gmm_ari", "gmm_ami")
GEOMETRIC = tuple(name for name in METRICS if name not in PARTITIONS)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # Small matrices: threads that wait for a busy core cost more than the work.
    with threadpool_limits(1):
        yield


def planted(seed, n, d, positives, distance):
    """Two groups whose centroids lie `distance` apart, on dimensions of very different scales."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(n) < positives
    direction = rng.normal(size=d)
    direction *= distance / np.linalg.norm(direction)
    rows = rng.normal(size=(n, d)) + groups[:, None] * direction
    return rows * np.exp(rng.normal(size=d)) + 7, groups


def by_hand(rows, groups):
    """The metrics as anyone would compute them with scikit-learn."""
    features = StandardScaler().fit_transform(rows)
    distances = cdist(features, features)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :10]
    spectral = SpectralClustering(
        n_clusters=2, affinity="nearest_neighbors", n_neighbors=10, assign_labels="kmeans", random_state=42
    )
    mixture = GaussianMixture(2, covariance_type="full", n_init=10, random_state=42)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spectral_labels, mixture_labels = spectral.fit_predict(features), mixture.fit_predict(features)
    parts = [features[groups == value] for value in np.unique(groups)]
    middles = [part.mean(axis=0) for part in parts]
    distance = math.dist(*middles)
    dispersion = np.mean([np.mean([math.dist(row, c) for row in p]) for p, c in zip(parts, middles, strict=True)])
    return {
        "silhouette": silhouette_score(features, groups),
        "davies_bouldin": davies_bouldin_score(features, groups),
        "calinski_harabasz": calinski_harabasz_score(features, groups),
        "knn_agreement": np.mean([np.mean(groups[near] == groups[i]) for i, near in enumerate(nearest)]),
        "spectral_ari": adjusted_rand_score(groups, spectral_labels),
        "spectral_ami": adjusted_mutual_info_score(groups, spectral_labels),
        "gmm_ari": adjusted_rand_score(groups, mixture_labels),
        "gmm_ami": adjusted_mutual_info_score(groups, mixture_labels),
        "centroid_distance": distance,
        "intra_class_dispersion": dispersion,
        "centroid_separation": distance / dispersion,
    }


@pytest.mark.parametrize(
    ("n", "d", "positives", "distance"),
    [(12, 2, 2, 3.0), (150, 5, 75, 0.0), (200, 8, 20, 2.0), (200, 8, 60, 6.0), (120, 30, 40, 12.0)],
)
def test_metrics_equal_scikit_learn_by_hand(n, d, positives, distance):
    rows, groups = planted(n + d, n, d, positives, distance)
    found, expected = cluster_metrics(rows, groups), by_hand(rows, groups)
    assert set(found) == set(expected) == set(METRICS) == set(DESCRIPTIONS)
    for name in GEOMETRIC:
        assert found[name] == pytest.approx(expected[name], rel=1e-6), name
    for name in PARTITIONS:
        assert found[name] == pytest.approx(expected[name], abs=0.02), name


def test_dimensions_that_are_constant_or_of_huge_offset_change_nothing():
    rows, groups = planted(1, 120, 4, 40, 3.0)
    rows = np.column_stack([rows, np.full(120, 0.1), rows[:, 0] * 1e-3 + 1e6])
    found, expected = cluster_metrics(rows.astype(np.float64), groups), by_hand(rows, groups)
    for name in GEOMETRIC:
        assert found[name] == pytest.approx(expected[name], rel=1e-6), name
    without = cluster_metrics(rows[:, [0, 1, 2, 3, 5]], groups)
    assert all(found[name] == pytest.approx(without[name], rel=1e-9) for name in GEOMETRIC)


def test_separated_groups_reach_the_perfect_values():
    rows, groups = planted(2, 200, 6, 60, 40.0)
    found = cluster_metrics(rows, groups)
    assert [found[name] for name in PARTITIONS] == pytest.approx([1.0] * 4)
    assert found["knn_agreement"] == 1.0
    assert found["silhouette"] > 0.8
    assert found["davies_bouldin"] < 0.3


def test_every_metric_moves_the_way_its_description_says():
    values = [cluster_metrics(*planted(3, 300, 5, 100, distance)) for distance in (0.0, 1.5, 3.0, 6.0, 20.0)]
    for name, (words, higher) in DESCRIPTIONS.items():
        series = np.array([one[name] for one in values])
        ordered = series if higher else -series
        # A perfect share stays what it is.
        assert (np.diff(ordered) >= -1e-3).all() and ordered[-1] > ordered[0], (name, series)
        assert words


def test_agreement_on_noise_reads_the_share_of_random_pairs_that_agree():
    # p^2 + (1 - p)^2 = 0.905 at 5 %: the plain share of agreeing neighbours calls noise separated.
    found = []
    for seed in range(5):
        rows, groups = planted(seed, 1000, 32, 50, 0.0)
        found.append(many_metrics(Space(rows), [groups], ["knn_agreement"])[0]["knn_agreement"])
    assert np.mean(found) == pytest.approx(0.05**2 + 0.95**2, abs=0.01)
    half = many_metrics(Space(rows), [np.arange(1000) < 500], ["knn_agreement"])[0]["knn_agreement"]
    assert half == pytest.approx(0.5, abs=0.03)


@given(st.integers(0, 10**6), st.integers(12, 40), st.integers(1, 6), st.floats(0, 5))
@settings(deadline=None, max_examples=25)
def test_geometry_does_not_depend_on_the_order_of_records_nor_on_the_names_of_groups(seed, n, d, distance):
    rows, groups = planted(seed, n, d, max(2, n // 4), distance)
    order = np.random.default_rng(seed).permutation(n)
    names = np.where(groups, "a", "b")
    found = many_metrics(Space(rows), [groups, ~groups, names, groups * 3 - 1], GEOMETRIC)
    found += many_metrics(Space(rows[order]), [groups[order]], GEOMETRIC)
    for other in found[1:]:
        for name in GEOMETRIC:
            assert other[name] == pytest.approx(found[0][name], rel=1e-7, abs=1e-9), name


@given(st.integers(0, 10**6), st.integers(2, 8))
@settings(deadline=None, max_examples=25)
def test_geometry_of_a_space_that_is_not_scaled_survives_rotation_and_shift(seed, d):
    rows, groups = planted(seed, 40, d, 12, 2.0)
    scaled = Space(rows).features
    moved = scaled @ ortho_group.rvs(d, random_state=seed % 2**31) + 3.0
    before = many_metrics(Space(rows), [groups], GEOMETRIC)[0]
    after = many_metrics(Space(moved, scale=False), [groups], GEOMETRIC)[0]
    for name in GEOMETRIC:
        assert after[name] == pytest.approx(before[name], rel=1e-6, abs=1e-8), name


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(-100, 100))
@settings(deadline=None, max_examples=25)
def test_scaling_takes_out_the_units_of_each_dimension(seed, unit, offset):
    rows, groups = planted(seed, 40, 3, 12, 2.0)
    other = rows * [unit, -1.0, 1.0] + [offset, 0.0, offset]
    before, after = (many_metrics(Space(one), [groups], GEOMETRIC)[0] for one in (rows, other))
    for name in GEOMETRIC:
        assert after[name] == pytest.approx(before[name], rel=1e-5, abs=1e-7), name


def test_partitions_do_not_depend_on_the_order_of_records_where_there_are_clusters():
    rows, groups = planted(4, 150, 4, 50, 25.0)
    order = np.random.default_rng(0).permutation(150)
    found = cluster_metrics(rows[order], groups[order])
    assert [found[name] for name in PARTITIONS] == pytest.approx([1.0] * 4)


def test_many_groupings_at_once_are_the_same_as_each_alone():
    rows, groups = planted(5, 90, 4, 30, 2.0)
    others = [groups, np.arange(90) < 45, np.arange(90) % 3 == 0]
    together = many_metrics(Space(rows), others)
    for one, grouping in zip(together, others, strict=True):
        assert one == pytest.approx(cluster_metrics(rows, grouping), rel=1e-12)
    some = many_metrics(Space(rows), others[:1], ["davies_bouldin", "silhouette"])[0]
    assert list(some) == ["davies_bouldin", "silhouette"]
    assert some == pytest.approx({name: together[0][name] for name in some}, rel=1e-12)
    assert many_metrics(Space(rows), []) == []


def test_groupings_that_are_undefined_leave_the_others_alone():
    rows, groups = planted(6, 60, 3, 20, 2.0)
    single = np.arange(60) < 1
    odd = [np.zeros(60), np.arange(60) % 3, single, groups]
    found = many_metrics(Space(rows), odd, GEOMETRIC)
    for one in found[:3]:
        assert all(math.isnan(value) for value in one.values()) and set(one) == set(GEOMETRIC)
    assert found[3] == pytest.approx(many_metrics(Space(rows), [groups], GEOMETRIC)[0], rel=1e-12)


@pytest.mark.parametrize("rows", [np.random.default_rng(0).normal(size=(11, 3)), np.full((30, 3), 0.1)])
def test_too_few_records_or_records_all_the_same_are_undefined(rows):
    found = cluster_metrics(rows, np.arange(len(rows)) < 5)
    assert set(found) == set(METRICS)
    assert all(math.isnan(value) for value in found.values())


def test_groups_of_one_point_each_and_of_one_centroid():
    repeated = np.repeat([[0.0, 0.0], [3.0, 4.0]], [10, 20], axis=0)
    names = tuple(name for name in GEOMETRIC if name != "knn_agreement")
    found = many_metrics(Space(repeated, scale=False), [np.arange(30) < 10], names)[0]
    assert (found["silhouette"], found["centroid_distance"]) == (1.0, 5.0)
    assert found["davies_bouldin"] == found["intra_class_dispersion"] == 0.0
    assert math.isnan(found["centroid_separation"]) and math.isnan(found["calinski_harabasz"])
    mirrored = np.concatenate([[[x, y], [-x, -y]] for x, y in np.random.default_rng(0).integers(1, 9, size=(8, 2))])
    found = many_metrics(Space(mirrored, scale=False), [np.arange(16) < 8], GEOMETRIC)[0]
    assert (found["centroid_distance"], found["centroid_separation"], found["calinski_harabasz"]) == (0.0, 0.0, 0.0)
    assert math.isnan(found["davies_bouldin"])


def test_neighbours_are_the_nearest_others_even_among_duplicates():
    rows = np.random.default_rng(7).normal(size=(40, 3))
    rows[20:] = rows[:20]
    near = Space(rows, scale=False).neighbours
    assert near.shape == (40, 10)
    assert (near != np.arange(40)[:, None]).all()
    np.testing.assert_array_equal(near[:, 0], (np.arange(40) + 20) % 40)
    distances = cdist(rows, rows)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(np.take_along_axis(distances, near, 1), np.sort(distances, axis=1)[:, :10], atol=1e-12)
    assert Space(rows[:5]).neighbours.shape == (5, 4)


def test_sums_of_distances_do_not_depend_on_the_blocks(monkeypatch):
    rows = np.random.default_rng(8).normal(size=(300, 4))
    indicators = np.random.default_rng(9).random((300, 5)) < 0.3
    space = Space(rows, scale=False)
    whole = space.class_distances(indicators)
    np.testing.assert_allclose(whole, cdist(rows, rows) @ indicators, rtol=1e-9, atol=1e-6)
    monkeypatch.setattr(clusters, "_BLOCK", 300 * 7)
    np.testing.assert_allclose(space.class_distances(indicators), whole, rtol=1e-12)


def test_neighbours_fall_out_of_the_first_pass_over_the_distances(monkeypatch):
    passes, scanned = [], clusters.scanned

    def counted(features, weights, count):
        passes.append(count)
        return scanned(features, weights, count)

    monkeypatch.setattr(clusters, "scanned", counted)
    rows = np.random.default_rng(13).normal(size=(30, 4))
    space = Space(rows)
    space.class_distances(np.ones((30, 1)))
    np.testing.assert_array_equal(space.neighbours, Space(rows).neighbours)
    space.class_distances(np.ones((30, 1)))
    assert passes == [10, 10, 0]
    Space(rows[:6]).class_distances(np.ones((6, 1)))
    assert passes[-1] == 5


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_silhouettes_of_a_space_that_is_not_scaled_do_not_mind_its_size(size):
    rows, groups = planted(14, 40, 3, 12, 2.0)
    (found,) = many_metrics(Space(size * rows, scale=False), [groups], ["silhouette"])
    assert found["silhouette"] == pytest.approx(silhouette_score(rows, groups))


@pytest.mark.parametrize("most", [None, 50, 8])
def test_the_graph_of_spectral_clustering_is_scikit_learns(most, monkeypatch):
    seen = []

    class Recorded(SpectralClustering):
        def fit_predict(self, graph):
            seen.append((self.get_params(), graph.toarray()))
            return np.arange(graph.shape[0]) % 2

    monkeypatch.setattr("sklearn.cluster.SpectralClustering", Recorded)
    space = Space(planted(15, 120, 4, 40, 2.0)[0], most=most)
    assigned = space.spectral
    rows = np.flatnonzero(assigned >= 0)
    theirs = kneighbors_graph(space.features[rows], min(10, len(rows)), include_self=True).toarray()
    ((asked, graph),) = seen
    np.testing.assert_array_equal(graph, 0.5 * (theirs + theirs.T))
    np.testing.assert_array_equal(assigned[rows], np.arange(len(rows)) % 2)
    wanted = {"n_clusters": 2, "affinity": "precomputed", "assign_labels": "kmeans", "random_state": 42}
    assert wanted.items() <= asked.items()


def test_clustering_algorithms_see_at_most_so_many_records():
    rows, groups = planted(10, 120, 4, 40, 30.0)
    limited, whole = Space(rows, most=50), Space(rows)
    for labels in (limited.spectral, limited.mixture):
        assert (labels == -1).sum() == 70 and set(labels[labels >= 0]) == {0, 1}
    np.testing.assert_array_equal(limited.spectral >= 0, limited.mixture >= 0)
    assert (whole.spectral >= 0).all() and len(whole) == 120
    assert Space(rows, most=1000).most == 120
    a, b = many_metrics(limited, [groups])[0], many_metrics(whole, [groups])[0]
    assert {name: a[name] for name in GEOMETRIC} == {name: b[name] for name in GEOMETRIC}
    assert [a[name] for name in PARTITIONS] == pytest.approx([1.0] * 4)


def test_many_records_of_few_dimensions_make_no_square_of_all_records(rng):
    space = Space(rng.standard_normal((200, 4)))
    found = many_metrics(space, [np.arange(200) % 2])[0]
    assert np.isfinite(found["gmm_ari"]) and np.isfinite(found["spectral_ari"])
    held = [value for value in vars(space).values() if isinstance(value, np.ndarray)]
    assert held and max(value.size for value in held) < 200 * 200


def test_the_same_input_gives_the_same_result():
    rows, groups = planted(11, 100, 5, 40, 1.5)
    assert cluster_metrics(rows, groups) == cluster_metrics(rows, groups)
    assert cluster_metrics(rows.tolist(), groups.tolist()) == cluster_metrics(rows, groups)


def test_bad_input_is_refused():
    rows, groups = planted(12, 30, 3, 10, 1.0)
    with pytest.raises(EcgfmError, match=r"groups\.shape=\(29,\)"):
        cluster_metrics(rows, groups[1:])
    with pytest.raises(EcgfmError, match=r"embeddings\.shape=\(30,\)"):
        cluster_metrics(rows[:, 0], groups)
    with pytest.raises(EcgfmError, match=r"embeddings\.shape=\(30, 0\)"):
        cluster_metrics(rows[:, :0], groups)
    for wrong in (np.nan, np.inf):
        broken = rows.copy()
        broken[4, 1] = wrong
        with pytest.raises(EcgfmError, match="row 4 is not finite"):
            cluster_metrics(broken, groups)
