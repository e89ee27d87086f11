"""ECGFounder: a residual network, trained with labels on the Harvard-Emory ECG database.

Li J, Aguirre A, et al. An Electrocardiogram Foundation Model Built on over 10 Million Recordings, NEJM AI 2025
(arXiv 2410.04133); code and checkpoints: https://github.com/PKUDigitalHealth/ECGFounder and
https://huggingface.co/PKUDigitalHealth/ECGFounder. The network is Net1D (Hong et al.). Written anew.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import median_filter
from scipy.signal import butter, filtfilt, iirnotch
from torch import Tensor, nn
from torch.nn import functional

from pytest_ecgfm.encoders.checkpoints import descend, load_backbone, read_checkpoint
from pytest_ecgfm.encoders.frozen import Frozen, require_seconds, without_weights
from pytest_ecgfm.encoders.preprocessing import fit_length
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS, FloatArray, RecordBatch

RATE = 500
SAMPLES = 5000
DIMENSIONS = 1024

_STEM, _KERNEL, _GROUP = 64, 16, 16
_STAGES = ((64, 2), (160, 2), (160, 2), (400, 3), (400, 3), (1024, 4), (1024, 4))
"""Channels and blocks of each stage."""

_NOTCH = iirnotch(50, 30, RATE)
_BAND = butter(4, (0.67, 40), btype="bandpass", fs=RATE)
_MEDIAN = 201
"""0.4 s at 500 Hz, made odd."""


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Prepare windows of at most 10 s as the authors' ``dataset.py`` does.

    Linear interpolation to 500 Hz (of a 10 s record: to 5000 points, first and last kept); then in float64 a 50 Hz
    notch (Q 30) and a Butterworth band-pass of 0.67 to 40 Hz (order 4), both forwards and backwards; the running
    median over 201 samples is subtracted; one mean and one standard deviation over all leads and samples. A window
    of less than 10 s is padded with zeros afterwards, at the end, as the paper has it.

    Parameters
    ----------
    signals : ndarray, shape (records, leads, samples)
        In mV.
    rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, leads, 5000)
    """
    wide = _interpolate(np.nan_to_num(np.asarray(signals, dtype=np.float64)), rate)
    require_seconds(wide.shape[-1], RATE)
    filtered = filtfilt(*_BAND, filtfilt(*_NOTCH, wide, axis=-1), axis=-1)
    filtered -= _running_median(filtered)
    mean = filtered.mean(axis=(1, 2), keepdims=True)
    spread = filtered.std(axis=(1, 2), keepdims=True)
    return fit_length(((filtered - mean) / (spread + 1e-8)).astype(np.float32), SAMPLES)


def _running_median(signals: np.ndarray) -> np.ndarray:
    """Return the median over `_MEDIAN` samples around each, with zeros beyond the ends, as the authors' ``medfilt``.

    All leads are filtered in one call, end to end, with the zeros between them: the same values in 0.7 of the time.
    """
    samples = signals.shape[-1]
    row = np.zeros((*signals.shape[:-1], samples + _MEDIAN // 2))
    row[..., :samples] = signals
    found: np.ndarray = median_filter(row.ravel(), _MEDIAN, mode="constant").reshape(row.shape)[..., :samples]
    return found


def _interpolate(signals: np.ndarray, rate: float) -> np.ndarray:
    have = signals.shape[-1]
    wanted = round(have * RATE / rate)
    if wanted == have:
        return signals
    grid, points = np.linspace(0, 1, have), np.linspace(0, 1, wanted)
    return np.apply_along_axis(lambda lead: np.interp(points, grid, lead), -1, signals)


class Same(nn.Module):
    """A convolution, padded with zeros so that ``ceil(samples / stride)`` come out; the odd zero goes to the right."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, width, kernel, stride, groups=groups)
        self._kernel, self._stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve."""
        if self._kernel > 1:
            out = -(-x.shape[-1] // self._stride)
            missing = max(0, (out - 1) * self._stride + self._kernel - x.shape[-1])
            x = functional.pad(x, (missing // 2, missing - missing // 2))
        y: Tensor = self.conv(x)
        return y


class Block(nn.Module):
    """A bottleneck block with squeeze and excitation, activated before its convolutions.

    The published network was trained without its normalisation layers. They are in the file, and so they are here,
    but they are not executed.
    """

    def __init__(self, channels: int, width: int, *, first: bool, shrink: bool) -> None:
        super().__init__()
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm1d(channels), nn.BatchNorm1d(width), nn.BatchNorm1d(width)
        self.conv1 = Same(channels, width, 1)
        self.conv2 = Same(width, width, _KERNEL, 2 if shrink else 1, groups=width // _GROUP)
        self.conv3 = Same(width, width, 1)
        self.se_fc1 = nn.Linear(width, width // 2)
        self.se_fc2 = nn.Linear(width // 2, width)
        self._first, self._shrink = first, shrink
        self._grow = ((width - channels) // 2, width - channels - (width - channels) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Add the block's output to its (pooled, widened) input."""
        h = self.conv1(x if self._first else functional.silu(x))
        h = self.conv3(functional.silu(self.conv2(functional.silu(h))))
        gate = torch.sigmoid(self.se_fc2(functional.silu(self.se_fc1(h.mean(dim=-1)))))
        if self._shrink:
            # The zero is a value like any other to the maximum: it is no padding in the sense of max_pool1d.
            x = functional.max_pool1d(functional.pad(x, (0, 1)), 2, 2)
        if any(self._grow):
            x = functional.pad(x, (0, 0, *self._grow))
        return torch.addcmul(x, h, gate[..., None])


class Stage(nn.Module):
    """Blocks of one width, of which the first halves the samples."""

    def __init__(self, channels: int, width: int, blocks: int, *, first: bool) -> None:
        super().__init__()
        self.block_list = nn.ModuleList(
            Block(channels if i == 0 else width, width, first=first and i == 0, shrink=i == 0) for i in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks in turn."""
        for block in self.block_list:
            x = block(x)
        return x


class Net1D(nn.Module):
    """The published network up to its classifier: ``(records, leads, samples)`` to ``(records, 1024)``."""

    def __init__(self, leads: int) -> None:
        super().__init__()
        self.first_conv = Same(leads, _STEM, _KERNEL, 2)
        self.first_bn = nn.BatchNorm1d(_STEM)
        widths = [_STEM, *(width for width, _ in _STAGES)]
        self.stage_list = nn.ModuleList(
            Stage(widths[i], width, blocks, first=i == 0) for i, (width, blocks) in enumerate(_STAGES)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Mean over time of the last stage."""
        h = functional.silu(self.first_conv(x))
        for stage in self.stage_list:
            h = stage(h)
        return h.mean(dim=-1)


class ECGFounder(Frozen):
    """Records to the 1024 features before the classifier.

    Records of more than 10 s are cut into consecutive windows of 10 s, each prepared by itself, as the paper has it;
    the embedding is the mean over whole windows.
    """

    def __init__(self, module: Net1D, leads: Sequence[str] = LEADS, device: str = "cpu") -> None:
        super().__init__(module, device)
        self.leads = tuple(leads)

    @classmethod
    def load(cls, checkpoint: Path, *, leads: Sequence[str] = LEADS, device: str = "cpu") -> "ECGFounder":
        """Load ``12_lead_ECGFounder.pth`` or, with ``leads=("I",)``, ``1_lead_ECGFounder.pth``.

        Raises
        ------
        EcgfmError
            If the file does not hold exactly this network (and a classifier, which is dropped).
        """
        module = without_weights(lambda: Net1D(len(leads)))
        state = descend(read_checkpoint(checkpoint), ["state_dict"], path=checkpoint)
        load_backbone(module, state, path=checkpoint, heads=["dense.weight", "dense.bias"])
        return cls(module, leads, device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, of 1 s or more, at any rate, their leads in any order.

        Raises
        ------
        EcgfmError
            If a lead is missing or the records are shorter than 1 s.
        """
        signals = select_leads(batch.signals, batch.leads, self.leads)
        window = round(SAMPLES / RATE * batch.sampling_rate)
        count = max(1, signals.shape[-1] // window)
        total = np.zeros((len(batch), DIMENSIONS), dtype=np.float32)
        for begin in range(0, count * window, window):
            total += self.forward(preprocess(signals[..., begin : begin + window], batch.sampling_rate))
        return total / np.float32(count)
