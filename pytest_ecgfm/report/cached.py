"""What is in the cache, as a table for the terminal."""

import time
from collections.abc import Iterator, Sequence

from pytest_ecgfm.embeddings.store import Entry, remove


def counted(count: int) -> str:
    """Say how many embeddings."""
    return f"{count} embedding{'' if count == 1 else 's'}"


def table_lines(found: Sequence[Entry]) -> Iterator[str]:
    """Yield a table's lines, nothing for an empty one."""
    table = [("encoder", "cohort", "part", "records", "MB", "used")] if found else []
    for one in found:
        days = int((time.time() - one.used) / 86400)
        records = str(one.rows) if one.held == one.rows else f"{one.held} of {one.rows}"
        used = "today" if days < 1 else f"{days} day{'' if days == 1 else 's'} ago"
        table.append((one.encoder, one.cohort, one.part, records, f"{one.size / 1e6:.1f}", used))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def prune(found: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Remove what the store made; return what is gone, and a line for each entry that is left."""
    gone: list[Entry] = []
    left: list[str] = []
    for one in found:
        if why := remove(one):
            left.append(f"{', '.join(filter(None, (one.encoder, one.cohort, one.part)))}: {why}")
        else:
            gone.append(one)
    return gone, left
