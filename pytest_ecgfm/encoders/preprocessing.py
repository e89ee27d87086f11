"""What a card asks for: leads, rate, length, units, scale. Pure functions of a batch."""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from pytest_ecgfm.cards import ModelCard
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.distinct import by_distinct_rows
from pytest_ecgfm.signals.leads import any_leads, select_leads
from pytest_ecgfm.signals.records import FloatArray, RecordBatch


def lacking(card: ModelCard, leads: tuple[str, ...]) -> str:
    """Name the first lead that an encoder reads and records lack; empty where it can read them."""
    if card.any_leads:
        return ""
    for lead in card.leads:
        try:
            select_leads(np.zeros((1, len(leads), 1), np.float32), leads, (lead,))
        except EcgfmError:
            return lead
    return ""


def resample(signals: FloatArray, rate: float, wanted: float) -> FloatArray:
    """Resample along the last axis by scipy's polyphase filter (anti-aliased, zero phase).

    The signal's first value of each lead is subtracted before filtering and added afterwards, so that an offset
    does not ring at the edges.
    """
    ratio = Fraction(wanted).limit_denominator(10_000) / Fraction(rate).limit_denominator(10_000)
    ratio = ratio.limit_denominator(10_000)
    if ratio == 1:
        return signals
    # Only now: cards and settings are read without scipy.
    from scipy.signal import resample_poly

    def resampled(rows: FloatArray) -> FloatArray:
        first = rows[..., :1]
        out = resample_poly(rows - first, ratio.numerator, ratio.denominator, axis=-1)
        return np.asarray((out + first).astype(np.float32, copy=False))

    return by_distinct_rows(resampled, signals)


def fit_length(signals: FloatArray, samples: int, crop: str = "start") -> FloatArray:
    """Crop to `samples`, or pad with zeros at the end."""
    have = signals.shape[-1]
    if have >= samples:
        begin = 0 if crop == "start" else (have - samples) // 2
        return signals[..., begin : begin + samples]
    padding = [(0, 0)] * (signals.ndim - 1) + [(0, samples - have)]
    return np.pad(signals, padding)


def normalise(signals: FloatArray, how: str) -> FloatArray:
    """Scale each record by itself.

    Parameters
    ----------
    signals : ndarray, shape (records, leads, samples)
        Any unit.
    how : {"none", "zscore-per-lead", "zscore", "minmax"}
        Zero mean and unit variance of each lead, or of all leads together; or the range 0 to 1 over all leads.
        What is constant becomes zero.
    """
    if how == "none":
        return signals
    axes = (-1,) if how == "zscore-per-lead" else (-2, -1)
    wide = signals.astype(np.float64)
    if how == "minmax":
        low = wide.min(axis=axes, keepdims=True)
        spread = wide.max(axis=axes, keepdims=True) - low
    else:
        low = wide.mean(axis=axes, keepdims=True)
        spread = wide.std(axis=axes, keepdims=True)
    # Rounding leaves a constant lead with a spread of about 1e-17: dividing by that would blow up its noise.
    return np.where(spread > 1e-9, (wide - low) / np.where(spread > 1e-9, spread, 1.0), 0.0).astype(np.float32)


def prepare(batch: RecordBatch, card: ModelCard) -> RecordBatch:
    """Turn records as stored into what the card declares.

    Parameters
    ----------
    batch : RecordBatch
        In mV, any rate, any lead order.
    card : ModelCard
        What the encoder reads.

    Returns
    -------
    RecordBatch
        Leads, rate, length, units and scale of the card.

    Raises
    ------
    EcgfmError
        If a record holds NaN or infinite samples, or lacks a lead.
    """
    signals = any_leads(batch.signals, batch.leads, card.leads) if card.any_leads else batch.signals
    bad = ~np.isfinite(signals).all(axis=(1, 2))
    if bad.any():
        record = batch.records[int(np.argmax(bad))]
        raise EcgfmError(f"record {record}: samples that are not finite numbers; {card.name} cannot read it.")
    if not card.any_leads:
        signals = select_leads(signals, batch.leads, card.leads)
    if card.preprocessing == "model":
        return replace(batch, signals=np.array(signals), leads=card.leads)
    signals = resample(signals, batch.sampling_rate, card.sampling_rate)
    if card.seconds is not None:
        signals = fit_length(signals, round(card.seconds * card.sampling_rate), card.crop)
    if card.units == "uV":
        signals = signals * np.float32(1000)
    # A copy, always: a model that writes into its input must not change the records of the next one.
    signals = np.array(normalise(signals, card.normalize), dtype=np.float32, order="C")
    return replace(batch, signals=signals, leads=card.leads, sampling_rate=card.sampling_rate)
