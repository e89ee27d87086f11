"""Files from strangers, read within bounds: regular files only, of a limited size, that cannot keep a run waiting."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from pytest_ecgfm.errors import EcgfmError

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
_MAXIMUM_JSON = 50_000_000


def read_bounded(path: Path, limit: int) -> bytes:
    """Return what a regular file holds.

    Parameters
    ----------
    path : Path
        Links are followed, but not to a device, a pipe or a socket: those could wait for ever, or never end.
    limit : int
        Bytes that it may hold at most.

    Raises
    ------
    EcgfmError
        If it is no regular file or too large; the message starts with what is wrong, not with the file.
    OSError, ValueError
        If it cannot be read, or the path is none.
    """
    # Looked at before it is opened: opening alone can wait, or set a device going.
    if not stat.S_ISREG(path.stat().st_mode):
        raise EcgfmError("not a regular file.")
    descriptor = os.open(path, _FLAGS)
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise EcgfmError("not a regular file.")
        # Some files of /proc say that they are empty and are not.
        data = handle.read(limit + 1)
    if len(data) > limit:
        raise EcgfmError(f"larger than {limit:,} bytes.")
    return data


def read_json(path: Path, *, limit: int = _MAXIMUM_JSON) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    EcgfmError
        If it is no regular file, too large, too deep or no JSON; as `read_bounded`, without the file's name.
    OSError
        If it cannot be read.
    """
    try:
        return json.loads(read_bounded(path, limit).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise EcgfmError(f"{str(error)[:200]}.") from None
