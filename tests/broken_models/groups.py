"""Encoders that serve a part of the patients, or of the devices, only."""

import torch

from tests.broken_models.honest import Honest, features, noise_of


class BlindToTheOld(Honest):
    """Reads the age off the record, and nothing else where that is 65 or more (`tests.grouped_cohort`)."""

    def read(self, x):
        x = torch.as_tensor(x, dtype=torch.float64)
        age = 100 * x[:, 3].mean(-1, keepdim=True)
        return torch.where(age >= 65, noise_of(x), features(x))


class HearingTheDevice(Honest):
    """Takes what a newer device records (`tests.grouped_cohort`) for smaller than it is; the order stays as it was."""

    def read(self, x):
        x = torch.as_tensor(x, dtype=torch.float64)
        newer = (x[:, 5].mean(-1, keepdim=True) > 0.005).double()
        found = features(x)
        return torch.cat([found[:, :24] - 0.5 * newer, found[:, 24:]], dim=1)
