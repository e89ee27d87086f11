"""ST-MEM: a transformer over patches of single leads, pretrained as a spatio-temporal masked autoencoder.

Written after the paper and the official repository: Y. Na, M. Park, Y. Tae, S. Joo, "Guiding Masked Representation
Learning to Capture Spatio-Temporal Relationship of Electrocardiogram", ICLR 2024, arXiv 2402.09450;
github.com/bakqui/ST-MEM.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import butter, resample, sosfiltfilt
from torch import Tensor, nn

from pytest_ecgfm.encoders.checkpoints import descend, read_checkpoint
from pytest_ecgfm.encoders.frozen import require_seconds
from pytest_ecgfm.encoders.vit import FrozenTransformer, attend, load_module
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS, FloatArray, RecordBatch

SAMPLING_RATE = 250.0
SAMPLES = 2250
DIMENSIONS = 768

_PATCH = 75
_DEPTH = 12
_HEADS = 12
_EPS = 1e-5
_CONSTANT = 1e-9
_HIGH_PASS = butter(5, 0.67, btype="highpass", fs=SAMPLING_RATE, output="sos")
_LOW_PASS = butter(5, 40.0, btype="lowpass", fs=SAMPLING_RATE, output="sos")
_DECODER = ("decoder_*", "mask_embedding", "to_decoder_embedding.*", "to_patch_embedding.*")
"""What a checkpoint of the whole autoencoder holds beside ``encoder.*``; its patch embedding is the encoder's own."""


def crop_starts(samples: int) -> range:
    """Return where the crops of 2250 samples begin: three, evenly spread over the record.

    As in the official ``NCrop``, of which the rounding of an odd excess is a part (an excess of 3 samples gives four
    crops). A record with less than two samples to spare gives one crop.
    """
    excess = samples - SAMPLES
    return range(0, excess + 1, excess // 2) if excess >= 2 else range(1)


def preprocess(signals: FloatArray, sampling_rate: float) -> FloatArray:
    """Turn records into what the model reads: crops of 9 s at 250 Hz, filtered from 0.67 to 40 Hz, standardised.

    As in the official evaluation: Fourier resampling; three crops of 2250 samples (see `crop_starts`); on each crop
    Butterworth filters of order 5, high-pass and low-pass, forwards and backwards; one mean and one standard deviation
    over all leads of the crop. The official code reads no record of less than 9 s; here it gives one crop of its whole
    patches of 75 samples (0.3 s), which the architecture allows. A record that is constant gives zeros.

    Parameters
    ----------
    signals : ndarray of float32, shape (records, 12, samples)
        In mV (or any unit), in the customary order.
    sampling_rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, crops, 12, samples)
        2250 samples, or a smaller multiple of 75.

    Raises
    ------
    EcgfmError
        If a record is shorter than a second.
    """
    require_seconds(signals.shape[-1], sampling_rate)
    wide = signals.astype(np.float64)
    if sampling_rate != SAMPLING_RATE:
        wide = resample(wide, int(wide.shape[-1] * SAMPLING_RATE / sampling_rate), axis=-1)
    samples = min(wide.shape[-1], SAMPLES) // _PATCH * _PATCH
    crops = np.stack([wide[..., start : start + samples] for start in crop_starts(wide.shape[-1])], axis=1)
    crops = sosfiltfilt(_LOW_PASS, sosfiltfilt(_HIGH_PASS, crops, axis=-1), axis=-1)
    mean = crops.mean(axis=(-2, -1), keepdims=True)
    std = crops.std(axis=(-2, -1), keepdims=True)
    out: FloatArray = np.where(std > _CONSTANT, (crops - mean) / np.maximum(std, _CONSTANT), 0.0).astype(np.float32)
    return out


class _Attention(nn.Module):
    """Self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(DIMENSIONS, 3 * DIMENSIONS)
        self.to_out = nn.Sequential(nn.Linear(DIMENSIONS, DIMENSIONS))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.to_out(attend(self.to_qkv(x), _HEADS))
        return out


class _FeedForward(nn.Module):
    """Two linear maps with the exact GELU between them."""

    def __init__(self) -> None:
        super().__init__()
        # The third place is that of the dropout in pretraining.
        self.net = nn.Sequential(
            nn.Linear(DIMENSIONS, 4 * DIMENSIONS), nn.GELU(), nn.Identity(), nn.Linear(4 * DIMENSIONS, DIMENSIONS)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class _Residual(nn.Module):
    """Adds what a function makes of the normalised tokens."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DIMENSIONS, eps=_EPS)
        self.fn = function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.fn(self.norm(x))
        return out


class _Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = _Residual(_Attention())
        self.ff = _Residual(_FeedForward())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.ff(self.attn(x))
        return out


class Backbone(nn.Module):
    """The encoder. Its parameters are named as in the official checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, SAMPLES // _PATCH + 2, DIMENSIONS))
        self.sep_embedding = nn.Parameter(torch.empty(DIMENSIONS))
        # The first place is that of the official code's reshape into patches.
        self.to_patch_embedding = nn.Sequential(
            nn.Identity(),
            nn.LayerNorm(_PATCH, eps=_EPS),
            nn.Linear(_PATCH, DIMENSIONS),
            nn.LayerNorm(DIMENSIONS, eps=_EPS),
        )
        self.lead_embeddings = nn.ParameterList(nn.Parameter(torch.empty(DIMENSIONS)) for _ in LEADS)
        for number in range(_DEPTH):
            self.add_module(f"block{number}", _Block())
        self.norm = nn.LayerNorm(DIMENSIONS, eps=_EPS)

    def tokens(self, x: Tensor) -> Tensor:
        """Map ``(crops, 12, 75 n)`` to tokens ``(crops, 12, 2 + n, 768)``: of each lead a mark, its patches, a mark."""
        crops, leads, samples = x.shape
        positions = self.pos_embedding[0]
        patches = self.to_patch_embedding(x.reshape(crops, leads, samples // _PATCH, _PATCH))
        patches = patches + positions[1 : 1 + patches.shape[2]]
        # The right mark has the table's last position, however many patches there are.
        marks = self.sep_embedding + torch.stack([positions[0], positions[-1]])
        left, right = (mark.expand(crops, leads, 1, -1) for mark in marks)
        x = torch.cat([left, patches, right], dim=2) + torch.stack(list(self.lead_embeddings))[:, None]
        shape = x.shape
        x = x.flatten(1, 2)
        for number in range(_DEPTH):
            x = self.get_submodule(f"block{number}")(x)
        return x.view(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(crops, 12, 75 n)`` to ``(crops, 768)``: the layer norm of the mean over leads and patches."""
        out: Tensor = self.norm(self.tokens(x)[:, :, 1:-1].mean(dim=(1, 2)))
        return out


def backbone(checkpoint: Mapping[str, Any], *, path: Path) -> Backbone:
    """Make the encoder from a checkpoint as it is on disk: ``{"model": tensors, ...}``, with or without a decoder.

    Raises
    ------
    EcgfmError
        If a tensor of the encoder is missing, unknown or of another shape.
    """
    state = descend(checkpoint, ["model"], path=path)
    whole = any(key.startswith("encoder.") for key in state)
    prefix, heads = ("encoder.", _DECODER) if whole else ("", ())
    return load_module(Backbone, state, path=path, prefix=prefix, heads=heads)


class STMEM(FrozenTransformer):
    """Frozen ST-MEM.

    The embedding of a crop is what the official linear probe reads: the layer norm of the mean over all patches. That
    of a record is the mean over its crops; the official evaluation averages the outputs of its head in the same way.

    Attributes
    ----------
    module : torch.nn.Module
        The encoder, in evaluation mode.
    """

    @classmethod
    def load(cls, checkpoint: Path, *, device: str = "cpu") -> "STMEM":
        """Load ``st_mem_vit_base_encoder.pth`` or ``st_mem_vit_base_full.pth``.

        Raises
        ------
        EcgfmError
            If the file cannot be read, or a tensor of the encoder is missing, unknown or of another shape.
        """
        return cls(backbone(read_checkpoint(checkpoint), path=checkpoint), device)

    def embed_crops(self, batch: RecordBatch) -> FloatArray:
        """Embed each crop of each record; returns ``(records, crops, 768)``."""
        crops = preprocess(select_leads(batch.signals, batch.leads, LEADS), batch.sampling_rate)
        found = self.forward(crops.reshape(-1, *crops.shape[2:]))
        return found.reshape(*crops.shape[:2], DIMENSIONS)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, at any rate, of a second or more; returns ``(records, 768)``."""
        out: FloatArray = self.embed_crops(batch).mean(axis=1)
        return out
