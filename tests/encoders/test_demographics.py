"""The encoder of age, sex and heart rate."""

import numpy as np
import pytest

from pytest_ecgfm.encoders.demographics import DIMENSIONS, LEADS, SAMPLING_RATE, Demographics
from pytest_ecgfm.signals.records import RecordBatch


def batch_of(signals, ages=(), sexes=()):
    names = tuple(str(row) for row in range(len(signals)))
    return RecordBatch(signals, LEADS, SAMPLING_RATE, names, np.asarray(ages, np.float32), tuple(sexes))


def rhythm(bpm):
    grid = np.arange(2500) / SAMPLING_RATE
    return sum(np.exp(-0.5 * ((grid - t) / 0.012) ** 2) for t in np.arange(0.4, 9.7, 60 / bpm)).astype(np.float32)


def test_values_by_name():
    signals = np.stack([rhythm(60)[None], rhythm(120)[None], np.zeros((1, 2500), np.float32)])
    encoder = Demographics()
    rows = encoder.embed(batch_of(signals, [40, np.nan, 300], ["F", "", "M"]))
    assert rows.shape == (3, DIMENSIONS) and rows.dtype == np.float32
    table = dict(zip(encoder.feature_names, rows.T, strict=True))
    np.testing.assert_allclose(table["age"], [0.4, 0.6, 1.0])
    np.testing.assert_array_equal(table["age_missing"], [0, 1, 0])
    np.testing.assert_array_equal(table["female"], [1, 0, 0])
    np.testing.assert_array_equal(table["male"], [0, 0, 1])
    np.testing.assert_array_equal(table["sex_missing"], [0, 1, 0])
    np.testing.assert_allclose(table["heart_rate"], [0.6, 1.2, 0.75], rtol=0.02)
    np.testing.assert_allclose(table["rr"], [1.0, 0.5, 0.8], rtol=0.02)
    np.testing.assert_array_equal(table["beats_found"], [1, 1, 0])


def test_nothing_known_is_finite():
    assert np.isfinite(Demographics().embed(batch_of(np.zeros((2, 1, 1250), np.float32)))).all()


def test_rows_do_not_depend_on_the_batch(rng):
    signals = np.stack([rhythm(bpm)[None] for bpm in (40, 77, 150)]) + rng.normal(0, 0.02, (3, 1, 2500))
    signals = signals.astype(np.float32)
    whole = Demographics().embed(batch_of(signals, [20, 50, 80], "FMF"))
    for row in range(3):
        alone = Demographics().embed(batch_of(signals[row : row + 1], [[20, 50, 80][row]], ["FMF"[row]]))
        np.testing.assert_array_equal(alone[0], whole[row])


@pytest.mark.parametrize("bpm", [38, 64, 101, 165])
def test_heart_rate_ignores_polarity_and_gain(bpm):
    signals = np.stack([gain * rhythm(bpm)[None] for gain in (1.0, -0.3, 5.0)]).astype(np.float32)
    column = Demographics.feature_names.index("heart_rate")
    np.testing.assert_allclose(Demographics().embed(batch_of(signals))[:, column], bpm / 100, rtol=0.02)
