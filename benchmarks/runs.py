"""Take the CPU time of whole runs of ``handcrafted`` on the embedded cohorts, cold and warm, beside an earlier version.

Each run is a process of its own, on one core, with a cache of its own: *cold* begins with an empty one, *warm* is the
same command again. The two versions take turns, so that a busy machine slows both. The figures are user and system
seconds, medians over rounds. Run::

    git worktree add ../earlier 6680784
    python -m venv ../earlier/.venv && ../earlier/.venv/bin/pip install -c constraints.txt ../earlier
    python benchmarks/runs.py --before ../earlier/.venv/bin/python

With ``--keep DIR`` the caches stay in that folder and each finished run's seconds are appended to
``DIR/seconds.jsonl``, of which the table is made: so one row, or one version (``--version before``), can be measured
at a time, and a benchmark that was ended goes on. Warm runs need the cold one's cache.

With ``--workers`` also the wall time of ``-n 2`` over that of ``-n 0``, cold; only on two idle cores does it say
anything.
"""

import argparse
import contextlib
import json
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


def measured(pythons: dict[str, str], rounds: int, asked: list[str], place: Path) -> None:
    """Append the CPU and wall seconds of each run to ``seconds.jsonl`` in a folder, for each version's Python."""
    for version, python in pythons.items():
        (place / version).mkdir(parents=True, exist_ok=True)
        # Bytecode is written here, as an installation has it after its first run, and is not counted.
        if not (place / version / "bytecode").is_dir():
            one_run(python, place / version, *RUNS["smoke, cold"])
            cpu_seconds([python, "-c", "import umap"], place / version)
    for _ in range(rounds):
        for name in asked:
            for version, python in pythons.items():
                cpu, wall = one_run(python, place / version, *RUNS[name])
                print(f"{name}: {cpu:.1f} CPU s ({version})", file=sys.stderr)
                with (place / "seconds.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"version": version, "run": name, "cpu": cpu, "wall": wall}) + "\n")


def medians(place: Path) -> dict[str, dict[str, float]]:
    """Return the median CPU seconds by version and run."""
    found: dict[str, dict[str, list[float]]] = {}
    for line in (place / "seconds.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        found.setdefault(one["version"], {}).setdefault(one["run"], []).append(one["cpu"])
    return {
        version: {name: statistics.median(runs[name]) for name in RUNS if name in runs}
        for version, runs in found.items()
    }


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
    parser.add_argument("--version", choices=("now", "before"), help="run this version only")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep caches and seconds here, and go on from them")
    parser.add_argument("--workers", action="store_true", help="compare -n 2 with -n 0, too")
    parser.add_argument("--json", type=Path, help="write the seconds here")
    options = parser.parse_args()
    if options.version == "before" and not options.before:
        parser.error("--version before needs --before PYTHON")
    if options.keep:
        options.keep = options.keep.absolute()
    pythons = {"now": sys.executable, **({"before": options.before} if options.before else {})}
    if options.version:
        pythons = {options.version: pythons[options.version]}
    with contextlib.ExitStack() as stack:
        place = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        measured(pythons, options.rounds, options.only or list(RUNS), place)
        found = medians(place)
    now, before = found.get("now", {}), found.get("before", {})
    # Of two versions, what both have run.
    shown = {name: seconds for name, seconds in now.items() if not before or name in before}
    write(shown, [before] if before else [], options.json, {})
    if options.workers:
        print(f"\n`-n 2` over `-n 0`, cold, wall time: {workers(options.rounds):.2f}")


if __name__ == "__main__":
    main()
