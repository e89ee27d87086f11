"""Run the benchmarks that have a peer, and print how many times as fast as the peer ours is.

::

    python benchmarks/run.py                                   # quick sizes, a minute or two
    python benchmarks/run.py --only probes --full              # the sizes of the documentation
    python benchmarks/run.py --json benchmarks/last.json       # keep the ratios
    python benchmarks/run.py --compare benchmarks/last.json    # fail where a ratio has become much worse

Ours and its peer run in the same process, on one core, so that a ratio means the same on another machine; seconds do
not, and are neither kept nor compared. `encoders.py` and `decode.py` need weights or data and are run by themselves;
`intervals.py`, `releases.py` and `thresholds.py` measure no speed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TOLERATED = 0.8
"""Share of the last ratio below which a ratio counts as worse."""

REPEATS = 5
"""A ratio that looks worse is measured this many times in all; the median decides, so that noise does not."""


class Benchmark(NamedTuple):
    """One script, its sizes, and where its JSON holds the ratios."""

    quick: tuple[str, ...]
    full: tuple[str, ...]
    ratios: Callable[[dict[str, Any]], dict[str, float]]


def _shapley(found: dict[str, Any]) -> dict[str, float]:
    ours = found["ours"]
    return {
        f"{name}, {what}": one[what] / ours[what]
        for name, one in found.items()
        if name != "ours"
        for what in ("seconds", "forwards")
    }


BENCHMARKS = {
    "probes": Benchmark(
        ("--records=3000", "--dimensions=128", "--seeds=1"),
        ("--records=20000", "--dimensions=768"),
        lambda found: {"sklearn StandardScaler and LogisticRegression": found["ratio"]},
    ),
    "separability": Benchmark(
        ("--records=400", "--dimensions=64"),
        ("--records=4000", "--dimensions=768"),
        lambda found: {
            "sklearn metrics": found["metrics_ratio"],
            "sklearn metrics, permuted": found["null_ratio"],
        },
    ),
    "shapley": Benchmark(("--records=1",), ("--records=2",), _shapley),
}


def measured(name: str, full: bool) -> dict[str, Any]:
    """Run one script; return its arguments and its ratios."""
    benchmark = BENCHMARKS[name]
    arguments = benchmark.full if full else benchmark.quick
    one_core = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "found.json"
        command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *arguments, f"--json={place}"]
        subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, **one_core})
        found = json.loads(place.read_text(encoding="utf-8"))
    return {"arguments": list(arguments), "ratios": benchmark.ratios(found)}


def worse(now: dict[str, Any], last: dict[str, Any], asked: list[str]) -> list[str]:
    """Return a line for each ratio of the last run that has become much worse, or cannot be compared."""
    lines = []
    for name in asked:
        if name not in last:
            continue
        if now[name]["arguments"] != last[name]["arguments"]:
            lines.append(f"{name}: ran with {now[name]['arguments']}, the last time with {last[name]['arguments']}")
            continue
        for peer, before in last[name]["ratios"].items():
            ratio = now[name]["ratios"].get(peer)
            if ratio is None:
                lines.append(f"{name}: no ratio to {peer}")
            # Written so that a ratio that is no number counts as worse.
            elif not ratio >= TOLERATED * before:
                lines.append(f"{name}: {ratio:.2f} times as fast as {peer}, the last time {before:.2f}")
    return lines


def confirmed(
    now: dict[str, Any], last: dict[str, Any], asked: list[str], again: Callable[[str], dict[str, Any]]
) -> list[str]:
    """Measure again what looks worse; return a line for each ratio whose median is worse, too.

    Parameters
    ----------
    now, last : dict
        Arguments and ratios by benchmark, now and the last time; the medians are put into ``now``.
    asked : list of str
        Names of the benchmarks.
    again : callable
        Measures a benchmark by name.
    """
    doubtful = [name for name in asked if worse(now, last, [name])]
    for name in doubtful:
        if name in last and now[name]["arguments"] == last[name]["arguments"]:
            runs = [now[name], *(again(name) for _ in range(REPEATS - 1))]
            now[name]["ratios"] = {
                peer: float(np.median([run["ratios"][peer] for run in runs])) for peer in now[name]["ratios"]
            }
    return worse(now, last, asked)


def main() -> None:
    """Print a Markdown table; keep or compare the ratios where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=sorted(BENCHMARKS), help="this benchmark; repeatable")
    parser.add_argument("--full", action="store_true", help="the sizes of the documentation")
    parser.add_argument("--json", type=Path, help="write the ratios here")
    parser.add_argument("--compare", type=Path, help="fail where a ratio is below 0.8 times the one in this file")
    options = parser.parse_args()
    asked = options.only or list(BENCHMARKS)
    last = json.loads(options.compare.read_text(encoding="utf-8")) if options.compare else {}
    now = {name: measured(name, options.full) for name in asked}
    lines = confirmed(now, last, asked, lambda name: measured(name, options.full))
    print("| benchmark | peer | times as fast | last time |\n| --- | --- | --- | --- |")
    for name, one in now.items():
        for peer, ratio in one["ratios"].items():
            before = last.get(name, {}).get("ratios", {}).get(peer)
            print(f"| {name} | {peer} | {ratio:.2f} | {'' if before is None else f'{before:.2f}'} |")
    if options.json:
        options.json.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    if lines:
        raise SystemExit("\n".join(lines))


if __name__ == "__main__":
    main()
