"""Progress bars on long stages, past pytest's capturing."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

from pytest_ecgfm.embeddings import Progress
from pytest_ecgfm.report.escape import terminal

_SECONDS_BEFORE_SHOWN = 2.0


_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def bar(description: str, *, silent: bool = False) -> Iterator[Progress]:
    """Show how far one stage is, if it takes long; yield a function of (done, total).

    On a terminal a bar moves, from the second second on; elsewhere there is a line every ten seconds.
    """
    if not sys.stderr.isatty():
        yield (lambda done, total: None) if silent else _lines(terminal(description))
        return
    # Only with a stage to show: what is collected, or refused, has none.
    from tqdm import tqdm

    shown = tqdm(
        desc=terminal(description),
        unit="record",
        leave=False,
        disable=silent,
        delay=_SECONDS_BEFORE_SHOWN,
        mininterval=0.2,
        file=sys.stderr,
    )

    def show(done: int, total: int) -> None:
        shown.total = total
        shown.update(done - shown.n)

    try:
        yield show
    finally:
        shown.close()


def _lines(description: str) -> Progress:
    last = begin = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_LINES:
            return
        # The first line ends that of pytest's dots; what they go on with is on a line of its own.
        first = "\n" if last == begin else ""
        last = now
        sys.stderr.write(terminal(f"{description}: {done} of {total} records, {now - begin:.0f} s").join((first, "\n")))
        sys.stderr.flush()

    return show


class Progressing:
    """Opens a progress bar for one stage.

    On a terminal the bar moves; elsewhere (a CI log) it prints a line every ten seconds. Nothing is shown for stages
    shorter than two seconds, nor by xdist's workers, whose output goes nowhere.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._silent = hasattr(config, "workerinput")

    @contextmanager
    def __call__(self, description: str) -> Iterator[Progress]:
        """Yield a function of (done, total)."""
        capture = self._config.pluginmanager.getplugin("capturemanager")
        with (
            nullcontext() if capture is None else capture.global_and_fixture_disabled(),
            bar(description, silent=self._silent) as show,
        ):
            yield show
