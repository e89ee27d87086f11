"""The published layouts: how each is recognised, loaded and counted."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_ecgfm.cohorts import (
    brugada_huca,
    challenge,
    chapman_ningbo,
    code15,
    codetest,
    folder,
    ludb,
    mimic_iv_ecg,
    ptb_xl,
    sph,
    stated,
)
from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.cohorts.facts import folder_facts
from pytest_ecgfm.cohorts.folders import Folder, beginning
from pytest_ecgfm.errors import EcgfmError


@dataclass(frozen=True)
class Listing:
    """One folder and the names in it; links to folders are in neither set."""

    path: Path
    folders: frozenset[str]
    files: frozenset[str]


@dataclass(frozen=True)
class Sighting:
    """A cohort that a layout recognises in a folder: its paths, and the subfolders that need no further search."""

    cohort: str
    paths: tuple[Path, ...]
    owned: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Layout:
    """A published layout. A new one is one row of `LAYOUTS`.

    Attributes
    ----------
    name : str
        For reports.
    names : tuple of str
        Cohorts that it publishes.
    recognise : callable
        Given a `Listing`, returns what it holds.
    load : callable
        Given the paths of a sighting, the sampling rate asked for (None: any) and whether to leave out unusable
        records, returns the cohort.
    count : callable
        Given the paths of a sighting, returns how many records there are, without reading them.
    has_patients : bool
        Whether patient identifiers are published.
    """

    name: str
    names: tuple[str, ...]
    recognise: Callable[[Listing], Sequence[Sighting]]
    load: Callable[[tuple[Path, ...], float | None, bool], Cohort]
    count: Callable[[tuple[Path, ...]], int]
    has_patients: bool


_MOST_COUNTED = 1_000_000_000
"""Bytes of a table, to tell the larger of two copies."""


def _see_ptb_xl(listing: Listing) -> list[Sighting]:
    if ptb_xl.DATABASE not in listing.files:
        return []
    return [Sighting("ptb-xl", (listing.path,), frozenset({"records100", "records500"}))]


def _count_ptb_xl(paths: tuple[Path, ...]) -> int:
    """Count header files at the rate that has more."""
    folders = [paths[0] / name for name in ("records100", "records500")]
    return max(_count_headers((folder,)) if folder.is_dir() else 0 for folder in folders)


def _is_challenge_source(path: Path) -> bool:
    """Whether a folder below ``training/`` holds headers that state a diagnosis, directly or in its groups."""
    try:
        for header, _ in challenge.list_headers(path):
            if path.name in challenge.SOURCES:
                return True
            return b"Dx:" in beginning(header, 1 << 16)
    except (OSError, EcgfmError):
        return False
    return False


def _see_challenge(listing: Listing) -> list[Sighting]:
    path = listing.path.resolve()
    if path.name == "training":
        sources = [name for name in sorted(listing.folders) if _is_challenge_source(listing.path / name)]
        paths: dict[str, list[Path]] = defaultdict(list)
        for name in sources:
            paths[challenge.source_of(name).cohort].append(listing.path / name)
        return [Sighting(cohort, tuple(found), frozenset(sources)) for cohort, found in paths.items()]
    # The user may point at one source itself; the search never comes here on its own way down.
    if path.parent.name == "training" and _is_challenge_source(listing.path):
        return [Sighting(challenge.source_of(path.name).cohort, (listing.path,), listing.folders)]
    return []


def _count_headers(paths: tuple[Path, ...]) -> int:
    return sum(1 for path in paths for _ in challenge.list_headers(path))


def _sees(is_there: Callable[[Listing], bool], cohort: str, *owned: str) -> Callable[[Listing], list[Sighting]]:
    """Return a recogniser of a layout that has one cohort and lies in the folder itself."""

    def see(listing: Listing) -> list[Sighting]:
        return [Sighting(cohort, (listing.path,), frozenset(owned))] if is_there(listing) else []

    return see


def _columns(listing: Listing, table: str) -> tuple[str, ...]:
    """Return what the first line of a table names; nothing where there is no such table."""
    if table not in listing.files:
        return ()
    try:
        line = beginning(listing.path / table, 1 << 16).partition(b"\n")[0].decode("utf-8-sig", "replace")
    except OSError:
        return ()
    return tuple(name.strip().strip('"') for name in line.split(","))


def _has_columns(listing: Listing, table: str, *columns: str) -> bool:
    """Whether a folder holds a table whose first line names some columns."""
    return set(columns) <= set(_columns(listing, table))


def unread_table(listing: Listing) -> str | None:
    """Say what is wrong with the table of a folder that no layout takes, if there are WFDB records; else None."""
    if folder.TABLE not in listing.files or not _holds_headers(listing):
        return None
    # What it holds is about to be shown.
    path = listing.path / folder.TABLE
    try:
        Folder(listing.path).require(path, where=str(path))
    except EcgfmError as error:
        return str(error)
    names = _columns(listing, folder.TABLE)
    labels = f"a column of a label ({', '.join(LABELS)}, or one of another name)"
    wanted = "a column `record`" if "record" not in names else labels
    seen = ", ".join(name for name in names if name)[:200] or "nothing"
    return f"{path}: its first line lacks {wanted}; it has, separated by commas: {seen}."


def _holds_headers(listing: Listing) -> bool:
    """Whether there are headers in a folder, or one level below it."""
    if any(name.endswith(".hea") for name in listing.files):
        return True
    try:
        return any(next((listing.path / name).glob("*.hea"), None) for name in sorted(listing.folders))
    except OSError:
        return False


def _see_folder(listing: Listing) -> list[Sighting]:
    names = set(_columns(listing, folder.TABLE))
    if "record" not in names:
        return []
    # A table of other columns may be anybody's; beside records, they are labels when they are asked for.
    further = {name for name in names - set(stated.COLUMNS) if name and name != "record"}
    if not (names & set(LABELS) or (further and _holds_headers(listing))):
        return []
    return [Sighting(folder.cohort_name(listing.path), (listing.path,))]


def _count_rows(table: str) -> Callable[[tuple[Path, ...]], int]:
    """Return a counter of the lines of a table: enough to tell the larger of two copies."""

    def count(paths: tuple[Path, ...]) -> int:
        try:
            return beginning(paths[0] / table, _MOST_COUNTED).count(b"\n")
        except OSError:
            return 0

    return count


def _load_ptb_xl(paths: tuple[Path, ...], sampling_rate: float | None, skip_bad: bool) -> Cohort:
    return ptb_xl.PtbXl(paths[0], sampling_rate=sampling_rate, skip_bad=skip_bad)


def _load_folder(paths: tuple[Path, ...], skip_bad: bool) -> Cohort:
    stated = folder_facts(paths[0])
    cohort = folder.FolderCohort(paths[0], continent=stated.continent, skip_bad=skip_bad)
    cohort.facts = stated
    return cohort


def _loads(
    build: Callable[[tuple[Path, ...], bool], Cohort],
) -> Callable[[tuple[Path, ...], float | None, bool], Cohort]:
    """Return a loader of a layout that is published at one rate."""

    def load(paths: tuple[Path, ...], sampling_rate: float | None, skip_bad: bool) -> Cohort:
        return _at_rate(build(paths, skip_bad), sampling_rate)

    return load


def _at_rate(cohort: Cohort, sampling_rate: float | None) -> Cohort:
    """Return `cohort` if it is stored at the rate asked for."""
    if sampling_rate is not None and sampling_rate != cohort.sampling_rate:
        raise EcgfmError(
            f"cohort {cohort.name}: published at {cohort.sampling_rate:g} Hz only; {sampling_rate:g} Hz was asked for."
        )
    return cohort


LAYOUTS: tuple[Layout, ...] = (
    Layout("ptb-xl", ("ptb-xl",), _see_ptb_xl, _load_ptb_xl, _count_ptb_xl, has_patients=True),
    Layout(
        "challenge-2021",
        tuple(dict.fromkeys(source.cohort for source in challenge.SOURCES.values())),
        _see_challenge,
        _loads(lambda paths, skip_bad: challenge.Challenge(paths, skip_bad=skip_bad)),
        _count_headers,
        has_patients=False,
    ),
    Layout(
        "ecg-arrhythmia",
        ("chapman-ningbo",),
        _sees(lambda listing: chapman_ningbo.FOLDER in listing.folders, "chapman-ningbo", chapman_ningbo.FOLDER),
        _loads(lambda paths, skip_bad: chapman_ningbo.ChapmanNingbo(paths[0], skip_bad=skip_bad)),
        lambda paths: _count_headers((paths[0] / chapman_ningbo.FOLDER,)),
        has_patients=False,
    ),
    Layout(
        "code-15",
        ("code-15",),
        _sees(lambda listing: _has_columns(listing, code15.TABLE, "exam_id", "trace_file"), "code-15"),
        _loads(lambda paths, skip_bad: code15.Code15(paths[0], skip_bad=skip_bad)),
        _count_rows(code15.TABLE),
        has_patients=True,
    ),
    Layout(
        "code-test",
        ("code-test",),
        _sees(lambda listing: codetest.TRACINGS in listing.files, "code-test", "annotations"),
        _loads(lambda paths, skip_bad: codetest.CodeTest(paths[0])),
        _count_rows("attributes.csv"),
        has_patients=False,
    ),
    Layout(
        "sph",
        ("sph",),
        _sees(lambda listing: _has_columns(listing, sph.TABLE, "ECG_ID", "AHA_Code"), "sph", "records"),
        _loads(lambda paths, skip_bad: sph.Sph(paths[0], skip_bad=skip_bad)),
        _count_rows(sph.TABLE),
        has_patients=True,
    ),
    Layout(
        "ludb",
        ("ludb",),
        _sees(lambda listing: _has_columns(listing, ludb.TABLE, "ID", "Rhythms"), "ludb", "data"),
        _loads(lambda paths, skip_bad: ludb.Ludb(paths[0], skip_bad=skip_bad)),
        _count_rows(ludb.TABLE),
        has_patients=False,
    ),
    Layout(
        "mimic-iv-ecg",
        ("mimic-iv-ecg",),
        _sees(
            lambda listing: {mimic_iv_ecg.TABLE, mimic_iv_ecg.MEASUREMENTS} <= listing.files, "mimic-iv-ecg", "files"
        ),
        _loads(lambda paths, skip_bad: mimic_iv_ecg.MimicIvEcg(paths[0], skip_bad=skip_bad)),
        _count_rows(mimic_iv_ecg.TABLE),
        has_patients=True,
    ),
    Layout(
        "brugada-huca",
        ("brugada-huca",),
        _sees(
            lambda listing: _has_columns(listing, brugada_huca.TABLE, "patient_id", "brugada"), "brugada-huca", "files"
        ),
        _loads(lambda paths, skip_bad: brugada_huca.BrugadaHuca(paths[0], skip_bad=skip_bad)),
        _count_rows(brugada_huca.TABLE),
        has_patients=True,
    ),
    Layout(
        "folder",
        (),
        _see_folder,
        _loads(_load_folder),
        _count_rows(folder.TABLE),
        has_patients=True,
    ),
)
"""Every layout that is recognised."""
