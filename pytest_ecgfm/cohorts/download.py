"""Downloading one file: resumed where it broke off, checked, and complete or not there."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from pytest_ecgfm.errors import EcgfmError

ATTEMPTS = 5
"""Attempts in a row that bring nothing new before a file is given up."""

PAUSE = 1.0
"""Seconds before the second attempt; doubled for each further one."""

_TIMEOUT = (20.0, 60.0)
_CHUNK = 1 << 14  # what a break can lose
# Of the answers that blame the request, those that another attempt may mend: timeout, range, too early, too many.
_PASSING_4XX = {408, 416, 425, 429}
_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 5
_MOST_PAUSE = 60.0
_MOST_BYTES = 1 << 40


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
    limit : int
        Bytes that it may have at most, where its size is not published.
    """

    name: str
    url: str
    algorithm: str = ""
    checksum: str = ""
    size: int | None = None
    limit: int = _MOST_BYTES

    @property
    def most(self) -> int:
        """Bytes that are received at most."""
        return self.limit if self.size is None else self.size


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
        Redirects are followed to the same server, or by HTTPS to a host of the same source.

        Raises
        ------
        EcgfmError
            If the file is not there, or does not arrive intact after `ATTEMPTS` attempts; at once if the server sends
            more than the index states, compresses what it sends, or redirects to elsewhere.
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
                    reason, pause = "what arrived does not match the published checksum", 0.0
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
            with self._answer(item, have) as answer:
                resumed = self._check(answer, item, part, have)
                start = have if resumed else 0
                length = answer.headers.get("Content-Length", "")
                expected = start + int(length) if length.isdecimal() else None
                if expected is not None and expected > item.most:
                    raise _too_much(item, part)
                with part.open("ab" if resumed else "wb") as file:
                    # The bytes as they come: a compressed answer could be of any size once it is unpacked.
                    for chunk in answer.raw.stream(_CHUNK, decode_content=False):
                        if self.stop.is_set():
                            raise Stop
                        start += len(chunk)
                        if start > item.most:
                            raise _too_much(item, part)
                        file.write(chunk)
                        self._received(len(chunk))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Passing(f"{type(error).__name__}: {error}"[:200]) from None
        if expected is not None and _size(part) < expected:
            raise Passing(f"{_size(part)} of {expected} bytes arrived")

    def _answer(self, item: Item, have: int) -> requests.Response:
        """Return the answer to a request for a file, redirects within its source having been followed."""
        url = item.url
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._session().get(
                url,
                headers={"Range": f"bytes={have}-"} if have else {},
                stream=True,
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
            if answer.status_code not in _REDIRECTS:
                return answer
            target = urljoin(url, answer.headers.get("Location", ""))
            answer.close()
            if not same_source(item.url, target):
                raise EcgfmError(f"{item.name}: not fetched: {item.url} redirects to elsewhere ({target[:200]!r}).")
            url = target
        raise EcgfmError(f"{item.name}: not fetched: more than {_MOST_REDIRECTS} redirects: {item.url}")

    def _check(self, answer: requests.Response, item: Item, part: Path, have: int) -> bool:
        """Return whether an answer goes on where `part` ends, rather than at the start."""
        status = answer.status_code
        if 400 <= status < 500 and status not in _PASSING_4XX:
            raise EcgfmError(f"{item.name}: not fetched (HTTP status {status}): {item.url}")
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if status in (200, 206) and encoding not in ("", "identity"):
            raise EcgfmError(f"{item.name}: not fetched: the answer is compressed ({encoding[:40]!r}): {item.url}")
        if status == 206 and have and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            return True
        if status == 200:
            return False
        if have:
            # The server knows no such range: what is here is of no use.
            part.unlink()
        pause = answer.headers.get("Retry-After", "")
        raise Passing(f"HTTP status {status}", float(pause) if pause.isdecimal() else 0.0)


def same_source(url: str, target: str) -> bool:
    """Whether a redirect stays with its source: on the same server, or by HTTPS on its host or one below it."""
    try:
        one, other = urlsplit(url), urlsplit(target)
        ports = one.port, other.port
    except ValueError:
        return False
    if other.username is not None or other.password is not None or not one.hostname or not other.hostname:
        return False
    if (one.scheme, one.hostname, ports[0]) == (other.scheme, other.hostname, ports[1]):
        return True
    if other.scheme != "https" or ports[1] not in (None, 443):
        return False
    return other.hostname == one.hostname or other.hostname.endswith(f".{one.hostname}")


def _too_much(item: Item, part: Path) -> EcgfmError:
    part.unlink(missing_ok=True)
    stated = "the index states" if item.size is not None else "are plausible"
    return EcgfmError(f"{item.name}: not fetched: the server sends more than the {item.most:,} bytes that {stated}.")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
