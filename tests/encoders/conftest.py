"""Golden vectors of official models: inputs, embeddings, and the synthetic weights that gave them."""

import importlib.util
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(os.environ.get("ECGFM_GOLDEN") or Path(__file__).parents[2] / ".." / "shared" / "models").resolve()
GENERATOR_A = ("ecgfounder", "hubert_ecg", "ecg_jepa")


@cache
def generator(letter):
    """The published generator of weights from key, shape and salt, imported from beside the vectors."""
    spec = importlib.util.spec_from_file_location(f"golden_weights_{letter}", ROOT / f"golden_weights_{letter}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Golden:
    folder: Path
    manifest: dict
    arrays: dict

    def weights(self, salt=""):
        """Tensors by official key; counters of batches, which nothing reads, are zero."""
        if self.folder.name.startswith(GENERATOR_A):
            return as_tensors(generator("a").golden_state_dict(self.manifest, salt))
        entries = self.manifest["state_dict"]
        found = as_tensors(generator("b").golden_state(entries, salt=salt))
        counters = [entry["key"] for entry in entries if entry["key"].endswith("num_batches_tracked")]
        return found | {key: torch.zeros((), dtype=torch.int64) for key in counters}


def as_tensors(arrays):
    return {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}


@pytest.fixture(scope="session")
def golden():
    """A callable, name to `Golden`."""

    @cache
    def load(name):
        folder = ROOT / name
        if not (folder / "golden.npz").is_file():
            pytest.skip(f"no golden vectors of {name}: set ECGFM_GOLDEN to the folder that holds them")
        with np.load(folder / "golden.npz", allow_pickle=False) as arrays:
            return Golden(folder, json.loads((folder / "manifest.json").read_text("utf-8")), dict(arrays))

    return load
