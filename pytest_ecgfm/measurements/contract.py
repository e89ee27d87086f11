"""Does an encoder still say at the end of a run what it said before? (docs/method.md#contract)."""

import numpy as np

from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations.differences import apart
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.run.run import Run


def unchanged(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Largest distance between what is said of a few records at the end and what was said of them before.

    Before is at the first use of the encoder on the cohort, and in the embeddings that the run rests on, which may come
    from the cache of an earlier run; where this process asked for none, in the cache, if it holds these records.
    """
    records = run.spread(case.cohort)
    then, now = run.remember(encoder, case.cohort), run.embed_again(encoder, case.cohort)
    whole = run.embedded(encoder, case.cohort)
    found = [(apart(then, now, records, whole), "since the beginning of the run")]
    if whole is not None:
        position = {str(record): row for row, record in enumerate(run.cohort(case.cohort).records)}
        held = whole[np.array([position[record] for record in records])]
        found.append((apart(held, now, records, whole), "from the embeddings that the run rests on"))
    elif (kept := run.kept(encoder, case.cohort)) is not None:
        # Of an earlier run, or of another process of this one.
        found.append((apart(kept, now, records), "from the embeddings in the cache"))
    worst, since = max(found, key=lambda one: one[0].value)
    note = f"{worst.note}, {since}" if worst.note else ""
    return Measured.exact(worst.value, note=note)
