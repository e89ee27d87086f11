"""What lasts as long as the process is left out of the search for garbage, until another run begins."""

import gc
import weakref

import pytest

from pytest_ecgfm.session.lasting import forget, lasting


class Knot:
    """Refers to itself: only the search frees it."""

    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def unfrozen():
    gc.unfreeze()
    yield
    # As the other tests have it.
    gc.freeze()


def test_the_search_waits_and_leaves_out_what_was_made():
    with lasting():
        assert not gc.isenabled()
        made = Knot()
    assert gc.isenabled()
    kept = weakref.ref(made)
    del made
    gc.collect()
    assert kept() is not None


def test_another_run_frees_what_only_the_first_needed():
    with lasting():
        made = Knot()
    kept = weakref.ref(made)
    del made
    forget()
    assert kept() is None
    assert gc.get_freeze_count() == 0


def test_an_error_ends_the_wait():
    with pytest.raises(ValueError, match="misspelt"), lasting():
        raise ValueError("misspelt")
    assert gc.isenabled()


def test_who_searches_never_is_not_made_to():
    gc.disable()
    try:
        with lasting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
