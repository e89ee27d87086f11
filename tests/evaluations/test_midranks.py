"""Ranks against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import rankdata

from pytest_ecgfm.evaluations.statistics.midranks import midranks


@given(
    arrays(np.float64, array_shapes(min_dims=1, max_dims=3), elements=st.sampled_from([-1.5, 0.0, -0.0, 2.0, np.inf]))
)
def test_with_ties_as_scipy_ranks(values):
    np.testing.assert_array_equal(midranks(values), rankdata(values, axis=-1))


@given(arrays(np.float32, st.integers(1, 300), elements=st.floats(-10, 10, width=32)))
def test_without_ties_as_scipy_ranks(values):
    np.testing.assert_array_equal(midranks(values), rankdata(values))


@pytest.mark.parametrize("values", [[1.0, np.nan, 2.0], [[1.0, 2.0], [np.nan, 0.0]]])
def test_a_row_with_a_missing_value_has_no_ranks(values):
    np.testing.assert_array_equal(midranks(values), rankdata(values, axis=-1))


@pytest.mark.parametrize("values", [[], np.empty((0, 3)), np.empty((3, 0))])
def test_nothing_has_no_ranks(values):
    assert midranks(values).shape == np.shape(values)
