"""ECG-FM (wav2vec 2.0 with CMSC and random lead masking) from its official checkpoint.

Written anew from the published layout; the reference is `bowang-lab/ECG-FM` with `Jwoo5/fairseq-signals`, and
McKeen K, Masood S, Toma A, Rubin B, Wang B. ECG-FM: an open electrocardiogram foundation model. JAMIA Open 2025.
"""

from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_ecgfm.encoders.checkpoints import descend, load_backbone, read_checkpoint
from pytest_ecgfm.encoders.frozen import Frozen, require_seconds, without_weights
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

RATE = 500
SEGMENT = 5 * RATE
HEADS = ("mask_emb", "quantizer.*", "project_q.*", "final_proj.*")
"""Keys of the checkpoint that only pretraining uses."""

_WIDTH = 768
_CHANNELS = 256
_TAPS = 128
_AT_ONCE = 32


class Attention(nn.Module):
    """Multi-head self-attention with biases everywhere."""

    def __init__(self, heads: int = 12) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(_WIDTH, _WIDTH)
        self.k_proj = nn.Linear(_WIDTH, _WIDTH)
        self.v_proj = nn.Linear(_WIDTH, _WIDTH)
        self.out_proj = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens; (batch, tokens, width) in and out."""
        query, key, value = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class Layer(nn.Module):
    """Transformer layer that normalises after each addition."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.self_attn_layer_norm = nn.LayerNorm(_WIDTH)
        self.fc1 = nn.Linear(_WIDTH, 4 * _WIDTH)
        self.fc2 = nn.Linear(4 * _WIDTH, _WIDTH)
        self.final_layer_norm = nn.LayerNorm(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) in and out."""
        x = self.self_attn_layer_norm(x + self.self_attn(x))
        out: Tensor = self.final_layer_norm(x + self.fc2(functional.gelu(self.fc1(x))))
        return out


class PositionConvolution(nn.Module):
    """Grouped convolution whose weight has a gain for each tap (weight normalisation along the kernel)."""

    def __init__(self, groups: int = 16) -> None:
        super().__init__()
        self.groups = groups
        self.weight_g = nn.Parameter(torch.empty(1, 1, _TAPS))
        self.weight_v = nn.Parameter(torch.empty(_WIDTH, _WIDTH // groups, _TAPS))
        self.bias = nn.Parameter(torch.empty(_WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, tokens) in and out."""
        size = torch.linalg.vector_norm(self.weight_v, dim=(0, 1), keepdim=True)
        weight = self.weight_v * (self.weight_g / size)
        # The kernel is even: padded on both sides, one output too many, of which the last is dropped.
        return functional.conv1d(x, weight, self.bias, padding=_TAPS // 2, groups=self.groups)[..., :-1]


class FeatureExtractor(nn.Module):
    """Four convolutions of kernel and stride 2; instance normalisation after the first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList()
        for number in range(4):
            convolution = nn.Conv1d(_CHANNELS if number else 12, _CHANNELS, 2, stride=2, bias=False)
            # Dropout of the original is kept as a place, so that the keys agree.
            rest = [nn.Identity(), nn.GroupNorm(_CHANNELS, _CHANNELS)] if number == 0 else [nn.Identity()]
            self.conv_layers.append(nn.Sequential(convolution, *rest, nn.GELU()))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 12, samples) to (batch, 256, samples // 16)."""
        for layer in self.conv_layers:
            x = layer(x)
        return x


class Transformer(nn.Module):
    """Layers; a normalisation before the first, and none after the last."""

    def __init__(self, depth: int = 12) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(_WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) in and out."""
        x = self.layer_norm(x)
        for layer in self.layers:
            x = layer(x)
        return x


class ECGFMBackbone(nn.Module):
    """ECG-FM without its heads of pretraining; state-dict keys are the official ones.

    Parameters
    ----------
    depth : int
        Layers of the transformer: 12 in ECG-FM; MELP and D-BETA have the same network with 8.
    """

    def __init__(self, depth: int = 12) -> None:
        super().__init__()
        self.feature_extractor = FeatureExtractor()
        self.layer_norm = nn.LayerNorm(_CHANNELS)
        self.post_extract_proj = nn.Linear(_CHANNELS, _WIDTH)
        self.conv_pos = nn.ModuleDict({"pos_conv": nn.ModuleList([PositionConvolution()])})
        self.encoder = Transformer(depth)

    def project(self, x: Tensor) -> Tensor:
        """(batch, 12, samples) to tokens before positions, (batch, tokens, width)."""
        out: Tensor = self.post_extract_proj(self.layer_norm(self.feature_extractor(x).transpose(1, 2)))
        return out

    def placed(self, x: Tensor) -> Tensor:
        """(batch, 12, samples) to tokens with their positions, before the transformer, (batch, tokens, width)."""
        x = self.project(x)
        position = self.conv_pos.get_submodule("pos_conv.0")
        return x + functional.gelu(position(x.transpose(1, 2))).transpose(1, 2)

    def tokens(self, x: Tensor) -> Tensor:
        """(batch, 12, samples) to the last layer's tokens, (batch, samples // 16, width)."""
        out: Tensor = self.encoder(self.placed(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 12, samples) to the mean over tokens, (batch, width)."""
        return self.tokens(x).mean(dim=1)


def stretch(signals: npt.NDArray[np.float64], rate: float) -> npt.NDArray[np.float64]:
    """Bring signals to 500 Hz as the original does: linear interpolation, first and last samples kept in place."""
    have = signals.shape[-1]
    want = int(have * RATE / rate)
    if want == have:
        return signals
    position = np.arange(want) * ((have - 1) / (want - 1))
    left = np.minimum(position.astype(np.intp), have - 2)
    share = position - left
    out: npt.NDArray[np.float64] = signals[..., left] * (1 - share) + signals[..., left + 1] * share
    return out


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Turn records into the segments that ECG-FM reads.

    Linear interpolation to 500 Hz, then a z-score of each lead over the whole record, then consecutive segments of 5 s
    from the start; what is left at the end is dropped. Records of less than 5 s, on which the original is silent,
    are one segment of their own length: the model takes any, and padding would be another signal.

    Parameters
    ----------
    signals : ndarray of float32, shape (records, 12, samples)
        In any unit; leads I, II, III, aVR, aVL, aVF, V1 to V6.
    rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, segments, 12, samples)

    Raises
    ------
    EcgfmError
        If records last less than a second.
    """
    require_seconds(signals.shape[-1], rate)
    wide = stretch(signals.astype(np.float64), rate)
    wide -= wide.mean(axis=-1, keepdims=True)
    wide /= wide.std(axis=-1, keepdims=True) + 1e-8
    length = min(SEGMENT, wide.shape[-1])
    count = wide.shape[-1] // length
    segments = wide[..., : count * length].reshape(*wide.shape[:-1], count, length)
    return np.ascontiguousarray(segments.transpose(0, 2, 1, 3), dtype=np.float32)


class ECGFM(Frozen):
    """ECG-FM as published: 768 numbers a record, the mean over 5 s segments of the mean over tokens."""

    @classmethod
    def load(cls, checkpoint: Path, *, device: str = "cpu") -> Self:
        """Load the official file, or one converted from it.

        Parameters
        ----------
        checkpoint : Path
            ``mimic_iv_ecg_physionet_pretrained.pt``, or its entry ``model`` as ``.safetensors``.
        device : str
            Where the model runs.

        Raises
        ------
        EcgfmError
            If the file cannot be read, or any tensor is missing, left over or of another shape.
        """
        state = descend(read_checkpoint(checkpoint), ("model",), path=checkpoint)
        module = without_weights(ECGFMBackbone)
        load_backbone(module, state, path=checkpoint, heads=HEADS)
        return cls(module, device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, whose leads are in the order of the card.

        Returns
        -------
        ndarray of float32, shape (records, 768)
        """
        segments = preprocess(batch.signals, batch.sampling_rate)
        flat = segments.reshape(-1, *segments.shape[2:])
        found = [self.forward(flat[start : start + _AT_ONCE]) for start in range(0, len(flat), _AT_ONCE)]
        out: FloatArray = np.concatenate(found).reshape(*segments.shape[:2], -1).mean(axis=1)
        return out
