"""R peaks: planted ones, published recordings, and signals without any."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.encoders.beats import find_beats, heart_rate, median_beat, usual_beats
from pytest_ecgfm.encoders.filters import gradient
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import RecordBatch, signals_by_name

with warnings.catch_warnings():
    # wfdb uses parts of pandas that newer versions deprecate.
    warnings.simplefilter("ignore")
    import wfdb
    from wfdb.processing import xqrs_detect

RATE = 250.0
TOLERANCE = 0.03


def planted(
    times,
    *,
    seconds=10.0,
    amplitude=1.0,
    width=0.012,
    noise=0.0,
    t_wave=0.25,
    seed=0,
    leads=8,
    rate=RATE,
):
    """QRS as a Gaussian (SD `width` seconds), a T wave 0.28 s later, another projection in each lead."""
    rng = np.random.default_rng(seed)
    grid = np.arange(round(seconds * rate)) / rate
    qrs = sum(np.exp(-0.5 * ((grid - t) / width) ** 2) for t in times)
    wave = sum(np.exp(-0.5 * ((grid - t - 0.28) / 0.045) ** 2) for t in times)
    gains = rng.uniform(0.3, 1.0, (leads, 1)) * rng.choice([-1, 1], (leads, 1))
    signals = amplitude * gains * (qrs + t_wave * wave)
    return (signals + rng.normal(0, noise, signals.shape)).astype(np.float32)


def agreement(found, expected, tolerance=TOLERANCE):
    """F1 of found against expected times in seconds."""
    if not len(found) or not len(expected):
        return 0.0
    hits = np.sum(np.min(np.abs(np.subtract.outer(expected, found)), axis=1) < tolerance)
    return 2 * hits / (len(found) + len(expected))


def inner(times, seconds=10.0):
    """Leave out what lies within 0.2 s of an end, where half a beat is missing."""
    times = np.asarray(times)
    return times[(times > 0.2) & (times < seconds - 0.2)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    bpm=st.floats(35, 180),
    amplitude=st.floats(0.15, 4.0).flatmap(lambda a: st.sampled_from([a, -a])),
    noise=st.floats(0, 0.04),
    width=st.floats(0.009, 0.025),
    jitter=st.floats(0, 0.12),
    seed=st.integers(0, 1000),
)
def test_finds_planted_beats(bpm, amplitude, noise, width, jitter, seed):
    rng = np.random.default_rng(seed)
    steps = 60 / bpm * (1 + jitter * rng.uniform(-1, 1, 40))
    times = 0.3 + np.cumsum(steps) - steps[0]
    times = times[times < 9.7]
    signals = planted(times, amplitude=amplitude, noise=noise * abs(amplitude), width=width, seed=seed)
    beats = find_beats(signals, RATE)
    assert agreement(inner(beats.peaks / RATE), times) == 1.0
    assert heart_rate(beats, RATE) == pytest.approx(60 / np.median(np.diff(times)), rel=0.03)


def test_peaks_are_exact_without_noise():
    times = 0.5 + 0.8 * np.arange(12)
    beats = find_beats(planted(times, t_wave=0.0), RATE)
    np.testing.assert_allclose(beats.peaks / RATE, times, atol=1.01 / RATE)


@pytest.mark.parametrize("rate", [100.0, 250.0, 500.0])
def test_any_rate(rate):
    times = 0.5 + 0.75 * np.arange(12)
    beats = find_beats(planted(times, rate=rate, width=0.015), rate)
    assert agreement(beats.peaks / rate, times) == 1.0


@pytest.mark.parametrize("seconds", [5.0, 60.0])
def test_any_length(seconds):
    times = np.arange(0.4, seconds - 0.3, 0.9)
    assert agreement(find_beats(planted(times, seconds=seconds), RATE).peaks / RATE, times) == 1.0


def test_tall_t_waves_are_no_beats():
    times = 0.5 + 1.0 * np.arange(9)
    beats = find_beats(planted(times, t_wave=1.2), RATE)
    assert agreement(beats.peaks / RATE, times) == 1.0


def test_wide_beats():
    times = 0.5 + 0.8 * np.arange(11)
    assert agreement(find_beats(planted(times, width=0.04), RATE).peaks / RATE, times) == 1.0


def test_spikes_wander_hum_and_flat_leads_do_not_matter():
    times = 0.5 + 0.8 * np.arange(11)
    signals = planted(times, noise=0.02)
    grid = np.arange(signals.shape[1]) / RATE
    signals += 2.0 * np.sin(2 * np.pi * 0.2 * grid) + 0.1 * np.sin(2 * np.pi * 50 * grid)
    signals[2, [333, 900, 1700]] += 16.0
    signals[4, 1234] -= 16.0
    signals[5:] = 0.0
    assert agreement(find_beats(signals, RATE).peaks / RATE, times) == 1.0


def test_search_back_finds_a_weak_beat():
    times = 0.5 + 0.8 * np.arange(11)
    weak = planted(times[5:6], amplitude=0.34, t_wave=0.0)
    signals = planted(np.delete(times, 5), t_wave=0.1) + weak
    assert agreement(find_beats(signals, RATE).peaks / RATE, times) == 1.0


def test_an_ectopic_beat_is_unusual_and_leaves_the_median_beat_alone():
    times = 0.5 + 0.8 * np.arange(11)
    clean = planted(times)
    ectopic = planted(times[5:6], width=0.04, amplitude=-1.5, t_wave=0.0, seed=3)
    signals = planted(np.delete(times, 5)) + ectopic
    beats = find_beats(signals, RATE)
    usual = usual_beats(beats)
    assert len(beats) == 11
    assert not usual[5] and usual.sum() >= 9
    reference = median_beat(clean.astype(np.float64), find_beats(clean, RATE), RATE)
    assert np.abs(median_beat(signals.astype(np.float64), beats, RATE) - reference).max() < 0.02


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_no_beat_in_a_flat_record(level):
    beats = find_beats(np.full((8, 2500), level, np.float32), RATE)
    assert len(beats) == 0
    assert heart_rate(beats, RATE) == 75.0


def test_gain_does_not_move_beats(rng):
    signals = planted(np.sort(rng.uniform(0, 10, 9)), noise=0.02)
    expected = find_beats(signals, RATE).peaks
    for gain in (0.5, 4.0, -1.0):
        np.testing.assert_array_equal(find_beats(gain * signals, RATE).peaks, expected)


def test_signals_by_name_sorts_and_refuses():
    batch = RecordBatch(np.arange(6, dtype=np.float32).reshape(1, 3, 2), ("V1", "II", "I"), 250.0, ("a",))
    np.testing.assert_array_equal(signals_by_name(batch, ("I", "V1"), 250.0), [[[4, 5], [0, 1]]])
    with pytest.raises(EcgfmError, match="lacks lead 'V6'"):
        signals_by_name(batch, ("I", "V6"), 250.0)
    with pytest.raises(EcgfmError, match="sampled at 250 Hz, but should be at 100 Hz"):
        signals_by_name(batch, ("I",), 100.0)


def test_agrees_with_xqrs_on_published_recordings():
    root = Path(os.environ.get("ECGFM_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")
    headers = sorted((root / "ptb-xl" / "records500").rglob("*.hea"))[:60:3]
    if not headers:
        pytest.skip(f"no sample recordings: set $ECGFM_DATA, or put them in {root}")
    scores = []
    for header in headers:
        record = wfdb.rdrecord(str(header.with_suffix("")))
        signals = record.p_signal.T
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = xqrs_detect(signals[1], fs=record.fs, verbose=False) / record.fs
        found = find_beats(signals.astype(np.float32), record.fs).peaks / record.fs
        # Each may see a beat that is cut by an end of the record; they mark different points of a QRS.
        scores.append(agreement(inner(found), inner(reference), tolerance=0.1))
    assert np.median(scores) == 1.0
    assert np.mean(scores) > 0.97


@pytest.mark.parametrize("shape", [(2,), (3,), (4, 2), (8, 2500)])
def test_gradient_is_numpys(rng, shape):
    signals = rng.normal(size=shape)
    np.testing.assert_array_equal(gradient(signals), np.gradient(signals, axis=-1))
