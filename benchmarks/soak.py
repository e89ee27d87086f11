"""Kill workers at random in a long run under ``-n 2``, and assert that nothing is lost and nothing counted twice.

::

    python benchmarks/soak.py --checks 1000 --encoders 3 --kills 10

Checks are cheap: `downstream.auroc` at many fractions of one small embedded cohort. While they run, one worker after
another is killed with SIGKILL. Afterwards:

* every planned check has one row, or is named as missing in the verdict: none twice, none that was not planned;
* a check that was measured has the value of an undisturbed run; one whose worker died is a fail or missing;
* the rows, the cube and the verdict hold the same checks, and a run with a killed worker is not a pass.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import xarray as xr

MODELS = """
import time
import numpy as np
import pytest
from pytest_ecgfm import ecg_model


def of(weight):
    def embed(x):
        x = np.asarray(x)
        return np.concatenate([weight * x.std(-1), np.ptp(x, -1), np.abs(np.diff(x)).mean(-1)], axis=1)
    return embed
"""
MODEL = """
@ecg_model(sampling_rate=50, seconds=5, leads="II V1", pretrained_on=[], version="1", name="m{0}")
def m{0}():
    return of({0} + 1)
"""
COHORT, LABEL = "synthetic-europe", "AF"


def write_user(folder: Path, encoders: int, fractions: list[float]) -> list[str]:
    """Write a user's folder; return the command's arguments."""
    conftest = MODELS + "".join(MODEL.format(number) for number in range(encoders))
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    rule = '[[check]]\nname = "downstream.auroc"\nminimum = 0.5\nreason = "soak"\n'
    grid = (
        f'[grid]\nsuites = ["downstream"]\nlabels = ["{LABEL}"]\nfractions = {fractions}\nseeds = 1\nreferences = []\n'
    )
    (folder / "soak.toml").write_text(f'name = "soak"\n{grid}{rule}', encoding="utf-8")
    models = ",".join(f"m{number}" for number in range(encoders))
    return [f"--ecgfm={models}", "--ecgfm-profile=soak.toml", f"--ecgfm-cohorts={COHORT}", "--ecgfm-limit=100"]


def workers_of(controller: int) -> list[int]:
    """Return the process numbers of the controller's own children that are xdist's workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            # execnet starts a worker as a Python that reads what to do from its standard input.
            if int(fields[1]) == controller and b"sys.stdin.readline" in command:
                found.append(int(entry.name))
    return sorted(found)


def rows_in(run: Path) -> list[dict]:
    """Return the rows that were written so far."""
    path = run / "rows.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def run(folder: Path, arguments: list[str], out: str, kills: int, total: int, seed: int) -> tuple[int, int]:
    """Run to the end, on two workers if some are to be killed; return the exit status and how many were."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        *arguments,
        f"--ecgfm-out={out}",
        *(["-n", "2", f"--max-worker-restart={kills}"] if kills else []),
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    rng = random.Random(seed)
    # A kill each time that so many more rows are there: at random places of the run, whatever its speed.
    marks = sorted(rng.sample(range(2, max(3, int(0.8 * total))), kills)) if kills else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = 0
    with (folder / f"{out}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment)
        while process.poll() is None:
            time.sleep(0.05)
            if marks and len(rows_in(folder / out)) >= marks[0]:
                alive = workers_of(process.pid)
                if alive:
                    os.kill(rng.choice(alive), signal.SIGKILL)
                    killed += 1
                    marks.pop(0)
    return process.returncode, killed


def _killed(folder: Path, arguments: list[str], kills: int, total: int, seed: int) -> tuple[int, int, dict]:
    """Run with kills; return the exit status, how many there were, and the verdict.

    A worker that has nothing left to do can be killed without a trace, and nothing is lost. Then there is another try.
    """
    for attempt in range(3):
        shutil.rmtree(folder / "killed", ignore_errors=True)
        status, killed = run(folder, arguments, "killed", kills, total, seed + attempt)
        verdict = json.loads((folder / "killed" / "verdict.json").read_text(encoding="utf-8"))
        if not kills or any("crashed" in reason for reason in verdict["reasons"]):
            break
        assert len(rows_in(folder / "killed")) == total, "a check was lost, and no crash was told"
    return status, killed, verdict


def soak(folder: Path, checks: int, encoders: int, kills: int, *, seed: int = 0) -> dict[str, int]:
    """Run undisturbed and with kills, compare, and return what was counted.

    Raises
    ------
    AssertionError
        If a check was lost or counted twice, or a killed worker left no trace in the verdict.
    """
    fractions = [round(0.3 + 0.7 * (number + 1) / checks, 6) for number in range(checks)]
    arguments = write_user(folder, encoders, fractions)
    total = checks * encoders
    _, none = run(folder, arguments, "whole", 0, total, seed)
    status, killed, verdict = _killed(folder, arguments, kills, total, seed)
    # A run may end before its last victim is chosen.
    assert none == 0 and (killed > 0) == (kills > 0), f"{killed} of {kills} workers were killed"
    whole = {(row["encoder"], row["check"]): row for row in rows_in(folder / "whole")}
    rows = rows_in(folder / "killed")
    times = Counter((row["encoder"], row["check"]) for row in rows)
    assert len(whole) == total, f"{len(whole)} of {total} checks of the undisturbed run"
    assert max(times.values()) == 1, f"counted twice: {times.most_common(3)}"
    assert set(times) <= set(whole), f"never planned: {sorted(set(times) - set(whole))[:3]}"
    measured = [row for row in rows if row["value"] is not None]
    for row in measured:
        before = whole[row["encoder"], row["check"]]
        assert (row["value"], row["outcome"]) == (before["value"], before["outcome"]), row["check"]
    broken = [row for row in rows if row["value"] is None]
    assert all(row["outcome"] == "fail" for row in broken)
    lost = total - len(rows)
    # xdist runs a dead worker's other checks elsewhere: only the one that was under way can be without a value.
    assert lost + len(broken) <= killed, f"{lost} lost, {len(broken)} broken by {killed} kills"
    assert (verdict["outcome"] != "pass" or not kills) and (status != 0 or not kills)
    assert verdict["complete"] is (lost == 0 and not kills)
    planned = sum(one["counts"]["planned"] for one in verdict["encoders"].values())
    counted = sum(
        one["counts"][word]
        for one in verdict["encoders"].values()
        for word in ("pass", "fail", "inconclusive", "insufficient")
    )
    assert (planned, counted) == (total, len(rows)), verdict["encoders"]
    with xr.open_datatree(folder / "killed" / "cube.nc", engine="h5netcdf") as tree:
        in_cube = {str(name) for name in tree["checks"]["check"].values}
    assert in_cube == {f"{encoder}: {check}" for encoder, check in times}
    return {"planned": total, "rows": len(rows), "lost": lost, "broken": len(broken), "killed": killed}


def main() -> None:
    """Print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=1000, help="checks of each encoder")
    parser.add_argument("--encoders", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = soak(Path(place), options.checks, options.encoders, options.kills, seed=options.seed)
    print(", ".join(f"{name} {count}" for name, count in found.items()))
    if options.json:
        options.json.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
