"""ECG-CPC (contrastive predictive coding with a structured state-space model) from its official checkpoint.

Written anew from the published layout; the reference is `AI4HealthUOL/ecg-fm-benchmarking`, and
Al-Masud MA, Lopez Alcaraz JM, Strodthoff N. Benchmarking ECG Foundational Models: A Reality Check Across Clinical
Tasks. arXiv 2509.25095.
The state-space layer is that of Gu A, Goel K, Re C. Efficiently Modeling Long Sequences with Structured State Spaces.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_ecgfm.encoders.checkpoints import descend, load_backbone, read_checkpoint
from pytest_ecgfm.encoders.frozen import Frozen, require_seconds, without_weights
from pytest_ecgfm.encoders.windowed_sinc import resample_windowed_sinc
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

RATE = 240
CROP_SECONDS = 2.5
HEADS = ("ts_encoder.head_ssl.*",)
"""Keys of the checkpoint that only pretraining uses."""

_WIDTH = 512
_STATES = 4
_FREQUENCIES = 601
_AT_ONCE = 32


class ConvolutionalEncoder(nn.Module):
    """Four convolutions, of which the first halves the rate and the others mix channels."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Conv1d(12, _WIDTH, 3, stride=2, padding=1, bias=False)
        others = [nn.Conv1d(_WIDTH, _WIDTH, 1, bias=False) for _ in range(3)]
        self.layers = nn.ModuleList(
            nn.Sequential(convolution, nn.BatchNorm1d(_WIDTH), nn.ReLU()) for convolution in (first, *others)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 12, samples) to (batch, width, tokens)."""
        for layer in self.layers:
            x = layer(x)
        return x


class StateSpaceKernel(nn.Module):
    """Convolution kernel of a diagonal-plus-rank-one state space, by its generating function at stored frequencies.

    Complex tensors are stored as pairs of real numbers, as in the checkpoint. Nothing is derived anew: eigenvectors
    differ from platform to platform.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in ("C", "B", "P", "Q"):
            self.register_buffer(name, torch.empty(1, _WIDTH, _STATES, 2))
        self.register_buffer("w", torch.empty(_WIDTH, _STATES, 2))
        self.register_buffer("log_dt", torch.empty(_WIDTH))
        self.register_buffer("omega", torch.empty(_FREQUENCIES, 2))
        self.register_buffer("z", torch.empty(_FREQUENCIES, 2))

    def _complex(self, name: str) -> Tensor:
        return torch.view_as_complex(self.get_buffer(name).contiguous())

    def forward(self) -> Tensor:
        """Return the whole kernel, (width, 1200)."""
        step = self.get_buffer("log_dt").exp()[:, None]
        pole = (self._complex("w") * step)[..., None]
        z = self._complex("z")
        near, far = 1 / (z - pole), 1 / (z - pole.conj())

        def transfer(left: str, right: str) -> Tensor:
            product = (self._complex(left) * self._complex(right))[0, ..., None]
            out: Tensor = step * (product * near + product.conj() * far).sum(dim=1)
            return out

        correction = transfer("B", "Q") * transfer("P", "C") / (1 + transfer("P", "Q"))
        spectrum = (transfer("B", "C") - correction) * 2 / (1 + self._complex("omega"))
        kernel: Tensor = torch.fft.irfft(spectrum)
        return kernel


class ChannelMap(nn.Module):
    """Linear map of the channels to twice as many."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * _WIDTH, _WIDTH))
        self.bias = nn.Parameter(torch.empty(2 * _WIDTH, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, tokens) to (batch, 2 * width, tokens)."""
        return torch.matmul(self.weight, x) + self.bias


class StateSpace(nn.Module):
    """Causal convolution with the state space's kernel, a shortcut, and a gated linear map of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("D", torch.empty(1, _WIDTH))
        # Nested and numbered as in the original, for the keys.
        self.kernel = nn.ModuleDict({"kernel": StateSpaceKernel()})
        self.output_linear = nn.Sequential(ChannelMap(), nn.GLU(dim=1))
        self._spectra: dict[tuple[int, torch.device], Tensor] = {}
        self.register_load_state_dict_post_hook(_forget_spectra)  # type: ignore[no-untyped-call]

    def spectrum(self, length: int) -> Tensor:
        """Return the kernel's transform for inputs of `length`: it depends on no input, so each is made once."""
        shortcut = self.get_buffer("D")
        key = length, shortcut.device
        if key not in self._spectra:
            kernel = self.kernel["kernel"]()
            if length > kernel.shape[-1]:
                raise EcgfmError(f"ECG-CPC: {length} tokens, but its kernel has {kernel.shape[-1]} (10 s).")
            self._spectra[key] = torch.fft.rfft(kernel[:, :length], 2 * length)
        return self._spectra[key]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, tokens) in and out."""
        length = x.shape[-1]
        # Twice the length: the convolution must not wrap around.
        y = torch.fft.irfft(torch.fft.rfft(x, 2 * length) * self.spectrum(length), 2 * length)[..., :length]
        out: Tensor = self.output_linear(functional.gelu(y + self.get_buffer("D").transpose(0, 1) * x))
        return out


def _forget_spectra(module: nn.Module, _: Any) -> None:
    assert isinstance(module, StateSpace)
    module._spectra.clear()


class Predictor(nn.Module):
    """Four state-space layers, each normalised after its addition."""

    def __init__(self) -> None:
        super().__init__()
        self.s4_layers = nn.ModuleList(StateSpace() for _ in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(_WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, tokens) in and out."""
        for layer, norm in zip(self.s4_layers, self.norms, strict=True):
            x = norm((layer(x) + x).transpose(1, 2)).transpose(1, 2)
        return x


class ECGCPCBackbone(nn.Module):
    """ECG-CPC without its head of pretraining; state-dict keys are the official ones without ``ts_encoder.``."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = ConvolutionalEncoder()
        self.predictor = nn.ModuleDict({"predictor": Predictor()})

    def tokens(self, x: Tensor) -> Tensor:
        """(batch, 12, samples) to (batch, tokens, width)."""
        out: Tensor = self.predictor["predictor"](self.encoder(x)).transpose(1, 2)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 12, samples) to the mean over tokens, (batch, width)."""
        return self.tokens(x).mean(dim=1)


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Turn records into the crops that ECG-CPC reads.

    Consecutive crops of 2.5 s from the start, what is left at the end is dropped; then each crop is resampled to
    240 Hz by a windowed sinc (in this order, as in the original: it shows at the edges of crops). No filter, no
    scaling. Records of less than 2.5 s are one crop of their own length.

    Parameters
    ----------
    signals : ndarray of float32, shape (records, 12, samples)
        In mV; leads I, II, III, aVR, aVL, aVF, V1 to V6.
    rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, crops, 12, samples)

    Raises
    ------
    EcgfmError
        If records last less than a second.
    """
    require_seconds(signals.shape[-1], rate)
    length = min(int(CROP_SECONDS * rate), signals.shape[-1])
    count = signals.shape[-1] // length
    crops = signals[..., : count * length].reshape(*signals.shape[:-1], count, length).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(resample_windowed_sinc(crops, rate, RATE), dtype=np.float32)


class ECGCPC(Frozen):
    """ECG-CPC as published: 512 numbers a record, the mean over 2.5 s crops of the mean over tokens."""

    @classmethod
    def load(cls, checkpoint: Path, *, device: str = "cpu") -> "ECGCPC":
        """Load the official file, or one converted from it.

        Parameters
        ----------
        checkpoint : Path
            ``last_11597276.ckpt``, or its entry ``state_dict`` as ``.safetensors``.
        device : str
            Where the model runs.

        Raises
        ------
        EcgfmError
            If the file cannot be read, or any tensor is missing, left over or of another shape.
        """
        state = descend(read_checkpoint(checkpoint), ("state_dict",), path=checkpoint)
        module = without_weights(ECGCPCBackbone)
        load_backbone(module, state, path=checkpoint, prefix="ts_encoder.", heads=HEADS)
        return cls(module, device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, whose leads are in the order of the card.

        Returns
        -------
        ndarray of float32, shape (records, 512)
        """
        crops = preprocess(batch.signals, batch.sampling_rate)
        flat = crops.reshape(-1, *crops.shape[2:])
        found = [self.forward(flat[start : start + _AT_ONCE]) for start in range(0, len(flat), _AT_ONCE)]
        out: FloatArray = np.concatenate(found).reshape(*crops.shape[:2], -1).mean(axis=1)
        return out
