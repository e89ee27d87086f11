import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations import logistic, probes
from pytest_ecgfm.evaluations.logistic import C_GRID, logistic_path
from pytest_ecgfm.evaluations.operating import out_of_fold
from pytest_ecgfm.evaluations.probes import FALLBACK_C, fit_probe
from pytest_ecgfm.evaluations.splits import patient_folds
from pytest_ecgfm.evaluations.standardise import standardisation
from tests.evaluations.by_pairs import smoothed


def planted(seed, n, d, positives, strength=0.5):
    rng = np.random.default_rng(seed)
    targets = np.arange(n) < positives
    direction = rng.normal(size=d) / math.sqrt(d)
    embeddings = rng.normal(size=(n, d)) + 3 + strength * math.sqrt(d) * targets[:, None] * direction
    return embeddings.astype(np.float32), targets


def reference(features, targets, C):
    return LogisticRegression(C=C, tol=1e-12, max_iter=100_000, solver="newton-cholesky").fit(features, targets)


@pytest.mark.parametrize(("n", "d", "positives"), [(3, 1, 1), (3, 40, 2), (30, 8, 5), (60, 120, 6), (200, 30, 100)])
def test_path_is_scikit_learns_solution(n, d, positives):
    embeddings, targets = planted(n, n, d, positives)
    features = StandardScaler().fit_transform(embeddings.astype(float))
    path = logistic_path(features, targets)
    for i, C in enumerate(C_GRID):
        model = reference(features, targets, C)
        np.testing.assert_allclose(path.coefficients[i], model.coef_[0], atol=1e-4)
        decision = features @ path.coefficients[i] + path.intercepts[i]
        np.testing.assert_allclose(decision, model.decision_function(features), atol=1e-4)


@pytest.mark.parametrize(("n", "d", "positives"), [(150, 20, 40), (60, 120, 6), (2100, 12, 100)])
def test_large_fits_agree_with_small_ones(n, d, positives, monkeypatch):
    embeddings, targets = planted(0, n, d, positives)
    features = StandardScaler().fit_transform(embeddings.astype(float))
    newton = logistic_path(features, targets)
    monkeypatch.setattr(logistic, "_NEWTON_WORK", 0)
    descent = logistic_path(features, targets)
    np.testing.assert_allclose(descent.coefficients, newton.coefficients, atol=2e-5)
    np.testing.assert_allclose(descent.intercepts, newton.intercepts, atol=2e-5)


@pytest.mark.parametrize("stale", [3, 1000])
def test_large_fits_do_not_depend_on_when_curvature_is_renewed(stale, monkeypatch):
    embeddings, targets = planted(5, 80, 12, 30, strength=3.0)  # separable: curvature vanishes along the path
    features = StandardScaler().fit_transform(embeddings.astype(float))
    newton = logistic_path(features, targets)
    monkeypatch.setattr(logistic, "_NEWTON_WORK", 0)
    monkeypatch.setattr(logistic, "_STALE", stale)
    descent = logistic_path(features, targets)
    np.testing.assert_allclose(descent.coefficients, newton.coefficients, atol=2e-5)


@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 15), st.floats(0.1, 1e3), st.sampled_from([0, 1e9]))
@settings(deadline=None, max_examples=80)
def test_path_is_a_stationary_point_however_separable(seed, n, d, spread, newton_work):
    rng = np.random.default_rng(seed)
    features = spread * rng.normal(size=(n, d))
    targets = rng.permutation(n) < rng.integers(1, n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logistic, "_NEWTON_WORK", newton_work)
        path = logistic_path(features, targets)
    for C, w, b in zip(C_GRID, *path, strict=True):
        probability = 1 / (1 + np.exp(-np.clip(features @ w + b, -700, 700)))
        residual = probability - targets
        np.testing.assert_allclose(w + C * residual @ features, 0, atol=1e-4 * max(1, C * spread))
        assert abs(C * residual.sum()) < 1e-4


def test_one_class_has_no_path():
    with pytest.raises(EcgfmError, match="both classes"):
        logistic_path(np.zeros((3, 2)), [True, True, True])


def test_c_is_the_best_on_validation_and_ties_go_to_the_smallest():
    embeddings, targets = planted(1, 300, 30, 100)
    train, held = np.arange(300) % 2 == 0, np.arange(300) % 2 == 1
    probe = fit_probe("logistic", embeddings[train], targets[train], np.arange(150), embeddings[held], targets[held])
    scaler = StandardScaler().fit(embeddings[train].astype(float))
    features, others = (scaler.transform(embeddings[part].astype(float)) for part in (train, held))
    areas = []
    for C in C_GRID:
        model = reference(features, targets[train], C)
        areas.append(smoothed(targets[held], model.decision_function(others)))
    assert C_GRID[int(np.argmax(areas))] == probe.C
    np.testing.assert_allclose(probe.coefficients, reference(features, targets[train], probe.C).coef_[0], atol=1e-4)
    assert smoothed(targets[held], probe.scores(embeddings[held])) == pytest.approx(max(areas))
    one = fit_probe(
        "logistic", embeddings[train][:, :1], targets[train], np.arange(150), embeddings[held][:, :1], targets[held]
    )
    assert C_GRID[0] == one.C  # a single dimension orders the records alike at every C


def test_few_validation_positives_mean_inner_folds_that_ignore_validation():
    embeddings, targets = planted(2, 120, 20, 40)
    patients = np.arange(120) // 2
    held, held_targets = planted(3, 60, 20, 9)
    probe = fit_probe("logistic", embeddings, targets, patients, held, held_targets, seed=4)
    other = fit_probe("logistic", embeddings, targets, patients, -held, np.zeros(60, bool), seed=4)
    assert probe.C == other.C
    part = patient_folds(targets, patients, 5, 4)
    areas = np.zeros(len(C_GRID))
    for i in range(5):
        scaler = StandardScaler().fit(embeddings[part != i].astype(float))
        features, outside = (scaler.transform(embeddings[m].astype(float)) for m in (part != i, part == i))
        for c, C in enumerate(C_GRID):
            model = reference(features, targets[part != i], C)
            areas[c] += smoothed(targets[part == i], model.decision_function(outside)) / 5
    assert C_GRID[int(np.argmax(np.round(areas, 12)))] == probe.C


def test_a_single_positive_patient_falls_back():
    embeddings, targets = planted(5, 40, 6, 3)
    patients = np.where(targets, 0, np.arange(40))
    held, held_targets = planted(6, 60, 6, 9)
    scaler_mean, scaler_scale = standardisation(embeddings)
    path = logistic_path((embeddings - scaler_mean) / scaler_scale, targets)
    scores = ((held - scaler_mean) / scaler_scale) @ path.coefficients.T
    areas = [smoothed(held_targets, column) for column in scores.T]
    chosen = fit_probe("logistic", embeddings, targets, patients, held, held_targets)
    assert C_GRID[int(np.argmax(np.round(areas, 12)))] == chosen.C
    blind = fit_probe("logistic", embeddings, targets, patients, held[:0], held_targets[:0])
    assert blind.C == FALLBACK_C
    assert fit_probe("logistic", embeddings, targets, patients, held, np.ones(60, bool)).C == FALLBACK_C


def test_scores_are_logits_of_the_model_that_was_chosen():
    embeddings, targets = planted(9, 120, 5, 40)
    probe = fit_probe("logistic", embeddings, targets, np.arange(120), embeddings[60:], targets[60:])
    scaler = StandardScaler().fit(embeddings.astype(float))
    model = reference(scaler.transform(embeddings.astype(float)), targets, probe.C)
    new = 10 * planted(10, 30, 5, 10)[0].astype(float)
    np.testing.assert_allclose(probe.scores(new), model.decision_function(scaler.transform(new)), atol=1e-3)
    np.testing.assert_allclose(probe.probabilities(new), model.predict_proba(scaler.transform(new))[:, 1], atol=1e-3)


@pytest.mark.parametrize(
    ("positives", "negatives", "held_positives", "held_negatives", "chosen"),
    [
        # Validation decides with ten positives, if it has negatives.
        (5, 5, 10, 1, "validation"),
        (5, 5, 10, 0, "5 folds"),
        # Below that, inner folds: as many as patients of either class allow, five at most, two at least.
        (5, 5, 9, 50, "5 folds"),
        (9, 9, 0, 50, "5 folds"),
        (4, 9, 9, 50, "4 folds"),
        (9, 3, 9, 50, "3 folds"),
        (2, 9, 9, 50, "2 folds"),
        # With a single patient, validation after all if it has both classes.
        (1, 9, 9, 1, "validation"),
        (9, 1, 1, 50, "validation"),
        (1, 9, 0, 50, "fallback"),
        (1, 9, 9, 0, "fallback"),
        (1, 9, 0, 0, "fallback"),
    ],
)
def test_what_chooses_c(positives, negatives, held_positives, held_negatives, chosen, monkeypatch):
    monkeypatch.setattr(probes, "_inner_choice", lambda rows, targets, patients, folds, seed, least: folds - 2)
    monkeypatch.setattr(probes, "_best", lambda values: 5)
    embeddings, targets = planted(11, positives + negatives, 3, positives)
    held, held_targets = planted(12, held_positives + held_negatives, 3, held_positives)
    probe = fit_probe("logistic", embeddings, targets, np.arange(targets.size), held, held_targets)
    wanted = {"validation": C_GRID[5], "fallback": FALLBACK_C} | {f"{k} folds": C_GRID[k - 2] for k in range(2, 6)}
    assert wanted[chosen] == probe.C


def test_the_best_is_the_first_of_those_that_tie():
    assert probes._best(np.array([0.5, 0.7, 0.7 + 1e-10, 0.6])) == 1
    assert probes._best(np.array([0.5, 0.7, 0.7 + 1e-8, 0.6])) == 2


def test_rounding_chooses_no_c():
    for seed in range(60):
        embeddings, targets = planted(seed, 200, 12, 60, strength=0.4)
        train, held = np.arange(200) % 2 == 0, np.arange(200) % 2 == 1
        # In float32, 20,000 leaves a dimension whose SD is 1 three digits.
        chosen = {
            fit_probe("logistic", rows[train], targets[train], np.arange(100), rows[held], targets[held]).C
            for rows in (embeddings, embeddings + np.float32(2e4))
        }
        assert len(chosen) == 1, seed


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("knn", {"n_neighbors": 10}),
        ("mlp", {"hidden_layer_sizes": (64,), "alpha": 0.01, "max_iter": 200, "random_state": 3}),
    ],
)
def test_other_kinds_are_the_classifiers_that_the_protocol_names(kind, settings):
    embeddings, targets = planted(13, 40, 4, 12)
    probe = fit_probe(kind, embeddings, targets, np.arange(40), embeddings[:0], [], seed=3)
    assert settings.items() <= probe.estimator.get_params().items()
    assert probe.coefficients.size == 0
    few = fit_probe("knn", embeddings[8:16], targets[8:16], np.arange(8), embeddings[:0], [])
    assert few.estimator.n_neighbors == 8


@pytest.mark.parametrize("kind", ["logistic", "knn", "mlp"])
def test_each_kind_learns_and_gives_probabilities(kind):
    embeddings, targets = planted(7, 200, 10, 60, strength=1.5)
    train, held = np.arange(200) % 2 == 0, np.arange(200) % 2 == 1
    arguments = (kind, embeddings[train], targets[train], np.arange(100), embeddings[held], targets[held])
    probe = fit_probe(*arguments, seed=3)
    probabilities = probe.probabilities(embeddings[held])
    assert probabilities.shape == (100,)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert roc_auc_score(targets[held], probe.scores(embeddings[held])) > 0.85
    np.testing.assert_array_equal(
        fit_probe(*arguments, seed=3).scores(embeddings[held]), probe.scores(embeddings[held])
    )


@pytest.mark.parametrize("kind", ["logistic", "knn", "mlp"])
@pytest.mark.parametrize("value", [True, False])
def test_one_class_gives_a_constant_and_uncertain_probe(kind, value):
    embeddings, _ = planted(8, 9, 4, 3)
    probe = fit_probe(kind, embeddings, np.full(9, value), np.arange(9), embeddings, np.full(9, True))
    assert np.unique(probe.scores(embeddings)).size == 1
    assert probe.probabilities(embeddings)[0] == pytest.approx(10 / 11 if value else 1 / 11)
    assert math.isnan(probe.C)


def test_three_records_with_constant_dimensions():
    embeddings = np.column_stack([[0.0, 1.0, 2.0], np.full(3, 7.0)])
    probe = fit_probe("logistic", embeddings, [False, False, True], ["a", "b", "c"], embeddings[:0], [])
    scores = probe.scores(embeddings)
    assert probe.coefficients[1] == 0
    assert scores[2] > scores[1] > scores[0]


def test_bad_arguments_are_refused():
    with pytest.raises(EcgfmError, match=r"unknown probe 'logistc'\. Did you mean 'logistic'"):
        fit_probe("logistc", np.zeros((2, 1)), [True, False], ["a", "b"], np.zeros((0, 1)), [])
    with pytest.raises(EcgfmError, match="not empty"):
        fit_probe("logistic", np.zeros((0, 1)), [], [], np.zeros((0, 1)), [])


@settings(deadline=None)
@given(st.integers(2, 7), st.integers(2, 7), st.integers(0, 5))
def test_few_patients_of_either_class_give_a_probe_and_no_traceback(positives, negatives, seed):
    """An inner fold may then hold one class only."""
    targets = np.arange(positives + negatives) < positives
    embeddings = np.random.default_rng(seed).normal(size=(targets.size, 3)) + targets[:, None]
    probe = fit_probe("logistic", embeddings, targets, np.arange(targets.size), embeddings[:0], [], seed=seed)
    assert probe.C in C_GRID and np.isfinite(probe.scores(embeddings)).all()
    scores = out_of_fold(probe, embeddings, targets, np.arange(targets.size), seed=seed)
    assert scores is None or np.isfinite(scores).all()
