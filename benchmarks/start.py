"""Take the CPU time until something happens: a usage error, a list, the first check, an answer of ``ecgfm``.

Each command runs in a process of its own, on one core, all in turn, so that a busy machine slows all of them; the
figures are user and system seconds, medians over rounds, and their ratio to a pytest run of one empty test. Bytecode
is kept between rounds, as in any installation. Run: ``python benchmarks/start.py``, and with ``--before PYTHON`` to
compare with the version in another environment.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MODEL = "--ecgfm=handcrafted"
SMOKE = "--ecgfm-profile=smoke"
SMALL = (
    *("--ecgfm=demographics", "--ecgfm-reference=none", "--ecgfm-suites=downstream", "--ecgfm-fractions=1"),
    *("--ecgfm-cohorts=synthetic-europe", "--ecgfm-labels=AF", "--ecgfm-limit=200"),
)
"""The run that the commands read."""

PYTEST = {
    "empty run": ("test_empty.py",),
    "empty run, without the plugin": ("-p", "no:ecgfm", "test_empty.py"),
    "misspelt model": ("--ecgfm=handcraftd",),
    "misspelt label": (MODEL, "--ecgfm-labels=AFF"),
    "`--ecgfm-list`": ("--ecgfm-list",),
    "`--collect-only`": (MODEL, SMOKE, "--collect-only"),
    "first check begins": (MODEL, SMOKE, "-p", "stops_before"),
    "first check ends": (MODEL, SMOKE, "-p", "stops_after"),
    "first check of a torch model begins": ("--ecgfm=random_conv", SMOKE, "-p", "stops_before"),
    "first check of a torch model ends": ("--ecgfm=random_conv", SMOKE, "-p", "stops_after"),
}
ECGFM = {
    "`ecgfm --help`": ("--help",),
    "`ecgfm cohorts`": ("cohorts", "--quick"),
    "`ecgfm compare`": ("compare", "run", "run"),
    "`ecgfm table`": ("table", "run"),
    "`ecgfm gate`": ("gate", "run"),
    "`ecgfm cache`": ("cache", "--dir=cache"),
}

# Plugins that end the process where the clock has to stop.
PLUGINS = {
    "stops_before": "import os\n\ndef pytest_runtest_setup(item):\n    os._exit(0)\n",
    "stops_after": "import os\n\ndef pytest_runtest_teardown(item):\n    os._exit(0)\n",
}


def cpu_seconds(command: list[str], folder: Path) -> float:
    """Run a command; return the user and system seconds of its process and of those that it waited for."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONPATH": str(folder)}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment["ECGFM_CACHE"] = str(folder / "cache")
    for name in ("PYTHONDONTWRITEBYTECODE", "ECGFM_DATA", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(python: str) -> dict[str, list[str]]:
    """Return what is timed, by what it is called in the table."""
    return {
        **{name: [python, "-m", "pytest", *arguments] for name, arguments in PYTEST.items()},
        "`import torch`": [python, "-c", "import torch"],
        **{name: [python, "-m", "pytest_ecgfm.cli", *arguments] for name, arguments in ECGFM.items()},
    }


def measured(pythons: list[str], rounds: int, only: Sequence[str] = ()) -> list[dict[str, float]]:
    """Return the median CPU seconds of each command, or of those named, for each Python."""
    with tempfile.TemporaryDirectory() as place:
        folders = []
        for number, python in enumerate(pythons):
            folder = Path(place) / str(number)
            folder.mkdir()
            (folder / "test_empty.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
            for name, text in PLUGINS.items():
                (folder / f"{name}.py").write_text(text, encoding="utf-8")
            made = [python, "-m", "pytest", *SMALL, "--ecgfm-out=run"]
            cpu_seconds(made, folder)
            if not (folder / "run" / "cube.nc").is_file():
                raise SystemExit(f"{' '.join(made)}: made no run.")
            folders.append(folder)
        found: list[dict[str, list[float]]] = [{} for _ in pythons]
        # The first round writes bytecode, and is not counted.
        for round_ in range(rounds + 1):
            for python, folder, times in zip(pythons, folders, found, strict=True):
                for name, command in commands(python).items():
                    if only and name not in only:
                        continue
                    seconds = cpu_seconds(command, folder)
                    if round_:
                        times.setdefault(name, []).append(seconds)
    return [{name: statistics.median(times) for name, times in one.items()} for one in found]


def write(
    now: Mapping[str, float],
    then: Sequence[Mapping[str, float]],
    file: Path | None,
    further: Mapping[str, Callable[[float], float]],
) -> None:
    """Print seconds as a Markdown table, with further columns made of them, beside those of an earlier version."""
    heads = ["CPU s", *further, *(["before", "now, over before"] if then else [])]
    print(f"| | {' | '.join(heads)} |")
    print(f"| --- |{' --- |' * len(heads)}")
    for name, seconds in now.items():
        cells = [seconds, *(make(seconds) for make in further.values())]
        cells += [then[0][name], seconds / then[0][name]] if then else []
        print(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    if file:
        file.write_text(json.dumps({"now": now, "before": then}, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--before", metavar="PYTHON", help="interpreter of an environment with another version")
    parser.add_argument("--only", action="append", default=[], help="this row, with an empty run; repeatable")
    parser.add_argument("--json", type=Path, help="write the seconds here")
    options = parser.parse_args()
    if unknown := set(options.only) - set(commands("")):
        parser.error(f"--only: {', '.join(sorted(unknown))}; there are {', '.join(commands(''))}")
    only = ["empty run", *options.only] if options.only else []
    now, *then = measured([sys.executable, *([options.before] if options.before else [])], options.rounds, only)
    write(now, then, options.json, {"times an empty run": lambda seconds: seconds / now["empty run"]})


if __name__ == "__main__":
    main()
