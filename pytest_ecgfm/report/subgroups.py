"""Groups of patients on the page: the AUROC of each, with its interval and counts, one column a cohort."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import xarray as xr
from markupsafe import Markup

from pytest_ecgfm.cohorts.groups import AND
from pytest_ecgfm.report import how_to_read
from pytest_ecgfm.report.layout import NOTHING, behind, figure, figures, table
from pytest_ecgfm.report.loaded import Loaded, at, estimate, in_order, numbers
from pytest_ecgfm.report.words import Triple, element, with_interval

Group = Mapping[str, str]
"""Its column and its name, as coordinates of the cube."""


class Found(NamedTuple):
    """One group in one cohort, for one label: `auroc` and `gap` (the rest minus the group) are NaN where not judged."""

    encoder: str
    label: str
    cohort: str
    group: str
    records: float
    positives: float
    judged: bool
    auroc: Triple
    gap: Triple
    below: bool


def found_groups(run: Loaded) -> list[Found]:
    """Return every group that a run looked at, models under test first."""
    held = run.group("subgroups")
    if held is None or "group" not in held.dims:
        return []
    out = []
    encoders, labels = (held[name].values.astype(str).tolist() for name in ("encoder", "label"))
    cells = product(in_order(encoders, run.models), in_order(labels, run.labels), run.cohorts, _groups(held))
    for encoder, label, cohort, group in cells:
        where = {"encoder": encoder, "label": label, "cohort": cohort, **group}
        records, positives, judged = numbers(held, ("n_test", "n_test_positive", "judged"), **where)
        if math.isfinite(records):
            auroc, gap = (Triple(*estimate(held, name, **where)) for name in ("auroc", "gap"))
            below = numbers(held, ("below",), **where)[0] == 1
            name = group["group"]
            out.append(Found(encoder, label, cohort, name, records, positives, judged == 1, auroc, gap, below))
    return out


def subgroups(run: Loaded) -> Markup:
    """Tabulate the AUROC of each group by label; who is below the rest, too small or unknown is marked."""
    held = run.group("subgroups")
    if held is None or "group" not in held.dims:
        return NOTHING
    groups = _groups(held)
    parts: list[Markup] = []
    rows: list[list[object]] = []
    for encoder in in_order(held["encoder"].values.astype(str).tolist(), run.models):
        for label in in_order(held["label"].values.astype(str).tolist(), run.labels):
            where = {"encoder": encoder, "label": label}
            cohorts = [one for one in run.cohorts if one in held["cohort"].values.astype(str)]
            cohorts = [one for one in cohorts if _there(held, groups, **where, cohort=one)]
            if not cohorts:
                continue
            named = label if len(run.models) == 1 else f"{encoder}, {label}"
            parts.append(figure(named, _by_cohort(held, groups, where, cohorts, named)))
            rows += _gaps(held, groups, where, cohorts)
    if not parts:
        return NOTHING
    heads = ["", "AUROC of the rest minus that of the group"]
    return Markup("").join(
        [figures(parts, how_to_read.GROUPS), behind(heads, rows, "gaps between groups and the rest")]
    )


def _there(held: xr.Dataset, groups: Sequence[Group], **where: str) -> bool:
    return any(math.isfinite(float(at(held["n_test"], **where, **one))) for one in groups)


def _groups(held: xr.Dataset) -> list[Group]:
    """Return the groups of all columns: sex, age, further columns, intersections; age bands in their order."""
    known = np.isfinite(held["n_test"].transpose(..., "column", "group").values)
    pairs = np.argwhere(known.reshape(-1, *known.shape[-2:]).any(axis=0))
    columns, names = (held[name].values.astype(str).tolist() for name in ("column", "group"))
    found = [{"column": columns[column], "group": names[group]} for column, group in pairs.tolist()]
    return sorted(found, key=_place)


def _place(group: Group) -> tuple[bool, int, str, str]:
    column = group["column"]
    first = {"sex": 0, "age": 1}.get(column, 2)
    # "below 40" comes before "40 to 64", which is the order of the words without it.
    return AND in column, first, column, group["group"].replace("below", "")


def _by_cohort(
    held: xr.Dataset, groups: Sequence[Group], where: Mapping[str, str], cohorts: Sequence[str], caption: str
) -> Markup:
    rows: list[list[object]] = []
    for group in groups:
        cells = [_cell(held, {**where, **group, "cohort": cohort}) for cohort in cohorts]
        if any(cells):
            rows.append([group["group"], *cells])
    for column in dict.fromkeys(group["column"] for group in groups):
        counts = [float(at(held["n_unknown"], **where, cohort=cohort, column=column)) for cohort in cohorts]
        if any(count > 0 for count in counts):
            # What is unknown of a column is in none of its groups.
            told = [f"{count:g} records" if math.isfinite(count) else "" for count in counts]
            rows.append([element("span", f"{column} unknown", class_="soft"), *told])
    return table(["", *cohorts], rows, f"groups of patients, {caption}")


def _cell(held: xr.Dataset, where: Mapping[str, str]) -> Markup:
    records, positives = (float(at(held[name], **where)) for name in ("n_test", "n_test_positive"))
    if not math.isfinite(records):
        return Markup("")
    counts = f"{positives:g} of {records:g} positive"
    if float(at(held["judged"], **where)) != 1:
        return element("span", "– insufficient", Markup("<br>"), counts, class_="soft")
    found = element("span", with_interval(*estimate(held, "auroc", **where)), Markup("<br>"), counts)
    if "below" in held and float(at(held["below"], **where)) == 1:
        return Markup("").join([found, Markup("<br>"), element("strong", "↓ below the rest")])
    return found


def _gaps(
    held: xr.Dataset, groups: Sequence[Group], where: Mapping[str, str], cohorts: Sequence[str]
) -> list[list[object]]:
    rows: list[list[object]] = []
    for cohort in cohorts:
        for group in groups:
            found = estimate(held, "gap", **where, cohort=cohort, **group)
            if math.isfinite(found[0]):
                name = f"{where['encoder']}, {where['label']}, {cohort}, {group['group']}"
                rows.append([name, with_interval(*found)])
    return rows
