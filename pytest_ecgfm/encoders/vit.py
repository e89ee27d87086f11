"""Vision transformers in plain torch: the block that several foundation models share, and how they are loaded and run.

The parameters of `Block` are named as in timm's ``vision_transformer``, whose layout many checkpoints follow.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_ecgfm.encoders.checkpoints import load_backbone
from pytest_ecgfm.encoders.frozen import Frozen
from pytest_ecgfm.signals.records import FloatArray

Built = TypeVar("Built", bound=nn.Module)

CHUNK = 16
"""Windows that go through a module at once: what bounds the memory, whatever the size of a batch."""


def sine_table(positions: int, width: int) -> Tensor:
    """Return the fixed table of positions, (positions, width): sines in even columns, cosines in odd ones."""
    # In float32 throughout, as in the original.
    frequency = (torch.arange(0, width, 2, device="cpu").float() * (-math.log(10_000) / width)).exp()
    angle = torch.arange(positions, device="cpu").float()[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def attend(qkv: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of all heads, scaled by the root of their width.

    Parameters
    ----------
    qkv : Tensor, shape (batch, tokens, 3 * width)
        Queries, keys and values; within each, the heads follow each other.
    heads : int
        Number of heads.
    mask : Tensor, shape (tokens, tokens), optional
        Added to the scores.

    Returns
    -------
    Tensor, shape (batch, tokens, width)
    """
    batch, tokens, triple = qkv.shape
    q, k, v = qkv.view(batch, tokens, 3, heads, triple // (3 * heads)).permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.transpose(1, 2).reshape(batch, tokens, triple // 3)


class Attention(nn.Module):
    """Self-attention, with one linear map for queries, keys and values."""

    def __init__(self, width: int, heads: int, *, qkv_bias: bool, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map tokens to tokens."""
        out: Tensor = self.proj(attend(self.qkv(x), self.heads, mask))
        return out


class Mlp(nn.Module):
    """Two linear maps with the exact GELU between them."""

    def __init__(self, width: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens to tokens."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """A pre-norm transformer block.

    Parameters
    ----------
    width, heads : int
        Of the tokens, and their number of attention heads; the hidden layer is four times as wide.
    eps : float
        Of the layer norms.
    qkv_bias, bias, norm_bias : bool
        Whether queries, keys and values, the other linear maps, and the layer norms have a bias.
    """

    def __init__(
        self, width: int, heads: int, *, eps: float, qkv_bias: bool = True, bias: bool = True, norm_bias: bool = True
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps, bias=norm_bias)
        self.attn = Attention(width, heads, qkv_bias=qkv_bias, bias=bias)
        self.norm2 = nn.LayerNorm(width, eps=eps, bias=norm_bias)
        self.mlp = Mlp(width, 4 * width, bias=bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map tokens to tokens."""
        x = x + self.attn(self.norm1(x), mask)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def load_module(
    build: Callable[[], Built], state: Mapping[str, Any], *, path: Path, prefix: str = "", heads: Sequence[str] = ()
) -> Built:
    """Build a module without drawing weights, and fill it from a checkpoint.

    Parameters
    ----------
    build : callable
        Returns the module. Fixed tables must be put on the CPU explicitly; everything else must be in the checkpoint.
    state, path, prefix, heads
        See `pytest_ecgfm.encoders.checkpoints.load_backbone`.

    Raises
    ------
    EcgfmError
        If the checkpoint does not fit.
    """
    with torch.device("meta"):
        module = build()
    for child in module.modules():
        for name, parameter in list(child.named_parameters(recurse=False)):
            setattr(child, name, nn.Parameter(torch.empty_like(parameter, device="cpu"), requires_grad=False))
    load_backbone(module, state, path=path, prefix=prefix, heads=heads)
    return module


class FrozenTransformer(Frozen):
    """A frozen module through which windows go a few at a time, so that memory does not grow with the batch."""

    def forward(self, inputs: FloatArray) -> FloatArray:
        """Run the module on preprocessed windows, without autograd.

        Parameters
        ----------
        inputs : ndarray of float32, shape (windows, leads, samples)
            As the module takes them.

        Returns
        -------
        ndarray of float32, shape (windows, dimensions)
        """
        run = super().forward
        starts = range(0, max(1, len(inputs)), CHUNK)
        return np.concatenate([run(inputs[start : start + CHUNK]) for start in starts])
