"""TOML files from strangers, read within bounds."""

import tomllib
from pathlib import Path
from typing import Any

from pytest_ecgfm.errors import EcgfmError

_MAXIMUM_BYTES = 1_000_000
_MAXIMUM_DOTS = 1_000


def read_toml(path: Path, kind: str, *, known: str = "") -> dict[str, Any]:
    """Read a TOML file.

    Parameters
    ----------
    path : Path
        At most 1 MB; at most 1,000 dots a line, as tomllib takes minutes for a key of very many parts.
    kind : str
        What it is, for the message, such as ``"profile"``.
    known : str
        Added to the message where there is no such file.

    Raises
    ------
    EcgfmError
        One line: file, and what is wrong.
    """
    try:
        if path.stat().st_size > _MAXIMUM_BYTES:
            raise EcgfmError(f"{kind} {path}: larger than {_MAXIMUM_BYTES:,} bytes.")
        text = path.read_text(encoding="utf-8")
        if any(line.count(".") > _MAXIMUM_DOTS for line in text.splitlines()):
            raise EcgfmError(f"{kind} {path}: a line of more than {_MAXIMUM_DOTS:,} dots.")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise EcgfmError(f"{kind} {path}: no such file.{known}") from None
    except (OSError, ValueError, RecursionError) as error:
        # Texts and TOML that cannot be decoded are ValueErrors, as are paths that no system takes.
        raise EcgfmError(f"{kind} {path}: {error}") from None
