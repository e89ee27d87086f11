"""What a perturbation takes from a label: loss of AUROC, and calls that flip."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pytest_ecgfm.evaluations.label_stability import label_stability
from pytest_ecgfm.evaluations.statistics.bootstrap import UNDEFINED, Interval
from tests.evaluations.intervals import holds


def scores_of(rng, n=300, labels=2):
    targets = (rng.random((labels, n)) < 0.4).astype(float)
    clean = rng.normal(size=(labels, n)) + 1.5 * targets
    perturbed = clean + rng.normal(size=(labels, n))
    return clean, perturbed, targets, np.full((labels, n), 0.7), np.arange(n).astype(str)


def test_label_stability_equals_scikit_learn_by_hand(rng):
    clean, perturbed, targets, cuts, patients = scores_of(rng)
    targets[0, :50] = np.nan
    perturbed[1, 7] = np.nan
    cuts[1, :150] = -0.2
    each, whole = label_stability(clean, perturbed, targets, cuts, patients)
    for one, found in enumerate(each):
        use = np.isfinite(targets[one]) & np.isfinite(perturbed[one])
        truth = targets[one, use]
        before, after = (roc_auc_score(truth, x[one, use]) for x in (clean, perturbed))
        assert found.auroc_drop.value == pytest.approx(before - after)
        calls = (clean[one, use] > cuts[one, use]) != (perturbed[one, use] > cuts[one, use])
        assert found.flip_rate.value == pytest.approx(calls.mean())
        assert (found.positives, found.negatives) == (truth.sum(), (1 - truth).sum())
        assert holds(found.auroc_drop) and holds(found.flip_rate)
        assert found.auroc_drop.low > 0
    assert whole.auroc_drop.value == pytest.approx(np.mean([one.auroc_drop.value for one in each]))
    assert whole.flip_rate.value == pytest.approx(np.mean([one.flip_rate.value for one in each]))
    assert whole.positives == min(one.positives for one in each)
    assert whole.negatives == min(one.negatives for one in each)


def test_scores_that_stay_neither_flip_nor_drop(rng):
    clean, _, targets, cuts, patients = scores_of(rng)
    each, whole = label_stability(clean, clean, targets, cuts, patients)
    for found in (*each, whole):
        assert found.flip_rate == Interval(0.0, 0.0, 0.0)
        assert found.auroc_drop == Interval(0.0, 0.0, 0.0)


def test_labels_of_few_records_do_not_count_towards_the_mean(rng):
    clean, perturbed, targets, cuts, patients = scores_of(rng)
    targets[1] = np.arange(300) < 9
    each, whole = label_stability(clean, perturbed, targets, cuts, patients)
    assert math.isnan(each[1].auroc_drop.value) and math.isfinite(each[1].flip_rate.value)
    assert whole.auroc_drop == each[0].auroc_drop and whole.flip_rate == each[0].flip_rate
    targets[1, 9] = 1
    assert math.isfinite(label_stability(clean, perturbed, targets, cuts, patients)[0][1].auroc_drop.value)


def test_without_enough_of_any_label_the_mean_is_undefined_and_counts_are_the_best(rng):
    clean, perturbed, targets, cuts, patients = scores_of(rng)
    targets[0], targets[1] = np.arange(300) < 3, np.arange(300) < 8
    _, whole = label_stability(clean, perturbed, targets, cuts, patients)
    assert math.isnan(whole.auroc_drop.value) and math.isnan(whole.flip_rate.value)
    assert (whole.positives, whole.negatives) == (8, 292)


@pytest.mark.parametrize("per_patient", [1, 4])
def test_interval_of_a_share_is_that_of_independent_patients(rng, per_patient):
    n = 400 * per_patient
    flips = np.repeat(np.arange(400) < 120, per_patient)
    clean, cuts = np.zeros((1, n)), np.full((1, n), 0.5)
    patients = np.repeat(np.arange(400), per_patient).astype(str)
    each, _ = label_stability(clean, flips[None] * 1.0, np.ones((1, n)), cuts, patients, resamples=2000)
    found = each[0].flip_rate
    assert found.value == pytest.approx(0.3)
    # Records that repeat each other make no interval narrower.
    half = 1.96 * math.sqrt(0.3 * 0.7 / 400)
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.006)


def test_a_score_at_the_cut_is_not_called_positive():
    for clean, perturbed, flips in ((0.5, 0.6, 1.0), (0.6, 0.5, 1.0), (0.5, 0.4, 0.0), (0.4, 0.5, 0.0)):
        (each,), _ = label_stability([[clean]], [[perturbed]], [[1]], [[0.5]], ["a"])
        assert each.flip_rate.value == flips


def test_without_a_known_record_there_is_no_flip_rate():
    unknown = np.full((1, 3), np.nan)
    each, whole = label_stability(np.zeros((1, 3)), np.ones((1, 3)), unknown, np.zeros((1, 3)), ["a", "b", "c"])
    assert each[0].flip_rate is UNDEFINED and whole.flip_rate is UNDEFINED
    assert (each[0].positives, each[0].negatives) == (0, 0)
