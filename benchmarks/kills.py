"""Kill runs at random moments (SIGKILL), repeat the command, and compare with a run that was left alone.

Each trial has a cache of its own. Asserted: the cube's variables are the same to the byte, nothing half-written is
left, and no more was embedded twice than what was at work when the run was killed. Run: ``python benchmarks/kills.py``.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

MODEL = '''
import time
from pathlib import Path

import numpy as np
from pytest_ecgfm import ecg_model

LOG = Path(__file__).with_name("embedded.log")


@ecg_model(sampling_rate=50, seconds=5, leads="II V1", pretrained_on=[], version="1")
def slow():
    """Spread and extremes of two leads, slowly; writes down how many records it was given."""

    def embed(x):
        time.sleep(DELAY * len(x))
        with LOG.open("a") as handle:
            handle.write(f"{len(x)}\\n")
        return np.concatenate([np.std(np.asarray(x), -1), np.ptp(np.asarray(x), -1)], axis=1)

    return embed
'''

OPTIONS = (
    "--ecgfm=slow",
    "--ecgfm-cohorts=synthetic-europe",
    "--ecgfm-labels=AF",
    "--ecgfm-fractions=1",
    "--ecgfm-reference=demographics",
    "-q",
)

IN_FLIGHT = 256 + 2 * 64
"""Records that a killed run may have embedded in vain: those of one chunk, and what was prepared beyond it."""


@dataclass(frozen=True)
class Place:
    """A user's folder, a cache of its own, and the seconds that its model takes for a record."""

    folder: Path
    suites: str
    delay: float = 0.002
    options: tuple[str, ...] = ()

    @property
    def cache(self) -> Path:
        """The cache."""
        return self.folder / "cache"

    def share(self, cache: Path) -> None:
        """Use the cohorts that another cache holds, so that they are not generated again."""
        (cache / "cohorts").mkdir(parents=True, exist_ok=True)
        self.cache.mkdir(parents=True)
        (self.cache / "cohorts").symlink_to(cache / "cohorts")

    def start(self) -> "subprocess.Popen[str]":
        """Start a run, in a process group of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "conftest.py").write_text(MODEL.replace("DELAY", str(self.delay)))
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", "pytest", f"--ecgfm-out={out}", f"--ecgfm-cache={self.cache}", *OPTIONS]
        environment = {
            name: value for name, value in os.environ.items() if name not in ("ECGFM_DATA", "PYTEST_ADDOPTS")
        }
        return subprocess.Popen(
            [*command, f"--ecgfm-suites={self.suites}", *self.options],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self) -> xr.DataTree:
        """Run to the end and return the cube."""
        process = self.start()
        output, _ = process.communicate(timeout=900)
        assert (self.folder / "out" / "cube.nc").is_file(), output
        return xr.open_datatree(self.folder / "out" / "cube.nc", engine="h5netcdf")

    def kill(self, due: Callable[[], bool]) -> bool:
        """Start a run and kill it when it is due; return False if it had ended before."""
        process = self.start()
        while process.poll() is None and not due():
            time.sleep(0.01)
        early = process.poll() is None
        if early:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        return early

    def chunks(self) -> list[Path]:
        """Return the files of all chunks."""
        return sorted((self.cache / "embeddings").rglob("*.npz"))

    def embedded(self) -> int:
        """Return how many records the model was given, over all runs."""
        log = self.folder / "embedded.log"
        return sum(map(int, log.read_text().split())) if log.exists() else 0


def assert_same(cube: xr.DataTree, other: xr.DataTree) -> int:
    """Assert that two cubes hold the same variables, to the byte; return how many."""
    assert set(cube.groups) == set(other.groups), set(cube.groups) ^ set(other.groups)
    count = 0
    for group in cube.groups:
        mine, theirs = cube[group].to_dataset(), other[group].to_dataset()
        assert set(mine.variables) == set(theirs.variables), group
        for name in mine.variables:
            a, b = mine[name].values, theirs[name].values
            assert a.dtype == b.dtype and a.shape == b.shape, f"{group}/{name}"
            same = a.tolist() == b.tolist() if a.dtype.kind in "OUT" else a.tobytes() == b.tobytes()
            assert same, f"{group}/{name} differs"
            count += 1
    return count


def assert_resumed(place: Place, undisturbed: xr.DataTree, needed: int, kills: int) -> int:
    """Finish a run that was killed; assert what is promised, and return how many records were embedded in vain."""
    count = assert_same(place.finish(), undisturbed)
    assert count > 20
    vain = place.embedded() - needed
    assert 0 <= vain <= kills * IN_FLIGHT, f"{vain} records were embedded twice"
    assert not list(place.cache.rglob("*.tmp"))
    return vain


def main() -> None:
    """Print a line a trial."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--suites", default="downstream,stability")
    parser.add_argument("--delay", type=float, default=0.01, help="seconds a record (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        alone = Place(Path(folder) / "alone", args.suites, args.delay)
        began = time.monotonic()
        undisturbed = alone.finish()
        seconds, needed = time.monotonic() - began, alone.embedded()
        print(f"undisturbed: {seconds:.1f} s, {needed} records embedded, {len(alone.chunks())} chunks", flush=True)
        for trial in range(args.kills):
            place = Place(Path(folder) / f"trial{trial}", args.suites, args.delay)
            moment = time.monotonic() + rng.uniform(0, seconds)
            killed = place.kill(lambda moment=moment: time.monotonic() > moment)
            there, before = len(place.chunks()), place.embedded()
            vain = assert_resumed(place, undisturbed, needed, 1)
            state = f"{'killed' if killed else 'had ended'} with {there} chunks, {before} records embedded"
            print(f"trial {trial}: {state}; same cube, {vain} records in vain", flush=True)
            shutil.rmtree(place.folder)


if __name__ == "__main__":
    main()
