"""Relevance of leads and dimensions for one encoder (docs/method.md#relevance)."""

import math
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.errors import NotApplicable
from pytest_ecgfm.evaluations import relevance as evaluation
from pytest_ecgfm.evaluations.measured import Cell, Measured
from pytest_ecgfm.evaluations.relevance import Profile, lead_profile
from pytest_ecgfm.evaluations.shapley import efficiency_error, projected
from pytest_ecgfm.evaluations.splits import seeds_for
from pytest_ecgfm.evaluations.stability import MINIMUM_CLASS
from pytest_ecgfm.measurements.chosen import chosen_rows
from pytest_ecgfm.measurements.explained import Explained, cast_of, explain, without
from pytest_ecgfm.measurements.record_probes import SHARED_SEEDS, RecordProbes, record_probes, shuffled_probe
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.signals.coalitions import complete
from pytest_ecgfm.signals.records import RecordBatch

BACKGROUNDS = ("zero", "other")
"""What stands in for a lead that is taken away: nothing, or the same lead of another patient's record.

The cube's coordinate and the check ``relevance.baselines`` keep the other word for it, "baseline"."""

SHUFFLES = 6
"""Probes of shuffled labels."""

ORDERS = 3
"""Random orders of removal."""

_EXAMPLE_RATE = 250.0

_FEW = "not applicable: the encoder reads only one independent lead, so there is nothing to compare it with"
_FEWER = "not applicable: the encoder reads fewer than 3 independent leads, so orders of removal hardly differ"


def _where_applicable(measure: Callable[[Run, Encoder, Case], Measured]) -> Callable[[Run, Encoder, Case], Measured]:
    """Let what cannot be asked of these records, whatever the encoder, be missing."""

    @wraps(measure)
    def asked(run: Run, encoder: Encoder, case: Case) -> Measured:
        try:
            return measure(run, encoder, case)
        except NotApplicable as error:
            return Measured.insufficient(f"not applicable: {error}")

    return asked


@_where_applicable
def efficiency(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Largest difference between the sum of Shapley values and the change of the logit, over all records and probes.

    The logit is that of the cohort's embedding, which another pass made, in batches of other records.
    """
    cohort = run.cohort(case.cohort)
    errors, cells = [], []
    for background in BACKGROUNDS:
        explained = _explained(run, encoder, cohort, background)
        here = []
        for label in run.settings.labels:
            probes = record_probes(run, encoder, cohort, label)
            if probes is None:
                continue
            phi, use = _phi(explained, probes)
            full = probes.logits(explained.rows, run.embeddings(encoder, cohort)[explained.rows])
            empty = probes.logits(explained.rows, explained.shapley.empty)
            here += efficiency_error(phi[use], full[use], empty[use]).tolist()
        at = {"encoder": case.encoder, "cohort": case.cohort, "baseline": background}
        cells.append(Cell("relevance", at, {"efficiency_error": float(np.max(here)) if here else math.nan}))
        errors += here
    if not errors:
        return Measured.insufficient(f"no label of {case.cohort} has enough records for a probe")
    worst = float(np.max(errors))
    return Measured.exact(worst, cells=tuple(cells), arrays=(_example(run, cohort),))


@_where_applicable
def shuffled_labels(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Agreement of a probe's Shapley values with those of probes whose labels were shuffled."""
    cohort = run.cohort(case.cohort)
    probes = record_probes(run, encoder, cohort, case.label)
    if probes is None or len(cast_of(encoder, run)) < 2:
        return _undefined(case) if probes is None else Measured.insufficient(_FEW)
    explained = _explained(run, encoder, cohort, BACKGROUNDS[0])
    phi, use = _phi(explained, probes)
    others = [shuffled_probe(run, encoder, cohort, case.label, number) for number in range(1, SHUFFLES + 1)]
    # One probe of each shuffle for all records: those of different folds have signs of their own, which would hide that
    # relevance is always the same. Having seen a record's shuffled label teaches a probe nothing about it.
    values = explained.shapley.values[use]
    chance = np.stack([projected(values, one) for one in others if one is not None])
    found = evaluation.shuffled_agreement(phi[use], chance, explained.patients[use])
    percentile = evaluation.shuffled_percentile(phi[use], chance)
    at = {"encoder": case.encoder, "cohort": case.cohort, "label": case.label}
    cells = (Cell("relevance", at, {"shuffled_percentile": percentile}), *_profile_cells(run, encoder, cohort, case))
    return Measured.of(found, cells=cells)


@_where_applicable
def baselines(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Agreement of the lead profiles over two backgrounds."""
    cohort = run.cohort(case.cohort)
    probes = record_probes(run, encoder, cohort, case.label)
    if probes is None or len(cast_of(encoder, run)) < 2:
        return _undefined(case) if probes is None else Measured.insufficient(_FEW)
    found = [_explained(run, encoder, cohort, background) for background in BACKGROUNDS]
    (a, use), (b, _) = (_phi(one, probes) for one in found)
    return Measured.of(evaluation.background_agreement(a[use], b[use], found[0].patients[use]))


@_where_applicable
def cohorts(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Agreement of the lead profiles of all cohorts."""
    phis, patients = [], []
    for name in run.settings.cohorts:
        cohort = run.cohort(name)
        probes = record_probes(run, encoder, cohort, case.label)
        if probes is not None:
            explained = _explained(run, encoder, cohort, BACKGROUNDS[0])
            phi, use = _phi(explained, probes)
            phis.append(phi[use])
            patients.append(explained.patients[use])
    if len(cast_of(encoder, run)) < 2:
        return Measured.insufficient(_FEW)
    if len(phis) < 2:
        return Measured.insufficient("fewer than two cohorts have a probe")
    return Measured.of(evaluation.cohort_agreement(phis, patients))


@_where_applicable
def concentration(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Relevance of the most relevant lead."""
    return _profiled(run, encoder, case, lambda phi, patients: evaluation.concentration(phi, patients))


@_where_applicable
def prior(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Agreement of relevance with where cardiology looks."""
    names = [player.name for player in cast_of(encoder, run)]
    found = _profiled(
        run, encoder, case, lambda phi, patients: evaluation.prior_agreement(phi, names, case.label, patients)
    )
    if not found.missing and not math.isfinite(found.value):
        missing = "not applicable: the encoder reads none of the leads where cardiologists look, or only those"
        return replace(found, missing=missing)
    at = {"encoder": case.encoder, "cohort": case.cohort, "label": case.label}
    return replace(found, cells=(Cell("relevance", at, {"prior": found.value}),))


@_where_applicable
def deletion(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC lost by removing leads in order of relevance, beyond what random orders lose; mean over steps."""
    cohort = run.cohort(case.cohort)
    probes = record_probes(run, encoder, cohort, case.label)
    cast = cast_of(encoder, run)
    if probes is None or len(cast) < 3:
        return _undefined(case) if probes is None else Measured.insufficient(_FEWER)
    explained = _explained(run, encoder, cohort, BACKGROUNDS[0])
    phi, use = _phi(explained, probes)
    # Profiles of a label's own positives and negatives alike: what the probe looks at, whatever it finds.
    order = np.argsort(-lead_profile(phi[use], explained.patients[use]).share, kind="stable")
    rng = np.random.default_rng([zlib.crc32(cohort.name.encode()), 5])
    random = [rng.permutation(len(cast)) for _ in range(ORDERS)]
    steps = _steps(len(cast))
    rows = chosen_rows(run, cohort, run.settings.profile.grid.stability_records)
    tested = probes.scored(rows)
    patients = cohort.patients.to_numpy(dtype=str)[rows][tested]

    def scores(removed: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        return probes.standardised(rows, without(run, encoder, cohort, rows, cast, removed))[tested]

    found = evaluation.deletion(
        np.stack([scores(order[:count]) for count in steps]),
        np.stack([[scores(one[:count]) for count in steps] for one in random]),
        probes.targets[rows][tested],
        patients,
    )
    at = {"encoder": case.encoder, "cohort": case.cohort, "label": case.label}
    cells = tuple(
        Cell("relevance", {**at, "removed": count}, {"deletion_auroc": float(ours), "random_auroc": float(chance)})
        for count, ours, chance in zip(steps, found.relevant, found.random, strict=True)
    )
    if min(found.positives, found.negatives) < MINIMUM_CLASS:
        known = f"{found.positives} positive, {found.negatives} negative"
        return Measured.insufficient(f"fewer than 10 records of a class were chosen: {known}", cells=cells)
    return Measured.of(found.extra_loss, cells=cells)


def _steps(count: int) -> tuple[int, ...]:
    """How many leads are removed: the first, and then ever more at a time, never all."""
    return tuple(dict.fromkeys(min(step, count - 1) for step in (1, 2, 4)))


def _example(run: Run, cohort: Cohort) -> str:
    """Keep two and a half seconds of one record, on which reports draw relevance."""
    record = str(cohort.records[chosen_rows(run, cohort, 2)[-1]])
    read = cohort.read(record)
    found = complete(RecordBatch(read.signals[None], read.leads, read.sampling_rate, (record,)))
    signals = resample(found.signals, found.sampling_rate, _EXAMPLE_RATE)[:, :, : int(2.5 * _EXAMPLE_RATE)]
    dataset = xr.Dataset(
        {
            "signal": (("cohort", "lead", "sample"), signals, {"long_name": "an example", "units": "mV"}),
            "record": (("cohort",), np.array([record]), {"long_name": "record", "units": "1"}),
        },
        {"cohort": [cohort.name], "lead": list(found.leads), "sample": np.arange(signals.shape[-1])},
        {"group": "examples", "sampling_rate": _EXAMPLE_RATE},
    )
    return run.keep(("example", cohort.name), dataset)


def _undefined(case: Case) -> Measured:
    return Measured.insufficient(f"too few records of a class of {case.label} in {case.cohort} for a probe")


def _profiled(run: Run, encoder: Encoder, case: Case, measure: Any) -> Measured:
    cohort = run.cohort(case.cohort)
    probes = record_probes(run, encoder, cohort, case.label)
    if probes is None:
        return _undefined(case)
    if len(cast_of(encoder, run)) < 2:
        return Measured.insufficient(_FEW)
    explained = _explained(run, encoder, cohort, BACKGROUNDS[0])
    phi, use = _phi(explained, probes)
    return Measured.of(measure(phi[use], explained.patients[use]))


def _phi(explained: Explained, probes: RecordProbes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return Shapley values of the logit, shape (records, players), and which records the probe may score."""
    fold = probes.fold[explained.rows]
    return projected(explained.shapley.values, probes.weights[fold]), fold >= 0


def _profile_cells(run: Run, encoder: Encoder, cohort: Cohort, case: Case) -> list[Cell]:
    """Lead profiles of one label at every fraction and background, and how those of seeds and fractions agree."""
    cells = []
    names = [player.name for player in cast_of(encoder, run)]
    for background in BACKGROUNDS:
        explained = _explained(run, encoder, cohort, background)
        last: Profile | None = None
        for fraction in sorted(run.settings.fractions, reverse=True):
            seeds = seeds_for(fraction)[: run.settings.seeds][:SHARED_SEEDS]
            fitted = [record_probes(run, encoder, cohort, case.label, fraction, seed) for seed in seeds]
            found = [_phi(explained, one) for one in fitted if one is not None]
            if not found or not found[0][1].any():
                continue
            use = found[0][1]
            profile = lead_profile(np.stack([phi[use] for phi, _ in found]), explained.patients[use])
            last = last or profile
            each = [lead_profile(phi[use], explained.patients[use]).share for phi, _ in found]
            at = {"encoder": case.encoder, "cohort": case.cohort, "label": case.label}
            at |= {"fraction": fraction, "baseline": background}  # type: ignore[dict-item]
            summary = {
                "entropy": profile.entropy,
                "seed_agreement": evaluation.mean_agreement(each),
                "fraction_agreement": evaluation.rank_agreement(profile.share, last.share),
            }
            cells.append(Cell("relevance", at, summary))
            for name, share, low, high in zip(names, profile.share, profile.low, profile.high, strict=True):
                values = {"relevance": float(share), "relevance_low": float(low), "relevance_high": float(high)}
                cells.append(Cell("relevance", {**at, "lead": name}, values))
    return cells


def _explained(run: Run, encoder: Encoder, cohort: Cohort, background: str) -> Explained:
    return run.once(
        ("explained", encoder.card.name, cohort.name, background), lambda: explain(run, encoder, cohort, background)
    )
