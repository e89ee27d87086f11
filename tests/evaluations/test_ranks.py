"""Ranks with intervals: against a closed form, and whatever the order of the models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from pytest_ecgfm.evaluations.ranks import Scored, places, ranked
from pytest_ecgfm.evaluations.statistics.variance import aurocs

few = settings(max_examples=30, deadline=None)


def scored(qualities, positives=100, seed=0, noise=0.5):
    """Scores of models with planted AUROCs; they share half of their noise."""
    rng = np.random.default_rng(seed)
    targets = np.arange(4 * positives) < positives
    shared = rng.standard_normal(targets.size)
    own = rng.standard_normal((len(qualities), targets.size))
    lift = np.sqrt(2) * norm.ppf(np.asarray(qualities))[:, None] * targets
    scores = lift + np.sqrt(1 - noise) * shared + np.sqrt(noise) * own
    return Scored(scores, targets, np.array([f"p{one // 2}" for one in range(targets.size)]))


def test_means_are_those_of_the_cells():
    cells = [scored([0.9, 0.8], seed=1), scored([0.7, 0.75], seed=2)]
    wanted = np.mean([aurocs(one.scores, one.targets) for one in cells], axis=0)
    found = ranked({"a": cells})
    np.testing.assert_allclose([one.value for one in found], wanted)
    assert all(one.low < one.value < one.high for one in found)


def test_a_clear_order_is_certain_and_a_tie_is_not():
    found = ranked({"a": [scored([0.95, 0.6, 0.6])]})
    assert (found[0].rank, found[0].best, found[0].worst) == (1, 1, 1)
    assert {(one.best, one.worst) for one in found[1:]} == {(2, 3)}


def test_two_pairs_agree_with_the_closed_form_of_a_normal_difference():
    """Of two models, the bound is that of the one difference: 1.96 standard errors."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 0.01, (2, 20_000))
    error = (drawn[0] - drawn[1]).std()
    for difference, certain in ((1.9 * error, False), (2.02 * error, True)):
        values = np.array([0.5 + difference, 0.5])
        found = places(values, values[:, None] + drawn)
        assert ((found[0].worst, found[1].best) == (1, 2)) is certain


@few
@given(st.lists(st.sampled_from([0.6, 0.7, 0.72, 0.9]), min_size=2, max_size=5), st.randoms())
def test_the_order_of_the_models_does_not_matter(qualities, random):
    cell = scored(qualities, positives=30)
    order = list(range(len(qualities)))
    random.shuffle(order)
    mine = ranked({"a": [cell]}, resamples=100)
    theirs = ranked({"a": [cell._replace(scores=cell.scores[order])]}, resamples=100)
    assert [mine[row] for row in order] == theirs


@few
@given(st.lists(st.sampled_from([0.6, 0.75, 0.9]), min_size=1, max_size=4))
def test_identical_models_share_rank_and_interval(qualities):
    cell = scored(qualities, positives=30)
    twice = cell._replace(scores=np.concatenate([cell.scores, cell.scores]))
    found = ranked({"a": [twice]}, resamples=100)
    half = len(qualities)
    assert found[:half] == found[half:]
    for one in found:
        assert one.best <= one.rank <= one.worst
        assert one.best < one.worst


def test_two_perfect_models_are_not_told_apart_and_what_is_not_defined_does_not_count():
    found = places(np.array([1.0, 1.0]), np.ones((2, 50)))
    assert [(one.best, one.worst) for one in found] == [(1, 2), (1, 2)]
    drawn = np.array([[0.9, np.nan, 0.91], [0.1, 0.1, 0.12]])
    assert places(np.array([0.9, 0.1]), drawn)[0].value == pytest.approx(0.9)
    assert [one[3:] for one in places(np.array([0.9, 0.1]), np.full((2, 3), np.nan))] == [(1, 1, 2), (2, 1, 2)]


def test_patients_of_one_cohort_are_drawn_once_for_all_its_labels():
    """The same cell twice varies as much as once; two cohorts of the same cell vary less."""
    cell = scored([0.8, 0.7], positives=40)
    once, twice = ranked({"a": [cell]})[0], ranked({"a": [cell, cell]})[0]
    apart = ranked({"a": [cell], "b": [cell]})[0]
    assert twice[:3] == pytest.approx(once[:3], abs=0.01)
    assert apart.high - apart.low < 0.85 * (once.high - once.low)
