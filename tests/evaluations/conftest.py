import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pytest_ecgfm.evaluations.clusters import Space


@pytest.fixture(scope="module")
def noise():
    return Space(np.random.default_rng(0).normal(size=(1000, 32)))


@pytest.fixture(scope="module")
def one_thread():
    # Small matrices: threads that wait for a busy core cost more than the work.
    with threadpool_limits(1):
        yield
