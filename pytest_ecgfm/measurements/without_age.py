"""Embeddings from which age may be read: none in which it was told."""

from dataclasses import replace

import numpy as np

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.quantities import AGE
from pytest_ecgfm.embeddings import Part, Progress, embed_cohort
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

    def embed(progress: Progress) -> FloatArray:
        size = run.settings.batch_size
        return embed_cohort(encoder, cohort, batch_size=size, progress=progress, change=_withheld)

    key = ("age withheld", encoder.card.name, cohort.name)
    return run.once(key, lambda: run.derived(encoder, cohort, part, embed))


def _reads(run: Run, encoder: Encoder, cohort: Cohort) -> bool:
    # Of what an encoder may be given, only records hold an age.
    if encoder.card.input != "records":
        return False
    batch = run.sample(cohort.name)
    told = replace(batch, ages=np.linspace(20, 85, len(batch), dtype=np.float32))
    return not np.array_equal(encoder.embed_batch(told), encoder.embed_batch(_withheld(batch)))


def _withheld(batch: RecordBatch) -> RecordBatch:
    return replace(batch, ages=np.full(len(batch), np.nan, np.float32))
