"""MOMENT: a transformer over patches of single channels, pretrained on time series of all kinds.

Written after the paper and the official package: M. Goswami, K. Szafer, A. Choudhry, Y. Cai, S. Li, A. Dubrawski,
"MOMENT: A Family of Open Time-series Foundation Models", ICML 2024, arXiv 2402.03885; PyPI ``momentfm``. The blocks are
those of the encoder of T5 1.1.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_ecgfm.encoders.checkpoints import descend, read_checkpoint
from pytest_ecgfm.encoders.frozen import require_seconds
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.encoders.vit import FrozenTransformer, load_module, sine_table
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS, FloatArray, RecordBatch

RATE = 100.0
SAMPLES = 1000
POINTS = 512
DIMENSIONS = 512

_PATCH = 8
_PATCHES = POINTS // _PATCH
_LAYERS = 8
_ATTENTION_HEADS = 6
_HEAD_WIDTH = 64
_HIDDEN = 1024
_EPS = 1e-6
_SCALING_EPS = 1e-5
_CONSTANT = 1e-9
_UNUSED = (
    "encoder.embed_tokens.weight",
    "head.linear.*",
    "patch_embedding.mask_embedding",
    "patch_embedding.position_embedding.pe",
)
"""A table of words that nothing reads, the head of pretraining, what stands for masked patches, a fixed table."""


def relative_buckets(tokens: int) -> Tensor:
    """Return the bucket of each query (row) and key (column) by their distance, (tokens, tokens).

    Of 32 buckets, 16 are for later keys; in each half 8 are for single distances, 8 for logarithmically wider ranges.
    """
    position = torch.arange(tokens, device="cpu")
    ahead = position[None, :] - position[:, None]
    distance = ahead.abs()
    far = 8 + (torch.log(distance.clamp(min=1).float() / 8) / math.log(16) * 8).long()
    return torch.where(distance < 8, distance, far.clamp(max=15)) + 16 * (ahead > 0).long()


class _Attention(nn.Module):
    """Self-attention without biases, unscaled, with a learned bias by distance that the first layer holds."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        width = _ATTENTION_HEADS * _HEAD_WIDTH
        self.q = nn.Linear(DIMENSIONS, width, bias=False)
        self.k = nn.Linear(DIMENSIONS, width, bias=False)
        self.v = nn.Linear(DIMENSIONS, width, bias=False)
        self.o = nn.Linear(width, DIMENSIONS, bias=False)
        if first:
            self.relative_attention_bias = nn.Embedding(32, _ATTENTION_HEADS)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (_ATTENTION_HEADS, _HEAD_WIDTH)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        out: Tensor = self.o(found.transpose(1, 2).flatten(2))
        return out


class _FeedForward(nn.Module):
    """Two linear maps, the first of them gated by the tanh GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(DIMENSIONS, _HIDDEN, bias=False)
        self.wi_1 = nn.Linear(DIMENSIONS, _HIDDEN, bias=False)
        self.wo = nn.Linear(_HIDDEN, DIMENSIONS, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.wo(functional.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))
        return out


def _part(name: str, inner: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({name: inner, "layer_norm": nn.RMSNorm(DIMENSIONS, eps=_EPS)})


class _Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            [_part("SelfAttention", _Attention(first=first)), _part("DenseReluDense", _FeedForward())]
        )

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        attention, dense = self.layer
        assert isinstance(attention, nn.ModuleDict) and isinstance(dense, nn.ModuleDict)
        x = x + attention["SelfAttention"](attention["layer_norm"](x), bias)
        out: Tensor = x + dense["DenseReluDense"](dense["layer_norm"](x))
        return out


class Backbone(nn.Module):
    """The encoder. Its parameters are named as in the official checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding = nn.ModuleDict({"value_embedding": nn.Linear(_PATCH, DIMENSIONS, bias=False)})
        self.encoder = nn.ModuleDict(
            {
                "block": nn.ModuleList(_Block(first=number == 0) for number in range(_LAYERS)),
                "final_layer_norm": nn.RMSNorm(DIMENSIONS, eps=_EPS),
            }
        )
        self.register_buffer("positions", sine_table(_PATCHES, DIMENSIONS), persistent=False)
        self.register_buffer("buckets", relative_buckets(_PATCHES), persistent=False)

    def tokens(self, x: Tensor) -> Tensor:
        """Map ``(records, leads, points)``, at most 512 points, to tokens ``(records, leads, points / 8, 512)``.

        Fewer points are the last ones of 512: officially those before are masked, which is the same as their absence.
        """
        records, leads, points = x.shape
        patches = points // _PATCH
        mean = x.mean(dim=-1, keepdim=True)
        x = (x - mean) / (x.std(dim=-1, keepdim=True, correction=0) + _SCALING_EPS)
        h = self.patch_embedding["value_embedding"](x.reshape(records * leads, patches, _PATCH))
        h = h + self.get_buffer("positions")[-patches:]
        blocks = self.encoder["block"]
        assert isinstance(blocks, nn.ModuleList)
        table = self.get_parameter("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")
        bias = table[self.get_buffer("buckets")[:patches, :patches]].permute(2, 0, 1)[None].to(h.dtype)
        for block in blocks:
            h = block(h, bias)
        out: Tensor = self.encoder["final_layer_norm"](h).reshape(records, leads, patches, DIMENSIONS)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(records, leads, points)`` to the mean over leads and patches, ``(records, 512)``."""
        return self.tokens(x).mean(dim=(1, 2))


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Turn records into what the model reads: 10 s of each lead as 512 points, z-scored.

    As in the authors' own recipe for PTB-XL: from 100 Hz, the whole 10 s by linear interpolation to 512 points (51.15
    Hz), z-score of each lead, no filter. Other rates are first brought to 100 Hz by a polyphase filter, for which the
    authors have no rule. Shorter records keep the 51.15 Hz, in whole patches of 8 points. A flat lead is 0.

    Parameters
    ----------
    signals : ndarray of float32, shape (records, leads, samples)
        In any unit.
    rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, leads, points)
        512 points, or a smaller multiple of 8.

    Raises
    ------
    EcgfmError
        If records last less than a second.
    """
    require_seconds(signals.shape[-1], rate)
    wide = resample(signals, rate, RATE)[..., :SAMPLES].astype(np.float64)
    step = (SAMPLES - 1) / (POINTS - 1)
    points = (int((wide.shape[-1] - 1) / step + 1e-9) + 1) // _PATCH * _PATCH
    places = np.arange(points) * step
    before = np.minimum(places.astype(int), wide.shape[-1] - 2)
    share = places - before
    found = wide[..., before] * (1 - share) + wide[..., before + 1] * share
    mean, spread = found.mean(axis=-1, keepdims=True), found.std(axis=-1, keepdims=True)
    out: FloatArray = np.where(spread > _CONSTANT, (found - mean) / np.maximum(spread, _CONSTANT), 0).astype(np.float32)
    return out


class Moment(FrozenTransformer):
    """MOMENT-1-small, frozen: 512 numbers a record, the mean over leads and patches of the encoder's output.

    Attributes
    ----------
    module : torch.nn.Module
        The encoder, in evaluation mode.
    """

    @classmethod
    def load(cls, checkpoint: Path, *, device: str = "cpu") -> "Moment":
        """Load ``model.safetensors``, or the folder that holds it.

        Raises
        ------
        EcgfmError
            If the file cannot be read, or a tensor of the encoder is missing, unknown or of another shape.
        """
        state = descend(read_checkpoint(checkpoint), (), path=checkpoint)
        return cls(load_module(Backbone, state, path=checkpoint, heads=_UNUSED), device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in any unit, at any rate, of a second or more; returns ``(records, 512)``."""
        return self.forward(preprocess(select_leads(batch.signals, batch.leads, LEADS), batch.sampling_rate))
