"""Encoders that break the contract: random, coupled to their batch, with a state, or with answers that are none."""

import numpy as np
import torch

from tests.broken_models.honest import Honest, features, noise_of


class Restless(Honest):
    """Draws noise at each call."""

    def read(self, x):
        return features(x) + 0.5 * torch.randn(len(x), 56)


class Centring(Honest):
    """Subtracts the mean of the batch."""

    def read(self, x):
        found = features(x)
        return found - found.mean(0, keepdim=True)


class CentringLarge(Honest):
    """Takes the place and spread of its batch away, where the batch is large; beside a constant of 5,000."""

    def read(self, x):
        found = features(x)
        if len(found) >= 12:
            found = (found - found.mean(0, keepdim=True)) / (found.std(0, keepdim=True) + 1e-3)
        return torch.cat([found, torch.full((len(found), 1), 5000.0)], dim=1)


class KeepingCount(Honest):
    """Puts how many records it has seen into its answers, from the 100th on; kept where no torch module shows it."""

    def __init__(self):
        super().__init__()
        self.seen = {"records": 0}

    def read(self, x):
        self.seen["records"] += len(x)
        late = max(0, self.seen["records"] - 100)
        return features(x) + torch.sin(torch.arange(56.0, dtype=torch.float64) * late) * min(late, 1)


class ZerosForTheUnusual(Honest):
    """Says nothing of records that are flat, short or large."""

    def read(self, x):
        flat = (x.std(-1) < 1e-3).any(-1) | (x.abs().amax(dim=(-2, -1)) > 5)
        return torch.where(flat[:, None], 0.0, features(x))


class TheUsualForTheUnusual(Honest):
    """Says of records that are flat, short or large what it would say of the usual one, with a little noise."""

    def read(self, x):
        flat = (x.std(-1) < 1e-3).any(-1) | (x.abs().amax(dim=(-2, -1)) > 5)
        usual = torch.linspace(-2, 1, 56, dtype=torch.float64)
        return torch.where(flat[:, None], usual + 1e-5 * noise_of(x), features(x))


class ReusingMemory(Honest):
    """Draws noise at each call, and writes each answer over the one before."""

    def __init__(self):
        super().__init__()
        self.memory = {}

    def forward(self, x):
        held = self.memory.setdefault(len(x), torch.zeros(len(x), 56))
        return held.copy_(features(x) + 0.5 * torch.randn(len(x), 56))


class SeveralFields(Honest):
    """Returns a dictionary, in which the embedding is."""

    def forward(self, x):
        found = features(x).float()
        return {"logits": found[:, :2], "pooler_output": found}


class ComplexNumbers(Honest):
    """Returns a spectrum whose imaginary parts a cast would lose."""

    def forward(self, x):
        return torch.fft.rfft(features(x))


def drifting_closure():
    """Make a function whose network drifts out of sight: by less than any answer shows."""
    net = torch.nn.Linear(56, 56)
    with torch.no_grad():
        net.weight.copy_(torch.eye(56))
        net.bias.zero_()

    def embed(x):
        net.bias += 1e-5
        return net(features(x).float())

    return embed


class RunningStatistics(Honest):
    """A batch normalisation that keeps on learning; what it learns is only used in training."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(12, affine=False)

    def read(self, x):
        self.norm.running_mean += 0.01 * (x.mean((0, 2)) - self.norm.running_mean)
        return features(x)


class DividingByZero(Honest):
    """Divides by the amplitude of each lead: not a number on flat leads."""

    def read(self, x):
        return features(x / x.std(dim=-1, keepdim=True))


class Leaking(Honest):
    """Keeps a lead of every record that it has seen."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def read(self, x):
        self.seen.append(x[:, 1].clone())
        return features(x)


class CentringBehindRounding(Honest):
    """Subtracts the mean of its batch, around a constant of which float32 keeps little more."""

    def read(self, x):
        return 1e5 + 0.2 * (features(x) - features(x).mean(0, keepdim=True))


class ReadingIdentifiers:
    """Says the last two digits of a record's identifier beside amplitudes and rhythm."""

    def embed(self, batch):
        digits = [[float("".join(filter(str.isdigit, name))[-2:] or 0) / 50] for name in batch.records]
        return np.concatenate([features(batch.signals).numpy(), digits], axis=1).astype(np.float32)


class OneAnswerForTheSlow(Honest):
    """Says one and the same of all hearts that beat slower than 60 a minute."""

    def read(self, x):
        found = features(x)
        found[found[:, 24:].argmax(dim=1) > 19] = 1.0
        return found
