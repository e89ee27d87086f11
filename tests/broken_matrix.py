"""Which checks each broken encoder must fail, and which it must still pass; and what evaluates them in this process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.cohorts.quantities import quantity_of
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.results.baseline import Baseline
from pytest_ecgfm.results.checks import CHECKS, SUITES, Case
from pytest_ecgfm.results.cube import build_cube, write_cube
from pytest_ecgfm.results.profiles import Profile, load_profile
from pytest_ecgfm.results.rows import Row
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.run.settings import Settings
from pytest_ecgfm.session.in_process import judged
from pytest_ecgfm.signals.records import Recording
from tests import broken_models as models

QUANTITY = "quantity:half told"
EUROPE, SOUTH_AMERICA = COHORTS = ("synthetic-europe", "synthetic-south-america")
RATES = {EUROPE: 125.0, SOUTH_AMERICA: 100.0}
RECORDS = 200
CARD = {"sampling_rate": 125, "seconds": 10, "pretrained_on": []}
AS_STORED = {"input": "records", "preprocessing": "model", "pretrained_on": []}


@dataclass(frozen=True)
class Entry:
    """One broken encoder.

    `fails`, `passes` and `undecided` name checks, in brackets with what the name of their cell must hold. Of the first,
    one cell at least fails; of the second, none does and one at least passes; the last are insufficient in every cell.
    """

    name: str
    make: Callable[[], Any]
    fails: tuple[str, ...]
    passes: tuple[str, ...]
    card: dict[str, Any] = field(default_factory=lambda: CARD)
    cohorts: str = "plain"
    undecided: tuple[str, ...] = ()


# That nothing is kept takes long to see, and is asked of some only.
CONTRACT = tuple(name for name in CHECKS if name.startswith("contract.") and name != "contract.memory")


def contract_but(*names: str) -> tuple[str, ...]:
    """Every check of the contract that is not named."""
    assert set(names) <= set(CONTRACT)
    return tuple(name for name in CONTRACT if name not in names)


MATRIX = (
    Entry(
        "ignoring its input",
        models.IgnoringInput,
        (
            "contract.declared_leads",
            "contract.declared_seconds",
            "downstream.auroc",
            "downstream.auroc_gain",
            "downstream.macro_auroc",
            "downstream.r2",
            "downstream.r2_gain",
            "stability.effective_rank",
            "stability.displacement[gain@1.1]",
            "stability.retrieval[gain@1.1]",
            "relevance.selected_auroc",
            "separability.neighbours[embedding]",
        ),
        (*contract_but("contract.declared_leads", "contract.declared_seconds"), "contract.memory"),
    ),
    Entry("collapsed", models.Collapsed, ("stability.effective_rank", "relevance.shuffled_labels"), CONTRACT),
    Entry(
        "random at each call",
        models.Restless,
        ("contract.repeatable", "contract.batch", "contract.lead_order", "contract.generated", "relevance.efficiency"),
        ("contract.frozen", "contract.declared_leads", "contract.hard_records", "stability.effective_rank"),
    ),
    Entry(
        "coupled to its batch",
        models.Centring,
        ("contract.batch", "contract.generated", "contract.unchanged", "relevance.efficiency"),
        contract_but("contract.batch", "contract.generated", "contract.unchanged"),
    ),
    Entry(
        "coupled to its batch where that is large",
        models.CentringLarge,
        ("contract.batch",),
        contract_but("contract.batch", "contract.unchanged"),
    ),
    Entry(
        "coupled to its batch behind a constant that leaves few digits",
        models.CentringBehindRounding,
        ("contract.batch",),
        ("contract.repeatable", "contract.frozen"),
    ),
    Entry(
        "reading identifiers",
        models.ReadingIdentifiers,
        ("contract.batch",),
        (*contract_but("contract.batch"), "downstream.auroc"),
        {**CARD, "input": "records"},
    ),
    Entry(
        "counting what it has seen",
        models.KeepingCount,
        ("contract.unchanged",),
        ("contract.frozen", "contract.declared_leads"),
    ),
    Entry(
        "zeros for the unusual",
        models.ZerosForTheUnusual,
        ("contract.hard_records",),
        (*contract_but("contract.hard_records"), "downstream.auroc"),
    ),
    Entry(
        "one answer for the unusual",
        models.TheUsualForTheUnusual,
        ("contract.hard_records",),
        (*contract_but("contract.hard_records"), "downstream.auroc"),
    ),
    Entry(
        "one answer for all slow hearts",
        models.OneAnswerForTheSlow,
        ("contract.hard_records",),
        contract_but("contract.hard_records"),
    ),
    Entry(
        "random, and over what it said before",
        models.ReusingMemory,
        ("contract.repeatable", "contract.batch", "contract.lead_order", "contract.unchanged"),
        ("contract.frozen", "contract.hard_records"),
    ),
    Entry("several fields", models.SeveralFields, (*CONTRACT, "contract.memory", "downstream.auroc"), ()),
    Entry("complex numbers", models.ComplexNumbers, (*CONTRACT, "downstream.auroc"), ()),
    Entry(
        "a closure that drifts",
        models.drifting_closure,
        ("contract.frozen",),
        (*contract_but("contract.frozen", "contract.declared_leads"), "downstream.auroc"),
    ),
    Entry(
        "drifting batch normalisation",
        models.RunningStatistics,
        ("contract.frozen",),
        (*contract_but("contract.frozen"), "contract.memory", "downstream.auroc"),
    ),
    Entry(
        "coding the cohort",
        models.KnowingCohorts,
        ("transfer.drop", "relevance.cohorts", "separability.robustness", "separability.cohort_auroc"),
        ("relevance.efficiency", "contract.repeatable", "stability.effective_rank"),
        AS_STORED,
    ),
    Entry(
        "a shortcut by one lead",
        models.OnlyV4,
        ("contract.declared_leads", "relevance.concentration", "relevance.prior[AF]"),
        (*contract_but("contract.declared_leads"), "relevance.efficiency"),
    ),
    Entry(
        "blind to a lead",
        models.BlindToV6,
        ("contract.declared_leads",),
        (*contract_but("contract.declared_leads"), "relevance.concentration", "downstream.auroc"),
    ),
    Entry("blind to the order of leads", models.AnyOrder, ("stability.noticed",), (*CONTRACT, "downstream.auroc")),
    Entry(
        "blind to the order of chest leads",
        models.SortingChestLeads,
        ("stability.noticed[reversed_precordials]",),
        (*CONTRACT, "downstream.auroc", "stability.noticed[swapped_arms]"),
    ),
    Entry(
        "reading five seconds of ten",
        models.FirstHalf,
        ("contract.declared_seconds",),
        (*contract_but("contract.declared_seconds"), "downstream.auroc"),
    ),
    Entry(
        "sensitive to the mains",
        models.HearingMains,
        ("stability.displacement[mains_60hz]", "stability.retrieval[mains_60hz]", "stability.auroc_drop[mains_60hz]"),
        ("stability.displacement[gain@1.1]", "stability.displacement[mains_50hz]", "contract.repeatable"),
    ),
    Entry(
        "sensitive to the gain",
        models.HearingGain,
        ("stability.displacement[gain@1.1]",),
        ("stability.displacement[mains_60hz]", "contract.repeatable"),
    ),
    Entry(
        "reading the length of records that tell their label by it",
        models.ReadingLength,
        ("stability.auroc_drop[length@7s]",),
        ("contract.repeatable", "downstream.auroc", "stability.displacement[gain@1.1]"),
        cohorts="telling",
    ),
    Entry(
        "unstable behind large dimensions",
        lambda: models.NoisyBehindLargeDimensions(1.0),
        ("stability.displacement[gain@1.1]", "stability.displacement[muscle@24dB]"),
        CONTRACT,
    ),
    Entry(
        "unstable around a large constant",
        lambda: models.NoisyBesideConstants(1.0),
        ("stability.displacement[gain@1.1]", "stability.retrieval[muscle@24dB]"),
        ("stability.effective_rank",),
    ),
    Entry(
        "unstable beside records of an enormous embedding",
        lambda: models.NoisyButForOne(1.0),
        ("stability.displacement[gain@1.1]", "stability.displacement[muscle@24dB]"),
        ("stability.effective_rank",),
    ),
    Entry(
        "remembering what it saw",
        lambda: models.Memoising(1.0),
        ("stability.history",),
        ("stability.displacement[muscle@24dB]", "stability.displacement[shift@20ms]"),
    ),
    Entry("two dimensions on a line", models.TwoOnALine, ("stability.effective_rank",), ()),
    Entry("halves that are strangers", models.HalfEmpty, ("stability.retest",), ("contract.repeatable",)),
    Entry(
        "fooled by flat leads",
        models.FooledByFlatLeads,
        ("relevance.baselines", "relevance.deletion"),
        ("contract.repeatable", "relevance.efficiency", "stability.displacement[gain@1.1]"),
    ),
    Entry(
        "not a number on flat leads",
        models.DividingByZero,
        ("contract.hard_records", "contract.generated"),
        contract_but("contract.hard_records", "contract.generated"),
    ),
    Entry("leaking memory", models.Leaking, ("contract.memory",), (*CONTRACT, "downstream.auroc")),
    Entry("imprecise", models.Imprecise, ("stability.precision",), ("contract.repeatable",)),
    Entry(
        "nothing but noise",
        lambda: models.Noisy(1000.0),
        (
            "downstream.auroc",
            "downstream.auroc_change",
            "downstream.r2",
            "downstream.r2_change",
            "separability.trustworthiness",
        ),
        CONTRACT,
    ),
    Entry(
        "a hash of the bytes",
        models.HashOfBytes,
        ("downstream.auroc", "stability.displacement[gain@1.1]"),
        CONTRACT,
        undecided=("separability.robustness", "transfer.drop"),
    ),
    Entry(
        "at chance, with weights that were never trained",
        models.AtChance,
        ("downstream.auroc",),
        contract_but("contract.batch", "contract.lead_order", "contract.generated", "contract.hard_records"),
        undecided=("separability.robustness", "transfer.drop"),
    ),
    Entry(
        "blind to gain, and reading ranks",
        models.Ranked,
        (),
        ("downstream.auroc", "stability.displacement[shift@20ms]"),
        undecided=("stability.displacement[gain", "stability.retrieval[gain", "stability.auroc_drop[gain"),
    ),
    Entry(
        "blind to gain by its card, and reading lead II",
        lambda: models.Plain(1),
        (),
        ("contract.declared_leads",),
        {**CARD, "leads": "II", "normalize": "zscore-per-lead"},
        undecided=(
            "stability.displacement[gain",
            "stability.displacement[lost_v2",
            "stability.displacement[lost_la",
            "stability.retrieval[resample@250Hz",
        ),
    ),
    Entry(
        "a card with another width",
        models.Honest,
        ("contract.repeatable", "contract.batch", "contract.generated", "downstream.auroc"),
        (),
        {**CARD, "dimensions": 55},
    ),
)


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
    """Two cohorts as they come, and one in which what is labelled was recorded for eight seconds instead of ten."""
    loaded = {name: limited(load_cohort(name, cache=cache), RECORDS) for name in COHORTS}
    plain = {name: Held(cohort, RATES[name]) for name, cohort in loaded.items()}
    labels = loaded[EUROPE].labels[["AF", "STach"]].any(axis=1)
    seconds = {record: 8.0 if labels[record] else 10.0 for record in loaded[EUROPE].records}
    telling = {EUROPE: Held(loaded[EUROPE], RATES[EUROPE], seconds)}
    return {"plain": plain, "telling": telling}


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
        quantities={QUANTITY: quantity_of(QUANTITY, {}, where="matrix")},
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
        if case.cohort in ("", EUROPE) or case.check == "transfer.drop"
    }


def speaks_of(name: str, case: Case) -> bool:
    """Say whether a name of the table, such as ``stability.retrieval[gain@1.1]``, means this cell."""
    check, _, part = name.removesuffix("]").partition("[")
    return case.check == check and part in case.cell


def evaluate(run: Run, encoder: Encoder, cases: dict[Case, Any]) -> dict[Case, Row]:
    """Run the suites' tests for some cells, with what a session's fixtures would give them."""
    encoders = {encoder.card.name: encoder, "demographics": load_encoder("demographics")}
    return judged(run, encoders, cases, family=planned(run.settings))


def encoder_of(entry: Entry) -> Encoder:
    """Put the entry's model behind its card."""
    return Encoder(parse_card("m", entry.card, where="matrix"), entry.make())


def baseline_of(folder, cohorts) -> Baseline:
    """Keep the scores of the honest encoder as an earlier run."""
    entry = Entry("honest", models.Honest, (), ())
    run = HeldRun(settings_of("m", cohorts, folder), folder, cohorts)
    kept = ("downstream.auroc", "downstream.r2")
    cases = {case: one for case, one in planned(run.settings).items() if case.check in kept}
    rows = evaluate(run, encoder_of(entry), cases)
    write_cube(build_cube(rows.values(), folder / "arrays", {}), folder / "cube.nc")
    return Baseline(folder)


def complaints(entry: Entry, rows: dict[Case, Row]) -> list[str]:
    """Say what a broken encoder should have failed, or passed, and did not."""
    found = []
    for name in entry.fails:
        outcomes = [row.outcome for case, row in rows.items() if speaks_of(name, case)]
        if "fail" not in outcomes:
            values = [row.message() for case, row in rows.items() if speaks_of(name, case)]
            found.append(f"{entry.name} should fail {name}: {values}")
    for name in entry.passes:
        mine = [row for case, row in rows.items() if speaks_of(name, case)]
        if not any(row.outcome == "pass" for row in mine) or any(row.outcome == "fail" for row in mine):
            found.append(f"{entry.name} should pass {name}: {[row.message() for row in mine if row.outcome != 'pass']}")
    for name in entry.undecided:
        mine = [row for case, row in rows.items() if speaks_of(name, case)]
        if not mine or any(row.outcome != "insufficient" for row in mine):
            found.append(f"{entry.name} should decide nothing by {name}: {[row.message() for row in mine]}")
    return found
