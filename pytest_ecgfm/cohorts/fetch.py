"""Fetching a cohort from where it is published: PhysioNet or Zenodo."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pytest_ecgfm.cohorts.download import Downloader, Item, Stop, intact
from pytest_ecgfm.cohorts.release import HOSTS, Plan, Release, Unpacked
from pytest_ecgfm.cohorts.sources import Fetchable, source_of
from pytest_ecgfm.cohorts.tables import PART_FILE
from pytest_ecgfm.errors import EcgfmError

Progress = Callable[[int, int, int], None]

_MOST_FAILURES = 10


@dataclass(frozen=True)
class Fetched:
    """What a fetch did.

    Attributes
    ----------
    folder : Path
        Where the release is.
    downloaded : int
        Files that were downloaded.
    present : int
        Files that were there already, intact.
    """

    folder: Path
    downloaded: int
    present: int


def _human(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def announcement(source: Fetchable, folder: Path, records: int | None, size: float, *, exact: bool) -> str:
    """Say what will be fetched, under which terms.

    Parameters
    ----------
    source : Fetchable
        What.
    folder : Path
        Where to.
    records : int or None
        How many at most; None for all.
    size : float
        In bytes.
    exact : bool
        Whether `size` is known, rather than about right.
    """
    count = source.records if records is None else min(records, source.records)
    part = f"the first {count} of {source.records} records" if count < source.records else f"{source.records} records"
    if source.parts and count < source.records:
        part = f"{-(-count // source.parts)} archives of about {source.parts} of {source.records} records"
    about = "" if exact else "about "
    return "\n".join(
        [
            f"{source.cohort}, release {source.version}: {part}, {about}{_human(size)}, to {folder}",
            f"from {HOSTS[source.publisher]}; licence {source.licence}; no credentials needed",
            f"cite: {source.citation}",
        ]
    )


def fetch(
    cohort: str,
    root: Path,
    *,
    records: int | None = None,
    jobs: int = 4,
    confirm: Callable[[str], bool],
    base_url: str | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Fetch a cohort, or what is missing of it, into a folder of its own below `root`.

    Parameters
    ----------
    cohort : str
        One of `sources.SOURCES`.
    root : Path
        A data folder; made where it does not exist.
    records : int, optional
        Only the tables and the first so many records.
    jobs : int
        Downloads at once.
    confirm : callable
        Given size, licence and citation, says whether to go on. Not called where nothing is missing.
    base_url : str, optional
        Of a mirror.
    progress : callable, optional
        Called with files done, files in all, and bytes received.

    Returns
    -------
    Fetched
        What was done.

    Raises
    ------
    EcgfmError
        If the cohort cannot be fetched, `confirm` says no, or files do not arrive; what did arrive is kept.
    """
    for name, number in (("--records", records), ("--jobs", jobs)):
        if number is not None and number < 1:
            raise EcgfmError(f"{name} {number}: it should be 1 or more.")
    release = Release(source_of(cohort), Path(root), base_url)
    received = _Counter(progress)
    downloader = Downloader(received.add)
    try:
        return _fetch(release, downloader, records, jobs, confirm, received)
    finally:
        downloader.close()


class _Counter:
    """Adds up what several threads did."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress or (lambda done, total, size: None)
        self._lock = Lock()
        self._files = 0
        self._bytes = 0
        self.total = 0

    def add(self, count: int) -> None:
        with self._lock:
            self._bytes += count
            self._progress(self._files, self.total, self._bytes)

    def done(self, files: int) -> None:
        with self._lock:
            self._files += files
            self._progress(self._files, self.total, self._bytes)


def _ask(confirm: Callable[[str], bool], release: Release, records: int | None, size: float, *, exact: bool) -> None:
    if not confirm(announcement(release.source, release.folder.root, records, size, exact=exact)):
        raise EcgfmError(f"{release.source.cohort} was not fetched.")


def _lacking(release: Release, plan: Plan, unpacked: Unpacked, jobs: int, received: _Counter) -> list[Item]:
    """Return the files that are not here, or not intact."""

    def check(item: Item) -> bool:
        here = release.is_here(item, unpacked)
        received.done(here)
        return here

    with ThreadPoolExecutor(jobs) as pool:
        return [item for item, here in zip(plan.items, pool.map(check, plan.items), strict=True) if not here]


def _fetch(
    release: Release,
    downloader: Downloader,
    records: int | None,
    jobs: int,
    confirm: Callable[[str], bool],
    received: _Counter,
) -> Fetched:
    """Ask, find out what is missing, and download that."""
    source = release.source
    # Zenodo's index is short and states sizes; PhysioNet's is long and does not.
    exact = source.publisher == "zenodo"
    asked = not exact and not release.index_is_here
    if asked:
        count = source.records if records is None else min(records, source.records)
        _ask(confirm, release, records, source.record_bytes * count, exact=False)
    plan = release.plan(release.items(downloader), records)
    received.total = len(plan.items)
    unpacked = release.unpacked()
    lacking = _lacking(release, plan, unpacked, jobs, received)
    if lacking:
        if not asked:
            size = sum(item.size or source.record_bytes / 2 for item in lacking)
            _ask(confirm, release, records, size, exact=exact)
        release.note_part(plan)
        _download(release, downloader, lacking, unpacked, jobs, received)
    if plan.complete:
        (release.folder.root / PART_FILE).unlink(missing_ok=True)
    return Fetched(release.folder.root, len(lacking), len(plan.items) - len(lacking))


def _download(
    release: Release,
    downloader: Downloader,
    items: list[Item],
    unpacked: Unpacked,
    jobs: int,
    received: _Counter,
) -> None:
    """Download files; a few that fail do not keep the others from arriving.

    Raises
    ------
    EcgfmError
        At the end, if some failed: names the first.
    """
    lock = Lock()

    def one(item: Item) -> None:
        target = release.folder.inside(release.folder.root / item.name, where=item.name)
        # An archive that a run fetched and could not unpack before it ended is here already.
        if not (release.source.parts and intact(target, item)):
            downloader.fetch(item, target)
        if item.name.endswith(".zip"):
            held = release.unpack(item)
            with lock:
                unpacked[item.name] = {"checksum": item.checksum, "members": held}
                release.note_unpacked(unpacked)
        received.done(1)

    failures: list[EcgfmError] = []
    with ThreadPoolExecutor(jobs, thread_name_prefix="ecgfm-fetch") as pool:
        try:
            for future in as_completed([pool.submit(one, item) for item in items]):
                error = future.exception()
                if isinstance(error, EcgfmError):
                    failures.append(error)
                elif error is not None and not isinstance(error, Stop):
                    raise error
                if len(failures) >= _MOST_FAILURES:
                    break
        finally:
            downloader.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    if failures:
        more = f" {len(failures) - 1} more files failed, too." if len(failures) > 1 else ""
        raise EcgfmError(f"{failures[0]}{more} What arrived is kept; give the same command again to continue.")
