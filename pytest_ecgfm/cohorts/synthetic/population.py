"""Who is in an embedded cohort, what is truly the case in each record, and what the reader wrote. No signals."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.synthetic.heart import Floats, State
from pytest_ecgfm.cohorts.synthetic.specs import CohortSpec

if TYPE_CHECKING:
    # Otherwise where a table is made: every start imports this module, and most end before the first table.
    import pandas as pd


MODELLED = ("CD", "AF", "SB", "STach", "NORM", "LBBB", "RBBB", "1AVB")
"""The first labels of these cohorts, in the order in which a reader's slips are drawn, all from one stream.

Fixed: the slips of a record would be others with one more or less. Labels that came later are in `FURTHER`; all others
are unknown.
"""


@dataclass(frozen=True)
class Further:
    """A label that these cohorts model, beside the first ones.

    Attributes
    ----------
    present : callable
        Says of a `State` whether the label is true.
    without : callable
        Returns the state that a record would have without it: by it, `EmbeddedCohort.truth` finds where it shows.
    """

    present: Callable[[State], bool]
    without: Callable[[State], State]


FURTHER: dict[str, Further] = {}
"""Further labels, by name. Each has a stream of its own, keyed by its name: one more changes nothing else."""


@dataclass(frozen=True)
class Population:
    """One draw of a cohort.

    Attributes
    ----------
    table, labels : DataFrame
        As `pytest_ecgfm.cohorts.base.Cohort` wants them; labels as the reader wrote them.
    states : tuple of State
        The truth, a record each.
    patients : tuple of int
        Number of each record's patient.
    """

    table: "pd.DataFrame"
    labels: "pd.DataFrame"
    states: tuple[State, ...]
    patients: tuple[int, ...]


def true_labels(state: State) -> dict[str, bool]:
    """Return what an unerring reader with sharp limits would write: `MODELLED`, then `FURTHER`.

    Limits: 60 and 100 beats a minute, PR 200 ms, QRS 120 ms (110 ms for the incomplete blocks, which count as CD only):
    AHA/ACCF/HRS recommendations, Surawicz et al., Circulation 119:e235 (2009).
    """
    sinus = state.rhythm == "sinus"
    found = {
        "AF": state.rhythm == "fibrillation",
        "SB": sinus and state.rate < 60,
        "STach": sinus and state.rate > 100,
        "LBBB": state.block == "left" and state.qrs >= 120,
        "RBBB": state.block == "right" and state.qrs >= 120,
        "1AVB": sinus and state.pr > 200,
    }
    found["CD"] = bool(
        found["LBBB"]
        or found["RBBB"]
        or found["1AVB"]
        or state.hemiblock >= 45
        or (state.block != "" and state.qrs >= 110)
    )
    found["NORM"] = sinus and not any(found.values()) and not state.finding and state.ectopics == 0
    further = {label: one.present(state) for label, one in FURTHER.items()}
    return {**{label: found[label] for label in MODELLED}, **further}


def _read_labels(rng: np.random.Generator, state: State, spec: CohortSpec, further: Sequence[float]) -> dict[str, bool]:
    """Return what this reader wrote: limits held with an unsteady hand, slips, and natural confusions.

    `further` has a number in [0, 1) for each of `FURTHER`, from the stream of that label.
    """
    seen = replace(
        state,
        rate=state.rate + rng.normal(0.0, 1.5),
        pr=state.pr + rng.normal(0.0, 7.0),
        qrs=state.qrs + rng.normal(0.0, 4.0),
        hemiblock=state.hemiblock + rng.normal(0.0, 5.0),
    )
    wrote = true_labels(seen)
    miss, false_alarm = spec.reader_error
    slips = [*rng.random(len(MODELLED)), *further]
    for label, slip in zip((*MODELLED, *FURTHER), slips, strict=True):
        wrote[label] = slip >= miss if wrote[label] else slip < false_alarm
    for one, other, first_likelier in (("SB", "STach", state.rate < 80), ("LBBB", "RBBB", state.block != "right")):
        if wrote[one] and wrote[other]:
            # Nobody writes both: the less likely one was the slip.
            wrote[other if first_likelier else one] = False
    confusion = rng.random()
    if state.rhythm == "fibrillation" and state.variability < 0.11 and state.fibrillation < 0.05:
        wrote["AF"] = wrote["AF"] and confusion > 0.3
    elif state.rhythm == "flutter":
        wrote["AF"] = confusion < 0.35
        wrote["STach"] = confusion > 0.8 and state.rate > 100
    if wrote["AF"]:
        wrote["SB"] = wrote["STach"] = wrote["1AVB"] = False
    wrote["CD"] = wrote["CD"] or wrote["LBBB"] or wrote["RBBB"] or wrote["1AVB"]
    normal_if_mild = state.finding != "" and state.severity < 0.35 and confusion < 0.3
    wrote["NORM"] = (wrote["NORM"] or normal_if_mild) and not any(wrote[label] for label in MODELLED if label != "NORM")
    for label in FURTHER:
        # Nobody writes both. NORM was there first: it must not depend on which further labels there are.
        wrote[label] = wrote[label] and not wrote["NORM"]
    return wrote


def _pick(rng: np.random.Generator, count: float, lean: Floats, free: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Choose exactly `count` (rounded) of the `free` members, those with a high `lean` more often.

    Quotas rather than coin tosses: the number of positives must not hang on the seed.
    """
    keys = lean + rng.gumbel(size=lean.size)
    keys[~free] = -np.inf
    return np.argsort(-keys, kind="stable")[: min(round(count), int(free.sum()))]


def _assign_patients(rng: np.random.Generator, spec: CohortSpec) -> npt.NDArray[np.int64]:
    """Return each record's patient; surplus records go to a few patients, mostly one each."""
    n_patients = max(1, round(spec.n_records * spec.patients_a_record))
    surplus = spec.n_records - n_patients
    # Of 100 surplus records, 73 are somebody's second one: 11 % of patients repeat in PTB-XL.
    repeaters = rng.permutation(n_patients)[: max(1, round(0.73 * surplus))][:surplus]
    further = rng.choice(repeaters, surplus - repeaters.size) if surplus else repeaters
    patients = np.concatenate([np.arange(n_patients), repeaters, further])
    return rng.permutation(patients)


@dataclass
class _Traits:
    """What stays the same over all records of a patient; a row each."""

    age: Floats
    female: npt.NDArray[np.bool_]
    fibrillates: npt.NDArray[np.bool_]
    block: npt.NDArray[np.object_]
    qrs: Floats
    pr: Floats
    hemiblock: Floats
    finding: npt.NDArray[np.object_]
    severity: Floats


def _draw_traits(rng: np.random.Generator, spec: CohortSpec, n: int) -> _Traits:
    age = np.clip(rng.normal(spec.age[0], spec.age[1], n), 18.0, 92.0)
    female = rng.random(n) < spec.female
    old = (age - spec.age[0]) / spec.age[1]
    share = spec.prevalence
    lost = 1.0 - spec.reader_error[0]
    everyone = np.ones(n, bool)
    fibrillates = np.zeros(n, bool)
    fibrillates[_pick(rng, n * share["AF"] / lost, 0.85 * old - 0.25 * female, everyone)] = True
    block = np.full(n, "", object)
    qrs = np.where(female, rng.normal(88.0, 8.0, n), rng.normal(94.0, 8.5, n)).clip(70.0, 113.0)
    for kind, part, mean in (
        ("left", share["LBBB"] * 1.1, 142.0),
        ("right", share["RBBB"] * 1.1, 138.0),
        ("right", spec.incomplete, 113.0),
        ("unspecific", 0.01, 117.0),
    ):
        chosen = _pick(rng, n * part, 0.7 * old - 0.3 * female, block == "")
        block[chosen] = kind
        spread = 12.0 if mean > 120 else 3.5
        qrs[chosen] = (mean + rng.normal(0.0, spread, chosen.size)).clip(106.0, 185.0)
    pr = (rng.normal(156.0, 16.0, n) + 3.0 * old).clip(110.0, 203.0)
    slow = _pick(rng, n * share["1AVB"] * 0.9, 0.6 * old, ~fibrillates)
    pr[slow] = 197.0 + rng.gamma(2.2, 15.0, slow.size)
    named = share["LBBB"] + share["RBBB"] + share["1AVB"] + 0.8 * spec.incomplete + 0.01
    left_anterior = _pick(rng, n * max(share["CD"] - named, 0.005), 0.6 * old, block != "left")
    hemiblock = np.zeros(n)
    hemiblock[left_anterior] = rng.normal(68.0, 11.0, left_anterior.size).clip(40.0, 90.0)
    finding = np.full(n, "", object)
    chosen = _pick(rng, n * spec.findings, 0.5 * old, everyone)
    finding[chosen] = rng.choice(["repolarisation", "hypertrophy", "low voltage", "infarct"], chosen.size)
    severity = np.where(finding != "", rng.uniform(0.2, 1.0, n), 0.0)
    return _Traits(age, female, fibrillates, block, qrs, pr, hemiblock, finding, severity)


def _draw_rates(
    rng: np.random.Generator,
    spec: CohortSpec,
    rhythm: npt.NDArray[np.object_],
    old: Floats,
    female: npt.NDArray[np.bool_],
) -> Floats:
    """Return the ventricular rate of each record, with quotas of brady- and tachycardia in sinus rhythm."""
    n = rhythm.size
    sinus = rhythm == "sinus"
    lost = 1.0 - spec.reader_error[0]
    rate = 61.0 + 38.0 * rng.beta(1.8, 2.4, n)
    slow = _pick(rng, n * spec.prevalence["SB"] / lost, 0.15 * old - 0.4 * female, sinus)
    rate[slow] = (59.8 - rng.gamma(1.6, 3.6, slow.size)).clip(38.0)
    taken = sinus.copy()
    taken[slow] = False
    fast = _pick(rng, n * spec.prevalence["STach"] / lost, -0.45 * old + 0.2 * female, taken)
    rate[fast] = (100.5 + rng.gamma(1.6, 9.0, fast.size)).clip(None, 165.0)
    fibrillating = rhythm == "fibrillation"
    rate[fibrillating] = rng.normal(88.0, 22.0, n)[fibrillating].clip(46.0, 160.0)
    flutter = rhythm == "flutter"
    rate[flutter] = rng.choice([75.0, 100.0, 149.0], n)[flutter] + rng.normal(0.0, 3.0, n)[flutter]
    return rate


def _draw_states(
    rng: np.random.Generator, spec: CohortSpec, traits: _Traits, patients: npt.NDArray[np.int64]
) -> list[State]:
    n = patients.size
    first_seen = np.zeros(n, bool)
    first_seen[np.unique(patients, return_index=True)[1]] = True
    # Some patients with fibrillation are caught in sinus rhythm at another visit.
    fibrillating = traits.fibrillates[patients] & (first_seen | (rng.random(n) < 0.8))
    rhythm = np.full(n, "sinus", object)
    rhythm[fibrillating] = "fibrillation"
    old = (traits.age[patients] - spec.age[0]) / spec.age[1]
    rhythm[_pick(rng, 0.015 * n, 0.5 * old, ~fibrillating)] = "flutter"
    rate = _draw_rates(rng, spec, rhythm, old, traits.female[patients])
    # Breathing moves the young heart more, and some hearts of any age a lot.
    variability = 0.03 * np.exp(-0.35 * old) * rng.lognormal(0.0, 0.45, n) * np.clip(75.0 / rate, 0.4, 1.3)
    marked = rng.random(n) < 0.05
    variability = np.where(marked, rng.uniform(0.07, 0.13, n), variability).clip(0.004, 0.14)
    irregular = np.where(rng.random(n) < 0.12, rng.uniform(0.07, 0.12, n), rng.uniform(0.13, 0.27, n))
    variability = np.where(rhythm == "fibrillation", irregular, np.where(rhythm == "flutter", 0.012, variability))
    waves = np.where(rhythm == "flutter", rng.uniform(0.10, 0.20, n), rng.lognormal(np.log(0.065), 0.5, n))
    waves = np.where(rhythm == "sinus", 0.0, waves.clip(0.015, 0.20))
    ectopics = np.where(rng.random(n) < 0.08, rng.uniform(0.05, 0.22, n), 0.0)
    noise = np.where(rng.random(n) < 0.04, rng.uniform(2.5, 4.5, n), rng.lognormal(0.0, 0.25, n))
    lengths, shares = zip(*spec.lengths, strict=True)
    samples = rng.choice(np.array(lengths), n, p=np.array(shares))
    pr = traits.pr[patients] + rng.normal(0.0, 3.0, n) - 0.12 * (rate - 75.0).clip(-20.0, 40.0)
    qrs = traits.qrs[patients] + rng.normal(0.0, 1.5, n)
    return [
        State(
            rhythm=rhythm[i],
            rate=float(rate[i]),
            variability=float(variability[i]),
            pr=float(pr[i]),
            qrs=float(qrs[i]),
            block=traits.block[patient],
            hemiblock=float(traits.hemiblock[patient]),
            fibrillation=float(waves[i]),
            ectopics=float(ectopics[i]),
            finding=traits.finding[patient],
            severity=float(traits.severity[patient]),
            noise=float(noise[i]),
            samples=int(samples[i]),
        )
        for i, patient in enumerate(patients)
    ]


def draw_population(spec: CohortSpec, key: tuple[int, ...]) -> Population:
    """Draw patients, truths and readings.

    Parameters
    ----------
    spec : CohortSpec
    key : tuple of int
        Entropy: a pure function of it and `spec`.

    Returns
    -------
    Population
    """
    import pandas as pd

    rng = np.random.default_rng(key)
    patients = _assign_patients(rng, spec)
    n = patients.size
    n_patients = int(patients.max()) + 1
    traits = _draw_traits(rng, spec, n_patients)
    states = _draw_states(rng, spec, traits, patients)
    records = pd.Index([f"{spec.prefix}{i:05d}" for i in range(n)], name="record", dtype=str)
    folds = pd.array([pd.NA] * n, dtype="Int64")
    if spec.split is not None:
        # Folds of equal size by patient, as the authors made them.
        of_patient = rng.permutation(np.arange(n_patients) % 10) + 1
        folds = pd.array(of_patient[patients], dtype="Int64")
    names = [f"{spec.prefix}-P{p:05d}" for p in patients] if spec.has_patients else list(records)
    table = pd.DataFrame(
        {
            "patient": pd.Series(names, index=records, dtype=str),
            "age": np.rint(traits.age[patients]),
            "sex": pd.Series(np.where(traits.female[patients], "F", "M"), index=records, dtype=str),
            "fold": pd.Series(folds, index=records),
        },
        index=records,
    )
    streams = [np.random.default_rng((*key, zlib.crc32(label.encode()))).random(n) for label in FURTHER]
    further = np.stack(streams, axis=1) if streams else np.empty((n, 0))
    readings = [_read_labels(rng, state, spec, slips.tolist()) for state, slips in zip(states, further, strict=True)]
    labels = pd.DataFrame(readings, index=records, columns=[*MODELLED, *FURTHER]).astype("boolean")
    return Population(table, labels, tuple(states), tuple(int(p) for p in patients))
