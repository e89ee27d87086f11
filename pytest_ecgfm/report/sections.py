"""The sections of the page, each a function of the run; one that has nothing to show returns nothing."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

from markupsafe import Markup

from pytest_ecgfm.report import charts, how_to_read
from pytest_ecgfm.report.changes import changes
from pytest_ecgfm.report.charts import Axes, Box
from pytest_ecgfm.report.cohort_sheets import cohort_sheets
from pytest_ecgfm.report.layout import NOTHING, behind, figure, figures, legend, table, wide
from pytest_ecgfm.report.leads import relevance
from pytest_ecgfm.report.loaded import Loaded, in_order
from pytest_ecgfm.report.maps import maps
from pytest_ecgfm.report.marks import Line
from pytest_ecgfm.report.operating import operating
from pytest_ecgfm.report.quantities import quantities, sets, travelled
from pytest_ecgfm.report.series import (
    auroc_limits,
    auroc_lines,
    bounds,
    cohort_separation,
    fractions,
    null_groups,
    palette,
    perturbation_title,
    perturbations,
    severities,
    severity_axis,
    severity_text,
    stability_lines,
    styles,
    transfer_cells,
)
from pytest_ecgfm.report.subgroups import subgroups
from pytest_ecgfm.report.tabulated import basis, checks, definitions, matrix, provenance
from pytest_ecgfm.report.words import OUTCOMES, SIGNS, element, number, percent, with_interval

_BOX = Box(284, 198, 52, 8, 10, 40)


class Section(NamedTuple):
    """What is on the page, in order."""

    anchor: str
    title: str
    note: str
    build: Callable[[Loaded], Markup]


def auroc(run: Loaded) -> Markup:
    """Draw AUROC against the share of the training patients, with references and thresholds."""
    style, limits, shares = styles(run), auroc_limits(run), fractions(run)
    parts: list[Markup] = []
    rows: list[list[object]] = []
    for cohort, label in product(run.cohorts, run.labels):
        lines = auroc_lines(run, cohort, label)
        if not lines:
            continue
        drawing = charts.line_chart(
            _BOX,
            lines,
            labelled=[(math.log(one), percent(one).removesuffix(" %")) for one in shares],
            x_range=(math.log(min(shares)), math.log(max(shares)) + 1e-9),
            y_range=limits,
            y_ticks=charts.ticks(*limits),
            describe=f"AUROC of {label} in {cohort} by share of the training patients",
            axes=Axes("share of the training patients, %", "AUROC, 0 to 1"),
            marks=bounds(run, cohort, label),
            chance=0.5,
        )
        parts.append(figure(f"{cohort}, {label}", drawing))
        rows += [[f"{cohort}, {label}, {line.name}", *_founds(line)] for line in reversed(lines)]
    if not parts:
        return NOTHING
    used = {name: style[name] for name in (*run.models, *run.references)}
    folded = behind(["", *(percent(one) for one in shares)], rows, "AUROC by share of the training patients")
    return Markup("").join([legend(used), figures(parts, how_to_read.AUROC), folded])


def _founds(line: Line) -> list[Markup]:
    return [with_interval(*point.found) for point in line.points]


def transfer(run: Loaded) -> Markup:
    """Tabulate AUROC and drop from cohort to cohort; seen and unseen targets are marked, and never averaged."""
    body: list[Markup] = []
    rows: list[list[object]] = []
    for label in run.labels:
        parts = []
        for encoder in run.models:
            cells = transfer_cells(run, encoder, label)
            if not cells:
                continue
            named = label if len(run.models) == 1 else f"{encoder}, {label}"
            parts.append(figure(named, _transfer_table(run, encoder, label)))
            rows += [
                [f"{encoder}, {label}, {source} to {target}", with_interval(*found), with_interval(*drop)]
                for (source, target), (found, drop) in cells.items()
            ]
        # Encoders side by side, and a row of them for each label; of one encoder, as many labels as there is room for.
        body += parts if len(run.models) == 1 else [figures(parts, how_to_read.TRANSFER, again=bool(body))]
    if not rows:
        return NOTHING
    if len(run.models) == 1:
        body = [figures(body, how_to_read.TRANSFER)]
    return Markup("").join([*body, behind(["", "AUROC", "drop"], rows, "transfer with intervals")])


def _transfer_table(run: Loaded, encoder: str, label: str) -> Markup:
    cells = transfer_cells(run, encoder, label)
    sources, targets = (in_order(dict.fromkeys(key[side] for key in cells), run.cohorts) for side in (0, 1))
    heads: list[object] = ["from \\ to"]
    for target in targets:
        seen, home = run.exposure(encoder, target), run.continent(target)
        about = element("span", f"{home}{', ' if home else ''}{seen}", class_=f"exposure {seen}")
        heads.append(Markup("").join([element("span", target), Markup("<br>"), about]))
    rows: list[list[object]] = []
    for source in sources:
        row: list[object] = [Markup("").join([source, element("span", f" {run.continent(source)}", class_="soft")])]
        for target in targets:
            found, drop = cells.get((source, target), (None, None))
            if found is None or drop is None:
                row.append("")
                continue
            # 0.5 to 1 as a tint, below the number: text keeps its contrast.
            tint = f"--tint: {100 * min(max(2 * found.value - 1, 0.0), 1.0):.0f}%"
            lost = element("span", "drop ", number(drop.value), class_="soft") if math.isfinite(drop.value) else ""
            row.append(element("span", number(found.value), Markup("<br>"), lost, class_="tinted", style=tint))
        rows.append(row)
    return table(heads, rows, f"transfer of {encoder}, {label}")


def stability(run: Loaded) -> Markup:
    """Draw how far records move by severity, one line a cohort; encoders side by side, on the same scale."""
    parts: list[Markup] = []
    rows: list[list[object]] = []
    for name in perturbations(run):
        drawn = {encoder: stability_lines(run, encoder, name) for encoder in run.models}
        top = _top([line for lines in drawn.values() for line in lines])
        for encoder, lines in drawn.items():
            if not lines:
                continue
            title = perturbation_title(name)
            named = title if len(run.models) == 1 else f"{encoder}: {title}"
            parts.append(figure(named, _curve(name, lines, top, encoder)))
            rows += [
                [f"{encoder}, {title} {point.name}, {line.name}", with_interval(*point.found)]
                for line in lines
                for point in line.points
                if math.isfinite(point.found.value)
            ]
    if not parts:
        return NOTHING
    folded = behind(["", "displacement"], rows, "displacement by perturbation, severity and cohort")
    return Markup("").join([legend(palette(run.cohorts)), figures(parts, how_to_read.STABILITY), folded])


def _top(lines: Sequence[Line]) -> float:
    values = [value for line in lines for point in line.points for value in point.found if math.isfinite(value)]
    return max(charts.span([0.0, *values], 0.1)[1], 0.1)


def _curve(name: str, lines: Sequence[Line], top: float, encoder: str) -> Markup:
    count = len(severities(name))
    return charts.line_chart(
        _BOX,
        lines,
        labelled=[(place, severity_text(name, one).partition(" ")[0]) for place, one in enumerate(severities(name))],
        x_range=(-0.3, count - 0.7),
        y_range=(0.0, top),
        y_ticks=charts.ticks(0.0, top),
        describe=f"displacement of {encoder} by {perturbation_title(name)}, by severity and cohort",
        axes=Axes(severity_axis(name), "moved (1 = another patient)"),
    )


def separability(run: Loaded) -> Markup:
    """Draw neighbour agreement against its chance level, and tabulate what says whether cohorts separate."""
    held = run.group("separability")
    if held is None or "value" not in held:
        return NOTHING
    style = styles(run)
    body: list[Markup] = [legend({name: style[name] for name in run.models})]
    groups = null_groups(run)
    if groups:
        values = [v for group in groups for dot in group.dots for v in (dot.value, dot.null_mean) if math.isfinite(v)]
        limits = (min(0.4, *charts.span(values)), 1.0)
        axes = Axes("neighbour agreement, 0 to 1", "label, cohort")
        drawing = charts.null_chart(groups, limits, "neighbour agreement by label and cohort, against chance", axes)
        body.append(
            figure("Class-balanced neighbour agreement and its chance level", wide(drawing), how_to_read.AGREEMENT)
        )
        rows = [
            [f"{group.name}, {dot.name}", number(dot.value), number(dot.null_mean), number(dot.null_sd)]
            for group in groups
            for dot in group.dots
        ]
        heads = ["", "agreement", "by chance", "standard deviation by chance"]
        body.append(behind(heads, rows, "neighbour agreement"))
    separations = {encoder: cohort_separation(run, encoder) for encoder in run.models}
    table_rows = [
        [encoder, *(number(one) for one in index.values()), number(classified)]
        for encoder, (index, classified) in separations.items()
    ]
    titles = ["", *(f"Robustness Index, {label}" for label in run.labels), "AUROC of a classifier of cohorts"]
    body.append(table(titles, table_rows, "whether neighbours share label or cohort"))
    return Markup("").join(body)


def _sections() -> Iterator[Section]:
    signs = ", ".join(f"{sign} {word}" for word, sign in SIGNS.items() if word in OUTCOMES)
    yield Section(
        "matrix",
        "Outcomes",
        f"By cohort and label, for each suite: {signs}. Click a cell to see its checks below.",
        matrix,
    )
    yield Section(
        "basis",
        "What the verdict rests on",
        "The cohorts in which a blocking check passed or failed, by label and suite; nothing else was gated.",
        basis,
    )
    yield Section(
        "cohorts",
        "Cohorts",
        "Where each comes from, as published or stated, and who is in it; numbers count the records of this run.",
        cohort_sheets,
    )
    yield Section(
        "changes",
        "What changed",
        "AUROC of this run minus that of an earlier run, paired on the same records, with all training patients.",
        changes,
    )
    yield Section(
        "auroc",
        "AUROC by share of the training patients",
        "By a probe of the frozen embedding, for each cohort and label; grey: references.",
        auroc,
    )
    yield Section(
        "sets",
        "Named sets of labels",
        "Mean AUROC over the labels of a set, patients resampled for all labels at once.",
        sets,
    )
    yield Section(
        "quantities",
        "Quantities",
        "A ridge probe of each, in its own units. Stability, relevance and separability leave them out.",
        quantities,
    )
    yield Section(
        "subgroups",
        "Groups of patients",
        "AUROC in each group by the one probe that serves everybody, at all training patients, with 95 % intervals.",
        subgroups,
    )
    yield Section(
        "transfer",
        "Transfer between cohorts",
        "AUROC on the target's test records, and its drop compared with the target's own probe.",
        transfer,
    )
    yield Section(
        "operating",
        "Operating point and calibration",
        "What a yes or no gives at a threshold from the training patients alone, and whether probabilities are right.",
        operating,
    )
    yield Section(
        "quantity-transfer",
        "Transfer of quantities",
        "A ridge probe of the source on the target's test records, and what it loses against the target's own.",
        travelled,
    )
    yield Section(
        "stability",
        "Stability under perturbations",
        "Distance to the clean embedding, in units of the distance between patients.",
        stability,
    )
    yield Section(
        "relevance",
        "Relevance of leads",
        "Share of the mean absolute Shapley value, at the largest fraction; I and II determine III, aVR, aVL and aVF.",
        relevance,
    )
    yield Section("map", "Map by UMAP", "The same records twice, in two dimensions.", maps)
    yield Section(
        "separability", "Separability against chance", "Labels should form clusters, cohorts should not.", separability
    )
    yield Section(
        "all-checks", "All checks", "Each check with its threshold. Click the head of a column to sort.", checks
    )
    yield Section(
        "definitions", "Definitions", "What each check measures; docs/method.md has the formulas.", definitions
    )
    yield Section("provenance", "Provenance", "Weights, data, versions.", provenance)


SECTIONS = tuple(_sections())
"""Every section, in the order of the page."""
