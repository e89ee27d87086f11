"""Reading files of a cohort's folder, and of nothing outside it."""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pytest_ecgfm.errors import EcgfmError

# Windows has no O_NOFOLLOW: there every file is resolved before it is opened.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FLAGS = os.O_RDONLY | _NOFOLLOW | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class Folder:
    """A cohort's folder: every file name that a cohort's own files state is looked up through it.

    Parameters
    ----------
    root : Path
        The folder. Names that lead out of it (absolute, ``..``, or a symbolic link) are refused.
    *more : Path
        Further folders of the same cohort.

    Raises
    ------
    EcgfmError
        If one of them is not a folder.
    """

    def __init__(self, root: Path, *more: Path) -> None:
        self.root = Path(root)
        for part in (self.root, *more):
            if not part.is_dir():
                raise EcgfmError(f"{part}: no such folder.")
        self._resolved = tuple(part.resolve() for part in (self.root, *more))
        self._checked: set[Path] = set()

    def check(self, path: Path, *, where: str) -> Path:
        """Return `path` if it lies below the folder once every symbolic link is followed.

        Raises
        ------
        EcgfmError
            If it does not; the message starts with `where`.
        """
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise EcgfmError(f"{where}: cannot resolve {str(path)!r} ({error}).") from None
        if not any(resolved.is_relative_to(part) for part in self._resolved):
            raise EcgfmError(
                f"{where}: {str(path)!r} leads out of the cohort's folder {self.root}; it is not followed."
            )
        return path

    def join(self, relative: str, *, where: str) -> Path:
        """Return the path of a file named relative to the folder, as a table of the cohort states it.

        Only the containing folder is resolved here, once; the file itself is opened without following links.

        Raises
        ------
        EcgfmError
            If the name is empty, absolute, holds ``..`` or a control character, or leads out of the folder.
        """
        pure = PurePosixPath(relative)
        if (
            not relative.strip()
            or relative != relative.strip()
            or not relative.isprintable()
            or "\\" in relative
            or pure.is_absolute()
            or ".." in pure.parts
            or (os.name == "nt" and ":" in relative)
        ):
            raise EcgfmError(
                f"{where}: {relative!r} is not a file name below the cohort's folder {self.root}; it is not followed."
            )
        return self.inside(self.root / pure, where=where)

    def inside(self, path: Path, *, where: str) -> Path:
        """Return `path` if its folder is not outside this one; each folder is resolved once only.

        Raises
        ------
        EcgfmError
            If it is outside.
        """
        parent = path.parent
        if parent not in self._checked:
            self.check(parent, where=where)
            self._checked.add(parent)
        return path

    def read(self, path: Path, *, where: str, limit: int | None = None) -> bytes:
        """Return the bytes of a file.

        Parameters
        ----------
        path : Path
            Its folder must have passed `inside`.
        where : str
            What the message of an error starts with.
        limit : int, optional
            Refuse a file of more bytes.

        Raises
        ------
        EcgfmError
            If the file is missing, unreadable, not a regular file, too large, or a link that leads out of the folder.
        """
        descriptor = self._open(path, where)
        try:
            size = _regular(descriptor, path, where).st_size
            if limit is not None and size > limit:
                raise EcgfmError(f"{where}: {path} holds {size} bytes; at most {limit} are plausible.")
            return _read_all(descriptor, size)
        except OSError as error:
            raise EcgfmError(f"{where}: cannot read {path} ({error.strerror or error}).") from None
        finally:
            os.close(descriptor)

    def require(self, path: Path, *, where: str) -> None:
        """Refuse what `read` would refuse, whatever its size.

        Raises
        ------
        EcgfmError
            As `read`.
        """
        descriptor = self._open(path, where)
        try:
            _regular(descriptor, path, where)
        finally:
            os.close(descriptor)

    def _open(self, path: Path, where: str) -> int:
        self.inside(path, where=where)
        if not _NOFOLLOW:
            self.check(path, where=where)
        try:
            return os.open(path, _FLAGS)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise EcgfmError(f"{where}: cannot read {path} ({error.strerror or error}).") from None
            return self._open_link(path, where)
        except ValueError as error:
            raise EcgfmError(f"{where}: cannot read {str(path)!r} ({error}).") from None

    def _open_link(self, path: Path, where: str) -> int:
        """Open a symbolic link whose target lies below the folder."""
        self.check(path, where=where)
        try:
            return os.open(path.resolve(), _FLAGS)
        except OSError as error:
            raise EcgfmError(f"{where}: cannot read {path} ({error.strerror or error}).") from None


def _regular(descriptor: int, path: Path, where: str) -> os.stat_result:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise EcgfmError(f"{where}: {path} is not a regular file.")
    return status


def beginning(path: Path, most: int) -> bytes:
    """Return the first bytes of a regular file, to see what it is; nothing of a pipe or a device.

    Links are followed wherever they lead: what is returned must not be shown.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    # Looked at before it is opened: opening alone can wait, or set a device going.
    if not stat.S_ISREG(path.stat().st_mode):
        return b""
    with os.fdopen(os.open(path, _FLAGS & ~_NOFOLLOW), "rb") as file:
        return file.read(most) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""


def _read_all(descriptor: int, size: int) -> bytes:
    """Return what a file holds; one call to the system where it gives everything at once, as it nearly always does."""
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return data
    parts = [data]
    while parts[-1]:
        parts.append(os.read(descriptor, 1 << 20))
    return b"".join(parts)


def first_few(names: Iterable[object], *, few: int = 3) -> str:
    """Return the first few of `names`, and how many more there are, for a message."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - few} more" if len(listed) > few else ""
    return ", ".join(listed[:few]) + more
