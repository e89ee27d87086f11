import dataclasses

import numpy as np
import pytest
from scipy.signal import butter, firwin, sosfreqz

from pytest_ecgfm.errors import NotApplicable
from pytest_ecgfm.signals.perturbations import PERTURBATIONS, VARIANTS, variant_name
from pytest_ecgfm.signals.records import LEADS, RecordBatch

NOISE = ("baseline_wander", "mains_50hz", "mains_60hz", "muscle")
LIMB = LEADS[:6]


def consistent(rng, n=3, samples=2500, rate=500.0, leads=LEADS):
    """Records whose limb leads follow from I and II, smooth enough to be resampled."""
    smooth = firwin(101, 15.0, fs=rate)
    raw = rng.normal(size=(n, 8, samples + 100))
    i, ii, *chest = np.moveaxis(np.apply_along_axis(np.convolve, -1, raw, smooth, "valid") * 3, 1, 0)
    limb = (i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2)
    named = dict(zip(LEADS, (*limb, *chest), strict=True))
    signals = np.stack([named[lead] for lead in leads], axis=1).astype(np.float32)
    return RecordBatch(signals, tuple(leads), rate, tuple(f"r{k}" for k in range(n)))


@pytest.fixture
def batch(rng):
    return consistent(rng)


def added(batch, name, severity, **options):
    """What a perturbation adds, in float64."""
    return PERTURBATIONS[name].apply(batch, severity, **options).signals.astype(float) - batch.signals


def assert_einthoven(signals, atol=2e-6):
    i, ii, iii, avr, avl, avf = (signals[:, row].astype(float) for row in range(6))
    for found, wanted in ((iii, ii - i), (avr, -(i + ii) / 2), (avl, i - ii / 2), (avf, ii - i / 2)):
        np.testing.assert_allclose(found, wanted, atol=atol)


@pytest.mark.parametrize(
    "name", [name for name, (one, _) in VARIANTS.items() if one.name not in ("clipping", "length")]
)
def test_limb_leads_keep_their_relations(batch, name):
    one, severity = VARIANTS[name]
    found = one.apply(batch, severity)
    assert np.abs(found.signals - batch.signals).max() > 1e-3
    # Filters work in float64 on leads stored in float32.
    assert_einthoven(found.signals, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_shape_names_and_the_original_stay(batch, name):
    one, severity = VARIANTS[name]
    before = batch.signals.copy()
    found = one.apply(batch, severity)
    assert found.signals.shape == before.shape and found.signals.dtype == np.float32
    assert np.isfinite(found.signals).all()
    assert (found.records, found.leads, found.sampling_rate) == (batch.records, batch.leads, batch.sampling_rate)
    np.testing.assert_array_equal(batch.signals, before)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_records_change_does_not_depend_on_the_batch_around_it(batch, name):
    one, severity = VARIANTS[name]
    whole = one.apply(batch, severity, seed=4).signals
    turned = one.apply(batch.rows([2, 0]), severity, seed=4).signals
    np.testing.assert_array_equal(turned, whole[[2, 0]])


@pytest.mark.parametrize("name", NOISE)
def test_noise_depends_on_the_seed_and_the_record(batch, name):
    severity = PERTURBATIONS[name].severities[-1]
    same = dataclasses.replace(batch, signals=np.repeat(batch.signals[:1], 3, axis=0))
    first, again, other = (added(same, name, severity, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first[0] - first[1]).max() > 1e-3


def test_noise_depends_on_the_kind(batch):
    # The same couplings in both hums would make them one perturbation at two frequencies.
    fifty, sixty = (added(batch, name, 0.2) for name in ("mains_50hz", "mains_60hz"))
    sizes = [one.std(axis=-1) / one.std(axis=-1).max(axis=1, keepdims=True) for one in (fifty, sixty)]
    assert np.abs(sizes[0] - sizes[1]).max() > 0.05


@pytest.mark.parametrize("name", NOISE)
def test_a_lead_gets_the_same_noise_whatever_leads_are_there(rng, name):
    whole = consistent(rng)
    part = RecordBatch(whole.signals[:, [7, 0]], ("V2", "I"), 500.0, whole.records)
    severity = PERTURBATIONS[name].severities[0]
    a, b = added(whole, name, severity)[:, [7, 0]], added(part, name, severity)
    if name == "muscle":  # whose size follows from the leads that are there
        a, b = (x / np.sqrt((x**2).sum(axis=(1, 2), keepdims=True)) for x in (a, b))
    np.testing.assert_allclose(a, b, atol=2e-6)


@pytest.mark.parametrize("decibels", [24.0, 6.0, 0.0])
@pytest.mark.parametrize("leads", [LEADS, ("II",), ("V5", "aVF")])
def test_muscle_noise_has_the_ratio_asked_for(rng, decibels, leads):
    batch = consistent(rng, leads=leads)
    # One record ten times as large: each is scaled by itself.
    batch.signals[1] *= 10
    noise = added(batch, "muscle", decibels)
    power = batch.signals.astype(float).var(axis=-1).mean(axis=1)
    np.testing.assert_allclose(10 * np.log10(power / noise.var(axis=-1).mean(axis=1)), decibels, atol=0.01)


def test_muscle_noise_lies_above_20_hz(batch):
    noise = added(batch, "muscle", 6.0)
    spectrum = (np.abs(np.fft.rfft(noise, axis=-1)) ** 2).mean(axis=(0, 1))
    frequency = np.fft.rfftfreq(noise.shape[-1], 1 / 500)
    found = spectrum[(frequency > 5) & (frequency < 10)].mean() / spectrum[frequency > 60].mean()
    band = butter(2, 20.0, "highpass", fs=500.0, output="sos")
    grid, response = sosfreqz(band, frequency, fs=500.0)
    wanted = np.abs(response[(grid > 5) & (grid < 10)]) ** 2
    assert found == pytest.approx(wanted.mean(), rel=0.5)
    assert found < 0.05


def test_muscle_without_any_signal_adds_nothing(batch):
    flat = dataclasses.replace(batch, signals=np.zeros_like(batch.signals))
    np.testing.assert_array_equal(PERTURBATIONS["muscle"].apply(flat, 6.0).signals, 0)


@pytest.mark.parametrize("name, frequency", [("mains_50hz", 50.0), ("mains_60hz", 60.0)])
def test_mains_is_one_line_of_the_spectrum(batch, name, frequency):
    noise = added(batch, name, 0.2)  # 5 s: bins of 0.2 Hz, of which both are one
    spectrum = np.abs(np.fft.rfft(noise, axis=-1)) ** 2
    bins = np.fft.rfftfreq(noise.shape[-1], 1 / 500)
    np.testing.assert_allclose(bins[spectrum.argmax(axis=-1)], frequency)
    assert (spectrum.max(axis=-1) / spectrum.sum(axis=-1)).min() > 0.999


def test_mains_amplitude_is_the_largest_of_the_electrodes(rng):
    batch = consistent(rng, n=40)
    amplitude = np.sqrt(2) * added(batch, "mains_50hz", 0.2).std(axis=-1)
    # Twice between electrodes of opposite sign, never more; some lead of every record hangs on the largest.
    assert amplitude.max() <= 0.4 + 1e-6
    assert amplitude.max(axis=1).min() > 0.05
    np.testing.assert_allclose(amplitude, 4 * np.sqrt(2) * added(batch, "mains_50hz", 0.05).std(axis=-1), atol=1e-5)


def test_mains_couples_into_electrodes_as_drawn_with_the_largest_at_the_amplitude(batch):
    class Drawn:
        """A generator whose couplings are known."""

        def uniform(self, low, high, size=None):
            if size is None:
                return np.pi / 2  # the phase
            found = np.zeros(size)
            found[1:4, 0] = -0.5, 0.25, 0.1  # LA, LL, V1
            return found

    found = PERTURBATIONS["mains_50hz"].change(batch, 0.2, lambda record: Drawn()) - batch.signals
    hum = 0.2 * np.cos(2 * np.pi * 50 * np.arange(2500) / 500)
    for lead, size in (("I", -1.0), ("II", 0.5), ("III", 1.5), ("V1", 0.2 + 0.5 / 3), ("V6", 0.5 / 3)):
        wanted = np.broadcast_to(size * hum, (3, 2500))
        np.testing.assert_allclose(found[:, LEADS.index(lead)], wanted, atol=1e-6, err_msg=lead)


def test_wander_is_slow_and_of_the_size_asked_for(rng):
    batch = consistent(rng, n=120, samples=4000, rate=100.0)
    noise = added(batch, "baseline_wander", 0.5)
    spectrum = (np.abs(np.fft.rfft(noise * np.hanning(4000), axis=-1)) ** 2).sum(axis=(0, 1))
    frequency = np.fft.rfftfreq(4000, 1 / 100)
    assert spectrum[(frequency > 0.6)].sum() / spectrum.sum() < 1e-4
    # Lead I is the difference of two electrodes; V1 that of one and the mean of three others.
    root = np.sqrt((noise**2).mean(axis=(0, 2)))
    assert root[LEADS.index("I")] == pytest.approx(0.5 * np.sqrt(2), rel=0.1)
    assert root[LEADS.index("V1")] == pytest.approx(0.5 * np.sqrt(4 / 3), rel=0.1)


@pytest.mark.parametrize("factor", PERTURBATIONS["gain"].severities)
def test_gain_is_exact(batch, factor):
    found = PERTURBATIONS["gain"].apply(batch, factor).signals
    np.testing.assert_array_equal(found, (factor * batch.signals.astype(float)).astype(np.float32))


@pytest.mark.parametrize("delay", [20.0, 200.0, 2400.0, 3000.0, 4998.0, 60_000.0])
def test_shift_drops_the_front_and_mirrors_the_end(batch, delay):
    found = PERTURBATIONS["shift"].apply(batch, delay).signals
    samples = min(round(delay / 2), 2499)
    kept = batch.signals[..., samples:]
    wanted = np.concatenate([kept, kept[..., -2::-1]], axis=-1)[..., :2500]
    if wanted.shape[-1] < 2500:
        wanted = np.concatenate([wanted, np.repeat(kept[..., :1], 2500 - wanted.shape[-1], axis=-1)], axis=-1)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("samples", [2500, 2503])
@pytest.mark.parametrize("rate", [250.0, 100.0])
def test_resample_returns_the_same_length_and_what_the_rate_can_hold(rng, samples, rate):
    batch = consistent(rng, samples=samples)
    time = np.arange(samples) / 500
    batch.signals[:] = np.sin(2 * np.pi * 7 * time) + 3
    batch.signals[1] += np.sin(2 * np.pi * 180 * time)
    found = PERTURBATIONS["resample"].apply(batch, rate).signals
    assert found.shape == (3, 12, samples)
    inside = slice(250, -250)
    wanted = np.sin(2 * np.pi * 7 * time[inside]) + 3
    # 180 Hz is above both Nyquist rates: what is left is the slow sine.
    np.testing.assert_allclose(found[..., inside], np.broadcast_to(wanted, found[..., inside].shape), atol=0.02)


@pytest.mark.parametrize("rate", [100.0, 62.5])
def test_resample_to_no_lower_rate_changes_nothing(rng, rate):
    batch = consistent(rng, rate=rate)
    np.testing.assert_array_equal(PERTURBATIONS["resample"].apply(batch, 100.0).signals, batch.signals)


@pytest.mark.parametrize("upper", [100.0, 40.0])
def test_band_pass_removes_offset_and_hum_and_keeps_the_beat(batch, upper):
    time = np.arange(2500) / 500
    slow, fast = np.sin(2 * np.pi * 5 * time), np.sin(2 * np.pi * 180 * time)
    batch.signals[:] = slow + 2.0
    batch.signals[:, 1] += fast
    found = PERTURBATIONS["band_pass"].apply(batch, upper).signals
    assert np.abs(found - slow)[..., 800:-800].max() < 0.1
    assert np.corrcoef(found[0, 0, 800:-800], slow[800:-800])[0, 1] > 0.999


def test_clipping_is_numpys(batch):
    found = PERTURBATIONS["clipping"].apply(batch, 0.5).signals
    np.testing.assert_array_equal(found, np.clip(batch.signals, -0.5, 0.5))
    assert np.abs(batch.signals).max() > 0.6


def test_lost_and_swapped_electrodes_are_those_of_the_formulas(batch):
    s = dict(zip(LEADS, batch.signals.swapaxes(0, 1).astype(float), strict=True))
    lost = dict(zip(LEADS, PERTURBATIONS["lost_la"].apply(batch, 1.0).signals.swapaxes(0, 1), strict=True))
    swap = dict(zip(LEADS, PERTURBATIONS["swapped_arms"].apply(batch, 1.0).signals.swapaxes(0, 1), strict=True))
    for found, lead, wanted in (
        (lost, "I", 0 * s["I"]),
        (lost, "III", s["II"]),
        (lost, "V4", s["V4"] + s["I"] / 3),
        (swap, "I", -s["I"]),
        (swap, "II", s["III"]),
        (swap, "III", s["II"]),
        (swap, "aVR", s["aVL"]),
        (swap, "aVL", s["aVR"]),
        (swap, "aVF", s["aVF"]),
        (swap, "V4", s["V4"]),
    ):
        np.testing.assert_allclose(found[lead], wanted, atol=2e-6, err_msg=lead)
    back = PERTURBATIONS["reversed_precordials"].apply(batch, 1.0).signals
    np.testing.assert_array_equal(back[:, :6], batch.signals[:, :6])
    np.testing.assert_array_equal(back[:, 6:], batch.signals[:, :5:-1])
    assert not PERTURBATIONS["lost_v2"].apply(batch, 1.0).signals[:, LEADS.index("V2")].any()


@pytest.mark.parametrize(
    "name, leads, rate",
    [
        ("lost_la", LEADS[6:], 500.0),
        ("lost_v2", LIMB, 500.0),
        ("swapped_arms", ("II", "V1"), 500.0),
        ("reversed_precordials", (*LIMB, "V1", "V2"), 500.0),
        ("mains_50hz", LEADS, 100.0),
        ("mains_60hz", LEADS, 100.0),
    ],
)
def test_records_that_do_not_allow_it_are_not_applicable(rng, name, leads, rate):
    severity = PERTURBATIONS[name].severities[0]
    with pytest.raises(NotApplicable, match=f"perturbation {variant_name(name, severity)}: "):
        PERTURBATIONS[name].apply(consistent(rng, leads=leads, rate=rate), severity)


def test_what_is_not_a_number_stays_so(batch):
    batch.signals[0, 3, 100] = np.nan
    for name in (*NOISE, "gain", "clipping"):
        found = PERTURBATIONS[name].apply(batch, PERTURBATIONS[name].severities[0]).signals
        np.testing.assert_array_equal(np.isnan(found), np.isnan(batch.signals))


def test_names_of_variants():
    assert variant_name("muscle", 24.0) == "muscle@24dB"
    assert variant_name("gain", 0.9) == "gain@0.9"
    assert variant_name("baseline_wander", 0.05) == "baseline_wander@0.05mV"
    assert variant_name("lost_la", 1.0) == "lost_la"
    assert len(VARIANTS) == sum(len(one.severities) for one in PERTURBATIONS.values())
    assert all(PERTURBATIONS[one.name] is one for one, _ in VARIANTS.values())
    assert [name for name, one in PERTURBATIONS.items() if one.expected == "noticed"] == [
        "swapped_arms",
        "reversed_precordials",
    ]


def test_a_lead_without_numbers_leaves_the_others_their_muscle_noise(batch):
    signals = batch.signals.copy()
    signals[0, 3] = np.nan
    changed = PERTURBATIONS["muscle"].apply(dataclasses.replace(batch, signals=signals), 12.0).signals
    assert np.isnan(changed[0, 3]).all()
    assert np.isfinite(np.delete(changed[0], 3, axis=0)).all()


@pytest.mark.parametrize(("name", "rate"), [("muscle", 40.0), ("band_pass", 1.0)])
def test_a_rate_too_low_for_a_filter_is_not_applicable(batch, name, rate):
    with pytest.raises(NotApplicable, match=f"{rate:g} Hz"):
        PERTURBATIONS[name].apply(dataclasses.replace(batch, sampling_rate=rate), PERTURBATIONS[name].severities[0])


def test_a_shorter_recording_is_the_beginning_of_the_longer_one(batch):
    found = PERTURBATIONS["length"].apply(batch, 2.0)
    np.testing.assert_array_equal(found.signals, batch.signals[..., :1000])
    assert PERTURBATIONS["length"].apply(batch, 7.0).signals.shape == batch.signals.shape
