"""Sound files, from which damaged ones are made."""

import io
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import save

from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.cube import build_cube, write_cube
from pytest_ecgfm.results.profiles import shipped
from pytest_ecgfm.results.rows import Cell, Measured, judged_row
from tests.encoders.test_exported import CARD, export

CASE = Case("downstream.auroc", "m", "a", "AF", 1.0)


def a_row():
    """One check, with a cell and a file of scores."""
    at = {"encoder": "m", "cohort": "a", "label": "AF", "probe": "logistic", "fraction": 1.0, "seed": 0}
    found = Measured(0.8, 0.7, 0.9, 60, 60, "cv", (Cell("downstream", at, {"auroc": 0.8}),), ("arrays/s.npz",))
    return judged_row(CASE, Threshold(0.7), found)


def a_cube() -> bytes:
    """The cube of a run of one check."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        names = np.array([f"r{number}" for number in range(40)])
        np.savez(
            folder / "s.npz",
            record=names,
            patient=names,
            fold=np.zeros(40, np.int32),
            score=np.linspace(0, 1, 40, dtype=np.float32),
            target=np.arange(40) % 2,
        )
        transfer = Cell("transfer", {"encoder": "m", "source": "a", "target": "b", "label": "AF"}, {"auroc": 0.5})
        rows = [a_row(), replace(a_row(), check="transfer.drop[x]", cells=(transfer,), arrays=())]
        attributes = {"encoders": '{"m": {}}', "cohorts": '{"a": {}}', "packages": "{}"}
        write_cube(build_cube(rows, folder, attributes), folder / "cube.nc")
        return (folder / "cube.nc").read_bytes()


def an_exported_model() -> bytes:
    """The smallest ONNX model."""
    with TemporaryDirectory() as place:
        return export(Path(place) / "model.onnx").read_bytes()


def a_checkpoint() -> bytes:
    """What `torch.save` writes."""
    out = io.BytesIO()
    torch.save({"model": {"weight": torch.arange(6.0).reshape(2, 3), "steps": 3}, "epoch": np.float64(1.5)}, out)
    return out.getvalue()


def official_vectors() -> bytes:
    """What `ecgfm parity` reads."""
    out = io.BytesIO()
    signals = np.arange(12.0, dtype=np.float32).reshape(1, 2, 6)
    np.savez(out, signals=signals, leads=np.array(["I", "II"]), sampling_rate=500, embedding=np.ones((1, 3)))
    return out.getvalue()


def seeds() -> dict[str, bytes]:
    """One sound file for each target."""
    cube = a_cube()
    return {
        "card": CARD.encode(),
        "exported": an_exported_model(),
        "profile": shipped()["release"].read_bytes(),
        "row": a_row().to_json().encode(),
        "cube": cube,
        "verdict": b'{"schema": 2, "outcome": "pass", "encoders": {"m": {"outcome": "pass", "reasons": []}}, '
        b'"identity": {"profile": "default", "profile_digest": "ab", "narrowed": {"-k": "gain"}}}',
        "baseline": cube,
        "checkpoint": a_checkpoint(),
        "vectors": official_vectors(),
        "safetensors": save({"weight": torch.arange(6.0).reshape(2, 3)}),
    }
