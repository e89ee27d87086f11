"""A cube's file to an `xarray.DataTree`; what it may hold is looked at before anything of it is loaded.

HDF5 can make a file stand for others (external links, external storage, virtual data sets), for far more than it holds
(chunks and strings that repeat), and for itself (groups that hold themselves). xarray writes none of these.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import xarray as xr

from pytest_ecgfm.errors import EcgfmError, first_line

SCHEMA_VERSION = 1

MAXIMUM_BYTES = 4_000_000_000
"""In memory; a run of every published cohort stays below a tenth of it."""

_MAXIMUM_OBJECTS = 2_000
_MAXIMUM_DEPTH = 6
_MAXIMUM_ATTRIBUTES = 1_000
_BLOCK_BYTES = 1_000_000_000
_MAXIMUM_TEXTS = 5_000_000


def require_plain(path: Path) -> None:
    """Refuse a cube that reaches for other files, or would take more time or memory than any run's.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    EcgfmError
        What is wrong with it, and where; without the file's name.
    OSError, RuntimeError, ValueError, KeyError
        From h5py, if the file is damaged.
    """
    size = path.stat().st_size
    if size > MAXIMUM_BYTES:
        raise EcgfmError(f"it holds {size:,} bytes, more than {MAXIMUM_BYTES:,}.")
    with h5py.File(path, "r") as file:
        found: list[Any] = []
        _walk(file, 0, found)
        total = sum(_bytes(one) for one in found)
        for one in found:
            if total > MAXIMUM_BYTES:
                break
            if h5py.check_string_dtype(one.dtype) is not None and one.dtype.kind == "O":
                total += _text_bytes(one, size, MAXIMUM_BYTES - total)
        if total > MAXIMUM_BYTES:
            raise EcgfmError(f"it would take {total:,} bytes of memory, more than {MAXIMUM_BYTES:,}.")


def _walk(group: Any, depth: int, found: list[Any]) -> None:
    """Collect the data sets below a group, each being stored in this file."""
    if depth > _MAXIMUM_DEPTH:
        raise EcgfmError(f"{group.name[:80]}: groups in more than {_MAXIMUM_DEPTH} levels.")
    _check_attributes(group)
    # Groups count, too, by the name that they are reached by: links back to a group would make a walk endless.
    if len(group) + len(found) > _MAXIMUM_OBJECTS:
        raise EcgfmError(f"more than {_MAXIMUM_OBJECTS:,} data sets.")
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise EcgfmError(f"{name[:80]!r} is a link to elsewhere, not a part of this file; it is not followed.")
        held = group[name]
        if isinstance(held, h5py.Group):
            found.append(np.empty(0))
            _walk(held, depth + 1, found)
        elif isinstance(held, h5py.Dataset):
            if held.is_virtual or held.external is not None:
                raise EcgfmError(f"{name[:80]!r} is stored in another file; it is not followed.")
            _check_attributes(held)
            found.append(held)


def _check_attributes(held: Any) -> None:
    names = held.attrs
    if len(names) > _MAXIMUM_ATTRIBUTES:
        raise EcgfmError(f"{held.name[:80]} has more than {_MAXIMUM_ATTRIBUTES:,} attributes.")
    for name in names:
        one = names.get_id(name)
        if math.prod(one.shape) * max(1, one.dtype.itemsize) > _BLOCK_BYTES:
            raise EcgfmError(f"{held.name[:80]}: attribute {name[:80]!r} is larger than {_BLOCK_BYTES:,} bytes.")


def _bytes(held: Any) -> int:
    """Return the memory that an array takes, or one of its chunks where that is more."""
    chunk = math.prod(getattr(held, "chunks", None) or (0,))
    return max(math.prod(held.shape or (0,)), chunk) * int(held.dtype.itemsize)


def _text_bytes(held: Any, size: int, limit: int) -> int:
    """Return the memory that texts take, or a number above `limit` as soon as it is reached.

    The file does not say how long its texts are, and one text may stand at many places: they are read in blocks so
    small that a block of texts as long as the whole file could be borne.
    """
    if held.size > _MAXIMUM_TEXTS:
        raise EcgfmError(f"{held.name[:80]} holds {held.size:,} texts, more than {_MAXIMUM_TEXTS:,}.")
    total = 0
    for selection in _blocks(held.shape, max(1, _BLOCK_BYTES // max(1, size))):
        texts = held[selection]
        total += len(texts) if isinstance(texts, bytes) else sum(len(text) for text in texts.ravel())
        if total > limit:
            break
    return total


def _blocks(shape: tuple[int, ...], block: int, before: tuple[int, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield selections of at most `block` elements that together are the whole array."""
    if not shape:
        yield before
        return
    rest = math.prod(shape[1:])
    if rest <= block:
        step = max(1, block // max(1, rest))
        for start in range(0, shape[0], step):
            yield (*before, slice(start, start + step))
    else:
        for index in range(shape[0]):
            yield from _blocks(shape[1:], block, (*before, index))


Loading = TypeVar("Loading", xr.DataTree, xr.Dataset)


def open_run(run: str | Path) -> xr.DataTree:
    """Open a finished run's cube.

    Parameters
    ----------
    run : path
        The run's folder, or its ``cube.nc``.

    Raises
    ------
    EcgfmError
        If there is no cube; if a newer version of the schema wrote it; or if no run writes such a file, because it
        refers to other files, or would take all memory (`require_plain`).
    """
    path = Path(run)
    path = path / "cube.nc" if path.is_dir() else path
    if not path.is_file():
        raise EcgfmError(f"run {run}: no cube.nc there.")
    try:
        require_plain(path)
        tree = xr.open_datatree(path, engine="h5netcdf")
    except EcgfmError as error:
        raise EcgfmError(f"run {run}: cube.nc is refused: {error}") from None
    except Exception as error:
        # A damaged file makes h5py and xarray raise errors of any type.
        raise _unreadable(run, error) from None
    try:
        version = tree.attrs.get("schema_version", "none")
        if not np.array_equal(version, SCHEMA_VERSION):
            raise EcgfmError(f"run {run}: schema version {version}, but this release reads {SCHEMA_VERSION}.")
        if (size := sum(node.dataset.nbytes for node in tree.subtree)) > MAXIMUM_BYTES:
            raise EcgfmError(f"run {run}: cube.nc would take {size:,} bytes of memory, more than {MAXIMUM_BYTES:,}.")
    except EcgfmError:
        tree.close()
        raise
    return tree


def read_into_memory(data: Loading, run: str | Path) -> Loading:
    """Read a tree, or a group of it, whole.

    Parameters
    ----------
    data : DataTree or Dataset
        From `open_run`.
    run : path
        For the message.

    Raises
    ------
    EcgfmError
        If the file is damaged.
    """
    try:
        return data.load()
    except Exception as error:
        # As in `open_run`: errors of any type.
        raise _unreadable(run, error) from None


def _unreadable(run: str | Path, error: Exception) -> EcgfmError:
    return EcgfmError(f"run {run}: cube.nc cannot be read ({first_line(error)[:200] or type(error).__name__}).")
