import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pytest_ecgfm.evaluations.clusters import Space
from pytest_ecgfm.signals.records import LEADS, RecordBatch


@pytest.fixture(scope="module")
def noise():
    return Space(np.random.default_rng(0).normal(size=(1000, 32)))


@pytest.fixture(scope="module")
def one_thread():
    # Small matrices: threads that wait for a busy core cost more than the work.
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def sample():
    """Six records of twelve leads, ten seconds at 100 Hz."""
    rng = np.random.default_rng(3)
    signals = rng.normal(size=(6, 12, 1000)).cumsum(-1).astype(np.float32) / 30
    return RecordBatch(signals, LEADS, 100.0, tuple(f"r{i}" for i in range(6)))
