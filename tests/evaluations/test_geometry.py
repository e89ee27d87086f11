import math

import numpy as np
import pytest

from pytest_ecgfm.evaluations.geometry import collapse_bound, distinct_weights, effective_rank, intrinsic_dimension


def by_svd(rows):
    values = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    shares = values / values.sum()
    return np.exp(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())


@pytest.mark.parametrize("shape", [(200, 12), (12, 200), (30, 30)])
def test_effective_rank_is_that_of_the_svd(rng, shape):
    rows = rng.normal(size=shape) * np.geomspace(1, 0.01, shape[1]) + 5
    assert effective_rank(rows) == pytest.approx(by_svd(rows), rel=1e-6)
    assert effective_rank(-3 * rows + 7) == pytest.approx(by_svd(rows), rel=1e-6)


@pytest.mark.parametrize("planted", [1, 2, 5])
def test_effective_rank_of_orthogonal_directions_is_their_number(rng, planted):
    basis = np.linalg.qr(rng.normal(size=(40, planted)))[0]
    raw = rng.normal(size=(100, planted))
    scores = np.linalg.qr(raw - raw.mean(axis=0))[0]  # centred, and of equal singular values
    rows = 100 + scores @ basis.T
    assert effective_rank(rows) == pytest.approx(planted, rel=1e-4)


def test_effective_rank_counts_neither_a_common_offset_nor_repeated_dimensions(rng):
    rows = rng.normal(size=(300, 4))
    found = effective_rank(rows)
    assert 3.9 < found <= 4
    assert effective_rank(rows + 1000) == pytest.approx(found, rel=1e-6)
    assert effective_rank(np.hstack([rows] * 5)) == pytest.approx(found, rel=1e-6)


def test_effective_rank_lies_within_its_bounds(rng):
    assert effective_rank(rng.normal(size=(5, 100))) <= 4 + 1e-9
    assert effective_rank(np.outer(rng.normal(size=50), rng.normal(size=20))) == pytest.approx(1)


@pytest.mark.parametrize(
    "rows", [np.full((50, 8), 0.1), np.zeros((50, 8)), np.full((50, 8), 1e4, np.float32), [[1, 2]]]
)
def test_effective_rank_of_constants_is_0(rows):
    assert effective_rank(rows) == 0


def test_directions_that_hold_rounding_do_not_count(rng):
    line = np.outer(rng.normal(size=200), np.ones(300)) + 0.02 * rng.normal(size=(200, 300))
    assert effective_rank(line) > 2
    assert effective_rank(line, rounding=0.02) == pytest.approx(1)
    assert effective_rank(0.01 * rng.normal(size=(200, 300)), rounding=0.02) == 0


@pytest.mark.parametrize(
    ("records", "dimensions", "bound"), [(1000, 1, 1.0), (1000, 2, 1.5), (1000, 3, 2.0), (3, 700, 1.5), (1, 1, 1.0)]
)
def test_half_way_from_a_line_to_the_maximum_may_be_asked(records, dimensions, bound):
    assert collapse_bound(records, dimensions) == bound


@pytest.mark.parametrize("copies", [1, 3, 1000])
def test_copies_of_a_dimension_weigh_as_much_as_one(rng, copies):
    rows = rng.normal(size=(150, 4))
    units = rng.uniform(-5, 5, copies)
    weights = distinct_weights(np.column_stack([rows, rows[:, :1] * units, np.zeros(150)]))
    # A chance correlation of 0.2 with each of a thousand copies is 1.6 dimensions.
    np.testing.assert_allclose(weights[1:4], 1.0, atol=0.05 if copies < 10 else 0.5)
    assert weights[[0, *range(4, 4 + copies)]].sum() == pytest.approx(1.0, abs=0.05)
    assert weights[-1] == 0


def test_mixtures_of_a_few_dimensions_weigh_little_more_than_these(rng):
    rows = rng.normal(size=(2000, 5)) @ rng.normal(size=(5, 500))
    # The mean of the fourth power of a coordinate of directions in five dimensions is 3 / (5 * 7).
    assert distinct_weights(rows).sum() == pytest.approx(35 / 3, rel=0.1)


def test_unrelated_dimensions_have_their_full_weight_however_few_the_records(rng):
    assert distinct_weights(rng.normal(size=(60, 400))).mean() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("planted", [1, 2, 5])
def test_intrinsic_dimension_of_a_planted_plane(rng, planted):
    flat = rng.random((1500, planted)) - 0.5
    rotation = np.linalg.qr(rng.normal(size=(24, planted)))[0]
    assert intrinsic_dimension(flat @ rotation.T) == pytest.approx(planted, rel=0.12)


def test_intrinsic_dimension_of_a_curved_surface_is_its_own(rng):
    u, v = rng.random((2, 1500)) * 2 * np.pi
    torus = np.column_stack([np.cos(u) * (3 + np.cos(v)), np.sin(u) * (3 + np.cos(v)), np.sin(v)])
    assert np.linalg.matrix_rank(torus - torus.mean(axis=0)) == 3
    assert intrinsic_dimension(torus) == pytest.approx(2, rel=0.12)


def test_intrinsic_dimension_is_the_estimate_by_hand(rng):
    rows = rng.normal(size=(40, 3))
    distance = np.sort(np.linalg.norm(rows[:, None] - rows[None], axis=2), axis=1)
    wanted = 40 / np.log(distance[:, 2] / distance[:, 1]).sum()
    assert intrinsic_dimension(rows) == pytest.approx(wanted)
    # Neither scale nor repetition changes it.
    assert intrinsic_dimension(np.vstack([100 * rows, 100 * rows[:7]])) == pytest.approx(wanted)


@pytest.mark.parametrize("rows", [np.zeros((30, 4)), [[1.0, 2.0], [3.0, 4.0]], np.empty((0, 3))])
def test_intrinsic_dimension_of_fewer_than_three_records_is_undefined(rows):
    assert math.isnan(intrinsic_dimension(rows))


def test_intrinsic_dimension_of_an_even_grid_is_undefined():
    # All neighbours are equally far: the ratio is 1 everywhere, and says nothing.
    corners = np.eye(6)
    assert math.isnan(intrinsic_dimension(corners))


@pytest.mark.parametrize("offset", [0.0, 3.0, 100.0])
def test_intrinsic_dimension_of_a_line_is_1_wherever_it_lies(rng, offset):
    rows = rng.random((800, 1)) @ np.linalg.qr(rng.normal(size=(24, 1)))[0].T + offset
    assert intrinsic_dimension(rows) == pytest.approx(1, rel=0.15)
