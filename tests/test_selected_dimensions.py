"""The dimensions that a label selects in several cohorts together."""

from types import SimpleNamespace

import numpy as np
import pytest

from pytest_ecgfm.measurements.features import Relevance, selected_in

ENCODER = SimpleNamespace(card=SimpleNamespace(name="m"))


def run_of(**cohorts):
    """Make a run that remembers the relevance of the dimensions in each cohort, (folds, d), or None."""
    kept = {name: None if rows is None else Relevance(np.asarray(rows, float), ()) for name, rows in cohorts.items()}
    return SimpleNamespace(once=lambda key, make: kept[key[2]])


def selected_of(**cohorts):
    return selected_in(run_of(**cohorts), ENCODER, [SimpleNamespace(name=name) for name in cohorts], "AF")


def spread_over(dimensions, **values):
    row = np.zeros(dimensions)
    for name, value in values.items():
        row[int(name[1:])] = value
    return row


def test_one_cohort_selects_a_tenth_of_its_dimensions_in_their_order():
    assert selected_of(a=[spread_over(20, d7=1, d3=2, d11=0.5)]).tolist() == [3, 7]


def test_folds_count_alike_however_large_their_logits():
    # Summed as they are, dimension 1 would have 10 of 16.
    folds = [spread_over(10, d1=10, d2=0), spread_over(10, d2=2), spread_over(10, d2=4)]
    assert selected_of(a=folds).tolist() == [2]


def test_cohorts_count_alike_however_many_folds_they_have():
    # Folds alike: dimension 1 would have 5 x 0.6 + 0 of 6, dimension 2 the rest, 5 x 0.4 + 1.
    crossed, held_out = [spread_over(10, d1=0.6, d2=0.4)] * 5, [spread_over(10, d2=0.5, d3=0.5)]
    assert selected_of(a=crossed, b=held_out).tolist() == [2]
    assert selected_of(b=held_out, a=crossed).tolist() == [2]


def test_a_fold_without_any_relevance_says_nothing():
    found = selected_of(a=[np.zeros(10), spread_over(10, d4=1)], b=[spread_over(10, d4=1e-300)])
    assert found.tolist() == [4]


@pytest.mark.parametrize("cohorts", [{"a": None}, {"a": [np.ones(10)], "b": None}])
def test_a_cohort_without_a_probe_leaves_nothing_to_select(cohorts):
    assert selected_of(**cohorts) is None
