"""Is it an encoder at all? What every encoder has to meet before its performance means anything."""

import gc
import math
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from pytest_ecgfm.evaluations.differences import apart
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

Embed = Callable[[RecordBatch], FloatArray]

_PASSES = 3
_ROUNDS = 3
_LITTLE = 0.001
_QUARTERS = 4  # of a record: 2.5 s of ten, in which every heart beats
_ALONE = 8  # records that are also embedded one by one: each is a batch of its own


def repeatable(embed: Embed, batch: RecordBatch) -> Measured:
    """Embed twice; return how far apart the two embeddings of a record are.

    Parameters
    ----------
    embed : callable
        RecordBatch to array (records, dimensions).
    batch : RecordBatch
        At least one record.

    Returns
    -------
    Measured
        0 or more, see `apart`; an encoder that draws random numbers is far above 1e-4.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.signals.records import RecordBatch
    >>> signals = np.random.default_rng(0).normal(size=(4, 2, 100)).astype(np.float32)
    >>> batch = RecordBatch(signals, ("I", "II"), 100.0, ("a", "b", "c", "d"))
    >>> repeatable(lambda batch: batch.signals.mean(axis=2), batch).value
    0.0
    """
    first = embed(batch)
    return apart(first, embed(batch), batch.records)


def batch_independent(embed: Embed, batch: RecordBatch) -> Measured:
    """Embed in one batch, in other batches and another order, and one by one; return how far apart the embeddings are.

    In the other batches, each record has the identifier of another one; alone, it has a number as identifier. An
    identifier says nothing about a heart.

    Parameters
    ----------
    embed : callable
        RecordBatch to array (records, dimensions).
    batch : RecordBatch
        As many records as a run embeds at once: some encoders depend on their batch only if it is large.

    Returns
    -------
    Measured
        0 or more, see `apart`: the largest value of all these ways.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.signals.records import RecordBatch
    >>> signals = np.random.default_rng(0).normal(size=(4, 2, 100)).astype(np.float32)
    >>> batch = RecordBatch(signals, ("I", "II"), 100.0, ("a", "b", "c", "d"))
    >>> found = batch_independent(lambda batch: batch.signals.mean(axis=2) - batch.signals.mean(), batch)
    >>> found.value > 0.1  # the mean of the batch is taken away
    True
    """
    whole = embed(batch)
    renamed = replace(batch, records=batch.records[1:] + batch.records[:1])
    numbered = replace(batch, records=tuple(str(row) for row in range(len(batch))))
    order = np.random.default_rng(0).permutation(len(batch))
    cut = (len(batch) + 1) // 3
    parts = [embed(renamed.rows(part.tolist())) for part in (order[:cut], order[cut:]) if part.size]
    mixed = np.empty_like(whole)
    mixed[order] = np.concatenate(parts)
    alone = order[: min(_ALONE, len(batch))]
    single = whole.copy()
    single[alone] = np.concatenate([embed(numbered.rows([row])) for row in alone])
    worst = max((apart(whole, other, batch.records) for other in (mixed, single)), key=lambda one: one.value)

    def moves(other: RecordBatch) -> bool:
        return apart(whole, embed(other), batch.records).value > 0

    # What moves by itself does not move because of a name.
    if worst.value > 0 and not moves(batch) and (moves(renamed) or moves(numbered)):
        return replace(worst, note=f"{worst.note}, under another identifier")
    return worst


def lead_order(embed: Embed, batch: RecordBatch) -> Measured:
    """Give the same records with their leads in other orders, correctly named; return how far apart the embeddings are.

    Returns
    -------
    Measured
        0 or more, see `apart`. It is large for an encoder that reads leads by position.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.signals.records import RecordBatch
    >>> signals = np.random.default_rng(0).normal(size=(4, 2, 100)).astype(np.float32)
    >>> batch = RecordBatch(signals, ("I", "II"), 100.0, ("a", "b", "c", "d"))
    >>> lead_order(lambda batch: batch.signals.mean(axis=2), batch).value > 0.1  # it does not look at the names
    True
    """
    whole = embed(batch)
    count = len(batch.leads)
    orders = (np.random.default_rng(0).permutation(count), np.arange(count)[::-1])
    distances = []
    for order in orders:
        other = replace(batch, signals=batch.signals[:, order], leads=tuple(batch.leads[i] for i in order))
        distances.append(apart(whole, embed(other), batch.records))
    return max(distances, key=lambda one: one.value)


def unchanged(then: FloatArray, now: FloatArray, records: Sequence[str], others: FloatArray | None = None) -> Measured:
    """Compare earlier embeddings of some records with those that the encoder gives at the end of the run.

    Parameters
    ----------
    then, now : ndarray, shape (records, dimensions)
    records : sequence of str
    others : ndarray, shape (n, dimensions), optional
        Embeddings of more records, for the distance between records; `then` by default.

    Returns
    -------
    Measured
        0 or more, see `apart`. It is above 0 for an encoder that drifts.

    Examples
    --------
    >>> import numpy as np
    >>> then = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    >>> unchanged(then, then, ["a", "b", "c", "d"]).value
    0.0
    """
    return apart(then, now, records, others)


def declared_leads(embed: Embed, batch: RecordBatch, declared: Sequence[str]) -> Measured:
    """Return the share of leads that are read if, and only if, they are declared.

    One lead after another is replaced by the same lead of another record. A lead counts as read if the embedding of any
    record changes at all.

    Parameters
    ----------
    embed : callable
        RecordBatch to array (records, dimensions).
    batch : RecordBatch
        One record or more.
    declared : sequence of str
        From the card.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.signals.records import RecordBatch
    >>> signals = np.random.default_rng(0).normal(size=(4, 2, 100)).astype(np.float32)
    >>> batch = RecordBatch(signals, ("I", "II"), 100.0, ("a", "b", "c", "d"))
    >>> declared_leads(lambda batch: batch.signals[:, :1].mean(axis=2), batch, ("I", "II")).note
    'II is declared, but not read'
    """
    clean = embed(batch)
    wrong = []
    for number, lead in enumerate(batch.leads):
        read = not np.array_equal(embed(_with_part_of_another(batch, np.s_[:, number])), clean)
        if read != (lead in declared):
            wrong.append(f"{lead} is {'read, but not declared' if read else 'declared, but not read'}")
    return Measured.exact(1 - len(wrong) / len(batch.leads), note="; ".join(wrong))


def declared_seconds(embed: Embed, batch: RecordBatch, seconds: float | None, crop: str = "start") -> Measured:
    """Return the share of a record's quarters that are read, of the part of it that the card keeps.

    One quarter after another is replaced by that of another record, in all leads. It counts as read if any record's
    embedding changes at all.

    Parameters
    ----------
    embed : callable
        RecordBatch to array (records, dimensions).
    batch : RecordBatch
        One record or more.
    seconds : float or None
        From the card; None is the whole record.
    crop : {"start", "center"}
        Which part of a longer record the card keeps.
    """
    length, rate = batch.signals.shape[-1], batch.sampling_rate
    kept = length if seconds is None else round(seconds * rate)
    if kept > length:
        # A network of whole windows rightly leaves out what does not fill one.
        return Measured.insufficient(
            f"not applicable: the records last {length / rate:g} s, the card declares {seconds:g} s"
        )
    clean = embed(batch)
    first = (length - kept) // 2 if crop == "center" else 0
    edges = np.linspace(first, first + kept, _QUARTERS + 1).astype(int)
    unread = []
    for start, end in pairwise(edges):
        # Not its edges: filters carry them into what is next to it.
        margin = (end - start) // 10
        other = _with_part_of_another(batch, np.s_[..., start + margin : end - margin])
        # Padded alike in all records, a quarter has nothing to be read.
        if not np.array_equal(other.signals, batch.signals) and np.array_equal(embed(other), clean):
            unread.append(f"{start / rate:g} to {end / rate:g} s")
    note = f"kept by the card, but not read: {', '.join(unread)}" if unread else ""
    return Measured.exact(1 - len(unread) / _QUARTERS, note=note)


def _with_part_of_another(batch: RecordBatch, part: Any) -> RecordBatch:
    """Give each record a part of the signals of another one; a record alone has no other, and takes it backwards."""
    signals = batch.signals.copy()
    signals[part] = (np.roll(batch.signals, 1, axis=0) if len(batch) > 1 else batch.signals[..., ::-1])[part]
    return replace(batch, signals=signals)


def memory(embed: Embed, leads: tuple[str, ...]) -> Measured:
    """Embed the same generated records again and again; return what stays in memory.

    Counted are allocations that Python knows of, numpy's among them, and torch's tensors on any device. What a library
    keeps by itself, unknown to both, is not seen.

    Parameters
    ----------
    embed : callable
        RecordBatch to array (records, dimensions).
    leads : tuple of str
        What the records have.

    Returns
    -------
    Measured
        Growth by a pass, mean of 3, as a share of the records' own size; 0 or more, in steps of 0.001. Where it is
        more than 0.001, the smallest of three rounds: what is made once (a table, a compiled kernel) does not count.
    """
    rng = np.random.default_rng(0)
    signals = (rng.normal(size=(4, len(leads), 5000)).cumsum(axis=-1) / 50).astype(np.float32)
    batch = RecordBatch(signals, leads, 500.0, tuple(f"generated {number}" for number in range(4)))
    traced_already = tracemalloc.is_tracing()
    if not traced_already:
        tracemalloc.start(1)
    try:
        # What is made once is made by now.
        for _ in range(2):
            embed(batch)
        growth = math.inf
        # What is made once, but late, is found in one round and not in the next; what leaks is found in each.
        for _ in range(_ROUNDS):
            before = _held_bytes()
            for _ in range(_PASSES):
                embed(batch)
            growth = min(growth, (_held_bytes() - before) / _PASSES)
            if growth <= _LITTLE * signals.nbytes:
                break
    finally:
        if not traced_already:
            tracemalloc.stop()
    return Measured.exact(max(0.0, round(growth / signals.nbytes, 3)))


def _held_bytes() -> int:
    gc.collect()
    python = tracemalloc.get_traced_memory()[0]
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return python
    # By type, not by isinstance: some modules hold proxies that answer to any question.
    tensors = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
    storages = {one.untyped_storage()._cdata: one.untyped_storage().nbytes() for one in tensors}
    return python + sum(int(size) for size in storages.values())
