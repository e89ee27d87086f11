"""Print where the default profile's thresholds come from.

Run the reference encoders on the embedded cohorts, then print what they reach and the minimum that follows::

    pytest --ecgfm=random_conv,handcrafted,demographics
    python benchmarks/thresholds.py ecgfm-results/latest

The rule: at each fraction, the mean AUROC of `random_conv` in its worst cell (cohort x label), rounded down to 0.01,
and at least 0.51. An encoder that reads less than untrained convolutions do where they are worst is of no use, on any
cohort; and an encoder of constants, whose AUROC is 0.5 without any spread, fails everywhere.
"""

import argparse
import math

import pytest_ecgfm

ENCODERS = ("random_conv", "handcrafted", "demographics")
FLOOR = 0.51


def minimum(worst: float) -> float:
    """Round the worst cell down to 0.01, and keep it above chance."""
    return max(FLOOR, math.floor(worst * 100) / 100)


def main() -> None:
    """Print a Markdown table, one row a fraction."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", default="ecgfm-results/latest")
    cells = pytest_ecgfm.open_run(parser.parse_args().run)["downstream"]["auroc_mean"].sel(probe="logistic")
    missing = set(ENCODERS) - set(cells["encoder"].values)
    if missing:
        raise SystemExit(f"the run lacks {', '.join(sorted(missing))}")
    print(
        "mean AUROC over seeds: worst / median of " + f"{cells.sizes['cohort']} cohorts x {cells.sizes['label']} labels"
    )
    print("| fraction | " + " | ".join(ENCODERS) + " | minimum |")
    print("| --- |" + " --- |" * (len(ENCODERS) + 1))
    for fraction in cells["fraction"].values:
        at = cells.sel(fraction=fraction)
        found = [at.sel(encoder=name) for name in ENCODERS]
        values = " | ".join(f"{float(x.min()):.3f} / {float(x.median()):.3f}" for x in found)
        print(f"| {fraction:g} | {values} | {minimum(float(found[0].min())):.2f} |")


if __name__ == "__main__":
    main()
