"""Encoders whose embeddings say little or nothing: constants, lines, a hash, weights that were never trained."""

import torch

from tests.broken_models.honest import Honest, features, noise_of


class TwoOnALine(Honest):
    """Two dimensions that say the same."""

    def read(self, x):
        return features(x).mean(-1, keepdim=True) * torch.tensor([1.0, -3.0]) + 7


class Two(Honest):
    """Two dimensions: little, but not collapsed."""

    def read(self, x):
        return features(x)[:, [3, 30]]


class HashOfBytes(Honest):
    """Noise that only the bytes of a record decide: repeatable, and about nothing."""

    def read(self, x):
        return noise_of(x)


class AtChance(Honest):
    """A network of one layer whose weights were drawn and never trained: it multiplies samples where they stand."""

    def __init__(self):
        super().__init__()
        self.weights = torch.randn(12 * 1250, 32, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def read(self, x):
        x = torch.as_tensor(x, dtype=torch.float64)
        unit = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)
        return unit.flatten(1) @ self.weights


class Collapsed(Honest):
    """All records on one line."""

    def read(self, x):
        return features(x).mean(-1, keepdim=True) * torch.linspace(1, 2, 16)


class IgnoringInput(Honest):
    """The same for every record."""

    def read(self, x):
        return torch.ones(len(x), 16)
