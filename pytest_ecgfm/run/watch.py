"""What ends a run from outside its tests: a batch that takes too long, and a signal."""

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_GRACE = 10.0
"""Seconds beyond the limit after which code that holds Python's lock is ended without a word of ours."""

_STATUS = 1


class Stopped(KeyboardInterrupt):
    """Somebody asked the run to end. No exception of a model: no check may take it for one, and go on."""


class Watch:
    """Ends a run whose model takes too long for one batch.

    A thread of ours looks at the clock. Code that never gives Python's lock back stops that thread, too: then
    `faulthandler`, which needs no lock, writes where every thread is and ends the process; ``verdict.json`` says since
    the beginning that the run has not ended.

    Parameters
    ----------
    seconds : float or None
        Longest time for one batch; None watches nothing.
    expired : callable
        Called with where it hung, from another thread; the process then ends with status 1.
    """

    def __init__(self, seconds: float | None, expired: Callable[[str], None]) -> None:
        self.seconds = seconds
        self.check = ""
        self.cohort = ""
        self.stop: Callable[[], None] | None = None
        self._expired = expired
        self._at: dict[int, tuple[float, str]] = {}
        self._thread: threading.Thread | None = None
        # pytest captures the standard error output while tests run; now it is still that of the process.
        self._errors = os.dup(2) if seconds is not None else -1

    @contextmanager
    def batch(self, model: str, records: Sequence[str]) -> Iterator[None]:
        """Watch one batch; none begins once the run is asked to end."""
        if self.stop is not None:
            self.stop()
        if self.seconds is None:
            yield
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="ecgfm-watch", daemon=True)
            self._thread.start()
        where = f"model {model}, check {self.check or 'none'}" + (f", cohort {self.cohort}" if self.cohort else "")
        where += f", a batch of {len(records)} records that begins with {records[0]}"
        me = threading.get_ident()
        self._at[me] = time.monotonic() + self.seconds, where
        faulthandler.dump_traceback_later(self.seconds + _GRACE, exit=True, file=self._errors)
        try:
            yield
        finally:
            self._at.pop(me, None)
            if not self._at:
                faulthandler.cancel_dump_traceback_later()

    def _look(self) -> None:
        assert self.seconds is not None
        while True:
            time.sleep(min(0.2, self.seconds / 4))
            now = time.monotonic()
            for deadline, where in list(self._at.values()):
                if now > deadline:
                    # Writing the run takes longer than the grace for code that holds the lock.
                    faulthandler.cancel_dump_traceback_later()
                    try:
                        self._expired(f"a batch took longer than {self.seconds:g} s (--ecgfm-timeout): {where}")
                    finally:
                        os._exit(_STATUS)


def note_hang(folder: Path, text: str) -> None:
    """Leave word for the controller where a worker hung."""
    with suppress(OSError):
        (folder / "arrays" / f"hung-{os.getpid()}.txt").write_text(text, encoding="utf-8", errors="backslashreplace")


def hangs(folder: Path) -> list[str]:
    """Read what workers said of where they hung."""
    return [path.read_text(encoding="utf-8") for path in sorted((folder / "arrays").glob("hung-*.txt"))]


def on_sigterm(stop: Callable[[], None]) -> Any:
    """Call `stop` when the process is asked to end; return what was called before, for `restore_sigterm`."""
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, lambda *_: stop())


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let neither Ctrl-C nor SIGTERM end the writing of a run: all is measured by then, and it takes seconds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, lambda *_: None) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)


def restore_sigterm(before: Any) -> None:
    """Undo `on_sigterm`."""
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
