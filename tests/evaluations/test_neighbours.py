import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from pytest_ecgfm.evaluations.clusters import NEIGHBOURS
from pytest_ecgfm.evaluations.neighbours import neighbours_elsewhere


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 6))
@settings(deadline=None, max_examples=60)
def test_neighbours_are_the_nearest_of_other_patients(seed, n, m, names, count):
    rng = np.random.default_rng(seed)
    pool, queries = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    of_pool = np.array([f"p{i}" for i in rng.integers(0, names, n)])
    of_queries = np.array([f"p{i}" for i in rng.integers(0, names + 1, m)])
    near = neighbours_elsewhere(queries, pool, of_queries, of_pool, count)
    distances = cdist(queries, pool)
    assert near.shape[0] == m and near.shape[1] <= count
    for row, patient, distance in zip(near, of_queries, distances, strict=True):
        strange = np.flatnonzero(of_pool != patient)
        expected = strange[np.argsort(distance[strange])][:count]
        assert row[row >= 0].tolist() == expected.tolist()
        assert (of_pool[row[row >= 0]] != patient).all()
        # What is missing is at the end.
        assert (np.diff((row >= 0).astype(int)) <= 0).all()


def test_neighbours_of_one_patient_alone_are_none():
    rows = np.random.default_rng(11).normal(size=(6, 2))
    one, other = np.repeat("a", 6), np.array(["a", "a", "a", "a", "b", "b"])
    assert (neighbours_elsewhere(rows, rows, one, one) == -1).all()
    near = neighbours_elsewhere(rows, rows, other, other, 3)
    assert (near[:4, :2] >= 4).all() and (near[:4, 2] == -1).all()
    assert (near[4:] < 4).all() and (near[4:] >= 0).all()
    # An exact copy of the same patient is no neighbour, one of another patient is the first.
    twice = np.concatenate([rows, rows])
    names = np.array([f"p{i}" for i in range(6)] * 2)
    assert (neighbours_elsewhere(twice, twice, names, names)[:, 0] % 6 != np.arange(12) % 6).all()


def test_rows_of_the_patient_who_has_most_hide_no_others():
    # The nearest nine are the patient's own: the tenth and those behind it are wanted.
    pool = np.arange(20.0)[:, None]
    of_pool = np.array(["a"] * 9 + ["b", "c"] * 5 + ["b"])
    found = neighbours_elsewhere(np.zeros((1, 1)), pool, np.array(["a"]), of_pool, 4)
    assert found.tolist() == [[9, 10, 11, 12]]


def test_without_records_there_are_no_neighbours():
    rows, names = np.arange(4.0)[:, None], np.array(["a", "b", "a", "a"])
    assert (neighbours_elsewhere(rows, rows[:0], names, names[:0], 3) == -1).all()
    assert neighbours_elsewhere(rows[:0], rows, names[:0], names).shape == (0, NEIGHBOURS)
