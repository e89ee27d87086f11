"""Quantities and named sets of labels on the page: what their probes read, with intervals and units."""

import math
from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import xarray as xr
from markupsafe import Markup

from pytest_ecgfm.report.layout import NOTHING, table
from pytest_ecgfm.report.loaded import Loaded, at, estimate, in_order, numbers
from pytest_ecgfm.report.words import element, percent, with_interval
from pytest_ecgfm.results.cohort_order import cohort_order


def quantities(run: Loaded) -> Markup:
    """Tabulate R2, mean absolute error in units, and Spearman correlation, by encoder, cohort, quantity and share."""
    held = run.group("quantities")
    if held is None or "r2_mean" not in held:
        return NOTHING
    rows: list[list[object]] = []
    for where in _cells(run, held, "quantity", "r2_mean"):
        found = [
            with_interval(*numbers(held, (f"{name}_mean", f"{name}_mean_low", f"{name}_mean_high"), **where))
            for name in ("r2", "mae", "spearman")
        ]
        units = str(at(held["units"], cohort=where["cohort"], quantity=where["quantity"])) if "units" in held else ""
        records = float(at(held["n_test"], **where))
        named = [where["encoder"], where["cohort"], where["quantity"], percent(float(where["fraction"]))]
        rows.append([*named, *found, units or "not stated", f"{records:g}"])
    heads = ["encoder", "cohort", "quantity", "patients", "R2", "mean absolute error", "Spearman", "units", "records"]
    return Markup("").join([table(heads, rows, "quantities"), _in_groups(run)])


def _in_groups(run: Loaded) -> Markup:
    """Tabulate the same in each group of patients, folded away; a group that is too small says so."""
    held = run.group("quantity_groups")
    if held is None or "r2" not in held:
        return NOTHING
    rows: list[list[object]] = []
    names = {dim: held[dim].values.astype(str).tolist() for dim in ("encoder", "cohort", "quantity", "column", "group")}
    order = (in_order(names["encoder"], run.models), names["quantity"], cohort_order(names["cohort"]))
    for encoder, quantity, cohort, column, group in product(*order, names["column"], names["group"]):
        where = {"encoder": encoder, "cohort": cohort, "quantity": quantity, "column": column, "group": group}
        records = float(at(held["n_test"], **where))
        if not math.isfinite(records):
            continue
        judged = float(at(held["judged"], **where)) == 1
        found = [with_interval(*estimate(held, name, **where)) if judged else "" for name in ("r2", "mae", "spearman")]
        units = str(at(held["units"], cohort=cohort, quantity=quantity)) if "units" in held else ""
        small = "" if judged else "– insufficient"
        rows.append([encoder, cohort, quantity, group, *found, units or "not stated", f"{records:g}", small])
    heads = ["encoder", "cohort", "quantity", "group", "R2", "mean absolute error", "Spearman", "units", "records", ""]
    folded = element("summary", "Numbers: the same in each group of patients")
    return element("details", folded, table(heads, rows, "quantities in groups of patients"))


_TRAVELLED = {
    "spearman": "Spearman",
    "spearman_drop": "drop of Spearman",
    "r2": "R2",
    "r2_drop": "drop of R2",
    "mae": "mean absolute error",
}


def travelled(run: Loaded) -> Markup:
    """Tabulate what a probe of a quantity is worth in another cohort, and what it lost against the cohort's own."""
    held = run.group("quantity_transfer")
    if held is None or "r2" not in held:
        return NOTHING
    rows: list[list[object]] = []
    names = {dim: held[dim].values.astype(str).tolist() for dim in ("quantity", "target", "source", "encoder")}
    order = (names["quantity"], *(cohort_order(names[dim]) for dim in ("source", "target")))
    for quantity, source, target, encoder in product(*order, in_order(names["encoder"], run.models)):
        where = {"encoder": encoder, "source": source, "target": target, "quantity": quantity}
        if not math.isfinite(float(at(held["r2"], **where))):
            continue
        found = [with_interval(*estimate(held, name, **where)) for name in _TRAVELLED]
        units = str(at(held["units"], target=target, quantity=quantity)) if "units" in held else ""
        rows.append([encoder, quantity, source, target, run.exposure(encoder, target), *found, units or "not stated"])
    heads = ["encoder", "quantity", "from", "to", "seen?", *_TRAVELLED.values(), "units"]
    return table(heads, rows, "transfer of quantities")


def sets(run: Loaded) -> Markup:
    """Tabulate the mean AUROC over the labels of each set, and which labels were left out."""
    held = run.group("sets")
    if held is None or "macro_auroc" not in held:
        return NOTHING
    rows: list[list[object]] = []
    for where in _cells(run, held, "set", "macro_auroc"):
        found = with_interval(*numbers(held, ("macro_auroc", "macro_auroc_low", "macro_auroc_high"), **where))
        members = {str(label): float(at(held["included"], **where, label=label)) for label in held["label"].values}
        used = [label for label, value in members.items() if value == 1]
        rare = [label for label, value in members.items() if value == 0]
        named = [where["encoder"], where["cohort"], where["set"], percent(float(where["fraction"]))]
        rows.append([*named, found, ", ".join(used), ", ".join(rare) or "none"])
    heads = ["encoder", "cohort", "set", "patients", "mean AUROC", "labels", "left out as too rare"]
    return table(heads, rows, "named sets of labels")


def _cells(run: Loaded, held: xr.Dataset, named: str, variable: str) -> Iterator[Mapping[str, str | float]]:
    """Yield the coordinates of each value that there is; models under test first."""
    probes = held["probe"].values.tolist() if "probe" in held[variable].dims else [None]
    for name in held[named].values.astype(str):
        for cohort in in_order(held["cohort"].values.astype(str).tolist(), run.cohorts):
            for encoder in in_order(held["encoder"].values.astype(str).tolist(), run.models):
                for fraction in np.sort(held["fraction"].values)[::-1]:
                    for probe in probes:
                        where: dict[str, str | float] = {"encoder": encoder, "cohort": cohort, named: name}
                        where |= {"fraction": float(fraction), **({"probe": str(probe)} if probe is not None else {})}
                        if math.isfinite(float(at(held[variable], **where))):
                            yield where
