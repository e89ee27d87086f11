"""What changed against earlier runs: differences of AUROC, and checks with another outcome."""

import re
from collections.abc import Sequence
from itertools import product

import pandas as pd
from markupsafe import Markup

from pytest_ecgfm.report import charts, how_to_read
from pytest_ecgfm.report.charts import Axes
from pytest_ecgfm.report.compare import Difference, differences, outcomes, pairs
from pytest_ecgfm.report.layout import NOTHING, behind, figure, legend, table, wide
from pytest_ecgfm.report.loaded import Loaded, in_order
from pytest_ecgfm.report.marks import Line, Point
from pytest_ecgfm.report.series import styles
from pytest_ecgfm.report.words import Triple, chip, element, number, with_interval

_KIND = "downstream.auroc_change"


def changes(run: Loaded) -> Markup:
    """Show what the run found against its baselines, and which checks have a different outcome now."""
    body: list[Markup] = []
    judged = baseline_checks(run)
    for name, part in judged.items():
        body += [element("h3", f"since {name}"), _judged(run, part, name)]
    for before in run.baselines:
        name = before.path.resolve().name
        if name not in judged:
            body.append(element("h3", f"since {name}"))
        words = f"Checks since {name}: verdict {before.verdict['outcome']}, then {run.verdict['outcome']}."
        paired = pairs(before, run)
        if not paired:
            words += f" The two runs have no encoder in common: {', '.join(before.models)}; {', '.join(run.models)}."
        body.append(element("p", words))
        for then, now in paired:
            if name not in judged:
                body.append(_differences(differences(before, run, then, now), now))
            body.append(_outcomes(outcomes(before, run, then, now), then, now))
    if judged and not run.baselines:
        told = "To compare the outcomes of other checks: ecgfm report RUN --baseline=EARLIER."
        body.append(element("p", told, class_="soft"))
    return Markup("").join(body) if body else NOTHING


def baseline_checks(run: Loaded) -> dict[str, pd.DataFrame]:
    """Return the checks that hold a run against earlier ones, by the earlier run's name."""
    mine = run.checks[run.checks["kind"] == _KIND]
    names = [
        found.group(1) if (found := re.search(r"since-([^,\]]+)", check)) else "earlier run" for check in mine["check"]
    ]
    return {str(name): part for name, part in mine.groupby(pd.Series(names, index=mine.index, dtype=object))}


def changed_cells(run: Loaded, part: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the cohorts and labels of some checks, in the order in which both are shown everywhere."""
    there = set(zip(part["cohort"], part["label"], strict=True))
    return list(in_order(there, product(run.cohorts, run.targets)))


def _judged(run: Loaded, part: pd.DataFrame, name: str) -> Markup:
    style = styles(run)
    lines = []
    rows = []
    cells = [f"{cohort}, {label}" for cohort, label in changed_cells(run, part)]
    for encoder in run.models:
        mine = part[part["encoder"] == encoder]
        points = []
        for _, row in mine.iterrows():
            where = f"{row['cohort']}, {row['label']}"
            found = Triple(float(row["value"]), float(row["low"]), float(row["high"]))
            points.append(Point(cells.index(where), where, found))
            rows.append([f"{encoder}, {where}", with_interval(*found), chip(str(row["outcome"]))])
        lines.append(Line(encoder, style[encoder], tuple(points)))
    margin = float(part["threshold"].max())
    axes = Axes("difference of AUROC, now minus then", "cohort, label")
    drawing = charts.forest(cells, lines, margin, f"AUROC, now minus {name}, with 95 % intervals", axes)
    return Markup("").join(
        [
            legend({line.name: line.style for line in lines}),
            figure(f"AUROC, now minus {name}", wide(drawing), how_to_read.CHANGES),
            behind(["", "difference", "outcome"], rows, f"AUROC since {name}"),
        ]
    )


def _differences(found: Sequence[Difference] | None, now: str) -> Markup:
    if not found:
        return element("p", "No AUROC to compare: a run has no test scores.")
    rows: list[list[object]] = [
        [
            f"{one.cohort}, {one.label}",
            with_interval(one.found.value, one.found.low, one.found.high) if one.found else one.problem,
        ]
        for one in found
    ]
    return table([now, "AUROC, now minus before"], rows, f"AUROC of {now} now minus before")


def _outcomes(both: pd.DataFrame, then: str, now: str) -> Markup:
    changed = both[both["outcome_before"] != both["outcome_after"]]
    named = now if then == now else f"{then}, then {now}"
    told = element("p", f"{named}: {len(changed)} of {len(both)} checks have a different outcome.")
    if not len(changed):
        return told
    rows: list[list[object]] = []
    for check, row in changed.iterrows():
        cells = [
            Markup("").join([chip(str(row[f"outcome_{when}"])), " ", number(float(row[f"value_{when}"]))])
            for when in ("before", "after")
        ]
        rows.append([str(check), *cells])
    return told + table(["check", "before", "now"], rows, f"outcomes of {named} that changed")
