import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.downstream import evaluate
from pytest_ecgfm.evaluations.fold_probes import (
    fit_fold,
    fold_probes,
    operating_threshold,
    prepared,
    score_scale,
)
from pytest_ecgfm.evaluations.probes import Probe
from pytest_ecgfm.evaluations.splits import Fold, Split, make_split, nested_subset


def planted(seed=0, n=300, d=8, share=0.2, per_patient=2, strength=1.5):
    rng = np.random.default_rng(seed)
    patients = rng.permutation(np.array([f"p{i // per_patient}" for i in range(n)]))
    targets = rng.random(n) < share
    direction = rng.normal(size=d)
    direction *= strength / np.linalg.norm(direction)
    embeddings = rng.normal(size=(n, d)) + 5 + targets[:, None] * direction
    return embeddings.astype(np.float32), targets, patients


def identity():
    """A probe whose score is the one dimension of the embedding."""
    return Probe("logistic", np.zeros(1), np.ones(1), 1.0, np.ones(1), 0.0)


def column(values):
    return np.asarray(values, dtype=float)[:, None]


def splits(targets, patients):
    holdout = make_split(targets, patients, minimum_test_positives=1)
    cv = make_split(targets, patients, minimum_test_positives=10**6)
    assert (holdout.kind, cv.kind) == ("holdout", "cv")
    return {"holdout": holdout, "cv": cv}


@pytest.mark.parametrize("kind", ["logistic", "knn", "mlp"])
@pytest.mark.parametrize("division", ["holdout", "cv"])
def test_scores_are_those_that_evaluate_reports(kind, division):
    embeddings, targets, patients = planted(1, n=200)
    split = splits(targets, patients)[division]
    for fraction, seed in ((0.3, 0), (0.3, 2), (1.0, 0)):
        expected = evaluate(embeddings, targets, patients, split, fraction, (seed,), probe=kind)
        found = fold_probes(embeddings, targets, patients, split, fraction, seed, kind)
        scores, probabilities = np.full((2, 200), np.nan)
        for one in found:
            raw = one.probe.scores(embeddings[one.test_rows])
            scores[one.test_rows] = (rankdata(raw) - 0.5) / raw.size if division == "cv" else raw
            probabilities[one.test_rows] = one.probe.probabilities(embeddings[one.test_rows])
            assert (expected.fold[np.isin(expected.tested, one.test_rows)] == one.fold).all()
        np.testing.assert_array_equal(scores[expected.tested], expected.scores[0])
        np.testing.assert_array_equal(probabilities[expected.tested], expected.probabilities[0])
        assert np.isnan(np.delete(scores, expected.tested)).all()
        assert expected.n_train[0] == np.rint(np.mean([one.train_rows.size for one in found]))


@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.3, 1.0]), st.sampled_from(["holdout", "cv"]))
@settings(deadline=None, max_examples=15)
def test_no_tested_patient_is_trained_on(seed, fraction, division):
    embeddings, targets, patients = planted(seed, n=120, per_patient=3)
    split = splits(targets, patients)[division]
    found = fold_probes(embeddings, targets, patients, split, fraction, seed % 7)
    assert [one.fold for one in found] == list(range(len(split.folds)))
    for one in found:
        fold = split.folds[one.fold]
        assert not set(patients[one.train_rows]) & set(patients[one.test_rows])
        assert not set(patients[one.train_rows]) & set(patients[fold.validation])
        np.testing.assert_array_equal(one.test_rows, fold.test)
        assert set(one.train_rows) <= set(fold.train) and (np.diff(one.train_rows) > 0).all()
        if fraction == 1.0:
            np.testing.assert_array_equal(one.train_rows, fold.train)


def test_a_smaller_share_of_a_seed_lies_inside_a_larger_one_and_seeds_differ():
    embeddings, targets, patients = planted(2)
    split = splits(targets, patients)["cv"]
    rows = {
        (fraction, seed): [one.train_rows for one in fold_probes(embeddings, targets, patients, split, fraction, seed)]
        for fraction in (0.1, 0.5, 1.0)
        for seed in (0, 1)
    }
    for seed in (0, 1):
        for small, middle, large in zip(rows[0.1, seed], rows[0.5, seed], rows[1.0, seed], strict=True):
            assert set(small) < set(middle) < set(large)
    assert all(set(a) != set(b) for a, b in zip(rows[0.1, 0], rows[0.1, 1], strict=True))


def test_tested_rows_and_their_labels_never_influence_a_probe():
    embeddings, targets, patients = planted(3)
    split = splits(targets, patients)["holdout"]
    test = split.folds[0].test
    spoilt, flipped = embeddings.copy(), targets.copy()
    spoilt[test] *= -50
    flipped[test] = ~flipped[test]
    clean, dirty = (
        fold_probes(rows, labels, patients, split)[0].probe
        for rows, labels in ((embeddings, targets), (spoilt, flipped))
    )
    np.testing.assert_array_equal(clean.coefficients, dirty.coefficients)
    assert (clean.C, clean.intercept) == (dirty.C, dirty.intercept)


def test_patients_names_only_need_their_order():
    embeddings, targets, patients = planted(4)
    split = splits(targets, patients)["cv"]
    numbers = np.unique(patients, return_inverse=True)[1] + 100
    for a, b in zip(
        fold_probes(embeddings, targets, patients, split, 0.3),
        fold_probes(embeddings, targets, numbers, split, 0.3),
        strict=True,
    ):
        np.testing.assert_array_equal(a.train_rows, b.train_rows)
        np.testing.assert_array_equal(a.probe.coefficients, b.probe.coefficients)


def test_folds_without_a_training_or_a_test_record_are_left_out():
    embeddings, targets, patients = planted(5, n=60, per_patient=1)
    rows = np.arange(60)
    folds = (
        Fold(rows[:0], rows[:20], rows[20:]),
        Fold(rows[:40], rows[40:50], rows[50:]),
        Fold(rows[:40], rows[40:], rows[:0]),
    )
    found = fold_probes(embeddings, targets, patients, Split("cv", folds))
    assert [one.fold for one in found] == [1]
    np.testing.assert_array_equal(found[0].test_rows, rows[50:])
    probe, used = fit_fold("logistic", prepared(embeddings, targets, patients), folds[0], 1.0, 0)
    assert probe is None and used.size == 0


def test_a_subset_of_one_class_scores_every_record_the_same():
    embeddings, _, patients = planted(6, n=60, per_patient=1)
    rows = np.arange(60)
    split = Split("holdout", (Fold(rows[:40], rows[40:50], rows[50:]),))
    (found,) = fold_probes(embeddings, rows >= 40, patients, split)
    assert math.isnan(found.probe.C)
    assert np.ptp(found.probe.scores(embeddings)) == 0.0
    assert score_scale(found.probe, embeddings[:40]) == (pytest.approx(math.log(1 / 41)), 1.0)


def test_the_scale_of_scores_is_their_mean_and_deviation():
    embeddings, targets, patients = planted(7)
    split = splits(targets, patients)["cv"]
    for one in fold_probes(embeddings, targets, patients, split):
        training = embeddings[one.train_rows].astype(float)
        logits = (training - training.mean(axis=0)) / training.std(axis=0) @ one.probe.coefficients
        mean, sd = score_scale(one.probe, embeddings[one.train_rows])
        # z-scored features have a mean of 0, so that of the logits is the intercept.
        assert mean == pytest.approx(one.probe.intercept, abs=1e-9)
        assert sd == pytest.approx(logits.std(), rel=1e-9)
    assert score_scale(identity(), column([1, 2, 3, 6])) == (3.0, pytest.approx(math.sqrt(14 / 4)))


@pytest.mark.parametrize("value", [0.0, 1e-9, -3.0, 1e9])
def test_the_scale_of_scores_that_are_all_the_same_can_be_divided_by(value):
    assert score_scale(identity(), column([value] * 7)) == (pytest.approx(value), 1.0)
    assert score_scale(identity(), column([value])) == (value, 1.0)
    jitter = value * (1 + np.array([0, 1, -1]) * 1e-15)
    assert score_scale(identity(), column(jitter))[1] == 1.0


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=40, unique=True), st.data())
@settings(deadline=None, max_examples=60)
def test_as_many_records_lie_above_the_threshold_as_are_positive(values, data):
    labels = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    found = operating_threshold(identity(), column(values), labels)
    positives = int(labels.sum())
    assert (np.array(values) > found).sum() == positives
    if 0 < positives < labels.size:
        highest = sorted(values, reverse=True)
        assert found == (highest[positives - 1] + highest[positives]) / 2
        # Which records are positive makes no difference, only how many.
        assert operating_threshold(identity(), column(values), labels[::-1]) == found
    else:
        assert found == (-math.inf if positives else math.inf)


def test_threshold_at_ties_lies_on_them():
    assert operating_threshold(identity(), column([1, 2, 2, 3]), [False, False, True, True]) == 2.0
    assert operating_threshold(identity(), column([1, 2, 2, 3]), [False, False, False, True]) == 2.5


def test_threshold_of_a_fitted_probe_calls_as_many_positive_as_there_are():
    embeddings, targets, patients = planted(8)
    for one in fold_probes(embeddings, targets, patients, splits(targets, patients)["cv"], 0.5):
        rows, labels = embeddings[one.train_rows], targets[one.train_rows]
        threshold = operating_threshold(one.probe, rows, labels)
        called = one.probe.scores(rows) > threshold
        assert called.sum() == labels.sum()
        assert np.mean(called == labels) > 0.7


def test_bad_input_is_refused():
    embeddings, targets, patients = planted(9, n=60)
    split = make_split(targets, patients)
    broken = embeddings.copy()
    broken[[7, 9], 3] = np.nan
    with pytest.raises(EcgfmError, match=r"row 7 is not finite \(2 such rows of 60\)"):
        fold_probes(broken, targets, patients, split)
    with pytest.raises(EcgfmError, match=r"embeddings\.shape=\(59, 8\)"):
        fold_probes(embeddings[1:], targets, patients, split)
    with pytest.raises(EcgfmError, match=r"patients\.shape=\(59,\)"):
        fold_probes(embeddings, targets, patients[1:], split)
    with pytest.raises(EcgfmError, match=r"embeddings\.shape=\(60,\)"):
        fold_probes(embeddings[:, 0], targets, patients, split)
    for fraction in (0.0, 1.5, math.nan):
        with pytest.raises(EcgfmError, match="fraction"):
            fold_probes(embeddings, targets, patients, split, fraction)
    with pytest.raises(EcgfmError, match="logistik"):
        fold_probes(embeddings, targets, patients, split, kind="logistik")
    for function in (score_scale, lambda probe, rows: operating_threshold(probe, rows, [])):
        with pytest.raises(EcgfmError, match="a record at least"):
            function(identity(), np.zeros((0, 1)))
    with pytest.raises(EcgfmError, match=r"targets\.shape=\(2,\)"):
        operating_threshold(identity(), column([1, 2, 3]), [True, False])


def uneven(seed, n=600, d=12):
    """A few dimensions hardly vary, but for some records: what a handful of records shows of them is chance."""
    rng = np.random.default_rng(seed)
    targets = rng.random(n) < 0.3
    rows = rng.normal(size=(n, d)) + 1.2 * targets[:, None] * (np.arange(d) < 3)
    rare = rng.random((n, 4)) < 0.1
    rows[:, -4:] = np.where(rare, rows[:, -4:], 1e-5 * rows[:, -4:])
    return rows, targets, np.arange(n).astype(str)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 1000),
    offset=st.floats(-1e4, 1e4),
    exponent=st.floats(-6, 6),
    by_dimension=st.booleans(),
    fraction=st.sampled_from([0.02, 0.1, 1.0]),
)
def test_offsets_and_scales_of_an_embedding_change_no_auroc(seed, offset, exponent, by_dimension, fraction):
    rows, targets, patients = uneven(seed)
    units = 10 ** (np.random.default_rng(seed).uniform(-6, 6, rows.shape[1]) if by_dimension else exponent)
    split = make_split(targets, patients, seed=seed)
    plain = evaluate(rows.astype(np.float32), targets, patients, split, fraction).estimate.value
    moved = ((rows + offset * rows.std(axis=0)) * units).astype(np.float32)
    assert evaluate(moved, targets, patients, split, fraction).estimate.value == pytest.approx(plain, abs=1e-3)


def test_a_dimension_that_hardly_varies_in_a_small_subset_does_not_run_away(rng):
    targets = rng.random(800) < 0.3
    patients = np.arange(800).astype(str)
    split = make_split(targets, patients)
    embeddings = rng.normal(size=(800, 5)) + 1.5 * targets[:, None] * (np.arange(5) == 0)
    alone = evaluate(embeddings[:, :4].astype(np.float32), targets, patients, split, 0.03, [0])
    (fold,) = split.folds
    seen = nested_subset(fold.train, targets, patients, 0.03, 0)
    # Noise that happens to order these few records, a hundredth of what it is elsewhere.
    embeddings[seen, 4] = 0.01 * (targets[seen] + 0.1 * rng.normal(size=seen.size))
    with_noise = evaluate(embeddings.astype(np.float32), targets, patients, split, 0.03, [0])
    assert with_noise.estimate.value > alone.estimate.value - 0.05
    probe, _ = fit_fold("logistic", prepared(embeddings, targets, patients), fold, 0.03, 0)
    assert probe.scale[4] == pytest.approx(0.3 * embeddings[fold.train, 4].std())
    np.testing.assert_allclose(probe.scale[:4], embeddings[seen, :4].std(axis=0))


def test_the_least_unit_looks_at_training_records_alone(rng):
    embeddings = rng.normal(size=(400, 6)).astype(np.float32)
    targets, patients = rng.random(400) < 0.4, np.arange(400).astype(str)
    fold = make_split(targets, patients).folds[0]
    before, _ = fit_fold("logistic", prepared(embeddings, targets, patients), fold, 0.05, 0)
    embeddings[fold.test] *= 1e3
    after, _ = fit_fold("logistic", prepared(embeddings, targets, patients), fold, 0.05, 0)
    np.testing.assert_array_equal(before.scale, after.scale)
    np.testing.assert_array_equal(before.coefficients, after.coefficients)
