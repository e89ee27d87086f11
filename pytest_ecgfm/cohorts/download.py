"""Downloading one file: resumed where it broke off, checked, and complete or not there."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from pytest_ecgfm.errors import EcgfmError

ATTEMPTS = 5
"""Attempts in a row that bring nothing new before a file is given up."""

PAUSE = 1.0
"""Seconds before the second attempt; doubled for each further one."""

_TIMEOUT = (20.0, 60.0)
_CHUNK = 1 << 14  # what a break can lose
_PERMANENT = {400, 401, 403, 404, 410}
_MOST_PAUSE = 60.0


@dataclass(frozen=True)
class Item:
    """A file to fetch.

    Attributes
    ----------
    name : str
        Relative to the folder, once it is known to stay in it.
    url : str
        Where from.
    algorithm : str
        Of the checksum, as `hashlib` names it; empty where none is published.
    checksum : str
        In hexadecimal digits.
    size : int or None
        In bytes, where it is published.
    """

    name: str
    url: str
    algorithm: str = ""
    checksum: str = ""
    size: int | None = None


class Passing(Exception):
    """A fault that another attempt, after a pause in seconds, may mend."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class Stop(Exception):
    """The download is to end: another file failed, or the user interrupted."""


def intact(path: Path, item: Item) -> bool:
    """Whether a file is there, with the content that was published."""
    try:
        if not path.is_file() or (item.size is not None and path.stat().st_size != item.size):
            return False
        if not item.algorithm:
            return True
        with path.open("rb") as file:
            return hashlib.file_digest(file, item.algorithm).hexdigest() == item.checksum
    except OSError as error:
        raise EcgfmError(f"cannot read {path}: {error.strerror or error}.") from None


class Downloader:
    """Downloads files, from several threads; each keeps its connection.

    Parameters
    ----------
    received : callable, optional
        Called with the number of bytes received, from any thread.
    """

    # pooch would check and cache, but it starts again at byte 0 after a break: hours, for CODE-15's parts of 2 GB.

    def __init__(self, received: Callable[[int], None] | None = None) -> None:
        self._received = received or (lambda count: None)
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self.stop = threading.Event()

    def close(self) -> None:
        """Close every connection."""
        for session in self._sessions:
            session.close()

    def fetch(self, item: Item, target: Path) -> None:
        """Fetch one file.

        What is received is kept in ``<name>.part`` and gets its own name once it is complete and its checksum right.

        Raises
        ------
        EcgfmError
            If the file is not there, or does not arrive intact after `ATTEMPTS` attempts.
        Stop
            If `stop` was set meanwhile.
        """
        part = target.with_name(f"{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            fruitless = 0
            while True:
                before = _size(part)
                try:
                    self._receive(item, part)
                    if intact(part, item):
                        part.replace(target)
                        return
                    part.unlink()
                    reason, pause = "what arrives differs from the published checksum", 0.0
                    fruitless += 1
                except Passing as fault:
                    reason, pause = str(fault), fault.pause
                    fruitless = 0 if _size(part) > before else fruitless + 1
                if fruitless >= ATTEMPTS:
                    raise EcgfmError(f"{item.name}: not fetched in {ATTEMPTS} attempts ({reason}): {item.url}")
                self._wait(max(pause, PAUSE * 2 ** max(0, fruitless - 1)))
        except OSError as error:
            raise EcgfmError(f"{item.name}: cannot write {part}: {error.strerror or error}.") from None

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(min(seconds, _MOST_PAUSE)):
            raise Stop

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            # Compressed answers would make nonsense of ranges and lengths.
            session.headers.update({"Accept-Encoding": "identity", "User-Agent": "pytest-ecgfm"})
            self._local.session = session
            self._sessions.append(session)
        return session

    def _receive(self, item: Item, part: Path) -> None:
        """Append to `part` what it lacks; raises `Passing` where the connection fails."""
        have = _size(part)
        if item.size is not None and have >= item.size:
            if have == item.size:
                return
            part.unlink()
            have = 0
        try:
            with self._session().get(
                item.url, headers={"Range": f"bytes={have}-"} if have else {}, stream=True, timeout=_TIMEOUT
            ) as answer:
                resumed = self._check(answer, item, part, have)
                length = answer.headers.get("Content-Length", "")
                expected = (have if resumed else 0) + int(length) if length.isdecimal() else None
                with part.open("ab" if resumed else "wb") as file:
                    for chunk in answer.iter_content(_CHUNK):
                        if self.stop.is_set():
                            raise Stop
                        file.write(chunk)
                        self._received(len(chunk))
        except requests.RequestException as error:
            raise Passing(f"{type(error).__name__}: {error}"[:200]) from None
        if expected is not None and _size(part) < expected:
            raise Passing(f"{_size(part)} of {expected} bytes arrived")

    def _check(self, answer: requests.Response, item: Item, part: Path, have: int) -> bool:
        """Return whether an answer goes on where `part` ends, rather than at the start."""
        status = answer.status_code
        if status in _PERMANENT:
            raise EcgfmError(f"{item.name}: not fetched (HTTP status {status}): {item.url}")
        if status == 206 and have and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            return True
        if status == 200:
            return False
        if have:
            # The server knows no such range: what is here is of no use.
            part.unlink()
        pause = answer.headers.get("Retry-After", "")
        raise Passing(f"HTTP status {status}", float(pause) if pause.isdecimal() else 0.0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
