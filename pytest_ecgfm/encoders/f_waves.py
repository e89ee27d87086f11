"""Atrial fibrillation in the spectrum between beats: f waves are 4-9 Hz, narrow-banded."""

from functools import cache
from typing import NamedTuple

import numpy as np

from pytest_ecgfm.encoders.filters import Floats

_SIZE = 1024
"""Samples of a part whose spectrum is taken."""


class FWaves(NamedTuple):
    """What the spectrum of one lead says.

    Attributes
    ----------
    power : float
        Log of the power in 4-9 Hz, between -3 and 4.
    share : float
        Of the power in 1.5-25 Hz.
    peak : float
        Share of that power within 5 neighbouring frequencies, at most 1.
    """

    power: float
    share: float
    peak: float


def f_waves(rest: Floats, sampling_rate: float) -> list[FWaves]:
    """Measure each lead by Welch's method; scipy.signal.welch takes longer than the rest of this function.

    Parameters
    ----------
    rest : ndarray of float64, shape (leads, samples)
        What is left of the signals without beats, in mV.
    sampling_rate : float
        In Hz.
    """
    size = min(_SIZE, rest.shape[-1])
    parts = np.stack([rest[:, at : at + size] for at in range(0, rest.shape[-1] - size + 1, size // 2)], axis=1)
    power = np.mean(np.abs(np.fft.rfft(parts * _taper(size), _SIZE)) ** 2, axis=1) / (sampling_rate * 0.1875 * size)
    atrial, broad = _bands(sampling_rate)
    out = []
    for density in power:
        inside, total = float(density[atrial].sum()), float(density[broad].sum())
        band = np.convolve(density, np.ones(5), mode="same")[atrial]
        out.append(
            FWaves(
                float(np.clip(0.5 * np.log(inside * 0.244 + 1e-7) + 5.0, -3.0, 4.0)),
                inside / (total + 1e-9),
                min(1.0, float(band.max()) / (inside + 1e-9)),
            )
        )
    return out


@cache
def _taper(size: int) -> Floats:
    return np.hanning(size)


@cache
def _bands(sampling_rate: float) -> tuple[slice, slice]:
    """Return the frequencies of f waves, and those among which they lie."""
    frequency = np.fft.rfftfreq(_SIZE, 1 / sampling_rate)

    def between(low: float, high: float) -> slice:
        return slice(int(np.searchsorted(frequency, low)), int(np.searchsorted(frequency, high, side="right")))

    return between(4, 9), between(1.5, 25)
