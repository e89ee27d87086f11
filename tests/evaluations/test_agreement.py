import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from pytest_ecgfm.evaluations.agreement import agreement


def groups(size):
    return st.lists(st.integers(0, 1), min_size=size, max_size=size)


@given(st.integers(2, 60).flatmap(lambda size: st.tuples(groups(size), groups(size))))
@example(([0, 0, 1, 1], [0, 0, 1, 1]))
@example(([0, 0, 1, 1], [1, 1, 0, 0]))
@example(([0, 1, 0, 1], [0, 0, 1, 1]))
@example(([0, 0, 0, 0], [0, 0, 1, 1]))
@example(([1, 1, 1, 1], [0, 0, 0, 0]))
@example(([0, 1], [0, 1]))
def test_values_are_those_of_scikit_learn(pair):
    one, other = (np.array(each) for each in pair)
    found = agreement(one, other)
    assert found.rand == pytest.approx(adjusted_rand_score(one, other), rel=1e-12, abs=1e-15)
    assert found.information == pytest.approx(adjusted_mutual_info_score(one, other), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("prevalence", [0.5, 0.05, 0.01])
def test_large_partitions(prevalence, rng):
    one, other = rng.random(20_000) < prevalence, rng.random(20_000) < 0.3
    other[one] |= rng.random(int(one.sum())) < 0.2
    found = agreement(one.astype(int), other.astype(int))
    assert found.rand == pytest.approx(adjusted_rand_score(one, other), rel=1e-10)
    assert found.information == pytest.approx(adjusted_mutual_info_score(one, other), rel=1e-7)
