"""A small version of `benchmarks/soak.py`."""

import pytest

from benchmarks.soak import soak

pytestmark = pytest.mark.slow


def test_killed_workers_lose_their_check_and_nothing_else(tmp_path, shared_cache, monkeypatch):
    monkeypatch.setenv("ECGFM_CACHE", str(shared_cache))
    monkeypatch.delenv("ECGFM_DATA", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    found = soak(tmp_path, checks=5, encoders=2, kills=1)
    assert found["killed"] == 1 and found["planned"] == 10
    assert found["rows"] + found["lost"] == 10
