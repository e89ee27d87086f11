"""How the solutions of `test_probes.py` are reached: in few steps, by the solver that the work asks for."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit
from sklearn.metrics import log_loss

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations import logistic
from pytest_ecgfm.evaluations.logistic import C_GRID, Path, logistic_path


def standardised(rng, n=80, d=6, strength=1.0):
    targets = np.arange(n) % 3 == 0
    rows = rng.normal(size=(n, d)) + strength * targets[:, None] * rng.normal(size=d)
    return (rows - rows.mean(axis=0)) / rows.std(axis=0), targets


def calls(monkeypatch, owner, name):
    """Return a list that grows by the last argument of each call of a function of two."""
    seen, original = [], getattr(owner, name)

    def counted(first, last):
        seen.append(last)
        return original(first, last)

    monkeypatch.setattr(owner, name, counted)
    return seen


@pytest.fixture
def newton_steps(monkeypatch):
    """A list that grows by one each time that Newton's equations are solved."""
    return calls(monkeypatch, logistic.np.linalg, "solve")


@pytest.fixture
def curvatures(monkeypatch):
    """A list that grows by one each time that a Hessian is made."""
    return calls(monkeypatch, logistic._Loss, "curvature")


@pytest.fixture
def large(monkeypatch):
    """Every fit is one that has too much work for Newton."""
    monkeypatch.setattr(logistic, "_NEWTON_WORK", 0)


@pytest.mark.parametrize("strength", [0.3, 3.0])
def test_newton_arrives_in_few_steps(rng, newton_steps, strength):
    features, targets = standardised(rng, strength=strength)
    for C, most in zip(C_GRID, (3, 4, 5, 7, 9, 12), strict=True):
        newton_steps.clear()
        logistic_path(features, targets, [C])
        assert len(newton_steps) <= most
    newton_steps.clear()
    logistic_path(features, targets)
    assert len(newton_steps) <= 30


def test_where_the_penalty_leaves_the_intercept_alone_the_start_is_the_solution(rng, newton_steps):
    features, targets = standardised(rng)
    path = logistic_path(features, targets, [1e-13])
    assert len(newton_steps) == 1
    assert path.intercepts[0] == pytest.approx(math.log(targets.mean() / (1 - targets.mean())))


@pytest.mark.parametrize("intercept", [-12.0, 8.0])
def test_newton_finds_back_from_afar(rng, intercept):
    features, targets = standardised(rng)
    design = np.column_stack([features, np.ones(len(features))])
    wanted = logistic_path(features, targets, [1.0])
    found = logistic._newton(design, targets.astype(float), 1.0, np.array([3.0] * 6 + [intercept]))
    np.testing.assert_allclose(found, [*wanted.coefficients[0], *wanted.intercepts], atol=1e-6)


def test_where_all_are_certain_newton_has_a_step_to_take(rng):
    features, targets = standardised(rng)
    design = np.column_stack([features, np.ones(len(features))])
    assert np.isfinite(logistic._newton(design, targets.astype(float), 1.0, np.array([0.0] * 6 + [800.0]))).all()


def test_newton_is_as_exact_where_records_hardly_count(rng):
    features, targets = standardised(rng)
    design = np.column_stack([features, np.ones(len(features))])
    found = logistic._newton(design, targets.astype(float), 1e-6, np.zeros(7))
    assert found[-1] == pytest.approx(math.log(targets.mean() / (1 - targets.mean())), abs=1e-7)


def test_loss_is_that_of_scikit_learn_and_slopes_are_its_derivatives(rng):
    features, targets = standardised(rng, n=2100)
    loss = logistic._Loss(features, targets.astype(float))
    theta = rng.normal(size=7)
    value, gradient = loss(theta)
    assert value == pytest.approx(log_loss(targets, expit(features @ theta[:-1] + theta[-1]), normalize=False))
    np.testing.assert_allclose(gradient, approx_fprime(theta, lambda point: loss(point)[0], 1e-6), rtol=1e-4)


@pytest.mark.parametrize("C", [0.01, 10.0])
def test_in_units_of_a_curvature_the_hessian_is_one(rng, C):
    features, targets = standardised(rng, n=2100)
    theta = rng.normal(size=7)
    scale = logistic._Loss(features, targets.astype(float)).curvature(theta).scaled(C)
    design = np.column_stack([features, np.ones(len(features))])
    chance = expit(design @ theta)
    hessian = C * (design.T * (chance * (1 - chance))) @ design + np.diag([1.0] * 6 + [0.0])
    moves = np.array([scale.moves(unit) for unit in np.eye(7)])
    np.testing.assert_allclose(moves @ hessian @ moves.T, np.eye(7), atol=1e-4)
    slopes = np.array([scale.slopes(unit) for unit in np.eye(7)])
    np.testing.assert_allclose(slopes, moves.T, atol=1e-12)


def test_where_all_are_certain_there_is_a_little_curvature_left(rng):
    features, targets = standardised(rng)
    curvature = logistic._Loss(features, targets.astype(float)).curvature(np.array([0.0] * 6 + [800.0]))
    assert 0 < curvature.weight < 1e-12
    assert np.isfinite(curvature.scaled(1.0).moves(np.ones(7))).all()


@pytest.mark.parametrize("least", [-1.0000001, -1.001])
def test_what_rounding_takes_from_a_curvature_is_given_back(least):
    # With C = 1 the penalty adds 1: what is left is too little to divide by.
    gram = np.diag([100.0, least])
    scale = logistic._Curvature(gram, np.zeros(2), 1.0).scaled(1.0)
    np.testing.assert_allclose(scale.root @ scale.root.T, gram + np.eye(2), atol=0.02)
    assert (np.diag(scale.root) > 0).all() and np.isfinite(scale.moves(np.ones(3))).all()
    np.testing.assert_array_equal(gram, np.diag([100.0, least]))


def test_descent_follows_the_slopes_of_its_objective_until_they_are_a_millionth(rng, monkeypatch, large):
    features, targets = standardised(rng, strength=2.0)
    asked, minimize = [], logistic.minimize

    def looked_at(objective, start, **options):
        value, slopes = objective(start)
        assert np.linalg.norm(slopes) == pytest.approx(1.0)
        point = start + 0.3 * rng.normal(size=start.size)
        numbers = approx_fprime(point, lambda steps: objective(steps)[0], 1e-6)
        np.testing.assert_allclose(objective(point)[1], numbers, rtol=1e-3, atol=1e-4)
        found = minimize(objective, start, **options)
        asked.append((options["options"]["gtol"], value - found.fun))
        return found

    monkeypatch.setattr(logistic, "minimize", looked_at)
    loss = logistic._Loss(features, targets.astype(float))
    theta = np.array([0.0] * 6 + [-0.7])
    curvature = loss.curvature(theta)
    for C in (1e-3, 1.0):
        asked.clear()
        slopes = curvature.scaled(C).slopes(C * loss(theta)[1] + np.append(theta[:-1], 0.0))
        reached, done = logistic._descend(loss, curvature, C, theta)
        ((limit, gained),) = asked
        assert limit * np.linalg.norm(slopes) == pytest.approx(1e-6 * math.sqrt(min(1.0, 80 * C)))
        assert done and gained > 0
        # Where it arrived, it stays.
        again, still = logistic._descend(loss, curvature, C, reached)
        assert still and again is reached and len(asked) == 1


@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_one_curvature_serves_the_whole_grid(rng, curvatures, large, strength):
    features, targets = standardised(rng, strength=strength)
    logistic_path(features, targets)
    assert len(curvatures) == 1
    logistic_path(features, targets, [1.0, 1.0, 1.0])
    assert len(curvatures) == 2


@pytest.mark.parametrize(("n", "d", "work"), [(10, 4, 160), (4, 10, 64)])
def test_work_decides_on_solver_and_threads(rng, monkeypatch, n, d, work):
    features, targets = rng.normal(size=(n, d)), np.arange(n) < n // 2
    used = []

    class Blas:
        def limit(self, **limits):
            used.append(limits)
            return nullcontext()

    def solver(name):
        real = getattr(logistic, name)
        return lambda *arguments: used.append(name) or real(*arguments)

    monkeypatch.setattr(logistic, "thread_pools", Blas)
    for name in ("_newton_path", "_preconditioned_path"):
        monkeypatch.setattr(logistic, name, solver(name))
    for newton in (work, work - 1):
        for threaded in (work, work - 1):
            monkeypatch.setattr(logistic, "_NEWTON_WORK", newton)
            monkeypatch.setattr(logistic, "_THREADED_WORK", threaded)
            used.clear()
            logistic_path(features, targets, [1.0])
            one_thread = [{"limits": 1, "user_api": "blas"}] if threaded == work else []
            assert used == [*one_thread, "_newton_path" if newton == work else "_preconditioned_path"]


def test_neither_class_alone_has_a_path():
    for value in (False, True):
        with pytest.raises(EcgfmError, match="both classes"):
            logistic_path(np.zeros((3, 2)), [value] * 3)


@pytest.mark.parametrize("shape", [(300, 20), (40, 80), (3000, 60)])
def test_where_the_search_begins_does_not_move_its_end(rng, shape):
    features = rng.normal(size=shape)
    targets = rng.random(shape[0]) < expit(features[:, 0])
    whole = logistic_path(features, targets, (0.1,))
    begun = logistic_path(features, targets, (0.1,), near=Path(whole.coefficients + 0.3, whole.intercepts - 1))
    assert begun.coefficients == pytest.approx(whole.coefficients, abs=1e-4)
    assert begun.intercepts == pytest.approx(whole.intercepts, abs=1e-4)
