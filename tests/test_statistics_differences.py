"""Differences of AUROCs, and what is made of many of them: p-values and Holm's procedure."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t
from sklearn.metrics import roc_auc_score

from pytest_ecgfm.evaluations import statistics
from pytest_ecgfm.evaluations.statistics import Estimate, aurocs, delong_interval, holm, p_value
from tests.planted_scores import binormal, brute_placements, mean_placements, satterthwaite


def test_difference_is_paired_delong():
    rng = np.random.default_rng(9)
    signal, targets = binormal(rng, 0.8, 50, 150)
    a, b = signal + 0.3 * rng.normal(size=signal.shape), signal + rng.normal(size=signal.shape)
    found = statistics.mean_auroc_difference(a, b, targets)
    both = [brute_placements(row[0], targets) for row in (a, b)]
    variance = sum((one - other).var(ddof=1) / one.size for one, other in zip(both[0], both[1], strict=True))
    assert found.value == pytest.approx(roc_auc_score(targets, a[0]) - roc_auc_score(targets, b[0]))
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    assert found.high - found.value == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)
    assert p_value(found, 0.0) == pytest.approx(norm.sf(found.value / found.standard_error))
    back = statistics.mean_auroc_difference(b, a, targets)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    assert p_value(back, 0.0, "less") == pytest.approx(p_value(found, 0.0))


def test_clustered_difference_agrees_with_delong_where_patients_hardly_repeat():
    rng = np.random.default_rng(10)
    signal, targets = binormal(rng, 0.8, 100, 300)
    b = signal + rng.normal(size=signal.shape)
    patients = [f"p{max(i, 1)}" for i in range(400)]
    alone = statistics.mean_auroc_difference(signal, b, targets)
    clustered = statistics.mean_auroc_difference(signal, b, targets, patients, resamples=4000)
    assert clustered.standard_error == pytest.approx(alone.standard_error, rel=0.05)


def test_difference_over_seeds_pairs_seeds_and_adds_what_is_unpaired():
    rng = np.random.default_rng(11)
    signal, targets = binormal(rng, 0.8, 50, 150)
    a = signal + 0.8 * rng.normal(size=(3, 200))
    b = a + 0.3 * rng.normal(size=(3, 200))
    paired = statistics.mean_auroc_difference(a, b, targets)
    assert paired.sd_seeds == pytest.approx((aurocs(a, targets) - aurocs(b, targets)).std(ddof=1))
    unpaired = statistics.mean_auroc_difference(a, b[:2], targets)
    spread = aurocs(a, targets).var(ddof=1) + aurocs(b[:2], targets).var(ddof=1)
    assert unpaired.sd_seeds == pytest.approx(math.sqrt(spread))
    assert unpaired.n_seeds == 2


def test_difference_from_itself_is_zero_and_from_another_perfect_score_is_not_certain():
    targets = np.arange(100) < 20
    scores = targets + np.linspace(0, 0.5, 100)
    same = statistics.mean_auroc_difference(scores, 2 * scores, targets)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert p_value(same, -0.02) == 0.0
    other = statistics.mean_auroc_difference(scores, targets.astype(float), targets)
    margin = 1 - 0.025 ** (1 / 20)
    assert (other.value, other.low, other.high) == (0.0, pytest.approx(-margin), pytest.approx(margin))
    most = statistics.mean_auroc_difference(scores, -scores, targets)
    assert (most.value, most.high) == (1.0, 1.0)
    assert 0.7 < most.low < 1.0


@given(st.floats(0.55, 0.95), st.floats(0.01, 0.2), st.floats(0.3, 0.99))
def test_p_value_agrees_with_the_interval(value, error, threshold):
    low, high = delong_interval(value, error**2, pairs=50)
    found = Estimate(value, low, high, error, math.nan, 1, pairs=50)
    p = p_value(found, threshold)
    assert p + p_value(found, threshold, "less") == pytest.approx(1.0)
    assert (p < 0.025) == (low > threshold) or p == pytest.approx(0.025)


def test_p_value_outside_the_range_of_an_auroc():
    found = Estimate(0.8, 0.7, 0.9, 0.05, math.nan, 1, pairs=10)
    assert p_value(found, -0.1) == 0.0
    assert p_value(found, 0.0) == 0.0
    assert p_value(found, 1.0) == 1.0
    assert p_value(found, 1.5) == 1.0


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.02]), [0.03, np.nan, 0.04])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values):
    adjusted = holm(p_values)
    rejected = []
    for step, i in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[i] * (len(p_values) - step) > 0.05:
            break
        rejected.append(i)
    assert set(np.flatnonzero(adjusted <= 0.05)) == set(rejected)
    assert (adjusted >= np.array(p_values) - 1e-15).all()


@pytest.mark.parametrize("seeds_b", [2, 3])
def test_difference_over_seeds_holds_both_variances(seeds_b):
    rng = np.random.default_rng(13)
    signal, targets = binormal(rng, 0.8, 50, 150)
    a, b = signal + 0.5 * rng.normal(size=(3, 200)), signal + 1.5 * rng.normal(size=(seeds_b, 200))
    found = statistics.mean_auroc_difference(a, b, targets)
    placed = zip(mean_placements(a, targets), mean_placements(b, targets), strict=True)
    test_variance = sum((one - other).var(ddof=1) / one.size for one, other in placed)
    if seeds_b == 3:
        spreads = [((aurocs(a, targets) - aurocs(b, targets)).var(ddof=1) / 3, 3)]
    else:
        spreads = [(aurocs(a, targets).var(ddof=1) / 3, 3), (aurocs(b, targets).var(ddof=1) / 2, 2)]
    variance = test_variance + sum(part for part, _ in spreads)
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    freedom = satterthwaite(test_variance, *spreads)
    assert found.degrees_of_freedom == pytest.approx(freedom)
    assert found.high - found.value == pytest.approx(t.ppf(0.975, freedom) * math.sqrt(variance))


def test_difference_from_constant_scores_is_as_uncertain_as_the_perfect_ones():
    targets = np.arange(100) < 20
    margin = 1 - 0.025 ** (1 / 20)
    found = statistics.mean_auroc_difference(targets.astype(float), np.zeros(100), targets)
    assert (found.value, found.low, found.high) == (0.5, pytest.approx(0.5 - margin), 0.5)
    back = statistics.mean_auroc_difference(np.zeros(100), targets.astype(float), targets)
    assert (back.value, back.low, back.high) == (-0.5, -0.5, pytest.approx(margin - 0.5))


def test_difference_without_both_classes_is_nan():
    for other in ([1.0, 2.0, 3.0], [3.0, 1.0, 2.0]):
        found = statistics.mean_auroc_difference([1.0, 2.0, 3.0], other, [True, True, True])
        assert all(math.isnan(x) for x in (found.value, found.low, found.high, found.standard_error))
