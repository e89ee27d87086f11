"""A cohort's records through an encoder, in stretches: how a whole cohort is embedded, wherever that is done."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from pytest_ecgfm.errors import EcgfmError, reworded
from pytest_ecgfm.signals.records import FloatArray

if TYPE_CHECKING:
    from pytest_ecgfm.cohorts.base import Cohort
    from pytest_ecgfm.encoders.base import Encoder

Progress = Callable[[int, int], None]

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
    batches = (batch for some in names for batch in cohort.batches(batch_size, some))
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


def embed_cohort(
    encoder: "Encoder", cohort: "Cohort", *, batch_size: int = 64, progress: Progress | None = None
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
    if not stretches:
        raise EcgfmError(f"cohort {cohort.name}: no records.")
    out = np.empty((0, 0), np.float32)
    parts = embed_stretches(encoder, cohort, stretches, batch_size=batch_size, progress=progress)
    for one, values in zip(stretches, parts, strict=True):
        if not one.start:
            out = np.empty((len(cohort), values.shape[1]), np.float32)
        out[one.start : one.stop] = values
    return out
