"""A gate on files: is the newest run of a folder a pass? An exit status alone can come from anybody."""

import argparse
import json
import sys
from pathlib import Path

from pytest_ecgfm.errors import EcgfmError

_FILES = ("verdict.json", "rows.jsonl", "arrays")
_MOST_BYTES = 50_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ecgfm gate`` takes."""
    parser.add_argument("folder", type=Path, metavar="RUN", help="what --ecgfm-out named, or ecgfm-results/latest")


def command(args: argparse.Namespace) -> int:
    """Return 0 if the newest run passes, else 1, and say which run it is."""
    folder, outcome = newest(args.folder)
    print(f"{folder}: {outcome}", file=sys.stdout if outcome == "pass" else sys.stderr)
    return 0 if outcome == "pass" else 1


def newest(run: Path) -> tuple[Path, str]:
    """Find the newest run of a folder, and its outcome.

    A run that began after another one is newer, whether it ended or not: a run that was killed must not leave an
    earlier pass in its place.

    Parameters
    ----------
    run : Path
        A run's folder, in which later runs may be (``run-<id>``), or ``latest``, beside which others are.

    Returns
    -------
    Path
        Folder of the newest run.
    str
        Its outcome, or why it has none. A pass that is not complete is "incomplete".

    Raises
    ------
    EcgfmError
        If there is no run.
    """
    beside = run.resolve().parent.iterdir() if run.name == "latest" and run.exists() else ()
    below = run.glob("run-*") if run.is_dir() else ()
    places = {one.resolve() for one in (run, *below, *beside) if any((one / name).exists() for name in _FILES)}
    if not places:
        raise EcgfmError(f"run {run}: there is no run.")
    found = {place: _verdict(place) for place in places}
    # A run without a verdict was killed while it began: nothing is known of it, so it decides.
    last = max(sorted(places), key=lambda place: found[place][0])
    return last, found[last][1]


def _verdict(folder: Path) -> tuple[str, str]:
    """Return when a run began, and its outcome."""
    path = folder / "verdict.json"
    try:
        if path.stat().st_size > _MOST_BYTES:
            return "~", "verdict.json is too large"
        held = json.loads(path.read_text(encoding="utf-8"))
        outcome, complete, started = held["outcome"], held["complete"], held["started"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return "~", f"verdict.json cannot be read ({type(error).__name__})"
    if held.get("schema") != 1 or not isinstance(started, str):
        return "~", "verdict.json is of another version"
    return started, "incomplete" if outcome == "pass" and complete is not True else str(outcome)
