"""Whether ``provenance.json`` says what the cube and the verdict of its run say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xarray as xr

from pytest_ecgfm.cards.bounded_files import read_json
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.results.provenance import PROVENANCE, provenance
from pytest_ecgfm.results.verdict import VerdictFile


def provenance_problems(folder: Path, verdict: VerdictFile, tree: xr.DataTree) -> Iterator[str]:
    """Name what of a run's provenance is not what its cube and verdict say.

    Parameters
    ----------
    folder : Path
        Of the run. A run of before this file was written has none, and states no digest of one.
    verdict : VerdictFile
    tree : DataTree
        The cube.

    Yields
    ------
    str
        One line a problem.
    """
    path = folder / PROVENANCE
    if PROVENANCE not in verdict.digests and not path.exists():
        return
    files = {name: digest for name, digest in verdict.digests.items() if name != PROVENANCE}
    try:
        held: Any = read_json(path)
        wanted = provenance({str(name): one for name, one in tree.attrs.items()}, verdict.identity, files).model_dump(
            mode="json", by_alias=True
        )
    except (OSError, EcgfmError, ValueError, AttributeError, TypeError, RecursionError) as error:
        yield f"{PROVENANCE} cannot be compared ({type(error).__name__}: {error})"
        return
    if not isinstance(held, dict):
        yield f"{PROVENANCE}: should be an object"
        return
    for name, value in wanted.items():
        if held.get(name) != value:
            yield f"{PROVENANCE}: {name} is {held.get(name)!r}, but the run's other files give {value!r}"
