"""What a run imports and collects lasts as long as its process: Python's search for garbage leaves it out."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lasting() -> Iterator[None]:
    """Search for no garbage while the block makes what lasts, nor in that later.

    A quarter of what it takes to start is otherwise spent there: the search goes through every object of every
    module, while they are imported, again after collecting, and when pytest ends.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def forget() -> None:
    """Search again in what lasted: an earlier run in this process is over."""
    if gc.get_freeze_count():
        gc.unfreeze()
        gc.collect()
