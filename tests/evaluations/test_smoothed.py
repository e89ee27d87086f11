"""AUROCs in which near pairs of records count in part."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.statistics import aurocs
from pytest_ecgfm.evaluations.statistics.smoothed import WIDTH, smoothed_aurocs
from tests.evaluations.by_pairs import smoothed


@given(st.integers(0, 10**6), st.integers(2, 60), st.floats(1e-3, 3), st.sampled_from([0, 1e6]), st.booleans())
def test_it_is_the_mean_over_pairs(seed, n, width, offset, ties):
    rng = np.random.default_rng(seed)
    targets = rng.permutation(n) < rng.integers(1, n)
    scores = rng.normal(size=(3, n)) * np.array([[1e-3], [1.0], [50.0]])
    scores = offset + (np.round(scores, 1) if ties else scores)
    expected = [smoothed(targets, row, width) if row.std() > 0 else 0.5 for row in scores]
    np.testing.assert_allclose(smoothed_aurocs(scores, targets, width), expected, atol=1e-6 if offset else 1e-10)


def test_a_narrow_kernel_leaves_the_auroc(rng):
    targets = np.arange(200) < 40
    scores = rng.normal(size=(4, 200)) + targets
    np.testing.assert_allclose(smoothed_aurocs(scores, targets, 1e-9), aurocs(scores, targets), atol=1e-12)


def test_the_chosen_width_estimates_the_auroc_of_the_population():
    quality = 0.8
    rng = np.random.default_rng(0)
    targets = np.arange(4000) < 1000
    scores = rng.normal(size=(20, 4000)) + np.sqrt(2) * norm.ppf(quality) * targets
    assert smoothed_aurocs(scores, targets).mean() == pytest.approx(quality, abs=0.003)


def test_rounding_of_scores_moves_it_by_no_whole_pair(rng):
    targets = np.arange(120) < 20
    scores = rng.normal(size=(200, 120)) + targets
    moved = scores + 1e-3 * rng.normal(size=scores.shape)
    one_pair = 1 / (20 * 100)
    assert (np.abs(aurocs(moved, targets) - aurocs(scores, targets)) >= one_pair - 1e-12).any()
    assert np.abs(smoothed_aurocs(moved, targets) - smoothed_aurocs(scores, targets)).mean() < one_pair / 5


def test_scale_and_place_of_scores_do_not_count(rng):
    targets = np.arange(90) < 30
    scores = rng.normal(size=90)
    found = smoothed_aurocs(np.stack([scores, 1e-4 * scores, 7 + 30 * scores]), targets)
    np.testing.assert_allclose(found, found[0], atol=1e-12)


def test_nothing_to_order():
    assert smoothed_aurocs(np.full(4, 3.0), [True, False, True, False]) == [0.5]
    assert np.isnan(smoothed_aurocs(np.arange(3.0), [True] * 3)).all()
    assert np.isnan(smoothed_aurocs(np.arange(3.0), [False] * 3)).all()
    with pytest.raises(EcgfmError):
        smoothed_aurocs(np.zeros((2, 3)), [True, False])
    assert WIDTH == 0.1
