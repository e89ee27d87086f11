"""Runs in this process, on cohorts that are held in memory."""

from typing import Any

import numpy as np
import pandas as pd

from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.cohorts.quantities import HEART_RATE, quantity_of
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.results.checks import SUITES, Case
from pytest_ecgfm.results.profiles import Profile, load_profile
from pytest_ecgfm.results.rows import Row
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.run.settings import Settings
from pytest_ecgfm.session.in_process import judged
from pytest_ecgfm.signals.records import Recording
from tests.grouped_cohort import GroupedCohort

QUANTITY = "quantity:half told"
EUROPE, SOUTH_AMERICA = COHORTS = ("synthetic-europe", "synthetic-south-america")
RATES = {EUROPE: 125.0, SOUTH_AMERICA: 100.0}
RECORDS = 200
TRAVELLING = ("transfer.drop", "transfer.spearman_drop", "transfer.sensitivity")


class Held(Cohort):
    """A cohort in memory, at a lower rate; `seconds` says how long each record is."""

    def __init__(self, source: Cohort, rate: float, seconds: dict[str, float] | None = None) -> None:
        super().__init__(
            source.name,
            continent=source.continent,
            table=source.table,
            labels=source.labels,
            sampling_rate=rate,
            has_patients=source.has_patients,
            split=source.split,
            columns=pd.DataFrame(index=source.records),
        )
        self._held = {}
        for record in source.records:
            read = source.read(record)
            signals = resample(read.signals, read.sampling_rate, rate)
            if seconds is not None:
                signals = signals[:, : round(seconds[record] * rate)]
            self._held[record] = Recording(signals, read.leads, rate)
        # A quantity of which the signals hold one part, and what a reference is told the other.
        sizes = pd.Series({record: float(np.ptp(held.signals[7])) for record, held in self._held.items()})
        parts = [(one - one.mean()) / one.std() for one in (sizes, source.table["age"].fillna(60.0).astype(float))]
        self.columns["half told"] = [f"{value:.6f}" for value in 10 + parts[0] + parts[1]]

    def _read(self, record):
        return self._held[record]

    def _content_digest(self, records):
        return self.name


def held_cohorts(cache):
    """Two cohorts as they come; one in which what is labelled was recorded for eight seconds; two with groups; one
    whose tested records come from another device, beside one in which none do."""
    loaded = {name: limited(load_cohort(name, cache=cache), RECORDS) for name in COHORTS}
    plain = {name: Held(cohort, RATES[name]) for name, cohort in loaded.items()}
    labels = loaded[EUROPE].labels[["AF", "STach"]].any(axis=1)
    seconds = {record: 8.0 if labels[record] else 10.0 for record in loaded[EUROPE].records}
    telling = {EUROPE: Held(loaded[EUROPE], RATES[EUROPE], seconds)}
    grouped = {name: {EUROPE: GroupedCohort(EUROPE, old=old)} for name, old in (("grouped", 0.3), ("few old", 0.02))}
    newer = {EUROPE: GroupedCohort(EUROPE, newer=True), SOUTH_AMERICA: GroupedCohort(SOUTH_AMERICA)}
    return {"plain": plain, "telling": telling, "newer device": newer, **grouped}


class HeldRun(Run):
    """A run on cohorts that are in memory."""

    def __init__(self, settings, folder, cohorts):
        (folder / "arrays").mkdir(parents=True, exist_ok=True)
        super().__init__(settings, folder.name, folder, lambda title: _Silent())
        self._held = cohorts

    def cohort(self, name):
        return self._held[name]


class _Silent:
    def __enter__(self):
        return lambda done, total: None

    def __exit__(self, *_):
        return None


def small_profile() -> Profile:
    """The thresholds of the default profile on a small grid."""
    profile = load_profile("default")
    grid = profile.grid.model_copy(
        update={
            "labels": ("AF", "STach"),
            "fractions": (1.0,),
            "references": ("demographics",),
            "explained_records": 5,
            "mapped_records": 400,
        }
    )
    return profile.model_copy(update={"grid": grid})


def settings_of(name, cohorts, folder, baselines=()):
    """Settings of a run of one encoder."""
    profile = small_profile()
    return Settings(
        models=(name,),
        card_files={},
        checkpoints={},
        profile=profile,
        data=None,
        cohorts=tuple(cohorts),
        labels=profile.grid.labels,
        quantities={QUANTITY: quantity_of(QUANTITY, {}, where="matrix"), HEART_RATE.name: HEART_RATE},
        sets={"rhythm": profile.grid.labels},
        fractions=profile.grid.fractions,
        seeds=1,
        suites=SUITES if len(cohorts) > 1 else tuple(suite for suite in SUITES if suite != "transfer"),
        references=profile.grid.references,
        baselines=dict(baselines),
        out=None,
        cache=folder / "cache",
        device="cpu",
        dask=None,
        batch_size=64,
        precision="float32",
        limit=None,
        skip_bad_records=False,
    )


def planned(settings: Settings) -> dict[Case, Any]:
    """Every cell of the first cohort, and of all together: the other one is there for what compares cohorts."""
    return {
        case: demanded
        for case, demanded in settings.planned().items()
        # Which cohort's own probe is good enough to lose something depends on its records.
        if case.cohort in ("", EUROPE) or case.check in TRAVELLING
    }


def evaluate(run: Run, encoder: Encoder, cases: dict[Case, Any]) -> dict[Case, Row]:
    """Run the suites' tests for some cells, with what a session's fixtures would give them."""
    encoders = {encoder.card.name: encoder, "demographics": load_encoder("demographics")}
    return judged(run, encoders, cases, family=planned(run.settings))
