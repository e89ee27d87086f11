"""One release in one folder: which files it has, which are here, what its archives hold."""

import json
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ecgfm.cohorts.download import Downloader, Item, intact
from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.sources import Fetchable
from pytest_ecgfm.cohorts.tables import PART_FILE
from pytest_ecgfm.errors import EcgfmError

HOSTS = {"physionet": "https://physionet.org", "zenodo": "https://zenodo.org"}
"""Where publishers are."""

_SUMS = re.compile(r"([0-9a-f]{64}) [ *]?(\S.*)", re.ASCII)
_UNPACKED = "unpacked.json"
_MOST_INDEX = 1 << 30
# PhysioNet publishes no sizes: a record of the longest cohort (30 min at 257 Hz) takes 11 MB, the largest table 1 GB.
_MOST_RECORD, _MOST_TABLE = 200_000_000, 8_000_000_000
# Of an archive, HDF5 files with padding being packed to a tenth: so many times its size, or 1 GB.
_MOST_UNPACKED, _UNPACKED_ANYWAY = 100, 1_000_000_000
_PART_NOTE = "# Records of the release that are here; written by 'ecgfm fetch --records', used when the table is read."

Unpacked = dict[str, dict[str, Any]]
"""For each archive that was unpacked its checksum, and the files that it held with their sizes."""


@dataclass
class Plan:
    """What to have.

    Attributes
    ----------
    items : list of Item
        Files, archives included.
    records : list of str
        Records, or numbers of archives.
    complete : bool
        Whether that is the whole release.
    """

    items: list[Item] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    complete: bool = True


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.findall(r"\d+|\D+", text)]


class Release:
    """One release in one folder.

    Parameters
    ----------
    source : Fetchable
        What is published.
    root : Path
        A data folder; the release is put into a folder of its own there.
    base_url : str or None
        Of a mirror.

    Raises
    ------
    EcgfmError
        If the folder cannot be made.
    """

    def __init__(self, source: Fetchable, root: Path, base_url: str | None) -> None:
        self.source = source
        host = (base_url or HOSTS[source.publisher]).rstrip("/")
        if source.publisher == "physionet":
            self._url = f"{host}/files/{source.release}/{source.version}"
            self._index = Item("SHA256SUMS.txt", f"{self._url}/SHA256SUMS.txt", limit=_MOST_INDEX)
        else:
            self._url = f"{host}/api/records/{source.release}"
            self._index = Item(f"zenodo-{source.release}.json", self._url, limit=_MOST_INDEX)
        try:
            (root / source.folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EcgfmError(f"cannot make the folder {root / source.folder}: {error.strerror}.") from None
        self.folder = Folder(root / source.folder)

    @property
    def index_is_here(self) -> bool:
        """Whether the list of files was fetched before; versions of a release do not change."""
        return (self.folder.root / self._index.name).is_file()

    def items(self, downloader: Downloader) -> list[Item]:
        """Return every file of the release that the cohort needs; no name leads out of the folder."""
        path = self.folder.root / self._index.name
        if not path.is_file():
            downloader.fetch(self._index, path)
        data = self.folder.read(path, where=str(path), limit=_MOST_INDEX)
        try:
            text = data.decode("utf-8")
            found = self._physionet(text) if self.source.publisher == "physionet" else self._zenodo(json.loads(text))
            wanted = [item for item in found if self._wanted(item.name)]
            for item in wanted:
                self.folder.join(item.name, where=str(path))
        except (ValueError, KeyError, TypeError, EcgfmError) as error:
            path.unlink()
            shown = error if isinstance(error, EcgfmError) else f"{path}: no index of a release ({error})."
            raise EcgfmError(f"{shown} It came from {self._index.url}.") from None
        if not any(self.source.pattern.fullmatch(item.name) for item in wanted):
            path.unlink()
            raise EcgfmError(f"{path}: it names no record of {self.source.cohort}. It came from {self._index.url}.")
        return wanted

    def _wanted(self, name: str) -> bool:
        return bool(self.source.pattern.fullmatch(name) or self.source.others.fullmatch(name))

    def _physionet(self, text: str) -> list[Item]:
        found = []
        for number, line in enumerate(text.splitlines(), start=1):
            match = _SUMS.fullmatch(line.strip())
            if match is None:
                raise ValueError(f"line {number} is not a checksum and a name")
            limit = _MOST_RECORD if self.source.pattern.fullmatch(match[2]) else _MOST_TABLE
            found.append(Item(match[2], f"{self._url}/{match[2]}", "sha256", match[1], limit=limit))
        return found

    def _zenodo(self, record: Any) -> list[Item]:
        found = []
        for file in record["files"]:
            name, size = str(file["key"]), int(file["size"])
            algorithm, _, checksum = str(file["checksum"]).partition(":")
            if algorithm != "md5" or not re.fullmatch(r"[0-9a-f]{32}", checksum, re.ASCII):
                raise ValueError(f"{name[:80]!r} has no MD5 checksum")
            found.append(Item(name, f"{self._url}/files/{name}/content", algorithm, checksum, size))
        return found

    def plan(self, items: Iterable[Item], records: int | None) -> Plan:
        """Return the files to have for the first `records` of the release (all by default)."""
        by_record: dict[str, list[Item]] = {}
        plan = Plan()
        for item in items:
            match = self.source.pattern.fullmatch(item.name)
            if match is None:
                plan.items.append(item)
            else:
                by_record.setdefault(match["record"], []).append(item)
        names = sorted(by_record, key=_natural)
        wanted = len(names) if records is None else -(-records // max(1, self.source.parts))
        plan.records = names[:wanted]
        plan.complete = wanted >= len(names)
        for name in plan.records:
            plan.items += by_record[name]
        return plan

    def unpacked(self) -> Unpacked:
        """Return which archives were unpacked: their checksums, and the files that they held."""
        try:
            known = json.loads((self.folder.root / _UNPACKED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def is_here(self, item: Item, unpacked: Unpacked) -> bool:
        """Whether a file, or what an archive held, is here and intact."""
        if item.name in unpacked and unpacked[item.name].get("checksum") == item.checksum:
            members = unpacked[item.name].get("members", {})
            there = [self.folder.root / name for name in members if self._member(name)]
            return bool(there) and all(
                path.is_file() and path.stat().st_size == members[str(path.relative_to(self.folder.root).as_posix())]
                for path in there
            )
        return intact(self.folder.root / item.name, item)

    def _member(self, name: str) -> str | None:
        match = self.source.members.fullmatch(name)
        return match["name"] if match else None

    def unpack(self, item: Item) -> dict[str, int]:
        """Unpack an archive and remove it; return the files that it held and their sizes."""
        path = self.folder.root / item.name
        held: dict[str, int] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(info.file_size for info in archive.infolist())
                if unpacked > max(_UNPACKED_ANYWAY, _MOST_UNPACKED * path.stat().st_size):
                    raise EcgfmError(f"{path}: it would unpack to more than {_MOST_UNPACKED} times its size.")
                for info in archive.infolist():
                    name = self._member(info.filename)
                    if name is None or info.is_dir():
                        continue
                    target = self.folder.join(name, where=f"{path}: {info.filename!r}")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    part = target.with_name(f"{target.name}.part")
                    with archive.open(info) as packed, part.open("wb") as out:
                        while chunk := packed.read(1 << 20):
                            out.write(chunk)
                    part.replace(target)
                    held[name] = info.file_size
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise EcgfmError(f"{path}: cannot be unpacked ({error}).") from None
        except OSError as error:
            raise EcgfmError(f"{path}: cannot be unpacked ({error.strerror or error}).") from None
        if not held:
            raise EcgfmError(f"{path}: it holds none of the files of {self.source.cohort}.")
        path.unlink()
        return held

    def note_unpacked(self, unpacked: Unpacked) -> None:
        """Write down which archives were unpacked."""
        part = self.folder.root / f"{_UNPACKED}.part"
        part.write_text(json.dumps(unpacked, indent=1), encoding="utf-8")
        part.replace(self.folder.root / _UNPACKED)

    def note_part(self, plan: Plan) -> None:
        """Write, before anything is downloaded, which records of the release are to be here."""
        path = self.folder.root / PART_FILE
        if plan.complete or not self.source.whole_table:
            return
        names = [f"exams_part{record}.hdf5" for record in plan.records] if self.source.parts else plan.records
        if path.is_file():
            before = path.read_text(encoding="utf-8").splitlines()
            names = list(dict.fromkeys([*(line for line in before if not line.startswith("#")), *names]))
        path.write_text("\n".join([_PART_NOTE, *names]) + "\n", encoding="utf-8")
