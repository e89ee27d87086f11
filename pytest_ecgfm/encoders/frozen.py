"""What the official models have in common: a torch module that was loaded from a file and is never trained."""

from collections.abc import Callable
from threading import Lock
from typing import TypeVar

import numpy as np
import torch

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import FloatArray

Built = TypeVar("Built", bound=torch.nn.Module)

_ONE_AT_A_TIME = Lock()
"""Two passes at once would share the cores, and need twice the memory."""


def without_weights(build: Callable[[], Built]) -> Built:
    """Build a module whose weights are about to be read: none are drawn, torch's random state is untouched."""
    with torch.device("meta"):
        module = build()
    return module.to_empty(device="cpu")


class Frozen:
    """A module in eval mode, without gradients, on one device.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.
    device : str
        Where it runs.
    """

    concurrent = True
    """May be called from several threads at once: while one batch is in the module, others are preprocessed."""

    def __init__(self, module: torch.nn.Module, device: str = "cpu") -> None:
        self.module = module.eval().requires_grad_(False).to(device)
        self.device = device

    def forward(self, inputs: FloatArray) -> FloatArray:
        """Run the module on preprocessed records, without autograd."""
        with _ONE_AT_A_TIME, torch.inference_mode():
            out: torch.Tensor = self.module(torch.from_numpy(np.ascontiguousarray(inputs)).to(self.device))
            return out.float().cpu().numpy()


def require_seconds(samples: int, rate: float, seconds: float = 1.0) -> None:
    """Refuse records that are too short for a model's filters.

    Raises
    ------
    EcgfmError
        If `samples` at `rate` Hz last less than `seconds`.
    """
    if samples < seconds * rate:
        raise EcgfmError(f"records of {samples} samples at {rate:g} Hz, but should last {seconds:g} s or more.")
