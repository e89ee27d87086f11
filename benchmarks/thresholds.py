"""Print where the default profile's thresholds come from.

Run the reference encoders on the embedded cohorts, then print what they reach and the minimum that follows::

    pytest --ecgfm=random_conv,handcrafted,demographics
    python benchmarks/thresholds.py ecgfm-results/latest

The rule of the downstream suite: at each fraction, the mean AUROC of `random_conv` in its worst cell (cohort x label),
rounded down to 0.01,
and at least 0.51. An encoder that reads less than untrained convolutions do where they are worst is of no use, on any
cohort; and an encoder of constants, whose AUROC is 0.5 without any spread, fails everywhere. The minima of the other
suites are set by hand below (maxima: above) the worst cell that is printed here, where the reason in the profile does
not say otherwise.
"""

import argparse
import math

import xarray as xr

import pytest_ecgfm

ENCODERS = ("random_conv", "handcrafted", "demographics")
FLOOR = 0.51


def minimum(worst: float) -> float:
    """Round the worst cell down to 0.01, and keep it above chance."""
    return max(FLOOR, math.floor(worst * 100) / 100)


def downstream(tree: xr.DataTree) -> None:
    """Print the AUROC at each fraction, and the minimum that follows."""
    cells = tree["downstream"]["auroc_mean"].sel(probe="logistic")
    print(f"mean AUROC over seeds: worst / median of {cells.sizes['cohort']} cohorts x {cells.sizes['label']} labels")
    print("| fraction | " + " | ".join(ENCODERS) + " | minimum |")
    print("| --- |" + " --- |" * (len(ENCODERS) + 1))
    for fraction in cells["fraction"].values:
        at = cells.sel(fraction=fraction)
        found = [at.sel(encoder=name) for name in ENCODERS]
        values = " | ".join(f"{float(x.min()):.3f} / {float(x.median()):.3f}" for x in found)
        print(f"| {fraction:g} | {values} | {minimum(float(found[0].min())):.2f} |")


def quantities(tree: xr.DataTree) -> None:
    """Print the R2 of each quantity at each fraction: ``--ecgfm-labels=age,quantity:heart_rate``."""
    cells = tree["quantities"]["r2_mean"]
    print(f"\nmean R2 over seeds: worst / median of {cells.sizes['cohort']} cohorts")
    print("| quantity | fraction | " + " | ".join(ENCODERS) + " |")
    print("| --- | --- |" + " --- |" * len(ENCODERS))
    for quantity in cells["quantity"].values:
        for fraction in cells["fraction"].values:
            found = [cells.sel(quantity=quantity, fraction=fraction, encoder=name) for name in ENCODERS]
            values = " | ".join(f"{float(x.min()):.3f} / {float(x.median()):.3f}" for x in found)
            print(f"| {quantity} | {fraction:g} | {values} |")


def others(tree: xr.DataTree) -> None:
    """Print the worst cell of each other check, by what its thresholds may be told apart by."""
    table = tree["checks"].to_dataset().reset_coords().to_dataframe().reset_index()
    table["kind"] = table["check"].astype(str).str.partition(": ")[2].str.partition("[")[0]
    table = table[~table["suite"].isin(["contract", "downstream"]) & table["value"].notna()]
    table["for"] = table["perturbation"].astype(str) + table["space"].astype(str)
    by_label = table["kind"].isin(["relevance.prior", "transfer.spearman_drop"])
    table.loc[by_label, "for"] = table.loc[by_label, "label"]
    print("\nworst value of each check over its cells, and the threshold")
    print("| check | for | " + " | ".join(ENCODERS) + " | threshold |")
    print("| --- | --- |" + " --- |" * (len(ENCODERS) + 1))
    for (kind, what), rows in table.groupby(["kind", "for"], sort=True):
        sense = str(rows["sense"].iloc[0])
        worst = rows.groupby("encoder")["value"].agg("min" if sense == "minimum" else "max")
        values = " | ".join(f"{worst[name]:.3g}" if name in worst else "" for name in ENCODERS)
        print(f"| {kind} | {what} | {values} | {sense} {float(rows['threshold'].iloc[0]):g} |")


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", default="ecgfm-results/latest")
    tree = pytest_ecgfm.open_run(parser.parse_args().run)
    missing = set(ENCODERS) - {str(name) for name in tree["checks"]["encoder"].values}
    if missing:
        raise SystemExit(f"the run lacks {', '.join(sorted(missing))}")
    if "downstream" in tree:
        downstream(tree)
    if "quantities" in tree:
        quantities(tree)
    others(tree)


if __name__ == "__main__":
    main()
