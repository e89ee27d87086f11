"""Take the CPU time of whole runs of ``handcrafted`` on the embedded cohorts, cold and warm, beside an earlier version.

Each run is a process of its own, on one core, with a cache of its own: *cold* begins with an empty one, *warm* is the
same command again. The two versions take turns, so that a busy machine slows both. The figures are user and system
seconds, medians over rounds. Run::

    git worktree add ../earlier 6680784
    python -m venv ../earlier/.venv && ../earlier/.venv/bin/pip install -c constraints.txt ../earlier
    python benchmarks/runs.py --before ../earlier/.venv/bin/python

With ``--workers`` also the wall time of ``-n 2`` over that of ``-n 0``, cold; only on two idle cores does it say
anything.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from start import cpu_seconds, write

MODEL = "--ecgfm=handcrafted"
RUNS = {
    "smoke, cold": ("--ecgfm-profile=smoke", True),
    "smoke, warm": ("--ecgfm-profile=smoke", False),
    "default, cold": ("--ecgfm-profile=default", True),
    "default, warm": ("--ecgfm-profile=default", False),
}


def one_run(python: str, folder: Path, asked: str, cold: bool, *more: str) -> tuple[float, float]:
    """Run once; return CPU and wall seconds."""
    if cold:
        shutil.rmtree(folder / "cache", ignore_errors=True)
    shutil.rmtree(folder / "run", ignore_errors=True)
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", MODEL, asked, "--ecgfm-out=run", *more]
    began = time.perf_counter()
    seconds = cpu_seconds(command, folder)
    wall = time.perf_counter() - began
    if not (folder / "run" / "cube.nc").is_file():
        raise SystemExit(f"{' '.join(command)}: made no run.")
    return seconds, wall


def measured(pythons: list[str], rounds: int, asked: list[str]) -> list[dict[str, float]]:
    """Return the median CPU seconds of each run, for each Python."""
    times: list[dict[str, list[float]]] = [{name: [] for name in asked} for _ in pythons]
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / str(number) for number in range(len(pythons))]
        for folder, python in zip(folders, pythons, strict=True):
            folder.mkdir()
            # Bytecode is written here, as an installation has it.
            cpu_seconds([python, "-m", "pytest", "--ecgfm-list"], folder)
        for _ in range(rounds):
            for name in asked:
                for python, folder, found in zip(pythons, folders, times, strict=True):
                    found[name].append(one_run(python, folder, *RUNS[name])[0])
                    print(f"{name}: {found[name][-1]:.1f} CPU s ({python})", file=sys.stderr)
    return [{name: statistics.median(values) for name, values in found.items()} for found in times]


def workers(rounds: int) -> float:
    """Return the wall time of ``-n 2`` over that of ``-n 0``, cold, as the median over rounds."""
    ratios = []
    with tempfile.TemporaryDirectory() as place:
        for _ in range(rounds):
            alone, shared = (
                one_run(sys.executable, Path(place), *RUNS["default, cold"], f"-n{count}")[1] for count in (0, 2)
            )
            ratios.append(shared / alone)
    return statistics.median(ratios)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--before", metavar="PYTHON", help="interpreter of an environment with another version")
    parser.add_argument("--only", action="append", choices=list(RUNS), help="this run; repeatable")
    parser.add_argument("--workers", action="store_true", help="compare -n 2 with -n 0, too")
    parser.add_argument("--json", type=Path, help="write the seconds here")
    options = parser.parse_args()
    pythons = [sys.executable, *([options.before] if options.before else [])]
    now, *then = measured(pythons, options.rounds, options.only or list(RUNS))
    write(now, then, options.json, {})
    if options.workers:
        print(f"\n`-n 2` over `-n 0`, cold, wall time: {workers(options.rounds):.2f}")


if __name__ == "__main__":
    main()
