"""Disturb small runs in every way that a machine knows, and assert what is promised about them.

::

    python -m benchmarks.faults signals --signal=TERM --trials=20
    python -m benchmarks.faults disk          # as root: mounts a file system of a few MB
    python -m benchmarks.faults read-only     # as root: the run is one of an ordinary user
    python -m benchmarks.faults segfault
    python -m benchmarks.faults together

Asserted of each disturbed run: each check whose result was printed has its row in ``rows.jsonl``; ``verdict.json``
says pass only where every check has its row; no traceback is printed, but for Ctrl-C before pytest has begun.
Asserted of the run after it, with the same folders: the cube's variables are those of an undisturbed run, to the byte,
and ``ecgfm gate`` agrees.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import xarray as xr

from benchmarks.kills import assert_same

USER = '''
import ctypes
import os
import time

import numpy as np
import pandas as pd
from pytest_ecgfm import ecg_cohort, ecg_model


@ecg_cohort(sampling_rate=100, leads="II V1")
def tiny():
    """Fast hearts and slow ones, in noise."""
    rng = np.random.default_rng(0)
    fast = np.arange(180) % 3 == 0
    beats = [np.convolve(np.arange(1000) % (50 if one else 80) == 0, np.hanning(8), "same") for one in fast]
    signals = np.stack(beats)[:, None] * [[1.0], [-0.8]] + rng.normal(0, 0.02, (180, 2, 1000))
    return signals.astype(np.float32), pd.DataFrame({"STach": fast})


@ecg_model(sampling_rate=100, seconds=10, leads="II V1", pretrained_on=[], VERSION)
def spread():
    """Spread, extremes and slopes."""

    def embed(x):
        time.sleep(DELAY)
        if os.environ.get("ECGFM_FAULT") == "segfault" and os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
            ctypes.string_at(0)
        x = np.asarray(x)
        return np.concatenate([x.std(-1), np.ptp(x, -1), np.abs(np.diff(x)).mean(-1)], axis=1)

    return embed
'''
PROFILE = """
extends = "smoke"
[grid]
suites = ["downstream"]
labels = ["STach"]
fractions = [0.25, 0.5, 1.0]
"""
OPTIONS = ("--ecgfm=spread", "--ecgfm-cohorts=tiny", "--ecgfm-profile=faults.toml", "-v", "-p", "no:cacheprovider")
SETTLED = re.compile(
    r"::test_\w+\[(\S+?)\] (?:<- \S+ )?(?:PASSED|FAILED|INCONCLUSIVE|INSUFFICIENT|ADVISORY FAIL|ERROR)"
    r"|(?:PASSED|FAILED|INCONCLUSIVE|INSUFFICIENT|ADVISORY FAIL|ERROR) \S*::test_\w+\[(\S+)\]",
)
NOBODY = 65534


class Trial:
    """A user's folder with a run's folder and a cache; each may be put elsewhere."""

    def __init__(self, folder: Path, *, version: str = 'version="1"', delay: float = 0.0) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.cache = folder / "cache"
        self.user: int | None = None
        self.python = sys.executable
        folder.mkdir(parents=True)
        (folder / "conftest.py").write_text(USER.replace("VERSION", version).replace("DELAY", str(delay)))
        (folder / "faults.toml").write_text(PROFILE)

    def start(self, *options: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a run in a process group of its own; what it prints goes to a file."""
        held = {name: value for name, value in os.environ.items() if name not in ("ECGFM_DATA", "PYTEST_ADDOPTS")}
        command = [self.python, "-m", "pytest", *OPTIONS, f"--ecgfm-out={self.out}", f"--ecgfm-cache={self.cache}"]
        with (self.folder / "printed.txt").open("w") as printed:
            return subprocess.Popen(
                [*command, *options],
                cwd=self.folder,
                env=held | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"} | environment,
                stdout=printed,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                # A shell lets its background jobs ignore Ctrl-C, and they hand that on.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
            )

    def run(self, *options: str, **environment: str) -> int:
        """Run to the end and return the exit status."""
        return self.start(*options, **environment).wait(timeout=300)

    @property
    def printed(self) -> str:
        """What the last run printed."""
        return (self.folder / "printed.txt").read_text(errors="backslashreplace")

    def newest(self) -> Path:
        """Return the folder of the newest run."""
        places = [self.out, *self.out.glob("run-*")]
        return max((one for one in places if (one / "verdict.json").exists()), key=lambda one: _verdict(one)["started"])

    def gate(self) -> int:
        """Return what ``ecgfm gate`` says."""
        command = [sys.executable, "-m", "pytest_ecgfm.cli", "gate", str(self.out)]
        return subprocess.run(command, capture_output=True, check=False).returncode


def _verdict(run: Path) -> dict:
    return json.loads((run / "verdict.json").read_text())


def assert_kept(trial: Trial, run: Path) -> tuple[int, str]:
    """Assert what holds of a disturbed run; return how many rows it kept, and what it says of itself."""
    printed = trial.printed
    assert "Traceback" not in printed and "INTERNALERROR" not in printed, printed
    settled = {one or other for one, other in SETTLED.findall(printed)}
    rows = run / "rows.jsonl"
    lines = rows.read_text().splitlines() if rows.exists() else []
    # A line that was begun when the process was killed counts for nothing; what came before it does.
    held = [json.loads(line) for line in lines if line.endswith("}")]
    names = {row["check"].partition("[")[2].rstrip("]") for row in held}
    lost = "rows.jsonl could not be written" in printed
    assert lost or len(held) >= len(settled), (sorted(settled), sorted(names), printed)
    verdict = _verdict(run)
    if verdict["complete"]:
        # It was disturbed after its last check: the verdict stood before anything else of the end was written.
        planned = sum(one["counts"]["planned"] for one in verdict["encoders"].values())
        assert verdict["outcome"] == "pass" and len(held) == planned and trial.gate() == 0, verdict
        return len(held), "pass"
    assert verdict["outcome"] != "pass" and trial.gate() == 1, verdict
    return len(held), "; ".join(verdict["reasons"][:1])


def assert_right(trial: Trial, undisturbed: xr.DataTree) -> int:
    """Run again in the same folders; assert that it is as if nothing had been, and return the variables compared."""
    status = trial.run()
    run = trial.newest()
    assert status == 0 and _verdict(run)["outcome"] == "pass" and trial.gate() == 0, trial.printed
    assert not list(trial.cache.rglob("*.tmp")) and not list(run.glob(".*")), list(run.iterdir())
    with xr.open_datatree(run / "cube.nc", engine="h5netcdf") as cube:  # left open, its disk could not be unmounted
        return assert_same(cube, undisturbed)


def signals(folder: Path, args: argparse.Namespace, undisturbed: xr.DataTree, seconds: float) -> None:
    """Send one signal at a random moment of each trial's run."""
    rng = random.Random(args.seed)
    number = getattr(signal, f"SIG{args.signal}")
    for one in range(args.trials):
        trial = Trial(folder / f"trial{one}")
        moment = rng.uniform(0, seconds)
        process = trial.start(*(() if args.workers == 0 else (f"-n{args.workers}",)))
        time.sleep(moment)
        # Whoever presses Ctrl-C, and whatever kills for want of memory or time, reaches the whole group.
        early = process.poll() is None
        if early:
            (os.kill if args.signal == "TERM" else os.killpg)(process.pid, number)
        status = process.wait(timeout=120)
        if (trial.out / "verdict.json").exists() and early and status != 0:
            kept, says = assert_kept(trial, trial.out)
            state = f"{kept} rows kept, verdict: {says}"
        else:
            assert "INTERNALERROR" not in trial.printed, trial.printed
            state = "had ended" if status == 0 else "before the run had a folder"
        count = assert_right(trial, undisturbed)
        print(f"{args.signal} after {moment:.1f} s: status {status}, {state}; next run right ({count})", flush=True)
        shutil.rmtree(trial.folder)


@contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a file system in memory of so many kilobytes."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def told(trial: Trial) -> str:
    """Return what a run said of its end, in one line."""
    ours = [line for line in trial.printed.splitlines() if line.startswith(("! ", "note: ", "verdict: ", "ERROR: "))]
    return " | ".join(dict.fromkeys(ours)) or trial.printed.splitlines()[-1]


def disk(folder: Path, args: argparse.Namespace, undisturbed: xr.DataTree, seconds: float) -> None:
    """Let the disk below the run's folder, then below the cache, be full."""
    for where in ("out", "cache"):
        for kilobytes in args.kilobytes:
            trial = Trial(folder / f"{where}{kilobytes}")
            with small_disk(folder / f"disk-{where}{kilobytes}", kilobytes) as place:
                setattr(trial, where, place / where)
                status = trial.run()
                printed = trial.printed
                assert status in (0, 1, 4), (status, printed)
                assert "Traceback" not in printed and "INTERNALERROR" not in printed, printed
                begun = (trial.out / "verdict.json").exists()
                if status == 1:
                    assert begun, printed
                    assert_kept(trial, trial.out)
                print(f"{where} with {kilobytes} kB: status {status}: {told(trial)}", flush=True)
                if where == "cache" and (place / where).exists():
                    shutil.rmtree(place / where)
                subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
                count = assert_right(trial, undisturbed)
                print(f"    with room again: next run right ({count})", flush=True)


def read_only(folder: Path, args: argparse.Namespace, undisturbed: xr.DataTree, seconds: float) -> None:
    """Let an ordinary user run with a cache that belongs to somebody else: empty, filled, and half filled."""
    folder.chmod(0o755)
    for state in ("empty", "filled", "half"):
        trial = Trial(folder / state)
        trial.cache.mkdir()
        if state != "empty":
            assert trial.run() == 0, trial.printed
            shutil.rmtree(trial.out)
        if state == "half":
            chunks = sorted(trial.cache.rglob("*.npz"))
            for path in chunks[::2]:
                path.unlink()
        trial.out = trial.folder / "theirs" / "out"
        trial.out.parent.mkdir()
        os.chown(trial.out.parent, NOBODY, NOBODY)
        (trial.folder / "printed.txt").touch()
        trial.user, trial.python = NOBODY, args.python
        status = trial.run()
        printed = trial.printed
        assert "Traceback" not in printed and "INTERNALERROR" not in printed, printed
        if status:
            assert_kept(trial, trial.out)
            rows = [json.loads(line) for line in (trial.out / "rows.jsonl").read_text().splitlines()]
            # Nothing that the model did: no check of it failed.
            assert {row["outcome"] for row in rows} <= {"pass", "error", "inconclusive"}, rows
        print(f"cache {state}, read-only: status {status}: {told(trial)}", flush=True)
        trial.user, trial.python = None, sys.executable
        print(f"    by its owner: next run right ({assert_right(trial, undisturbed)})", flush=True)


def segfault(folder: Path, args: argparse.Namespace, undisturbed: xr.DataTree, seconds: float) -> None:
    """Let the model of one of two workers end in a segmentation fault."""
    trial = Trial(folder / "segfault")
    status = trial.run("-n2", ECGFM_FAULT="segfault")
    kept, says = assert_kept(trial, trial.out)
    assert status == 1, trial.printed
    print(f"segfault: status {status}, {kept} rows, verdict: {says}: {told(trial)}", flush=True)
    print(f"    next run right ({assert_right(trial, undisturbed)})", flush=True)


def together(folder: Path, args: argparse.Namespace, undisturbed: xr.DataTree, seconds: float) -> None:
    """Let several runs share every folder at the same time."""
    for one in range(args.trials):
        trial = Trial(folder / f"together{one}")
        started = [trial.start() for _ in range(args.runs)]
        statuses = [process.wait(timeout=300) for process in started]
        runs = [path.parent for path in trial.out.rglob("verdict.json")]
        assert statuses == [0] * args.runs, trial.printed
        assert len(runs) == args.runs, runs
        for run in runs:
            assert _verdict(run)["outcome"] == "pass"
            assert_same(xr.open_datatree(run / "cube.nc", engine="h5netcdf"), undisturbed)
        print(f"{args.runs} runs together: {len(runs)} folders, each right; ", end="")
        print(f"next run right ({assert_right(trial, undisturbed)})", flush=True)


KINDS: dict[str, Callable[[Path, argparse.Namespace, xr.DataTree, float], None]] = {
    "signals": signals,
    "disk": disk,
    "read-only": read_only,
    "segfault": segfault,
    "together": together,
}


def main() -> None:
    """Print a line a trial."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0, help="as -n of pytest-xdist")
    parser.add_argument("--runs", type=int, default=2, help="of `together`: at the same time")
    parser.add_argument("--kilobytes", type=int, nargs="+", default=[64, 1100, 1200, 1300, 1500])
    parser.add_argument("--python", default=sys.executable, help="of `read-only`: one that every user may start")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        alone = Trial(folder / "alone")
        began = time.monotonic()
        status = alone.run()
        seconds = time.monotonic() - began
        assert status == 0, alone.printed
        undisturbed = xr.open_datatree(alone.out / "cube.nc", engine="h5netcdf").load()
        print(f"undisturbed: {seconds:.1f} s, {_verdict(alone.out)['outcome']}", flush=True)
        KINDS[args.kind](folder, args, undisturbed, seconds)


if __name__ == "__main__":
    main()
