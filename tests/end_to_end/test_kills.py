"""Runs that are killed, and repeated; `benchmarks/kills.py` does the same at random moments."""

import pytest

from benchmarks.kills import Place, assert_resumed

pytestmark = pytest.mark.slow


def test_a_killed_run_goes_on_and_ends_in_the_same_cube(tmp_path, shared_cache):
    def place(name):
        made = Place(tmp_path / name, "downstream")
        (shared_cache / "cohorts").mkdir(parents=True, exist_ok=True)
        made.cache.mkdir(parents=True)
        (made.cache / "cohorts").symlink_to(shared_cache / "cohorts")
        return made

    alone, place = place("alone"), place("killed")
    undisturbed = alone.finish()
    assert alone.embedded() == 1000
    for held in (1, 3):
        assert place.kill(lambda held=held: len(place.chunks()) >= held)
        assert held <= len(place.chunks()) < len(alone.chunks())
    assert_resumed(place, undisturbed, 1000, kills=2)
