"""Run the default profile, all suites, over 5,000 to 100,000 records of 512 dimensions: CPU time and peak memory.

Each size is one run in a process of its own, on one core, with a cache and an out folder of its own. This file is also
the plugin that this run loads (``-p large``). It declares, as users do:

* four cohorts of four continents, each with a quarter of the records. A record has 12 leads of 5 s at 100 Hz; it is
  made when it is read, as a sum of eight fixed waveforms and noise. How much of each waveform it has decides its labels
  (each of them in 10 to 18 % of the records), its age and its sex. A patient has two records. No folds are published:
  a tenth of the patients validates and a fifth is tested, or, where that leaves fewer than 50 positives, as with 5,000
  records in all, there are five folds and five times as many probes;
* `large`, the model under test: means of tenths of a second, times a matrix to 512 dimensions, and tanh;
* `large_reference`, the same with another matrix, to the 256 dimensions of `random_conv`. The differences to a
  reference are measured, as in the default profile; the convolutions of `random_conv` would measure torch instead.

Making and embedding records is a hundredth of the time: what is measured is what the suites do. The verdict on such an
encoder means nothing; it is printed to show that the run was whole. CPU seconds are those of the process, and of each
suite and check: what two of them need is made in the first one. The peak is that of the process, with the suite in
which it was reached. "Growth" is the ratio of seconds to the next smaller size over the ratio of records: 1 where time
is linear. Run (100,000 records take more than half an hour of one core)::

    python benchmarks/large.py --records 5000 20000
    python benchmarks/large.py --records 100000 --keep large.json

With ``--keep FILE`` results stay in a file, and the table holds what was measured before.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from peak import peak_memory

from pytest_ecgfm import ecg_cohort, ecg_model

CONTINENTS = ("Africa", "Asia", "Europe", "South America")
LABELS = {"CD": 1.0, "AF": 1.4, "SB": 1.2, "STach": 1.3}
"""How many standard deviations of its waveform a record has to have for the label, but for what is left to chance."""

RATE, SECONDS, LEADS, WAVEFORMS = 100, 5, 12, 8
DIMENSIONS, REFERENCE_DIMENSIONS = 512, 256
DEAREST = 10
"""Checks that are printed by themselves."""

REST = "start, outputs"

Floats = npt.NDArray[np.float32]


class Spent:
    """Where a run's CPU time goes; all in seconds of this process."""

    def __init__(self) -> None:
        self.suites: defaultdict[str, float] = defaultdict(float)
        self.checks: defaultdict[str, float] = defaultdict(float)
        self.peak, self.peak_in = 0.0, ""
        self.made = 0.0

    def making(self, make: Callable[[], Floats]) -> Floats:
        """Make a record or its embedding, which is no part of the package."""
        began = time.thread_time()
        found = make()
        self.made += time.thread_time() - began
        return found

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Add up the time of the test's suite and check."""
        began = time.process_time()
        found = yield
        seconds, suite = time.process_time() - began, item.path.stem.removeprefix("test_")
        self.suites[suite] += seconds
        for marker in item.iter_markers("ecgfm_check"):
            self.checks[str(marker.args[0])] += seconds
        self.look(suite)
        return found

    def look(self, where: str) -> None:
        """Remember where the peak was reached."""
        if (peak := peak_memory()) > self.peak:
            self.peak, self.peak_in = peak, where


SPENT = Spent()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the number of records, and where to write what was spent."""
    parser.addoption("--large-records", type=int)
    parser.addoption("--large-spent", type=Path)


def pytest_configure(config: pytest.Config) -> None:
    """Begin to measure."""
    config.pluginmanager.register(SPENT, "large-spent")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write what was spent."""
    SPENT.look(REST)
    config.getoption("--large-spent").write_text(json.dumps(vars(SPENT)), encoding="utf-8")


def _declare_cohort(number: int, continent: str) -> None:
    def cohort(pytestconfig: pytest.Config) -> tuple[Callable[[str], Floats], pd.DataFrame]:
        count = pytestconfig.getoption("--large-records") // len(CONTINENTS)
        rng = np.random.default_rng([number, 1])
        # The same waveforms in all cohorts, so that probes travel.
        shapes = np.random.default_rng(0).normal(size=(WAVEFORMS, LEADS * RATE * SECONDS)).astype(np.float32)
        patients = np.arange(count) // 2
        amounts = rng.normal(size=(count, WAVEFORMS)) + rng.normal(size=(count, WAVEFORMS))[patients]
        amounts = (amounts / np.sqrt(2)).astype(np.float32)
        noise = rng.normal(size=1_000_003).astype(np.float32)
        size, gain = shapes.shape[1], np.float32(0.2 * (1 + number / 10))

        def read(record: str) -> Floats:
            at = int(record)
            begin = at * 7919 % (len(noise) - size)
            return SPENT.making(
                lambda: (gain * (amounts[at] @ shapes + noise[begin : begin + size])).reshape(LEADS, -1)
            )

        doubt = rng.normal(scale=0.5, size=(count, len(LABELS)))
        labels = {
            label: amounts[:, column] + doubt[:, column] > least for column, (label, least) in enumerate(LABELS.items())
        }
        of_patients = amounts[::2]
        chance = rng.normal(scale=8, size=len(of_patients))
        age = np.clip(58 + 12 * of_patients[:, len(LABELS)] + chance, 18, 95).round()
        sex = np.where(of_patients[:, len(LABELS) + 1] > 0, "F", "M")
        table = pd.DataFrame(
            {**labels, "patient": patients, "age": age[patients], "sex": sex[patients]},
            index=pd.Index([f"{at:06d}" for at in range(count)], dtype=str),
        )
        return read, table

    cohort.__name__ = f"generated_{continent.lower().replace(' ', '_')}"
    globals()[cohort.__name__] = ecg_cohort(sampling_rate=RATE, units="mV", continent=continent)(cohort)


for _number, _continent in enumerate(CONTINENTS):
    _declare_cohort(_number, _continent)


def _product(seed: int, dimensions: int) -> Callable[[Floats], Floats]:
    tenth, steps = RATE // 10, LEADS * 10 * SECONDS
    weights = np.random.default_rng([seed, 2]).normal(size=(steps, dimensions)).astype(np.float32)
    weights *= np.float32(2 / np.sqrt(steps))

    def embed(signals: Floats) -> Floats:
        def made() -> Floats:
            means = signals.reshape(len(signals), steps, tenth).mean(axis=2) * np.float32(np.sqrt(tenth))
            return np.asarray(np.tanh(means @ weights), dtype=np.float32)

        return SPENT.making(made)

    return embed


@ecg_model(sampling_rate=RATE, seconds=SECONDS, input="array", pretrained_on=[], version="1")
def large() -> Callable[[Floats], Floats]:
    """Embed by a matrix."""
    return _product(0, DIMENSIONS)


@ecg_model(sampling_rate=RATE, seconds=SECONDS, input="array", pretrained_on=[], version="1")
def large_reference() -> Callable[[Floats], Floats]:
    """Embed by another matrix, to fewer dimensions."""
    return _product(1, REFERENCE_DIMENSIONS)


def one_run(records: int, more: Sequence[str] = ()) -> dict[str, Any]:
    """Run once; return what it cost and what it said.

    Parameters
    ----------
    records : int
        Of all cohorts together.
    more : sequence of str
        Further options of the run.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "ECGFM_CACHE": str(folder / "cache")}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        for variable in ("PYTHONDONTWRITEBYTECODE", "ECGFM_DATA", "PYTEST_ADDOPTS"):
            environment.pop(variable, None)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "large", "--tb=no"]
        command += ["--ecgfm=large", "--ecgfm-reference=large_reference", "--ecgfm-out=run", f"--rootdir={folder}"]
        command += [f"--large-records={records}", "--large-spent=spent.json", *more]
        before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
        wall, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if not (folder / "run" / "cube.nc").is_file() or not (folder / "spent.json").is_file():
            raise SystemExit(f"{' '.join(command)}: made no run.\n{done.stdout}{done.stderr}")
        spent = json.loads((folder / "spent.json").read_text(encoding="utf-8"))
    spent["suites"][REST] = cpu - sum(spent["suites"].values())
    said = [line for line in done.stdout.splitlines() if line.startswith("large: ")]
    return {"records": records, "cpu": cpu, "wall": wall, "said": said[0], **spent}


def growth(now: float, before: float, records: int, fewer: int) -> float:
    """Return the ratio of seconds over the ratio of records: 1 where time is linear."""
    return (now / before) / (records / fewer)


def table(found: Sequence[dict[str, Any]]) -> list[str]:
    """Return a Markdown table of seconds by suite and by dear check, and of how they grow.

    Parameters
    ----------
    found : sequence of dict
        From `one_run`, by ascending numbers of records.
    """
    pairs = list(zip(found[1:], found, strict=False))
    heads = [f"{one['records']:,}, CPU s" for one in found]
    heads += [f"growth to {now['records']:,}" for now, _ in pairs]
    dearest = sorted(found[-1]["checks"], key=found[-1]["checks"].get, reverse=True)[:DEAREST]
    rows: dict[str, list[float]] = {"all": [one["cpu"] for one in found]}
    rows |= {name: [one["suites"].get(name, 0.0) for one in found] for name in found[-1]["suites"]}
    rows |= {f"`{name}`": [one["checks"].get(name, 0.0) for one in found] for name in dearest}
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' --- |' * len(heads)}"]
    for name, seconds in rows.items():
        grown = [
            f"{growth(now, before, one['records'], fewer['records']):.2f}" if before > 0 else ""
            for now, before, (one, fewer) in zip(seconds[1:], seconds, pairs, strict=False)
        ]
        lines.append(f"| {name} | {' | '.join([*(f'{one:.1f}' for one in seconds), *grown])} |")
    return lines


def main() -> None:
    """Print what each size costs, and a table of what is not linear."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"nargs": "*", "type": int, "default": [5000, 20000]}
    parser.add_argument("--records", **sizes, help="of all cohorts together (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep results here, and go on from them")
    parser.add_argument("--run", action="append", default=[], metavar="OPTION", help="a further option of the run")
    options = parser.parse_args()
    kept = json.loads(options.keep.read_text(encoding="utf-8")) if options.keep and options.keep.is_file() else []
    held = {one["records"]: one for one in kept}
    for records in options.records:
        held[records] = one = one_run(records, options.run)
        seconds = f"{one['cpu']:.0f} CPU s ({one['wall']:.0f} s on the clock; {one['made']:.0f} to make and embed)"
        print(f"{records:,} records: {seconds}, peak memory {one['peak']:.0f} MB, in {one['peak_in']}")
        print(f"  {one['said']}", flush=True)
        if options.keep:
            options.keep.write_text(json.dumps(list(held.values()), indent=1) + "\n", encoding="utf-8")
    print("\n".join(table([held[records] for records in sorted(held)])))


if __name__ == "__main__":
    main()
