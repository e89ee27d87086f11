import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pytest_ecgfm.evaluations.features import (
    dimension_relevance,
    dimensions_for,
    jaccard,
    linear_shap,
    mean_overlap,
    mean_rank_agreement,
    selected,
)
from pytest_ecgfm.evaluations.probes import fit_probe

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what its plots import
    import shap


def fitted(rng, n=200, d=12, planted=(3, 7)):
    targets = rng.random(n) < 0.4
    rows = rng.normal(size=(n, d)) * np.linspace(0.1, 10, d) + 5
    rows[:, list(planted)] += 3 * rows[:, list(planted)].std(axis=0) * targets[:, None]
    rows[:, 0] = 2.5  # of no use, and of no spread
    probe = fit_probe("logistic", rows, targets, np.arange(n).astype(str), rows[:80], targets[:80])
    return probe, rows


def test_values_are_those_of_shaps_linear_explainer(rng):
    probe, rows = fitted(rng)
    slope = probe.coefficients / probe.scale
    masker = shap.maskers.Independent(rows, max_samples=len(rows))
    explainer = shap.LinearExplainer((slope, probe.intercept - slope @ probe.mean), masker)
    np.testing.assert_allclose(linear_shap(probe, rows[:50] + 1), explainer.shap_values(rows[:50] + 1), atol=1e-6)
    assert np.abs(linear_shap(probe, rows)).max() > 0.5


def test_values_add_up_to_the_logits_distance_from_the_mean_record(rng):
    probe, rows = fitted(rng)
    found = linear_shap(probe, rows.astype(np.float32))
    assert found.shape == rows.shape and found.dtype == np.float64
    change = probe.scores(rows) - probe.scores(rows.mean(axis=0, keepdims=True))
    np.testing.assert_allclose(found.sum(axis=1), change, atol=1e-4)
    np.testing.assert_allclose(linear_shap(probe, rows).mean(axis=0), 0, atol=1e-10)
    assert not found[:, 0].any()


def test_relevance_finds_the_planted_dimensions_whatever_their_scale(rng):
    probe, rows = fitted(rng)
    found = dimension_relevance(probe, rows)
    np.testing.assert_allclose(found, np.abs(linear_shap(probe, rows)).mean(axis=0))
    assert selected(found, 2 / 12).tolist() == [3, 7]
    assert found[[3, 7]].sum() > 0.5 * found.sum()
    assert found[0] == 0


def test_relevance_does_not_depend_on_the_units_of_a_dimension(rng):
    probe, rows = fitted(rng)
    units = rng.uniform(0.01, 100, 12)
    changed = type(probe)("logistic", probe.mean * units, probe.scale * units, probe.C, probe.coefficients, 0.0)
    np.testing.assert_allclose(dimension_relevance(changed, rows * units), dimension_relevance(probe, rows))


def test_probe_that_saw_one_class_has_no_relevance(rng):
    rows = rng.normal(size=(20, 4))
    probe = fit_probe("logistic", rows, np.zeros(20, bool), np.arange(20).astype(str), rows[:0], np.zeros(0, bool))
    assert dimension_relevance(probe, rows).tolist() == [0, 0, 0, 0]


def test_a_tenth_is_selected_and_one_at_least():
    assert selected([0.0, 5.0, 1.0]).tolist() == [1]
    values = np.arange(40.0)
    values[3] = 100
    assert selected(values).tolist() == [3, 37, 38, 39]
    assert selected(values, 0.05).tolist() == [3, 39]
    # Ties go to the first, so that two runs select the same.
    assert selected(np.ones(30)).tolist() == [0, 1, 2]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_selected_are_the_largest(values):
    found = selected(values)
    assert len(found) == max(1, round(len(values) / 10)) == len(set(found.tolist()))
    assert (np.diff(found) > 0).all()
    assert sorted(np.array(values)[found]) == sorted(values)[-len(found) :]


def test_dimensions_for_a_share_in_closed_form():
    assert dimensions_for(np.ones(10)) == 9
    assert dimensions_for(np.ones(10), 0.91) == 10
    assert dimensions_for(np.ones(10), 1.0) == 10
    assert dimensions_for([0.0, 1.0, 0.0]) == 1
    assert dimensions_for([0.05, 0.5, 0.4, 0.05]) == 2
    assert dimensions_for([0.05, 0.5, 0.4, 0.05], 0.5) == 1
    assert dimensions_for(np.zeros(4)) == 0
    # Rounding of the sum makes no dimension more.
    assert [dimensions_for(np.full(n, 0.1)) for n in range(10, 400, 10)] == list(range(9, 360, 9))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any), st.floats(0.05, 0.99))
def test_dimensions_for_is_the_fewest_that_hold_the_share(values, share):
    found, largest = dimensions_for(values, share), sorted(values, reverse=True)
    assert sum(largest[:found]) >= (share - 1e-9) * sum(values)
    assert sum(largest[: found - 1]) < (share + 1e-9) * sum(values)


def test_jaccard_by_hand():
    assert jaccard([1, 2, 3], [3, 2, 9, 8]) == pytest.approx(2 / 5)
    assert jaccard([1, 2], [2, 1]) == 1
    assert jaccard([1], []) == 0
    assert math.isnan(jaccard([], []))


def test_overlap_and_agreement_are_means_over_pairs(rng):
    assert mean_overlap([[1, 2], [1, 2], [2, 3]]) == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert math.isnan(mean_overlap([[1, 2]])) and math.isnan(mean_rank_agreement([np.ones(5)]))
    a, b, c = rng.random((3, 20))
    wanted = np.mean([spearmanr(x, y).statistic for x, y in ((a, b), (a, c), (b, c))])
    assert mean_rank_agreement([a, b, c]) == pytest.approx(wanted)
    assert mean_rank_agreement([a, a**3]) == pytest.approx(1)
