"""Embeddings of a few records without some of their leads: what relevance rests on, whatever the label.

What changes records here is part of the cache's key; so this module imports what derives embeddings, and nothing that
judges them.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.embeddings import Part, Progress
from pytest_ecgfm.evaluations.shapley import LeadShapley, lead_shapley
from pytest_ecgfm.measurements.chosen import Rows, batches_of, chosen_rows, embed_changed
from pytest_ecgfm.signals.coalitions import Player, complete, players, with_leads
from pytest_ecgfm.signals.records import RecordBatch

if TYPE_CHECKING:
    from pytest_ecgfm.encoders.base import Encoder
    from pytest_ecgfm.run.run import Run

MODULES = (__name__,)
"""What derives these embeddings."""


@dataclass(frozen=True)
class Explained:
    """Shapley values of the embedding of a few records of a cohort, for one background."""

    rows: Rows
    patients: npt.NDArray[np.str_]
    shapley: LeadShapley


def cast_of(encoder: "Encoder", run: "Run") -> tuple[Player, ...]:
    """Return the leads that come and go for this encoder."""
    return players(encoder.card.leads, run.settings.profile.grid.players)


def explain(run: "Run", encoder: "Encoder", cohort: Cohort, background: str) -> Explained:
    """Embed every coalition of leads of a few records, or find that done; `background` is ``"zero"`` or ``"other"``."""
    rows = chosen_rows(run, cohort, run.settings.profile.grid.explained_records)
    cast = cast_of(encoder, run)
    count = len(cast)

    def make(progress: Progress) -> npt.NDArray[np.float64]:
        out: npt.NDArray[np.float64] = np.empty(0)
        for number, (at, stored) in enumerate(batches_of(run, cohort, rows)):
            batch = complete(stored, encoder.card.leads)
            instead = np.zeros_like(batch.signals) if background == "zero" else _others(cohort, batch)
            found = lead_shapley(
                partial(_embeddings, encoder),
                batch,
                instead,
                cast,
                batch_size=run.settings.batch_size,
                progress=progress,
            )
            packed = np.concatenate([found.values, found.empty[:, None], found.full[:, None]], axis=1)
            if not number:
                out = np.full((rows.size, *packed.shape[1:]), np.nan)
            out[at] = packed
        return out

    names = [str(cohort.records[row]) for row in rows]
    donors = _donors(cohort, names) if background == "other" else []
    identity = json.dumps(["shapley", background, [[one.name, one.leads] for one in cast], names, donors])
    part = Part(f"Shapley values of leads, {background}", identity, rows.size, MODULES)
    packed = run.derived(encoder, cohort, part, make)
    patients = cohort.patients.to_numpy(dtype=str)[rows]
    return Explained(rows, patients, LeadShapley(packed[:, :count], packed[:, count], packed[:, count + 1]))


def _embeddings(encoder: "Encoder", batches: Iterable[RecordBatch]) -> Iterator[npt.NDArray[np.float32]]:
    return (part for _, part in encoder.embed_batches(batches))


def _donors(cohort: Cohort, records: Sequence[str]) -> list[str]:
    """Return a record of another patient for each record, whatever the batch around it."""
    names, patients = cohort.records.to_numpy(dtype=str), cohort.patients
    out = []
    for record in records:
        order = np.random.default_rng([zlib.crc32(record.encode()), 11]).permutation(len(names))
        out.append(next((str(names[one]) for one in order if patients[names[one]] != patients[record]), record))
    return out


def _others(cohort: Cohort, batch: RecordBatch) -> npt.NDArray[np.float32]:
    """Return the signals of a record of another patient for each, from the start, repeated where it is shorter."""
    out = np.empty_like(batch.signals)
    for row, other in enumerate(_donors(cohort, batch.records)):
        read = cohort.read(other)
        found = complete(RecordBatch(read.signals[None], read.leads, read.sampling_rate, (other,)))
        position = {lead: number for number, lead in enumerate(found.leads)}
        same = [position[lead] for lead in batch.leads]
        signals = np.resize(found.signals[0, same].T, (batch.signals.shape[-1], len(same))).T
        out[row] = signals
    return out


def without(
    run: "Run", encoder: "Encoder", cohort: Cohort, rows: Rows, cast: tuple[Player, ...], removed: npt.NDArray[np.intp]
) -> npt.NDArray[Any]:
    """Embed records without some players; the order of removal does not matter, only who is gone."""
    gone = tuple(sorted(int(one) for one in removed))

    def removed_from(stored: RecordBatch) -> RecordBatch:
        batch = complete(stored, encoder.card.leads)
        present = np.ones((len(batch), len(cast)), dtype=bool)
        present[:, list(gone)] = False
        return with_leads(batch, np.zeros_like(batch.signals), cast, present)

    names = [str(cohort.records[row]) for row in rows]
    leads = "+".join(cast[one].name for one in gone)
    identity = json.dumps(["without", [cast[one].leads for one in gone], names])
    part = Part(f"without {leads}", identity, rows.size, MODULES)
    make = partial(embed_changed, run, encoder, cohort, rows, removed_from)
    return run.once(("without", encoder.card.name, cohort.name, gone), lambda: run.derived(encoder, cohort, part, make))
