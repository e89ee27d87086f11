"""Records that encoders break on: those of real cohorts, and generated ones."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from pytest_ecgfm.errors import EcgfmError, NotAnEmbedding
from pytest_ecgfm.evaluations.differences import apart, between
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.evaluations.standardise import standard
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

Embed = Callable[[RecordBatch], FloatArray]

_EXAMPLES = 20
_COUPLED = 0.02  # of the distance between records
SAME = 1e-4
"""Of the distance between records: two embeddings that are nearer count as one. `benchmarks/defects.py` prints why."""


def _unusual(one: RecordBatch) -> Iterator[tuple[str, RecordBatch]]:
    """Yield what occurs in real cohorts and what encoders break on, made of one record."""
    signals, rate = one.signals, one.sampling_rate

    def with_lead(number: int, value: float) -> FloatArray:
        out = signals.copy()
        out[:, min(number, signals.shape[1] - 1)] = value
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


def _asked(embed: Embed, batch: RecordBatch) -> tuple[str, FloatArray | None]:
    """Return what is wrong with the answer to one record, and the embedding, where there is one.

    Nothing is wrong with a record that is refused by its name.
    """
    try:
        return "", embed(batch)
    except EcgfmError as error:
        if error.again:  # of the model, whatever the record
            raise
        if isinstance(error, NotAnEmbedding):
            return str(error), None
        named = batch.records[0] in str(error)
        return "" if named else f"an error that does not name the record: {error}", None
    except Exception as error:
        # Whatever a model raises is a finding, and the next record is still asked.
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", None


def hard_records(
    embed: Embed,
    batch: RecordBatch,
    prepare: Callable[[RecordBatch], RecordBatch],
    ordinary: RecordBatch | None = None,
) -> Measured:
    """Give flat, clipped, short, long and broken records; return the share that is embedded, or refused clearly.

    A clear refusal is an `EcgfmError` that names the record. An embedding has to tell records apart: two records of the
    cohort that lie apart get the same defect, and where what reaches the encoder still differs, their embeddings must.

    Parameters
    ----------
    embed : callable
        RecordBatch to array (records, dimensions).
    batch : RecordBatch
        The two that lie farthest apart are taken; one record alone is only asked.
    prepare : callable
        RecordBatch to what reaches the encoder of it.
    ordinary : RecordBatch, optional
        More records of the cohort, as they are: they count as one more defect, if three of them get one embedding.
    """
    first, second, points = _farthest(embed, batch)
    others = dict(_unusual(second)) if second is not None else {}
    wrong, count = [], 0
    # What says the same of all records is none of those that say it of the unusual: other checks see it.
    if ordinary is not None and second is not None:
        count += 1
        if alike := _alike(embed, ordinary, prepare):
            wrong.append(f"as they are: different records get the same embedding: {', '.join(alike)}")
    for name, record in _unusual(first):
        count += 1
        what, embedded = _asked(embed, record)
        if not what and embedded is not None and name in others and _differ(prepare, record, others[name]):
            what, other = _asked(embed, others[name])
            if other is not None and _between(embedded, other, points) <= SAME:
                what = "two different records get the same embedding"
        if what:
            wrong.append(f"{name}: {what}")
    return Measured.exact(1 - len(wrong) / count, note="; ".join(wrong))


def _farthest(embed: Embed, batch: RecordBatch) -> tuple[RecordBatch, RecordBatch | None, FloatArray]:
    """Return two records that lie far apart, or one, and the different embeddings of the batch."""
    embedded = [_asked(embed, batch.rows([row]))[1] for row in range(len(batch))]
    there = [row for row, one in enumerate(embedded) if one is not None]
    points = np.concatenate([embedded[row] for row in there]) if there else np.zeros((0, 1), np.float32)
    # Where most records get one and the same row, the others must still be told apart.
    points = np.unique(points, axis=0)
    if len(points) < 2:
        return batch.rows([0]), None, points
    space = standard(points)
    rows = space(np.concatenate([embedded[row] for row in there]))
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    if not distances.max() > 0:
        return batch.rows([0]), None, points
    one, other = np.unravel_index(int(np.argmax(distances)), distances.shape)
    return batch.rows([there[int(one)]]), batch.rows([there[int(other)]]), points


def _alike(embed: Embed, batch: RecordBatch, prepare: Callable[[RecordBatch], RecordBatch]) -> list[str]:
    """Return the first three records of a batch that differ, and whose embeddings do not.

    Two of many may coincide where an embedding has few possible values, such as an age and a rate in whole numbers.
    """
    rows = _asked(embed, batch)[1]
    if rows is None or not (typical := between(points := standard(rows)(rows))) > 0:
        return []
    near = cdist(points, points) <= SAME * typical
    for one in range(len(rows)):
        this, alike = batch.rows([one]), [int(row) for row in np.flatnonzero(near[one])]
        others = [row for row in alike if _differ(prepare, this, batch.rows([row]))]
        if len(others) > 1:
            return [batch.records[one], *(batch.records[row] for row in others[:2])]
    return []


def _differ(prepare: Callable[[RecordBatch], RecordBatch], a: RecordBatch, b: RecordBatch) -> bool:
    """Say whether what reaches the encoder differs by more than rounding, and is a signal."""
    try:
        one, other = prepare(a).signals, prepare(b).signals
    except EcgfmError:
        return False
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return False
    return float(np.abs(one - other).max()) > 1e-5 * max(float(np.abs(one).max()), float(np.abs(other).max()))


def _between(a: FloatArray, b: FloatArray, points: FloatArray) -> float:
    """Return the distance of two embeddings, shape (1, d), over that between some others, in the z-scores of these."""
    space = standard(points)
    moved = np.abs(a.astype(np.float64) - b) / np.where(np.isfinite(space.scale), space.scale, np.inf)
    return float(np.linalg.norm(moved)) / between(space(points))


def between_defects(
    embed: Embed, batch: RecordBatch, prepare: Callable[[RecordBatch], RecordBatch]
) -> dict[str, float]:
    """Return how far two different records with the same defect lie apart, over the distance between records.

    The parameters are those of `hard_records`. A defect that is refused, or that leaves nothing of what reaches the
    encoder to differ, is left out.
    """
    first, second, points = _farthest(embed, batch)
    found = {}
    others = dict(_unusual(second)) if second is not None else {}
    for name, record in _unusual(first):
        if (other := others.get(name)) is None:
            continue
        one, two = _asked(embed, record)[1], _asked(embed, other)[1]
        if one is not None and two is not None and _differ(prepare, record, other):
            found[name] = _between(one, two, points)
    return found


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


def generated(embed: Embed, leads: tuple[str, ...], *, examples: int = _EXAMPLES) -> Measured:
    """Embed records that hypothesis generates; they are the same in every run.

    Amplitude, offset, rate, length, lead order, batch, constant and missing leads vary. Each batch must get the same
    embeddings as its records one by one, or be refused by an `EcgfmError` that names one of them.

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
    Measured
        Share of batches that were embedded or refused in this way; the note describes the first other one.

    Examples
    --------
    >>> generated(lambda batch: batch.signals.mean(axis=2), ("I", "II"), examples=5).note
    ''
    """
    wrong: list[tuple[int, str]] = []
    whole: list[tuple[RecordBatch, FloatArray, FloatArray]] = []
    tried = 0

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
        nonlocal tried
        tried += 1
        what, embedded = _answer(embed, batch)
        if what:
            wrong.append((tried, f"{_shape(batch)}: {what}"))
        elif embedded is not None:
            whole.append((batch, *embedded))
            places.append(tried)

    places: list[int] = []
    ask()
    pool = np.concatenate([together for _, together, _ in whole]) if whole else None
    for place, (batch, together, single) in zip(places, whole, strict=True):
        found = apart(together, single, batch.records, pool)
        if found.value > _COUPLED:
            text = "its embedding alone differs from that in its batch"
            size = f"by {found.value:.3g} of the distance between records"
            wrong.append((place, f"{_shape(batch)}: {text} ({size})"))
    return Measured.exact(1 - len(wrong) / max(tried, 1), note=min(wrong)[1] if wrong else "")


def _shape(batch: RecordBatch) -> str:
    return f"{len(batch)} x {batch.signals.shape[-1]} samples at {batch.sampling_rate:g} Hz"


def _answer(embed: Embed, batch: RecordBatch) -> tuple[str, tuple[FloatArray, FloatArray] | None]:
    """Return what is wrong with the answer to a batch, and its embedding together and one by one, where it has one."""
    try:
        whole = embed(batch)
    except EcgfmError as error:
        if error.again:
            raise
        if isinstance(error, NotAnEmbedding):
            return str(error), None
        named = any(name in str(error) for name in batch.records)
        return "" if named else f"does not name the record: {error}", None
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", None
    return "", (whole, np.concatenate([embed(batch.rows([row])) for row in range(len(batch))]))
