"""The embedded cohorts keep to physics, to their specification, and to their own truth."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.cohorts.synthetic import SPECS, EmbeddedCohort, load_embedded
from pytest_ecgfm.cohorts.synthetic import heart as heart_model
from pytest_ecgfm.cohorts.synthetic import noise as noise_model
from pytest_ecgfm.cohorts.synthetic import signal as signal_model
from pytest_ecgfm.cohorts.synthetic.heart import State
from pytest_ecgfm.cohorts.synthetic.population import draw_population
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS
from tests.cohorts.embedded_data import NAMES, small, usual_state

ROW = {lead: row for row, lead in enumerate(LEADS)}


def usual_heart() -> heart_model.Heart:
    return heart_model.draw_heart(np.random.default_rng(8), age=55.0, female=False)


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
        heart = heart_model.draw_heart(np.random.default_rng(seed), age=55.0, female=bool(seed % 2))
        t = np.arange(0.0, 140.0, 1000 / spec.sampling_rate)
        leads = signal_model.twelve(heart.leads @ signal_model.qrs_dipole(heart, usual_state(), t))
        rs.append((leads.max(axis=1), -leads.min(axis=1)))
        ts.append(signal_model.twelve(heart.leads @ signal_model._t_vector(heart, usual_state())[:, None])[:, 0])
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
        dipole = signal_model.qrs_dipole(heart, usual_state(**changes), t)
        return dict(zip(LEADS, signal_model.twelve(heart.leads @ dipole), strict=True))

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
        size = np.linalg.norm(signal_model.qrs_dipole(heart, state, t), axis=0)
        active = t[size > 0.05 * size.max()]
        return float(np.ptp(active))

    wide = width(usual_state(block=block, qrs=qrs))
    assert 0.82 * qrs < wide < 1.15 * qrs
    assert wide > width(usual_state()) + 15


@given(frontal=st.floats(-180, 180), transverse=st.floats(-180, 180))
def test_rotation_keeps_lengths(frontal: float, transverse: float) -> None:
    matrix = heart_model.rotation(frontal, transverse)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1.0)


def test_derivation_ignores_what_all_electrodes_share() -> None:
    np.testing.assert_allclose(noise_model.DERIVATION.sum(axis=1), 0.0, atol=1e-6)


def test_filters_pass_the_heart_and_stop_the_rest() -> None:
    device = SPECS["synthetic-asia"].device
    gain = noise_model.response(device, 5000, 500.0)
    f = np.fft.rfftfreq(5000, 1 / 500)
    assert gain[0] == 0
    assert gain[f == 10][0] == pytest.approx(1.0, abs=0.01)
    assert gain[f == 0.1][0] < 0.1
    assert gain[f == 50][0] == pytest.approx(1 - device.notch, abs=0.02)
    assert gain[f == 200][0] < 0.1


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
        alone = signal_model.twelve(cohort._generate(i).astype(np.float32))
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
