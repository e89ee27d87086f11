"""Checkpoints that hold code, to files that hold tensors alone. The one place where a file may be unpickled."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pytest_ecgfm.errors import EcgfmError, first_line

NESTINGS = ("ecg_model", "state_dict", "model", "model_state_dict")
"""Entries under which training frameworks keep the tensors, in the order in which they are tried.

KED's file holds its encoder as ``ecg_model`` beside a decoder as ``model``."""

_WARNING = (
    "opening it runs any code that its author, or somebody who changed it later, put into it, with your rights. If you "
    "trust its origin (and its published checksum agrees), say --trust"
)


def convert(source: Path, target: Path, *, trust: bool) -> str:
    """Write a checkpoint's tensors to a ``.safetensors`` file.

    Parameters
    ----------
    source : Path
        A file of ``torch.save``: tensors by key, at the top or in one of `NESTINGS`. What else it holds (optimiser,
        configuration) is left out, and so is the name of the entry: the new file's keys are those of the tensors.
        Classes that are not installed here are no obstacle.
    target : Path
        ``.safetensors``; must not exist.
    trust : bool
        Whether the file may run code.

    Returns
    -------
    str
        What was done: number of tensors, SHA-256 of the source.

    Raises
    ------
    EcgfmError
        Without `trust`; if the source is missing, damaged or holds no tensors; if the target exists.
    """
    if target.suffix != ".safetensors":
        raise EcgfmError(f"{target}: should end in .safetensors.")
    if target.exists():
        raise EcgfmError(f"{target}: exists already, and is not overwritten.")
    if not source.is_file():
        raise EcgfmError(f"checkpoint {source}: no such file.")
    if not trust:
        raise EcgfmError(f"checkpoint {source}: {_WARNING}.")
    try:
        from safetensors import SafetensorError
        from safetensors.torch import save_file
    except ImportError:
        raise EcgfmError("writing .safetensors needs an extra: pip install 'pytest-ecgfm[models]'") from None
    checksum = _sha256(source)
    entry, tensors = _tensors(_unpickled(source), source)
    about = {"source": source.name, "source_sha256": checksum, "entry": entry}
    partial = target.with_name(f".{target.name}.partial")
    try:
        save_file(tensors, partial, metadata=about)
        partial.rename(target)
    except (OSError, SafetensorError) as error:
        raise EcgfmError(f"{target}: cannot be written ({error}).") from None
    finally:
        partial.unlink(missing_ok=True)
    where = f" of its entry {entry!r}" if entry else ""
    return f"{target}: {len(tensors)} tensors{where} from {source} (SHA-256 {checksum})."


class _Absent:
    """Stands in for an object whose class is not installed here, such as a training framework's configuration."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Ignore what the original would have been made of."""

    def __setstate__(self, state: Any) -> None:
        """Ignore what the original held."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Ignore an entry."""

    def append(self, value: Any) -> None:
        """Ignore an item."""

    def extend(self, values: Any) -> None:
        """Ignore items."""


class _Unpickler(pickle.Unpickler):
    """Unpickles everything, and does not mind classes that are not installed."""

    def find_class(self, module: str, name: str) -> Any:
        """Look a class up, or take a stand-in."""
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return _Absent


def _unpickled(source: Path) -> Any:
    import torch

    reader = SimpleNamespace(
        __name__="pickle", Unpickler=_Unpickler, load=lambda file, **options: _Unpickler(file, **options).load()
    )
    try:
        # Only after --trust, which `convert` demands: whole modules, and files of torch before 1.6, need all of pickle.
        return torch.load(source, map_location="cpu", weights_only=False, pickle_module=reader)
    except Exception as error:
        # Code in the file may raise anything.
        first = first_line(error)
        raise EcgfmError(f"checkpoint {source}: cannot be opened ({type(error).__name__}: {first[:200]}).") from None


def _tensors(loaded: Any, source: Path) -> tuple[str, dict[str, Any]]:
    """Return the entry that held the tensors ("" for the top) and the tensors, each in memory of its own."""
    import torch

    entry, found = "", loaded
    for name in NESTINGS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping | torch.nn.Module):
            entry, found = name, loaded[name]
            break
    if isinstance(found, torch.nn.Module):
        found = found.state_dict()
    if not isinstance(found, Mapping):
        raise EcgfmError(f"checkpoint {source}: holds a {type(found).__name__}, but should contain tensors by key.")
    tensors = {
        str(key): value.detach().clone().contiguous() for key, value in found.items() if isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise EcgfmError(f"checkpoint {source}: no tensors at the top or in {', '.join(NESTINGS)}.")
    return entry, tensors


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
