"""Class-balanced agreement of neighbours above chance."""

import math

import numpy as np
import pytest

from pytest_ecgfm.evaluations import separability
from pytest_ecgfm.evaluations.clusters import Space, many_metrics
from pytest_ecgfm.evaluations.separability import (
    adjusted_metrics,
    balanced_agreement,
    neighbours_elsewhere,
)
from pytest_ecgfm.evaluations.statistics.bootstrap import resampled, wilson
from tests.evaluations.separability_data import planted, tolerated

pytestmark = pytest.mark.usefixtures("one_thread")


def agreement(rows, groups, patients, **kwargs):
    features = Space(rows).features
    near = neighbours_elsewhere(features, features, patients, patients)
    return balanced_agreement(near, groups, groups, patients, **kwargs)


def by_hand_each(near, targets, pool):
    """The agreement of each record with its neighbours, which count by one over the prevalence of their class."""
    share = np.mean(pool)
    found = []
    for row, label in zip(near, targets, strict=True):
        weights = [1 / (share if pool[one] else 1 - share) for one in row if one >= 0]
        same = [w for w, one in zip(weights, (o for o in row if o >= 0), strict=True) if pool[one] == label]
        found.append(sum(same) / sum(weights))
    return np.array(found)


def by_hand(near, targets, pool):
    """The class-balanced agreement, record by record."""
    each = by_hand_each(near, targets, pool)
    return (each[targets].mean() + each[~targets].mean()) / 2


def test_balanced_agreement_equals_the_definition():
    rng = np.random.default_rng(7)
    pool, targets = rng.random(90) < 0.2, rng.random(50) < 0.4
    near = np.array([rng.choice(90, 10, replace=False) for _ in range(50)])
    near[::4, 7:] = -1
    found = balanced_agreement(near, targets, pool, np.arange(50))
    assert found.value == pytest.approx(by_hand(near, targets, pool), rel=1e-12)
    assert found.adjusted == pytest.approx((found.value - found.null_mean) / (1 - found.null_mean))
    assert found.null_mean == pytest.approx(0.5, abs=0.02)
    turned = balanced_agreement(near, ~targets, ~pool, np.arange(50))
    assert list(turned.values().values()) == pytest.approx(list(found.values().values()), rel=1e-9)
    assert balanced_agreement(near, targets, pool, np.arange(50)) == found
    # Other patients, other resamples; the estimate is the same.
    few = balanced_agreement(near, targets, pool, np.arange(50) // 5)
    assert few.value == found.value and few.low != found.low


@pytest.mark.parametrize("positives", [500, 200, 50, 10])
def test_balanced_agreement_on_noise_is_nothing_at_every_prevalence(noise, positives):
    who = np.arange(1000).astype(str)
    near = neighbours_elsewhere(noise.features, noise.features, who, who)
    draws = [np.random.default_rng([8, positives, i]).permutation(1000) < positives for i in range(24)]
    found = [balanced_agreement(near, groups, groups, who, permutations=10) for groups in draws]
    values = np.array([one.adjusted for one in found])
    assert abs(values.mean()) < 4 * values.std(ddof=1) / math.sqrt(24) + 0.01
    assert abs(values.mean()) < 0.08
    assert all(one.low <= one.adjusted <= one.high for one in found)
    # Noise is hardly ever called separated.
    assert sum(one.low > 0 for one in found) <= tolerated(24, 0.05)


@pytest.mark.parametrize("positives", [300, 120, 30])
def test_intervals_of_balanced_agreement_hold_zero_on_noise(noise, positives):
    # Neighbours come from other records than those that are judged, half each.
    who = np.arange(1000).astype(str)
    near = neighbours_elsewhere(noise.features[:600], noise.features[600:], who[:600], who[600:])
    misses = 0
    for i in range(40):
        rng = np.random.default_rng([9, positives, i])
        groups, pool = rng.permutation(600) < positives, rng.permutation(400) < positives * 2 / 3
        found = balanced_agreement(near, groups, pool, who[:600], permutations=10)
        misses += not found.low <= 0 <= found.high
    assert misses <= tolerated(40, 0.07)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_balanced_agreement_of_separated_groups_is_whole_and_grows_with_distance(share):
    # Records that are all of a group's neighbours are 10, so a group of 5 % has 20 of 400.
    values = [agreement(*planted(10, distance, n=400, share=share)).adjusted for distance in (0.0, 2.0, 4.0, 20.0)]
    assert values[0] < values[1] < values[2] < values[3] + 1e-12
    assert values[3] == pytest.approx(1.0, abs=1e-9)
    assert abs(values[0]) < 0.2


def test_balanced_agreement_is_undefined_where_a_class_is_missing():
    near = np.array([[1, 2], [0, 2], [0, 1]])
    some, none, who = np.array([True, False, False]), np.zeros(3, bool), np.arange(3)
    for targets, pool in ((none, some), (~none, some), (some, none), (some, ~none), (some, none[:0])):
        found = balanced_agreement(near, targets, pool, who)
        assert all(math.isnan(value) for value in found.values().values())


def test_the_share_of_agreeing_neighbours_alone_is_rescaled(noise):
    groups = np.arange(1000) < 50
    (plain,) = many_metrics(noise, [groups], ["knn_agreement"])
    found = adjusted_metrics(noise, groups, np.arange(1000), names=["knn_agreement", "silhouette"], permutations=20)
    assert found["knn_agreement"].value == plain["knn_agreement"]
    for name, one in found.items():
        scale = 1 - one.null_mean if name == "knn_agreement" else 1
        # Near the mean under permutation, the interval is that of a normal quantile.
        assert (one.high - one.low) / 2 == pytest.approx(1.96 * one.null_sd / scale, rel=0.05)


def test_records_without_neighbours_lean_to_no_class():
    near = np.concatenate([np.full((8, 2), -1), np.tile([[0, 1]], (8, 1))])
    targets = np.array([False] * 8 + [True] * 4 + [False] * 4)
    pool = np.array([True, False])
    assert balanced_agreement(near, targets, pool, np.arange(16)).value == pytest.approx(0.5)


@pytest.mark.parametrize("positives", [500, 50, 10])
def test_intervals_hold_zero_where_records_are_their_own_pool(noise, positives):
    who = np.arange(1000).astype(str)
    near = neighbours_elsewhere(noise.features, noise.features, who, who)
    misses = 0
    for i in range(40):
        groups = np.random.default_rng([12, positives, i]).permutation(1000) < positives
        found = balanced_agreement(near, groups, groups, who, places=np.arange(1000))
        misses += not found.low <= 0 <= found.high
    assert misses <= tolerated(40, 0.05)


def test_few_others_leave_places_without_a_neighbour():
    rows = np.random.default_rng(14).normal(size=(6, 3))
    near = neighbours_elsewhere(rows, rows, np.arange(6), np.arange(6))
    assert near.shape == (6, 10)
    assert (near[:, :5] >= 0).all() and (near[:, 5:] == -1).all()


def test_a_share_that_chance_makes_whole_is_not_rescaled():
    found = separability._adjusted("knn_agreement", 1.0, np.ones(3))
    assert list(found.values().values()) == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    found = separability._adjusted("knn_agreement", 0.75, np.array([0.5, 0.5]))
    assert found.adjusted == found.low == found.high == 0.5


@pytest.mark.parametrize("places", [None, np.arange(60)])
@pytest.mark.parametrize(("repeats", "patients", "shift"), [(2, 15, 0.0), (2, 2, 0.0), (2, 15, 2.0), (1, 3, 0.0)])
def test_interval_of_balanced_agreement_is_the_wider_of_resamples_and_permutations(places, repeats, patients, shift):
    rng = np.random.default_rng(30)
    who = np.arange(60) // repeats
    groups = (rng.permutation(60 // repeats) < patients)[who]
    rows = rng.normal(size=(60, 3)) + shift * groups[:, None]
    near = neighbours_elsewhere(rows, rows, who, who, 3)
    found = balanced_agreement(near, groups, groups, who, places=places, permutations=9, seed=2)
    null = [
        by_hand(near, one, one if places is not None else groups)
        for one in separability._permuted(groups, np.zeros(60), who, 9, 2)
    ]
    assert found.null_mean == pytest.approx(np.mean(null))
    assert found.null_sd == pytest.approx(np.std(null, ddof=1))
    each, weights = by_hand_each(near, groups, groups), resampled(who, 400, 2)
    with np.errstate(invalid="ignore"):
        draws = sum((weights * side) @ each / (weights * side).sum(axis=1) / 2 for side in (groups, ~groups))
    low, high = np.nanquantile(draws, (0.025, 0.975))
    least, most = wilson(found.value, found.null_mean, found.null_sd)
    scale = 1 - found.null_mean
    assert found.low == pytest.approx((min(low, found.value, least) - found.null_mean) / scale)
    assert found.high == pytest.approx((max(high, found.value, most) - found.null_mean) / scale)
    assert found.high <= 1


def test_row_zero_of_the_pool_is_a_neighbour_like_others():
    near, targets = np.zeros((6, 1), int), np.arange(6) < 2
    assert balanced_agreement(near, targets, np.array([True, False]), np.arange(6)).value == pytest.approx(0.5)


def test_a_class_that_is_drawn_once_is_drawn():
    np.testing.assert_array_equal(separability._positive(np.array([0.0, 1.0, 2.0])), [np.nan, 1.0, 2.0])
