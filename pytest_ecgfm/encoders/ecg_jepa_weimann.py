"""ECG-JEPA of Weimann and Conrad: a vision transformer over patches of all leads together.

Written after the paper and the official repository: K. Weimann, T. O. F. Conrad, "Self-supervised pre-training with
joint-embedding predictive architecture boosts ECG classification performance", Computers in Biology and Medicine
(2025), arXiv 2410.13867; github.com/kweimann/ECG-JEPA. It is another model than Kim's of the same name (`ecg_jepa`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.signal import resample
from torch import Tensor, nn

from pytest_ecgfm.encoders.checkpoints import descend, read_checkpoint
from pytest_ecgfm.encoders.frozen import require_seconds
from pytest_ecgfm.encoders.vit import Block, FrozenTransformer, load_module
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS, FloatArray, RecordBatch

SAMPLING_RATE = 500.0
SAMPLES = 5000
MEAN = (-0.002, -0.002, 0.0, 0.002, -0.001, -0.001, 0.0, -0.001, -0.002, -0.001, -0.001, -0.001)
STD = (0.191, 0.166, 0.173, 0.142, 0.149, 0.147, 0.235, 0.338, 0.335, 0.299, 0.294, 0.242)
"""Mean and standard deviation of each lead of PTB-XL in mV, as in the official pretraining code."""

_CLIP = 5.0
_PATCH = 25
_EPS = 1e-6
_PREFIX = "target_encoder."
_NOT_THE_BACKBONE = ("encoder.*", "predictor.*")


@dataclass(frozen=True)
class Size:
    """Width of the tokens, number of blocks and of attention heads."""

    width: int
    depth: int
    heads: int


SIZES = {"vitb": Size(768, 12, 12), "vits": Size(384, 8, 6), "vitxs": Size(192, 8, 4)}


def preprocess(signals: FloatArray, sampling_rate: float) -> FloatArray:
    """Turn records in mV into what the model reads: 500 Hz, each lead standardised, clipped to 5 deviations.

    As in the official code: Fourier resampling, the mean and standard deviation of each lead over a data set, clipping;
    no filter. Officially each data set has constants of its own; here every record is scaled by those of PTB-XL, so
    that a record's embedding does not depend on the cohort that it is in. The first 10 s are read, the length of
    pretraining. A shorter record is read as it is, up to its last whole patch of 25 samples (50 ms).

    Parameters
    ----------
    signals : ndarray of float32, shape (records, 12, samples)
        In mV, in the customary order.
    sampling_rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, 12, samples)
        5000 samples, or a smaller multiple of 25.

    Raises
    ------
    EcgfmError
        If a record is shorter than a second.
    """
    require_seconds(signals.shape[-1], sampling_rate)
    if sampling_rate != SAMPLING_RATE:
        length = int(signals.shape[-1] * SAMPLING_RATE / sampling_rate)
        signals = resample(signals.astype(np.float64), length, axis=-1).astype(np.float32)
    samples = min(signals.shape[-1], SAMPLES) // _PATCH * _PATCH
    mean, std = np.array(MEAN, np.float32)[:, None], np.array(STD, np.float32)[:, None]
    out: FloatArray = np.clip((signals[..., :samples] - mean) / std, -_CLIP, _CLIP).astype(np.float32, copy=False)
    return out


def positions(width: int) -> Tensor:
    """Return the fixed position table: sines in the even columns, cosines in the odd ones.

    Returns
    -------
    Tensor, shape (200, width)
    """
    angle = np.arange(SAMPLES // _PATCH)[:, None] * np.exp(np.arange(0, width, 2) * (-math.log(10_000.0) / width))
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(-1, width)
    return torch.from_numpy(table.astype(np.float32))


class _PatchEmbedding(nn.Module):
    """One token for 25 samples of all leads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv1d(len(LEADS), width, _PATCH, stride=_PATCH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x).transpose(1, 2)
        return out


class Backbone(nn.Module):
    """The encoder. Its parameters are named as in the official checkpoints.

    Parameters
    ----------
    size : Size
        Of the transformer.
    norm_bias : bool
        Whether its layer norms have a bias, as in checkpoints of the official code before October 2025.
    """

    positions: Tensor

    def __init__(self, size: Size, *, norm_bias: bool = False) -> None:
        super().__init__()
        self.registers = nn.Parameter(torch.empty(1, 1, size.width))
        self.patch_embed = _PatchEmbedding(size.width)
        self.blocks = nn.ModuleList(
            Block(size.width, size.heads, eps=_EPS, qkv_bias=False, bias=False, norm_bias=norm_bias)
            for _ in range(size.depth)
        )
        self.norm = nn.LayerNorm(size.width, eps=_EPS, bias=norm_bias)
        self.register_buffer("positions", positions(size.width), persistent=False)

    def tokens(self, x: Tensor) -> Tensor:
        """Map ``(records, 12, 25 n)`` to normalised tokens ``(records, 1 + n, width)``: the register, the patches."""
        patches = self.patch_embed(x)
        patches = patches + self.positions[: patches.shape[1]]
        x = torch.cat([self.registers.expand(len(x), -1, -1), patches], dim=1)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(records, 12, 25 n)`` to ``(records, width)``: the mean over the patches' tokens."""
        return self.tokens(x)[:, 1:].mean(dim=1)


def backbone(checkpoint: Mapping[str, Any], *, path: Path, size: str = "vitb") -> Backbone:
    """Make the encoder from a checkpoint as it is on disk: ``{"model": tensors, "config": ..., ...}``.

    Raises
    ------
    EcgfmError
        If a tensor of the target encoder is missing, unknown or of another shape.
    """
    state = descend(checkpoint, ["model"], path=path)
    norm_bias = any(fnmatchcase(key, f"{_PREFIX}*norm*.bias") for key in state)
    return load_module(
        lambda: Backbone(SIZES[size], norm_bias=norm_bias), state, path=path, prefix=_PREFIX, heads=_NOT_THE_BACKBONE
    )


class ECGJEPAWeimann(FrozenTransformer):
    """Frozen ECG-JEPA (Weimann).

    Officially a head pools the tokens, with weights of its own, so there is no official vector without training. The
    embedding here is the mean over the patches' tokens of the target encoder, after the final layer norm.

    Attributes
    ----------
    module : torch.nn.Module
        The target encoder, in evaluation mode.
    """

    @classmethod
    def load(
        cls, checkpoint: Path, *, size: Literal["vitb", "vits", "vitxs"] = "vitb", device: str = "cpu"
    ) -> "ECGJEPAWeimann":
        """Load ``chkpt_{step}.pt`` or the smaller ``chkpt_{step}.min.pt``, as the official code saves them.

        Raises
        ------
        EcgfmError
            If the file cannot be read, or a tensor of the target encoder is missing, unknown or of another shape.
        """
        return cls(backbone(read_checkpoint(checkpoint), path=checkpoint, size=size), device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, at any rate, of a second or more; returns ``(records, width)``."""
        signals = select_leads(batch.signals, batch.leads, LEADS)
        return self.forward(preprocess(signals, batch.sampling_rate))
