"""Encoders that read other leads, or less of a record, than they declare; or go by what is beside the heart."""

import numpy as np
import torch

from pytest_ecgfm.encoders.preprocessing import resample
from tests.broken_models.honest import Honest, features


class OnlyV4(Honest):
    """Reads one lead of twelve."""

    def read(self, x):
        only = torch.zeros_like(x)
        only[:, 9] = x[:, 9]
        return features(only)[:, [9, 21, *range(24, 56)]]


class BlindToV6(Honest):
    """Reads all leads but the last, which its card declares."""

    def read(self, x):
        return features(torch.cat([x[:, :-1], torch.zeros_like(x[:, -1:])], dim=1))


class AnyOrder(Honest):
    """Does not know which lead is which, nor which way up it is."""

    def read(self, x):
        found = features(x)
        # Limb leads carry each other: sorted amplitudes of the six hardly change when electrodes do.
        return torch.cat([found[:, :24].sort(-1).values, found[:, 24:]], dim=1)


class FooledByFlatLeads(Honest):
    """Reads V3; each other lead that is flat moves what it says, of all records alike."""

    def read(self, x):
        only = torch.zeros_like(x)
        only[:, 8] = x[:, 8]
        flat = (x.std(-1) == 0).double()
        flat[:, 8] = 0
        weights = torch.linspace(3, 9, 12, dtype=torch.float64)
        return features(only)[:, [8, 20, *range(24, 56)]] + (flat * weights).sum(-1, keepdim=True)


class KnowingCohorts:
    """Tells cohorts by their sampling rate; reads other leads in each, and calls the same thing by other names."""

    def embed(self, batch):
        home = batch.sampling_rate > 110
        leads = [0, 1, 2, 3, 4, 5] if home else [6, 7, 8, 9, 10, 11]
        x = np.zeros((len(batch), 12, 1250), np.float32)
        signals = resample(batch.signals, batch.sampling_rate, 125.0)[:, leads, :1250]
        x[:, leads, : signals.shape[-1]] = signals
        found = features(x)[:, 24:].numpy()
        sign = 1.0 if home else -1.0
        return (sign * found + 3 * sign).astype(np.float32)


class SortingChestLeads(Honest):
    """Takes V1 to V6 in the order of their amplitude: which of them is which is lost."""

    def read(self, x):
        x = torch.as_tensor(x, dtype=torch.float64)
        order = x[:, 6:].std(-1).argsort(dim=1)
        chest = x[:, 6:].gather(1, order[:, :, None].expand(-1, -1, x.shape[-1]))
        return features(torch.cat([x[:, :6], chest], dim=1))


class FirstHalf(Honest):
    """Reads five seconds of ten."""

    def read(self, x):
        return features(x[..., : x.shape[-1] // 2])
