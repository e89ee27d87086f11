"""Golden vectors of official models: inputs, embeddings, and the synthetic weights that gave them.

The whole ones where `$ECGFM_GOLDEN` names them, else those that are committed (`golden/README.md`).
"""

import json
import os
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.encoders.golden.cut import COMMITTED, restored
from tests.encoders.synthetic_weights import synthetic_weights

WHOLE = Path(os.environ.get("ECGFM_GOLDEN") or Path(__file__).parents[2] / ".." / "shared" / "models").resolve()


class Arrays(dict):
    """Arrays by name; what is not among the committed ones skips the test that asks for it."""

    def __missing__(self, name):
        pytest.skip(f"the committed vectors have no {name!r}: set ECGFM_GOLDEN to the folder that holds the whole ones")


@dataclass(frozen=True, eq=False)
class Golden:
    folder: Path
    manifest: dict
    arrays: Arrays

    def weights(self, salt=""):
        """Tensors by official key; nobody writes into them."""
        return dict(drawn(self, salt))


@lru_cache(maxsize=1)
def drawn(golden, salt):
    """Most modules' tests ask for the same ones again and again."""
    return {key: torch.from_numpy(value) for key, value in synthetic_weights(golden.manifest, salt).items()}


@pytest.fixture(scope="session")
def golden():
    """A callable, name to `Golden`."""

    @cache
    def load(name):
        folder = next((root / name for root in (WHOLE, COMMITTED) if (root / name / "golden.npz").is_file()), None)
        if folder is None:
            pytest.skip(f"no golden vectors of {name}: set ECGFM_GOLDEN to the folder that holds them")
        with np.load(folder / "golden.npz", allow_pickle=False) as arrays:
            return Golden(folder, json.loads((folder / "manifest.json").read_text("utf-8")), Arrays(restored(arrays)))

    return load
