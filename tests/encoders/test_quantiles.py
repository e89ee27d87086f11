"""Median and quantiles against numpy's, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pytest_ecgfm.encoders.quantiles import median, quantile

FINITE = st.floats(-1e6, 1e6)
VALUES = arrays(np.float64, array_shapes(max_dims=3, max_side=7), elements=FINITE)


@given(VALUES)
def test_median_is_numpys(values):
    np.testing.assert_array_equal(median(values), np.median(values, axis=-1))


@pytest.mark.parametrize("count", [255, 256, 257, 258, 2500, 2501])
def test_median_of_many(rng, count):
    values = np.round(rng.normal(size=(3, count)), 2)
    np.testing.assert_array_equal(median(values), np.median(values, axis=-1))


@given(arrays(np.int64, st.integers(1, 9), elements=st.integers(0, 5000)))
def test_median_of_samples(values):
    assert median(values) == np.median(values)


@given(VALUES, st.floats(0, 1))
def test_quantile_is_numpys(values, share):
    np.testing.assert_array_equal(quantile(np.sort(values, axis=-1), share), np.quantile(values, share, axis=-1))
