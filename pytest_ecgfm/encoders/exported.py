"""Exported models: a card in a TOML file, beside the file that it names. No Python of the model's is needed."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cards import ModelCard, parse_card
from pytest_ecgfm.cards.identity import digest
from pytest_ecgfm.cards.toml_files import read_toml
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import FloatArray

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
        raise EcgfmError(f"card {path}: file = {file!r} is outside the card's folder.")
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
        If the extra is missing, the file is no such model, or it takes weights from outside its folder.

    Attributes
    ----------
    sha256 : str
        Of the file and of every file of weights that it names.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnx  # noqa: F401
            import onnxruntime
        except ImportError:
            raise EcgfmError(f"{path}: needs an extra: pip install 'pytest-ecgfm[onnx]'") from None
        weights = external_weights(path)
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
        except Exception as error:
            # onnxruntime's errors have no common type that it exports.
            raise EcgfmError(f"{path}: onnxruntime cannot open it ({str(error).splitlines()[0]}).") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 3:
            found = ", ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs)
            raise EcgfmError(f"{path}: inputs are {found}, but should be one float tensor (batch, leads, samples).")
        self._name = inputs[0].name
        self._batch = inputs[0].shape[0]
        self.sha256 = _file_digest(path, weights)

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


def external_weights(path: Path) -> dict[str, Path]:
    """Return the files that an ONNX model takes weights from, by the names that it gives them.

    Raises
    ------
    EcgfmError
        If the file is no ONNX model, or one of its files is missing or outside the model's folder: absolute, with
        ``..``, or by a link.
    """
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        # onnx and protobuf have no common class of errors.
        raise EcgfmError(f"{path}: onnxruntime cannot open it ({type(error).__name__}).") from None
    folder = path.resolve().parent
    found: dict[str, Path] = {}
    for tensor in _external_tensors(model):
        name = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        pure = PurePosixPath(name.replace("\\", "/"))
        try:
            file = (folder / pure).resolve()
            inside = not pure.is_absolute() and ".." not in pure.parts and file.is_relative_to(folder)
            there = file.is_file()
        except (OSError, ValueError, RuntimeError):
            inside = there = False
        if not inside:
            raise EcgfmError(f"{path}: weights in {name[:80]!r}, outside the model's folder; they are not read.")
        if not name or not there:
            raise EcgfmError(f"{path}: weights in {name[:80]!r}: no such file.")
        found[name] = file
    return dict(sorted(found.items()))


def _external_tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor, anywhere in a model, whose values are in another file."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        if message.data_location == onnx.TensorProto.EXTERNAL or message.external_data:
            yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in [value] if hasattr(value, "ListFields") else value:
                if hasattr(one, "ListFields"):
                    yield from _external_tensors(one)


def _file_digest(path: Path, weights: dict[str, Path]) -> str:
    return digest(_content(path, weights))


def _content(path: Path, weights: dict[str, Path]) -> Iterator[bytes]:
    yield from _chunks(path)
    for name, file in weights.items():
        yield f"\0{name}\0{file.stat().st_size}\0".encode()
        yield from _chunks(file)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as handle:
        while part := handle.read(_CHUNK):
            yield part
