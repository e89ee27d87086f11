"""Heart rate of a stored record: for the report on cohorts, and as a quantity."""

from pytest_ecgfm.encoders.beats import find_beats, heart_rate
from pytest_ecgfm.signals.records import Recording

_LEAST_RATE = 100.0  # Hz that finding beats needs
_LEAST_SECONDS = 3.0  # two beats at 40 bpm


def heart_rate_of(recording: Recording) -> float:
    """Return a record's heart rate in beats a minute; NaN where it is too short, or sampled too slowly, to tell."""
    rate = recording.sampling_rate
    if rate < _LEAST_RATE or recording.signals.shape[1] < _LEAST_SECONDS * rate:
        return float("nan")
    return heart_rate(find_beats(recording.signals, rate), rate, default=float("nan"))
