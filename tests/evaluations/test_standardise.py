import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.standardise import standard, standardisation


def test_standardisation_is_z_scoring_and_constants_become_nothing():
    rows = np.column_stack([np.arange(7.0), np.full(7, 0.1), np.full(7, 1e6 + 0.1)])
    mean, scale = standardisation(rows)
    np.testing.assert_allclose(mean, StandardScaler().fit(rows).mean_)
    np.testing.assert_allclose(scale, [2.0, np.inf, np.inf])
    np.testing.assert_array_equal(((rows + 5.0 - mean) / scale)[:, 1:], 0.0)


def test_the_last_bits_of_a_large_number_are_rounding_and_no_more():
    bits = 1e8 * (1 + np.finfo(float).eps * np.array([0.0, 1.0, 0.0, 1.0]))
    mean, scale = standardisation(np.column_stack([bits, 1e8 + np.array([0.0, 1e-3, 0.0, 1e-3])]))
    assert scale[0] == np.inf and mean[0] == bits[0]
    assert scale[1] == pytest.approx(5e-4, rel=1e-3)


@given(st.floats(-8, 8), st.integers(0, 1000))
def test_what_float32_rounds_is_no_dimension_whatever_its_size(exponent, seed):
    rng = np.random.default_rng(seed)
    constant = np.float32(10**exponent)
    ulp = np.spacing(constant)
    noisy = (constant + ulp * rng.integers(-2, 3, 50)).astype(np.float32)
    real = (constant * (1 + 1e-4 * rng.normal(size=50))).astype(np.float32)
    scale = standardisation(np.column_stack([noisy, real]))[1]
    assert scale[0] == np.inf and np.isfinite(scale[1])


def test_standardisation_of_one_row_is_that_row():
    mean, scale = standardisation(np.array([[3.0, -1.0]]))
    assert mean.tolist() == [3.0, -1.0] and scale.tolist() == [np.inf, np.inf]


def test_standardisation_of_many_rows_is_that_of_float64(rng):
    rows = (1e4 + rng.normal(size=(5000, 120)) * np.geomspace(0.1, 100, 120)).astype(np.float32)
    mean, scale = standardisation(rows)
    np.testing.assert_allclose(mean, rows.astype(float).mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(scale, rows.astype(float).std(axis=0), rtol=1e-11)


def test_a_spread_below_the_least_is_the_least():
    rows = np.column_stack([np.tile([0.0, 2.0], 5), np.tile([0.0, 0.02], 5), np.tile([0.0, 1.0], 5), np.zeros(10)])
    scale = standardisation(rows, [0.3, 0.3, np.inf, 0.3])[1]
    assert scale.tolist() == [1.0, 0.3, np.inf, np.inf]


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(20, 400))
def test_without_outliers_the_space_is_that_of_scikit_learn(seed, count):
    rows = np.random.default_rng(seed).normal(3, 2, (count, 5)).astype(np.float32)
    found = standard(rows)(rows)
    np.testing.assert_allclose(found, StandardScaler().fit_transform(rows.astype(float)), atol=1e-5)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e30])
def test_one_enormous_value_does_not_own_its_dimension(rng, size):
    rows = rng.normal(size=(200, 3)).astype(np.float32)
    spoilt = rows.copy()
    spoilt[7, 1] = size
    found = standard(spoilt)(spoilt)
    others = np.arange(200) != 7
    assert 0.4 < found[others, 1].std() <= 1.1
    np.testing.assert_array_equal(found[:, [0, 2]], standard(rows)(rows)[:, [0, 2]])


def test_rare_values_have_no_limits():
    rows = np.zeros((100, 1))
    rows[:3] = 1.0
    space = standard(rows)
    assert np.isinf(space.high).all() and space(rows).max() == pytest.approx(0.97 / rows.std())


def test_the_space_does_not_depend_on_the_units_of_its_dimensions(rng):
    rows = rng.standard_t(3, (300, 4)).astype(np.float32)
    units = np.array([1e-6, 1.0, 1e3, 1e6])
    other = (rows * units).astype(np.float32)
    np.testing.assert_allclose(standard(other)(other), standard(rows)(rows), atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [(np.empty((0, 3)), "with a record"), (np.zeros(3), "records, dimensions"), ([[1.0], [np.nan]], "row 1 is not")],
)
def test_what_is_no_embedding_has_no_space(rows, message):
    with pytest.raises(EcgfmError, match=message):
        standard(rows)
