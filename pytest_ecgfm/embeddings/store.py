"""Arrays on disk in chunks of rows: each chunk is a file that is written whole or not at all, and checked when read.

Chunks are numpy's ``.npz``, whose zip container has a CRC-32 of every member. Zarr would do the same work, but it
brings a pytest plugin that imports it, and numpy, in every pytest run of an environment (docs/scale.md has the
figures). One HDF5 file would not survive a process that is killed while it writes.
"""

import json
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cards.bounded_files import read_json
from pytest_ecgfm.errors import EcgfmError

if TYPE_CHECKING:
    from filelock import FileLock


Array = npt.NDArray[Any]

_ABOUT = "about.json"
_FOLDER = "embeddings"
_MADE_BY = "pytest-ecgfm"
_MOST_ABOUT = 1_000_000
# What a store writes into its folder, and so all that is ever removed from one.
_WRITTEN = re.compile(r"(?:\d{9,}-\d{9,}\.npz|about\.json)(?:\.[0-9a-f]{32}\.tmp)?", re.ASCII)


def cache_folder(given: Path | None = None) -> Path:
    """Return where embeddings and prepared cohorts are kept.

    Parameters
    ----------
    given : Path, optional
        Wins; otherwise ``$ECGFM_CACHE``, otherwise the user's cache folder.
    """
    if given is not None:
        return given.expanduser().absolute()
    if os.environ.get("ECGFM_CACHE"):
        return Path(os.environ["ECGFM_CACHE"]).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("pytest-ecgfm")


class ArrayStore:
    """One array on disk, in chunks of rows.

    Any set of chunks is a valid state: what is missing, damaged or foreign is made again by whoever asks. Whoever
    writes holds the lock.

    Parameters
    ----------
    cache : Path
        The cache's folder.
    name : str
        Of the array's folder in it.
    key : str
        Says what made the array, and is in every chunk: a chunk of another key is never served.
    rows : int
        Of the whole array.
    about : dict
        For people, and for `entries`.
    """

    def __init__(self, cache: Path, name: str, key: str, rows: int, about: dict[str, Any]) -> None:
        self.folder = cache / _FOLDER / f"{name}-{key}"
        self.key = key
        self.rows = rows
        self.about = about
        self.lock = _lock(self.folder)

    def tidy(self) -> None:
        """Remove what a killed process left half-written, and note that the array was asked for.

        Raises
        ------
        OSError
            If the folder is there and cannot be written.
        """
        if not self.folder.is_dir():
            return
        for left in self.folder.glob("*.tmp"):
            left.unlink(missing_ok=True)
        self._describe()

    def read(self, rows: Collection[int] | None = None) -> Iterator[tuple[int, Array]]:
        """Yield the first row and the values of each intact chunk, in order; no row twice, all rows of one shape.

        With `rows`, only the chunks that hold one of these.
        """
        end, shape = 0, None
        for begin, stop, path in _chunks(self.folder):
            if begin < end or stop > self.rows or (rows is not None and not any(begin <= row < stop for row in rows)):
                continue
            values = _intact(path, self.key, begin, stop)
            if values is None or shape not in (None, values.shape[1:]):
                continue
            end, shape = stop, values.shape[1:]
            yield begin, values

    def write(self, begin: int, values: Array) -> None:
        """Write the rows from `begin` on.

        Raises
        ------
        OSError
            If they cannot be written; what was there before is untouched.
        """
        name = f"{begin:09d}-{begin + len(values):09d}.npz"

        def save(handle: BinaryIO) -> None:
            np.savez(handle, key=np.array(self.key), begin=np.array(begin), values=values)

        try:
            self._replace(name, save)
        except FileNotFoundError:
            # The first chunk, or somebody deleted the folder meanwhile: what is still to come is worth keeping.
            self.folder.mkdir(parents=True, exist_ok=True)
            self._describe()
            self._replace(name, save)

    def _describe(self) -> None:
        about = {**self.about, "rows": self.rows, "key": self.key, "made_by": _MADE_BY}
        note = json.dumps(about, ensure_ascii=False)
        self._replace(_ABOUT, lambda handle: handle.write(note.encode()))

    def _replace(self, name: str, save: Callable[[BinaryIO], object]) -> None:
        # A temporary name of its own, then a rename: a killed process leaves nothing half-written under the final name.
        temporary = self.folder / f"{name}.{uuid4().hex}.tmp"
        try:
            with temporary.open("wb") as handle:
                save(handle)
            temporary.replace(self.folder / name)
        finally:
            temporary.unlink(missing_ok=True)


def gaps(rows: int, held: Sequence[range], length: int) -> list[range]:
    """Return the rows that are missing, in stretches of at most `length`.

    Parameters
    ----------
    rows : int
        All rows.
    held : sequence of range
        Which ones are there, in order, none twice.
    length : int
        Where nothing is there, stretches begin at multiples of it: rows that were computed together once will be
        together again.
    """
    missing, at = [], 0
    for one in (*held, range(rows, rows)):
        while at < one.start:
            end = min(at - at % length + length, one.start)
            missing.append(range(at, end))
            at = end
        at = max(at, one.stop)
    return missing


@dataclass(frozen=True)
class Entry:
    """One array in the cache.

    Attributes
    ----------
    folder : Path
    encoder, cohort, part : str
        What it is an embedding of; `part` is empty for a whole cohort.
    rows, held : int
        Rows of the array, and how many of them are there.
    size : int
        Bytes on disk.
    used : float
        When a run last asked for it, in seconds since 1970.
    ours : bool
        Whether the folder holds the note of the store that made it; no other folder is ever removed.
    """

    folder: Path
    encoder: str
    cohort: str
    part: str
    rows: int
    held: int
    size: int
    used: float
    ours: bool


def entries(cache: Path) -> list[Entry]:
    """List what is in a cache, by encoder, cohort and part.

    An entry whose description is damaged is listed by its folder's name.

    Raises
    ------
    EcgfmError
        If the folder cannot be read.
    """
    try:
        folders = [path for path in (cache / _FOLDER).iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EcgfmError(f"cannot read the cache folder {cache}: {error.strerror}.") from None
    found = [one for one in map(_entry, folders) if one is not None]
    return sorted(found, key=lambda one: (one.encoder, one.cohort, one.part, one.folder))


def remove(entry: Entry) -> str:
    """Remove an array from the cache: the files that the store wrote, and the folder once it is empty.

    Links are not followed.

    Returns
    -------
    str
        Why it was left, or what of it; empty if it is gone.

    Raises
    ------
    EcgfmError
        If it cannot be removed.
    """
    from filelock import Timeout

    lock = Path(_lock(entry.folder).lock_file)
    if entry.folder.is_symlink() or entry.folder.parent.is_symlink() or lock.is_symlink():
        return "it is a link, not removed"
    if not entry.ours:
        return f"not made by ecgfm (no valid {_ABOUT}), not removed"
    try:
        with _lock(entry.folder).acquire(timeout=0), suppress(FileNotFoundError):  # another process was faster
            left = _empty(entry.folder)
            if left:
                return f"{left} files or folders in it were not made by ecgfm, not removed"
            entry.folder.rmdir()
    except Timeout:
        return "in use by a run, not removed"
    except OSError as error:
        raise EcgfmError(f"cannot remove {entry.folder}: {error.strerror}.") from None
    # Whoever waited for this file meanwhile has it open; at worst two processes make the same chunks.
    lock.unlink(missing_ok=True)
    return ""


def _empty(folder: Path) -> int:
    """Remove what a store wrote into its folder; return how many other things are there."""
    left = 0
    for path in sorted(folder.iterdir(), key=lambda path: path.name == _ABOUT):
        # The note goes last: an interrupted removal can be taken up again.
        if _WRITTEN.fullmatch(path.name) and stat.S_ISREG(path.lstat().st_mode) and not (left and path.name == _ABOUT):
            path.unlink(missing_ok=True)
        else:
            left += path.name != _ABOUT or not stat.S_ISREG(path.lstat().st_mode)
    return left


def _lock(folder: Path) -> "FileLock":
    # Only with something to lock: every start asks this module where the cache is.
    from filelock import FileLock

    return FileLock(f"{folder}.lock")


def _entry(folder: Path) -> Entry | None:
    note: Any = {}
    files, used, held = [], time.time(), 0
    try:
        files = [path.lstat() for path in folder.iterdir()]
        used = max([one.st_mtime for one in files], default=time.time())
        held = sum(stop - begin for begin, stop, _ in _chunks(folder))
        note = read_json(folder / _ABOUT, limit=_MOST_ABOUT)
    except FileNotFoundError:
        if not folder.is_dir():
            return None  # removed by another process meanwhile
    except (OSError, EcgfmError):
        pass
    note = note if isinstance(note, dict) else {}
    rows = note.get("rows")
    return Entry(
        folder,
        str(note.get("encoder", folder.name)),
        str(note.get("cohort", "")),
        str(note.get("part", "")),
        rows if isinstance(rows, int) else held,
        held,
        sum(one.st_size for one in files),
        used,
        note.get("made_by") == _MADE_BY and folder.name.endswith(f"-{note.get('key')}") and not folder.is_symlink(),
    )


def _chunks(folder: Path) -> list[tuple[int, int, Path]]:
    """Return first row, the one after the last, and file of each chunk, by row."""
    found = []
    for path in folder.glob("*.npz"):
        begin, _, stop = path.stem.partition("-")
        if begin.isdecimal() and stop.isdecimal():
            found.append((int(begin), int(stop), path))
    return sorted(found)


def _intact(path: Path, key: str, begin: int, stop: int) -> Array | None:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as held:
            # First of all: numpy stops reading where an array's header says, which may be before the checksum's end.
            if held.zip.testzip() is not None or str(held["key"]) != key or int(held["begin"]) != begin:
                return None
            values: Array = held["values"]
    except Exception:  # a damaged file makes the readers of zip and npy raise nearly anything
        return None
    return values if values.dtype in (np.float32, np.float64) and values.shape[:1] == (stop - begin,) else None
