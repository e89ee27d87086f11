"""Print how far batches of other sizes move embeddings by rounding alone: where the contract's bounds come from.

Run::

    python benchmarks/rounding.py

Untrained networks, whose kernels add up in another order for a batch of one than for one of 64, embed the first 64
records of the embedded cohorts: in one batch, backwards, in batches of four and of one. Each is printed as it is, with
200 added to each dimension, and beside a dimension 1e4 times as large. Two columns: the largest change in units in the
last place of a dimension's largest value, and what `contract.batch` makes of it (0 below `KERNELS` such units).
"""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.cohorts.synthetic.specs import SPECS
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.evaluations.differences import apart
from pytest_ecgfm.signals.records import RecordBatch

RECORDS = 64
SIZES = (1, 4)
_EPS = float(np.finfo(np.float32).eps)


class Convolutions(nn.Module):
    """Four strided convolutions with batch normalisation, and the mean over time."""

    def __init__(self, leads: int = 12, width: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(4):
            layers += [nn.Conv1d(leads, width, 15, stride=3, padding=7), nn.BatchNorm1d(width), nn.GELU()]
            leads = width
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, width)."""
        return self.layers(x).mean(-1)


class Tokens(nn.Module):
    """Patches of a quarter of a second through four layers of a transformer, and their mean."""

    def __init__(self, leads: int = 12, width: int = 128) -> None:
        super().__init__()
        self.patches = nn.Conv1d(leads, width, 25, stride=25)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, width)."""
        return self.layers(self.patches(x).transpose(1, 2)).mean(1)


class Dense(nn.Module):
    """Three wide layers on all samples at once."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(12 * 1000, 512), nn.ReLU(), nn.Linear(512, 256))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, 256)."""
        return self.layers(x)


def encoders() -> Iterator[tuple[str, Encoder]]:
    """Yield encoders by name, in float32 and in bfloat16."""
    yield "random_conv", load_encoder("random_conv")
    card = {"sampling_rate": 100}
    for build in (Convolutions, Tokens, Dense):
        for precision in ("float32", "bfloat16"):
            torch.manual_seed(0)
            name = f"{build.__name__.lower()}, {precision}"
            yield name, Encoder(parse_card("m", card, where=""), build(), precision=precision)


def batch_of(name: str) -> RecordBatch:
    """Return the first records of an embedded cohort, cut to one length."""
    cohort = load_cohort(name)
    records = [str(record) for record in cohort.records[:RECORDS]]
    read = [cohort.read(record) for record in records]
    samples = min(one.signals.shape[-1] for one in read)
    signals = np.stack([one.signals[:, :samples] for one in read])
    return RecordBatch(signals, read[0].leads, read[0].sampling_rate, tuple(records))


def otherwise(encoder: Encoder, batch: RecordBatch) -> Iterator[np.ndarray]:
    """Yield the same embeddings, made in other batches."""
    yield encoder.embed_batch(batch.rows(range(len(batch))[::-1]))[::-1]
    for size in SIZES:
        parts = [range(first, min(first + size, len(batch))) for first in range(0, len(batch), size)]
        yield np.concatenate([encoder.embed_batch(batch.rows(part)) for part in parts])


DRESSES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda rows: rows,
    "plus 200": lambda rows: rows + np.float32(200),
    "beside 1e4 times": lambda rows: np.concatenate([rows, 1e4 * rows[:, :1]], axis=1),
}


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    batches = {name: batch_of(name) for name in SPECS}
    print("| encoder | dress | units in the last place | apart |")
    print("| --- | --- | --- | --- |")
    for name, encoder in encoders():
        found = {dress: [0.0, 0.0] for dress in DRESSES}
        for batch in batches.values():
            whole = encoder.embed_batch(batch)
            for other in otherwise(encoder, batch):
                for dress, put_on in DRESSES.items():
                    a, b = put_on(whole), put_on(other)
                    largest = np.maximum(np.abs(a).max(axis=0), np.abs(b).max(axis=0)) + 1e-30
                    units = float((np.abs(a.astype(np.float64) - b) / largest).max() / _EPS)
                    held = found[dress]
                    found[dress] = [max(held[0], units), max(held[1], apart(a, b, batch.records).value)]
        for dress, (units, value) in found.items():
            print(f"| {name} | {dress} | {units:.3g} | {value:.3g} |", flush=True)


if __name__ == "__main__":
    main()
