"""One more label that the embedded cohorts model: it has a stream of its own, and changes nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from pytest_ecgfm.cohorts.synthetic import SPECS, population
from pytest_ecgfm.cohorts.synthetic.population import FURTHER, Further, draw_population
from tests.cohorts.embedded_data import NAMES, small

HYPERTROPHY = Further(
    lambda state: state.finding == "hypertrophy" and state.severity > 0.4,
    lambda state: replace(state, finding="", severity=0.0),
)
INFARCT = Further(lambda state: state.finding == "infarct", lambda state: replace(state, finding="", severity=0.0))


def drawn(name):
    return draw_population(SPECS[name], (0, 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_further_label_changes_no_other_record(name, monkeypatch):
    before = drawn(name)
    monkeypatch.setitem(FURTHER, "LVH", HYPERTROPHY)
    one = drawn(name)
    monkeypatch.setitem(FURTHER, "MI", INFARCT)
    both = drawn(name)
    old = list(before.labels)
    assert list(both.labels) == [*old, "LVH", "MI"] and "LVH" not in old
    for after in (one, both):
        assert after.labels[old].equals(before.labels) and after.table.equals(before.table)
        assert after.states == before.states and after.patients == before.patients
    assert both.labels["LVH"].equals(one.labels["LVH"])
    # Whichever is named first.
    monkeypatch.setattr(population, "FURTHER", {"MI": INFARCT, "LVH": HYPERTROPHY})
    for label in ("LVH", "MI"):
        assert drawn(name).labels[label].equals(both.labels[label])


def test_a_reader_writes_a_further_label_with_slips_and_never_beside_a_normal_ecg(monkeypatch):
    monkeypatch.setitem(FURTHER, "LVH", HYPERTROPHY)
    found = drawn("synthetic-europe")
    wrote = found.labels["LVH"].to_numpy(bool)
    truth = np.array([HYPERTROPHY.present(state) for state in found.states])
    assert truth.sum() > 30 and wrote.sum() > 30
    assert 0 < (wrote & ~truth).mean() < 0.02 and 0 < (truth & ~wrote).sum() / truth.sum() < 0.15
    assert not (found.labels["LVH"] & found.labels["NORM"]).any()


def test_signals_are_the_same_and_the_truth_says_where_a_further_label_shows(monkeypatch):
    before = small("synthetic-europe", 40)
    monkeypatch.setitem(FURTHER, "LVH", HYPERTROPHY)
    after = small("synthetic-europe", 40)
    assert after.digest == before.digest
    (record, *_) = [r for r, s in zip(after.records, after._population.states, strict=True) if HYPERTROPHY.present(s)]
    shown = after.truth(record).labels["LVH"]
    assert sum(shown.leads.values()) == pytest.approx(1.0) and max(shown.leads.values()) < 0.9
    assert shown.intervals == [(0, after.truth(record).state.samples)]
