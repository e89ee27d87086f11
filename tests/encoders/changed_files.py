"""What every adapter must refuse: files that lack a tensor, misname one, or have one of another shape."""

import random
import re
from pathlib import Path

import numpy as np
import pytest

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, RecordBatch

CHANGES = ("dropped", "renamed", "reshaped")


def batch_of(signals, rate=500.0):
    return RecordBatch(signals.astype(np.float32), LEADS, rate, tuple(f"r{row}" for row in range(len(signals))))


def without_disk(module, load):
    """A function of what a file holds, which loads it through an adapter but for the disk."""

    def loaded(content, suffix=".pt", **how):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "read_checkpoint", lambda path: content)
            return load(Path(f"weights{suffix}"), **how)

    return loaded


def refuses(load, state, keys, change, count=6):
    """Hold `load`, a function of a state, to an error that names the key, for some of `keys`."""
    for key in random.Random(7).sample(sorted(keys), count):
        changed = {other: value for other, value in state.items() if other != key}
        if change == "renamed":
            changed[f"another.{key}"] = state[key]
        elif change == "reshaped":
            changed[key] = state[key][..., None]
        with pytest.raises(EcgfmError, match=re.escape(key)):
            load(changed)
