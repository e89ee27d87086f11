"""The page as PDF, printed by a Chromium of the machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from pytest_ecgfm.cards.whole_files import whole
from pytest_ecgfm.errors import EcgfmError

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
)
"""Commands by which a Chromium is called on different systems."""

OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
)
"""No window, and no network of the browser's own."""

_SECONDS = 180


def find_browser() -> str | None:
    """Return the path of a Chromium, or None."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def options() -> tuple[str, ...]:
    """Return the options for a Chromium on this machine: for root there is no sandbox, and it would not start."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return (*OPTIONS, *(("--no-sandbox",) if root else ()))


def print_page(page: Path) -> Path:
    """Print a page of a run beside it, whole or not at all; return the PDF's path.

    Parameters
    ----------
    page : Path
        HTML of ours: its content security policy lets nothing be loaded.

    Raises
    ------
    EcgfmError
        If there is no Chromium, or it did not print.
    """
    browser = find_browser()
    if browser is None:
        raise EcgfmError(f"--pdf: needs Chromium; none of {', '.join(BROWSERS)} is on the PATH.")
    path = page.with_suffix(".pdf")
    with (
        whole(path, ending=".pdf") as temporary,
        TemporaryDirectory(prefix="ecgfm-chromium-", ignore_cleanup_errors=True) as profile,
    ):
        _print(browser, profile, page, temporary)
    return path


def _print(browser: str, profile: str, page: Path, path: Path) -> None:
    # With a home of its own, no settings or extensions of the user's take part.
    command = [
        browser,
        *options(),
        f"--user-data-dir={profile}",
        "--no-pdf-header-footer",
        f"--print-to-pdf={path.resolve()}",
        page.resolve().as_uri(),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise EcgfmError(f"--pdf: {browser} did not print within {_SECONDS} s.") from None
    except OSError as error:
        raise EcgfmError(f"--pdf: {browser} does not start: {error.strerror}.") from None
    if not path.is_file() or path.read_bytes()[:5] != b"%PDF-":
        last = next(_lines(done.stderr), "")
        raise EcgfmError(f"--pdf: {browser} printed nothing (exit status {done.returncode}){last and f': {last}'}.")


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in reversed(text.splitlines()) if line.strip())
