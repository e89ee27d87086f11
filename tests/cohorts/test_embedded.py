"""The embedded cohorts keep to physics, to their specification, and to their own truth."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cohorts import embedded_heart, embedded_noise, embedded_signal
from pytest_ecgfm.cohorts.base import CONTINENTS, LABELS
from pytest_ecgfm.cohorts.embedded import SPECS, EmbeddedCohort, load_embedded
from pytest_ecgfm.cohorts.embedded_heart import State
from pytest_ecgfm.cohorts.embedded_population import draw_population, true_labels
from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.records import LEADS

NAMES = list(SPECS)
ROW = {lead: row for row, lead in enumerate(LEADS)}


def small(name: str, n: int = 60, **options: object) -> EmbeddedCohort:
    return EmbeddedCohort(replace(SPECS[name], n_records=n), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cohorts() -> dict[str, EmbeddedCohort]:
    return {name: small(name) for name in NAMES}


@pytest.fixture(scope="module")
def europe() -> EmbeddedCohort:
    """Full size, for its rare labels: truths only, no signals."""
    return load_embedded("synthetic-europe")


def with_truth(cohort: EmbeddedCohort, label: str, n: int = 8) -> list[str]:
    states = zip(cohort.records, cohort._population.states, strict=True)
    return [record for record, state in states if true_labels(state)[label]][:n]


def usual_state(**changes: object) -> State:
    state = State("sinus", 72.0, 0.02, 160.0, 92.0, "", 0.0, 0.0, 0.0, "", 0.0, 1.0, 5000)
    return replace(state, **changes)  # type: ignore[arg-type]


def usual_heart() -> embedded_heart.Heart:
    return embedded_heart.draw_heart(np.random.default_rng(8), age=55.0, female=False)


# ----------------------------------------------------------------------------------------------- table and labels


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("name", NAMES)
def test_labels_are_as_common_as_the_specification_says(name: str, seed: int) -> None:
    cohort = load_embedded(name, seed=seed)
    counts = cohort.labels.sum()
    assert len(cohort) == 1000
    assert list(cohort.labels.columns) == list(LABELS)
    assert not cohort.labels.isna().to_numpy().any()
    for label in ("CD", "AF", "SB", "STach"):
        assert counts[label] >= 55, label
    for label, share in SPECS[name].prevalence.items():
        assert abs(counts[label] / 1000 - share) < 0.02 + 0.15 * share, label


@pytest.mark.parametrize("name", NAMES)
def test_rare_labels_are_enriched_and_common_ones_are_not(name: str) -> None:
    spec = SPECS[name]
    for label in ("CD", "AF", "SB", "STach"):
        published, aimed = spec.published_prevalence[label], spec.prevalence[label]
        assert aimed >= 0.08
        assert aimed >= published
        if published > 0.1:
            assert aimed == pytest.approx(published)


def test_one_cohort_a_continent_with_the_published_rates_and_mains() -> None:
    assert len({spec.continent for spec in SPECS.values()} & set(CONTINENTS)) == 4
    assert [SPECS[n].sampling_rate for n in NAMES] == [500, 500, 500, 400]
    assert [SPECS[n].device.mains for n in NAMES] == [50, 50, 60, 60]
    assert [SPECS[n].has_patients for n in NAMES] == [True, False, False, True]
    for spec in SPECS.values():
        assert sum(share for _, share in spec.lengths) == pytest.approx(1.0)
        assert len(set(spec.stored_leads)) == 12


def test_a_patient_is_in_one_fold_and_folds_are_alike(europe: EmbeddedCohort) -> None:
    assert (europe.folds.groupby(europe.patients).nunique() == 1).all()
    assert set(europe.folds) == set(range(1, 11))
    assert europe.split is not None
    assert sorted(europe.split.train + europe.split.validation + europe.split.test) == list(range(1, 11))
    sizes = europe.folds.value_counts()
    assert sizes.min() > 70
    assert sizes.max() < 130


@pytest.mark.parametrize(
    ("name", "low", "high"), [("synthetic-europe", 0.09, 0.15), ("synthetic-south-america", 0.06, 0.1)]
)
def test_some_patients_repeat_and_stay_themselves(name: str, low: float, high: float) -> None:
    cohort = load_embedded(name)
    visits = cohort.patients.value_counts()
    assert low < (visits > 1).mean() < high
    assert (cohort.table.groupby("patient")["sex"].nunique() == 1).all()
    repeats = cohort.labels[cohort.patients.isin(visits.index[visits > 1])]
    same = repeats["CD"].astype(float).groupby(cohort.patients).std() == 0
    assert same.mean() > 0.85


@pytest.mark.parametrize("name", ["synthetic-asia", "synthetic-north-america"])
def test_unpublished_patients_are_one_a_record(name: str) -> None:
    cohort = load_embedded(name)
    assert (cohort.patients == cohort.records).all()
    assert cohort.folds.isna().all()
    assert cohort.split is None


def test_age_says_something_about_labels_but_not_much(europe: EmbeddedCohort) -> None:
    age = europe.table["age"]
    for label in ("AF", "CD"):
        positive = europe.labels[label].to_numpy(bool)
        older = (age[positive].to_numpy()[:, None] > age[~positive].to_numpy()).mean()
        assert 0.55 < older < 0.80, label


def test_reader_errs_but_seldom(europe: EmbeddedCohort) -> None:
    truths = np.array([list(true_labels(state).values()) for state in europe._population.states])
    read = europe.labels.to_numpy(bool)
    for column, label in enumerate(LABELS):
        agree = (truths[:, column] == read[:, column]).mean()
        assert 0.90 < agree < 1.0, label


def test_labels_exclude_what_cannot_be(europe: EmbeddedCohort) -> None:
    labels = europe.labels
    assert not (labels["AF"] & (labels["SB"] | labels["STach"] | labels["1AVB"])).any()
    assert not (labels["SB"] & labels["STach"]).any()
    assert not (labels["LBBB"] & labels["RBBB"]).any()
    assert (labels["CD"] | ~(labels["LBBB"] | labels["RBBB"] | labels["1AVB"])).all()
    assert not (labels["NORM"] & labels.drop(columns="NORM").any(axis=1)).any()
    assert (labels["AF"] & labels["CD"]).any()


@given(
    rate=st.floats(35, 170),
    pr=st.floats(110, 320),
    qrs=st.floats(70, 190),
    block=st.sampled_from(["", "left", "right", "unspecific"]),
    rhythm=st.sampled_from(["sinus", "fibrillation", "flutter"]),
)
def test_truth_follows_the_published_limits(rate: float, pr: float, qrs: float, block: str, rhythm: str) -> None:
    truth = true_labels(usual_state(rate=rate, pr=pr, qrs=qrs, block=block, rhythm=rhythm))
    assert truth["SB"] == (rhythm == "sinus" and rate < 60)
    assert truth["STach"] == (rhythm == "sinus" and rate > 100)
    assert truth["1AVB"] == (rhythm == "sinus" and pr > 200)
    assert truth["LBBB"] == (block == "left" and qrs >= 120)
    assert truth["CD"] == (truth["1AVB"] or (block != "" and qrs >= 110))
    assert not (truth["NORM"] and (truth["CD"] or truth["AF"] or truth["SB"]))


# ------------------------------------------------------------------------------------------------ signals: physics


@pytest.mark.parametrize("name", NAMES)
def test_leads_obey_einthoven_and_goldberger(cohorts: dict[str, EmbeddedCohort], name: str) -> None:
    cohort = cohorts[name]
    for record in cohort.records[:20]:
        one, two, three, avr, avl, avf = cohort.read(record).signals[:6].astype(np.float64)
        size = max(np.abs(one).max(), np.abs(two).max())
        for residual in (one + three - two, avr + (one + two) / 2, avl - (one - two / 2), avf - (two - one / 2)):
            assert np.abs(residual).max() <= 4 * np.finfo(np.float32).eps * size


@pytest.mark.parametrize("name", NAMES)
def test_recordings_are_as_declared(cohorts: dict[str, EmbeddedCohort], name: str) -> None:
    cohort, spec = cohorts[name], SPECS[name]
    for record, state in zip(cohort.records, cohort._population.states, strict=True):
        recording = cohort.read(record)
        assert recording.leads == LEADS
        assert recording.sampling_rate == spec.sampling_rate
        assert recording.signals.dtype == np.float32
        assert recording.signals.shape == (12, state.samples)
        assert np.isfinite(recording.signals).all()
        # A flat lead, or a saturated one, is a fault of the generator.
        assert (np.ptp(recording.signals, axis=1) > 0.05).all()
        assert np.abs(recording.signals).max() < 12
    assert {s.samples for s in cohort._population.states} <= {length for length, _ in spec.lengths}


def test_south_america_has_both_lengths_and_large_amplitudes(cohorts: dict[str, EmbeddedCohort]) -> None:
    lengths = {s.samples for s in cohorts["synthetic-south-america"]._population.states}
    assert lengths == {2934, 4096}
    size = {}
    for name, cohort in cohorts.items():
        size[name] = np.median([np.ptp(cohort.read(r).signals[ROW["V4"]]) for r in cohort.records])
    assert 1.4 < size["synthetic-south-america"] / size["synthetic-europe"] < 2.1


@pytest.mark.parametrize("name", NAMES)
def test_mains_hum_is_at_the_cohorts_own_frequency(cohorts: dict[str, EmbeddedCohort], name: str) -> None:
    cohort = cohorts[name]
    length = cohort._population.states[0].samples
    same = [r for r, s in zip(cohort.records, cohort._population.states, strict=True) if s.samples == length]
    power = np.mean([np.abs(np.fft.rfft(cohort.read(r).signals, axis=1)) ** 2 for r in same], axis=(0, 1))
    f = np.fft.rfftfreq(length, 1 / cohort.sampling_rate)

    def around(centre: float) -> float:
        return float(power[(f > centre - 0.5) & (f < centre + 0.5)].max())

    mains = SPECS[name].device.mains
    other = 110 - mains
    assert around(mains) / around(mains + 5) > 1.5 * around(other) / around(other + 5)


def test_chest_leads_see_what_a_cardiologist_expects() -> None:
    """R grows and S shrinks from V1 to V5, T is upright beside an upright QRS, aVR is negative."""
    spec = SPECS["synthetic-europe"]
    rs, ts = [], []
    for seed in range(40):
        heart = embedded_heart.draw_heart(np.random.default_rng(seed), age=55.0, female=bool(seed % 2))
        t = np.arange(0.0, 140.0, 1000 / spec.sampling_rate)
        leads = embedded_signal.twelve(heart.leads @ embedded_signal.qrs_dipole(heart, usual_state(), t))
        rs.append((leads.max(axis=1), -leads.min(axis=1)))
        ts.append(embedded_signal.twelve(heart.leads @ embedded_signal._t_vector(heart, usual_state())[:, None])[:, 0])
    r, s = np.median(rs, axis=0)
    assert r[ROW["V1"]] < s[ROW["V1"]]
    assert r[ROW["V5"]] > 2 * s[ROW["V5"]]
    assert r[ROW["V1"]] < r[ROW["V2"]] < r[ROW["V3"]] < r[ROW["V4"]]
    assert s[ROW["aVR"]] > 2 * r[ROW["aVR"]]
    for lead in ("I", "II", "V3", "V4", "V5", "V6"):
        assert (np.array(ts)[:, ROW[lead]] > 0).mean() > 0.8, lead


def test_bundle_blocks_look_like_bundle_blocks() -> None:
    heart = usual_heart()
    t = np.arange(0.0, 200.0)

    def leads(**changes: object) -> dict[str, np.ndarray]:
        dipole = embedded_signal.qrs_dipole(heart, usual_state(**changes), t)
        return dict(zip(LEADS, embedded_signal.twelve(heart.leads @ dipole), strict=True))

    normal, left, right = leads(), leads(block="left", qrs=150.0), leads(block="right", qrs=150.0)
    late = t > 95
    assert right["V1"][late].max() > 0.3 > normal["V1"][late].max() + 0.2
    assert right["V1"].argmin() < right["V1"][late].argmax() + 95
    assert right["I"][late].min() < -0.15
    assert right["V6"][late].min() < -0.15
    assert left["V6"][late].max() > 0.3
    assert left["V1"].max() < 0.2 * -left["V1"].min()
    assert left["V6"][:60].min() > normal["V6"][:60].min() - 0.01


@given(qrs=st.floats(124, 180), block=st.sampled_from(["left", "right"]))
@settings(max_examples=30, deadline=None)
def test_a_blocked_qrs_is_as_wide_as_its_state_says(qrs: float, block: str) -> None:
    heart = usual_heart()
    t = np.arange(-40.0, 260.0)

    def width(state: State) -> float:
        size = np.linalg.norm(embedded_signal.qrs_dipole(heart, state, t), axis=0)
        active = t[size > 0.05 * size.max()]
        return float(np.ptp(active))

    wide = width(usual_state(block=block, qrs=qrs))
    assert 0.82 * qrs < wide < 1.15 * qrs
    assert wide > width(usual_state()) + 15


@given(frontal=st.floats(-180, 180), transverse=st.floats(-180, 180))
def test_rotation_keeps_lengths(frontal: float, transverse: float) -> None:
    matrix = embedded_heart.rotation(frontal, transverse)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1.0)


def test_derivation_ignores_what_all_electrodes_share() -> None:
    np.testing.assert_allclose(embedded_noise.DERIVATION.sum(axis=1), 0.0, atol=1e-6)


def test_filters_pass_the_heart_and_stop_the_rest() -> None:
    device = SPECS["synthetic-asia"].device
    gain = embedded_noise.response(device, 5000, 500.0)
    f = np.fft.rfftfreq(5000, 1 / 500)
    assert gain[0] == 0
    assert gain[f == 10][0] == pytest.approx(1.0, abs=0.01)
    assert gain[f == 0.1][0] < 0.1
    assert gain[f == 50][0] == pytest.approx(1 - device.notch, abs=0.02)
    assert gain[f == 200][0] < 0.1


# -------------------------------------------------------------------------------------------------- truth, rhythms


def test_rates_come_from_the_beats(europe: EmbeddedCohort) -> None:
    for label, holds in (("SB", lambda rate: rate < 62), ("STach", lambda rate: rate > 97)):
        records = with_truth(europe, label, 20)
        assert len(records) == 20
        for record in records:
            truth = europe.truth(record)
            if truth.state.ectopics or truth.state.variability > 0.06:
                continue
            rr = np.diff(truth.r_peaks) / europe.sampling_rate
            assert holds(60 / rr.mean()), record
            assert 60 / rr.mean() == pytest.approx(truth.rate, rel=0.05)


def test_r_peaks_are_where_the_signal_is_steep(cohorts: dict[str, EmbeddedCohort]) -> None:
    cohort = cohorts["synthetic-europe"]
    hits = []
    for record in cohort.records[:30]:
        truth, signals = cohort.truth(record), cohort.read(record).signals
        slope = np.abs(np.diff(signals[6:], axis=1)).sum(axis=0)
        around = [slope[max(p - 30, 0) : p + 60].max() for p in truth.r_peaks]
        hits.append(np.mean(np.array(around) > 3 * np.median(slope)))
    assert np.mean(hits) > 0.97


def test_fibrillation_is_less_regular_than_sinus_rhythm_on_the_whole(europe: EmbeddedCohort) -> None:
    def spread(records: list[str]) -> np.ndarray:
        intervals = [np.diff(europe.truth(r).r_peaks) for r in records]
        return np.array([i.std() / i.mean() for i in intervals])

    sinus = [r for r, s in zip(europe.records, europe._population.states, strict=True) if s.rhythm == "sinus"][:60]
    irregular, regular = spread(with_truth(europe, "AF", 40)), spread(sinus)
    assert np.median(irregular) > 3 * np.median(regular)
    # Overlap is intended: irregularity alone must not settle the diagnosis.
    assert regular.max() > irregular.min()


@pytest.mark.parametrize("name", NAMES)
def test_fibrillation_shows_most_in_v1_then_ii(name: str) -> None:
    cohort = load_embedded(name)
    shares = [cohort.truth(r).labels["AF"].leads for r in with_truth(cohort, "AF", 30)]
    mean = {lead: np.mean([share[lead] for share in shares]) for lead in LEADS}
    assert sorted(mean, key=lambda lead: -mean[lead])[:2] == ["V1", "II"]


@pytest.mark.parametrize(("label", "leads"), [("LBBB", {"V1", "V5", "V6", "V2"}), ("RBBB", {"V1", "V2"})])
def test_blocks_show_in_the_leads_that_look_at_them(europe: EmbeddedCohort, label: str, leads: set[str]) -> None:
    shares = [europe.truth(r).labels[label].leads for r in with_truth(europe, label, 15)]
    mean = {lead: np.mean([share[lead] for share in shares]) for lead in LEADS}
    assert sorted(mean, key=lambda lead: -mean[lead])[0] in leads
    assert sum(mean[lead] for lead in leads) > len(leads) / 12 * 1.3


@pytest.mark.parametrize("label", list(LABELS))
def test_evidence_is_complete_and_inside_the_record(europe: EmbeddedCohort, label: str) -> None:
    records = with_truth(europe, label)
    assert records
    for record in records:
        truth = europe.truth(record)
        evidence = truth.labels[label]
        assert list(evidence.leads) == list(LEADS)
        assert sum(evidence.leads.values()) == pytest.approx(1.0)
        assert min(evidence.leads.values()) >= 0
        assert evidence.intervals
        assert all(0 <= a < b <= truth.state.samples for a, b in evidence.intervals)
        assert truth.labels.keys() == {name for name, present in true_labels(truth.state).items() if present}
        if label in ("SB", "STach", "NORM"):
            assert list(evidence.leads.values()) == pytest.approx([1 / 12] * 12)


def test_intervals_cover_what_their_label_means(europe: EmbeddedCohort) -> None:
    block = europe.truth(with_truth(europe, "LBBB")[0])
    widths = [b - a for a, b in block.labels["LBBB"].intervals][1:-1]
    assert np.median(widths) * 2 == pytest.approx(block.qrs, abs=3)
    delayed = europe.truth(with_truth(europe, "1AVB")[0])
    widths = [b - a for a, b in delayed.labels["1AVB"].intervals][1:-1]
    assert np.median(widths) * 2 == pytest.approx(delayed.pr, abs=3)
    assert delayed.pr > 200
    silent = europe.truth(with_truth(europe, "AF")[0])
    assert np.isnan(silent.pr)
    assert not any(a <= peak < b for a, b in silent.labels["AF"].intervals for peak in silent.r_peaks)


# -------------------------------------------------------------------------------------------- determinism and cache


def test_same_seed_same_cohort_other_seed_other_cohort(cohorts: dict[str, EmbeddedCohort]) -> None:
    name = "synthetic-south-america"
    again, other = small(name), small(name, seed=1)
    assert again.digest == cohorts[name].digest
    assert again.table.equals(cohorts[name].table)
    assert again.labels.equals(cohorts[name].labels)
    assert other.digest != again.digest
    assert not other.table["age"].equals(again.table["age"])


def test_cohorts_do_not_share_patients(cohorts: dict[str, EmbeddedCohort]) -> None:
    assert len({cohort.digest for cohort in cohorts.values()}) == 4
    assert len(set().union(*(cohort.records for cohort in cohorts.values()))) == 4 * 60


def test_one_record_alone_equals_the_same_in_bulk(cohorts: dict[str, EmbeddedCohort]) -> None:
    cohort = cohorts["synthetic-north-america"]
    for i in (0, 31, 59):
        alone = embedded_signal.twelve(cohort._generate(i).astype(np.float32))
        stored = cohort.read(cohort.records[i]).signals
        np.testing.assert_array_equal(stored, alone * np.float32(cohort.spec.device.resolution / 1000))


def test_digest_of_some_records_depends_on_them_and_their_order(cohorts: dict[str, EmbeddedCohort]) -> None:
    cohort = cohorts["synthetic-asia"]
    a, b = cohort.records[:2]
    assert cohort._content_digest([a, b]) != cohort._content_digest([b, a])
    assert cohort._content_digest([a]) == small("synthetic-asia")._content_digest([a])


def test_labels_do_not_need_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: EmbeddedCohort, i: int) -> None:
        raise AssertionError("a signal was rendered")

    monkeypatch.setattr(EmbeddedCohort, "_generate", refuse)
    cohort = small("synthetic-asia")
    assert cohort.labels["SB"].any()
    with pytest.raises(AssertionError, match="rendered"):
        cohort.read(cohort.records[0])


def test_progress_counts_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    cohort = small("synthetic-asia", 20, progress=lambda done, total: told.append((done, total)))
    assert told == []
    cohort.prepare()
    cohort.prepare()
    assert told == [(i, 20) for i in range(1, 21)]


def files_of(cache: Path) -> tuple[Path, Path]:
    (folder,) = (cache / "cohorts").iterdir()
    return folder / "counts.npy", folder / "digest.json"


def test_cache_is_written_once_and_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = small("synthetic-asia", 12, cache=tmp_path)
    digest = cohort.digest
    counts, sidecar = files_of(tmp_path)
    assert json.loads(sidecar.read_text())["sha256"] == digest == small("synthetic-asia", 12).digest
    assert not list(counts.parent.glob("*part*"))
    monkeypatch.setattr(EmbeddedCohort, "_generate", None)
    again = small("synthetic-asia", 12, cache=tmp_path)
    np.testing.assert_array_equal(again.read("SAS00003").signals, cohort.read("SAS00003").signals)


def test_other_settings_have_their_own_cache(tmp_path: Path) -> None:
    keys = {small("synthetic-asia", 12, seed=0)._key, small("synthetic-asia", 12, seed=1)._key}
    keys |= {small("synthetic-asia", 13)._key, small("synthetic-europe", 12)._key}
    assert len(keys) == 4


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "no sidecar", "bad sidecar", "other shape"])
def test_damaged_cache_is_regenerated(tmp_path: Path, damage: str) -> None:
    digest = small("synthetic-europe", 6, cache=tmp_path).digest
    counts, sidecar = files_of(tmp_path)
    content = bytearray(counts.read_bytes())
    if damage == "truncate":
        counts.write_bytes(content[:-100])
    elif damage == "flip":
        content[-7] ^= 1
        counts.write_bytes(content)
    elif damage == "empty":
        counts.write_bytes(b"")
    elif damage == "no sidecar":
        sidecar.unlink()
    elif damage == "bad sidecar":
        sidecar.write_text("[1")
    else:
        np.save(counts, np.zeros(5, np.int16))
    assert small("synthetic-europe", 6, cache=tmp_path).digest == digest
    assert json.loads(sidecar.read_text())["sha256"] == digest


def test_cohort_can_be_sent_to_another_process() -> None:
    cohort = small("synthetic-europe", 6)
    assert pickle.loads(pickle.dumps(cohort)).digest == cohort.digest


def test_batches_keep_lengths_apart(cohorts: dict[str, EmbeddedCohort]) -> None:
    batches = list(cohorts["synthetic-south-america"].batches(16))
    assert {batch.signals.shape[2] for batch in batches} == {2934, 4096}
    assert sum(len(batch) for batch in batches) == 60


# ------------------------------------------------------------------------------------------------------- bad input


def test_unknown_names_are_explained() -> None:
    with pytest.raises(EcgfmError, match="Did you mean 'synthetic-europe'"):
        load_embedded("synthetic-eurpe")
    cohort = small("synthetic-europe", 6)
    for ask in (cohort.read, cohort.truth):
        with pytest.raises(EcgfmError, match="no record 'X' among 6"):
            ask("X")
    with pytest.raises(EcgfmError, match="seed=-1"):
        load_embedded("synthetic-europe", seed=-1)


@given(n=st.integers(1, 40), seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_tiny_cohorts_are_possible(n: int, seed: int) -> None:
    for name in ("synthetic-europe", "synthetic-asia"):
        population = draw_population(replace(SPECS[name], n_records=n), (seed,))
        assert len(population.table) == len(population.labels) == len(population.states) == n
        assert population.table.index.is_unique
        assert all(35 < state.rate < 175 and 60 < state.qrs < 200 for state in population.states)


def test_a_limit_does_not_change_what_is_generated_or_kept(tmp_path: Path) -> None:
    spec = replace(SPECS["synthetic-europe"], n_records=40)
    whole = EmbeddedCohort(spec)
    part = limited(EmbeddedCohort(spec, cache=tmp_path), 15)
    for record in part.records:
        np.testing.assert_array_equal(part.read(record).signals, whole.read(record).signals)
    again = EmbeddedCohort(spec, cache=tmp_path)
    assert again.digest == whole.digest
