"""Thresholds from training patients, and sensitivity and the like: by hand, scikit-learn and a bootstrap."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.fold_probes import fold_probes
from pytest_ecgfm.evaluations.operating import (
    SHARES,
    calls_abroad,
    calls_at_home,
    chosen_threshold,
    operating_point,
    out_of_fold,
    threshold_of,
)
from pytest_ecgfm.evaluations.probes import fit_probe
from pytest_ecgfm.evaluations.splits import make_split, patient_folds
from pytest_ecgfm.evaluations.statistics.shares import share

RECORDS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({truth for _, truth in pairs}) == 2
)


def cohort_of(rng, n=1200, repeats=1, moved=0.0):
    """Embeddings of eight dimensions, one of which tells the label of a patient."""
    patients = np.repeat(np.arange(n // repeats), repeats)
    targets = (rng.random(n // repeats) < 0.25)[patients]
    embeddings = rng.normal(size=(n, 8))
    embeddings[:, 0] += 1.5 * targets + moved
    return embeddings.astype(np.float32), targets, patients.astype(str)


@settings(deadline=None)
@given(RECORDS, st.floats(0.01, 0.99))
def test_a_threshold_reaches_what_is_asked_and_no_other_does_it_better(pairs, at):
    scores, targets = (np.array(side) for side in zip(*pairs, strict=True))
    found = chosen_threshold(scores, targets, "sensitivity", at)
    called = scores >= found.threshold
    assert found.sensitivity == called[targets].mean() >= at - 1e-12
    assert found.specificity == pytest.approx((~called)[~targets].mean())
    above = scores[scores > found.threshold]
    if above.size:
        assert (scores >= above.min())[targets].mean() < at
    other = chosen_threshold(scores, targets, "specificity", at)
    assert other.specificity == pytest.approx((scores < other.threshold)[~targets].mean()) and (
        other.specificity >= at - 1e-12
    )
    below = scores[scores < other.threshold]
    if below.size:
        assert (scores < below.max())[~targets].mean() < at
    best = chosen_threshold(scores, targets, "youden")
    cuts = [math.inf, *sorted(scores, reverse=True)]
    index = [(scores >= cut)[targets].mean() + (scores < cut)[~targets].mean() for cut in cuts]
    assert best.sensitivity + best.specificity == pytest.approx(max(index))


@settings(deadline=None)
@given(RECORDS, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_threshold_follows_what_is_asked_and_not_the_order_of_records(pairs, first, second):
    low, high = sorted((first, second))
    thresholds = {}
    for by in ("sensitivity", "specificity"):
        thresholds[by] = [chosen_threshold(*zip(*pairs, strict=True), by, at).threshold for at in (low, high)]
    assert thresholds["sensitivity"][0] >= thresholds["sensitivity"][1]
    assert thresholds["specificity"][0] <= thresholds["specificity"][1]
    pairs.sort()
    for by, (asked, _) in thresholds.items():
        assert chosen_threshold(*zip(*pairs, strict=True), by, low).threshold == asked


def test_what_is_no_threshold_is_an_error():
    for scores, targets, by, at, words in (
        ([0.1, 0.2], [True], "youden", None, "shape"),
        ([0.1, 0.2], [True, True], "youden", None, "both classes"),
        ([0.1, math.nan], [True, False], "youden", None, "finite"),
        ([0.1, 0.2], [True, False], "sensitivity", 1.0, "between 0 and 1"),
        ([0.1, 0.2], [True, False], "specificity", None, "between 0 and 1"),
    ):
        with pytest.raises(EcgfmError, match=words):
            chosen_threshold(scores, targets, by, at)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_shares_are_those_of_scikit_learns_table(pairs):
    called, targets = (np.array(side) for side in zip(*pairs, strict=True))
    found = operating_point(called, targets)
    (tn, fp), (fn, tp) = confusion_matrix(targets, called, labels=[False, True])
    for name, hits, total in (
        ("sensitivity", tp, tp + fn),
        ("specificity", tn, tn + fp),
        ("ppv", tp, tp + fp),
        ("npv", tn, tn + fn),
    ):
        value, low, high = found[name]
        assert value == pytest.approx(hits / total if total else math.nan, nan_ok=True)
        assert math.isnan(value) or 0 <= low <= value <= high <= 1
    assert tuple(found) == SHARES


def test_the_interval_is_wilsons_where_each_patient_has_one_record():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for hits, records in ((0, 10), (9, 10), (45, 50), (50, 50)):
        found = share(np.arange(records) < hits)
        expected = proportion.proportion_confint(hits, records, method="wilson")
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-4)


def test_the_interval_is_that_of_an_independent_bootstrap_of_patients(rng):
    sizes = rng.integers(1, 6, 300)
    patients = np.repeat(np.arange(300), sizes)
    hits = (rng.random(300) < 0.8)[patients] ^ (rng.random(patients.size) < 0.05)
    found = share(hits, patients)
    rows = [np.flatnonzero(patients == one) for one in range(300)]
    draws = [hits[np.concatenate([rows[one] for one in rng.integers(0, 300, 300)])].mean() for _ in range(1000)]
    assert found.high - found.low == pytest.approx(3.92 * np.std(draws), rel=0.12)
    assert found.high - found.low > 1.3 * (share(hits).high - share(hits).low)


def test_records_that_agree_within_patients_count_as_patients():
    hits = np.repeat([True, True, True, False, True, True, False, True, True, True], 5)
    patients = np.repeat(np.arange(10), 5)
    alone = share(hits[::5])
    clustered = share(hits, patients)
    assert clustered.value == alone.value
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high), abs=1e-9)
    # Nothing varies where all are hits: as few as the patients are.
    assert share(np.ones(50, bool), patients).low == pytest.approx(share(np.ones(10, bool)).low)
    assert math.isnan(share([]).value)
    with pytest.raises(EcgfmError, match="should be"):
        share([True], [1, 2])


def test_out_of_fold_scores_are_scikit_learns(rng):
    rows, targets, patients = cohort_of(rng, 400, repeats=2)
    probe = fit_probe("logistic", rows, targets, patients, rows[:0], [])
    scores = out_of_fold(probe, rows, targets, patients)
    part = patient_folds(targets, patients, 5, 0)
    for fold in range(5):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=probe.C, tol=1e-10, max_iter=10_000))
        model.fit(rows[part != fold].astype(float), targets[part != fold])
        assert scores[part == fold] == pytest.approx(
            model.decision_function(rows[part == fold].astype(float)), abs=1e-4
        )
    assert out_of_fold(probe, rows[:4], np.array([True, True, False, False]), ["a", "a", "b", "c"]) is None


@pytest.mark.parametrize("kind", ["logistic", "knn"])
def test_a_threshold_of_training_patients_holds_at_home_where_their_own_scores_would_not(rng, kind):
    rows, targets, patients = cohort_of(rng, 600)
    rows = np.c_[rows, rng.normal(size=(600, 120))].astype(np.float32)
    split = make_split(targets, patients, minimum_test_positives=1000)
    probes = fold_probes(rows, targets, patients, split, kind=kind)
    calls = calls_at_home(probes, rows, targets, patients, "sensitivity", 0.9)
    assert len(calls.chosen) == 5 and calls.targets.size == 600
    assert abs(calls.shares["sensitivity"].value - 0.9) < 0.08
    naive = []
    for one in probes:
        own = one.probe.scores(rows[one.train_rows])
        cut = chosen_threshold(own, targets[one.train_rows], "sensitivity", 0.9).threshold
        naive.append((one.probe.scores(rows[one.test_rows]) >= cut)[targets[one.test_rows]])
    assert np.concatenate(naive).mean() < calls.shares["sensitivity"].value
    values = calls.values()
    assert 0 <= values["threshold"] <= 1 and values["training_sensitivity"] >= 0.9
    assert values["n_test_positive"] == targets.sum()


def test_nothing_of_the_tested_records_reaches_the_threshold(rng):
    rows, targets, patients = cohort_of(rng, 800)
    split = make_split(targets, patients, minimum_test_positives=1)
    probes = fold_probes(rows, targets, patients, split)
    one = calls_at_home(probes, rows, targets, patients, "youden", None)
    other_rows, other_targets = rows.copy(), targets.copy()
    tested = split.folds[0].test
    other_rows[tested] += 5
    other_targets[tested] = ~targets[tested]
    other = calls_at_home(probes, other_rows, other_targets, patients, "youden", None)
    assert one.chosen == other.chosen
    assert one.shares != other.shares


def test_a_threshold_is_carried_to_another_cohort(rng):
    rows, targets, patients = cohort_of(rng, 2000)
    probe = fit_probe("logistic", rows, targets, patients, rows[:0], [])
    chosen = threshold_of(probe, rows, targets, patients, "sensitivity", 0.9)
    same = calls_abroad(probe, chosen, *cohort_of(rng, 2000))
    moved = calls_abroad(probe, chosen, *cohort_of(rng, 2000, moved=-1.0))
    assert abs(same.shares["sensitivity"].value - 0.9) < 0.05
    assert moved.shares["sensitivity"].high < 0.8
    assert moved.calibration().intercept.low > 0.5
    assert same.chosen == moved.chosen and math.isclose(same.calibration().slope.value, 1, abs_tol=0.2)
