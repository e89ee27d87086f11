"""ECG-JEPA of Kim: a transformer over patches of single leads, pretrained by predicting latent patches.

Written after the paper and the official repository: S. Kim, "Learning General Representation of 12-Lead
Electrocardiogram with a Joint-Embedding Predictive Architecture", arXiv 2410.08559;
github.com/sehunfromdaegu/ECG_JEPA. It is another model than Weimann's of the same name (`ecg_jepa_weimann`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import resample
from torch import Tensor, nn

from pytest_ecgfm.encoders.checkpoints import descend, read_checkpoint
from pytest_ecgfm.encoders.frozen import require_seconds
from pytest_ecgfm.encoders.preprocessing import fit_length
from pytest_ecgfm.encoders.vit import Block, FrozenTransformer, load_module
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
SAMPLING_RATE = 250.0
SAMPLES = 2500
DIMENSIONS = 768

_STORED_RATE = 500.0
_PATCH = 50
_PATCHES = SAMPLES // _PATCH
_DEPTH = 12
_HEADS = 16
_EPS = 1e-5


def preprocess(signals: FloatArray, sampling_rate: float) -> FloatArray:
    """Turn records in mV into what the model reads: 10 s at 250 Hz, in mV, neither filtered nor normalised.

    As in the official loaders: a record at another rate than 500 Hz is brought to it by Fourier resampling, its first
    5000 samples are kept, and these are brought to 2500 samples by Fourier resampling. The official loaders drop
    records of less than 10 s; here they are padded with zeros at the end, after resampling.

    Parameters
    ----------
    signals : ndarray of float32, shape (records, 8, samples)
        In mV.
    sampling_rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, 8, 2500)

    Raises
    ------
    EcgfmError
        If a record is shorter than a second.
    """
    require_seconds(signals.shape[-1], sampling_rate)
    stored = signals.astype(np.float64)
    if sampling_rate != _STORED_RATE:
        stored = resample(stored, int(stored.shape[-1] * _STORED_RATE / sampling_rate), axis=-1)
    stored = stored[..., : 2 * SAMPLES]
    length = round(stored.shape[-1] * SAMPLING_RATE / _STORED_RATE)
    out = np.asarray(resample(stored, length, axis=-1), dtype=np.float32)
    return np.ascontiguousarray(fit_length(out, SAMPLES))


def attention_mask() -> Tensor:
    """Let a patch attend to the patches of its own lead, and to those of the same time.

    Returns
    -------
    Tensor, shape (400, 400)
        0 where attention is allowed and minus infinity elsewhere; row and column are ``lead * 50 + patch``.
    """
    token = torch.arange(len(LEADS) * _PATCHES, device="cpu")
    lead, patch = token // _PATCHES, token % _PATCHES
    allowed = (lead[:, None] == lead[None, :]) | (patch[:, None] == patch[None, :])
    return torch.zeros(allowed.shape, device="cpu").masked_fill_(~allowed, float("-inf"))


class _Blocks(nn.Module):
    """Transformer blocks; the positions are added to the input of each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(DIMENSIONS, _HEADS, eps=_EPS, qkv_bias=False) for _ in range(_DEPTH))

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x + positions, mask)
        return x


class Backbone(nn.Module):
    """The encoder. Its parameters are named as in the official checkpoints."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(len(LEADS) * _PATCHES, DIMENSIONS))
        self.W_P = nn.Linear(_PATCH, DIMENSIONS)
        self.encoder_blocks = _Blocks()
        self.norm = nn.LayerNorm(DIMENSIONS, eps=_EPS)
        self.register_buffer("mask", attention_mask(), persistent=False)

    def tokens(self, x: Tensor) -> Tensor:
        """Map ``(records, 8, 2500)`` to normalised tokens ``(records, 400, 768)``, lead by lead."""
        patches = self.W_P(x.reshape(len(x), len(LEADS) * _PATCHES, _PATCH))
        out: Tensor = self.norm(self.encoder_blocks(patches, self.pos_embed, self.mask))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(records, 8, 2500)`` to ``(records, 768)``: the mean over all tokens."""
        return self.tokens(x).mean(dim=1)


def backbone(checkpoint: Mapping[str, Any], *, path: Path) -> Backbone:
    """Make the encoder from a checkpoint as it is on disk: ``{"encoder": tensors, "epoch": number}``.

    Raises
    ------
    EcgfmError
        If a tensor is missing, unknown or of another shape.
    """
    return load_module(Backbone, descend(checkpoint, ["encoder"], path=path), path=path)


class ECGJEPA(FrozenTransformer):
    """Frozen ECG-JEPA (Kim).

    The embedding is that of the official linear evaluation: the mean over all tokens after the final layer norm.

    Attributes
    ----------
    module : torch.nn.Module
        The encoder, in evaluation mode.
    """

    @classmethod
    def load(cls, checkpoint: Path, *, device: str = "cpu") -> "ECGJEPA":
        """Load ``multiblock_epoch100.pth`` or ``random_epoch100.pth``, or either as its authors' code saves it.

        Raises
        ------
        EcgfmError
            If the file cannot be read, or a tensor is missing, unknown or of another shape.
        """
        return cls(backbone(read_checkpoint(checkpoint), path=checkpoint), device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, at any rate, of a second or more; returns ``(records, 768)``."""
        signals = select_leads(batch.signals, batch.leads, LEADS)
        return self.forward(preprocess(signals, batch.sampling_rate))
