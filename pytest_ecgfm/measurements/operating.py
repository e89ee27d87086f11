"""A threshold from the training patients, at home and in other cohorts (docs/method.md#operating-point)."""

import math
from collections.abc import Mapping
from typing import Any

from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations.calibration import Calibration
from pytest_ecgfm.evaluations.downstream import DownstreamResult
from pytest_ecgfm.evaluations.fold_probes import fold_probes
from pytest_ecgfm.evaluations.measured import Cell, Measured
from pytest_ecgfm.evaluations.operating import (
    Calls,
    Chosen,
    calls_abroad,
    calls_at_home,
    limits,
    threshold_of,
)
from pytest_ecgfm.evaluations.transfer import training_part
from pytest_ecgfm.measurements.downstream import evaluated
from pytest_ecgfm.measurements.record_probes import fitted_once
from pytest_ecgfm.measurements.transfer import (
    advisory_reason,
    lacking,
    source_parts,
    source_probe,
    sources_of,
    target_embeddings,
)
from pytest_ecgfm.measurements.without_age import embeddings_for
from pytest_ecgfm.results.checks import Case, enough
from pytest_ecgfm.results.rounded import chosen, rounded
from pytest_ecgfm.run.run import Run


def sensitivity(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Sensitivity in the tested records at a threshold that was chosen on the training patients alone."""
    kind = run.settings.profile.grid.probe
    own = evaluated(run, encoder, Case("downstream.auroc", case.encoder, case.cohort, case.label, 1.0), kind)
    tested = {"positives": own.positives, "negatives": own.negatives, "split": own.split}
    if not isinstance(own.result, DownstreamResult):
        return Measured.insufficient("too few records of a class for a probe", **tested)
    cohort, point = run.cohort(case.cohort), run.settings.profile.grid.operating_point
    labelled = run.labelled(cohort, case.label)
    assert labelled.split is not None
    embeddings = labelled.of(embeddings_for(run, encoder, cohort, case.label))
    given = embeddings, labelled.targets, labelled.patients
    fit = fitted_once(run, encoder, cohort, case.label)
    probes = fold_probes(*given, labelled.split, kind=kind, fit=fit)
    calls = calls_at_home(probes, *given, point.by, point.at)
    return _measured(run, calls, case, case.cohort, tested)


def sensitivity_abroad(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Sensitivity in one cohort of a probe and its threshold that both come from other cohorts."""
    about: dict[str, Any] = {"advisory": advisory_reason(run, encoder, case, "of a class", 1)}
    own = evaluated(run, encoder, Case("downstream.auroc", case.encoder, case.cohort, case.label, 1.0), "logistic")
    probe = source_probe(run, encoder, case)
    if not isinstance(own.result, DownstreamResult) or probe is None:
        return Measured.insufficient(f"too few records of a class in {lacking(own, case)} for a probe", **about)
    about |= {"positives": own.positives, "negatives": own.negatives, "split": own.split}
    chosen = _source_threshold(run, encoder, case)
    result, calls = own.result, None
    if chosen is not None:
        embeddings = target_embeddings(run, encoder, case)[result.tested]
        calls = calls_abroad(probe, chosen, embeddings, result.targets, result.patients)
    return _measured(run, calls, case, case.source, about)


def _source_threshold(run: Run, encoder: Encoder, case: Case) -> Chosen | None:
    def choose() -> Chosen | None:
        probe, parts = source_probe(run, encoder, case), source_parts(run, encoder, case)
        if probe is None or not parts:
            return None
        point = run.settings.profile.grid.operating_point
        return threshold_of(probe, *training_part(parts), point.by, point.at)

    # One source alone has one threshold, whatever the target.
    return run.once(("source threshold", encoder.card.name, *sources_of(run, case), case.label), choose)


def _measured(run: Run, calls: Calls | None, case: Case, source: str, about: Mapping[str, Any]) -> Measured:
    if calls is None:
        why = f"too few training patients of a class in {source} for out-of-fold scores, and so for a threshold"
        return Measured.insufficient(why, **about)
    told = [
        f"threshold {chosen(calls.values()['threshold'], 3)} by {run.settings.profile.grid.operating_point.words()}"
    ]
    told += [f"{name} {rounded(one.value)}" for name, one in calls.shares.items() if name != "sensitivity"]
    at = {"encoder": case.encoder, "source": source, "target": case.cohort, "label": case.label}
    cells = [Cell("operating", at, calls.values())]
    positives = int(calls.targets.sum())
    if enough(positives, calls.targets.size - positives):
        found = calls.calibration()
        cells += _calibrated(found, at)
        named = {"calibration slope": found.slope.value, "intercept": found.intercept.value, "ICI": found.ici.value}
        told += [f"{name} {value:.2f}" for name, value in named.items() if math.isfinite(value)]
        told += [found.note] if found.note else []
    return Measured.of(calls.shares["sensitivity"], cells=tuple(cells), note="; ".join(told), **about)


def _calibrated(found: Calibration, at: dict[str, str]) -> list[Cell]:
    """Return what the cube keeps: a cell of what is one number, and one a point of the curve."""
    values = limits({"slope": found.slope, "intercept": found.intercept, "ici": found.ici})
    cells = [Cell("operating", at, {**values, "ici_chance": found.chance})]
    if found.curve is not None and not math.isnan(found.ici.value):
        names = ("predicted", "observed", "observed_low", "observed_high")
        for number, point in enumerate(zip(*found.curve, strict=True)):
            values = dict(zip(names, map(float, point), strict=True))
            cells.append(Cell("operating", {**at, "point": number}, values))
    return cells
