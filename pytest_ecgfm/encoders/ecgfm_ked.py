"""ECGFM-KED: a residual network, trained on MIMIC-IV-ECG with its reports and labels, enhanced by a language model.

Tian Y, Li Z, Jin Y, et al. Foundation model of ECG diagnosis: Diagnostics and explanations of any form and rhythm on
ECG, Cell Reports Medicine 2024;5:101875; code: https://github.com/control-spiderman/ECGFM-KED; checkpoint: Zenodo
14881564. The signal encoder is xresnet1d101 (fastai; Strodthoff et al. 2020) with narrower last stages. Written anew.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample
from torch import Tensor, nn
from torch.nn import functional

from pytest_ecgfm.encoders.checkpoints import descend, load_backbone, read_checkpoint
from pytest_ecgfm.encoders.frozen import Frozen, require_seconds, without_weights
from pytest_ecgfm.encoders.preprocessing import fit_length
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS, FloatArray, RecordBatch

RATE = 100
SAMPLES = 1000
_KERNEL = 5
_STEM = (12, 32, 32, 64)
_STAGES = ((64, 3), (128, 4), (128, 23), (192, 3))
"""Bottleneck width and blocks of each stage; four times the width comes out."""
_EXPANSION = 4


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Prepare records as the authors' data set of MIMIC-IV-ECG does.

    Fourier resampling of the whole record to 100 Hz, in float64; samples that are no numbers become 0; raw mV, neither
    filtered nor scaled. The authors' records last 10 s: of longer ones the first 10 s are read, and shorter ones are
    padded with zeros at the end.

    Parameters
    ----------
    signals : ndarray, shape (records, 12, samples)
        In mV.
    rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, 12, 1000)
    """
    require_seconds(signals.shape[-1], rate)
    wide = np.asarray(signals, dtype=np.float64)
    samples = round(wide.shape[-1] * RATE / rate)
    if samples != wide.shape[-1]:
        wide = resample(wide, samples, axis=-1)
    return fit_length(np.nan_to_num(wide).astype(np.float32), SAMPLES)


def convolution(channels: int, width: int, kernel: int, stride: int = 1, *, active: bool = True) -> nn.Sequential:
    """Build a convolution with its normalisation, and mostly a ReLU."""
    layers: list[nn.Module] = [
        nn.Conv1d(channels, width, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm1d(width),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if active else nn.Sequential(*layers)


class Block(nn.Module):
    """A bottleneck block, of which the first of a stage pools its input before widening it."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = _EXPANSION * width
        self.convs = nn.Sequential(
            convolution(channels, width, 1),
            convolution(width, width, _KERNEL, stride),
            convolution(width, out, 1, active=False),
        )
        # The authors register the same layers twice, and so the file has each of their tensors twice.
        self.convpath = nn.Sequential(self.convs)
        pool: list[nn.Module] = [nn.AvgPool1d(2, ceil_mode=True)] if stride > 1 else []
        widen: list[nn.Module] = [convolution(channels, out, 1, active=False)] if channels != out else []
        self.idpath = nn.Sequential(*pool, *widen)

    def forward(self, x: Tensor) -> Tensor:
        """Add the two paths."""
        return functional.relu(self.convs(x) + self.idpath(x), inplace=True)


def backbone() -> nn.Sequential:
    """Build the published signal encoder: ``(records, 12, 1000)`` to a map ``(records, 768, 32)``."""
    layers: list[nn.Module] = [
        convolution(before, after, _KERNEL, 1 if i else 2) for i, (before, after) in enumerate(pairwise(_STEM))
    ]
    layers.append(nn.MaxPool1d(3, 2, 1))
    channels = _STEM[-1]
    for i, (width, blocks) in enumerate(_STAGES):
        first = Block(channels, width, 2 if i else 1)
        channels = _EXPANSION * width
        layers.append(nn.Sequential(first, *(Block(channels, width, 1) for _ in range(blocks - 1))))
    return nn.Sequential(*layers)


class ECGFMKED(Frozen):
    """Records to the mean over time of the signal encoder's map: what the authors compare with a report's text."""

    leads = LEADS

    @classmethod
    def load(cls, checkpoint: Path, *, device: str = "cpu") -> "ECGFMKED":
        """Load ``best_valid_all_increase_with_augment_epoch_3.pt``: its entry ``ecg_model``, and no other.

        Raises
        ------
        EcgfmError
            If that entry does not hold exactly this network.
        """
        module = without_weights(backbone)
        state = descend(read_checkpoint(checkpoint), ["ecg_model"], path=checkpoint)
        load_backbone(module, state, path=checkpoint)
        for key, value in state.items():
            twin = key.replace(".convpath.0.", ".convs.")
            if not torch.equal(state[twin], value):
                raise EcgfmError(f"checkpoint {checkpoint}: {key} and {twin} differ, but should be one tensor.")
        return cls(module, device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, of 1 s or more, at any rate, their leads in any order.

        Raises
        ------
        EcgfmError
            If a lead is missing or the records are shorter than 1 s.
        """
        inputs = preprocess(select_leads(batch.signals, batch.leads, self.leads), batch.sampling_rate)
        # With its keys those of a plain sequence, the module itself returns the map.
        mean: FloatArray = self.forward(inputs).mean(axis=-1)
        return mean
