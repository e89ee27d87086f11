"""A small cohort in memory, and models that embed it."""

import numpy as np
import pandas as pd

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.signals.records import LEADS, Recording


class MemoryCohort(Cohort):
    """Records of two lengths, in memory."""

    def __init__(self, n=40, *, salt=0, patients=None):
        rng = np.random.default_rng(salt)
        index = pd.Index([f"r{i}" for i in range(n)], dtype=str)
        self.signals = {
            name: rng.normal(size=(12, 500 if i % 3 else 700)).astype(np.float32) for i, name in enumerate(index)
        }
        labels = pd.DataFrame({label: rng.random(n) < 0.25 for label in LABELS}, index=index).astype("boolean")
        table = pd.DataFrame(
            {"patient": patients or list(index), "age": 50.0, "sex": "F", "fold": pd.array([pd.NA] * n, "Int64")},
            index=index,
        )
        super().__init__(
            "memory", continent="Europe", table=table, labels=labels, sampling_rate=100, has_patients=bool(patients)
        )

    def _read(self, record):
        return Recording(self.signals[record], LEADS, 100.0)

    def _content_digest(self, records):
        import hashlib

        return hashlib.sha256(b"".join(self.signals[r].tobytes() for r in records)).hexdigest()


def encoder_of(model, **fields):
    return Encoder(parse_card("m", {"sampling_rate": 100, "seconds": 5, **fields}, where=""), model)


def means(x):
    return x.mean(dim=-1)
