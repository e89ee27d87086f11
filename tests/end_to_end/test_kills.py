"""Runs that are killed, and repeated; `benchmarks/kills.py` does the same at random moments."""

import pytest

from benchmarks.kills import Place, assert_resumed

pytestmark = pytest.mark.slow


def test_a_killed_run_goes_on_and_ends_in_the_same_cube(undisturbed, tmp_path, shared_cache):
    place = Place(tmp_path, "downstream")
    place.share(shared_cache)
    for held in (1, 3):
        assert place.kill(lambda held=held: len(place.chunks()) >= held)
        assert held <= len(place.chunks()) < 8  # four of the model under test, four of the reference
    assert_resumed(place, undisturbed, 1000, kills=2)
