"""CLEF: residual networks over one lead, pretrained by contrasting patients by their clinical risk.

Written after the paper and the official repository: "CLEF: Clinically-Guided Contrastive Learning for
Electrocardiogram Foundation Models", arXiv 2512.02180; github.com/Nokia-Bell-Labs/ecg-foundation-model. The network is
Net1D (Hong et al.) without normalisation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.signal import butter, filtfilt
from torch import Tensor, nn
from torch.nn import functional

from pytest_ecgfm.encoders.checkpoints import descend, read_checkpoint
from pytest_ecgfm.encoders.ecgfounder import Same
from pytest_ecgfm.encoders.frozen import require_seconds
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.encoders.vit import FrozenTransformer, load_module
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

RATE = 500.0
SAMPLES = 5000

_LEAD = "II"
_KERNEL = 16
_BAND = butter(5, (0.67, 40), btype="bandpass", fs=RATE)
"""Numerator and denominator: the original has this form, which rounds differently from sections of second order."""
_SPREAD_EPS = 1e-8
_PREFIX = "backbone."
_UNUSED = ("*first_bn.*", "*.bn1.*", "*.bn2.*", "*.bn3.*")
"""Normalisation that the official code builds and saves, and never calls."""


@dataclass(frozen=True)
class Size:
    """How wide and deep one of the published networks is."""

    stem: int
    stages: tuple[tuple[int, int], ...]
    """Channels and blocks of each stage."""
    ratio: float
    group: int


SIZES: Mapping[str, Size] = {
    "small": Size(32, ((32, 1), (64, 1), (64, 2), (128, 2), (128, 2), (256, 2)), 0.5, 8),
    "medium": Size(64, ((64, 2), (160, 2), (160, 2), (400, 3), (400, 3), (1024, 4), (1024, 4)), 1.0, 16),
    "large": Size(
        128,
        ((128, 2), (256, 3), (256, 3), (512, 4), (512, 4), (1024, 5), (1024, 5), (2048, 6), (2048, 6)),
        1.5,
        32,
    ),
}


class _Block(nn.Module):
    """A bottleneck block with squeeze and excitation, activated before its convolutions."""

    def __init__(self, channels: int, width: int, size: Size, *, first: bool, shrink: bool) -> None:
        super().__init__()
        middle = int(width * size.ratio)
        self.conv1 = Same(channels, middle, 1)
        self.conv2 = Same(middle, middle, _KERNEL, 2 if shrink else 1, groups=width // size.group)
        self.conv3 = Same(middle, width, 1)
        self.se_fc1 = nn.Linear(width, width // 2)
        self.se_fc2 = nn.Linear(width // 2, width)
        self._first, self._shrink = first, shrink
        self._grow = ((width - channels) // 2, width - channels - (width - channels) // 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x if self._first else functional.silu(x))
        h = self.conv3(functional.silu(self.conv2(functional.silu(h))))
        gate = torch.sigmoid(self.se_fc2(functional.silu(self.se_fc1(h.mean(dim=-1)))))
        if self._shrink:
            # The zero is a value like any other to the maximum.
            x = functional.max_pool1d(functional.pad(x, (0, 1)), 2, 2)
        x = functional.pad(x, (0, 0, *self._grow))
        out: Tensor = x + h * gate[..., None]
        return out


class _Stage(nn.Module):
    """Blocks of one width, of which the first halves the samples."""

    def __init__(self, channels: int, width: int, blocks: int, size: Size, *, first: bool) -> None:
        super().__init__()
        self.block_list = nn.ModuleList(
            _Block(channels if i == 0 else width, width, size, first=first and i == 0, shrink=i == 0)
            for i in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block_list:
            x = block(x)
        return x


class Backbone(nn.Module):
    """One of the networks. Its parameters are named as in the official checkpoints, without ``backbone.``."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.first_conv = Same(1, size.stem, _KERNEL, 2)
        self.stage_list = nn.ModuleList()
        channels = size.stem
        for number, (width, blocks) in enumerate(size.stages):
            self.stage_list.append(_Stage(channels, width, blocks, size, first=number == 0))
            channels = width

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(records, 1, samples)`` to the mean over time, ``(records, dimensions)``."""
        x = functional.silu(self.first_conv(x))
        for stage in self.stage_list:
            x = stage(x)
        return x.mean(dim=-1)


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Prepare one lead as in pretraining: band-pass of 0.67 to 40 Hz, z-score.

    Polyphase resampling to 500 Hz where needed, for which the authors have no one rule; the first 10 s; a Butterworth
    band-pass of order 5, forwards and backwards, in float64; mean and standard deviation. Shorter records are not
    padded. A lead that is constant is 0: the filter's rounding must not be scaled up to a signal.

    Parameters
    ----------
    signals : ndarray of float32, shape (records, samples)
        In any unit.
    rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, 1, samples)
        5000 samples, or fewer.

    Raises
    ------
    EcgfmError
        If records last less than a second.
    """
    require_seconds(signals.shape[-1], rate)
    wide = resample(signals, rate, RATE)[:, :SAMPLES].astype(np.float64)
    filtered = filtfilt(*_BAND, wide, axis=-1)
    mean, spread = filtered.mean(axis=-1, keepdims=True), filtered.std(axis=-1, keepdims=True)
    flat = np.ptp(wide, axis=-1, keepdims=True) == 0
    scaled = np.where(flat, 0.0, (filtered - mean) / (spread + _SPREAD_EPS))
    return scaled.astype(np.float32)[:, None]


class CLEF(FrozenTransformer):
    """CLEF of one size, frozen: the mean over time of its last stage.

    Attributes
    ----------
    module : torch.nn.Module
        The network, in evaluation mode.
    """

    @classmethod
    def load(cls, checkpoint: Path, size: str, *, device: str = "cpu") -> "CLEF":
        """Load a checkpoint of Lightning, whose keys begin with ``backbone.`` or with nothing.

        Parameters
        ----------
        checkpoint : Path
            ``clef_small.ckpt``, ``clef_medium.ckpt`` or ``clef_largel.ckpt``.
        size : {"small", "medium", "large"}
            Which of the networks it must be.
        device : str
            Where it runs.

        Raises
        ------
        EcgfmError
            If the file cannot be read, or a tensor is missing, unknown or of another shape.
        """
        state = descend(read_checkpoint(checkpoint), ["state_dict"], path=checkpoint)
        prefix = _PREFIX if any(key.startswith(_PREFIX) for key in state) else ""
        module = load_module(lambda: Backbone(SIZES[size]), state, path=checkpoint, prefix=prefix, heads=_UNUSED)
        return cls(module, device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records with lead II, at any rate, of a second or more; returns ``(records, dimensions)``.

        Raises
        ------
        EcgfmError
            If a record has a sample in lead II that is no finite number: the filter would spread it over the record.
        """
        signals = select_leads(batch.signals, batch.leads, [_LEAD])[:, 0]
        bad = ~np.isfinite(signals).all(axis=-1)
        if bad.any():
            record = batch.records[int(np.argmax(bad))]
            raise EcgfmError(f"record {record}: lead {_LEAD} has samples that are not finite numbers.")
        return self.forward(preprocess(signals, batch.sampling_rate))
