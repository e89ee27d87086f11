"""The dimensions that a label selects in several cohorts together."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_ecgfm.measurements import separability
from pytest_ecgfm.measurements.features import Relevance, selected_in
from pytest_ecgfm.results.checks import Case
from tests.held_runs import HeldRun, settings_of
from tests.memory_cohort import MemoryCohort, encoder_of, means

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


def test_clustering_sees_no_more_records_there_than_elsewhere(monkeypatch, tmp_path):
    cohort = MemoryCohort(n=240)
    settings = replace(settings_of("m", {"memory": cohort}, tmp_path), cohorts=("memory",))
    run, encoder = HeldRun(settings, tmp_path / "run", {"memory": cohort}), encoder_of(means, version="1")
    seen = []
    monkeypatch.setattr(separability, "_CLUSTERED", 20)
    monkeypatch.setattr(
        separability, "_metric_cells", lambda at, space, *_: seen.append((len(space), space.most)) or []
    )
    case = Case("separability.neighbours", "m", "memory", "AF", space="selected")
    separability._label_cells(run, encoder, cohort, case)
    assert seen == [(run.labelled(cohort, "AF").split.folds[0].test.size, 20)] and seen[0][0] > 20
