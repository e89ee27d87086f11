# pytester restores `sys.modules` after each of its tests, and compiled modules cannot be imported twice: whatever a
# test imports in this process is imported here first.
import h5netcdf  # noqa: F401
import numpy as np
import pytest
import torch  # noqa: F401
import xarray  # noqa: F401


@pytest.fixture
def rng():
    return np.random.default_rng(20260101)
