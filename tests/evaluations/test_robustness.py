"""Robustness Index, and how well cohorts are told apart."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from pytest_ecgfm.evaluations import robustness, separability
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


def by_hand(rows, targets, homes):
    """SO / (SO + OS) of one pair of cohorts, record by record."""
    z = StandardScaler().fit_transform(rows)
    same_label_only = same_cohort_only = 0
    for i in range(len(rows)):
        others = np.delete(np.arange(len(rows)), i)
        near = others[np.argsort(np.linalg.norm(z[others] - z[i], axis=1))][:10]
        same_label_only += np.sum((targets[near] == targets[i]) & (homes[near] != homes[i]))
        same_cohort_only += np.sum((targets[near] != targets[i]) & (homes[near] == homes[i]))
    return same_label_only / (same_label_only + same_cohort_only)


def test_robustness_is_the_mean_over_pairs_of_the_definition_where_all_records_are_in_the_sample():
    rng = np.random.default_rng(17)
    homes, targets = np.repeat(["a", "b", "c"], 40), np.tile(np.arange(40) < 20, 3)
    rows = rng.normal(size=(120, 3)) + targets[:, None] + 1.5 * (homes == "b")[:, None]
    who = np.arange(120).astype(str)
    pairs = [by_hand(rows[use], targets[use], homes[use]) for use in (homes != one for one in "abc")]
    found = robustness_index(rows, targets, homes, who)
    assert found.value == pytest.approx(np.mean(pairs), abs=1e-12)
    assert found.low < found.value < found.high
    assert robustness_index(rows, targets, homes, who) == found
    assert robustness_index(rows * 5 + 3, targets, homes, who).value == pytest.approx(found.value, abs=1e-9)
    renamed = robustness_index(rows, ~targets, np.where(homes == "a", "z", homes), who)
    assert renamed.value == pytest.approx(found.value, abs=1e-12)
    # Names of patients that two cohorts share are two patients.
    assert robustness_index(rows, targets, homes, np.tile(np.arange(40), 3)).value == pytest.approx(found.value)


def test_robustness_samples_as_many_of_each_class_and_cohort():
    # Without balance, the common class and the large cohort would decide.
    rng = np.random.default_rng(18)
    homes = np.repeat(["a", "b"], [900, 100])
    targets = rng.random(1000) < np.where(homes == "a", 0.1, 0.5)
    found = robustness_index(rng.normal(size=(1000, 4)), targets, homes, np.arange(1000), most=50)
    assert found.value == pytest.approx(0.5, abs=0.1)
    cells = robustness._cells(targets, np.arange(1000), homes == "b")
    samples = list(robustness._samples(rng.normal(size=(1000, 4)), [*cells, *cells[::-1]], 30, [0]))
    assert len(samples) == 10
    for sample in samples:
        assert sample.near.shape == (120, 10) and (homes[sample.rows] == "b").all()
        assert np.bincount(targets[sample.rows]).tolist() == [60, 60]


@pytest.mark.parametrize("cohorts", [2, 3, 4, 7])
@pytest.mark.parametrize(("size", "share"), [(100, 0.2), (300, 0.02), (60, 0.5), (10, 0.5)])
def test_noise_reads_one_half_for_any_number_of_cohorts_size_and_prevalence(cohorts, size, share):
    values, errors, passed = [], [], 0
    for seed in range(6):
        rng = np.random.default_rng([cohorts, size, round(100 * share), seed])
        homes = np.repeat([f"c{i}" for i in range(cohorts)], size)
        targets = np.concatenate([rng.permutation(size) < max(5, share * size) for _ in range(cohorts)])
        rows = rng.normal(size=(homes.size, rng.choice([2, 16, 64])))
        found = robustness_index(rows, targets, homes, np.arange(homes.size))
        values.append(found.value)
        errors.append((found.high - found.low) / 3.92)
        passed += found.low >= 0.5
    assert abs(np.mean(values) - 0.5) < 4 * np.mean(errors) / math.sqrt(6)
    assert passed <= tolerated(6, 0.025)


@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 4), st.floats(0.0, 3.0), st.sampled_from([2, 8, 64]))
@settings(deadline=None, max_examples=25)
def test_noise_of_patients_who_repeat_reads_one_half_within_the_interval(seed, cohorts, repeats, likeness, dimensions):
    rng = np.random.default_rng(seed)
    size = 30 * repeats
    homes = np.repeat([f"c{i}" for i in range(cohorts)], size)
    who = np.arange(homes.size) // repeats
    # Records of a patient are alike, and some patients have records of both classes.
    rows = rng.normal(size=(homes.size, dimensions)) + likeness * rng.normal(size=(who.max() + 1, dimensions))[who]
    targets = rng.random(homes.size) < 0.4
    found = robustness_index(rows, targets, homes, who)
    half = (found.high - found.low) / 2
    assert abs(found.value - 0.5) < 2 * half
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_patients_are_in_a_sample_once_and_count_for_the_rarer_class():
    people = np.array([0, 0, 0, 1, 1, 2, 3, 4])
    labels = np.array([True, False, True, False, False, True, False, False])
    negatives, positives = robustness._cells(labels, people, np.ones(8, bool))
    assert [one.tolist() for one in positives] == [[0, 2], [5]]
    assert [one.tolist() for one in negatives] == [[3, 4], [6], [7]]
    mixed = robustness._cells(np.arange(12) % 2 == 0, np.arange(12) // 2, np.ones(12, bool))
    assert [len(side) for side in mixed] == [3, 3]
    rng = np.random.default_rng(3)
    who = np.repeat(np.arange(40), 5)
    homes, labels = np.where(who < 20, "a", "b"), rng.random(200) < 0.3
    cells = [cell for home in "ab" for cell in robustness._cells(labels, who, homes == home)]
    for sample in robustness._samples(rng.normal(size=(200, 2)), cells, 200, [1]):
        assert np.unique(who[sample.rows]).size == sample.rows.size


def test_the_null_is_low_where_cohorts_separate_and_one_half_where_they_do_not():
    plain, coded = robustness_index(*encoding(41, 0.0, 0.0)), robustness_index(*encoding(42, 3.0, 3.0))
    assert plain.null_mean == pytest.approx(0.5, abs=0.05) and coded.null_mean < 0.2
    assert abs(plain.value - plain.null_mean) < 4 * plain.null_sd
    assert coded.value > coded.null_mean + 4 * coded.null_sd


def test_a_pair_with_a_small_cohort_is_left_out():
    rows, targets, homes, who = encoding(43, 1.0, 1.0)
    small = np.full(20, "c")
    found = robustness_index(
        np.concatenate([rows, 9 + rows[:20]]),
        np.concatenate([targets, np.arange(20) < 4]),
        np.concatenate([homes, small]),
        np.concatenate([who, [f"c{i}" for i in range(20)]]),
    )
    assert found.value == pytest.approx(robustness_index(rows, targets, homes, who).value, abs=1e-12)


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
