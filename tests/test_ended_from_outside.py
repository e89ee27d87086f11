"""Signals end a run in whatever moment they come, and spare what is being written; the header of a run."""

import gc
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ecgfm.evaluations.hard_records import generated, hard_records
from pytest_ecgfm.run.watch import Stopped, Watch, on_sigterm, restore_sigterm, undisturbed
from pytest_ecgfm.session.ending import Ending
from pytest_ecgfm.session.session import cohorts_from
from pytest_ecgfm.signals.records import LEADS, RecordBatch


class Run(Ending):
    def __init__(self):
        self.trouble = []
        self.watch = Watch(None, print)
        self.session = SimpleNamespace(shouldstop=False)


@pytest.fixture
def run():
    run = Run()
    before = on_sigterm(run._stop)
    yield run
    restore_sigterm(before)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_what_is_at_work(run):
    with pytest.raises(Stopped):
        terminate()
    assert run.trouble == ["the run was stopped by SIGTERM"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sigterm_while_garbage_is_collected_ends_the_run_at_the_next_batch(run):
    class Held:
        def __del__(self):
            terminate()

    held = Held()
    del held  # Python drops what is raised here
    gc.collect()
    assert run.session.shouldstop == "stopped by SIGTERM"
    with pytest.raises(Stopped), run.watch.batch("m", ["r1"]):
        raise AssertionError("a batch began")
    assert run.trouble == ["the run was stopped by SIGTERM"]


@pytest.mark.parametrize("evaluate", ["hard records", "generated"])
def test_no_check_takes_it_for_an_exception_of_the_model(run, evaluate):
    calls = []

    def model(batch):
        calls.append(1)
        if len(calls) == 5:
            terminate()
        return np.stack([batch.signals.std((1, 2)), batch.signals[:, 0, 0]], axis=1)

    signals = np.random.default_rng(0).normal(size=(3, 12, 500)).astype(np.float32)
    batch = RecordBatch(signals, LEADS, 100.0, ("a", "b", "c"))
    with pytest.raises(Stopped):
        hard_records(model, batch, lambda one: one) if evaluate == "hard records" else generated(model, LEADS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_being_written_is_written(run, number):
    before = signal.getsignal(number)
    with undisturbed():
        os.kill(os.getpid(), number)
        written = True
    assert written and not run.trouble and signal.getsignal(number) is before


NAMES = st.lists(st.sampled_from("abcdef"), unique=True, min_size=1)


@given(NAMES, st.sets(st.sampled_from("abcdef")), st.sampled_from([None, Path("data")]))
def test_the_header_says_where_each_cohort_comes_from(names, own, data):
    said = cohorts_from(names, own, data)
    assert ("@ecg_cohort" in said) == bool(own & set(names))
    assert (f"from {data or 'the package (embedded)'}" in said) == bool(set(names) - own)
    mentioned = {one for part in said.split("; ") for one in part.partition(" from ")[0].split(", ")}
    assert mentioned == set(names)
