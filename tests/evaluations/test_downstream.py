import dataclasses
import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations import downstream
from pytest_ecgfm.evaluations.downstream import METRICS, evaluate, label_efficiency, paired_difference
from pytest_ecgfm.evaluations.logistic import C_GRID
from pytest_ecgfm.evaluations.splits import Fold, Split, make_split, nested_subset, seeds_for
from pytest_ecgfm.evaluations.statistics import mean_auroc
from tests.evaluations.by_pairs import smoothed


def planted(seed=0, n=1000, d=16, share=0.15, strength=1.5, per_patient=1):
    rng = np.random.default_rng(seed)
    patients = np.array([f"p{i // per_patient}" for i in range(n)])
    targets = rng.random(n) < share
    direction = rng.normal(size=d)
    direction *= strength / np.linalg.norm(direction)
    embeddings = rng.normal(size=(n, d)) + 5 + targets[:, None] * direction
    return embeddings.astype(np.float32), targets, patients


def by_hand(embeddings, targets, rows, fold):
    """The protocol's probe as anyone would write it with scikit-learn."""
    models = []
    for C in C_GRID:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=10_000, tol=1e-8))
        model.fit(embeddings[rows].astype(float), targets[rows])
        held = model.decision_function(embeddings[fold.validation].astype(float))
        models.append((smoothed(targets[fold.validation], held), model))
    return max(models, key=lambda pair: round(pair[0], 10))[1]


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_holdout_equals_scikit_learn_by_hand(fraction):
    embeddings, targets, patients = planted(1, share=0.3)
    split = make_split(targets, patients)
    assert split.kind == "holdout"
    found = evaluate(embeddings, targets, patients, split, fraction)
    fold = split.folds[0]
    test = fold.test
    for i, seed in enumerate(found.seeds):
        rows = nested_subset(fold.train, targets, patients, fraction, seed)
        model = by_hand(embeddings, targets, rows, fold)
        decision = model.decision_function(embeddings[test].astype(float))
        probability = model.predict_proba(embeddings[test].astype(float))[:, 1]
        assert found.auroc[i] == pytest.approx(roc_auc_score(targets[test], decision), abs=0.002)
        assert found.auprc[i] == pytest.approx(average_precision_score(targets[test], decision), abs=0.005)
        assert found.brier[i] == pytest.approx(brier_score_loss(targets[test], probability), abs=1e-3)
        assert found.C[i] == model[-1].C
        assert (found.n_train[i], found.n_train_positive[i]) == (rows.size, targets[rows].sum())
        np.testing.assert_allclose(found.scores[i], decision, atol=1e-3)
    np.testing.assert_array_equal(found.tested, test)
    assert (found.n_test, found.n_test_positive) == (test.size, targets[test].sum())


def test_cross_validation_equals_scikit_learn_by_hand():
    embeddings, targets, patients = planted(2)
    split = make_split(targets, patients)
    assert split.kind == "cv"
    found = evaluate(embeddings, targets, patients, split, 1.0)
    pooled, probabilities, chosen = np.zeros(1000), np.zeros(1000), []
    for fold in split.folds:
        model = by_hand(embeddings, targets, fold.train, fold)
        decision = model.decision_function(embeddings[fold.test].astype(float))
        pooled[fold.test] = (decision.argsort().argsort() + 0.5) / fold.test.size
        probabilities[fold.test] = model.predict_proba(embeddings[fold.test].astype(float))[:, 1]
        chosen.append(model[-1].C)
    assert found.auroc[0] == pytest.approx(roc_auc_score(targets, pooled), abs=0.002)
    assert found.brier[0] == pytest.approx(brier_score_loss(targets, probabilities), abs=1e-3)
    assert found.C[0] == pytest.approx(np.median(chosen))
    assert (found.n_train[0], found.n_test, found.n_test_positive) == (600, 1000, targets.sum())
    np.testing.assert_array_equal(found.tested, np.arange(1000))
    assert found.scores.min() > 0 and found.scores.max() < 1
    for f, fold in enumerate(split.folds):
        assert (found.fold[fold.test] == f).all()


def test_auroc_rises_with_the_fraction_towards_the_planted_one():
    embeddings, targets, patients = planted(3)
    split = make_split(targets, patients)
    found = [evaluate(embeddings, targets, patients, split, f) for f in (0.01, 0.1, 1.0)]
    values = [one.estimate.value for one in found]
    assert values[0] < values[1] < values[2]
    best = 0.8556  # Phi(1.5 / sqrt(2))
    assert found[2].estimate.low < best < found[2].estimate.high + 0.02
    assert [len(one.seeds) for one in found] == [10, 5, 1]
    assert found[0].estimate.sd_seeds > 0
    assert 0 < label_efficiency((0.01, 0.1, 1.0), values) < values[2]


@pytest.mark.parametrize("per_patient", [1, 2])
def test_shuffled_labels_give_chance(per_patient):
    embeddings, targets, patients = planted(4, per_patient=per_patient)
    shuffled = np.random.default_rng(0).permutation(targets)
    found = evaluate(embeddings, shuffled, patients, make_split(shuffled, patients), 0.5)
    assert found.estimate.low < 0.5 < found.estimate.high
    assert found.estimate == mean_auroc(found.scores, shuffled, patients)


def test_tested_rows_never_influence_other_rows():
    embeddings, targets, patients = planted(5, n=300)
    split = make_split(targets, patients)
    before = evaluate(embeddings, targets, patients, split, 0.25, probe="logistic")
    # A published or holdout split: only the tested rows change, so only they may.
    single = Split("holdout", split.folds[:1])
    test = single.folds[0].test
    spoilt = embeddings.copy()
    spoilt[test[:5]] *= -50
    clean = evaluate(embeddings, targets, patients, single, 0.25)
    dirty = evaluate(spoilt, targets, patients, single, 0.25)
    np.testing.assert_array_equal(clean.scores[:, 5:], dirty.scores[:, 5:])
    assert (clean.scores[:, :5] != dirty.scores[:, :5]).all()
    flipped = targets.copy()
    flipped[test] = ~flipped[test]
    np.testing.assert_array_equal(evaluate(embeddings, flipped, patients, single, 0.25).scores, clean.scores)
    # Probabilities of fold 0 in cross-validation come from a probe that never saw fold 0.
    after = evaluate(spoilt, targets, patients, split, 0.25)
    rest = test[5:]
    np.testing.assert_array_equal(before.probabilities[:, rest], after.probabilities[:, rest])


@pytest.mark.parametrize("kind", ["logistic", "knn"])
def test_a_constant_encoder_is_exactly_chance(kind):
    _, targets, patients = planted(6, n=400)
    constant = np.full((400, 8), 0.1, np.float32)
    for split in (make_split(targets, patients), make_split(targets, patients, minimum_test_positives=1)):
        found = evaluate(constant, targets, patients, split, 0.1, probe=kind)
        assert (found.auroc == 0.5).all()
        assert (found.estimate.value, found.estimate.low, found.estimate.high) == (0.5, 0.5, 0.5)


def test_the_same_input_gives_the_same_result():
    embeddings, targets, patients = planted(7, n=300, per_patient=2)
    split = make_split(targets, patients)
    one, two = (evaluate(embeddings, targets, patients, split, 0.1) for _ in range(2))
    for field in dataclasses.fields(one):
        assert np.array_equal(getattr(one, field.name), getattr(two, field.name)), field.name


def test_smaller_subsets_of_a_seed_do_not_depend_on_the_other_seeds():
    embeddings, targets, patients = planted(8, n=300)
    split = make_split(targets, patients)
    several = evaluate(embeddings, targets, patients, split, 0.1, (0, 1, 2))
    alone = evaluate(embeddings, targets, patients, split, 0.1, (1,))
    np.testing.assert_array_equal(several.scores[1], alone.scores[0])
    assert math.isnan(alone.estimate.sd_seeds)


def test_a_fold_without_positives_scores_its_records_alike():
    embeddings, targets, patients = planted(9, n=60)
    targets[:] = False
    targets[:2] = True
    patients[:2] = "p0"
    found = evaluate(embeddings, targets, patients, make_split(targets, patients), 1.0)
    assert found.n_test_positive == 2
    assert not np.isnan(found.scores).any()


def test_nothing_to_learn_from_is_nan_and_not_chance():
    embeddings, targets, patients = planted(10, n=60)
    none = np.zeros(60, bool)
    found = evaluate(embeddings, none, patients, make_split(none, patients), 1.0)
    assert np.isnan(found.auroc).all() and math.isnan(found.estimate.value) and np.isnan(found.auprc).all()
    rows = np.arange(60)
    for taught in (~targets, targets):
        one_class = Split("holdout", (Fold(np.flatnonzero(taught[:30]), rows[:0], rows[30:]),))
        assert np.isnan(evaluate(embeddings, targets, patients, one_class, 1.0).auroc).all()
    empty = Split("holdout", (Fold(rows[:0], rows[:0], rows),))
    assert np.isnan(evaluate(embeddings, targets, patients, empty, 1.0).scores).all()


def test_bad_input_is_refused():
    embeddings, targets, patients = planted(11, n=60)
    split = make_split(targets, patients)
    broken = embeddings.copy()
    broken[7, 3] = np.nan
    with pytest.raises(EcgfmError, match=r"row 7 is not finite \(1 such"):
        evaluate(broken, targets, patients, split, 1.0)
    with pytest.raises(EcgfmError, match=r"embeddings\.shape=\(59, 16\)"):
        evaluate(embeddings[1:], targets, patients, split, 1.0)
    with pytest.raises(EcgfmError, match="no seed"):
        evaluate(embeddings, targets, patients, split, 1.0, ())


def test_paired_difference_needs_the_same_records():
    embeddings, targets, patients = planted(12)
    split = make_split(targets, patients)
    good = evaluate(embeddings, targets, patients, split, 0.25)
    noise = np.random.default_rng(0).normal(size=embeddings.shape).astype(np.float32)
    bad = evaluate(noise, targets, patients, split, 0.25)
    found = paired_difference(good, bad)
    assert found.low > 0.1
    assert found.value == pytest.approx(good.estimate.value - bad.estimate.value)
    itself = paired_difference(good, good)
    assert (itself.value, itself.low, itself.high) == (0.0, 0.0, 0.0)
    fewer = make_split(targets, patients, minimum_test_positives=1)
    with pytest.raises(EcgfmError, match="same tested records"):
        paired_difference(good, evaluate(embeddings, targets, patients, fewer, 0.25))


def test_dataset_describes_every_variable_and_survives_a_file(tmp_path):
    import xarray as xr

    embeddings, targets, patients = planted(13, n=300)
    found = evaluate(embeddings, targets, patients, make_split(targets, patients), 0.25)
    dataset = found.to_dataset()
    assert set(dataset.data_vars) == set(METRICS)
    assert dataset["auroc"].dims == ("seed",)
    assert dataset["n_test"].dims == ()
    np.testing.assert_array_equal(dataset["seed"], [0, 1, 2])
    np.testing.assert_array_equal(dataset["auroc"], found.auroc)
    assert float(dataset["auroc_mean"]) == found.estimate.value
    for variable in dataset.data_vars.values():
        assert {"long_name", "units", "reference"} <= set(variable.attrs)
    assert dataset["brier"].attrs["higher_is_better"] == 0
    dataset.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as back:
        xr.testing.assert_identical(back.load(), dataset)


def test_auroc_as_users_call_it():
    targets = np.arange(100) < 30
    scores = np.random.default_rng(0).normal(size=100) + targets
    found = downstream.auroc(scores, targets)
    assert float(found["auroc"]) == pytest.approx(roc_auc_score(targets, scores))
    assert found["auroc_low"] < found["auroc"] < found["auroc_high"]
    assert (int(found["n_test"]), int(found["n_test_positive"])) == (100, 30)
    clustered = downstream.auroc(scores, targets, np.arange(100) // 5)
    assert float(clustered["auroc"]) == float(found["auroc"])
    assert float(clustered["auroc_low"]) != float(found["auroc_low"])


def test_seeds_by_fraction():
    assert [len(seeds_for(f)) for f in (0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)] == [10, 10, 5, 5, 3, 3, 1]
    assert seeds_for(0.25) == (0, 1, 2)
    assert seeds_for(1.0) == (0,)


def test_label_efficiency_is_the_mean_over_log_fraction():
    assert label_efficiency([1.0, 0.01, 0.1], [0.9, 0.7, 0.8]) == pytest.approx(0.8)
    assert label_efficiency([0.01, 0.1, 1.0], [0.6, 0.8, 0.8]) == pytest.approx((0.7 + 0.8) / 2)
    assert label_efficiency([0.25], [0.6]) == 0.6
    assert label_efficiency([0.25, 1.0], [0.6, 0.8]) == pytest.approx(0.7)
    assert math.isnan(label_efficiency([], []))
    assert math.isnan(label_efficiency([0.1, 1.0], [np.nan, 0.6]))
    with pytest.raises(EcgfmError, match="distinct"):
        label_efficiency([0.1, 0.1], [0.5, 0.6])
    with pytest.raises(EcgfmError, match=r"\(0, 1\]"):
        label_efficiency([0.1, 2.0], [0.5, 0.6])
    with pytest.raises(EcgfmError, match=r"lie in \(0, 1\]"):
        label_efficiency([0.0, 1.0], [0.5, 0.6])


def test_the_middle_of_penalties_is_one_of_the_grid_or_the_geometric_mean_of_two():
    assert downstream.log_median(np.array([10.0, 1e-4, 0.1, np.nan])) == 0.1
    assert downstream.log_median(np.array([1.0, 0.01])) == pytest.approx(0.1)
    assert downstream.log_median(np.array([10.0, 1e-4, 0.1, 1.0])) == pytest.approx(math.sqrt(0.1))
    assert downstream.log_median(np.array([0.01])) == 0.01
    assert math.isnan(downstream.log_median(np.array([np.nan])))
