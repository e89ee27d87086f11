"""DeepECG-SSL: the network of ECG-FM, pretrained in Montreal, which reads 10 s at 250 Hz.

Written anew from the published layout; the reference is `HeartWise-AI/fairseq-signals`, `HeartWise-AI/DeepECG_Docker`,
and A. Nolin-Lapalme, A. Sowa, J. Delfrate et al., "Foundation models for electrocardiogram interpretation: clinical
implications", European Heart Journal 2026, doi 10.1093/eurheartj/ehaf1119.
"""

import numpy as np

from pytest_ecgfm.encoders.ecg_fm import ECGFM
from pytest_ecgfm.encoders.frozen import require_seconds
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

RATE = 250
SAMPLES = 10 * RATE

_AT_ONCE = 32


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Bring records to 250 Hz and cut them at 10 s; neither filtered nor scaled.

    At 500 Hz and other multiples of 250 Hz every second (third, ...) sample is read, as in the original, which does not
    filter before. Other rates, at which the original reads samples as if they were at 250 Hz, are resampled. Records of
    less than 10 s, which the original leaves out, keep their length: the network takes any.

    What the original does to all records of one batch together is not done: one factor for their amplitude, and hum
    taken out where the mean spectrum of the batch has a peak.

    Parameters
    ----------
    signals : ndarray, shape (records, 12, samples)
        In mV.
    rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, 12, at most 2500)

    Raises
    ------
    EcgfmError
        If records last less than a second.
    """
    require_seconds(signals.shape[-1], rate)
    signals = signals[..., :: int(rate // RATE)] if rate % RATE == 0 else resample(signals, rate, RATE)
    return np.ascontiguousarray(signals[..., :SAMPLES], dtype=np.float32)


class DeepECGSSL(ECGFM):
    """DeepECG-SSL before any fine-tuning, from ``base_ssl.pt``: 768 numbers a record, the mean over tokens."""

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, whose leads are in the order of the card.

        Returns
        -------
        ndarray of float32, shape (records, 768)
        """
        signals = preprocess(batch.signals, batch.sampling_rate)
        found = [self.forward(signals[start : start + _AT_ONCE]) for start in range(0, len(signals), _AT_ONCE)]
        return np.concatenate(found)
