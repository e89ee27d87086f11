"""What the contract measures of an encoder and a few records (docs/method.md#contract)."""

import numpy as np

from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations import contract, hard_records
from pytest_ecgfm.evaluations.differences import apart
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.signals.records import LEADS, RecordBatch


def repeatable(encoder: Encoder, sample: RecordBatch) -> Measured:
    """Largest distance between two passes (`evaluations.contract.repeatable`)."""
    return contract.repeatable(encoder.embed_batch, sample)


def batch_independent(encoder: Encoder, sample: RecordBatch) -> Measured:
    """Largest distance between batches of one, of many, and in another order."""
    return contract.batch_independent(encoder.embed_batch, sample)


def frozen(encoder: Encoder, sample: RecordBatch) -> Measured:
    """Count the parameters and buffers that a pass changes."""
    before = encoder.weights()
    encoder.embed_batch(sample)
    after = encoder.weights()
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return Measured.exact(len(changed), note=", ".join(changed[:5]))


def lead_order(encoder: Encoder, sample: RecordBatch) -> Measured:
    """Largest distance with the leads in another order."""
    return contract.lead_order(encoder.embed_batch, sample)


def declared_leads(encoder: Encoder, sample: RecordBatch) -> Measured:
    """Share of the leads that are read if, and only if, the card declares them."""
    return contract.declared_leads(encoder.embed_batch, sample, encoder.card.leads)


def declared_seconds(encoder: Encoder, sample: RecordBatch) -> Measured:
    """Share of the quarters that are read, of the part of a record that the card keeps."""
    return contract.declared_seconds(encoder.embed_batch, sample, encoder.card.seconds, encoder.card.crop)


def unusual(encoder: Encoder, sample: RecordBatch, ordinary: RecordBatch) -> Measured:
    """Share of flat, clipped, short and broken records that are embedded, or refused clearly."""
    return hard_records.hard_records(encoder.embed_batch, sample, encoder.prepared, ordinary)


def generated(encoder: Encoder) -> Measured:
    """Share of generated records that are embedded, or refused clearly."""
    return hard_records.generated(encoder.embed_batch, LEADS)


def memory(encoder: Encoder) -> Measured:
    """Memory that a pass leaves behind, over the size of its records."""
    return contract.memory(encoder.embed_batch, LEADS)


def unchanged(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Largest distance between what is said of a few records at the end and what was said of them before.

    Before is at the first use of the encoder on the cohort, and in the embeddings that the run rests on, which may come
    from the cache of an earlier run; where this process asked for none, in the cache, if it holds these records.
    """
    records = run.spread(case.cohort)
    then, now = run.remember(encoder, case.cohort), run.embed_again(encoder, case.cohort)
    whole = run.embedded(encoder, case.cohort)
    compared = [(apart(then, now, records, whole), "since the beginning of the run")]
    if whole is not None:
        position = {str(record): row for row, record in enumerate(run.cohort(case.cohort).records)}
        held = whole[np.array([position[record] for record in records])]
        compared.append((apart(held, now, records, whole), "from the embeddings that the run used"))
    elif (kept := run.kept(encoder, case.cohort)) is not None:
        # Of an earlier run, or of another process of this one.
        compared.append((apart(kept, now, records), "from the embeddings in the cache"))
    worst, since = max(compared, key=lambda one: one[0].value)
    note = f"{worst.note}, {since}" if worst.note else ""
    return Measured.exact(worst.value, note=note)
