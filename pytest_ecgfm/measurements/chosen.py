"""Which records of a cohort are perturbed and explained: too few can be afforded for all of them."""

import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.signals.records import RecordBatch

# This module is part of the cache's key, and these are needed by names alone.
if TYPE_CHECKING:
    from pytest_ecgfm.embeddings import Progress
    from pytest_ecgfm.encoders.base import Encoder
    from pytest_ecgfm.run.run import Run

Rows = npt.NDArray[np.intp]

_BATCH = 16
_LEAST_TRAINING = 50


def chosen_rows(run: "Run", cohort: Cohort, count: int) -> Rows:
    """Choose records that stand for every label of the run.

    In turn, one that has a label, label by label, and one that has none of them, among records that the probes' splits
    test (so that a probe that never saw the patient can score them), each patient once while there are others. A
    smaller choice is the beginning of a larger one, and the same for every encoder.

    Parameters
    ----------
    run : Run
        For its labels and their splits.
    cohort : Cohort
        Whose records.
    count : int
        How many, at most.

    Returns
    -------
    ndarray of int, shape (at most count,)
        Rows of the cohort, in the order in which they were chosen.
    """
    rng = np.random.default_rng([zlib.crc32(cohort.name.encode()), 3])
    queues = _queues(run, cohort, rng)
    if not queues:
        queues = [list(rng.permutation(len(cohort)))]
    patients = cohort.patients.to_numpy(dtype=str)
    chosen: list[int] = []
    for fresh in (True, False):
        seen_patients = {patients[row] for row in chosen}
        pools = [[row for row in queue if row not in set(chosen)] for queue in queues]
        while len(chosen) < count and any(pools):
            for pool in pools:
                while pool and (pool[0] in chosen or (fresh and patients[pool[0]] in seen_patients)):
                    pool.pop(0)
                if pool and len(chosen) < count:
                    row = pool.pop(0)
                    chosen.append(row)
                    seen_patients.add(patients[row])
    return np.array(chosen, dtype=np.intp)


def _queues(run: "Run", cohort: Cohort, rng: np.random.Generator) -> list[list[int]]:
    """Return rows with each label, and rows with none of them, shuffled, of those that are tested."""
    queues: list[list[int]] = []
    tested, positive = np.zeros((2, len(cohort)), dtype=bool)
    for label in run.settings.labels:
        labelled = run.labelled(cohort, label)
        positive[labelled.rows[labelled.targets]] = True
        if labelled.split is not None:
            rows = np.unique(np.concatenate([fold.test for fold in labelled.split.folds]))
            tested[labelled.rows[rows]] = True
            queues.append([int(row) for row in rng.permutation(labelled.rows[rows[labelled.targets[rows]]])])
    others = np.flatnonzero(tested & ~positive)
    return [*queues, [int(row) for row in rng.permutation(others)]] if queues else []


def training_rows(run: "Run", cohort: Cohort, apart: Rows) -> tuple[Rows, str]:
    """Return the records by whose mean and SD embeddings are z-scored, and a note where they are not for training only.

    The training part of the first label's split that has one; in cross-validation, and without any split, all
    records: each trains some probe. Never a record of the patients in `apart`, which are looked at in that space.

    Parameters
    ----------
    run : Run
        For its labels and their splits.
    cohort : Cohort
        Whose records.
    apart : ndarray of int
        Rows of the cohort that are tested.

    Returns
    -------
    ndarray of int
        Rows of the cohort, ascending; all of them where fewer than 50 would be left.
    str
        Empty, or that all records were taken.
    """
    patients = cohort.patients.to_numpy(dtype=str)
    rows = np.arange(len(cohort))
    for label in run.settings.labels:
        labelled = run.labelled(cohort, label)
        if labelled.split is not None and labelled.split.kind != "cv":
            rows = labelled.rows[labelled.split.folds[0].train]
            break
    rows = rows[~np.isin(patients[rows], patients[apart])]
    if rows.size >= _LEAST_TRAINING:
        return rows, ""
    return np.arange(
        len(cohort)
    ), f"z-scored on all {len(cohort)} records: fewer than {_LEAST_TRAINING} are for training"


def batches_of(run: "Run", cohort: Cohort, rows: Sequence[int] | Rows) -> list[tuple[Rows, RecordBatch]]:
    """Read some records, as batches of one shape each, with their positions in `rows`; once in a process."""
    names = [str(cohort.records[row]) for row in rows]
    position = {name: number for number, name in enumerate(names)}

    def read() -> list[tuple[Rows, RecordBatch]]:
        # Several batches, so that the next one is perturbed while this one is embedded.
        batches = cohort.batches(min(run.settings.batch_size, _BATCH), names)
        return [(np.array([position[name] for name in batch.records]), batch) for batch in batches]

    return run.once(("batches", cohort.name, tuple(names)), read)


def embed_changed(
    run: "Run",
    encoder: "Encoder",
    cohort: Cohort,
    rows: Rows,
    change: Callable[[RecordBatch], RecordBatch],
    progress: "Progress",
) -> npt.NDArray[np.float32]:
    """Embed some records after a change, shape (rows, d); the next batch is changed while one is embedded."""
    out: npt.NDArray[np.float32] = np.empty(0, np.float32)
    done = 0
    stored = batches_of(run, cohort, rows)
    changed = encoder.embed_batches(change(batch) for _, batch in stored)
    for (at, _), (_, part) in zip(stored, changed, strict=True):
        if not done:
            out = np.full((rows.size, part.shape[1]), np.nan, np.float32)
        out[at] = part
        done += len(at)
        progress(done, rows.size)
    return out
