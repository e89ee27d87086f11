"""Resampling by a windowed sinc: against its formula, and on signals whose values are known between samples."""

import numpy as np
import pytest

from pytest_ecgfm.encoders.windowed_sinc import resample_windowed_sinc

BETA, ROLLOFF = 12.984585247040012, 0.9173473712608761


def kernel(distance):
    """The continuous filter: a sinc under a Kaiser window of 50 zero crossings."""
    inside = np.abs(distance) <= 50
    window = np.i0(BETA * np.sqrt(np.where(inside, 1 - (distance / 50) ** 2, 0))) / np.i0(BETA)
    return np.where(inside, window * ROLLOFF * np.sinc(ROLLOFF * distance), 0)


@pytest.mark.parametrize(("rate", "wanted"), [(100, 240), (120, 240), (480, 240), (960, 240)])
def test_against_the_formula(rate, wanted, rng):
    # At these rates the table's steps are whole numbers, so that it reads what the formula says.
    signals = rng.normal(size=(3, 300)).astype(np.float32)
    found = resample_windowed_sinc(signals, rate, wanted)
    scale = min(1, wanted / rate)
    times = np.arange(int(300 * wanted / rate)) * rate / wanted
    weights = scale * kernel(scale * (times - np.arange(300)[:, None]))
    np.testing.assert_allclose(found, signals @ weights, rtol=0, atol=5e-6)


@pytest.mark.parametrize("rate", [128.0, 250.0, 257.0, 360.0, 400.0, 500.0, 1000.0])
def test_sines_go_through(rate):
    samples = int(10 * rate)
    sine = np.sin(2 * np.pi * 7 * np.arange(samples) / rate).astype(np.float32)
    found = resample_windowed_sinc(sine, rate, 240)
    assert found.shape == (int(samples * 240 / rate),) and found.dtype == np.float32
    expected = np.sin(2 * np.pi * 7 * np.arange(len(found)) / 240)
    # Steps of the table are cut to whole numbers: the gain is off by as much.
    np.testing.assert_allclose(found[240:-240], expected[240:-240], rtol=0, atol=1e-3)


def test_what_the_new_rate_cannot_hold_is_removed():
    sine = np.sin(2 * np.pi * 150 * np.arange(5000) / 500).astype(np.float32)
    assert np.abs(resample_windowed_sinc(sine, 500, 240)[240:-240]).max() < 1e-4


def test_the_same_rate_changes_nothing(rng):
    signals = rng.normal(size=(2, 10)).astype(np.float32)
    assert resample_windowed_sinc(signals, 240, 240.0) is signals
