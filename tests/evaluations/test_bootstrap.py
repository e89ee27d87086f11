"""Resamples of whole patients, their percentiles, and the AUROC of weighted records."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pytest_ecgfm.evaluations.stability import (
    Reference,
    label_stability,
    retest,
)
from pytest_ecgfm.evaluations.statistics.bootstrap import (
    RESAMPLES,
    UNDEFINED,
    Interval,
    median_interval,
    percentiles,
    resampled,
    weighted_auroc,
    wilson,
)


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.02, 0.98))
def test_wilson_solves_its_equation_where_chance_scatters_as_a_binomial(count, n, mean):
    count = min(count, n)
    low, high = wilson(count / n, mean, math.sqrt(mean * (1 - mean) / n))
    # By hand: the roots of (p - share)^2 = z^2 p (1 - p) / n.
    z2, share = 1.96**2, count / n
    roots = np.sort(np.roots([1 + z2 / n, -(2 * share + z2 / n), share**2]).real)
    np.testing.assert_allclose([low, high], roots, atol=1e-6)
    assert 0 <= low <= share <= high <= 1


@given(st.floats(0, 1), st.floats(0.01, 0.99), st.floats(0, 3))
def test_wilson_holds_the_mean_of_chance_where_chance_may_have_been_all(share, mean, sd):
    low, high = wilson(share, mean, sd)
    assert 0 <= low <= share <= high <= 1
    if abs(abs(share - mean) - 1.96 * sd) > 1e-9:
        assert (low <= mean <= high) == (abs(share - mean) <= 1.96 * sd)
    assert all(math.isnan(limit) for limit in wilson(math.nan, mean, sd))


def test_resampling_draws_whole_patients():
    patients = np.array(["b", "a", "b", "c", "d", "b"])
    weights = resampled(patients, 3000, 0)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 0], weights[:, 5])
    # Of four patients, four are drawn.
    assert (weights[:, [0, 1, 3, 4]].sum(axis=1) == 4).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.08)
    np.testing.assert_allclose(weights.var(axis=0), 0.75, atol=0.08)
    np.testing.assert_array_equal(weights, resampled(patients, 3000, 0))
    assert (weights != resampled(patients, 3000, 1)).any()
    assert resampled(np.empty(0, str), 3, 0).shape == (3, 0)


def test_percentiles_by_numpy_and_always_around_the_value():
    draws = np.arange(1001.0)
    assert percentiles(500.0, draws) == Interval(500.0, 25.0, 975.0)
    assert percentiles(500.0, np.append(draws, [np.nan, np.inf])) == Interval(500.0, 25.0, 975.0)
    assert percentiles(-3.0, draws).low == -3 and percentiles(2000.0, draws).high == 2000
    for found in (percentiles(math.nan, draws), percentiles(1.0, np.full(5, np.nan))):
        assert found is UNDEFINED


@given(
    st.lists(st.tuples(st.integers(-4, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=30).filter(
        lambda rows: {t for _, t, w in rows if w} == {True, False}
    )
)
def test_weighted_auroc_is_scikit_learns_with_ties(sample):
    scores, labels, weights = (np.array(x) for x in zip(*sample, strict=True))
    found = weighted_auroc(scores.astype(float), labels, np.stack([weights, 2 * weights, weights > 0]).astype(float))
    wanted = roc_auc_score(labels, scores, sample_weight=weights)
    np.testing.assert_allclose(found[:2], wanted, atol=1e-12)
    # A weight of 0 is a record that is not there.
    assert found[2] == pytest.approx(roc_auc_score(labels[weights > 0], scores[weights > 0]), abs=1e-12)


def test_weighted_auroc_without_a_class_is_nan():
    found = weighted_auroc(
        np.array([1.0, 2.0]), np.array([False, True]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    )
    np.testing.assert_array_equal(found, [np.nan, np.nan, 1.0])


def test_a_resample_split_in_half_has_the_lower_median():
    assert median_interval(np.array([1.0, 0.0]), np.ones((1, 2))) == (0.5, 0.0, 0.5)


def test_resamples_without_a_known_record_say_nothing(rng):
    # Twenty records of a label are known, of one patient; a twenty-first is another patient's.
    patients = np.repeat(["a", "b", "c"], [20, 1, 9])
    targets = np.full((1, 30), np.nan)
    targets[0, :21] = np.arange(21) % 2
    clean, perturbed = rng.normal(size=(2, 1, 30))
    flips = ((clean > 0) != (perturbed > 0))[0, :21].astype(float)

    def totals(seed, resamples):
        weights = resampled(patients, resamples, seed)[:, :21]
        return weights, weights.sum(axis=1)

    alone = next(seed for seed in range(1000) if {0, 1} < set(totals(seed, 3)[1]))
    for seed, resamples in ((4, RESAMPLES), (alone, 3)):
        each, whole = label_stability(
            clean, perturbed, targets, np.zeros((1, 30)), patients, resamples=resamples, seed=seed
        )
        weights, total = totals(seed, resamples)
        drawn = total > 0
        assert 0 < drawn.sum() < resamples
        wanted = percentiles(flips.mean(), weights[drawn] @ flips / total[drawn])
        assert each[0].flip_rate == pytest.approx(wanted)
        assert whole.flip_rate == pytest.approx(wanted)


def test_interval_of_a_median_is_that_of_large_samples(rng):
    patients = np.arange(900).astype(str)
    against = Reference(np.zeros((900, 1)), patients, np.zeros(1), 2.0, None, 2.0)
    # Distances of 0 to 2, over a typical one of 2: the median is 1/2, its standard error 1 / (2 sqrt(n)).
    moved = rng.permutation(np.linspace(0, 2, 900))[:, None]
    found = retest(against, np.zeros((900, 1)), moved, patients)
    half = 1.96 / (2 * math.sqrt(900))
    assert found == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=0.008)
