"""Handcrafted reference encoder: rate, rhythm, atrial activity, QRS, ST-T and noise, as a cardiologist reads them.

Nothing here is fitted. Every feature is clipped to a stated range, so that one broken record cannot stretch a
z-score, and is neutral where it cannot be measured (see `DEFAULTS`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.encoders.beats import (
    AFTER,
    BEFORE,
    Beats,
    beats_in,
    median_beat,
    median_of_beats,
    shifted_products,
    usual_beats,
    windows,
)
from pytest_ecgfm.encoders.f_waves import f_waves
from pytest_ecgfm.encoders.filters import Floats, band_pass, gradient, levelled, qrs_band, smooth, without_spikes
from pytest_ecgfm.encoders.quantiles import median, quantile
from pytest_ecgfm.signals.distinct import distinct
from pytest_ecgfm.signals.records import FloatArray, RecordBatch, signals_by_name

SAMPLING_RATE = 250.0
"""Hz."""

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The independent leads: III, aVR, aVL and aVF are sums of I and II and would add nothing but weight."""

_STEPS = (50, 60, 100, 150)
_BANDS = ((40, 60, 2), (40, 60, 5), (60, 98, 3), (98, 150, 2), (98, 150, 4), (98, 150, 8))
_SHAPED = ("I", "V1", "V6")
_WIDTHS = (0.07, 0.12, 0.25)
_ATRIAL = ("II", "V1")
_CENTRE = round(BEFORE * SAMPLING_RATE)


def _encode_rate(rate: float) -> dict[str, float]:
    """Encode a rate as numbers in which diagnoses are linear.

    Sinus bradycardia is a rate below 60; sinus tachycardia lies mostly between 100 and 150, flutter and ventricular
    tachycardia above: no linear probe can say that of one number. Soft steps and bands of several widths can.
    """

    def above(step: float, width: float) -> float:
        return float(1 / (1 + np.exp(-(rate - step) / width)))

    return {
        "rr": 60.0 / rate,
        "log_rr": float(np.log(60.0 / rate)),
        "rate_median": rate / 100.0,
        **{f"rate_above_{step}": above(step, 4.0) for step in _STEPS},
        **{f"rate_{low}_to_{high}_by_{w}": above(low, w) * (1 - above(high, w)) for low, high, w in _BANDS},
    }


# Median heart rate 75 bpm, narrow QRS, no P wave, no f waves, nothing irregular.
_RHYTHM_DEFAULTS = {
    "beats_found": 0.0,
    **_encode_rate(75.0),
    "rate_mean": 0.75,
    "rate_min": 0.75,
    "rate_max": 0.75,
    **dict.fromkeys(("rr_cv", "rr_cv_usual", "rr_spread", "rmssd", "difference_median", "difference_quartile"), 0.0),
    **dict.fromkeys(("pnn50", "changes_over_10_percent", "irregular", "turning_points", "rr_entropy"), 0.0),
    "unusual_beats": 0.0,
}
_ATRIAL_DEFAULTS = {
    **{f"p_amplitude_{lead}": 0.0 for lead in _ATRIAL},
    **{f"p_coherence_{lead}": 0.0 for lead in (*_ATRIAL, "all")},
    "p_to_noise": 0.0,
    "pr_interval": 0.16,
    "pr_long": 0.0,
    "pr_dispersion": 0.0,
    **{f"f_{what}_{lead}": 0.0 for lead in _ATRIAL for what in ("power", "share", "peak")},
}
_QRS_DEFAULTS = {
    **{f"qrs_duration_{round(100 * width)}": 0.09 for width in _WIDTHS},
    "qrs_wide": 0.0,
    "qrs_spread": 0.02,
    "qrs_late": 0.0,
    **{f"qrs_{what}_{lead}": 0.0 for lead in LEADS for what in ("area", "r", "s", "end")},
    **{f"qrs_{what}_{lead}": 0.0 for lead in _SHAPED for what in ("path", "peak_time", "late_r", "late_share")},
    "axis_sin": 0.0,
    "axis_cos": 0.0,
    "log_amplitude": 0.0,
}
_T_DEFAULTS = {
    **{f"{what}_{lead}": 0.0 for lead in LEADS for what in ("st", "t")},
    "qt": 0.38,
    "qt_corrected": 0.42,
    "qrs_t_cosine": 0.0,
    "log_noise": -4.0,
}

DEFAULTS: dict[str, float] = {**_RHYTHM_DEFAULTS, **_ATRIAL_DEFAULTS, **_QRS_DEFAULTS, **_T_DEFAULTS}
"""Each feature's value where no beat, or too few beats to measure it, was found."""

DIMENSIONS = len(DEFAULTS)


class Handcrafted:
    """Named ECG features as an embedding.

    Attributes
    ----------
    feature_names : tuple of str
        One a dimension. Durations are in seconds, amplitudes in mV, rates in beats per minute / 100.
    """

    feature_names: tuple[str, ...] = tuple(DEFAULTS)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records.

        Parameters
        ----------
        batch : RecordBatch
            At `SAMPLING_RATE`, with `LEADS` in any order (others are not read), of at least 1 s.

        Returns
        -------
        ndarray of float32, shape (records, DIMENSIONS)
            Finite; a row depends on its record only.
        """
        out = np.empty((len(batch), DIMENSIONS), dtype=np.float32)
        different, leads_of = distinct(signals_by_name(batch, LEADS, SAMPLING_RATE))
        still = without_spikes(different, SAMPLING_RATE)
        sharp, clean = qrs_band(still, SAMPLING_RATE), band_pass(still, 0.5, 40.0, SAMPLING_RATE)
        for row, leads in enumerate(leads_of):
            measured = _measure(sharp[leads], clean[leads])
            out[row] = [measured[name] for name in self.feature_names]
        return out


@dataclass(frozen=True)
class _Record:
    """What the feature groups share.

    Attributes
    ----------
    clean : ndarray of float64, shape (8, samples)
        0.5-40 Hz, mV.
    beats : Beats
    usual : ndarray of bool, shape (beats,)
        Beats of the dominant shape.
    beat : ndarray of float64, shape (8, samples of a beat)
        Median beat above its isoelectric level, mV.
    rr : float
        Median RR interval in seconds (0.8 where there is one beat only).
    onset, offset : int
        Samples of `beat` between which QRS lies.
    speed : ndarray of float64, shape (samples of a beat,)
        Spatial velocity of the median beat, smoothed.
    """

    clean: Floats
    beats: Beats
    usual: np.ndarray[tuple[int], np.dtype[np.bool_]]
    beat: Floats
    rr: float
    onset: int
    offset: int
    speed: Floats


def features(signals: FloatArray) -> dict[str, float]:
    """Measure one record.

    Parameters
    ----------
    signals : ndarray, shape (8, samples)
        `LEADS`, in mV, at `SAMPLING_RATE`.

    Returns
    -------
    dict of str to float
        The keys of `DEFAULTS`, in that order.
    """
    still = without_spikes(signals, SAMPLING_RATE)
    return _measure(qrs_band(still, SAMPLING_RATE), band_pass(still, 0.5, 40.0, SAMPLING_RATE))


def _measure(sharp: Floats, clean: Floats) -> dict[str, float]:
    beats = beats_in(sharp, SAMPLING_RATE)
    if not len(beats):
        return dict(DEFAULTS)
    record = _delineate(clean, beats)
    return {**DEFAULTS, **_rhythm(beats, record.usual), **_atrial(record), **_qrs(record), **_repolarisation(record)}


def _delineate(clean: Floats, beats: Beats) -> _Record:
    beat = median_beat(clean, beats, SAMPLING_RATE)
    slope = gradient(beat)
    # 20 ms of smoothing bridges the standstill at the top of R.
    speed = np.sqrt(np.convolve(np.sum(slope**2, axis=0), np.full(5, 0.2), mode="same"))
    onset, offset = _bounds(speed, 0.12)
    level = beat[:, max(0, onset - 7) : max(1, onset - 1)].mean(axis=-1, keepdims=True)
    rr = float(median(np.diff(beats.peaks))) / SAMPLING_RATE if len(beats) > 1 else 0.8
    return _Record(clean, beats, usual_beats(beats), beat - level, rr, onset, offset, speed)


def _bounds(speed: Floats, share: float) -> tuple[int, int]:
    """Walk from the fastest sample of QRS outwards to where the velocity falls below a share of its peak."""
    first, last = _CENTRE - 30, _CENTRE + 36
    top = first + 5 + int(np.argmax(speed[first + 5 : last - 5]))
    threshold = max(share * speed[top], 2.0 * float(median(speed)))
    slow = speed < min(threshold, 0.5 * speed[top])
    before = np.flatnonzero(slow[first:top])
    after = np.flatnonzero(slow[top:last])
    return (first + int(before[-1]) if len(before) else first), (top + int(after[0]) if len(after) else last)


def _rhythm(beats: Beats, usual: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> dict[str, float]:
    out = {"beats_found": 1.0, "unusual_beats": 1.0 - float(np.mean(usual))}
    rr = np.diff(beats.peaks) / SAMPLING_RATE
    if not len(rr):
        return out
    middle = float(median(rr))
    # Quantiles, not extremes: one missed or false beat must not move them.
    ordered = np.sort(rr)
    shortest, short, long, longest = (float(quantile(ordered, share)) for share in (0.1, 0.15, 0.85, 0.9))
    rate = float(np.clip(60.0 / middle, 20.0, 300.0))
    out |= {
        **_encode_rate(rate),
        "rate_mean": 0.6 / float(np.mean(rr)),
        "rate_min": 0.6 / longest,
        "rate_max": 0.6 / shortest,
        "rr_cv": min(1.0, float(np.std(rr) / np.mean(rr))),
        "rr_spread": min(1.0, (long - short) / middle),
    }
    # RR intervals that begin and end with a usual beat: extrasystoles make a rhythm irregular, but not fibrillation.
    normal = rr[usual[:-1] & usual[1:]]
    if len(normal) > 2:
        out["rr_cv_usual"] = min(1.0, float(np.std(normal) / np.mean(normal)))
    if len(rr) < 3:
        return out
    change = np.abs(np.diff(rr))
    relative = change / middle
    turns = np.diff(rr)[:-1] * np.diff(rr)[1:] < 0
    counts = np.bincount(np.clip((rr / middle / 0.06).astype(int), 0, 40))
    shares = counts[counts > 0] / len(rr)
    out |= {
        "rmssd": min(1.0, float(np.sqrt(np.mean(change**2))) / middle),
        "difference_median": min(0.5, float(median(relative))),
        "difference_quartile": min(0.5, float(quantile(np.sort(relative), 0.25))),
        "pnn50": float(np.mean(change > 0.05)),
        "changes_over_10_percent": float(np.mean(relative > 0.1)),
        "irregular": float(np.tanh(median(relative) / 0.08)),
        "turning_points": float(np.mean(turns & (relative[1:] > 0.03))),
        "rr_entropy": float(-np.sum(shares * np.log(shares)) / np.log(max(2, len(rr)))),
    }
    return out


def _atrial(record: _Record) -> dict[str, float]:
    """P wave before QRS, and what is left between beats once the median beat is taken out."""
    stop = record.onset - 4
    # The window reaches back as far as P can lie, but not into the T wave before (QT about 0.4 s at 60 bpm).
    room = record.rr - 0.4 * np.sqrt(record.rr) - 0.04
    start = max(0, min(stop - 30, _CENTRE - round(SAMPLING_RATE * min(BEFORE, max(0.16, room)))))
    out = _f_waves(record)
    peaks = record.beats.peaks[record.usual]
    peaks = peaks[peaks >= _CENTRE]
    if stop - start < 15 or not len(peaks):
        return out
    wide = levelled(smooth(windows(record.clean, peaks, _CENTRE - start, stop - _CENTRE)))
    mean = median_of_beats(wide)
    size = np.sqrt(np.sum(mean**2, axis=0))
    top = int(np.argmax(size))
    noise = np.sqrt(np.mean(median_of_beats(np.abs(wide - mean)) ** 2))
    out["pr_interval"] = (record.onset - start - top) / SAMPLING_RATE
    out["p_to_noise"] = float(np.clip(np.log((size[top] / np.sqrt(len(LEADS)) + 1e-3) / (noise + 1e-3)), -3.0, 4.0))
    for lead in _ATRIAL:
        wave = mean[LEADS.index(lead)]
        out[f"p_amplitude_{lead}"] = float(np.clip(wave[top] - median(wave), -0.5, 0.5))
        out[f"p_coherence_{lead}"] = _coherence(wide[:, [LEADS.index(lead)]])
    out["p_coherence_all"] = _coherence(wide)
    # From the top of P to QRS; the usual PR limit of 0.2 s counts from the onset of P, some 50 ms earlier.
    out["pr_long"] = max(0.0, out["p_coherence_all"]) / (1 + float(np.exp(-(out["pr_interval"] - 0.15) / 0.01)))
    if len(peaks) > 2:
        reach = min(15, (mean.shape[-1] - 8) // 2)
        inner = np.ascontiguousarray(mean[:, reach : mean.shape[-1] - reach])
        product = shifted_products(wide, inner)
        out["pr_dispersion"] = float(np.std(np.argmax(product, axis=-1))) / SAMPLING_RATE
    return out


def _coherence(wide: Floats) -> float:
    """Share of the power that repeats from beat to beat: near 1 for P waves, near 0 for f waves and noise.

    Mean product of different beats over the mean power of one, shape (beats, leads, samples) to a number.
    """
    count, power = len(wide), float(np.sum(wide**2))
    if count < 2 or power < 1e-9:
        return 0.0
    return float(np.clip((np.sum(wide.sum(axis=0) ** 2) - power) / ((count - 1) * power), -0.3, 1.0))


def _f_waves(record: _Record) -> dict[str, float]:
    """Spectrum between beats in II and V1: f waves are 4-9 Hz, narrow-banded."""
    rows = [LEADS.index(lead) for lead in _ATRIAL]
    rest = record.clean[rows].copy()
    peaks, beat = record.beats.peaks, record.beat[rows]
    limits = np.append(peaks[1:], rest.shape[-1] + _CENTRE)
    for peak, following in zip(peaks, limits, strict=True):
        # Each beat is taken out up to where the next one's P wave begins.
        low, high = max(0, peak - _CENTRE), min(rest.shape[-1], peak + beat.shape[-1] - _CENTRE, following - _CENTRE)
        if high > low:
            rest[:, low:high] -= beat[:, low - peak + _CENTRE : high - peak + _CENTRE]
    blank = np.clip(peaks[:, None] + np.arange(record.onset - _CENTRE - 5, record.offset - _CENTRE + 6), 0, None)
    rest[:, np.minimum(blank, rest.shape[-1] - 1)] = 0.0
    out: dict[str, float] = {}
    for lead, found in zip(_ATRIAL, f_waves(rest, SAMPLING_RATE), strict=True):
        out |= {f"f_{what}_{lead}": value for what, value in found._asdict().items()}
    return out


def _by_lead(name: str, values: npt.NDArray[np.floating[Any]], leads: tuple[str, ...] = LEADS) -> dict[str, float]:
    return {f"{name}_{lead}": value for lead, value in zip(leads, values.tolist(), strict=True)}


def _qrs(record: _Record) -> dict[str, float]:
    onset, offset = record.onset, record.offset
    out = {}
    for width in _WIDTHS:
        low, high = _bounds(record.speed, width)
        out[f"qrs_duration_{round(100 * width)}"] = (high - low) / SAMPLING_RATE
    # Bundle branch block is complete from 0.12 s.
    out["qrs_wide"] = 1 / (1 + float(np.exp(-(out[f"qrs_duration_{round(100 * _WIDTHS[0])}"] - 0.12) / 0.006)))
    around = slice(_CENTRE - 30, _CENTRE + 36)
    energy = record.speed[around] ** 2
    energy = energy / max(float(energy.sum()), 1e-12)
    time = np.arange(len(energy)) / SAMPLING_RATE
    middle = float(np.sum(energy * time))
    # Widths from moments need no threshold, so they keep their order under noise.
    out["qrs_spread"] = float(np.sqrt(np.sum(energy * (time - middle) ** 2)))
    out["qrs_late"] = float(np.sum(energy * (time > middle + 0.03)))
    complexes = np.clip(record.beat[:, onset : offset + 1], -5.0, 5.0)
    half = complexes.shape[-1] // 2
    height = np.ptp(complexes, axis=-1)
    out |= _by_lead("qrs_area", 10.0 * complexes.sum(axis=-1) / SAMPLING_RATE)
    out |= _by_lead("qrs_r", np.maximum(0.0, complexes.max(axis=-1)))
    out |= _by_lead("qrs_s", np.minimum(0.0, complexes.min(axis=-1)))
    out |= _by_lead("qrs_end", complexes[:, -10:].mean(axis=-1))
    shaped = [LEADS.index(lead) for lead in _SHAPED]
    waves, tall = complexes[shaped], height[shaped] + 0.05
    path = np.abs(np.diff(waves, axis=-1)).sum(axis=-1)
    out |= _by_lead("qrs_path", np.minimum(4.0, path / tall), _SHAPED)
    out |= _by_lead("qrs_peak_time", 10.0 * np.argmax(waves, axis=-1) / SAMPLING_RATE, _SHAPED)
    out |= _by_lead("qrs_late_r", np.maximum(0.0, waves[:, half:].max(axis=-1)), _SHAPED)
    out |= _by_lead("qrs_late_share", waves[:, half:].mean(axis=-1) / tall, _SHAPED)
    first, second = out["qrs_area_I"], out["qrs_area_II"]
    # aVF = II - I / 2; its unit is 2 / sqrt(3) of lead I's on the frontal plane.
    foot = (second - first / 2) * 2 / np.sqrt(3)
    length = float(np.hypot(first, foot)) + 0.02
    out["axis_sin"], out["axis_cos"] = float(foot) / length, first / length
    out["log_amplitude"] = float(np.clip(np.log(np.sqrt(np.mean(height**2)) + 1e-3), -4.0, 2.0))
    return out


def _repolarisation(record: _Record) -> dict[str, float]:
    beat, offset = np.clip(record.beat, -5.0, 5.0), record.offset
    stop = min(beat.shape[-1], _CENTRE + round(SAMPLING_RATE * max(0.3, min(AFTER, 0.62 * np.sqrt(record.rr)))))
    stop = min(stop, max(offset + 30, _CENTRE + round(SAMPLING_RATE * (record.rr - 0.18))))
    out: dict[str, float] = {}
    late = smooth(beat[:, offset + 12 : stop])
    size = np.sqrt(np.sum(late**2, axis=0))
    top = int(np.argmax(size))
    extreme = np.argmax(np.abs(late), axis=-1)
    out |= _by_lead("st", np.clip(beat[:, offset + 8 : offset + 18].mean(axis=-1), -1.0, 1.0))
    out |= _by_lead("t", np.clip(late[np.arange(len(late)), extreme], -2.0, 2.0))
    cumulated = np.cumsum(size) / max(float(size.sum()), 1e-9)
    end = offset + 12 + int(np.searchsorted(cumulated, 0.9))
    out["qt"] = (end - record.onset) / SAMPLING_RATE
    out["qt_corrected"] = float(np.clip(out["qt"] / np.sqrt(record.rr), 0.2, 0.8))
    area = beat[:, record.onset : offset + 1].sum(axis=-1)
    norm = float(np.linalg.norm(area) * np.linalg.norm(late[:, top])) + 1e-3
    out["qrs_t_cosine"] = float(area @ late[:, top]) / norm
    rough = median(np.abs(np.diff(record.clean, n=2, axis=-1)))
    out["log_noise"] = float(np.clip(np.log(np.mean(rough) + 1e-4), -9.0, 2.0))
    return out
