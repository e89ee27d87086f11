"""A cohort's records through an encoder, in stretches: how a whole cohort is embedded, wherever that is done."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError, reworded
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

if TYPE_CHECKING:
    from pytest_ecgfm.cohorts.base import Cohort
    from pytest_ecgfm.encoders.base import Encoder

Progress = Callable[[int, int], None]
Change = Callable[[RecordBatch], RecordBatch]

_CHUNK = 256
"""Records that are kept together: what a killed run loses, at most, and still few files for a million records."""


def chunk_rows(batch_size: int) -> int:
    """Return how many records are embedded and kept together: whole batches, 256 records or a few more."""
    return batch_size * math.ceil(_CHUNK / batch_size)


def embed_stretches(
    encoder: "Encoder",
    cohort: "Cohort",
    stretches: Iterable[range],
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
    change: Change | None = None,
) -> Iterator[FloatArray]:
    """Embed stretches of a cohort's records, one after the other; the next batch is read while one is embedded.

    A batch never holds records of two stretches: what a stretch's embedding is, to the last bit, does not depend on
    which others are embedded beside it.

    Parameters
    ----------
    encoder : Encoder
        What embeds.
    cohort : Cohort
        Streamed; its signals are never in memory as a whole.
    stretches : iterable of range
        Rows of the cohort.
    batch_size : int
        Records a batch.
    progress : callable, optional
        Called with the number of records done and the number of all that are asked for.
    change : callable, optional
        Takes a batch as it was read, and returns the one to embed, of the same records.

    Yields
    ------
    ndarray of float32, shape (records of the stretch, dimensions)

    Raises
    ------
    EcgfmError
        If a record cannot be read or embedded; the message names cohort and record.
    """
    names = [list(cohort.records[one.start : one.stop]) for one in stretches]
    total, ended = sum(map(len, names)), 0
    read = (batch for some in names for batch in cohort.batches(batch_size, some))
    batches = read if change is None else map(change, read)
    try:
        with closing(encoder.embed_batches(batches)) as embedded:
            for some in names:
                row = {record: number for number, record in enumerate(some)}
                out, done = np.empty((0, 0), np.float32), 0
                while done < len(some):
                    batch, part = next(embedded)
                    if not done:
                        out = np.empty((len(some), part.shape[1]), np.float32)
                    out[[row[record] for record in batch.records]] = part
                    done += len(batch)
                    if progress is not None:
                        progress(ended + done, total)
                ended += done
                yield out
    except EcgfmError as error:
        raise reworded(error, f"cohort {cohort.name}: {error}") from None


def assembled(cohort: "Cohort", rows: int, chunks: Iterable[tuple[int, npt.NDArray[Any]]]) -> npt.NDArray[Any]:
    """Put chunks, each with the number of its first row, in their places.

    Raises
    ------
    EcgfmError
        If there is no chunk.
    """
    out: npt.NDArray[Any] | None = None
    for begin, values in chunks:
        if out is None:
            out = np.full((rows, *values.shape[1:]), np.nan, values.dtype)
        out[begin : begin + len(values)] = values
    if out is None:
        raise EcgfmError(f"cohort {cohort.name}: no records.")
    return out


def embed_cohort(
    encoder: "Encoder",
    cohort: "Cohort",
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
    change: Change | None = None,
) -> FloatArray:
    """Embed every record of a cohort: float32, shape (records, dimensions), in the order of ``cohort.records``.

    The parameters are those of `embed_stretches`.

    Raises
    ------
    EcgfmError
        If there is no record, or one cannot be read or embedded; the message names cohort and record.
    """
    size = chunk_rows(batch_size)
    stretches = [range(begin, min(begin + size, len(cohort))) for begin in range(0, len(cohort), size)]
    parts = embed_stretches(encoder, cohort, stretches, batch_size=batch_size, progress=progress, change=change)
    return assembled(cohort, len(cohort), zip((one.start for one in stretches), parts, strict=True))
