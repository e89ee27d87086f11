"""The paper's tables of finished runs: encoders by metric and label, AUROC by fraction, transfer between cohorts.

Tables are data frames; `WRITERS` turns them into Markdown, CSV or LaTeX by pandas.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pytest_ecgfm.cohorts.base import LABELS
from pytest_ecgfm.report.escape import csv_cell, latex, markdown
from pytest_ecgfm.report.loaded import Loaded, at, in_order
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.rounded import rounded

METRICS = {"knn_agreement": "kNN@10", "centroid_separation": "centroid separation", "gmm_ari": "GMM ARI"}
"""Those that the paper tabulates, with its headings."""

_VALUES = {"value": "metric as the paper defines it", "adjusted": "null-adjusted"}


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    name : str
        For a file.
    title : str
    frame : DataFrame
        Floats; rows and columns are named. NaN where a cell was not evaluated.
    """

    name: str
    title: str
    frame: pd.DataFrame


def tables(runs: Sequence[Loaded]) -> list[Table]:
    """Build every table for which a run has results.

    Parameters
    ----------
    runs : sequence of Loaded
        An encoder that is in several runs has a row for each, with the run's folder after its name.

    Returns
    -------
    list of Table
    """
    return [*_separability(runs), *_auroc(runs), *_transfer(runs), *_sensitivity(runs)]


def _groups(runs: Sequence[Loaded], group: str) -> Iterator[tuple[str, Loaded, xr.Dataset]]:
    """Yield (row name, run, group) for each encoder of each run."""
    names = [
        str(name) for run in runs if (held := run.group(group)) is not None for name in held["encoder"].values.tolist()
    ]
    for run in runs:
        held = run.group(group)
        if held is None:
            continue
        for encoder in in_order([str(name) for name in held["encoder"].values], run.models):
            row = encoder if names.count(encoder) == 1 else f"{encoder} ({run.path.resolve().name})"
            yield row, run, held.sel(encoder=encoder)


_GROUPINGS = {
    "label": "Separability of labels, mean over cohorts (more is better)",
    "cohort": "Separability of cohorts among all records of each pair, mean over pairs (less is better)",
    "cohort_label": "Separability of cohorts among the positives of a label, mean over pairs (less is better)",
}
_SPACES = {"embedding": "embedding", "selected": "SHAP-filtered dimensions of the label"}
_EVERY = "all labels"
"""Heading of what is the same for every label: all records of a pair of cohorts, in the embedding."""


def _separability(runs: Sequence[Loaded]) -> Iterator[Table]:
    for (grouping, title), (space, where), (variable, words) in product(
        _GROUPINGS.items(), _SPACES.items(), _VALUES.items()
    ):
        rows: dict[str, dict[tuple[str, str], float]] = {}
        for row, _, held in _groups(runs, "separability"):
            there = variable in held and space in held["space"].values
            if not there or grouping not in held["grouping"].values:
                continue
            values = held[variable].sel(space=space, grouping=grouping).mean("cohort", skipna=True)
            found = [str(one) for one in values["label"].values]
            labels = {label: label for label in in_order([one for one in found if one], LABELS)}
            labels |= {"": _EVERY} if "" in found else {}
            rows[row] = {
                (heading, name): float(at(values, metric=metric, label=label))
                for metric, heading in METRICS.items()
                for label, name in labels.items()
            }
        frame = pd.DataFrame.from_dict(rows, orient="index").dropna(axis="columns", how="all")
        if not frame.empty:
            frame.columns = pd.MultiIndex.from_tuples([tuple(map(str, pair)) for pair in frame.columns.tolist()])
            yield Table(f"separability-{grouping}-{space}-{variable}", f"{title}: {where}, {words}", frame)


def _auroc(runs: Sequence[Loaded]) -> Iterator[Table]:
    rows: dict[str, dict[str, float]] = {}
    for row, _, held in _groups(runs, "downstream"):
        means = held["auroc_mean"].mean(["cohort", "label", "probe"], skipna=True)
        rows[row] = {
            f"{100 * float(one):g} %": float(at(means, fraction=float(one))) for one in held["fraction"].values
        }
    if rows:
        frame = pd.DataFrame.from_dict(rows, orient="index")
        yield Table("auroc-by-fraction", "AUROC by share of the training patients, mean over cohorts and labels", frame)


_TRAVELS = {
    "transfer": ("label", {"auroc": "AUROC of {} by a probe of one cohort in another"}),
    "quantity_transfer": (
        "quantity",
        {
            "spearman": "Spearman correlation of {} by a probe of one cohort in another",
            "spearman_drop": "what the Spearman correlation of {} loses against the target's own probe",
            "r2": "R2 of {} by a probe of one cohort in another",
        },
    ),
}
"""Of what travels between cohorts: the group, what it is of, and its tables."""


def _transfer(runs: Sequence[Loaded]) -> Iterator[Table]:
    for group, (of, variables) in _TRAVELS.items():
        for row, run, held in _groups(runs, group):
            for name, (variable, title) in product(
                in_order([str(one) for one in held[of].values], LABELS), variables.items()
            ):
                frame = _between(run, held, variable, **{of: name}) if variable in held else pd.DataFrame()
                if not frame.empty:
                    suffix = "" if group == "transfer" else f"-{variable.replace('_', '-')}"
                    yield Table(f"transfer-{row}-{name}{suffix}", f"{row}: {title.format(name)}", frame)


def _between(run: Loaded, held: xr.Dataset, variable: str, **where: str) -> pd.DataFrame:
    """Lay out what was found from a source (rows) to a target (columns)."""
    encoder = str(held["encoder"].item())
    # Seen and unseen targets are told apart, and never averaged together.
    heads = {str(target): f"{target} ({run.exposure(encoder, str(target))})" for target in held["target"].values}
    values = held[variable].sel(where).transpose("source", "target").values
    frame = pd.DataFrame(values, held["source"].values.astype(str), list(heads))
    frame = frame.loc[list(cohort_order(frame.index)), list(cohort_order(heads))].rename(columns=heads)
    return frame.dropna(axis="columns", how="all").rename_axis(index="source", columns="target")


def _sensitivity(runs: Sequence[Loaded]) -> Iterator[Table]:
    """Tabulate by source and target; on the diagonal, a cohort's own probe in its own test records."""
    for row, _, held in _groups(runs, "operating"):
        for label in in_order([str(one) for one in held["label"].values], LABELS):
            values = held["sensitivity"].sel(label=label).transpose("source", "target").values
            frame = pd.DataFrame(values, held["source"].values.astype(str), held["target"].values.astype(str))
            frame = frame.dropna(axis="index", how="all").dropna(axis="columns", how="all")
            if not frame.empty:
                frame = frame.rename_axis(index="source", columns="target")
                title = f"{row}: sensitivity of {label} at a threshold from the training patients of one cohort"
                yield Table(f"sensitivity-{row}-{label}", title, frame)


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    out = frame.copy()
    if isinstance(out.columns, pd.MultiIndex):
        out.columns = pd.Index([" ".join(parts) for parts in out.columns])
    return out.rename_axis(index=None, columns=None)


def _markdown(table: Table) -> str:
    frame = _flat(table.frame)
    cells = [["", *(markdown(str(one)) for one in frame.columns)], ["---"] * (1 + frame.shape[1])]
    for name, row in frame.iterrows():
        cells.append([markdown(str(name)), *("" if np.isnan(value) else rounded(value) for value in row)])
    body = "\n".join("| " + " | ".join(row) + " |" for row in cells)
    return f"{markdown(table.title)}\n\n{body}\n"


def _csv(table: Table) -> str:
    frame = _flat(table.frame)
    return str(frame.rename(index=_cell, columns=_cell).to_csv(lineterminator="\n"))


def _cell(name: object) -> str:
    return csv_cell(str(name))


def _in_latex(name: object) -> str:
    return latex(str(name))


def _in_decimals(value: Any) -> str:
    return rounded(value)


def _latex(table: Table) -> str:
    return str(
        table.frame.rename_axis(index=None)
        .rename(index=_in_latex, columns=_in_latex)
        .style.format(_in_decimals, na_rep="")
        .to_latex(hrules=True, caption=latex(table.title), label=f"tab:{latex(table.name)}")
    )


WRITERS: Mapping[str, tuple[str, Callable[[Table], str]]] = {
    "markdown": ("md", _markdown),
    "csv": ("csv", _csv),
    "latex": ("tex", _latex),
}
"""By format: the ending of its files, and what writes them."""
