"""Every check is failed by an encoder that is broken in its way, and would be missed."""

import math
from dataclasses import replace
from itertools import count

import pytest
import torch
from threadpoolctl import threadpool_limits

from pytest_ecgfm.results.checks import CHECKS
from pytest_ecgfm.results.cube import build_cube
from tests.broken_entries import Entry, baseline_of, complaints, encoder_of, speaks_of
from tests.broken_matrix import MATRIX
from tests.broken_models import honest, representation
from tests.held_runs import EUROPE, HeldRun, evaluate, held_cohorts, planned, settings_of

# As in a session: a user's `filterwarnings = error` does not reach the suites.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(autouse=True)
def one_thread():
    # Small arrays: threads that wait for a busy core cost more than the work.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def held(shared_cache):
    return held_cohorts(shared_cache)


@pytest.fixture
def evaluated(held, tmp_path):
    """What the cells that an entry names came to; and what is planned, as a function of the table of checks."""

    # Embeddings are kept by the run's name: two encoders of one test must not share it.
    numbers = count()

    def run(entry):
        cohorts = held[entry.cohorts]
        compares = any(name.endswith("_change") for name in entry.fails)
        baselines = {"before": baseline_of(tmp_path / "before", cohorts)} if compares else {}
        settings = settings_of("m", cohorts, tmp_path, baselines)
        wanted = (*entry.fails, *entry.passes, *entry.undecided)
        cases = {
            case: threshold
            for case, threshold in planned(settings).items()
            if any(speaks_of(name, case) for name in wanted)
        }
        folder = tmp_path / f"run-{next(numbers)}"
        rows = evaluate(HeldRun(settings, folder, cohorts), encoder_of(entry), cases)
        # As at the end of a run: what a check writes to the cube without having declared it is an error.
        build_cube(rows.values(), folder / "arrays", {})
        return rows, settings

    return run


@pytest.mark.parametrize("entry", MATRIX, ids=lambda entry: entry.name)
def test_a_broken_encoder_fails_what_it_must_and_passes_the_rest(entry, evaluated, monkeypatch):
    rows, settings = evaluated(entry)
    assert not complaints(entry, rows)
    for case, row in rows.items():
        least, most = CHECKS[case.check].limits
        assert not (row.low < least or row.high > most), row.message()
    for name in entry.fails:
        check = name.partition("[")[0]
        with monkeypatch.context() as patch:
            patch.delitem(CHECKS, check)
            left = {case: rows[case] for case in planned(settings) if case in rows}
            assert complaints(entry, left), f"nobody would miss {check}"
        blind = {case: replace(row, outcome="pass") if case.check == check else row for case, row in rows.items()}
        assert complaints(entry, blind), f"nobody would notice that {check} passes everything"


def test_better_encoders_come_out_better(evaluated):
    def quality(noise):
        graded = Entry(
            "graded", lambda: honest.Noisy(noise), ("downstream.auroc", "separability.neighbours[embedding]"), ()
        )
        rows, _ = evaluated(graded)
        found = {(case.check, case.label): row.value for case, row in rows.items() if case.cohort == EUROPE}
        assert len(found) == 4
        return found

    best, middle, worst = (quality(noise) for noise in (0.0, 1.0, 20.0))
    for key in best:
        assert best[key] > middle[key] > worst[key], key


def test_two_dimensions_are_judged_by_their_own_maximum(evaluated):
    entry = Entry("two dimensions", representation.Two, (), ("stability.effective_rank",))
    rows, _ = evaluated(entry)
    assert not complaints(entry, rows)
    assert all(row.threshold == 1.5 for row in rows.values())


def test_a_gap_in_a_group_that_is_too_small_is_insufficient_and_named(evaluated):
    (entry,) = (one for one in MATRIX if one.cohorts == "few old")
    rows, _ = evaluated(replace(entry, passes=("subgroups.worst", "subgroups.gap")))
    assert len(rows) == 4
    for row in rows.values():
        assert row.outcome != "fail"
        assert "insufficient: " in row.reason and "age 65 and above: " in row.reason
        cells = {cell.coordinates.get("group"): cell.values for cell in row.cells}
        assert cells["age 65 and above"]["judged"] == 0
        assert cells["age 65 and above"]["n_test_positive"] < 10
        assert "auroc" in cells["sex F"] and math.isnan(cells["age 65 and above"]["auroc"])
        assert "unknown: sex of 5, age of 5, sex x age of 10 tested records" in row.reason
