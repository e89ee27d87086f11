"""Encoders that turn over where a record changes a little, hide that they do, or are blind to the change."""

import torch

from tests.broken_models.honest import Honest, Noisy, features, noise_of


class NoisyBehindLargeDimensions(Noisy):
    """Moves with each change of its record, beside four steady dimensions ten thousand times as large."""

    def read(self, x):
        return torch.cat([super().read(x), 1e4 * features(x)[:, [0, 7, 24, 30]]], dim=1)


class NoisyBesideConstants(Noisy):
    """Moves with each change of its record, around a constant of which float32 keeps little more."""

    def read(self, x):
        return 5000 + super().read(x)


class NoisyButForOne(Noisy):
    """Moves with each change of its record; some records are said to be enormous, next to which nothing moves."""

    def read(self, x):
        found = super().read(x)
        found[noise_of(x, 1)[:, 0] > 2.3] = 1e6
        return torch.cat([found, features(x)[:, [0, 7, 24, 30]]], dim=1)


class Memoising(Noisy):
    """Noise, but what is near a record seen before gets the same answer as that one."""

    def __init__(self, size):
        super().__init__(size)
        self.seen, self.said = torch.empty(0, 56, dtype=torch.float64), []

    def read(self, x):
        answers = []
        for one, fresh in zip(features(x), super().read(x), strict=True):
            far = (self.seen - one).norm(dim=1)
            if far.numel() and far.min() < 1.2:
                answers.append(self.said[int(far.argmin())])
                continue
            self.seen = torch.cat([self.seen, one[None]])
            self.said.append(fresh)
            answers.append(fresh)
        return torch.stack(answers)


class Ranked(Honest):
    """Replaces each sample by its rank in its lead: no gain changes what it reads."""

    def read(self, x):
        ranks = torch.as_tensor(x).argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)
        return features(ranks.double() / x.shape[-1])[:, 24:]


class HearingMains(Honest):
    """Turns over what it says as soon as there is a hum of 60 Hz, which Europe does not have."""

    def read(self, x):
        spectrum = torch.fft.rfft(x.double(), dim=-1).abs().mean(1)
        hum = spectrum[:, 600] / (spectrum[:, 570:590].mean(-1) + 1e-9)
        return torch.where(hum[:, None] > 4, -1.0, 1.0) * features(x)


class HearingGain(Honest):
    """Winds around with the amplitude."""

    def read(self, x):
        turn = 80 * torch.log(x.double().abs().mean((1, 2)) + 1e-6)[:, None] + torch.arange(56)
        return features(x) + 5 * torch.sin(turn)


class ReadingLength(Honest):
    """Says how much of its input is padding, and little else."""

    def read(self, x):
        padded = (x == 0).all(1).double().mean(-1, keepdim=True)
        return torch.cat([features(x)[:, :2], 20 * padded.expand(-1, 20)], dim=1)


class HalfEmpty(Honest):
    """Noise that grows with the padding: whole records are near each other, their halves are not."""

    def read(self, x):
        padded = (x == 0).all(1).double().mean(-1, keepdim=True)
        return features(x) + 20 * padded * noise_of(x)


class Imprecise(Honest):
    """Subtracts two large numbers, which half the precision cannot."""

    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Linear(56, 56, bias=False)
        self.mix.weight.data.copy_(torch.eye(56))

    def read(self, x):
        found = features(x).float()
        return 100 * (self.mix(found + 100) - 100)
