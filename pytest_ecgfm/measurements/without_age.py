"""Embeddings from which age may be read: none in which it was told."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.quantities import AGE
from pytest_ecgfm.embeddings import Part, Progress
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.signals.records import FloatArray, RecordBatch


def embeddings_for(run: Run, encoder: Encoder, cohort: Cohort, target: str) -> FloatArray:
    """Embed a cohort for the probe of a label or of a quantity; of age, without telling the encoder any.

    Most encoders read no age: a few records, embedded with theirs and without, show whether one does. Only then is the
    cohort embedded a second time.

    Parameters
    ----------
    run, encoder, cohort : Run, Encoder, Cohort
    target : str
        Name of the label or quantity.

    Returns
    -------
    ndarray of float32, shape (records of the cohort, d)
    """
    told = ("told age", encoder.card.name, cohort.name)
    if target != AGE.name or not run.once(told, lambda: _reads(run, encoder, cohort)):
        return run.embeddings(encoder, cohort)
    part = Part("age withheld", "age withheld", len(cohort), (__name__,))
    key = ("age withheld", encoder.card.name, cohort.name)
    return run.once(key, lambda: run.derived(encoder, cohort, part, lambda show: _embed(run, encoder, cohort, show)))


def _reads(run: Run, encoder: Encoder, cohort: Cohort) -> bool:
    # Of what an encoder may be given, only records hold an age.
    if encoder.card.input != "records":
        return False
    batch = run.sample(cohort.name)
    told = replace(batch, ages=np.linspace(20, 85, len(batch), dtype=np.float32))
    return not np.array_equal(encoder.embed_batch(told), encoder.embed_batch(_withheld(batch)))


def _withheld(batch: RecordBatch) -> RecordBatch:
    return replace(batch, ages=np.full(len(batch), np.nan, np.float32))


def _embed(run: Run, encoder: Encoder, cohort: Cohort, progress: Progress) -> npt.NDArray[Any]:
    position = {str(record): row for row, record in enumerate(cohort.records)}
    found: npt.NDArray[np.float32] = np.empty((0, 0), np.float32)
    done = 0
    for batch in cohort.batches(run.settings.batch_size):
        rows = encoder.embed_batch(_withheld(batch))
        if not done:
            found = np.full((len(cohort), rows.shape[1]), np.nan, np.float32)
        found[[position[record] for record in batch.records]] = rows
        done += len(batch)
        progress(done, len(cohort))
    return found
