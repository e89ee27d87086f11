"""A gate on files: is the newest run of a folder a pass? An exit status alone can come from anybody."""

from pathlib import Path

from pytest_ecgfm.cards.bounded_files import read_json
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.results.schema import SCHEMA

_OUTCOMES = ("pass", "fail", "incomplete")
_FILES = ("verdict.json", "rows.jsonl", "arrays")


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
        held = read_json(path)
        outcome, complete, started = held["outcome"], held["complete"], held["started"]
    except (OSError, EcgfmError, KeyError, TypeError) as error:
        return "~", f"verdict.json cannot be read ({error.strerror if isinstance(error, OSError) else error})"
    if held.get("schema") != SCHEMA or not isinstance(started, str):
        return "~", "verdict.json is of another version"
    if outcome not in _OUTCOMES:
        return started, "verdict.json holds no outcome"
    return started, "incomplete" if outcome == "pass" and complete is not True else str(outcome)
