"""Resampling by a windowed sinc, for models whose authors resampled with `resampy` (0.4, filter ``kaiser_best``).

The method is that of Smith JO, Digital Audio Resampling Home Page: the filter is a table, read with linear
interpolation.
Output sample k is at the time of input sample k * rate / wanted; outside the signal are zeros.
"""

from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
from scipy.signal.windows import kaiser

from pytest_ecgfm.signals.records import FloatArray

_Table = npt.NDArray[np.float64]

_ZEROS = 50
_PER_ZERO = 2**13
_BETA = 12.984585247040012
_ROLLOFF = 0.9173473712608761


def resample_windowed_sinc(signals: FloatArray, rate: float, wanted: float) -> FloatArray:
    """Resample along the last axis.

    Parameters
    ----------
    signals : ndarray of float32, shape (..., samples)
        Any unit.
    rate, wanted : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (..., samples * wanted / rate, rounded down)
    """
    if rate == wanted:
        return signals
    # One matrix product: the weights depend on rates and length alone.
    out: FloatArray = signals @ _weights(signals.shape[-1], float(rate), float(wanted))
    return out


@cache
def _half_filter() -> _Table:
    """Return the right half of the filter, 8192 values a zero crossing."""
    count = _PER_ZERO * _ZEROS
    sinc = _ROLLOFF * np.sinc(_ROLLOFF * np.linspace(0, _ZEROS, count + 1))
    table: _Table = kaiser(2 * count + 1, _BETA)[count:] * sinc
    return table


@lru_cache(maxsize=8)
def _weights(samples: int, rate: float, wanted: float) -> FloatArray:
    """Return the matrix (samples, new samples) that resamples by multiplication from the right."""
    ratio = wanted / rate
    scale = min(1.0, ratio)
    table = _half_filter() * scale
    times = np.arange(int(samples * wanted / rate)) * (1.0 / ratio)
    nearest = times.astype(np.intp)
    past = np.asarray(scale * (times - nearest), dtype=np.float64)
    weights = np.zeros((samples, len(times)))
    _add_wing(weights, nearest, -1, past, table, scale)
    _add_wing(weights, nearest + 1, 1, scale - past, table, scale)
    return weights.astype(np.float32)


def _add_wing(
    weights: _Table, first: npt.NDArray[np.intp], direction: int, distance: _Table, table: _Table, scale: float
) -> None:
    """Add the taps on one side of each output time, the nearest of which is at `distance` (in zero crossings)."""
    # Whole steps, as in the original, though the filter is then a little wider than its scale says.
    step = int(scale * _PER_ZERO)
    place = distance * _PER_ZERO
    offset = place.astype(np.intp)
    taps = np.arange(len(table) // step + 1)[:, None]
    at = offset + taps * step
    row = first + direction * taps
    valid = (taps < (len(table) - offset) // step) & (row >= 0) & (row < len(weights))
    at = np.where(valid, at, 0)
    slope = np.append(np.diff(table), 0.0)
    value = table[at] + (place - offset) * slope[at]
    column = np.broadcast_to(np.arange(len(first)), row.shape)
    weights[row[valid], column[valid]] += value[valid]
