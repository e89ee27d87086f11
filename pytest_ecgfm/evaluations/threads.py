"""The libraries whose threads can be limited, found once."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


@cache
def thread_pools() -> "ThreadpoolController":
    """Find them: that takes a thousand times longer than telling them something, and longer than a small clustering."""
    # What is loaded later is not found, and scikit-learn brings OpenMP's.
    import sklearn.metrics  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
