"""Cohorts in HDF5 files: opened for reading only, links to other files refused."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.published import PublishedCohort
from pytest_ecgfm.cohorts.quality import padding_of
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import FloatArray, Recording

_MAXIMUM_CHUNK = 2_000_000_000  # bytes: a chunk is read whole, whatever it is read for


@contextmanager
def open_hdf5(folder: Folder, path: Path, *, where: str) -> Iterator[Any]:
    """Open an HDF5 file of a cohort's folder for reading.

    Parameters
    ----------
    folder : Folder
        The cohort's folder.
    path : Path
        The file.
    where : str
        What the message of an error starts with.

    Yields
    ------
    h5py.File
        Closed afterwards.

    Raises
    ------
    EcgfmError
        If the file is missing, damaged or outside of the folder; also for damage met while it is open.
    """
    folder.check(path, where=where)
    if not path.is_file():
        raise EcgfmError(f"{where}: cannot read {path} (no such file).")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except EcgfmError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        # The classes that h5py raises for damaged files, by where the damage is.
        raise EcgfmError(f"{where}: cannot read {path} as HDF5 ({error}).") from None


def dataset(file: Any, name: str, shape: Sequence[int | None], *, kinds: str, where: str) -> Any:
    """Return a data set of an open file, once it is known to be what it should be.

    Parameters
    ----------
    file : h5py.File
        Open.
    name : str
        Of the data set.
    shape : sequence of (int or None)
        Its shape; None for any extent.
    kinds : str
        NumPy's letters of the types that it may have, such as ``"f"``.
    where : str
        What the message of an error starts with.

    Raises
    ------
    EcgfmError
        If it is missing, of another shape or type, or stored in another file.
    """
    link = file.get(name, getlink=True)
    if link is None:
        raise EcgfmError(f"{where}: no data set {name!r}; there are {', '.join(sorted(file)) or 'none'}.")
    # External links, external storage and virtual data sets are HDF5's ways to read from another file.
    found = file.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external is not None:
        raise EcgfmError(f"{where}: {name!r} is not a data set of this file itself; it is not followed.")
    fits = len(found.shape) == len(shape) and all(
        want is None or want == have for want, have in zip(shape, found.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if extent is None else str(extent) for extent in shape)
        raise EcgfmError(f"{where}: {name!r} has the shape {found.shape}; it should be ({wanted}).")
    if found.dtype.kind not in kinds:
        raise EcgfmError(f"{where}: {name!r} holds {found.dtype}, which is not of kind {kinds!r}.")
    if math.prod(found.chunks or (0,)) * found.dtype.itemsize > _MAXIMUM_CHUNK:
        raise EcgfmError(f"{where}: {name!r} is stored in chunks of {found.chunks}, which would take all memory.")
    return found


class Hdf5Cohort(PublishedCohort):
    """A cohort whose records are in HDF5 files."""

    _leads: tuple[str, ...]
    _padded = True  # with zeros at both ends

    @abstractmethod
    def _stored(self, record: str) -> npt.NDArray[Any]:
        """Return one record as stored: floating point, shape ``(leads, samples)``, in mV, padding and all."""

    @abstractmethod
    def _where(self, record: str) -> str:
        """Return file and record, for messages."""

    def _trimmed(self, record: str) -> tuple[FloatArray, int, int]:
        """Return a record without padding, and how much there was."""
        stored = np.asarray(self._stored(record), np.float32)
        if not self._padded:
            return np.ascontiguousarray(stored), 0, 0
        start, end = padding_of(stored)
        if start == stored.shape[1]:
            raise EcgfmError(f"{self._where(record)}: every sample is 0.")
        return np.ascontiguousarray(stored[:, start : stored.shape[1] - end]), start, end

    def _read(self, record: str) -> Recording:
        return Recording(self._trimmed(record)[0], self._leads, self.sampling_rate)

    def padding(self, record: str) -> tuple[int, int]:
        """Return how many samples of padding the file holds before and after a record, which `read` leaves out."""
        _, start, end = self._trimmed(record)
        return start, end

    def _content_digest(self, records: Sequence[str]) -> str:
        digest = hashlib.sha256()
        for record in records:
            stored = np.ascontiguousarray(self._stored(record))
            for part in (record.encode(), f"{stored.dtype.str}{stored.shape}".encode(), stored.tobytes()):
                digest.update(len(part).to_bytes(8, "little"))
                digest.update(part)
        return digest.hexdigest()
