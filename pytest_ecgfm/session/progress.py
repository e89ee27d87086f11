"""Progress bars on long stages, past pytest's capturing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

from pytest_ecgfm.embeddings import Progress
from pytest_ecgfm.report.escape import terminal

_SECONDS_BEFORE_SHOWN = 2.0


@contextmanager
def bar(description: str, *, silent: bool = False) -> Iterator[Progress]:
    """Show a bar for one stage, if it takes longer than two seconds; yield a function of (done, total)."""
    # Only with a stage to show: what is collected, or refused, has none.
    from tqdm import tqdm

    shown = tqdm(
        desc=terminal(description),
        unit="record",
        leave=False,
        disable=silent,
        delay=_SECONDS_BEFORE_SHOWN,
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
        file=sys.stderr,
    )

    def show(done: int, total: int) -> None:
        shown.total = total
        shown.update(done - shown.n)

    try:
        yield show
    finally:
        shown.close()


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
