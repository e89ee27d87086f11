"""D-BETA: the network of ECG-FM with a class token, pretrained with the reports of MIMIC-IV-ECG.

Written after the paper and the official repository: H. M. Pham, A. Saeed, D. Ma, "Boosting Masked ECG-Text
Auto-Encoders as Discriminative Learners", ICML 2025, arXiv 2410.02131; github.com/manhph2211/D-BETA.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import resample
from torch import Tensor, nn

from pytest_ecgfm.encoders.checkpoints import descend, read_checkpoint
from pytest_ecgfm.encoders.ecg_fm import ECGFMBackbone
from pytest_ecgfm.encoders.frozen import require_seconds
from pytest_ecgfm.encoders.merl import LEADS as MIMIC_ORDER
from pytest_ecgfm.encoders.preprocessing import fit_length
from pytest_ecgfm.encoders.vit import FrozenTransformer, load_module
from pytest_ecgfm.errors import unknown_name
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS, FloatArray, RecordBatch

RATE = 500.0
SAMPLES = 5000
DIMENSIONS = 768
ORDERS: Mapping[str, tuple[str, ...]] = {"mimic": MIMIC_ORDER, "standard": LEADS}
"""The files of MIMIC-IV-ECG, which the encoder most likely learned, have aVF before aVL."""

_CLASS_TOKEN = "class_embedding"
_ONE_OF_ITS_KEYS = "ecg_encoder.post_extract_proj.weight"
_UNUSED = (
    "ecg_encoder.mask_emb",
    "language_encoder.*",
    "modality_type_embeddings.*",
    "multi_modal_ecg_layers.*",
    "multi_modal_ecg_pooler.*",
    "multi_modal_language_*",
    "unimodal_language_pooler.*",
    "itm_head.*",
    "mim_head.*",
    "mlm_head.*",
)
"""The side of the reports, where both meet, and heads of pretraining."""


class Backbone(nn.Module):
    """The ECG encoder. Its parameters are named as in the official checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(DIMENSIONS))
        self.ecg_encoder = ECGFMBackbone(depth=8)
        self.multi_modal_ecg_proj = nn.Linear(DIMENSIONS, DIMENSIONS)
        self.unimodal_ecg_pooler = nn.ModuleDict({"dense": nn.Linear(DIMENSIONS, DIMENSIONS)})

    def class_token(self, x: Tensor) -> Tensor:
        """Map ``(records, 12, samples)`` to the projected class token, ``(records, 768)``."""
        h = self.ecg_encoder.placed(x)
        # The class token comes after the positions, and has none.
        h = torch.cat([self.class_embedding.expand(len(h), 1, -1), h], dim=1)
        out: Tensor = self.multi_modal_ecg_proj(self.ecg_encoder.encoder(h)[:, 0])
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(records, 12, samples)`` to the pooled class token, ``(records, 768)``, within -1 and 1."""
        return torch.tanh(self.unimodal_ecg_pooler["dense"](self.class_token(x)))


def preprocess(signals: FloatArray, rate: float) -> FloatArray:
    """Bring records to what the network reads: 10 s at 500 Hz, neither filtered nor scaled.

    As in the authors' one example at another rate: Fourier resampling of the whole record, then its first 5000 samples.
    Shorter records, for which they have no rule, are padded with zeros at the end.

    Parameters
    ----------
    signals : ndarray, shape (records, 12, samples)
        In mV.
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
    samples = signals.shape[-1]
    require_seconds(samples, rate)
    wanted = int(samples * RATE / rate)
    if wanted != samples:
        signals = resample(signals.astype(np.float64), wanted, axis=-1)
    return np.ascontiguousarray(fit_length(signals, SAMPLES), dtype=np.float32)


class DBETA(FrozenTransformer):
    """D-BETA's ECG encoder, frozen: 768 numbers a record, its pooled class token.

    Parameters
    ----------
    module : torch.nn.Module
        The network; put into evaluation mode, which the official loader forgets.
    device : str
        Where it runs.
    order : {"mimic", "standard"}
        In which order the leads go in. The official code decides it nowhere, and it matters.
    """

    def __init__(self, module: nn.Module, device: str = "cpu", *, order: str = "mimic") -> None:
        super().__init__(module, device)
        if order not in ORDERS:
            raise unknown_name("order", order, ORDERS)
        self.leads = ORDERS[order]

    @classmethod
    def load(cls, checkpoint: Path, *, order: str = "mimic", device: str = "cpu") -> "DBETA":
        """Load the official file; never random weights, to which the official loader falls back.

        Parameters
        ----------
        checkpoint : Path
            A file whose tensors are under ``model`` or at its top level, their names alone or after one common prefix.
        order, device : str
            See the class.

        Raises
        ------
        EcgfmError
            If the file cannot be read, or a tensor of the encoder is missing, unknown or of another shape.
        """
        state = read_checkpoint(checkpoint)
        state = descend(state, ["model"] if "model" in state else [], path=checkpoint)
        prefix = _common_prefix(state)
        heads = [f"{prefix}{name}" for name in _UNUSED]
        module = load_module(Backbone, state, path=checkpoint, prefix=prefix, heads=heads)
        return cls(module, device, order=order)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records in mV, at any rate, of a second or more; returns ``(records, 768)``.

        Raises
        ------
        EcgfmError
            If a lead is missing or the records are shorter than 1 s.
        """
        return self.forward(preprocess(select_leads(batch.signals, batch.leads, self.leads), batch.sampling_rate))


def _common_prefix(state: Mapping[str, Any]) -> str:
    """Find what stands before the official names; nothing where it is not certain, so that the error lists them."""
    ends = (_CLASS_TOKEN, _ONE_OF_ITS_KEYS)
    found = [{key.removesuffix(end) for key in map(str, state) if key.endswith(end)} for end in ends]
    return next(iter(sorted(set.intersection(*found))), "")
