from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import zscore

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.encoders.preprocessing import fit_length, normalise, prepare, resample
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS, RecordBatch


def batch_of(signals, leads=LEADS, rate=500.0):
    return RecordBatch(signals.astype(np.float32), tuple(leads), rate, tuple(map(str, range(len(signals)))))


@pytest.fixture
def signals(rng):
    return rng.normal(size=(3, 12, 1000)).astype(np.float32)


@given(order=st.permutations(LEADS))
def test_leads_are_picked_by_name_whatever_their_order(order):
    signals = np.random.default_rng(0).normal(size=(2, 12, 20)).astype(np.float32)
    shuffled = signals[:, [LEADS.index(lead) for lead in order]]
    np.testing.assert_array_equal(select_leads(shuffled, order, LEADS), signals)


def test_missing_limb_leads_follow_einthoven_and_goldberger(signals):
    one, two = signals[:, 0], signals[:, 1]
    out = select_leads(signals[:, :2], ("I", "II"), ("III", "aVR", "aVL", "aVF"))
    np.testing.assert_allclose(out[:, 0], two - one, atol=1e-6)
    np.testing.assert_allclose(out[:, 1], -(one + two) / 2, atol=1e-6)
    np.testing.assert_allclose(out[:, 2], one - two / 2, atol=1e-6)
    np.testing.assert_allclose(out[:, 3], two - one / 2, atol=1e-6)
    np.testing.assert_allclose(out[:, 1] + out[:, 2] + out[:, 3], 0, atol=1e-6)


def test_a_missing_chest_lead_is_an_error(signals):
    with pytest.raises(EcgfmError, match="lead 'V3' is needed, but the records have only I, II"):
        select_leads(signals[:, :2], ("I", "II"), ("V3",))


@pytest.mark.parametrize(("rate", "wanted"), [(500, 100), (400, 500), (500, 250), (360, 128), (257, 100)])
def test_resampling_keeps_a_sine_and_its_offset(rate, wanted):
    seconds = 4
    t = np.arange(rate * seconds) / rate
    out = resample((3 + np.sin(2 * np.pi * 5 * t))[None, None].astype(np.float32), rate, wanted)
    expected = 3 + np.sin(2 * np.pi * 5 * np.arange(out.shape[-1]) / wanted)
    assert out.shape[-1] == int(np.ceil(len(t) * Fraction(wanted, rate)))
    middle = slice(wanted // 2, -wanted // 2)
    np.testing.assert_allclose(out[0, 0, middle], expected[middle], atol=0.01)


def test_resampling_removes_what_the_new_rate_cannot_hold():
    t = np.arange(2000) / 500
    out = resample(np.sin(2 * np.pi * 90 * t)[None, None].astype(np.float32), 500, 100)
    assert np.abs(out[0, 0, 20:-20]).max() < 0.05


def test_length():
    signals = np.arange(10, dtype=np.float32)[None, None]
    assert fit_length(signals, 4)[0, 0].tolist() == [0, 1, 2, 3]
    assert fit_length(signals, 4, "center")[0, 0].tolist() == [3, 4, 5, 6]
    assert fit_length(signals, 12)[0, 0].tolist() == [*range(10), 0, 0]


def test_normalisation_against_scipy(signals):
    np.testing.assert_allclose(normalise(signals, "zscore-per-lead"), zscore(signals, axis=-1), atol=1e-5)
    flat = signals.reshape(3, -1)
    np.testing.assert_allclose(normalise(signals, "zscore").reshape(3, -1), zscore(flat, axis=1), atol=1e-5)
    out = normalise(signals, "minmax")
    np.testing.assert_allclose([out.min(axis=(1, 2)), out.max(axis=(1, 2))], [[0] * 3, [1] * 3], atol=1e-6)


@pytest.mark.parametrize("how", ["zscore-per-lead", "zscore", "minmax"])
def test_a_constant_record_becomes_zero(how):
    assert not normalise(np.full((1, 12, 50), 0.1, np.float32), how).any()


def test_a_record_is_prepared_alone(signals):
    card = parse_card("m", {"sampling_rate": 100, "seconds": 3, "leads": "V1 II", "normalize": "zscore"}, where="")
    together = prepare(batch_of(signals), card)
    assert together.signals.shape == (3, 2, 300)
    assert (together.leads, together.sampling_rate) == (("V1", "II"), 100)
    for row in range(3):
        alone = prepare(batch_of(signals[row : row + 1]), card)
        np.testing.assert_allclose(alone.signals[0], together.signals[row], atol=1e-6)


def test_microvolts(signals):
    card = parse_card("m", {"seconds": 2, "units": "uV"}, where="")
    np.testing.assert_allclose(prepare(batch_of(signals), card).signals, 1000 * signals, rtol=1e-6)


def test_samples_that_are_no_numbers_name_their_record(signals):
    signals[1, 4, 7] = np.nan
    with pytest.raises(EcgfmError, match="record 1: samples that are not finite numbers; m cannot read it"):
        prepare(batch_of(signals), parse_card("m", {}, where=""))
