"""Reference encoder of what needs no ECG model at all: age, sex and heart rate.

Its AUROC is what a label owes to who is examined and how fast the heart beats.
"""

import numpy as np

from pytest_ecgfm.encoders.beats import find_beats, heart_rate
from pytest_ecgfm.signals.records import FloatArray, RecordBatch, signals_by_name

SAMPLING_RATE = 250.0
"""Hz."""

LEADS = ("II",)
"""The customary rhythm strip: one lead suffices for a rate, and what is declared is then really read.

Records without it give the first lead that they have (``any_leads`` of the card): a rate is the same in every lead."""

DEFAULT_AGE = 60.0
"""Years, about the mean of the published cohorts."""

FEATURES = (
    "age",
    "age_missing",
    "female",
    "male",
    "sex_missing",
    "heart_rate",
    "rr",
    "beats_found",
)

DIMENSIONS = len(FEATURES)


class Demographics:
    """Age, sex and heart rate as an embedding.

    Attributes
    ----------
    feature_names : tuple of str
        Age is in years / 100, heart rate in beats per minute / 100, RR in seconds; the rest is 0 or 1.
    """

    feature_names: tuple[str, ...] = FEATURES

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records.

        Parameters
        ----------
        batch : RecordBatch
            At `SAMPLING_RATE`, with `LEADS` (others are not read).

        Returns
        -------
        ndarray of float32, shape (records, DIMENSIONS)
            Finite: an unknown age is `DEFAULT_AGE`, an unknown rate 75 bpm, each with its flag.
        """
        out = np.empty((len(batch), DIMENSIONS), dtype=np.float32)
        rows = zip(signals_by_name(batch, LEADS, SAMPLING_RATE), batch.ages, batch.sexes, strict=True)
        for row, (signals, age, sex) in enumerate(rows):
            beats = find_beats(signals, SAMPLING_RATE)
            rate = float(np.clip(heart_rate(beats, SAMPLING_RATE), 20.0, 300.0))
            known = bool(np.isfinite(age))
            out[row] = (
                # PTB-XL codes ages above 89 as 300.
                min(float(age), 100.0) / 100.0 if known else DEFAULT_AGE / 100.0,
                not known,
                sex == "F",
                sex == "M",
                sex not in ("F", "M"),
                rate / 100.0,
                60.0 / rate,
                len(beats) > 1,
            )
        return out
