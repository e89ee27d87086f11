"""What an encoder keeps of the records that it has embedded."""

import sys

import numpy as np
import pytest

from pytest_ecgfm.evaluations import contract
from pytest_ecgfm.signals.records import LEADS
from tests.memory_cohort import encoder_of


def test_what_is_made_once_but_late_is_no_leak():
    held, calls = [], []

    def embed(batch):
        calls.append(1)
        if len(calls) == 4:
            held.append(np.ones(10 * batch.signals.size))
        return batch.signals.mean(axis=-1)

    assert contract.memory(embed, LEADS).value == 0.0

    def leaking(batch):
        held.append(batch.signals[:, :1].copy())
        return embed(batch)

    assert contract.memory(leaking, LEADS).value == pytest.approx(1 / 12, abs=0.002)


@pytest.mark.parametrize("kept", ["nothing", "tensors", "arrays", "cycles", "once"])
def test_what_stays_in_memory_is_found(kept):
    held = []

    def model(x):
        if kept == "tensors":
            held.append(x[:, :1].clone())
        elif kept == "arrays":
            held.append(x[:, :1].numpy().copy())
        elif kept == "once" and not held:
            held.append(x.numpy().copy())
        elif kept == "cycles":
            # Nothing holds it but itself: the collector's work, and no leak.
            cycle = [x.numpy().copy()]
            cycle.append(cycle)
        return x.mean(-1)

    found = contract.memory(encoder_of(model, normalize="none").embed_batch, LEADS).value
    # One lead of twelve, at a fifth of the rate and half the length.
    wanted = 1 / 12 / 5 / 2 if kept in ("tensors", "arrays") else 0.0
    assert found == pytest.approx(wanted, abs=0.002) and found == round(found, 3)


def test_what_stays_in_memory_is_found_where_there_is_no_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    held = []

    def embed(batch):
        held.append(batch.signals[:, :6].copy())
        return np.ones((len(batch), 2), np.float32)

    assert contract.memory(embed, LEADS).value == pytest.approx(0.5, abs=0.002)


def test_tracing_that_somebody_else_began_goes_on():
    import tracemalloc

    tracemalloc.start()
    try:
        contract.memory(encoder_of(lambda x: x.mean(-1)).embed_batch, LEADS)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
