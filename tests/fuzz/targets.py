"""One function for each kind of file that comes from strangers: whatever the bytes are, an answer or an `EcgfmError`.

Each takes the bytes of the file and an empty folder. Anything else that is raised is a bug of ours.
"""

import json
from collections.abc import Callable
from pathlib import Path

from pytest_ecgfm.encoders.checkpoints import descend, read_checkpoint
from pytest_ecgfm.encoders.exported import OnnxModel, read_card_file
from pytest_ecgfm.encoders.parity import read_vectors
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.results.baseline import Baseline, change
from pytest_ecgfm.results.profiles import load_profile
from pytest_ecgfm.results.rows import parse_row
from pytest_ecgfm.results.verdict import decide

Target = Callable[[bytes, Path], None]


def _written(data: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def card(data: bytes, folder: Path) -> None:
    """A model card, with a file beside it."""
    (folder / "model.onnx").write_bytes(b"no model")
    try:
        _, model = read_card_file(_written(data, folder, "card.toml"))
    except EcgfmError:
        return
    assert model.is_relative_to(folder.resolve())


def exported(data: bytes, folder: Path) -> None:
    """The ONNX file that a card names."""
    try:
        OnnxModel(_written(data, folder, "model.onnx"))
    except EcgfmError:
        return


def profile(data: bytes, folder: Path) -> None:
    """A profile, or the `run.toml` of somebody's run."""
    try:
        found = load_profile(str(_written(data, folder, "mine.toml")))
    except EcgfmError:
        return
    assert found.check


def row(data: bytes, folder: Path) -> None:
    """A line of `rows.jsonl`; what is accepted can be judged and written again."""
    try:
        found = parse_row(data.decode("utf-8", "surrogateescape"))
    except EcgfmError:
        return
    assert found.message() and parse_row(found.to_json()).to_json() == found.to_json()
    decide([found], [], models=[found.encoder])


def cube(data: bytes, folder: Path) -> None:
    """The cube of a run, with a sound verdict beside it."""
    (folder / "verdict.json").write_text(json.dumps({"outcome": "pass", "encoders": {"m": {}}}), encoding="utf-8")
    _written(data, folder, "cube.nc")
    try:
        found = load(folder)
        assert len(found.checks) >= 0 and isinstance(found.cohorts, tuple) and isinstance(found.labels, tuple)
    except EcgfmError:
        return


def verdict(data: bytes, folder: Path, cube: bytes = b"") -> None:
    """The verdict of a run, with a sound cube beside it."""
    (folder / "cube.nc").write_bytes(cube)
    _written(data, folder, "verdict.json")
    try:
        found = load(folder)
        assert found.models is not None and found.headline
    except EcgfmError:
        return


def baseline(data: bytes, folder: Path) -> None:
    """The cube of an earlier run, compared with itself."""
    _written(data, folder, "cube.nc")
    try:
        found = Baseline(folder)
        scores = found.scores("m", "a", "AF", renamed=True)
        change(scores, scores, found.name)
    except EcgfmError:
        return


def checkpoint(data: bytes, folder: Path) -> None:
    """Weights as `torch.save` writes them."""
    try:
        descend(read_checkpoint(_written(data, folder, "model.pt")), ("model",), path=Path("model.pt"))
    except EcgfmError:
        return


def safetensors(data: bytes, folder: Path) -> None:
    """Weights as safetensors."""
    try:
        read_checkpoint(_written(data, folder, "model.safetensors"))
    except EcgfmError:
        return


def vectors(data: bytes, folder: Path) -> None:
    """Official embeddings for `ecgfm parity`."""
    try:
        found = read_vectors(_written(data, folder, "official.npz"))
    except EcgfmError:
        return
    assert len(found.signals) == len(found.embedding)


TARGETS: dict[str, Target] = {
    one.__name__: one
    for one in (card, exported, profile, row, cube, verdict, baseline, checkpoint, safetensors, vectors)
}
"""By name."""
