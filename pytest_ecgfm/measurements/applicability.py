"""Whether a perturbation says anything about an encoder: one that its input, or its scale, hides from it does not.

Such a check would pass for every encoder of a kind, whatever its quality (docs/method.md#stability).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.preprocessing import prepare
from pytest_ecgfm.errors import NotApplicable
from pytest_ecgfm.measurements.chosen import Rows, batches_of, chosen_rows
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.signals.perturbation import Perturbation
from pytest_ecgfm.signals.perturbations import PERTURBATIONS, variant_name
from pytest_ecgfm.signals.records import RecordBatch

_ROUNDING = 1e-5  # of a record's largest value: float32 has 6e-8, and filters and scaling add some
_STILL = 1e-3  # standard deviations of the cohort, root mean square over dimensions
_RESCALING = ("gain",)  # what an encoder may take out by scaling its input itself


def require_change(run: Run, encoder: Encoder, cohort: Cohort, rows: Rows, one: Perturbation, severity: float) -> None:
    """Refuse a perturbation that leaves what reaches the encoder as it was, in each of some records.

    What reaches it is what its card's preprocessing makes: the declared leads, resampled, cropped and scaled. Of a
    model that does its own preprocessing, only the declared leads are known.

    Raises
    ------
    NotApplicable
        If no record's input changes by more than rounding, or the records do not allow the perturbation.
    """
    for _, batch in batches_of(run, cohort, rows):
        # The first record alone, first: as a rule it says enough.
        for part in (batch.rows([0]), batch):
            if _changes(encoder, part, one.apply(part, severity)):
                return
    variant = variant_name(one.name, severity)
    raise NotApplicable(f"{variant} changes nothing that {encoder.card.name} reads in {cohort.name}")


def _changes(encoder: Encoder, clean: RecordBatch, perturbed: RecordBatch) -> bool:
    before, after = prepare(clean, encoder.card).signals, prepare(perturbed, encoder.card).signals
    if before.shape != after.shape:
        return True
    largest = np.abs(before).max(axis=(1, 2), initial=0.0)
    return bool((np.abs(after - before).max(axis=(1, 2), initial=0.0) > _ROUNDING * largest).any())


def rescaled_away(
    run: Run, encoder: Encoder, cohort: Cohort, one: Perturbation, embedded: Sequence[npt.NDArray[Any]]
) -> NotApplicable | None:
    """Say that an encoder takes a change of scale out of its input itself, or None if it does not.

    Parameters
    ----------
    run, encoder, cohort : Run, Encoder, Cohort
    one : Perturbation
    embedded : sequence of ndarray, shape (rows, d)
        The perturbed records, at each severity at which they were. Nothing is said unless that is at each of the table.
    """
    if one.name not in _RESCALING or len(embedded) < len(PERTURBATIONS[one.name].severities):
        return None
    rows = chosen_rows(run, cohort, run.settings.profile.grid.stability_records)
    clean = run.embeddings(encoder, cohort).astype(np.float64)
    spread = clean.std(axis=0)
    # What is the same for all records is no embedding, and must not look normalised.
    kept = spread > _ROUNDING * np.abs(clean).max(axis=0)
    if not kept.any():
        return None
    for perturbed in embedded:
        moved = (perturbed[:, kept] - clean[rows][:, kept]) / spread[kept]
        if not (np.sqrt((moved**2).mean(axis=1)) <= _STILL).all():
            return None
    return NotApplicable(f"{one.name} moves no record at any severity: {encoder.card.name} scales its input itself")
