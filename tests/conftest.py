import gc
import os
import sys
from pathlib import Path

# Each of xdist's workers has its share of the cores, as in a run of ours; the libraries read it when they are imported,
# here and in the runs that tests start. Threads that wait for a busy core doubled what the tests of networks take.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

# pytester restores `sys.modules` after each of its tests, and compiled modules cannot be imported twice: whatever a
# test imports in this process is imported here first.
import h5netcdf  # noqa: F401
import numpy as np
import pytest
import scipy.signal  # noqa: F401
import torch  # noqa: F401
import xarray  # noqa: F401

# What is imported and collected lasts as long as the process. The search for garbage goes through all of it again and
# again, so it begins when the tests do, and leaves that out.
gc.disable()

# Hundreds of runs in subprocesses: without bytecode that is kept, each of them would compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Last on the path: tests use each other's helpers, and an installed package must not be hidden by the source tree, in
# which suites and fixtures are no part of it.
sys.path.append(str(Path(__file__).parents[1]))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture
def rng():
    return np.random.default_rng(20260101)
