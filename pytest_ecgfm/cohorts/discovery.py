"""Which cohorts lie below a folder, recognised by the files that they publish."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.folders import first_few
from pytest_ecgfm.cohorts.layouts import LAYOUTS, Layout, Listing, Sighting, unread_table
from pytest_ecgfm.errors import EcgfmError, unknown_name

__all__ = ["LAYOUTS", "FoundCohort", "discover", "load_cohort", "load_found"]


@dataclass(frozen=True)
class FoundCohort:
    """A cohort below a folder.

    Attributes
    ----------
    cohort : str
        Its name.
    layout : str
        Name of the layout.
    paths : tuple of Path
        What the layout reads.
    alternatives : tuple of FoundCohort
        The same cohort in other places or layouts; not read.
    """

    cohort: str
    layout: str
    paths: tuple[Path, ...]
    alternatives: tuple["FoundCohort", ...] = ()


def _walk(root: Path, links: list[Path]) -> Iterator[tuple[Layout, Sighting]]:
    """Yield what is recognised below `root`, in a fixed order; `links` collects links to folders, not followed."""
    waiting = [root]
    while waiting:
        path = waiting.pop()
        folders: set[str] = set()
        files: set[str] = set()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.add(entry.name)
                    elif entry.is_symlink() and entry.is_dir():
                        links.append(Path(entry.path))
                    else:
                        files.add(entry.name)
        except OSError as error:
            raise EcgfmError(f"data folder {root}: cannot list {path} ({error.strerror}).") from None
        listing = Listing(path, frozenset(folders), frozenset(files))
        owned: set[str] = set()
        seen = [(layout, sighting) for layout in LAYOUTS for sighting in layout.recognise(listing)]
        # Left out in silence, a run would pass without the records that were meant.
        if not seen and (problem := unread_table(listing)) is not None:
            raise EcgfmError(problem)
        for layout, sighting in seen:
            owned |= sighting.owned
            yield layout, sighting
        # Hidden folders and lost+found are the system's or a tool's, never part of a release.
        below = (name for name in folders - owned if not name.startswith(".") and name != "lost+found")
        waiting.extend(path / name for name in sorted(below, reverse=True))


def _search(root: Path) -> tuple[dict[str, FoundCohort], list[Path]]:
    """Return the cohorts below `root`, and the links to folders that were not followed."""
    if not root.is_dir():
        raise EcgfmError(f"data folder {root}: no such folder.")
    links: list[Path] = []
    sightings: dict[str, list[tuple[Layout, FoundCohort]]] = defaultdict(list)
    for layout, sighting in _walk(root, links):
        sightings[sighting.cohort].append((layout, FoundCohort(sighting.cohort, layout.name, sighting.paths)))
    found: dict[str, FoundCohort] = {}
    for cohort, seen in sightings.items():
        if len(seen) > 1:
            # Splits are by patient, so a release with patient identifiers beats a larger copy without.
            seen.sort(key=lambda each: (not each[0].has_patients, -each[0].count(each[1].paths), each[1].paths))
        found[cohort] = replace(seen[0][1], alternatives=tuple(other for _, other in seen[1:]))
    return found, links


def discover(root: Path) -> dict[str, FoundCohort]:
    """Return the cohorts below a folder, by name.

    Parameters
    ----------
    root : Path
        Searched at any depth. Links to folders are not followed.

    Returns
    -------
    dict of str to FoundCohort
        In the order of the search. Where a cohort is there more than once, the place that has patient identifiers,
        then the one with more records, is taken; the others are its `FoundCohort.alternatives`.

    Raises
    ------
    EcgfmError
        If `root` is no folder, a folder below it cannot be listed, or records with a ``labels.csv`` lack its columns.
    """
    return _search(Path(root))[0]


def load_cohort(name: str, root: Path, *, sampling_rate: float | None = None, skip_bad: bool = False) -> Cohort:
    """Load a cohort that lies below a folder.

    Parameters
    ----------
    name : str
        Such as ``"ptb-xl"``.
    root : Path
        Searched as by `discover`.
    sampling_rate : float, optional
        In Hz, for cohorts that are published at several rates.
    skip_bad : bool
        Leave out records whose header is malformed or whose files are missing, with the reason in the cohort's
        `excluded`, rather than raise.

    Raises
    ------
    EcgfmError
        If the cohort is not there (the message lists those that are), not published at that rate, or malformed.
    """
    root = Path(root)
    found, links = _search(root)
    if name not in found:
        error = unknown_name("cohort", name, found, where=f"data folder {root}")
        if links:
            error = EcgfmError(f"{error} Links to folders are not followed: {first_few(links)}.")
        raise error
    return load_found(found[name], sampling_rate=sampling_rate, skip_bad=skip_bad)


def load_found(found: FoundCohort, *, sampling_rate: float | None = None, skip_bad: bool = False) -> Cohort:
    """Load a cohort that `discover` found; as `load_cohort`, without another search."""
    layouts = {layout.name: layout for layout in LAYOUTS}
    return layouts[found.layout].load(found.paths, sampling_rate, skip_bad)
