"""Exported models: a card in a TOML file, beside the file that it names. No Python of the model's is needed."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cards import ModelCard, parse_card
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.identity import digest
from pytest_ecgfm.records import FloatArray
from pytest_ecgfm.toml_files import read_toml

_CHUNK = 1 << 20


def read_card_file(path: Path) -> tuple[ModelCard, Path]:
    """Read a card and find the model beside it.

    Parameters
    ----------
    path : Path
        TOML: the fields of `ModelCard` (``name`` is by default the file's stem), and ``file``, a path below the
        card's folder.

    Returns
    -------
    ModelCard
        With ``input = "array"``.
    Path
        The model's file.

    Raises
    ------
    EcgfmError
        One line: file, field, what would be valid.
    """
    fields = read_toml(path, "card")
    file, name = fields.pop("file", None), fields.pop("name", path.stem)
    if not isinstance(file, str) or not isinstance(name, str):
        raise EcgfmError(f"card {path}: file = {file!r} and name = {name!r} should be text; file names the model.")
    try:
        model = (path.parent / file).resolve()
        there = model.is_file()
    except (OSError, ValueError) as error:
        raise EcgfmError(f"card {path}: file = {file[:80]!r} is no path ({error}).") from None
    if not model.is_relative_to(path.parent.resolve()):
        raise EcgfmError(f"card {path}: file = {file!r} lies outside the card's folder.")
    if not there:
        raise EcgfmError(f"card {path}: file = {file!r}: no such file.")
    if model.suffix != ".onnx":
        raise EcgfmError(f"card {path}: file = {file!r} should be an .onnx file.")
    if fields.get("input", "array") != "array":
        raise EcgfmError(f"card {path}: input = {fields['input']!r}, but an exported model takes an 'array'.")
    return parse_card(name, {**fields, "input": "array"}, where=str(path)), model


class OnnxModel:
    """An ONNX model with one input ``(batch, leads, samples)``; its first output is the embedding.

    Parameters
    ----------
    path : Path
        Opened by onnxruntime, on the CPU or, where its GPU build is installed, on the GPU.

    Raises
    ------
    EcgfmError
        If the extra is missing, or the file is no such model.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise EcgfmError(f"{path}: needs an extra: pip install 'pytest-ecgfm[onnx]'") from None
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
        except Exception as error:
            # onnxruntime's errors have no common type that it exports.
            raise EcgfmError(f"{path}: no model that onnxruntime can open ({str(error).splitlines()[0]}).") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 3:
            found = ", ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs)
            raise EcgfmError(f"{path}: inputs are {found}, but should be one float tensor (batch, leads, samples).")
        self._name = inputs[0].name
        self._batch = inputs[0].shape[0]
        self.sha256 = _file_digest(path)

    def __call__(self, signals: FloatArray) -> npt.NDArray[Any]:
        """Embed ``(batch, leads, samples)``; a model that was exported for one record gets one after another."""
        size = self._batch if isinstance(self._batch, int) else len(signals)
        if len(signals) % size:
            raise EcgfmError(f"the model was exported for batches of {size}; export it with a free batch dimension.")
        parts = [
            np.asarray(self._session.run(None, {self._name: signals[start : start + size]})[0])
            for start in range(0, len(signals), size)
        ]
        return np.concatenate(parts)


def _file_digest(path: Path) -> str:
    with path.open("rb") as handle:
        return digest(iter(lambda: handle.read(_CHUNK), b""))
