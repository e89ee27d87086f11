"""The codec of openecg: convolutions and a transformer over the ranks of lead II, trained on waves, beats and rhythms.

Written after the shapes of the published weights and the package's own description: PyPI ``openecg`` 0.11.0,
github.com/vitaldb/openecg. Nothing of the package is imported; only its file of weights is read.
"""

from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from pytest_ecgfm.encoders.checkpoints import descend, read_checkpoint
from pytest_ecgfm.encoders.frozen import require_seconds
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.encoders.vit import FrozenTransformer, load_module, sine_table
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

RATE = 500.0
SAMPLES = 5000
DIMENSIONS = 128

_LEAD = "II"
_PATCH = 10
_POSITIONS = 512
_EPS = 1e-5
_HEADS = ("head.*", "head_sample.*", "beat_sample.*", "rhythm_sample.*", "refine.0.*", "refine.2.*")
"""What the file holds for labels of single samples: heads, and what brings tokens back to 500 Hz for them."""


class Backbone(nn.Module):
    """The encoder without its heads. Its parameters are named as in the official checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pos_enc", sine_table(_POSITIONS, DIMENSIONS)[None])
        self.conv_tok = nn.Conv1d(1, DIMENSIONS, 2 * _PATCH, stride=_PATCH, padding=_PATCH // 2)
        self.lower_convs = nn.ModuleList(nn.Conv1d(DIMENSIONS, DIMENSIONS, 7, padding=3) for _ in range(4))
        self.lower_norms = nn.ModuleList(nn.LayerNorm(DIMENSIONS, eps=_EPS) for _ in range(4))
        layer = nn.TransformerEncoderLayer(
            DIMENSIONS, 4, 2 * DIMENSIONS, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.upper_transformer = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

    def lower(self, x: Tensor) -> Tensor:
        """Map ``(records, samples)`` to what the transformer reads, ``(records, samples / 10, 128)``."""
        x = self.conv_tok(x[:, None]).transpose(1, 2)
        x = x + self.get_buffer("pos_enc")[:, : x.shape[1]]
        for convolution, norm in zip(self.lower_convs, self.lower_norms, strict=True):
            x = norm(x + nn.functional.gelu(convolution(x.transpose(1, 2))).transpose(1, 2))
        return x

    def tokens(self, x: Tensor) -> Tensor:
        """Map ``(records, samples)`` to tokens of 20 ms, ``(records, samples / 10, 128)``."""
        out: Tensor = self.upper_transformer(self.lower(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(records, samples)`` to the mean over tokens, ``(records, 128)``."""
        return self.tokens(x).mean(dim=1)


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Turn lead II into what the codec reads: the rank of each sample among those of its record, from -1 to 1.

    Polyphase resampling to 500 Hz; of longer records the first 10 s, of shorter ones whole tokens of 10 samples, with
    no padding: the network was trained on 10 s only, and any padding moves the embedding as far as another patient
    would. Samples that tie get their mean rank, so a flat lead is 0. No filter, and no unit: gain and offset have no
    effect.

    Parameters
    ----------
    signals : ndarray of float32, shape (records, samples)
        Lead II, in any unit; finite.
    rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, samples)
        5000 samples, or a smaller multiple of 10.

    Raises
    ------
    EcgfmError
        If records last less than a second.
    """
    require_seconds(signals.shape[-1], rate)
    window = resample(signals, rate, RATE)[:, :SAMPLES]
    window = window[:, : window.shape[-1] // _PATCH * _PATCH]
    ranks = rankdata(window, axis=-1)
    out: FloatArray = (2 * (ranks - 1) / (window.shape[-1] - 1) - 1).astype(np.float32)
    return out


class OpenECGCodec(FrozenTransformer):
    """The codec, frozen: 128 numbers a record, the mean over the tokens of its last transformer layer.

    Attributes
    ----------
    module : torch.nn.Module
        The encoder, in evaluation mode.
    """

    @classmethod
    def load(cls, checkpoint: Path, *, device: str = "cpu") -> "OpenECGCodec":
        """Load ``codec_v6.pt``, or its entry ``model_state`` as ``.safetensors``.

        Raises
        ------
        EcgfmError
            If the file cannot be read, or a tensor is missing, unknown or of another shape.
        """
        state = descend(read_checkpoint(checkpoint), ["model_state"], path=checkpoint)
        return cls(load_module(Backbone, state, path=checkpoint, heads=_HEADS), device)

    @classmethod
    def redrawn(cls, seed: int) -> "OpenECGCodec":
        """Build the same network anew, with the weights that its layers start with: the control that knows nothing.

        Parameters
        ----------
        seed : int
            Of the weights. The random state of torch is as before afterwards.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(Backbone())

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records with lead II, at any rate, of a second or more; returns ``(records, 128)``.

        Raises
        ------
        EcgfmError
            If a record has a sample in lead II that is no finite number: ranks would hide it.
        """
        signals = select_leads(batch.signals, batch.leads, [_LEAD])[:, 0]
        bad = ~np.isfinite(signals).all(axis=-1)
        if bad.any():
            record = batch.records[int(np.argmax(bad))]
            raise EcgfmError(f"record {record}: lead {_LEAD} has samples that are not finite numbers.")
        return self.forward(preprocess(signals, batch.sampling_rate))
