"""TOML from strangers, read within bounds."""

import tomllib
from pathlib import Path
from typing import Any

from pytest_ecgfm.cards.bounded_files import read_bounded
from pytest_ecgfm.errors import EcgfmError

_MAXIMUM_BYTES = 1_000_000
_MAXIMUM_DOTS = 1_000


def read_toml(path: Path, kind: str, *, known: str = "") -> dict[str, Any]:
    """Read a TOML file.

    Parameters
    ----------
    path : Path
        A regular file of at most 1 MB; see `parse_toml`.
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
        text = read_bounded(path, _MAXIMUM_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise EcgfmError(f"{kind} {path}: no such file.{known}") from None
    except (OSError, ValueError, EcgfmError) as error:
        # Texts that cannot be decoded are ValueErrors, as are paths that no system takes.
        raise EcgfmError(f"{kind} {path}: {error}") from None
    return parse_toml(text, f"{kind} {path}")


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Parse TOML.

    Parameters
    ----------
    text : str
        At most 1 MB; at most 1,000 dots a line, as tomllib takes minutes for a key of very many parts.
    where : str
        What the message of an error starts with.

    Raises
    ------
    EcgfmError
        One line: `where`, and what is wrong.
    """
    if len(text) > _MAXIMUM_BYTES:
        raise EcgfmError(f"{where}: larger than {_MAXIMUM_BYTES:,} bytes.")
    if any(line.count(".") > _MAXIMUM_DOTS for line in text.splitlines()):
        raise EcgfmError(f"{where}: a line of more than {_MAXIMUM_DOTS:,} dots.")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise EcgfmError(f"{where}: {error}") from None
