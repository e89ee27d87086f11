"""Reading records ahead of whoever uses them."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Read = TypeVar("Read")

CHUNK = 8
"""Records a task: enough to make handing it over cheap, few enough to hold several in memory."""


def read_ahead(read: Callable[[str], Read], records: Sequence[str], workers: int) -> Iterator[tuple[str, Read]]:
    """Yield records with what `read` returns for them, in order, while threads read the next ones.

    Parameters
    ----------
    read : callable
        Given a record, returns what it reads; called from several threads.
    records : sequence of str
        Which ones.
    workers : int
        Threads; 0 reads here and now.

    Yields
    ------
    tuple
        Record, and what was read; at most ``(workers + 2) * CHUNK`` are held. What `read` raises is raised in its
        record's place.
    """
    # Threads rather than processes: reading and converting release the interpreter's lock for most of their time, and
    # handing arrays from process to process costs more than decoding them (see benchmarks/decode.py).
    if workers == 0 or len(records) <= CHUNK:
        for record in records:
            yield record, read(record)
        return

    def some(names: list[str]) -> tuple[list[tuple[str, Read]], Exception | None]:
        rows: list[tuple[str, Read]] = []
        try:
            for name in names:
                rows.append((name, read(name)))
        except Exception as error:  # handed over, and raised by whoever asked for the record
            return rows, error
        return rows, None

    names = iter(records)
    waiting: deque[Future[tuple[list[tuple[str, Read]], Exception | None]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ecgfm-read")
    try:
        # The first record is read here: what a cohort prepares when first read, it prepares once.
        first = next(names)
        yield first, read(first)
        while True:
            while len(waiting) <= workers and (chunk := list(islice(names, CHUNK))):
                waiting.append(pool.submit(some, chunk))
            if not waiting:
                return
            rows, error = waiting.popleft().result()
            yield from rows
            if error is not None:
                raise error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
