"""MERL: a residual network and a vision transformer, trained to agree with the reports of MIMIC-IV-ECG.

Liu C, Wan Z, Ouyang C, Shah A, Bai W, Arcucci R. Zero-Shot ECG Classification with Multimodal Learning and Test-time
Clinical Knowledge Enhancement, ICML 2024 (arXiv 2403.06659). Code and the link to the checkpoints:
https://github.com/cheliu-computation/MERL-ICML2024. Written anew.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_ecgfm.encoders.checkpoints import load_backbone, read_checkpoint
from pytest_ecgfm.encoders.frozen import Frozen, require_seconds, without_weights
from pytest_ecgfm.encoders.preprocessing import fit_length, resample
from pytest_ecgfm.errors import unknown_name
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

RATE = 500
SAMPLES = 5000
LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
"""In the order of the files of MIMIC-IV-ECG, which is not the customary one: aVF comes before aVL."""

_PATCH, _TOKENS = 50, 100
_WIDTH, _HEADS, _LAYERS, _FEED = 192, 3, 12, 768
_WHOLE = "ecg_encoder."
"""Prefix of the encoder's keys in the files ``*_best_ckpt.pth``."""
_OTHERS = ("lm_model.*", "proj_t.*", "linear1.*", "linear2.*", "downconv.*", "att_pool_head.*", "proj_e.*")


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Prepare records as the authors' ``finetune_dataset.py`` does.

    The first 10 s, shorter records padded with zeros at the end (as the authors do for CPSC 2018); then one minimum and
    one maximum over all leads and samples, so that the record lies between 0 and 1, and with it the padding somewhere
    between. No filter. The authors have no rule for other rates: polyphase resampling to 500 Hz.

    Parameters
    ----------
    signals : ndarray, shape (records, 12, samples)
        In mV, in the order of `LEADS`.
    rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, 12, 5000)
    """
    require_seconds(signals.shape[-1], rate)
    wide = fit_length(resample(signals, rate, RATE), SAMPLES).astype(np.float64)
    low = wide.min(axis=(1, 2), keepdims=True)
    high = wide.max(axis=(1, 2), keepdims=True)
    scaled: FloatArray = ((wide - low) / (high - low + 1e-8)).astype(np.float32)
    return scaled


class BasicBlock(nn.Module):
    """Two convolutions of three samples and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != width:
            self.shortcut = nn.Sequential(nn.Conv1d(channels, width, 1, stride, bias=False), nn.BatchNorm1d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Add the block's output to its (widened) input."""
        h = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return functional.relu(self.bn2(self.conv2(h)) + self.shortcut(x), inplace=True)


class ResNet18(nn.Module):
    """The published residual network, without pooling after its stem: ``(records, 12, samples)`` to 512 features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(12, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm1d(64)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Mean over time of the last stage."""
        h = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(h))))
        return y.mean(dim=-1)


class Attention(nn.Module):
    """Self-attention over all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.to_out = nn.Sequential(nn.Linear(_WIDTH, _WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        n, tokens, width = x.shape
        q, k, v = self.to_qkv(x).view(n, tokens, 3, _HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        y: Tensor = self.to_out(mixed.transpose(1, 2).reshape(n, tokens, width))
        return y


class FeedForward(nn.Module):
    """Two linear layers with a GELU between; the places of the original's dropouts are empty."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(_WIDTH, _FEED), nn.GELU(), nn.Identity(), nn.Linear(_FEED, _WIDTH), nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply to each token."""
        y: Tensor = self.net(x)
        return y


class PreNorm(nn.Module):
    """What `fn` adds to its input after normalisation."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(_WIDTH)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, apply, add."""
        y: Tensor = x + self.fn(self.norm(x))
        return y


class Layer(nn.Module):
    """A transformer layer, normalised before each of its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = PreNorm(Attention())
        self.ff = PreNorm(FeedForward())

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then feed forward."""
        y: Tensor = self.ff(self.attn(x))
        return y


class ViTTiny(nn.Module):
    """The published transformer over patches of 0.1 s: ``(records, 12, 5000)`` to 192 features."""

    def __init__(self) -> None:
        super().__init__()
        self.to_patch_embedding = nn.Conv1d(12, _WIDTH, _PATCH, _PATCH, bias=False)
        self.pos_embedding = nn.Parameter(torch.empty(1, _TOKENS, _WIDTH))
        for i in range(_LAYERS):
            self.add_module(f"block{i}", Layer())
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Mean over the tokens of the last layer, then normalisation."""
        h = self.to_patch_embedding(x).transpose(1, 2) + self.pos_embedding
        for i in range(_LAYERS):
            h = self.get_submodule(f"block{i}")(h)
        y: Tensor = self.norm(h.mean(dim=1))
        return y


NETWORKS: dict[str, Callable[[], nn.Module]] = {"resnet18": ResNet18, "vit_tiny": ViTTiny}


class MERL(Frozen):
    """Records to the features that the authors' linear probes read, before any projection."""

    leads = LEADS

    @classmethod
    def load(cls, checkpoint: Path, *, network: str, device: str = "cpu") -> "MERL":
        """Load ``*_best_encoder.pth`` or, of the whole model's ``*_best_ckpt.pth``, the encoder.

        Parameters
        ----------
        checkpoint : Path
            Tensors by key, without nesting.
        network : {"resnet18", "vit_tiny"}
            Which of the two.
        device : str
            Where it runs.

        Raises
        ------
        EcgfmError
            If the file does not hold exactly this network (and heads, which are dropped).
        """
        if network not in NETWORKS:
            raise unknown_name("network", network, NETWORKS)
        module = without_weights(NETWORKS[network])
        state = read_checkpoint(checkpoint)
        prefix = _WHOLE if any(key.startswith(_WHOLE) for key in state) else ""
        heads = [f"{prefix}linear.*", *(_OTHERS if prefix else ())]
        load_backbone(module, state, path=checkpoint, prefix=prefix, heads=heads)
        return cls(module, device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, of 1 s or more, at any rate, their leads in any order.

        Raises
        ------
        EcgfmError
            If a lead is missing or the records are shorter than 1 s.
        """
        return self.forward(preprocess(select_leads(batch.signals, batch.leads, self.leads), batch.sampling_rate))
