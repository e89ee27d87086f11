"""Stability of one encoder under one perturbation, in one cohort (docs/method.md#stability)."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.embeddings import Part
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.errors import EcgfmError, NotAnEmbedding, NotApplicable
from pytest_ecgfm.evaluations import stability as evaluation
from pytest_ecgfm.evaluations.geometry import collapse_bound, distinct_weights
from pytest_ecgfm.evaluations.geometry import effective_rank as rank_of
from pytest_ecgfm.evaluations.measured import Cell, Measured
from pytest_ecgfm.evaluations.stability import LabelStability, Reference, Stability
from pytest_ecgfm.evaluations.standardise import Standard, standard
from pytest_ecgfm.evaluations.statistics.bootstrap import Interval
from pytest_ecgfm.measurements import chosen
from pytest_ecgfm.measurements.applicability import require_change, rescaled_away
from pytest_ecgfm.measurements.chosen import Rows, chosen_rows, embed_changed, training_rows
from pytest_ecgfm.measurements.record_probes import record_probes
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.signals import perturbations
from pytest_ecgfm.signals.perturbation import Perturbation
from pytest_ecgfm.signals.perturbations import PERTURBATIONS, VARIANTS, half, variant_name
from pytest_ecgfm.signals.records import RecordBatch

MODULES = (perturbations.__name__, chosen.__name__)
"""What derives the embeddings of this suite."""

_LEAST_PAIRS = 10


@dataclass(frozen=True)
class Geometry:
    """The clean embeddings of a cohort, in the space that probes see and as they are."""

    space: Standard
    scored: Reference
    raw: Reference
    note: str

    def between(self, a: npt.NDArray[Any], b: npt.NDArray[Any], patients: npt.NDArray[Any]) -> "Between":
        """Compare two embeddings of the same thing."""
        found = evaluation.retest(self.scored, self.space(a), self.space(b), patients)
        return Between(found, evaluation.retest(self.raw, a, b, patients))


@dataclass(frozen=True)
class Between:
    """Distance of two embeddings of the same thing over that between patients, z-scored and as they are."""

    scored: Interval
    raw: Interval

    @property
    def values(self) -> dict[str, float]:
        """The cube's variables."""
        return self.scored.named("displacement") | self.raw.named("raw_displacement")


@dataclass(frozen=True)
class PerturbedAt:
    """What one perturbation does at one severity; `labels` is empty for what is no perturbation of the signal."""

    moved: Stability
    over_labels: LabelStability | None
    cells: tuple[Cell, ...]
    embedded: npt.NDArray[Any]


def displacement(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Median distance to the clean embedding, over that between patients."""
    return _measured(run, encoder, case, lambda point: Measured.of(point.moved.displacement))


def retrieval(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Share of perturbed records whose nearest record is their clean twin."""
    return _measured(run, encoder, case, lambda point: Measured.of(point.moved.retrieval))


def auroc_drop(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC on clean minus AUROC on perturbed records, mean over labels with enough of both classes."""

    def lost(point: PerturbedAt) -> Measured:
        labels = point.over_labels
        if labels is None or not math.isfinite(labels.auroc_drop.value):
            return Measured.insufficient("no label has 10 records of each class among the perturbed records")
        return Measured.of(labels.auroc_drop)

    return _measured(run, encoder, case, lost)


def effective_rank(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Effective rank of the clean embedding: 0 for constants, which would be perfectly stable."""
    cohort = run.cohort(case.cohort)
    geometry = geometry_of(run, encoder, cohort)
    embeddings = run.embeddings(encoder, cohort)
    value = rank_of(geometry.scored.embeddings, rounding=geometry.space.rounding)
    values = {"effective_rank": value, "raw_effective_rank": rank_of(embeddings)}
    cell = Cell("stability", {"encoder": case.encoder, "cohort": case.cohort}, values)
    bound = collapse_bound(*embeddings.shape)
    return Measured.exact(value, cells=(cell,), most_asked=bound, note=geometry.note)


def retest(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Distance between the halves of a record, over that between patients; and between two records of a patient."""
    cohort = run.cohort(case.cohort)
    against = geometry_of(run, encoder, cohort)
    rows = chosen_rows(run, cohort, run.settings.profile.grid.stability_records)
    patients = cohort.patients.to_numpy(dtype=str)
    try:
        halves = [
            _embedded(run, encoder, cohort, rows, f"half {which}", partial(half, which=which)) for which in (1, 2)
        ]
    except NotAnEmbedding:
        raise
    except EcgfmError as error:
        return Measured.insufficient(f"halves of records are refused: {error}")
    halves_apart = against.between(halves[0], halves[1], patients[rows])
    cells = [_cell(case, "halves", 0.0, halves_apart.values)]
    first, second = evaluation.pairs_of_patients(patients)
    if cohort.has_patients and first.size >= _LEAST_PAIRS:
        clean = against.raw.embeddings
        both = against.between(clean[first], clean[second], patients[first])
        cells.append(_cell(case, "same_patient", 0.0, both.values))
    return Measured.of(halves_apart.scored, cells=tuple(cells), note=against.note)


def precision(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Displacement when a torch model computes in bfloat16 instead of float32."""
    if encoder.module is None or encoder.precision != "float32":
        return Measured.insufficient("the model is not a torch module that runs in float32")
    cohort = run.cohort(case.cohort)
    rows = chosen_rows(run, cohort, run.settings.profile.grid.stability_records)
    half = Encoder(encoder.card, encoder.model, device=encoder.device, precision="bfloat16")
    other = _embedded(run, half, cohort, rows, "bfloat16", lambda batch: batch)
    geometry = geometry_of(run, encoder, cohort)
    moved, values = _moved(geometry, rows, other)
    cell = _cell(case, "bfloat16", 0.0, values)
    return Measured.of(moved.displacement, cells=(cell,), note=geometry.note)


def _cell(case: Case, perturbation: str, severity: float, values: dict[str, float], label: str = "") -> Cell:
    at: dict[str, Any] = {"encoder": case.encoder, "cohort": case.cohort}
    at |= {"perturbation": perturbation, "severity": severity, **({"label": label} if label else {})}
    return Cell("stability", at, values)


def _measured(run: Run, encoder: Encoder, case: Case, take: Callable[[PerturbedAt], Measured]) -> Measured:
    """Measure at the severity of the case; the cube gets the whole curve."""
    one, severity = VARIANTS[case.perturbation]
    curve = _curve(run, encoder, case, one)
    found = curve[severity]
    if isinstance(found, NotApplicable):
        return Measured.insufficient(f"not applicable: {found}")
    cells = tuple(cell for point in curve.values() if isinstance(point, PerturbedAt) for cell in point.cells)
    measured = take(found)
    note = geometry_of(run, encoder, run.cohort(case.cohort)).note
    return replace(measured, cells=cells, note="; ".join(part for part in (measured.note, note) if part))


def _curve(run: Run, encoder: Encoder, case: Case, one: Perturbation) -> dict[float, PerturbedAt | NotApplicable]:
    def make() -> dict[float, PerturbedAt | NotApplicable]:
        curve: dict[float, PerturbedAt | NotApplicable] = {}
        for severity in PERTURBATIONS[one.name].severities:
            try:
                curve[severity] = _found(run, encoder, case, one, severity)
            except NotApplicable as error:
                curve[severity] = error
        embedded = [found.embedded for found in curve.values() if isinstance(found, PerturbedAt)]
        hidden = rescaled_away(run, encoder, run.cohort(case.cohort), one, embedded)
        return curve if hidden is None else dict.fromkeys(curve, hidden)

    return run.once(("stability", encoder.card.name, case.cohort, one.name), make)


def _found(run: Run, encoder: Encoder, case: Case, one: Perturbation, severity: float) -> PerturbedAt:
    cohort = run.cohort(case.cohort)
    rows = chosen_rows(run, cohort, run.settings.profile.grid.stability_records)
    variant = variant_name(one.name, severity)
    require_change(run, encoder, cohort, rows, one, severity)
    perturbed = _embedded(run, encoder, cohort, rows, variant, lambda batch: one.apply(batch, severity), one.code)
    moved, values = _moved(geometry_of(run, encoder, cohort), rows, perturbed)
    each, over = _labels(run, encoder, cohort, rows, perturbed)
    if over is not None:
        values |= {**over.flip_rate.named("flip_rate"), **over.auroc_drop.named("auroc_drop")}
    cells = [_cell(case, one.name, severity, values)]
    for label, about in each.items():
        named = about.flip_rate.named("label_flip_rate") | about.auroc_drop.named("label_auroc_drop")
        cells.append(_cell(case, one.name, severity, {**named, "n_positive": float(about.positives)}, label))
    return PerturbedAt(moved, over, tuple(cells), perturbed)


def _labels(
    run: Run, encoder: Encoder, cohort: Cohort, rows: Rows, perturbed: npt.NDArray[Any]
) -> tuple[dict[str, LabelStability], LabelStability | None]:
    """Score clean and perturbed records with probes that never saw their patients."""
    fitted = {label: record_probes(run, encoder, cohort, label) for label in run.settings.labels}
    probes = {label: one for label, one in fitted.items() if one is not None}
    if not probes:
        return {}, None
    clean = run.embeddings(encoder, cohort)[rows]
    patients = cohort.patients.to_numpy(dtype=str)[rows]
    each, over = evaluation.label_stability(
        np.stack([one.standardised(rows, clean) for one in probes.values()]),
        np.stack([one.standardised(rows, perturbed) for one in probes.values()]),
        np.stack([one.targets[rows] for one in probes.values()]),
        np.stack([one.cuts(rows) for one in probes.values()]),
        patients,
    )
    return dict(zip(probes, each, strict=True)), over


def _moved(geometry: Geometry, rows: Rows, other: npt.NDArray[Any]) -> tuple[Stability, dict[str, float]]:
    """Compare changed records with their clean twins; with what goes into the cube."""
    moved = evaluation.stability(geometry.scored, rows, geometry.space(other))
    raw = evaluation.raw_values(geometry.raw, rows, other)
    return moved, {**moved.values(), **raw, "n_records": float(rows.size)}


def geometry_of(run: Run, encoder: Encoder, cohort: Cohort) -> Geometry:
    """Look at a cohort's clean embeddings once, in the space that probes see and as they are."""

    def make() -> Geometry:
        embeddings, patients = run.embeddings(encoder, cohort), cohort.patients.to_numpy(dtype=str)
        train, note = training_rows(run, cohort, chosen_rows(run, cohort, run.settings.profile.grid.stability_records))
        space = standard(embeddings[train])
        rows = space(embeddings)
        scored = evaluation.reference(rows, patients, weights=distinct_weights(rows[train]))
        return Geometry(space, scored, evaluation.reference(embeddings, patients), note)

    return run.once(("stability geometry", encoder.card.name, cohort.name), make)


def _embedded(
    run: Run,
    encoder: Encoder,
    cohort: Cohort,
    rows: Rows,
    what: str,
    change: Callable[[RecordBatch], RecordBatch],
    code: str = "",
) -> npt.NDArray[Any]:
    """Embed changed records, shape (rows, d), or find them embedded; `code` identifies what is no code of ours."""
    names = [str(cohort.records[row]) for row in rows]
    part = Part(what, json.dumps([what, code, names]), rows.size, MODULES)
    return run.derived(encoder, cohort, part, partial(embed_changed, run, encoder, cohort, rows, change))
