import functools
import math
import warnings
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.evaluations.shapley import (
    efficiency_error,
    lead_shapley,
    projected,
    shapley_weights,
)
from pytest_ecgfm.signals.coalitions import coalitions, players
from pytest_ecgfm.signals.records import LEADS, RecordBatch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what its plots import
    import shap

FOUR = ("I", "II", "V1", "V6")


def random_batch(rng, n=3, leads=FOUR, samples=16):
    signals = rng.normal(size=(n, len(leads), samples)).astype(np.float32)
    return RecordBatch(signals, tuple(leads), 500.0, tuple(f"r{i}" for i in range(n)))


def encode(batch, kind=np.float64):
    """A nonlinear encoder: products of leads, a maximum and a saturation."""
    s = batch.signals.astype(kind)
    power = (s**2).mean(axis=-1)
    mixed = s[:, 0] * s[:, 1] + np.abs(s[:, 2]) * s[:, -1]
    return np.column_stack([power[:, 0] * power[:, -1], np.tanh(mixed).mean(axis=-1), s.max(axis=(1, 2)), power])


def values_by_orders(game, count):
    """Shapley values by their first definition: the mean over all orders of what each player adds on arrival."""
    total = np.zeros((count, *np.shape(game(()))))
    for order in permutations(range(count)):
        for place, one in enumerate(order):
            total[one] += game(order[: place + 1]) - game(order[:place])
    return total / math.factorial(count)


def bits(subset):
    return sum(1 << one for one in subset)


@pytest.mark.parametrize("leads", [FOUR[:3], FOUR])
def test_values_are_those_of_shaps_exact_explainer(rng, leads):
    batch, cast = random_batch(rng, leads=leads), players(leads)
    background = rng.normal(size=batch.signals.shape).astype(np.float32)
    weights = rng.normal(size=encode(batch).shape[1])
    found = projected(lead_shapley(functools.partial(map, encode), batch, background, cast).values, weights)
    for row in range(3):
        # To shap, a lead's samples are one input: 1 where the lead is there, 0 where the background is.
        def logit(masks, row=row):
            kept = np.where(masks[:, :, None] > 0.5, batch.signals[row], background[row]).astype(np.float32)
            return encode(RecordBatch(kept, leads, 500.0, tuple(map(str, range(len(kept)))))) @ weights

        masker = shap.maskers.Independent(np.zeros((1, len(leads))))
        wanted = shap.explainers.ExactExplainer(logit, masker)(np.ones((1, len(leads)))).values[0]
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)
    assert np.abs(found).max() > 0.05


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_values_are_the_mean_over_all_orders(rng, batch_size):
    batch, cast = random_batch(rng), players(FOUR)
    background = rng.normal(size=batch.signals.shape)
    found = lead_shapley(functools.partial(map, encode), batch, background, cast, batch_size=batch_size)

    def game(subset):
        kept = batch.signals.copy()
        gone = [row for row in range(4) if row not in subset]
        kept[:, gone] = background[:, gone]
        return encode(RecordBatch(kept, FOUR, 500.0, batch.records))

    np.testing.assert_allclose(found.values, values_by_orders(game, 4).swapaxes(0, 1), atol=1e-10)
    np.testing.assert_allclose(found.empty, game(()), atol=1e-12)
    np.testing.assert_allclose(found.full, game(range(4)), atol=1e-12)


@pytest.mark.parametrize("grouping, count", [("independent", 8), ("limb", 7)])
def test_linear_encoder_has_the_closed_form(rng, grouping, count):
    batch = random_batch(rng, leads=LEADS)
    limb = batch.signals
    # The records' limb leads are consistent, as the closed form then holds with the four that follow from I and II.
    limb[:, 2], limb[:, 3] = limb[:, 1] - limb[:, 0], -(limb[:, 0] + limb[:, 1]) / 2
    limb[:, 4], limb[:, 5] = limb[:, 0] - limb[:, 1] / 2, limb[:, 1] - limb[:, 0] / 2
    background = np.zeros_like(batch.signals) + rng.normal(size=(3, 12, 1)).astype(np.float32)
    slope = rng.normal(size=(5, 12, 16))

    def linear(one):
        return np.einsum("dls,nls->nd", slope, one.signals.astype(float)) + 3

    found = lead_shapley(functools.partial(map, linear), batch, background, players(LEADS, grouping))
    change = batch.signals.astype(float) - background
    i, ii = change[:, 0], change[:, 1]
    follow = {2: (-1, 1), 3: (-0.5, -0.5), 4: (1, -0.5), 5: (-0.5, 1)}
    of_i = slope[:, 0] + sum(a * slope[:, row] for row, (a, _) in follow.items())
    of_ii = slope[:, 1] + sum(b * slope[:, row] for row, (_, b) in follow.items())
    limbs = [np.einsum("ds,ns->nd", of_i, i), np.einsum("ds,ns->nd", of_ii, ii)]
    chest = [np.einsum("ds,ns->nd", slope[:, row], change[:, row]) for row in range(6, 12)]
    wanted = [*limbs, *chest] if grouping == "independent" else [limbs[0] + limbs[1], *chest]
    assert found.values.shape == (3, count, 5)
    np.testing.assert_allclose(found.values, np.stack(wanted, axis=1), atol=1e-5)


def test_float32_encoders_are_efficient(rng):
    batch, cast = random_batch(rng, leads=LEADS), players(LEADS)
    found = lead_shapley(
        lambda parts: (encode(one, np.float32).astype(np.float32) for one in parts),
        batch,
        np.zeros_like(batch.signals),
        cast,
    )
    np.testing.assert_allclose(found.values.sum(axis=1), found.full - found.empty, atol=1e-4)
    weights, bias = rng.normal(size=found.full.shape[1]), 2.0
    phi = projected(found.values, weights)
    error = efficiency_error(phi, found.full @ weights + bias, found.empty @ weights + bias)
    assert error.shape == (3,) and error.max() < 1e-4
    assert np.abs(phi).max() > 0.1


def test_efficiency_error_is_what_is_missing():
    phi = [[1.0, 2.0], [0.5, -0.5]]
    np.testing.assert_allclose(efficiency_error(phi, [4.0, 1.0], [0.0, 1.5]), [1.0, 0.5])


def test_leads_that_the_encoder_ignores_have_no_value(rng):
    batch = random_batch(rng)

    def third(one):
        return one.signals[:, [2], :4].reshape(len(one), -1) ** 3

    found = lead_shapley(functools.partial(map, third), batch, np.zeros_like(batch.signals), players(FOUR))
    np.testing.assert_allclose(found.values[:, [0, 1, 3]], 0, atol=1e-12)
    np.testing.assert_allclose(found.values[:, 2], third(batch), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 5, 16, 1000])
def test_values_do_not_depend_on_the_batches(rng, batch_size):
    batch = random_batch(rng)
    background = np.zeros_like(batch.signals)
    sizes, steps = [], []

    def embed_all(parts):
        for one in parts:
            sizes.append(len(one))
            yield encode(one)

    found = lead_shapley(
        embed_all, batch, background, players(FOUR), batch_size=batch_size, progress=lambda *step: steps.append(step)
    )
    wanted = lead_shapley(functools.partial(map, encode), batch.rows([1]), background[:1], players(FOUR))
    np.testing.assert_allclose(found.values[1], wanted.values[0], atol=1e-12)
    assert sum(sizes) == 3 * 2**4 and max(sizes) == min(batch_size, 48)
    assert [done for done, _ in steps] == np.cumsum(sizes).tolist()
    assert {total for _, total in steps} == {48}


def test_embeddings_that_are_too_few_are_refused(rng):
    batch = random_batch(rng)
    with pytest.raises(ValueError, match="zip"):
        lead_shapley(
            lambda parts: [encode(next(iter(parts)))],
            batch,
            np.zeros_like(batch.signals),
            players(FOUR),
            batch_size=8,
        )


def test_projection_is_a_dot_product_with_one_probe_or_one_a_record(rng):
    values, probes = rng.normal(size=(3, 4, 6)), rng.normal(size=(3, 6))
    np.testing.assert_allclose(projected(values, probes[0]), values @ probes[0])
    np.testing.assert_allclose(projected(values, probes), [v @ w for v, w in zip(values, probes, strict=True)])


games = st.integers(1, 4).flatmap(
    lambda count: st.tuples(*[st.lists(st.floats(-10, 10), min_size=2**count, max_size=2**count) for _ in range(2)])
)


def values_of(game):
    game = np.asarray(game)
    return shapley_weights(int(game.size).bit_length() - 1).T @ game


@given(games)
@settings(deadline=None)
def test_weights_give_the_mean_over_orders_and_add_up(pair):
    a, b = (np.array(one) for one in pair)
    count = len(a).bit_length() - 1
    np.testing.assert_allclose(values_of(a), values_by_orders(lambda s: a[bits(s)], count), atol=1e-9)
    # Efficiency, and additivity: the value of a sum of games is the sum of the values.
    assert values_of(a).sum() == pytest.approx(a[-1] - a[0], abs=1e-9)
    np.testing.assert_allclose(values_of(a + 3 * b), values_of(a) + 3 * values_of(b), atol=1e-9)


@given(games, st.data())
@settings(deadline=None)
def test_players_who_contribute_the_same_have_the_same_value(pair, data):
    game = np.array(pair[0])
    count = len(game).bit_length() - 1
    i, j = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, count - 1))
    present = coalitions(count)
    swapped = present.copy()
    swapped[:, [i, j]] = present[:, [j, i]]
    turned = game[swapped @ (1 << np.arange(count))]
    # Players who change places change values; those whom the game does not tell apart have the same.
    places = np.arange(count)
    places[[i, j]] = [j, i]
    np.testing.assert_allclose(values_of(turned), values_of(game)[places], atol=1e-9)
    alike = values_of(game + turned)
    assert alike[i] == pytest.approx(alike[j], abs=1e-9)


@given(games, st.data())
@settings(deadline=None)
def test_players_who_add_nothing_have_no_value(pair, data):
    game = np.array(pair[0])
    one = data.draw(st.integers(0, len(game).bit_length() - 2))
    without = np.arange(len(game)) & ~(1 << one)
    assert values_of(game[without])[one] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_weights_by_factorials(count):
    present, f = coalitions(count), math.factorial
    wanted = np.empty((2**count, count))
    for row, there in enumerate(present):
        for one in range(count):
            others = int(there.sum()) - int(there[one])
            weight = f(others) * f(count - others - 1) / f(count)
            wanted[row, one] = weight if there[one] else -weight
    np.testing.assert_allclose(shapley_weights(count), wanted, rtol=1e-12)
