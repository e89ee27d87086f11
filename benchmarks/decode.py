"""Time our decoding against a loop over ``wfdb.rdrecord``, and take the memory of streaming.

Every record is read by both, in turn, so that a busy machine slows both; the ratio is the median over rounds. The
values are compared on the way. Memory is that of a process of its own, which streams the record list once and ten
times over. Run: ``python benchmarks/decode.py --data DIR``.
"""

import argparse
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from peak import peak_memory

from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.cohorts.wfdb_files import WfdbCohort
from pytest_ecgfm.errors import EcgfmError

with warnings.catch_warnings():
    # wfdb uses parts of pandas that newer versions deprecate.
    warnings.simplefilter("ignore")
    import wfdb

GOAL = 20.0
COHORTS = {"ptb-xl": "PTB-XL, 500 Hz, .dat", "georgia": "challenge-2021 (Georgia), .mat"}


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _loop_over_wfdb(paths: list[str]) -> None:
    for path in paths:
        wfdb.rdrecord(path)


def compare(cohort: WfdbCohort, records: int, rounds: int) -> None:
    """Print the time a record of both, alone and streamed, and the ratios."""
    names = list(cohort.records[:records])
    paths = [str(cohort._headers[name].with_suffix("")) for name in names]
    for name, path in zip(names, paths, strict=True):
        expected = wfdb.rdrecord(path).p_signal.T.astype(np.float32)
        np.testing.assert_array_equal(cohort.read(name).signals, expected, err_msg=path)
    ways: dict[str, Callable[[], object]] = {
        "wfdb.rdrecord": lambda: _loop_over_wfdb(paths),
        "bytes alone": lambda: [Path(f"{path}{end}").read_bytes() for path in paths for end in (".hea", ending)],
        "read": lambda: [cohort.read(name) for name in names],
        "batches, workers=0": lambda: sum(len(batch) for batch in cohort.batches(64, names, workers=0)),
        "batches": lambda: sum(len(batch) for batch in cohort.batches(64, names)),
    }
    ending = ".mat" if Path(f"{paths[0]}.mat").exists() else ".dat"
    taken = {way: np.array([]) for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            taken[way] = np.append(taken[way], _seconds(run) / len(names))
    theirs = taken["wfdb.rdrecord"]
    print(f"{COHORTS[cohort.name]}: {len(names)} records, {rounds} rounds; identical values")
    for way, mine in taken.items():
        ratio = f"{np.median(theirs / mine):8.1f} times as fast" if way != "wfdb.rdrecord" else ""
        print(f"  {way:<20}{np.median(mine) * 1e3:8.3f} ms a record{ratio}")
    verdict = "reached" if np.median(theirs / taken["read"]) >= GOAL else "missed"
    print(f"  goal of {GOAL:g} times (read against wfdb.rdrecord): {verdict}")


def stream(data: Path, name: str, times: int) -> None:
    """Stream the record list so often, and print records and peak memory in MB."""
    cohort = load_cohort(name, data)
    before = peak_memory()
    count = sum(len(batch) for batch in cohort.batches(64, list(cohort.records) * times))
    print(count, f"{before:.0f}", f"{peak_memory():.0f}")


def main() -> None:
    """Print times and memory for each cohort that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds PTB-XL and the challenge's Georgia")
    parser.add_argument("--records", type=int, default=100, help="records a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="paired rounds (default: %(default)s)")
    parser.add_argument("--stream", nargs=2, metavar=("COHORT", "TIMES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stream:
        stream(args.data, args.stream[0], int(args.stream[1]))
        return
    for name in COHORTS:
        try:
            cohort = load_cohort(name, args.data)
        except EcgfmError as error:
            print(f"{name}: {error}")
            continue
        assert isinstance(cohort, WfdbCohort)
        compare(cohort, args.records, args.rounds)
        for times in (1, 10):
            command = [sys.executable, __file__, "--data", str(args.data), "--stream", name, str(times)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            print(f"  streaming {out[0]} records: peak memory {out[2]} MB, of which {out[1]} MB before the first")


if __name__ == "__main__":
    main()
