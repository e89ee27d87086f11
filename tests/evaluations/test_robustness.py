"""Robustness Index, and how well cohorts are told apart."""

import math

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from pytest_ecgfm.evaluations import separability
from pytest_ecgfm.evaluations.separability import (
    cohort_auroc,
    robustness_index,
)
from tests.evaluations.separability_data import tolerated

pytestmark = pytest.mark.usefixtures("one_thread")


def encoding(seed, label, cohort, n=400, d=6):
    """Records of two cohorts, moved by their label on half the dimensions, by their cohort on the others."""
    rng = np.random.default_rng(seed)
    homes = np.where(np.arange(n) < n // 2, "a", "b")
    targets = rng.random(n) < 0.4
    rows = rng.normal(size=(n, d))
    rows[:, ::2] += label * targets[:, None]
    rows[:, 1::2] += cohort * (homes == "b")[:, None]
    return rows, targets, homes, np.arange(n).astype(str)


def test_robustness_is_whole_for_labels_none_for_cohorts_and_half_for_neither():
    label, cohort = robustness_index(*encoding(12, 40.0, 0.0)), robustness_index(*encoding(13, 0.0, 40.0))
    assert label.value > 0.99 and label.low > 0.98
    assert cohort.value < 0.01 and cohort.high < 0.02
    for strength in (0.0, 2.0):
        neither = robustness_index(*encoding(14, strength, strength))
        assert neither.value == pytest.approx(0.5, abs=0.07)
        assert neither.low < 0.5 < neither.high or abs(neither.value - 0.5) < 0.03
    assert robustness_index(*encoding(15, 3.0, 1.0)).low > 0.5 > robustness_index(*encoding(15, 1.0, 3.0)).high


def test_robustness_grows_with_the_label_and_falls_with_the_cohort():
    values = [robustness_index(*encoding(16, *pair)).value for pair in ((1, 4), (2, 3), (3, 2), (4, 1))]
    assert (np.diff(values) > 0).all()


def test_robustness_equals_the_definition_where_all_records_are_in_the_sample():
    rng = np.random.default_rng(17)
    homes, targets = np.repeat(["a", "b", "c"], 40), np.tile(np.arange(40) < 20, 3)
    rows = rng.normal(size=(120, 3)) + targets[:, None] + 1.5 * (homes == "b")[:, None]
    who = np.array([f"p{i // 2}" for i in range(120)])
    z = StandardScaler().fit_transform(rows)
    wanted = unwanted = 0
    for i in range(120):
        strange = np.flatnonzero(who != who[i])
        near = strange[np.argsort(np.linalg.norm(z[strange] - z[i], axis=1))][:10]
        wanted += np.sum((targets[near] == targets[i]) & (homes[near] != homes[i]))
        unwanted += np.sum((targets[near] != targets[i]) & (homes[near] == homes[i]))
    found = robustness_index(rows, targets, homes, who)
    assert found.value == pytest.approx(wanted / (wanted + unwanted), abs=1e-12)
    assert found.low < found.value < found.high
    assert robustness_index(rows, targets, homes, who) == found
    assert robustness_index(rows * 5 + 3, targets, homes, who).value == pytest.approx(found.value, abs=1e-9)
    renamed = robustness_index(rows, ~targets, np.where(homes == "a", "z", homes), who)
    assert renamed.value == pytest.approx(found.value, abs=1e-12)


def test_robustness_samples_as_many_of_each_class_and_cohort():
    # Without balance, the common class and the large cohort would decide.
    rng = np.random.default_rng(18)
    homes = np.repeat(["a", "b"], [900, 100])
    targets = rng.random(1000) < np.where(homes == "a", 0.1, 0.5)
    found = robustness_index(rng.normal(size=(1000, 4)), targets, homes, np.arange(1000), most=50)
    assert found.value == pytest.approx(0.5, abs=0.1)
    rows, targets, homes, who = encoding(18, 1.0, 1.0)
    few, many = (robustness_index(rows, targets, homes, who, most=most) for most in (10, 60))
    assert few.high - few.low > 1.5 * (many.high - many.low)


@pytest.mark.parametrize("case", ["one cohort", "few positives", "no negatives"])
def test_robustness_is_undefined_without_enough_of_each(case):
    rows, targets, homes, who = encoding(19, 1.0, 1.0, n=80)
    if case == "one cohort":
        homes = np.repeat("a", 80)
    elif case == "few positives":
        targets = np.isin(np.arange(80), [0, 1, 2, 3, *range(50, 60)])
    else:
        targets = targets | (homes == "b")
    assert all(math.isnan(value) for value in robustness_index(rows, targets, homes, who))


def test_cohorts_are_told_apart_where_the_embedding_knows_them_alone():
    noise = [cohort_auroc(*(encoding(seed, 3.0, 0.0)[i] for i in (0, 2, 3))) for seed in range(20, 25)]
    assert np.mean([one.value for one in noise]) == pytest.approx(0.5, abs=0.06)
    assert sum(not one.low <= 0.5 <= one.high for one in noise) <= tolerated(5, 0.05)
    known = cohort_auroc(*(encoding(25, 0.0, 12.0)[i] for i in (0, 2, 3)))
    assert known.value > 0.999 and known.low > 0.97
    some = cohort_auroc(*(encoding(26, 0.0, 1.0)[i] for i in (0, 2, 3)))
    assert some.value == pytest.approx(0.89, abs=0.05)  # Phi(sqrt(3) / sqrt(2))
    assert some.low < some.value < some.high


def test_cohort_auroc_is_the_mean_over_pairs():
    rng = np.random.default_rng(27)
    homes = np.repeat(["a", "b", "c"], 150)
    rows = rng.normal(size=(450, 4))
    rows[homes == "c", 0] += 12.0
    found = cohort_auroc(rows, homes, np.arange(450))
    assert found.value == pytest.approx((0.5 + 1 + 1) / 3, abs=0.04)
    assert cohort_auroc(rows, homes, np.arange(450)) == found
    # Patients of different cohorts are different even where their names agree.
    assert cohort_auroc(rows, homes, np.tile(np.arange(150), 3)).value == pytest.approx(found.value, abs=0.06)


def test_cohort_auroc_does_not_recognise_patients():
    # Each patient has a place of its own and ten records: only what cohorts share counts.
    rng = np.random.default_rng(28)
    who = np.repeat(np.arange(60), 10)
    rows = 5 * rng.normal(size=(60, 20))[who] + 0.1 * rng.normal(size=(600, 20))
    homes = np.where(who % 2 == 0, "a", "b")
    assert cohort_auroc(rows, homes, who).low < 0.5
    assert cohort_auroc(rows, homes, np.arange(600)).low > 0.65


def test_cohort_auroc_is_undefined_for_one_cohort_or_small_ones():
    rng = np.random.default_rng(29)
    rows = rng.normal(size=(60, 3))
    for homes in (np.repeat("a", 60), np.repeat(["a", "b"], [51, 9])):
        assert all(math.isnan(value) for value in cohort_auroc(rows, homes, np.arange(60)))
    # A pair that is too small is left out of the mean.
    homes = np.repeat(["a", "b", "c"], [30, 25, 5])
    pair = cohort_auroc(rows, homes, np.arange(60))
    assert math.isfinite(pair.value)


def test_robustness_is_undefined_where_all_neighbours_are_alike_in_both_ways():
    rows, targets, homes, who = encoding(31, 300.0, 300.0)
    assert all(math.isnan(value) for value in robustness_index(rows, targets, homes, who))


def test_five_records_of_each_class_and_cohort_are_enough_for_robustness():
    rng = np.random.default_rng(32)
    homes, targets = np.repeat(["a", "b"], 10), np.tile(np.arange(10) < 5, 2)
    rows, who = rng.normal(size=(20, 3)), np.arange(20)
    assert math.isfinite(robustness_index(rows, targets, homes, who).value)
    assert math.isnan(robustness_index(rows[1:], targets[1:], homes[1:], who[1:]).value)


def test_ten_records_of_five_patients_are_enough_to_tell_cohorts_apart():
    rng = np.random.default_rng(33)
    rows, homes, who = rng.normal(size=(20, 2)), np.repeat(["a", "b"], 10), np.arange(20) // 2
    assert math.isfinite(cohort_auroc(rows, homes, who).value)
    assert math.isnan(cohort_auroc(rows[1:], homes[1:], who[1:]).value)
    four = np.where(who == 4, 3, who)
    assert math.isnan(cohort_auroc(rows, homes, four).value)


def test_scores_of_cohorts_are_ranks_within_folds_by_probes_that_saw_neither_fold(monkeypatch):
    rng = np.random.default_rng(34)
    rows, targets, who = rng.normal(size=(103, 3)), np.arange(103) % 2 == 0, np.arange(103)
    seen, fit = [], separability.fit_probe

    def looked_at(kind, train, labels, patients, held, held_labels):
        seen.append((set(patients.tolist()), held))
        return fit(kind, train, labels, patients, held, held_labels)

    monkeypatch.setattr(separability, "fit_probe", looked_at)
    scores = separability._cross_validated(rows, targets, who, 5)
    folds = separability.patient_folds(targets, who, 5, 5)
    assert len(seen) == 5
    for fold, (train, held) in enumerate(seen):
        size = (folds == fold).sum()
        np.testing.assert_allclose(np.sort(scores[folds == fold]), (np.arange(size) + 0.5) / size)
        validation = (fold + 1) % 5
        np.testing.assert_array_equal(held, rows[folds == validation])
        assert train == set(np.flatnonzero((folds != fold) & (folds != validation)).tolist())
