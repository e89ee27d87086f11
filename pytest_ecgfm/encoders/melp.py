"""MELP: the network of ECG-FM with an attention pool, pretrained with the reports of MIMIC-IV-ECG at three scales.

Written after the paper and the official repository: F. Wang, J. Xu, L. Yu, "From Token to Rhythm: A Multi-Scale
Approach for ECG-Language Pretraining", ICML 2025, arXiv 2506.21803; github.com/HKU-MedAI/MELP.
"""

from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import zoom
from torch import Tensor, nn

from pytest_ecgfm.encoders import merl
from pytest_ecgfm.encoders.checkpoints import descend, read_checkpoint
from pytest_ecgfm.encoders.ecg_fm import ECGFMBackbone
from pytest_ecgfm.encoders.frozen import require_seconds
from pytest_ecgfm.encoders.merl import LEADS, RATE, SAMPLES
from pytest_ecgfm.encoders.vit import FrozenTransformer, load_module
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

DIMENSIONS = 256
QUERIES = 14
"""Of the published file. The official code's own defaults are 10, 12 and 13: such a file is another training."""

_HEADS = 8
_TOKENS = 768
_PREFIX = "ecg_encoder."
_UNUSED = (
    *(f"{_PREFIX}ecg_encoder.{name}" for name in ("mask_emb", "quantizer.*", "project_q.*", "final_proj.*")),
    *(f"{_PREFIX}{name}" for name in ("attn_pool_caption.*", "ln_caption.*", "proj_contrast", "bn.*", "logit_scale")),
    *("lm_model.*", "text_decoder.*", "proj_t.*", "sent_proj.*", "logit_scale"),
)
"""Heads of pretraining, and what a file of the whole training has beside the encoder."""


class AttentionPool(nn.Module):
    """Learned queries that attend to all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(QUERIES, DIMENSIONS))
        self.attn = nn.MultiheadAttention(DIMENSIONS, _HEADS, kdim=_TOKENS, vdim=_TOKENS, batch_first=True)
        self.ln_q = nn.LayerNorm(DIMENSIONS)
        self.ln_k = nn.LayerNorm(_TOKENS)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens, (batch, tokens, 768), to what each query finds, (batch, 14, 256)."""
        keys = self.ln_k(x)
        queries = self.ln_q(self.query).expand(len(x), -1, -1)
        out: Tensor = self.attn(queries, keys, keys, need_weights=False)[0]
        return out


class Backbone(nn.Module):
    """The ECG encoder. Its parameters are named as in the official checkpoint, without ``ecg_encoder.``."""

    def __init__(self) -> None:
        super().__init__()
        self.ecg_encoder = ECGFMBackbone(depth=8)
        self.attn_pool_contrast = AttentionPool()
        self.ln_contrast = nn.LayerNorm(DIMENSIONS)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(records, 12, samples)`` to the mean over queries, ``(records, 256)``."""
        beats: Tensor = self.ln_contrast(self.attn_pool_contrast(self.ecg_encoder.tokens(x)))
        return beats.mean(dim=1)


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Prepare records as the authors' ``finetune_dataset.py`` does.

    At 500 Hz as MERL does, from which the code comes. Below it, cubic splines through the first 10 s, whose first and
    last samples stay where they are: the authors' rule for CODE-test, their one cohort at another rate. (They squeeze
    its 10.24 s into 10 s, which is not followed.) They have no rule for rates above 500 Hz: polyphase resampling.

    Parameters
    ----------
    signals : ndarray, shape (records, 12, samples)
        In mV, in the order of `LEADS`.
    rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, 12, 5000)

    Raises
    ------
    EcgfmError
        If records last less than a second.
    """
    require_seconds(signals.shape[-1], rate)
    if rate < RATE:
        first = signals[..., : round(SAMPLES / RATE * rate)].astype(np.float64)
        spread = [[zoom(lead, RATE / rate) for lead in record] for record in first]
        signals, rate = np.array(spread, dtype=np.float32), RATE
    return merl.preprocess(signals, rate)


class MELP(FrozenTransformer):
    """MELP's ECG encoder, frozen: 256 numbers a record, which the authors' linear probes read.

    They come before the projection to the space of reports, and are not normalised.

    Attributes
    ----------
    module : torch.nn.Module
        The network, in evaluation mode.
    """

    leads = LEADS

    @classmethod
    def load(cls, checkpoint: Path, *, device: str = "cpu") -> "MELP":
        """Load ``model.safetensors``, or a file of the official training with ``state_dict``.

        The published file holds bfloat16, which becomes float32: in bfloat16 the second decimal would differ.

        Parameters
        ----------
        checkpoint : Path
            The file, or the folder that holds ``model.safetensors``.
        device : str
            Where it runs.

        Raises
        ------
        EcgfmError
            If the file cannot be read, or a tensor of the encoder is missing, unknown or of another shape.
        """
        state = read_checkpoint(checkpoint)
        state = descend(state, ["state_dict"] if "state_dict" in state else [], path=checkpoint)
        return cls(load_module(Backbone, state, path=checkpoint, prefix=_PREFIX, heads=_UNUSED), device)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in any unit, at any rate, of a second or more; returns ``(records, 256)``.

        As MERL's, the network reads one minimum and maximum of the whole record, and aVF before aVL.

        Raises
        ------
        EcgfmError
            If a lead is missing or the records are shorter than 1 s.
        """
        return self.forward(preprocess(select_leads(batch.signals, batch.leads, self.leads), batch.sampling_rate))
