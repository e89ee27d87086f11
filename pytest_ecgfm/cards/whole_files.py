"""Files that are written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole(path: Path, *, ending: str = "") -> Iterator[Path]:
    """Yield another path beside a file's own; what was written there takes the file's place at the end.

    Nobody sees a half-written file, and where writing fails, nothing is left of it.

    Parameters
    ----------
    path : Path
        Where the file goes; its folder is there.
    ending : str
        Of the other path, for a library that looks at it, or that would add one.

    Yields
    ------
    Path
        A name that cannot be guessed: a link of that name would lead to another file.

    Raises
    ------
    OSError
        If it cannot be put in its place.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with whole(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("written")
    >>> [one.name for one in folder.iterdir()]
    ['a.txt']
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{ending}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
