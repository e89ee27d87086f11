"""Is it an encoder at all? What every encoder has to keep to before its performance means anything."""

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from pytest_ecgfm.errors import EcgfmError, NotAnEmbedding
from pytest_ecgfm.records import FloatArray, RecordBatch

Embed = Callable[[RecordBatch], FloatArray]

_EXAMPLES = 20
_PASSES = 3
_TINY = 1e-12


@dataclass(frozen=True)
class Finding:
    """A quantity without sampling error.

    Attributes
    ----------
    value : float
        See the function that returned it.
    note : str
        What was wrong, where something was.
    """

    value: float
    note: str = ""


def repeatable(embed: Embed, batch: RecordBatch) -> Finding:
    """Embed twice; return the largest absolute difference over the root mean square of the first embedding.

    Parameters
    ----------
    embed : callable
        RecordBatch to array (records, dimensions).
    batch : RecordBatch
        At least one record.

    Returns
    -------
    Finding
        0 or more; an encoder that draws random numbers is far above 1e-6.
    """
    first, second = embed(batch).astype(np.float64), embed(batch).astype(np.float64)
    scale = max(float(np.sqrt(np.mean(first**2))), _TINY)
    return Finding(float(np.abs(first - second).max()) / scale)


def _smallest_cosine(a: FloatArray, b: FloatArray, records: Sequence[str]) -> Finding:
    """Smallest cosine over rows; rows that are equal agree, whatever their length."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosine = np.where(lengths > _TINY, (x * y).sum(axis=1) / np.maximum(lengths, _TINY), 0.0)
    cosine[np.all(a == b, axis=1)] = 1.0
    worst = int(np.argmin(cosine))
    return Finding(float(cosine[worst]), f"record {records[worst]}")


def batch_independent(embed: Embed, batch: RecordBatch) -> Finding:
    """Embed one by one, and in the opposite order; return the smallest cosine to the embedding of the whole batch.

    Returns
    -------
    Finding
        At most 1. An encoder that normalises over the batch falls below 0.9999.
    """
    whole = embed(batch)
    rows = range(len(batch))
    backwards = embed(batch.rows(rows[::-1]))[::-1]
    single = np.concatenate([embed(batch.rows([row])) for row in rows])
    return min(
        (_smallest_cosine(whole, other, batch.records) for other in (backwards, single)), key=lambda found: found.value
    )


def lead_order(embed: Embed, batch: RecordBatch) -> Finding:
    """Give the same records with their leads in another order, named rightly; return the smallest cosine.

    Returns
    -------
    Finding
        At most 1. An encoder that reads leads by position is below.
    """
    order = np.random.default_rng(0).permutation(len(batch.leads))
    other = replace(batch, signals=batch.signals[:, order], leads=tuple(batch.leads[i] for i in order))
    return _smallest_cosine(embed(batch), embed(other), batch.records)


def declared_leads(embed: Embed, batch: RecordBatch, declared: Sequence[str]) -> Finding:
    """Return the share of leads that are read if, and only if, they are declared.

    One lead after another is replaced by that of another record.
    A lead counts as read if any record's embedding changes at all.

    Parameters
    ----------
    embed : callable
        RecordBatch to array (records, dimensions).
    batch : RecordBatch
        One record or more.
    declared : sequence of str
        From the card.
    """
    clean = embed(batch)
    wrong = []
    for number, lead in enumerate(batch.leads):
        signals = batch.signals.copy()
        # A record alone has no other to take the lead from, and takes it backwards.
        other = np.roll(batch.signals[:, number], 1, axis=0) if len(batch) > 1 else batch.signals[:, number, ::-1]
        signals[:, number] = other
        changed = not np.array_equal(embed(replace(batch, signals=signals)), clean)
        if changed != (lead in declared):
            wrong.append(f"{lead} is {'read, but not declared' if changed else 'declared, but not read'}")
    return Finding(1 - len(wrong) / len(batch.leads), "; ".join(wrong))


def _unusual(batch: RecordBatch) -> Iterator[tuple[str, RecordBatch]]:
    """Yield records that occur in real cohorts and that encoders break on."""
    one = batch.rows([0])
    signals, rate = one.signals, batch.sampling_rate

    def with_lead(number: int, value: float) -> FloatArray:
        out = signals.copy()
        out[:, number] = value
        return out

    seconds = round(rate)
    made = {
        "flat": np.zeros_like(signals),
        "constant": np.full_like(signals, 0.3),
        "one flat lead": with_lead(0, 0.0),
        "clipped": np.clip(signals, -0.1, 0.1),
        "spikes of 16 mV": np.where(np.arange(signals.shape[-1]) % seconds == 0, np.float32(16), signals),
        "offset of 50 mV": signals + np.float32(50),
        "one second": signals[..., :seconds],
        "a minute": np.tile(signals, 60 * seconds // signals.shape[-1] + 1)[..., : 60 * seconds],
        "a missing sample": np.where(np.arange(signals.shape[-1]) == seconds // 2, np.float32(np.nan), signals),
        "a missing lead": with_lead(1, np.nan),
    }
    for name, changed in made.items():
        record = f"{one.records[0]} ({name})"
        yield name, replace(one, signals=changed.astype(np.float32), records=(record,))


def _refusal(embed: Embed, batch: RecordBatch) -> str:
    """Return what is wrong with the answer to one record; nothing if it is embedded, or refused by its name."""
    try:
        embed(batch)
    except NotAnEmbedding as error:
        return str(error)
    except EcgfmError as error:
        return "" if batch.records[0] in str(error) else f"an error that does not name the record: {error}"
    except Exception as error:
        # Whatever a model raises is a finding, and the next record is still asked.
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return ""


def hard_records(embed: Embed, batch: RecordBatch) -> Finding:
    """Give flat, clipped, short, long and broken records; return the share that is embedded, or refused clearly.

    A clear refusal is an `EcgfmError` that names the record.
    """
    found = {name: _refusal(embed, record) for name, record in _unusual(batch)}
    wrong = [f"{name}: {what}" for name, what in found.items() if what]
    return Finding(1 - len(wrong) / len(found), "; ".join(wrong))


@st.composite
def _records(draw: st.DrawFn, leads: tuple[str, ...]) -> RecordBatch:
    rate = draw(st.sampled_from([100.0, 250.0, 257.0, 360.0, 400.0, 500.0, 1000.0]))
    count, samples = draw(st.integers(1, 3)), round(rate * draw(st.sampled_from([5.0, 7.3, 10.0, 10.24])))
    order = tuple(draw(st.permutations(leads)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    signals = rng.normal(size=(count, len(order), samples)).cumsum(axis=-1)
    signals = draw(st.sampled_from([1e-3, 0.1, 1.0, 10.0])) * signals / np.abs(signals).max()
    signals += draw(st.sampled_from([0.0, -5.0, 5.0]))
    for lead in draw(st.sets(st.integers(0, len(order) - 1), max_size=3)):
        signals[:, lead] = draw(st.sampled_from([0.0, 1.0, np.nan]))
    names = tuple(f"generated {number}" for number in range(count))
    return RecordBatch(signals.astype(np.float32), order, rate, names)


def generated(embed: Embed, leads: tuple[str, ...], *, examples: int = _EXAMPLES) -> Finding:
    """Give records that hypothesis generates, the same ones in every run.

    Amplitude, offset, rate, length, lead order, batch, constant and missing leads vary. Each batch must be embedded
    like its records one by one, or refused by an `EcgfmError` that names one of them.

    Parameters
    ----------
    embed : callable
        RecordBatch to array (records, dimensions).
    leads : tuple of str
        What the records have.
    examples : int
        How many batches.

    Returns
    -------
    Finding
        Share of batches; the note describes the first that was neither.
    """
    wrong: list[str] = []
    tried: list[bool] = []

    @settings(
        derandomize=True,
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(batch=_records(leads))
    def ask(batch: RecordBatch) -> None:
        what = _answer(embed, batch)
        tried.append(not what)
        if what:
            wrong.append(f"{len(batch)} x {batch.signals.shape[-1]} samples at {batch.sampling_rate:g} Hz: {what}")

    ask()
    return Finding(float(np.mean(tried)), wrong[0] if wrong else "")


def _answer(embed: Embed, batch: RecordBatch) -> str:
    try:
        whole = embed(batch)
    except NotAnEmbedding as error:
        return str(error)
    except EcgfmError as error:
        return "" if any(name in str(error) for name in batch.records) else f"does not name the record: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    single = np.concatenate([embed(batch.rows([row])) for row in range(len(batch))])
    found = _smallest_cosine(whole, single, batch.records)
    return "" if found.value >= 0.999 else f"another embedding alone than in its batch (cosine {found.value:.4f})"


def memory(embed: Embed, leads: tuple[str, ...]) -> Finding:
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
    Finding
        Growth by a pass, mean of 3, as a share of the records' own size; 0 or more, in steps of 0.001. What is made
        once (a table, a compiled kernel) does not count.
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
        before = _held_bytes()
        for _ in range(_PASSES):
            embed(batch)
        growth = (_held_bytes() - before) / _PASSES
    finally:
        if not traced_already:
            tracemalloc.stop()
    return Finding(max(0.0, round(growth / signals.nbytes, 3)))


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
