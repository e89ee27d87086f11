"""HuBERT-ECG: a transformer that was trained to predict the clusters of masked samples, in three sizes.

Coppola E, Savardi M, Massussi M, Adamo M, Metra M, Signoroni A. HuBERT-ECG: a self-supervised foundation model for
broad and scalable cardiac applications, 2024 (medRxiv 2024.11.14.24317328). Code:
https://github.com/Edoar-do/HuBERT-ECG; checkpoints: https://huggingface.co/Edoardo-BS. Network: HuBERT (Hsu 2021).
Written anew.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import decimate, filtfilt, firwin, resample
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from pytest_ecgfm.encoders.checkpoints import descend, load_backbone, read_checkpoint
from pytest_ecgfm.encoders.frozen import Frozen, require_seconds, without_weights
from pytest_ecgfm.errors import EcgfmError, unknown_name
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS, FloatArray, RecordBatch

RATE = 500
"""Hz, at which records are scaled and cropped; the network reads a fifth of it."""
SAMPLES = 2500
_STEP = 5
_BAND = (0.05, 47.0)
_CHANNELS = 512
_KERNELS = ((10, 4), (3, 2), (3, 2), (2, 2), (2, 2))
"""Size and stride of the convolutions."""
_POSITIONS, _GROUPS = 128, 16
_HEADS = ("masked_spec_embed", "final_proj.*", "label_embedding.*")


@dataclass(frozen=True)
class Size:
    """What differs between the published sizes."""

    width: int
    layers: int
    heads: int


SIZES = {"small": Size(512, 8, 8), "base": Size(768, 12, 12), "large": Size(960, 16, 12)}


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Prepare records as the authors' ``ecg_preprocessing`` and data loader do.

    In float64: a band-pass of 0.05 to 47 Hz at the record's own rate (a Hamming window of 0.3 s, forwards and
    backwards); Fourier resampling to 500 Hz; each lead scaled to -1...1 by its minimum and maximum over the whole
    record; the first 5 s. Then the leads are laid end to end, and this one row is decimated by 5 (Chebyshev order 8,
    zero phase), so that a lead rings into its neighbours at the seams: the network was trained on that. A record
    of less than 5 s is padded with zeros after scaling and read without a mask, as in the authors' evaluation.

    Parameters
    ----------
    signals : ndarray, shape (records, 12, samples)
        In mV.
    rate : float
        In Hz, above 94.

    Returns
    -------
    ndarray of float32, shape (records, 6000)

    Raises
    ------
    EcgfmError
        If the rate is too low for the filter, or the records are shorter than 1 s.
    """
    return decimate(_scaled(signals, rate).reshape(len(signals), -1), _STEP, axis=-1).astype(np.float32)


def _scaled(signals: FloatArray, rate: float) -> np.ndarray:
    """Return what `preprocess` lays end to end: float64, shape (records, 12, 2500)."""
    require_seconds(signals.shape[-1], rate)
    if rate <= 2 * _BAND[1]:
        raise EcgfmError(f"sampling_rate={rate:g}, but HuBERT-ECG filters at 47 Hz and needs more than 94 Hz.")
    taps = int(0.3 * rate) // 2 * 2 + 1
    wide = filtfilt(firwin(taps, _BAND, pass_zero=False, fs=rate), [1.0], np.asarray(signals, np.float64), axis=-1)
    samples = round(wide.shape[-1] * RATE / rate)
    if samples != wide.shape[-1]:
        wide = resample(wide, samples, axis=-1)
    low = wide.min(axis=-1, keepdims=True)
    scaled: np.ndarray = 2 * (wide - low) / (wide.max(axis=-1, keepdims=True) - low + 1e-8) - 1
    scaled = scaled[..., :SAMPLES]
    return np.pad(scaled, [(0, 0), (0, 0), (0, SAMPLES - scaled.shape[-1])])


class Convolution(nn.Module):
    """A convolution without padding; after the first, each channel is normalised over time."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, _CHANNELS, kernel, stride, bias=False)
        if channels == 1:
            self.layer_norm = nn.GroupNorm(_CHANNELS, _CHANNELS)
        self._normalised = channels == 1

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, activate."""
        x = self.conv(x)
        return functional.gelu(self.layer_norm(x) if self._normalised else x)


class Features(nn.Module):
    """Samples to tokens: ``(records, 1, 6000)`` to ``(records, 512, 93)``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(
            Convolution(_CHANNELS if i else 1, kernel, stride) for i, (kernel, stride) in enumerate(_KERNELS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolutions in turn."""
        for layer in self.conv_layers:
            x = layer(x)
        return x


class Projection(nn.Module):
    """Tokens to the transformer's width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(_CHANNELS)
        self.projection = nn.Linear(_CHANNELS, width)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and project."""
        y: Tensor = self.projection(self.layer_norm(x))
        return y


class Positions(nn.Module):
    """Relative positions, as a wide grouped convolution over the tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        conv = nn.Conv1d(width, width, _POSITIONS, padding=_POSITIONS // 2, groups=_GROUPS)
        self.conv = parametrizations.weight_norm(conv, dim=2)

    def freeze(self) -> None:
        """Multiply the gain and the direction of the weights once, instead of at every call."""
        parametrize.remove_parametrizations(self.conv, "weight")

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; the even kernel yields one token too many, the last."""
        return functional.gelu(self.conv(x.transpose(1, 2))[..., :-1]).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention over all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.out_proj = nn.Linear(width, width)
        self._heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        n, tokens, width = x.shape
        q, k, v = (
            project(x).view(n, tokens, self._heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        y: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(n, tokens, width))
        return y


class FeedForward(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(width, 4 * width)
        self.output_dense = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to each token."""
        y: Tensor = self.output_dense(functional.gelu(self.intermediate_dense(x)))
        return y


class Layer(nn.Module):
    """A transformer layer, normalised after each of its sums."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.layer_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then feed forward."""
        x = self.layer_norm(x + self.attention(x))
        y: Tensor = self.final_layer_norm(x + self.feed_forward(x))
        return y


class Transformer(nn.Module):
    """Positions and layers."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.pos_conv_embed = Positions(size.width)
        self.layer_norm = nn.LayerNorm(size.width)
        self.layers = nn.ModuleList(Layer(size.width, size.heads) for _ in range(size.layers))

    def forward(self, x: Tensor) -> Tensor:
        """Contextualise the tokens."""
        x = self.layer_norm(x + self.pos_conv_embed(x))
        for layer in self.layers:
            x = layer(x)
        return x


class Network(nn.Module):
    """The published network without its heads: ``(records, 6000)`` to ``(records, width)``."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.feature_extractor = Features()
        self.feature_projection = Projection(size.width)
        self.encoder = Transformer(size)

    def forward(self, x: Tensor) -> Tensor:
        """Mean over the 93 tokens of the last layer: what the authors' classifier reads."""
        tokens = self.feature_extractor(x[:, None]).transpose(1, 2)
        y: Tensor = self.encoder(self.feature_projection(tokens)).mean(dim=1)
        return y


class HubertECG(Frozen):
    """Records to the mean of the last layer's tokens, over leads and the first 5 s."""

    leads = LEADS

    @classmethod
    def load(cls, checkpoint: Path, *, size: str, device: str = "cpu") -> "HubertECG":
        """Load ``model.safetensors``, its folder, or an older ``.pt`` file with its ``model_state_dict``.

        Parameters
        ----------
        checkpoint : Path
            Of pretraining alone: what was fine-tuned has other keys and is refused.
        size : {"small", "base", "large"}
            Of the network.
        device : str
            Where it runs.

        Raises
        ------
        EcgfmError
            If the file does not hold exactly this network (and the heads of its pretraining, which are dropped).
        """
        if size not in SIZES:
            raise unknown_name("size", size, SIZES)
        module = without_weights(lambda: Network(SIZES[size]))
        state = read_checkpoint(checkpoint)
        if "model_state_dict" in state:
            state = descend(state, ["model_state_dict"], path=checkpoint)
        load_backbone(module, state, path=checkpoint, heads=_HEADS)
        module.encoder.pos_conv_embed.freeze()
        return cls(module, device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, of 1 s or more, at any rate above 94 Hz, their leads in any order.

        Raises
        ------
        EcgfmError
            If a lead is missing, the records are shorter than 1 s or the rate is too low.
        """
        return self.forward(preprocess(select_leads(batch.signals, batch.leads, self.leads), batch.sampling_rate))
