"""Stability of one encoder under one perturbation, in one cohort (docs/method.md#stability)."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.checks import Case
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.embeddings import Part
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.errors import EcgfmError, NotAnEmbedding, NotApplicable
from pytest_ecgfm.evaluations import stability as evaluation
from pytest_ecgfm.evaluations.bootstrap import UNDEFINED, Interval
from pytest_ecgfm.evaluations.geometry import effective_rank as rank_of
from pytest_ecgfm.evaluations.stability import LabelStability, Reference, Stability
from pytest_ecgfm.measurements.applicability import require_change, rescaled_away
from pytest_ecgfm.measurements.chosen import Rows, chosen_rows, embed_changed
from pytest_ecgfm.measurements.record_probes import record_probes
from pytest_ecgfm.perturbations import PERTURBATIONS, VARIANTS, Perturbation, variant_name
from pytest_ecgfm.records import RecordBatch
from pytest_ecgfm.rows import Cell, Measured
from pytest_ecgfm.run import Run

_LEAST_PAIRS = 10


@dataclass(frozen=True)
class Found:
    """What one perturbation does at one severity; `labels` is empty for what is no perturbation of the signal."""

    moved: Stability
    over_labels: LabelStability | None
    cells: tuple[Cell, ...]
    embedded: npt.NDArray[Any]


def displacement(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Median distance to the clean embedding, over that between patients."""
    return _measured(run, encoder, case, lambda found: _of(found.moved.displacement))


def retrieval(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Share of perturbed records whose nearest record is their clean twin."""
    return _measured(run, encoder, case, lambda found: _of(found.moved.retrieval))


def auroc_drop(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC on clean minus AUROC on perturbed records, mean over labels with enough of both classes."""

    def lost(found: Found) -> Measured:
        labels = found.over_labels
        if labels is None or not math.isfinite(labels.auroc_drop.value):
            return replace(_of(UNDEFINED), missing="no label has 10 of each class among the perturbed records")
        return _of(labels.auroc_drop)

    return _measured(run, encoder, case, lost)


def effective_rank(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Effective rank of the clean embedding: 0 for constants, which would be perfectly stable."""
    cohort = run.cohort(case.cohort)
    value = rank_of(run.embeddings(encoder, cohort))
    cell = Cell("stability", {"encoder": case.encoder, "cohort": case.cohort}, {"effective_rank": value})
    return Measured(value, value, value, cells=(cell,))


def retest(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Distance between the halves of a record, over that between patients; and between two records of a patient."""
    cohort = run.cohort(case.cohort)
    against = _reference(run, encoder, cohort)
    rows = chosen_rows(run, cohort, run.settings.profile.grid.stability_records)
    patients = cohort.patients.to_numpy(dtype=str)
    try:
        halves = [_embedded(run, encoder, cohort, rows, f"half {half}", _half(half)) for half in (1, 2)]
    except NotAnEmbedding:
        raise
    except EcgfmError as error:
        return replace(_of(UNDEFINED), missing=f"halves of records are refused: {error}")
    found = evaluation.retest(against, halves[0], halves[1], patients[rows])
    cells = [_cell(case, "halves", 0.0, _limits("displacement", found))]
    first, second = evaluation.pairs_of_patients(patients)
    if cohort.has_patients and first.size >= _LEAST_PAIRS:
        both = evaluation.retest(against, against.embeddings[first], against.embeddings[second], patients[first])
        cells.append(_cell(case, "same_patient", 0.0, _limits("displacement", both)))
    return replace(_of(found), cells=tuple(cells))


def precision(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Displacement when a torch model computes in bfloat16 instead of float32."""
    if encoder.module is None or encoder.precision != "float32":
        return replace(_of(UNDEFINED), missing="no torch module that runs in float32")
    cohort = run.cohort(case.cohort)
    rows = chosen_rows(run, cohort, run.settings.profile.grid.stability_records)
    half = Encoder(encoder.card, encoder.model, device=encoder.device, precision="bfloat16")
    other = _embedded(run, half, cohort, rows, "bfloat16", lambda batch: batch)
    found = evaluation.stability(_reference(run, encoder, cohort), rows, other)
    cell = _cell(case, "bfloat16", 0.0, {**found.values(), "n_records": float(rows.size)})
    return replace(_of(found.displacement), cells=(cell,))


def _of(found: Interval) -> Measured:
    return Measured(found.value, found.low, found.high)


def _limits(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _cell(case: Case, perturbation: str, severity: float, values: dict[str, float], label: str = "") -> Cell:
    at: dict[str, Any] = {"encoder": case.encoder, "cohort": case.cohort}
    at |= {"perturbation": perturbation, "severity": severity, **({"label": label} if label else {})}
    return Cell("stability", at, values)


def _half(which: int) -> Callable[[RecordBatch], RecordBatch]:
    def take(batch: RecordBatch) -> RecordBatch:
        middle = batch.signals.shape[-1] // 2
        part = batch.signals[..., :middle] if which == 1 else batch.signals[..., middle : 2 * middle]
        return replace(batch, signals=part)

    return take


def _measured(run: Run, encoder: Encoder, case: Case, take: Callable[[Found], Measured]) -> Measured:
    """Measure at the severity of the case; the cube gets the whole curve."""
    one, severity = VARIANTS[case.perturbation]
    curve = _curve(run, encoder, case, one)
    found = curve[severity]
    if isinstance(found, NotApplicable):
        return replace(_of(UNDEFINED), missing=f"not applicable: {found}")
    cells = tuple(cell for point in curve.values() if isinstance(point, Found) for cell in point.cells)
    return replace(take(found), cells=cells)


def _curve(run: Run, encoder: Encoder, case: Case, one: Perturbation) -> dict[float, Found | NotApplicable]:
    def make() -> dict[float, Found | NotApplicable]:
        curve: dict[float, Found | NotApplicable] = {}
        for severity in PERTURBATIONS[one.name].severities:
            try:
                curve[severity] = _found(run, encoder, case, one, severity)
            except NotApplicable as error:
                curve[severity] = error
        embedded = [found.embedded for found in curve.values() if isinstance(found, Found)]
        hidden = rescaled_away(run, encoder, run.cohort(case.cohort), one, embedded)
        return curve if hidden is None else dict.fromkeys(curve, hidden)

    return run.once(("stability", encoder.card.name, case.cohort, one.name), make)


def _found(run: Run, encoder: Encoder, case: Case, one: Perturbation, severity: float) -> Found:
    cohort = run.cohort(case.cohort)
    rows = chosen_rows(run, cohort, run.settings.profile.grid.stability_records)
    variant = variant_name(one.name, severity)
    require_change(run, encoder, cohort, rows, one, severity)
    perturbed = _embedded(run, encoder, cohort, rows, variant, lambda batch: one.apply(batch, severity))
    moved = evaluation.stability(_reference(run, encoder, cohort), rows, perturbed)
    each, over = _labels(run, encoder, cohort, rows, perturbed)
    values = {**moved.values(), "n_records": float(rows.size)}
    if over is not None:
        values |= {**_limits("flip_rate", over.flip_rate), **_limits("auroc_drop", over.auroc_drop)}
    cells = [_cell(case, one.name, severity, values)]
    for label, about in each.items():
        named = _limits("label_flip_rate", about.flip_rate) | _limits("label_auroc_drop", about.auroc_drop)
        cells.append(_cell(case, one.name, severity, {**named, "n_positive": float(about.positives)}, label))
    return Found(moved, over, tuple(cells), perturbed)


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


def _reference(run: Run, encoder: Encoder, cohort: Cohort) -> Reference:
    def make() -> Reference:
        return evaluation.reference(run.embeddings(encoder, cohort), cohort.patients.to_numpy(dtype=str))

    return run.once(("stability reference", encoder.card.name, cohort.name), make)


def _embedded(
    run: Run, encoder: Encoder, cohort: Cohort, rows: Rows, what: str, change: Callable[[RecordBatch], RecordBatch]
) -> npt.NDArray[Any]:
    """Embed changed records, shape (rows, d), or find them embedded."""
    names = [str(cohort.records[row]) for row in rows]
    part = Part(what, json.dumps([what, names]), rows.size)
    return run.derived(encoder, cohort, part, partial(embed_changed, run, encoder, cohort, rows, change))
