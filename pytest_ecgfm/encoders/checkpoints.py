"""Official checkpoint files to state dicts, and into modules: safely, and without a key left over."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pytest_ecgfm.errors import EcgfmError

_LISTED = 8


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running anything that it says.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, a folder that holds ``model.safetensors``, or a file of ``torch.save``, opened with
        ``weights_only=True`` and an allow-list of inert types.

    Returns
    -------
    dict
        As it is on disk: tensors by key, or a nesting of dicts.

    Raises
    ------
    EcgfmError
        If the file is missing, damaged, or holds more than tensors and plain containers.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise EcgfmError(f"checkpoint {path}: no such file.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    import torch

    with path.open("rb") as file:
        begin = file.read(2)
    if begin != b"PK" and begin[:1] != b"\x80":
        raise EcgfmError(f"checkpoint {path}: cannot be read: torch.save did not write it.")
    try:
        with torch.serialization.safe_globals(inert_types()):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises several types, among them pickle's own; whichever it is, the file is not used.
        # Cut before torch's advice to load it all the same.
        name = str(error).splitlines()[0].partition(" In PyTorch")[0] if str(error) else type(error).__name__
        raise EcgfmError(
            f"checkpoint {path}: cannot be opened safely ({name[:200]}). If you trust its origin, convert it once: "
            f"ecgfm convert {path.name} {path.stem}.safetensors --trust"
        ) from None
    if not isinstance(loaded, dict):
        raise EcgfmError(f"checkpoint {path}: holds a {type(loaded).__name__}, but should contain tensors by key.")
    return loaded


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise EcgfmError("reading .safetensors needs an extra: pip install 'pytest-ecgfm[models]'") from None
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise EcgfmError(f"checkpoint {path}: cannot be read ({error}).") from None


def inert_types() -> list[Any]:
    """Types beside tensors that official checkpoints hold and that do nothing when made: numpy numbers, containers.

    Among them is the namespace in which many training scripts keep their options.
    """
    import argparse
    import collections

    import numpy as np

    scalar = np.core.multiarray.scalar if np.lib.NumpyVersion(np.__version__) < "2.0.0" else np._core.multiarray.scalar
    dtypes = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")]
    return [
        scalar,
        (scalar, "numpy.core.multiarray.scalar"),
        np.dtype,
        *dtypes,
        collections.OrderedDict,
        set,
        argparse.Namespace,
    ]


def descend(checkpoint: Mapping[str, Any], nesting: Sequence[str], *, path: Path) -> dict[str, Any]:
    """Follow the keys under which a layout keeps its tensors.

    A ``.safetensors`` file cannot nest: its tensors are those that were below `nesting` before it was converted.

    Raises
    ------
    EcgfmError
        If a key is missing; the message lists those that are there.
    """
    found: Any = checkpoint
    for key in () if path.suffix == ".safetensors" else nesting:
        if not isinstance(found, Mapping) or key not in found:
            have = ", ".join(map(str, list(found)[:_LISTED])) if isinstance(found, Mapping) else type(found).__name__
            raise EcgfmError(f"checkpoint {path}: no entry {key!r}; it has {have}.")
        found = found[key]
    if not isinstance(found, Mapping):
        raise EcgfmError(f"checkpoint {path}: {'.'.join(nesting)} is a {type(found).__name__}, not tensors by key.")
    return dict(found)


def load_backbone(
    module: Any, state: Mapping[str, Any], *, path: Path, prefix: str = "", heads: Sequence[str] = ()
) -> None:
    """Load every tensor of a module, and account for every tensor of the file.

    Parameters
    ----------
    module : torch.nn.Module
        Its keys are the layout's, without `prefix`. Changed in place.
    state : mapping of str to tensor
        From the file.
    path : Path
        For messages.
    prefix : str
        Of the backbone's keys in the file; keys without it must match `heads`.
    heads : sequence of str
        Patterns (as of `fnmatch`), matched against the file's full keys, of tensors that are known and not part of
        the backbone, such as heads of pretraining.

    Raises
    ------
    EcgfmError
        Listing missing, unexpected and misshapen keys: a backbone that silently keeps random weights is the worst error
        that a benchmark can make.
    """
    import torch

    wanted = module.state_dict()
    given: dict[str, torch.Tensor] = {}
    unexpected = []
    for key, value in ((str(key), value) for key, value in state.items()):
        if any(fnmatchcase(key, pattern) for pattern in heads):
            continue
        name = _same_spelling(key.removeprefix(prefix), wanted)
        # A second spelling of the same tensor is one too many.
        if not key.startswith(prefix) or name not in wanted or name in given or not isinstance(value, torch.Tensor):
            unexpected.append(key)
        else:
            given[name] = value
    missing = [f"{prefix}{key}" for key in wanted if key not in given]
    misshapen = [
        f"{prefix}{key} {what(value)} instead of {what(wanted[key])}"
        for key, value in given.items()
        for what in (_shape, _kind)
        if what(value) != what(wanted[key])
    ]
    problems = [
        f"{len(keys)} {kind} ({', '.join(keys[:_LISTED])}{', ...' if len(keys) > _LISTED else ''})"
        for kind, keys in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if keys
    ]
    if problems:
        raise EcgfmError(f"checkpoint {path}: does not fit the model: {'; '.join(problems)}.")
    bad = [key for key, value in given.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if bad:
        raise EcgfmError(f"checkpoint {path}: weights that are not finite: {', '.join(bad[:_LISTED])}.")
    module.load_state_dict({key: value.to(wanted[key].dtype) for key, value in given.items()}, strict=True)


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _kind(tensor: Any) -> str:
    if tensor.is_complex():
        return "complex"
    return "float" if tensor.is_floating_point() else "integer"


def _same_spelling(key: str, wanted: Mapping[str, Any]) -> str:
    """Translate between torch's two spellings of weight normalisation, whichever the module uses."""
    if key in wanted:
        return key
    for old, new in (
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    ):
        for have, other in ((old, new), (new, old)):
            if key.endswith(f".{have}") and f"{key.removesuffix(have)}{other}" in wanted:
                return f"{key.removesuffix(have)}{other}"
    return key
