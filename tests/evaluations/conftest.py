import numpy as np
import pytest

from pytest_ecgfm.evaluations.clusters import Space


@pytest.fixture(scope="module")
def noise():
    return Space(np.random.default_rng(0).normal(size=(1000, 32)))
