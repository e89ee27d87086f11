"""Does an embedding depend on what was embedded before? New records in copies of the process (docs/method.md)."""

import io
import math
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.measured import Cell, Measured
from pytest_ecgfm.measurements.chosen import batches_of, chosen_rows
from pytest_ecgfm.measurements.stability import geometry_of
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.signals.perturbations import PERTURBATIONS
from pytest_ecgfm.signals.records import RecordBatch

_RECORDS = 8
_AT_ONCE = 2
_SECONDS = 60.0
_BEFORE = (("muscle", 24.0), ("shift", 20.0))
"""What the new records go through before they are embedded first: benign, and near what they are themselves."""


def history(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Largest distance between two embeddings of a new record: as the first of its kind, and after near ones.

    Both are made in copies of this process, from the same state: what one embeds, the other has never seen.
    """
    cohort = run.cohort(case.cohort)
    new = _new_records(run, cohort)
    if new is None:
        return _missing("no two records of the same length to mix")
    if why := _uncopied(encoder):
        return _missing(why)
    near = [PERTURBATIONS[name].apply(new, severity) for name, severity in _BEFORE]
    try:
        first = run.once(("copied", encoder.card.name, case.cohort), lambda: _in_copy(lambda: _embed(encoder, [new])))
        after = _in_copy(lambda: _embed(encoder, [*near, new])[-len(new) :])
    except EcgfmError as error:
        return _missing(str(error))
    geometry = geometry_of(run, encoder, cohort)
    a, b = (geometry.space(rows).astype(np.float64) for rows in (first, after))
    # Without a distance between patients, such as for constants, any change is as good as infinite.
    steady = 0.0 if np.array_equal(first, after) else math.inf
    value = float(geometry.scored.displacements(a, b).max()) if geometry.scored.typical > 0 else steady
    cell = Cell("stability", {"encoder": case.encoder, "cohort": case.cohort}, {"history": value})
    return Measured.exact(value, cells=(cell,), note=geometry.note)


def _missing(why: str) -> Measured:
    return Measured.insufficient(why)


def _new_records(run: Run, cohort: Cohort) -> RecordBatch | None:
    """Return records that no run has embedded: means of two of different patients, in mV; the leads keep their laws."""
    rows = chosen_rows(run, cohort, run.settings.profile.grid.stability_records)
    patients = dict(zip(map(str, cohort.records), cohort.patients.to_numpy(dtype=str), strict=True))
    for _, batch in batches_of(run, cohort, rows):
        pairs = [(a, b) for a, b in pairwise(range(len(batch))) if _differ(batch, a, b, patients)][:_RECORDS]
        if pairs:
            left, right = (batch.rows([pair[side] for pair in pairs]) for side in (0, 1))
            names = tuple(f"{a} + {b}" for a, b in zip(left.records, right.records, strict=True))
            mixed = ((left.signals + right.signals) / 2).astype(np.float32)
            return replace(left, signals=mixed, records=names)
    return None


def _differ(batch: RecordBatch, a: int, b: int, patients: dict[str, str]) -> bool:
    return patients[batch.records[a]] != patients[batch.records[b]]


def _embed(encoder: Encoder, batches: list[RecordBatch]) -> npt.NDArray[np.float32]:
    """Embed batches in this very thread, few records at once: encoders may hand larger ones to other processes."""
    parts = [one.rows(range(i, min(i + _AT_ONCE, len(one)))) for one in batches for i in range(0, len(one), _AT_ONCE)]
    return np.concatenate([encoder.embed_batch(part) for part in parts])


def _uncopied(encoder: Encoder) -> str:
    """Say why this process cannot be copied; empty where it can."""
    if not hasattr(os, "fork") or sys.platform == "darwin":
        return f"not measured: processes cannot be copied on {sys.platform}"
    torch = sys.modules.get("torch")
    if encoder.device != "cpu" or (torch is not None and torch.cuda.is_initialized()):
        return "not measured: a process that uses a graphics card cannot be copied"
    return ""


def _in_copy(embed: Callable[[], npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return what a copy of this process embeds; nothing that it does is seen here.

    Raises
    ------
    EcgfmError
        If the copy does not answer in time, or could not embed.
    """
    inlet, outlet = os.pipe()
    with warnings.catch_warnings():
        # The copy has one thread, and computes in it alone.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os.close(inlet)
        _answer(outlet, embed)
    os.close(outlet)
    try:
        answer = _read(inlet, time.monotonic() + _SECONDS)
    finally:
        os.close(inlet)
        # Whether it ended or hangs: nothing is left behind.
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    kind, _, content = answer.partition(b"\n")
    if kind == b"embedded":
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), dtype=np.float32)
    text = content.decode("utf-8", "replace") if kind == b"refused" else "the copy ended without an answer"
    raise EcgfmError(f"not measured: a copy of the process could not embed new records: {text}")


def _answer(outlet: int, embed: Callable[[], npt.NDArray[np.float32]]) -> None:
    """Embed in the copy, write what came of it, and end at once: no other code of the process may run twice."""
    try:
        if (torch := sys.modules.get("torch")) is not None:
            # Other threads were not copied; kernels that wait for them would wait for ever.
            torch.set_num_threads(1)
        buffer = io.BytesIO()
        np.save(buffer, embed(), allow_pickle=False)
        answer = b"embedded\n" + buffer.getvalue()
    except BaseException as error:
        answer = b"refused\n" + " ".join(f"{type(error).__name__}: {error}".split())[:500].encode()
    try:
        with os.fdopen(outlet, "wb") as stream:
            stream.write(answer)
    finally:
        os._exit(0)


def _read(inlet: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([inlet], [], [], left)[0]:
            break
        part = os.read(inlet, 1 << 20)
        if not part:
            return b"".join(parts)
        parts.append(part)
    raise EcgfmError(f"not measured: a copy of the process did not embed new records in {_SECONDS:g} s")
