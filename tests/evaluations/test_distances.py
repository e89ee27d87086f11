import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from pytest_ecgfm.evaluations import distances
from pytest_ecgfm.evaluations.distances import scanned


@pytest.mark.parametrize("rows", [11, 64, 65, 200])
def test_sums_and_neighbours_are_those_of_scikit_learn(rows, rng, monkeypatch):
    monkeypatch.setattr(distances, "_ROWS", 64)
    features, weights = rng.standard_normal((rows, 7)), rng.random((rows, 3))
    found = scanned(features, weights, 10)
    np.testing.assert_allclose(found.sums, pairwise_distances(features) @ weights, rtol=1e-12)
    near = NearestNeighbors(n_neighbors=10).fit(features).kneighbors(return_distance=False)
    np.testing.assert_array_equal(found.neighbours, near)


def test_without_neighbours_or_without_weights(rng):
    features = rng.standard_normal((30, 4))
    assert scanned(features, np.ones((30, 1)), 0).neighbours.shape == (30, 0)
    assert scanned(features, np.empty((30, 0)), 3).sums.shape == (30, 0)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(4, 40), size=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_equal_rows_are_neighbours_of_each_other_and_never_of_themselves(rows, size, seed):
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 2, (rows, 3)).astype(np.float64)
    before, distances._ROWS = distances._ROWS, size
    try:
        near = scanned(features, np.empty((rows, 0)), 3).neighbours
    finally:
        distances._ROWS = before
    assert not (near == np.arange(rows)[:, None]).any()
    assert all(np.unique(one).size == 3 for one in near)
    reached = np.linalg.norm(features[:, None] - features[near], axis=2)
    whole = pairwise_distances(features) + np.diag(np.full(rows, np.inf))
    np.testing.assert_allclose(reached, np.sort(whole, axis=1)[:, :3], atol=1e-7)
