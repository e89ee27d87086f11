"""What happens to an ECG on its way to a model, in physical units: each with increasing severity, each repeatable.

References
----------
.. [1] Sornmo, Laguna, *Bioelectrical Signal Processing in Cardiac and Neurological Applications*, ch. 7 (2005).
.. [2] Moody, Muldrow, Mark, *A noise stress test for arrhythmia detectors*, Comput. Cardiol. 11:381 (1984).
.. [3] Kligfield et al., *Recommendations for the standardization and interpretation of the electrocardiogram: part I*,
   Circulation 115:1306 (2007).
.. [4] IEC 60601-2-25:2011, *Particular requirements for electrocardiographs*.
"""

# scipy's filters are imported where they are used: options, profiles and lists need the names in this table alone.
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError, NotApplicable
from pytest_ecgfm.signals.electrodes import ELECTRODES, electrode_lost, leads_of, reversed_precordials, swapped_arms
from pytest_ecgfm.signals.perturbation import Perturbation
from pytest_ecgfm.signals.records import RecordBatch

Floats = npt.NDArray[np.float64]


def _electrode_noise(
    batch: RecordBatch, draw: Callable[[np.random.Generator, tuple[int, int]], Floats], generator: Any
) -> Floats:
    """Return noise of the batch's shape that enters at the electrodes.

    The leads keep their relations, as they are linear in the potentials.
    """
    shape = (len(ELECTRODES), batch.signals.shape[-1])
    noise = np.zeros((len(batch), *shape))
    for row, record in zip(noise, batch.records, strict=True):
        row[:] = draw(generator(record), shape)
    return leads_of(noise, batch.leads)


def _baseline_wander(batch: RecordBatch, severity: float, generator: Any) -> Floats:
    """Respiration and movement: a few slow sines at each electrode, of the given root mean square."""
    time = np.arange(batch.signals.shape[-1]) / batch.sampling_rate

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        frequency = rng.uniform(0.05, 0.5, (shape[0], 3, 1))
        phase = rng.uniform(0, 2 * np.pi, (shape[0], 3, 1))
        waves = np.sin(2 * np.pi * frequency * time + phase).sum(axis=1)
        # Three sines of independent phase have a mean square of 3/2.
        return np.asarray(severity * waves / np.sqrt(1.5))

    return np.asarray(batch.signals + _electrode_noise(batch, draw, generator))


def _mains(frequency: float) -> Callable[[RecordBatch, float, Any], Floats]:
    def change(batch: RecordBatch, severity: float, generator: Any) -> Floats:
        if frequency >= batch.sampling_rate / 2:
            # A recorder's front end would have filtered it out; sampling a sine here would alias it into the ECG.
            raise NotApplicable(f"records of {batch.sampling_rate:g} Hz cannot hold a hum of {frequency:g} Hz.")
        time = np.arange(batch.signals.shape[-1]) / batch.sampling_rate

        def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
            # One mains phase for the patient; what couples into each cable differs in size and sign.
            coupling = rng.uniform(-1, 1, (shape[0], 1))
            coupling /= np.abs(coupling).max()
            return np.asarray(severity * coupling * np.sin(2 * np.pi * frequency * time + rng.uniform(0, 2 * np.pi)))

        return np.asarray(batch.signals + _electrode_noise(batch, draw, generator))

    return change


def _muscle(batch: RecordBatch, severity: float, generator: Any) -> Floats:
    """Muscle: noise of 20 Hz upwards at each electrode, scaled to a signal-to-noise ratio over the record's leads."""
    if batch.sampling_rate <= 40:
        raise NotApplicable(f"records of {batch.sampling_rate:g} Hz cannot hold noise of 20 Hz and above.")
    from scipy.signal import butter, sosfilt

    band = butter(2, 20.0, "highpass", fs=batch.sampling_rate, output="sos")

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        return np.asarray(sosfilt(band, rng.standard_normal(shape), axis=-1))

    noise = _electrode_noise(batch, draw, generator)
    signals = batch.signals.astype(np.float64)
    known = np.isfinite(signals)
    power = np.ma.masked_array(signals, ~known).var(axis=-1).mean(axis=-1).filled(0.0)
    wanted = power / 10 ** (severity / 10)
    scale = np.sqrt(wanted / np.maximum(noise.var(axis=-1).mean(axis=-1), 1e-30))
    return np.asarray(signals + scale[:, None, None] * noise)


def _gain(batch: RecordBatch, severity: float, generator: Any) -> Floats:
    return np.asarray(severity * batch.signals.astype(np.float64))


def _shift(batch: RecordBatch, severity: float, generator: Any) -> Floats:
    """Start later: what leaves at the front is not wrapped to the end, where it would tear a beat in two."""
    samples = min(round(severity / 1000 * batch.sampling_rate), batch.signals.shape[-1] - 1)
    kept = batch.signals[..., samples:]
    # The end is mirrored: no step, and of the amplitude and noise of the record.
    tail = kept[..., ::-1][..., 1 : samples + 1]
    missing = samples - tail.shape[-1]
    parts = [kept, tail] + ([np.repeat(kept[..., :1], missing, axis=-1)] if missing else [])
    return np.concatenate(parts, axis=-1).astype(np.float64)


def _length(batch: RecordBatch, severity: float, generator: Any) -> Floats:
    """Keep the beginning; a record that is not longer stays as it is."""
    return batch.signals[..., : max(1, round(severity * batch.sampling_rate))].astype(np.float64)


def _resample(batch: RecordBatch, severity: float, generator: Any) -> Floats:
    """Down to a rate and back again."""
    signals = batch.signals.astype(np.float64)
    if batch.sampling_rate <= severity:
        return signals
    from scipy.signal import resample_poly

    first = signals[..., :1]
    ratio = round(batch.sampling_rate), round(severity)
    down = resample_poly(signals - first, ratio[1], ratio[0], axis=-1)
    back = resample_poly(down, ratio[0], ratio[1], axis=-1)[..., : signals.shape[-1]]
    return np.asarray(back + first)


def _band_pass(batch: RecordBatch, severity: float, generator: Any) -> Floats:
    """0.5 Hz to the given frequency, zero phase, as monitors and many published pipelines do."""
    high = min(severity, 0.45 * batch.sampling_rate)
    if high <= 0.5:
        raise NotApplicable(f"records of {batch.sampling_rate:g} Hz hold nothing from 0.5 Hz upwards.")
    from scipy.signal import butter, sosfiltfilt

    band = butter(2, (0.5, high), "bandpass", fs=batch.sampling_rate, output="sos")
    padding = min(int(2 * batch.sampling_rate), batch.signals.shape[-1] - 1)
    return np.asarray(sosfiltfilt(band, batch.signals.astype(np.float64), axis=-1, padlen=padding))


def _clipping(batch: RecordBatch, severity: float, generator: Any) -> Floats:
    return np.asarray(np.clip(batch.signals.astype(np.float64), -severity, severity))


def _lost(electrode: str) -> Callable[[RecordBatch, float, Any], Floats]:
    def change(batch: RecordBatch, severity: float, generator: Any) -> Floats:
        return electrode_lost(batch, electrode)

    return change


def _rewired(change: Callable[[RecordBatch], Floats]) -> Callable[[RecordBatch, float, Any], Floats]:
    return lambda batch, severity, generator: change(batch)


_AMPLITUDE = "root mean square at each electrode"
_THERE = ("", "", (1.0,))

PERTURBATIONS = {
    one.name: one
    for one in (
        Perturbation(
            "baseline_wander",
            _AMPLITUDE,
            "mV",
            (0.05, 0.15, 0.5),
            "breathing and movement, 0.05 to 0.5 Hz",
            "[1]_: up to 15 % of the peak-to-peak amplitude",
            _baseline_wander,
        ),
        Perturbation(
            "mains_50hz",
            "largest amplitude at an electrode",
            "mV",
            (0.02, 0.05, 0.2),
            "hum of the mains, 50 Hz",
            "[1]_, [4]_",
            _mains(50.0),
        ),
        Perturbation(
            "mains_60hz",
            "largest amplitude at an electrode",
            "mV",
            (0.02, 0.05, 0.2),
            "hum of the mains, 60 Hz",
            "[1]_, [4]_",
            _mains(60.0),
        ),
        Perturbation(
            "muscle",
            "signal-to-noise ratio, mean power of the leads",
            "dB",
            (24.0, 18.0, 12.0, 6.0),
            "tremor and tension, 20 Hz and above",
            "[2]_: stress test from 24 to 6 dB",
            _muscle,
        ),
        Perturbation(
            "gain",
            "factor",
            "1",
            (0.9, 1.1, 0.8, 1.25),
            "another calibration, other tissue between heart and electrode",
            "[4]_ allows 5 %",
            _gain,
        ),
        Perturbation(
            "shift",
            "delay",
            "ms",
            (20.0, 50.0, 100.0, 200.0),
            "a recording that starts a little later",
            "any part of a beat",
            _shift,
        ),
        Perturbation(
            "length",
            "what is kept, from the start",
            "s",
            (7.0, 5.0),
            "a shorter recording; all records get one length, so length tells nothing",
            "CODE-15 %: records of 7 and of 10 seconds",
            _length,
        ),
        Perturbation(
            "resample",
            "intermediate rate",
            "Hz",
            (250.0, 100.0),
            "an archive of a lower rate",
            "PTB-XL's second release, 100 Hz",
            _resample,
        ),
        Perturbation(
            "band_pass",
            "upper edge",
            "Hz",
            (100.0, 40.0),
            "a monitor's filter, from 0.5 Hz",
            "[3]_: 40 Hz distorts, and is common",
            _band_pass,
        ),
        Perturbation(
            "lost_la",
            *_THERE,
            "the left-arm electrode has come off: its potential is that of the right arm",
            "[3]_",
            _lost("LA"),
        ),
        Perturbation("lost_v2", *_THERE, "the electrode of V2 has come off: the lead is flat", "[3]_", _lost("V2")),
        Perturbation(
            "clipping",
            "limit",
            "mV",
            (2.0, 1.0, 0.5),
            "an amplifier with too small a range",
            "[4]_ asks for 5 mV",
            _clipping,
        ),
        *(
            Perturbation(name, *_THERE, meaning, "[3]_", _rewired(change), "noticed")
            for name, meaning, change in (
                (
                    "swapped_arms",
                    "swapped arm electrodes: an ECG that reads as infarction or dextrocardia",
                    swapped_arms,
                ),
                ("reversed_precordials", "chest electrodes in reverse: R shrinks from V1 to V6", reversed_precordials),
            )
        ),
    )
}
"""Every perturbation there is."""


def variant_name(name: str, severity: float) -> str:
    """Name a perturbation with its severity, such as ``muscle@24dB``; without one where there is none to tell."""
    return PERTURBATIONS[name].variant(severity)


VARIANTS = {one.variant(severity): (one, severity) for one in PERTURBATIONS.values() for severity in one.severities}
"""Every perturbation with each severity of the table, by name."""


def register_perturbation(one: Perturbation) -> None:
    """Add a perturbation that somebody else declares, with all its severities.

    Raises
    ------
    EcgfmError
        If the name is taken.
    """
    if one.name in PERTURBATIONS:
        held = PERTURBATIONS[one.name].where or "pytest-ecgfm itself"
        raise EcgfmError(f"{one.where}: a perturbation named {one.name!r} is already declared by {held}.")
    PERTURBATIONS[one.name] = one
    VARIANTS.update({one.variant(severity): (one, severity) for severity in one.severities})


def forget_declared_perturbations() -> None:
    """Remove the perturbations that others declared: they belong to one pytest run."""
    for name in [name for name, one in PERTURBATIONS.items() if one.where]:
        del PERTURBATIONS[name]
    for name in [name for name, (one, _) in VARIANTS.items() if one.where]:
        del VARIANTS[name]


def half(batch: RecordBatch, which: int) -> RecordBatch:
    """Return the first (1) or the second (2) half of each record, both of one length."""
    middle = batch.signals.shape[-1] // 2
    return replace(batch, signals=batch.signals[..., (which - 1) * middle : which * middle])
