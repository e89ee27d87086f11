"""How far two embeddings of the same records lie apart: whatever shift, scale or constant there is beside."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.evaluations.differences import apart, between

NAMES = [f"r{number}" for number in range(40)]


def drawn(seed, n=40, d=12):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(np.float32), rng


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.integers(1, 30), st.floats(0.05, 2))
def test_shift_scale_and_constant_dimensions_hide_nothing(seed, scale, shift, constants, size):
    rows, rng = drawn(seed)
    moved = rows + (size * rng.normal(size=rows.shape)).astype(np.float32)
    plain = apart(rows, moved, NAMES).value
    units = scale * np.exp(rng.normal(size=rows.shape[1])).astype(np.float32)

    def dressed(points):
        beside = np.full((len(points), constants), 5000.0)
        huge = 1e4 * rows[:, :1]
        return np.concatenate([points * units + shift * units, beside, huge], axis=1).astype(np.float32)

    found = apart(dressed(rows), dressed(moved), NAMES).value
    # One steady dimension more, and rounding.
    assert 0.7 * plain < found <= 1.05 * plain
    assert apart(dressed(rows), dressed(rows), NAMES).value == 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6))
def test_rounding_is_no_difference(seed, scale):
    rows, rng = drawn(seed)
    rows = (rows * scale).astype(np.float32)
    rounded = rows * (1 + rng.uniform(-4, 4, rows.shape) * np.finfo(np.float32).eps)
    assert apart(rows, rounded.astype(np.float32), NAMES).value == 0.0


@pytest.mark.parametrize("constant", [1e3, 1e4, 1e5])
def test_a_constant_that_leaves_few_digits_hides_no_dependence_on_the_batch(constant):
    rows, _ = drawn(5)
    spread = 0.1 * rows
    together = (spread - spread.mean(axis=0) + constant).astype(np.float32)
    alone = np.full_like(together, constant)
    assert apart(together, alone, NAMES).value > 0.5


def test_the_value_is_what_the_words_say():
    rows, rng = drawn(3, d=3)
    moved = rows + rng.normal(size=rows.shape).astype(np.float32)
    z = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    distances = np.linalg.norm((moved - rows) / rows.std(axis=0), axis=1)
    pairs = [np.linalg.norm(z[i] - z[j]) for i in range(40) for j in range(i)]
    found = apart(rows, moved, NAMES)
    assert found.value == pytest.approx(distances.max() / np.median(pairs), rel=1e-5)
    assert found.note == f"record r{distances.argmax()}"
    assert between(z) == pytest.approx(np.median(pairs), rel=1e-6)


def test_a_constant_dimension_that_moves_is_a_difference():
    rows, _ = drawn(0)
    first, second = (np.concatenate([rows, np.full((40, 1), size, np.float32)], axis=1) for size in (64, 1))
    assert apart(first, second, NAMES).value > 1


def test_records_that_are_alike_must_not_move_at_all():
    ones = np.ones((40, 3), np.float32)
    assert apart(ones, ones, NAMES).value == 0.0
    assert apart(ones, ones * 2, NAMES).value == math.inf
    assert apart(ones * 0, ones * 0, NAMES).value == 0.0


def test_one_record_alone_is_seen_from_its_own_size():
    one = np.array([[3.0, 4.0]], np.float32)
    assert apart(one, one + np.array([[0.0, 1.0]], np.float32), NAMES).value == pytest.approx(0.2)
    assert apart(one, one, NAMES).value == 0.0


def test_more_records_may_say_what_far_is():
    rows, rng = drawn(1, n=200)
    moved = rows[:4] + rng.normal(size=(4, 12)).astype(np.float32)
    z = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    typical = between(z)
    wanted = (np.linalg.norm((moved - rows[:4]) / rows.std(axis=0), axis=1) / typical).max()
    assert apart(rows[:4], moved, NAMES[:4], rows).value == pytest.approx(wanted, rel=1e-5)
