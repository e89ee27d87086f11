"""What lies between the heart and the stored record: electrodes, muscle, mains, the device's filters, quantisation."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
"""Rows of all electrode noise."""


def _derivation() -> Floats:
    matrix = np.zeros((8, 9), np.float32)
    matrix[0, [1, 0]] = 1, -1
    matrix[1, [2, 0]] = 1, -1
    for row in range(2, 8):
        matrix[row, row + 1] = 1
        matrix[row, :3] -= 1 / 3
    return matrix


DERIVATION = _derivation()
"""Electrode potentials to leads I, II, V1-V6: differences of limb electrodes; chest minus Wilson's central terminal."""


@dataclass(frozen=True)
class Device:
    """An electrocardiograph and where it stands.

    Attributes
    ----------
    high_pass, low_pass : float
        Corner frequencies of the stored signal, Hz.
    notch : float
        Share of the mains hum that the notch filter removes (0: no notch filter).
    mains : float
        Mains frequency, Hz.
    hum, wander, muscle : float
        Typical amplitude at one electrode: hum (peak), baseline wander (peak), muscle and amplifier noise (RMS), mV.
    resolution : float
        One count of the stored integers, microvolts.
    scale : float
        Factor between the true and the stored amplitude.
    """

    high_pass: float
    low_pass: float
    notch: float
    mains: float
    hum: float
    wander: float
    muscle: float
    resolution: float
    scale: float


@lru_cache(maxsize=64)
def response(device: Device, samples: int, sampling_rate: float) -> npt.NDArray[np.float32]:
    """Return the device's amplitude response (zero phase), shape (samples // 2 + 1,).

    Butterworth: second order below, fourth above; the notch is Gaussian, 0.7 Hz wide.
    """
    f = np.fft.rfftfreq(samples, 1 / sampling_rate)
    with np.errstate(divide="ignore"):
        gain = 1 / np.sqrt(1 + (device.high_pass / f) ** 4)
    gain = gain / np.sqrt(1 + (f / device.low_pass) ** 8)
    gain = gain * (1 - device.notch * np.exp(-0.5 * ((f - device.mains) / 0.7) ** 2))
    return np.asarray(gain, dtype=np.float32)


def electrode_noise(
    rng: np.random.Generator, device: Device, factor: float, *, samples: int, sampling_rate: float
) -> Floats:
    """Return the potentials that are not of the heart.

    Parameters
    ----------
    rng : Generator
        Of this record alone.
    device : Device
    factor : float
        1 in an ordinary record; above about 2, one electrode is also loose.
    samples : int
    sampling_rate : float
        Hz.

    Returns
    -------
    ndarray of float32, shape (9, samples)
        mV, a row of `ELECTRODES` each.
    """
    t = np.arange(samples) / sampling_rate
    # Muscle noise rises with frequency up to some 100 Hz: halfway between white noise and its difference.
    white = rng.standard_normal((9, samples + 1), dtype=np.float32)
    noise = white[:, 1:] - np.float32(0.5) * white[:, :-1]
    rise, wave = rng.uniform(0.0, 1.2), np.sin(2 * np.pi * rng.uniform(0.03, 0.2) * t + rng.uniform(0, 6.3))
    # Squares are far faster than a power; the counts that are stored are the same.
    burst = 1.0 + rise * np.square(np.square(wave))
    noise *= (burst * device.muscle * factor * rng.lognormal(-0.1, 0.4)).astype(np.float32)
    noise *= rng.lognormal(0.0, 0.3, (9, 1)).astype(np.float32)
    slow = np.array([rng.uniform(0.04, 0.12), rng.uniform(0.12, 0.25), rng.uniform(0.2, 0.35), rng.uniform(0.35, 0.7)])
    sizes = np.array([1.0, 0.6, 0.6, 0.15]) * device.wander * factor * rng.lognormal(-0.2, 0.5)
    mix = rng.normal(0.0, 0.7, (9, 4)) * sizes
    if factor > 2.0:
        mix[rng.integers(9)] *= 4.0
    hum = device.mains + rng.normal(0.0, 0.02)
    waves = np.concatenate(
        [
            np.sin(2 * np.pi * (slow[:, None] * t + rng.random((4, 1)))),
            np.sin(2 * np.pi * (np.array([[hum], [3 * hum]]) * t + rng.random((2, 1)))),
        ]
    )
    ripple = device.hum * factor * rng.lognormal(-0.1, 0.6) * rng.normal(0.0, 0.7, (9, 2)) * np.array([1.0, 0.15])
    noise += np.concatenate([mix, ripple], axis=1).astype(np.float32) @ waves.astype(np.float32)
    return noise


def store(leads: Floats, noise: Floats, device: Device, *, sampling_rate: float) -> npt.NDArray[np.int16]:
    """Pass heart and noise through the device.

    Parameters
    ----------
    leads : ndarray of float32, shape (8, samples)
        Noise-free, mV.
    noise : ndarray of float32, shape (9, samples)
        From `electrode_noise`.
    device : Device
    sampling_rate : float
        Hz.

    Returns
    -------
    ndarray of int16, shape (8, samples)
        Counts of ``device.resolution`` microvolts.
    """
    samples = leads.shape[1]
    # Only for signals: tables and labels are made without scipy.
    from scipy import fft

    spectrum = fft.rfft(leads + DERIVATION @ noise, axis=1)
    spectrum *= response(device, samples, sampling_rate)
    counts = fft.irfft(spectrum, samples, axis=1)
    counts *= 1000 * device.scale / device.resolution
    return np.clip(np.rint(counts), -32767, 32767).astype(np.int16)
