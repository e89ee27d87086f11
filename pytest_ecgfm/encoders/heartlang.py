"""HeartLang: a transformer over a record's beats, which a detector of QRS complexes cuts out.

Written after the paper and the official repository: J. Jin, H. Wang, H. Li, J. Li, J. Pan, S. Hong, "Reading Your
Heart: Learning ECG Words and Sentences via Pre-training ECG Language Model", ICLR 2025, arXiv 2502.10707;
github.com/PKUDigitalHealth/HeartLang.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import butter, filtfilt, resample
from torch import Tensor, nn

from pytest_ecgfm.encoders.checkpoints import descend, read_checkpoint
from pytest_ecgfm.encoders.frozen import require_seconds
from pytest_ecgfm.encoders.vit import FrozenTransformer, attend, load_module
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS, FloatArray, RecordBatch

RATE = 100
SECONDS = 10
DIMENSIONS = 768
TOKENS = 256
BEAT = 96
"""Samples of a token."""

_HALF = BEAT // 2
_INNER, _HIDDEN, _HEADS, _LAYERS = 512, 1024, 8, 12
_ROWS = 16
"""Of the tables of leads and of seconds; row 0 is padding."""
_BAND = butter(5, (0.67 / 50, 40 / 50), "bandpass")
_WEIGHTS = ("model", "module")
_UNUSED = ("mask_token", "lm_head.*")

# With this module, which is imported in one thread: records are embedded in several, and none may touch the filters of
# warnings. wfdb uses parts of pandas that newer versions deprecate.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from wfdb.processing import xqrs_detect


def filtered(signals: FloatArray, rate: float) -> npt.NDArray[np.float64]:
    """Prepare records as in pretraining: the first 10 s, at 100 Hz, within 0.67 to 40 Hz, in mV.

    Fourier resampling, then a Butterworth band-pass of order 5, forwards and backwards, in float64; no scaling. The
    authors' scripts for other data scale in three other ways. A lead that is constant is 0: the detector would find
    beats in what the filter's rounding leaves of it.

    Parameters
    ----------
    signals : ndarray, shape (records, leads, samples)
        In mV.
    rate : float
        In Hz.

    Returns
    -------
    ndarray of float64, shape (records, leads, samples)
        1000 samples, or fewer of a shorter record.

    Raises
    ------
    EcgfmError
        If records last less than a second.
    """
    require_seconds(signals.shape[-1], rate)
    wide = signals[..., : int(SECONDS * rate)].astype(np.float64)
    samples = int(wide.shape[-1] * RATE / rate)
    if samples != wide.shape[-1]:
        wide = resample(wide, samples, axis=-1)
    flat = np.ptp(signals[..., : int(SECONDS * rate)], axis=-1, keepdims=True) == 0
    out: npt.NDArray[np.float64] = np.where(flat, 0.0, filtfilt(*_BAND, wide, axis=-1))
    return out


def find_beats(lead: npt.NDArray[np.float64]) -> list[int]:
    """Find the beats of a lead at 100 Hz by wfdb's XQRS, as the authors do.

    No other detector will do: beats that are 10 ms late move the embedding by as much as another patient.
    """
    return [int(place) for place in xqrs_detect(sig=lead, fs=RATE, verbose=False)]


def windows(beats: Sequence[int], samples: int) -> list[tuple[int, int, int]]:
    """Say which samples of a record belong to each beat: from halfway to the last to halfway to the next.

    Parameters
    ----------
    beats : sequence of int
        In samples, ascending.
    samples : int
        Of the record.

    Returns
    -------
    list of (start, end, offset)
        Of the record; and where the first of them goes in the token, so that the beat is in its middle.
    """
    found = []
    for number, beat in enumerate(beats):
        first, last = number == 0, number == len(beats) - 1
        start = max(beat - _HALF, 0) if first else (beat + beats[number - 1]) // 2
        end = min(beat + _HALF, samples) if last else (beat + beats[number + 1]) // 2
        if len(beats) == 1:
            end = min(start + BEAT, samples)
        if end - start > BEAT:
            start = max(beat - _HALF, 0)
            end = min(start + BEAT, samples)
        found.append((start, end, max(_HALF - (beat - start), 0)))
    return found


def sentence(signals: npt.NDArray[np.float64], beats: Sequence[int]) -> FloatArray:
    """Put a record's beats into a row: all of the first lead, then all of the second, and so on.

    Parameters
    ----------
    signals : ndarray of float64, shape (12, samples)
        From `filtered`.
    beats : sequence of int
        From `find_beats`.

    Returns
    -------
    ndarray of float32, shape (256, 98)
        Tokens: 96 samples, the number of the lead (from 1), the second (from 1). Zeros after the last beat; beats
        beyond 256 tokens, which are those of the last leads, are dropped, as officially.
    """
    out = np.zeros((TOKENS, BEAT + 2), np.float32)
    cuts = windows(beats, signals.shape[-1])
    words = ((row, beat, cut) for row in range(len(signals)) for beat, cut in zip(beats, cuts, strict=True))
    for token, (row, beat, (start, end, offset)) in zip(out, words, strict=False):
        taken = signals[row, start:end][: BEAT - offset]
        token[offset : offset + len(taken)] = taken
        token[BEAT:] = row + 1, beat // RATE + 1
    return out


class Attention(nn.Module):
    """Self-attention of normalised tokens; padding is attended to, as officially."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DIMENSIONS)
        self.to_qkv = nn.Linear(DIMENSIONS, 3 * _INNER, bias=False)
        self.to_out = nn.Sequential(nn.Linear(_INNER, DIMENSIONS))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens to tokens."""
        out: Tensor = self.to_out(attend(self.to_qkv(self.norm(x)), _HEADS))
        return out


class FeedForward(nn.Module):
    """Two linear maps of normalised tokens; the places of the original's dropouts are empty."""

    def __init__(self) -> None:
        super().__init__()
        inner = [nn.Linear(DIMENSIONS, _HIDDEN), nn.GELU(), nn.Identity(), nn.Linear(_HIDDEN, DIMENSIONS)]
        self.net = nn.Sequential(nn.LayerNorm(DIMENSIONS), *inner)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens to tokens."""
        out: Tensor = self.net(x)
        return out


class Backbone(nn.Module):
    """The transformer over beats. Its parameters are named as in the official checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(DIMENSIONS))
        self.pos_embed = nn.Parameter(torch.empty(1, TOKENS + 1, DIMENSIONS))
        convolution = nn.Conv1d(BEAT, DIMENSIONS, 3, padding=1, padding_mode="circular", bias=False)
        self.token_embed = nn.ModuleDict({"tokenConv": convolution})
        self.spa_embed = nn.ModuleDict({"embed": nn.Embedding(_ROWS, DIMENSIONS)})
        self.tem_embed = nn.ModuleDict({"embed": nn.Embedding(_ROWS, DIMENSIONS)})
        layers = nn.ModuleList(nn.ModuleList([Attention(), FeedForward()]) for _ in range(_LAYERS))
        self.transformer = nn.ModuleDict({"layers": layers})
        self.norm_layer = nn.LayerNorm(DIMENSIONS)

    def words(self, beats: Tensor) -> Tensor:
        """Map ``(records, 256, 96)`` to ``(records, 256, 768)``: each beat with its neighbours in the sentence."""
        out: Tensor = self.token_embed["tokenConv"](beats.transpose(1, 2)).transpose(1, 2)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Map sentences ``(records, 256, 98)`` to the normalised class token, ``(records, 768)``."""
        lead, second = x[..., BEAT].long(), x[..., BEAT + 1].long()
        h = self.words(x[..., :BEAT]) + self.spa_embed["embed"](lead) + self.tem_embed["embed"](second)
        h = torch.cat([self.cls_token.expand(len(h), 1, -1), h], dim=1) + self.pos_embed
        for layer in self.get_submodule("transformer.layers").children():
            for part in layer.children():
                h = h + part(h)
        out: Tensor = self.norm_layer(h[:, 0])
        return out


class HeartLang(FrozenTransformer):
    """HeartLang after its masked pretraining, frozen: 768 numbers a record, its class token.

    Attributes
    ----------
    module : torch.nn.Module
        The network, in evaluation mode.
    """

    @classmethod
    def load(cls, checkpoint: Path, *, device: str = "cpu") -> "HeartLang":
        """Load the file of the masked pretraining; those of the codebook and of fine-tuned models do not fit.

        Parameters
        ----------
        checkpoint : Path
            A file whose tensors are under ``model``, under ``module``, or at its top level.
        device : str
            Where it runs.

        Raises
        ------
        EcgfmError
            If the file cannot be read, or a tensor is missing, unknown or of another shape.
        """
        state = read_checkpoint(checkpoint)
        state = descend(state, [key for key in _WEIGHTS if key in state][:1], path=checkpoint)
        return cls(load_module(Backbone, state, path=checkpoint, heads=_UNUSED), device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, of a second or more, at any rate; returns ``(records, 768)``.

        Raises
        ------
        EcgfmError
            If a lead is missing, a record is shorter than 1 s, has samples that are no finite numbers, or has no beat
            in lead I: officially all such records get one and the same embedding.
        """
        signals = select_leads(batch.signals, batch.leads, LEADS)
        bad = ~np.isfinite(signals).all(axis=(1, 2))
        if bad.any():
            raise EcgfmError(f"record {batch.records[int(np.argmax(bad))]}: has samples that are not finite numbers.")
        return self.forward(self.sentences(filtered(signals, batch.sampling_rate), batch.records))

    @staticmethod
    def sentences(signals: npt.NDArray[np.float64], records: Sequence[str]) -> FloatArray:
        """Cut filtered records into beats, ``(records, 256, 98)``; refuse one without a beat, by name."""
        found = [find_beats(signal[0]) for signal in signals]
        for record, beats in zip(records, found, strict=True):
            if not beats:
                raise EcgfmError(f"record {record}: no beat found in lead I, and HeartLang reads beats.")
        return np.stack([sentence(signal, beats) for signal, beats in zip(signals, found, strict=True)])
