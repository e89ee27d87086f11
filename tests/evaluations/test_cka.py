"""Centred kernel alignment against the U-statistic over all quadruples."""

import math
from itertools import permutations

import numpy as np
import pytest

from pytest_ecgfm.evaluations.cka import cka_of, debiased_cka, gram


def brute_hsic(k, l):  # noqa: E741
    """The U-statistic of HSIC over all quadruples of different records."""
    tuples = list(permutations(range(len(k)), 4))
    return sum(k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in tuples) / len(tuples)


def test_debiased_cka_is_the_u_statistic(rng):
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(7, 5))
    b[:, :2] += a[:, :2]
    k, q = a @ a.T, b @ b.T
    wanted = brute_hsic(k, q) / math.sqrt(brute_hsic(k, k) * brute_hsic(q, q))
    assert debiased_cka(a, b) == pytest.approx(wanted, abs=1e-10)
    assert debiased_cka(b, a) == pytest.approx(wanted, abs=1e-10)
    assert debiased_cka(a + 1e4, b - 50) == pytest.approx(wanted, abs=1e-6)


def test_debiased_cka_sees_neither_rotation_nor_scale(rng):
    rows = rng.normal(size=(50, 4)) * [1, 2, 3, 4]
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert debiased_cka(rows, 7 * rows @ rotation + 3) == pytest.approx(1)
    assert debiased_cka(rows, rows * [4, 0.1, 0.1, 0.1]) < 0.9


def test_debiased_cka_of_unrelated_embeddings_is_0_on_average(rng):
    values = [debiased_cka(*rng.normal(size=(2, 20, 30))) for _ in range(200)]
    # The biased estimate is about 0.6 here.
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(200)
    assert min(values) < 0


def test_debiased_cka_is_undefined_for_few_rows_and_constants(rng):
    rows = rng.normal(size=(10, 3))
    assert math.isnan(debiased_cka(rows[:3], rows[:3]))
    assert math.isnan(debiased_cka(rows, np.full((10, 2), 0.1)))
    assert math.isfinite(debiased_cka(rows[:4], rows[:4]))


def test_cka_of_weights_is_that_of_repeated_records_that_never_meet_themselves(rng):
    a, b = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    weights = np.array([2, 0, 1, 3, 1, 1])
    index = np.repeat(np.arange(6), weights)
    apart = index[:, None] != index[None, :]
    k, q = ((x - x.mean(axis=0)) @ (x - x.mean(axis=0)).T for x in (a, b))

    def hsic(p, s):
        p, s, n = p[np.ix_(index, index)] * apart, s[np.ix_(index, index)] * apart, len(index)
        rest = p.sum() * s.sum() / (n - 1) / (n - 2) - 2 * (p.sum(axis=0) * s.sum(axis=0)).sum() / (n - 2)
        return (np.trace(p @ s) + rest) / n / (n - 3)

    wanted = hsic(k, q) / math.sqrt(hsic(k, k) * hsic(q, q))
    found = cka_of(gram(a), gram(b), weights[None].astype(float))
    assert found[0] == pytest.approx(wanted, abs=1e-12)
