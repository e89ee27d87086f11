"""Encoders that are broken on purpose, each in one way: every check has one that fails it."""

import zlib

import numpy as np
import torch

from pytest_ecgfm.encoders.preprocessing import resample


class Plain(torch.nn.Module):
    """A small honest encoder, from which the broken ones differ in one thing."""

    def __init__(self, leads=12):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.conv = torch.nn.Conv1d(leads, 24, 25, stride=5)
        with torch.no_grad():
            for parameter in self.conv.parameters():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))

    def forward(self, x):
        hidden = torch.relu(self.conv(x))
        return torch.cat([hidden.mean(-1), hidden.amax(-1)], dim=1)


class Random(Plain):
    """Draws noise at each call."""

    def forward(self, x):
        out = super().forward(x)
        return out + 0.01 * torch.randn(out.shape)


class BatchCoupled(Plain):
    """Normalises over the batch."""

    def forward(self, x):
        out = super().forward(x)
        return out - out.mean(dim=0, keepdim=True)


class Drifting(Plain):
    """Updates running statistics, although it is in eval mode; its output does not depend on them."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen += len(x)
        return super().forward(x)


class OneLead(Plain):
    """Declares twelve leads, and reads II."""

    def forward(self, x):
        only = torch.zeros_like(x)
        only[:, 1] = x[:, 1]
        return super().forward(only)


class Fragile(Plain):
    """Divides by the amplitude of each lead: not a number on flat leads, and hides it; raises on long ones."""

    def forward(self, x):
        if bool((x.std(dim=-1) == 0).any()):
            raise ZeroDivisionError("flat lead")
        return super().forward(x)


class HiddenDrift(Drifting):
    """Drifts in a buffer that is not saved."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1), persistent=False)


class NotANumber(Plain):
    """Divides by the amplitude of each lead: not a number on flat leads."""

    def forward(self, x):
        return super().forward(x / x.std(dim=-1, keepdim=True))


class Overwriting(Plain):
    """Scales its input in place, which is its own business."""

    def forward(self, x):
        x *= 0.5
        return super().forward(x)


class ByPosition:
    """Takes records as stored and reads their leads by position."""

    def __init__(self):
        self.module = Plain()

    def embed(self, batch):
        with torch.inference_mode():
            return self.module(torch.from_numpy(np.ascontiguousarray(batch.signals[:, :, :500]))).numpy()


# Models of the matrix (`tests/broken_matrix.py`). They read twelve leads at 125 Hz, ten seconds.


def features(x):
    """Amplitudes of the leads and the rhythm: the autocorrelation of their slopes' envelope, (batch, 56)."""
    x = torch.as_tensor(x, dtype=torch.float64)
    amplitude = torch.log(x.std(-1) + 1e-3)
    peak = torch.log(x.abs().amax(-1) + 1e-3)
    slope = torch.nn.functional.avg_pool1d(x.diff(dim=-1).abs().sum(1, keepdim=True), 15, 1, 7)[:, 0]
    slope = slope - slope.mean(-1, keepdim=True)
    power = torch.fft.rfft(slope, n=2 * slope.shape[-1]).abs() ** 2
    correlation = torch.fft.irfft(power)
    rhythm = correlation[:, 31:191:5] / (correlation[:, :1] + 1e-9)
    return torch.cat([amplitude, peak, 2 * rhythm], dim=1)


def noise_of(x, dimensions=56):
    """Noise that only the content of a record decides: what it says is nothing, and always the same."""
    rows = np.asarray(x, dtype=np.float32)
    seeds = [zlib.crc32(np.ascontiguousarray(row).tobytes()) for row in rows]
    return torch.from_numpy(np.stack([np.random.default_rng(seed).normal(size=dimensions) for seed in seeds]))


class Honest(torch.nn.Module):
    """Amplitudes and rhythm. The encoders below differ from it in one thing."""

    def forward(self, x):
        return self.read(x).float()

    def read(self, x):
        return features(x)


class Noisy(Honest):
    """Sees its record through noise of the given size."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def read(self, x):
        return features(x) + self.size * noise_of(x)


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


class Ranked(Honest):
    """Replaces each sample by its rank in its lead: no gain changes what it reads."""

    def read(self, x):
        ranks = torch.as_tensor(x).argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)
        return features(ranks.double() / x.shape[-1])[:, 24:]


class Collapsed(Honest):
    """All records on one line."""

    def read(self, x):
        return features(x).mean(-1, keepdim=True) * torch.linspace(1, 2, 16)


class IgnoringInput(Honest):
    """The same for every record."""

    def read(self, x):
        return torch.ones(len(x), 16)


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


class FooledByFlatLeads(Honest):
    """Reads V3; each other lead that is flat moves what it says, of all records alike."""

    def read(self, x):
        only = torch.zeros_like(x)
        only[:, 8] = x[:, 8]
        flat = (x.std(-1) == 0).double()
        flat[:, 8] = 0
        weights = torch.linspace(3, 9, 12, dtype=torch.float64)
        return features(only)[:, [8, 20, *range(24, 56)]] + (flat * weights).sum(-1, keepdim=True)


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


class Imprecise(Honest):
    """Subtracts two large numbers, which half the precision cannot."""

    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Linear(56, 56, bias=False)
        self.mix.weight.data.copy_(torch.eye(56))

    def read(self, x):
        found = features(x).float()
        return 100 * (self.mix(found + 100) - 100)


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


class CentringBehindRounding(Honest):
    """Subtracts the mean of its batch, around a constant of which float32 keeps little more."""

    def read(self, x):
        return 1e5 + 0.2 * (features(x) - features(x).mean(0, keepdim=True))


class ReadingIdentifiers:
    """Says the last two digits of a record's identifier beside amplitudes and rhythm."""

    def embed(self, batch):
        digits = [[float("".join(filter(str.isdigit, name))[-2:] or 0) / 50] for name in batch.records]
        return np.concatenate([features(batch.signals).numpy(), digits], axis=1).astype(np.float32)


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


class OneAnswerForTheSlow(Honest):
    """Says one and the same of all hearts that beat slower than 60 a minute."""

    def read(self, x):
        found = features(x)
        found[found[:, 24:].argmax(dim=1) > 19] = 1.0
        return found
