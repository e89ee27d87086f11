import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cohorts.base import PublishedSplit
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.splits import Labelled, make_split, nested_subset, patient_folds

PTB_XL = PublishedSplit(train=(1, 2, 3, 4, 5, 6, 7, 8), validation=(9,), test=(10,))


def sample(seed, n, positives, per_patient):
    rng = np.random.default_rng(seed)
    targets = np.zeros(n, bool)
    targets[rng.choice(n, positives, replace=False)] = True
    patients = np.array([f"p{i}" for i in rng.integers(0, max(n // per_patient, 1), n)])
    return targets, patients


cohorts = st.builds(
    lambda seed, n, share, per_patient: sample(seed, n, int(share * n), per_patient),
    st.integers(0, 999),
    st.integers(1, 200),
    st.floats(0, 1),
    st.integers(1, 4),
)


@given(cohorts, st.integers(0, 3), st.sampled_from([0, 5, 50]))
@settings(deadline=None)
def test_no_patient_crosses_and_no_record_is_lost(cohort, seed, minimum):
    targets, patients = cohort
    split = make_split(targets, patients, seed=seed, minimum_test_positives=minimum)
    assert len(split.folds) == (5 if split.kind == "cv" else 1)
    for fold in split.folds:
        parts = [set(patients[rows]) for rows in fold]
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
        assert sorted(np.concatenate(fold).tolist()) == list(range(len(targets)))


@given(cohorts)
@settings(deadline=None)
def test_cross_validation_tests_each_record_once(cohort):
    targets, patients = cohort
    split = make_split(targets, patients, minimum_test_positives=10**6)
    assert split.kind == "cv"
    tested = np.concatenate([fold.test for fold in split.folds])
    assert sorted(tested.tolist()) == list(range(len(targets)))
    for i, fold in enumerate(split.folds):
        np.testing.assert_array_equal(fold.validation, split.folds[(i + 1) % 5].test)


@given(cohorts, st.integers(2, 10))
@settings(deadline=None)
def test_folds_share_out_patients_of_each_stratum(cohort, parts):
    targets, patients = cohort
    part = patient_folds(targets, patients, parts)
    table = pd.DataFrame({"patient": patients, "target": targets, "part": part})
    by_patient = table.groupby("patient").agg({"target": "any", "part": ["min", "max"]})
    assert (by_patient[("part", "min")] == by_patient[("part", "max")]).all()
    for positive, most in ((True, 1), (False, 2)):
        rows = by_patient[by_patient[("target", "any")] == positive]
        counts = np.bincount(rows[("part", "min")], minlength=parts)
        assert counts.max() - counts.min() <= most


def test_holdout_is_70_10_20_and_stratified():
    targets, _ = sample(0, 4000, 800, 1)
    split = make_split(targets, np.arange(4000).astype(str))
    assert split.kind == "holdout"
    assert [rows.size for rows in split.folds[0]] == [2800, 400, 800]
    assert [int(targets[rows].sum()) for rows in split.folds[0]] == [560, 80, 160]
    grouped = make_split(*sample(0, 4000, 800, 2)).folds[0]
    sizes = np.array([rows.size for rows in grouped]) / 4000
    np.testing.assert_allclose(sizes, [0.7, 0.1, 0.2], atol=0.01)


def test_published_folds_are_used_as_they_are():
    targets, _ = sample(1, 2000, 600, 1)
    folds = np.arange(2000) % 10 + 1
    split = make_split(targets, np.arange(2000), folds, PTB_XL)
    assert split.kind == "published"
    np.testing.assert_array_equal(split.folds[0].test, np.flatnonzero(folds == 10))
    np.testing.assert_array_equal(split.folds[0].validation, np.flatnonzero(folds == 9))
    np.testing.assert_array_equal(split.folds[0].train, np.flatnonzero(folds <= 8))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_records_without_a_published_fold_are_left_out(missing):
    targets, _ = sample(1, 2000, 600, 1)
    folds = [missing, *(np.arange(1, 2000) % 10 + 1).tolist()]
    split = make_split(targets, np.arange(2000), np.array(folds, dtype=object), PTB_XL)
    assert split.kind == "published"
    assert 0 not in np.concatenate(split.folds[0])


def test_few_test_positives_mean_cross_validation():
    targets, _ = sample(1, 1000, 240, 1)
    folds = np.arange(1000) % 10 + 1
    assert make_split(targets, np.arange(1000), folds, PTB_XL).kind == "cv"
    assert make_split(targets, np.arange(1000)).kind == "cv"  # 48 of 240
    more = np.arange(1000) < 260
    assert make_split(more, np.arange(1000)).kind == "holdout"


def test_published_folds_without_a_test_part_are_not_used():
    targets, _ = sample(1, 2000, 600, 1)
    assert make_split(targets, np.arange(2000), np.arange(2000) % 9 + 1, PTB_XL).kind == "holdout"
    assert make_split(targets, np.arange(2000), None, PTB_XL).kind == "holdout"


def test_published_folds_that_divide_a_patient_are_refused():
    targets, _ = sample(1, 2000, 600, 1)
    with pytest.raises(EcgfmError, match="one patient into two parts"):
        make_split(targets, np.arange(2000) // 2, np.arange(2000) % 10 + 1, PTB_XL)


def test_bad_arguments_are_refused():
    with pytest.raises(EcgfmError, match=r"patients\.shape"):
        make_split([True, False], ["a"])
    with pytest.raises(EcgfmError, match=r"published_folds\.shape"):
        make_split([True, False], ["a", "b"], [1], PTB_XL)
    with pytest.raises(EcgfmError, match="at least 3"):
        make_split([True, False], ["a", "b"], folds=2)
    with pytest.raises(EcgfmError, match=r"fraction=0"):
        nested_subset([0], [True], ["a"], 0)


@pytest.mark.parametrize("positives", [0, 1, 2, 4])
def test_very_few_positives_are_spread(positives):
    targets, _ = sample(3, 100, positives, 1)
    split = make_split(targets, np.arange(100).astype(str))
    assert split.kind == "cv"
    assert sorted(int(targets[fold.test].sum()) for fold in split.folds) == [0] * (5 - positives) + [1] * positives


def test_splits_depend_on_the_seed_and_not_on_the_order():
    targets, patients = sample(4, 500, 100, 2)
    part = patient_folds(targets, patients, 5, seed=1)
    np.testing.assert_array_equal(part, patient_folds(targets, patients, 5, seed=1))
    assert (part != patient_folds(targets, patients, 5, seed=2)).any()
    order = np.random.default_rng(0).permutation(500)
    np.testing.assert_array_equal(part[order], patient_folds(targets[order], patients[order], 5, seed=1))


@given(cohorts, st.integers(0, 5), st.floats(0.01, 1), st.floats(0.01, 1))
@settings(deadline=None)
def test_subsets_are_nested_by_patient_and_hold_both_strata(cohort, seed, one, other):
    targets, patients = cohort
    train = np.flatnonzero(np.arange(len(targets)) % 3 > 0)
    small, large = (nested_subset(train, targets, patients, f, seed) for f in sorted((one, other)))
    assert set(small) <= set(large) <= set(train)
    names = set(patients[small])
    assert set(small) == {row for row in train if patients[row] in names}
    assert targets[small].any() == targets[train].any()
    np.testing.assert_array_equal(nested_subset(train, targets, patients, 1.0, seed), train)


def test_subsets_keep_the_share_of_positives_and_vary_with_the_seed():
    targets = np.arange(1000) < 200
    names = np.arange(1000).astype(str)
    for fraction, positives, total in ((0.01, 2, 10), (0.07, 14, 70), (0.25, 50, 250)):
        rows = nested_subset(np.arange(1000), targets, names, fraction)
        assert (targets[rows].sum(), rows.size) == (positives, total)
    first, second = (nested_subset(np.arange(1000), targets, names, 0.1, seed) for seed in (0, 1))
    assert set(first) != set(second)


def test_records_with_a_known_label_are_copied_only_where_some_are_left_out():
    held, known = np.arange(12.0).reshape(4, 3), np.array([True, False, True, True])
    some, every = (Labelled(one, one[one], np.arange(one.sum()).astype(str), None) for one in (known, known | True))
    np.testing.assert_array_equal(some.of(held), held[[0, 2, 3]])
    assert every.of(held) is held
