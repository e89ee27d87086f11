"""Untrained convolutional reference encoder: what an architecture gives before it has seen any ECG.

Random convolutions with simple pooling are strong features for time series (ROCKET: Dempster, Petitjean and Webb, Data
Min Knowl Disc 2020;34:1454), so a trained model that does not beat them has learnt nothing that a probe can use.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, FloatArray, RecordBatch, signals_by_name

__all__ = ["DIMENSIONS", "LEADS", "SAMPLING_RATE", "RandomConv"]

SAMPLING_RATE = 100.0
"""Hz."""

DIMENSIONS = 256

_LAYERS = ((12, 32, 15, 2, 1), (32, 64, 9, 2, 2), (64, 128, 9, 2, 4))
"""Channels in and out, kernel size, stride, dilation: an output sees 1.75 s of signal, two beats from 70 bpm on."""

_FLOOR = 0.02
"""mV: records weaker than this are noise, and are not blown up to full scale."""

_TOGETHER = 8  # records that go through the convolutions at once


class RandomConv:
    """Three random convolutions, pooled over time by mean and maximum.

    Parameters
    ----------
    seed : int
        Draws the weights; the same on every platform, and no other random state is touched.

    Attributes
    ----------
    module : torch.nn.Sequential
        The convolutions, ``(records, 12, samples)`` to ``(records, 128, samples / 8)``; frozen, in eval mode.
    """

    def __init__(self, seed: int = 0) -> None:
        import torch

        rng = np.random.default_rng(seed)
        layers: list[torch.nn.Module] = []
        for channels, width, size, stride, dilation in _LAYERS:
            # A layer built the usual way draws initial weights from torch's global generator.
            # On the meta device it draws nothing, and gets its memory afterwards.
            padding = dilation * (size - 1) // 2
            layer = torch.nn.Conv1d(channels, width, size, stride, padding, dilation, device="meta").to_empty(
                device="cpu"
            )
            weight = rng.standard_normal((width, channels, size))
            if not layers:
                # As in ROCKET: kernels without a mean do not see the offset of a lead.
                weight -= weight.mean(axis=-1, keepdims=True)
            weight *= np.sqrt(2.0 / (channels * size))
            bias = rng.uniform(-0.5, 0.5, width)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(weight.astype(np.float32)))
                assert layer.bias is not None
                layer.bias.copy_(torch.from_numpy(bias.astype(np.float32)))
            layers += [layer, torch.nn.ReLU()]
        self.module = torch.nn.Sequential(*layers).eval().requires_grad_(False)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records.

        Parameters
        ----------
        batch : RecordBatch
            At `SAMPLING_RATE`, with `LEADS` in any order, of at least 1 s.

        Returns
        -------
        ndarray of float32, shape (records, DIMENSIONS)
            The means of 128 channels, then their maxima. Gain and offsets of the signals do not matter.

        Raises
        ------
        EcgfmError
            If a lead is missing, the rate differs or the records are shorter than 1 s.
        """
        import torch

        ordered = signals_by_name(batch, LEADS, SAMPLING_RATE)
        if ordered.shape[-1] < SAMPLING_RATE:
            raise EcgfmError(f"records of {ordered.shape[-1]} samples, but should last 1 s or more.")
        out = np.empty((len(batch), DIMENSIONS), dtype=np.float32)
        with torch.inference_mode(), _one_thread():
            for start in range(0, len(batch), _TOGETHER):
                part = ordered[start : start + _TOGETHER]
                # Always as many, the last ones silent: the sums inside a convolution are ordered by the batch size.
                signals = np.zeros((_TOGETHER, *part.shape[1:]), dtype=np.float32)
                signals[: len(part)] = [_standardised(one) for one in part]
                maps = self.module(torch.from_numpy(signals))[: len(part)]
                out[start : start + len(part)] = (
                    torch.cat([maps.mean(dim=-1), maps.amax(dim=-1)], dim=1).float().numpy()
                )
        return out


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch on one core: these layers gain little from two, whose waiting starves what prepares the next batch."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _standardised(signals: FloatArray) -> FloatArray:
    """Remove offsets and scale a record as a whole, so that leads keep their proportions; spikes are clipped."""
    centred = signals.astype(np.float64) - np.median(signals, axis=-1, keepdims=True)
    scale = max(float(np.sqrt(np.mean(centred**2))), _FLOOR)
    return np.clip(centred / scale, -10.0, 10.0).astype(np.float32)
