"""Filters of signals, row by row: bands without phase shift, spikes taken out, wander and slopes."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SPIKE = 2.5
"""mV that no QRS, but many an artefact, stands out of the median of 28 ms (tall published QRS reach 2)."""


def band_pass(signals: Floats, low: float, high: float, sampling_rate: float) -> Floats:
    """Filter without phase shift (second-order Butterworth, forwards and backwards).

    Parameters
    ----------
    signals : ndarray of float64, shape (..., samples)
        In mV.
    low, high : float
        Corner frequencies in Hz.
    sampling_rate : float
        In Hz.

    Returns
    -------
    ndarray of float64, shape (..., samples)
        In mV.
    """
    from scipy.signal import sosfiltfilt

    sos = _coefficients(low, high, sampling_rate)
    # A second of padding settles the slow corner; records shorter than that are padded by what they have.
    pad = min(int(sampling_rate / low), signals.shape[-1] - 1)
    return np.asarray(sosfiltfilt(sos, signals, axis=-1, padlen=pad), dtype=np.float64)


@lru_cache(maxsize=32)
def _coefficients(low: float, high: float, sampling_rate: float) -> Floats:
    # Designing a filter takes as long as running it.
    from scipy.signal import butter

    return np.asarray(butter(2, [low, high], "bandpass", fs=sampling_rate, output="sos"), dtype=np.float64)


def without_spikes(signals: npt.NDArray[np.floating], sampling_rate: float) -> Floats:
    """Replace electrical spikes by the median of 28 ms around them.

    Parameters
    ----------
    signals : ndarray, shape (..., samples)
        In mV.
    sampling_rate : float
        In Hz.

    Returns
    -------
    ndarray of float64, shape (..., samples)
    """
    from scipy.ndimage import binary_dilation, median_filter

    out = np.array(signals, dtype=np.float64, order="C")
    for lead in out.reshape(-1, out.shape[-1]):
        # Most leads have no step of that size, and are spared the filter.
        step = lead[1:] - lead[:-1]
        if max(step.max(initial=0.0), -step.min(initial=0.0)) <= SPIKE / 2:
            continue
        local = median_filter(lead, size=2 * round(0.014 * sampling_rate) + 1, mode="nearest")
        apart = np.abs(lead - local) > SPIKE
        # Resampling leaves ripples on both sides of a spike.
        near = binary_dilation(apart, iterations=max(1, round(0.012 * sampling_rate))) if apart.any() else apart
        lead[near] = local[near]
    return out


def qrs_band(signals: Floats, sampling_rate: float) -> Floats:
    """Filter to the band in which QRS complexes stand out."""
    return band_pass(signals, 5.0, 20.0, sampling_rate)


def smooth(values: Floats) -> Floats:
    """Average over 20 ms at 250 Hz: P waves have little above 20 Hz, muscle noise has much."""
    from scipy.ndimage import uniform_filter1d

    return np.asarray(uniform_filter1d(values, 5, axis=-1, mode="nearest"))


def levelled(values: Floats) -> Floats:
    """Subtract each row's regression line."""
    time = np.linspace(-1.0, 1.0, values.shape[-1])
    slope = (values @ time) / np.sum(time**2)
    return np.asarray(values - values.mean(axis=-1, keepdims=True) - slope[..., None] * time)


def gradient(signals: Floats) -> Floats:
    """Return what `numpy.gradient` does along the last axis, in a quarter of its time."""
    out = np.empty_like(signals)
    np.subtract(signals[..., 2:], signals[..., :-2], out=out[..., 1:-1])
    out[..., 1:-1] /= 2.0
    out[..., 0], out[..., -1] = signals[..., 1] - signals[..., 0], signals[..., -1] - signals[..., -2]
    return out
