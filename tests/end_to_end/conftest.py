import shutil

import pytest

from benchmarks.kills import Place
from tests.forked import starter

SMALL = (
    "--ecgfm-suites=downstream",
    "--ecgfm-cohorts=synthetic-europe",
    "--ecgfm-labels=AF",
    "--ecgfm-fractions=0.1,1",
    "--ecgfm-reference=demographics",
    "--ecgfm-limit=250",
)
"""A run of a few seconds that still goes the whole way."""

MODELS = '''
import numpy as np
from pytest_ecgfm import ecg_model


@ecg_model(sampling_rate=50, seconds=5, leads="II V1", pretrained_on=[], version="1")
def spread():
    """Spread and extremes of two leads."""
    return lambda x: np.concatenate([np.std(np.asarray(x), -1), np.ptp(np.asarray(x), -1)], axis=1)


@ecg_model(sampling_rate=50, seconds=5, leads="II V1", pretrained_on=[], version="1")
def constants():
    """An encoder that ignores its input."""
    return lambda x: np.ones((len(x), 4), np.float32)
'''


@pytest.fixture
def user(pytester, monkeypatch, shared_cache):
    """A user's folder, with two models in its conftest; runs pytest in a process of its own."""
    monkeypatch.setenv("ECGFM_CACHE", str(shared_cache))
    monkeypatch.delenv("ECGFM_DATA", raising=False)
    # hypothesis' plugin imports hypothesis at the end of every run, which is two seconds of each of these.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    pytester.makeconftest(MODELS)
    pytester.popen = starter(pytester)
    return pytester


@pytest.fixture
def fresh(user):
    """Each of the user's runs is a new interpreter, which imports all by itself."""
    del user.popen


@pytest.fixture
def run_folder(user):
    """The only run below the user's folder."""

    def find():
        runs = [path for path in (user.path / "ecgfm-results").iterdir() if not path.is_symlink()]
        assert len(runs) == 1, runs
        return runs[0]

    return find


@pytest.fixture
def remove_results(user):
    return lambda: shutil.rmtree(user.path / "ecgfm-results", ignore_errors=True)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, shared_cache):
    """The cube of a run of `benchmarks.kills` that nobody disturbed."""
    place = Place(tmp_path_factory.mktemp("undisturbed"), "downstream")
    place.share(shared_cache)
    cube = place.finish()
    assert place.embedded() == 1000
    return cube
