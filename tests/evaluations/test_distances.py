import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from pytest_ecgfm.evaluations import distances
from pytest_ecgfm.evaluations.distances import nearest_by_products, scanned


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


RECORDS, DIMENSIONS = 400, 24


def _noise(random):
    return random.standard_normal((RECORDS, DIMENSIONS))


def _near_copies(random):
    """Each record twice, a hair apart, as two exams of one patient can be."""
    rows = random.standard_normal((RECORDS // 2, DIMENSIONS))
    return np.concatenate([rows, rows + 1e-5 * random.standard_normal(rows.shape)])


def _copies(random):
    return np.repeat(random.standard_normal((RECORDS // 4, DIMENSIONS)), 4, axis=0)


def _far_from_the_origin(random):
    return random.standard_normal((RECORDS, DIMENSIONS)) + 300


def _one_far_record(random):
    rows = random.standard_normal((RECORDS, DIMENSIONS))
    rows[7] *= 1e4
    return rows


def _on_a_line(random):
    return random.standard_normal((RECORDS, 1)) * random.standard_normal(DIMENSIONS)


CASES = (_noise, _near_copies, _copies, _far_from_the_origin, _one_far_record, _on_a_line)


@pytest.fixture(params=["double", "single"])
def precision(request, monkeypatch):
    monkeypatch.setattr(distances, "_MANY", 10 if request.param == "single" else RECORDS + 1)
    monkeypatch.setattr(distances, "_ROWS", 96)
    return request.param


@pytest.mark.parametrize("made", CASES, ids=lambda made: made.__name__.strip("_"))
def test_sums_and_neighbours_equal_scikit_learns(precision, made):
    random = np.random.default_rng(3)
    features, weights = made(random), np.eye(2)[random.integers(0, 2, RECORDS)]
    found = scanned(features, weights, 10)
    # From differences, as a product of far records loses the digits of their distance.
    true = np.sqrt(((features[:, None] - features[None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(found.sums, true @ weights, rtol=1e-6)
    others = true.copy()
    np.fill_diagonal(others, np.inf)
    np.testing.assert_allclose(
        np.take_along_axis(others, found.neighbours, axis=1), np.sort(others, axis=1)[:, :10], rtol=1e-6, atol=1e-5
    )
    assert not (found.neighbours == np.arange(RECORDS)[:, None]).any()
    assert all(len(set(row)) == 10 for row in found.neighbours)


def test_records_whose_order_single_precision_cannot_tell_are_ordered_in_double(precision):
    """Neighbours at distances a ten-millionth apart."""
    random = np.random.default_rng(5)
    directions = np.linalg.qr(random.standard_normal((DIMENSIONS, DIMENSIONS)))[0]
    shell = directions * (4 + 1e-7 * np.arange(DIMENSIONS))[:, None]
    features = np.concatenate([np.zeros((1, DIMENSIONS)), random.permutation(shell)])
    found = scanned(features, np.empty((len(features), 0)), 10).neighbours[0]
    true = pairwise_distances(features[:1], features)[0]
    np.testing.assert_array_equal(found, np.argsort(true)[1:11])


@pytest.mark.parametrize("count", [1, 10, 14])
def test_fewer_records_than_a_block_and_as_many_neighbours_as_there_are(precision, count):
    features = np.random.default_rng(6).standard_normal((15, 3))
    theirs = NearestNeighbors(n_neighbors=count).fit(features).kneighbors(return_distance=False)
    np.testing.assert_array_equal(scanned(features, np.empty((15, 0)), count).neighbours, theirs)


@pytest.mark.parametrize("count", [1, 2, 10])
def test_nearest_by_products_are_those_of_scikit_learn(count, rng):
    features = rng.standard_normal((700, 5))
    theirs = NearestNeighbors(n_neighbors=count).fit(features).kneighbors(return_distance=False)
    np.testing.assert_array_equal(nearest_by_products(features @ features.T, count), theirs)


@pytest.mark.parametrize("many", [10, 2000])
def test_neighbours_among_blocks_of_many_records(many, rng, monkeypatch):
    # numpy sorts what is short, and partitions no more than it is asked to where there is more.
    monkeypatch.setattr(distances, "_MANY", many)
    features = rng.standard_normal((1500, 6))
    theirs = NearestNeighbors(n_neighbors=10).fit(features).kneighbors(return_distance=False)
    np.testing.assert_array_equal(scanned(features, np.empty((1500, 0)), 10).neighbours, theirs)


@pytest.mark.parametrize("count", [5, 10, 24])
def test_a_shell_among_many_records_is_ordered_in_double(precision, count):
    # Norms are like the distances, so that no pair is near enough to be computed again by itself.
    random = np.random.default_rng(8)
    directions = np.linalg.qr(random.standard_normal((DIMENSIONS, DIMENSIONS)))[0]
    features = 1.8 * random.standard_normal((RECORDS, DIMENSIONS))
    centres = np.array([[0.7] * DIMENSIONS, [-0.7] * DIMENSIONS])
    for number, centre in enumerate(centres):
        begin = 50 * number
        features[begin] = centre
        features[begin + 1 : begin + 25] = centre + directions * (4 + 1e-6 * random.permutation(24))[:, None]
    order = random.permutation(RECORDS)
    found = scanned(features[order], np.empty((RECORDS, 0)), count).neighbours
    for begin in (0, 50):
        true = np.linalg.norm(features[order] - features[begin], axis=1)
        np.testing.assert_array_equal(found[np.flatnonzero(order == begin)[0]], np.argsort(true)[1 : count + 1])


def test_parts_hold_every_row_once():
    found = [part.tolist() for part in distances._in_parts(np.array([4, 7, 8, 9, 11]), 2)]
    assert found == [[4, 7], [8, 9], [11]]


@pytest.mark.parametrize("first", range(10))
def test_two_neighbours_that_are_close_are_ordered_in_double_wherever_they_stand(precision, first):
    random = np.random.default_rng([9, first])
    features = 1.8 * random.standard_normal((RECORDS, DIMENSIONS))
    away = 4 + 0.02 * np.arange(24)
    away[first + 1] = away[first] + 3e-7
    centres = np.arange(0, RECORDS, 25)
    for begin in centres:
        directions = np.linalg.qr(random.standard_normal((DIMENSIONS, DIMENSIONS)))[0]
        features[begin] *= 3.4 / np.linalg.norm(features[begin])
        features[begin + 1 : begin + 25] = features[begin] + directions * random.permutation(away)[:, None]
    found = scanned(features, np.empty((RECORDS, 0)), 10).neighbours[centres]
    true = np.linalg.norm(features[centres][:, None] - features, axis=2)
    np.testing.assert_array_equal(found, np.argsort(true, axis=1)[:, 1:11])
