"""What a worker of pytest-xdist does differently."""

import os


def share_cores(workers: int) -> None:
    """Give each worker its share of the cores: with all of them each, linear algebra is several times slower."""
    from threadpoolctl import threadpool_limits

    share = max(1, (os.cpu_count() or 1) // workers)
    # Read by torch when it is imported; libraries that are already here are told directly.
    os.environ.setdefault("OMP_NUM_THREADS", str(share))
    threadpool_limits(share)
