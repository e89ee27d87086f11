"""The sections of the page, each a function of the run; one that has nothing to show returns nothing."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from markupsafe import Markup

from pytest_ecgfm.perturbations import PERTURBATIONS
from pytest_ecgfm.records import LEADS
from pytest_ecgfm.report import charts
from pytest_ecgfm.report.charts import Box, Dot, Group, Line, Mark, Point
from pytest_ecgfm.report.loaded import Loaded, at, estimate, numbers
from pytest_ecgfm.report.tabulated import checks, matrix, provenance, table
from pytest_ecgfm.report.words import (
    OUTCOMES,
    SIGNS,
    Triple,
    element,
    number,
    percent,
    plain_name,
)

_NOTHING = Markup("")
_BOX = Box(270, 180, 38, 8, 10, 24)


class Section(NamedTuple):
    """What is on the page, in order."""

    anchor: str
    title: str
    note: str
    build: Callable[[Loaded], Markup]


def styles(run: Loaded) -> dict[str, str]:
    """Return the style of each encoder: a colour and a shape for models, grey for references."""
    models = {name: f"s{1 + position % 6}" for position, name in enumerate(run.models)}
    return models | {name: f"r{1 + position % 3}" for position, name in enumerate(run.references)}


def legend(names: dict[str, str]) -> Markup:
    """Say which mark is whose."""
    items = [
        element(
            "span",
            element("svg", charts.symbol(style, 7, 7), width="14", height="14", aria_hidden="true"),
            f" {name}",
        )
        for name, style in names.items()
    ]
    return element("div", *items, class_="legend")


def figure(caption: str, drawing: Markup) -> Markup:
    """Put a caption over a drawing."""
    return element("figure", element("figcaption", caption), drawing)


def figures(parts: Sequence[Markup]) -> Markup:
    """Lay figures out side by side."""
    return element("div", *parts, class_="figures") if parts else _NOTHING


def auroc(run: Loaded) -> Markup:
    """Draw AUROC against the share of the training patients, with references and thresholds."""
    held = run.group("downstream")
    if held is None or "auroc_mean" not in held:
        return _NOTHING
    style = styles(run)
    fractions = [float(one) for one in held["fraction"].values]
    probe = str(held["probe"].values[0])
    lowest = float(np.nanmin(held["auroc_mean_low"].values)) if "auroc_mean_low" in held else 0.5
    limits = (max(0.0, min(0.5, math.floor(lowest * 10) / 10)), 1.0)
    parts = []
    for cohort in run.cohorts:
        for label in run.labels:
            lines = []
            for encoder in (*run.references, *run.models):
                points = []
                for fraction in fractions:
                    where = {"encoder": encoder, "cohort": cohort, "label": label, "probe": probe}
                    found = Triple(*estimate(held, "auroc_mean", **where, fraction=fraction))
                    points.append(Point(math.log(fraction), percent(fraction), found))
                if any(math.isfinite(point.found.value) for point in points):
                    lines.append(Line(encoder, style.get(encoder, "r1"), tuple(points)))
            if not lines:
                continue
            drawing = charts.line_chart(
                _BOX,
                lines,
                labelled=[(math.log(one), percent(one).replace(" ", "")) for one in fractions],
                x_range=(math.log(min(fractions)), math.log(max(fractions)) + 1e-9),
                y_range=limits,
                y_ticks=charts.ticks(*limits),
                describe=f"AUROC of {label} in {cohort} by share of the training patients",
                marks=_bounds(run, cohort, label),
                chance=0.5,
            )
            parts.append(figure(f"{cohort}, {label}", drawing))
    used = {name: style[name] for name in (*run.models, *run.references) if name in style}
    return Markup("").join([legend(used), figures(parts)])


def _bounds(run: Loaded, cohort: str, label: str) -> list[Mark]:
    mine = run.checks
    mine = mine[(mine["kind"] == "downstream.auroc") & (mine["cohort"] == cohort) & (mine["label"] == label)]
    found = mine.drop_duplicates("fraction")
    return [
        Mark(math.log(fraction), threshold, str(sense))
        for fraction, threshold, sense in zip(found["fraction"], found["threshold"], found["sense"], strict=True)
    ]


def transfer(run: Loaded) -> Markup:
    """Tabulate AUROC and drop from cohort to cohort; seen and unseen targets are marked, and never averaged."""
    held = run.group("transfer")
    if held is None or "auroc" not in held:
        return _NOTHING
    body: list[Markup] = []
    for encoder in run.models:
        targets = [str(one) for one in held["target"].values]
        heads = ["source", *(f"{one} ({run.exposure(encoder, one)})" for one in targets)]
        for label in run.labels:
            rows = []
            for source in (str(one) for one in held["source"].values):
                cells = []
                for target in targets:
                    where = {"encoder": encoder, "source": source, "target": target, "label": label}
                    value, drop = numbers(held, ("auroc", "drop"), **where)
                    lost = element("span", " drop ", number(drop), class_="soft") if math.isfinite(drop) else ""
                    cells.append(Markup("").join([number(value), lost]) if math.isfinite(value) else "")
                if any(cells):
                    rows.append([source, *cells])
            if rows:
                title = f"{encoder}, {label}"
                body += [element("h3", title), table(heads, rows, f"transfer of {title}")]
    return Markup("").join(body)


def stability(run: Loaded) -> Markup:
    """Draw how far records move by severity, one line a cohort."""
    held = run.group("stability")
    if held is None or "displacement" not in held:
        return _NOTHING
    body: list[Markup] = []
    style = {name: f"s{1 + position % 6}" for position, name in enumerate(run.cohorts)}
    for encoder in run.models:
        parts = []
        for name, one in PERTURBATIONS.items():
            lines = []
            for cohort in run.cohorts:
                points = []
                for position, severity in enumerate(one.severities):
                    where = {"encoder": encoder, "cohort": cohort, "perturbation": name, "severity": severity}
                    found = Triple(*estimate(held, "displacement", **where))
                    text = f"{severity:g} {one.units}" if one.parameter else plain_name(name)
                    points.append(Point(position, text, found))
                if any(math.isfinite(point.found.value) for point in points):
                    lines.append(Line(cohort, style[cohort], tuple(points)))
            if lines:
                parts.append(figure(plain_name(name), _curve(name, one.severities, lines, one.units)))
        if parts:
            body += [element("h3", encoder), figures(parts)]
    return Markup("").join([legend(style), *body]) if body else _NOTHING


def _curve(name: str, severities: Sequence[float], lines: Sequence[Line], units: str) -> Markup:
    values = [value for line in lines for point in line.points for value in point.found if math.isfinite(value)]
    limits = (0.0, max(charts.span([0.0, *values], 0.1)[1], 0.1))
    shown = f" {units}" if units and units != "1" else ""
    return charts.line_chart(
        _BOX,
        lines,
        labelled=[(position, f"{one:g}{shown}") for position, one in enumerate(severities)],
        x_range=(-0.3, len(severities) - 0.7),
        y_range=limits,
        y_ticks=charts.ticks(*limits),
        describe=f"displacement by {plain_name(name)}, by severity and cohort",
    )


def relevance(run: Loaded) -> Markup:
    """Draw the relevance of leads on the layout of an ECG, with an example."""
    held, examples = run.group("relevance"), run.group("examples")
    if held is None or "relevance" not in held:
        return _NOTHING
    body: list[Markup] = []
    top = float(held["fraction"].max())
    baseline = "zero" if "zero" in held["baseline"].values else str(held["baseline"].values[0])
    for encoder in run.models:
        parts = []
        for cohort in run.cohorts:
            for label in run.labels:
                where = {"encoder": encoder, "cohort": cohort, "label": label, "fraction": top, "baseline": baseline}
                shares = {lead: Triple(*estimate(held, "relevance", **where, lead=lead)) for lead in LEADS}
                if any(math.isfinite(one.value) for one in shares.values()):
                    drawing = _leads(shares, _traces(examples, cohort), f"{encoder}, {cohort}, {label}")
                    parts.append(figure(f"{cohort}, {label}", drawing))
        if parts:
            body += [element("h3", encoder), figures(parts)]
    return Markup("").join(body)


def _traces(examples: xr.Dataset | None, cohort: str) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    if examples is None or cohort not in examples["cohort"].values.astype(str):
        return {}
    here = examples["signal"].sel(cohort=cohort)
    return {str(lead): here.sel(lead=lead).values[::2].astype(np.float64) for lead in here["lead"].values}


_LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))


def _leads(
    shares: dict[str, Triple], traces: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]], of: str
) -> Markup:
    wide, high = 92.0, 58.0
    most = max((one.value for one in shares.values() if math.isfinite(one.value)), default=1.0) or 1.0
    parts: list[Markup] = []
    for row, leads in enumerate(_LAYOUT):
        for column, lead in enumerate(leads):
            x, y, share = column * wide, row * high, shares[lead]
            if math.isfinite(share.value):
                opacity = f"{0.6 * share.value / most:.2f}"
                tip = f"{lead}: {share.value:.3f} ({share.low:.3f} to {share.high:.3f})"
                box = {"x": x, "y": y, "width": wide, "height": high, "class_": "share", "opacity": opacity}
                parts.append(element("rect", **box, data_tip=tip))
            parts.append(element("rect", x=x, y=y, width=wide, height=high, class_="lead"))
            if lead in traces:
                parts.append(_trace(traces[lead], x, y, wide, high))
            text = f"{lead} {share.value:.2f}" if math.isfinite(share.value) else lead
            parts.append(element("text", text, x=x + 4, y=y + 12, class_="name"))
    told = ", ".join(f"{lead} {one.value:.2f}" for lead, one in shares.items() if math.isfinite(one.value))
    return charts.frame(Box(4 * wide, 3 * high, 0, 0, 0, 0), parts, f"relevance of leads, {of}: {told}")


def _trace(
    signal: np.ndarray[tuple[int], np.dtype[np.float64]], x: float, y: float, wide: float, high: float
) -> Markup:
    level = float(np.median(signal))
    across = np.linspace(x + 2, x + wide - 2, signal.size)
    down = np.clip(y + 0.62 * high - 16.0 * (signal - level), y + 2, y + high - 2)
    path = "L".join(f"{charts.fixed(a)} {charts.fixed(b)}" for a, b in zip(across, down, strict=True))
    return element("path", d=f"M{path}", class_="trace")


def maps(run: Loaded) -> Markup:
    """Draw the map of each model twice: by label, and by cohort."""
    body: list[Markup] = []
    for encoder, held in run.children("map").items():
        if "umap" not in held:
            continue
        points = held["umap"].values.astype(np.float64)
        homes = held["cohort"].values.astype(str)
        names = held["record"].values.astype(str).tolist()
        cohorts = {name: f"s{1 + position % 6}" for position, name in enumerate(dict.fromkeys(homes.tolist()))}
        first = [cohorts[home] for home in homes]
        labels = [str(one) for one in held["label"].values] if "label" in held.coords else []
        values = held["labels"].values
        palette = {label: f"s{1 + position % 6}" for position, label in enumerate(labels)}
        second, told = _by_label(values, labels, palette)
        trust = float(held.attrs.get("trustworthiness", math.nan))
        agreement = float(held.attrs.get("procrustes_agreement", math.nan))
        worth = element("p", "trustworthiness ", number(trust), ", agreement of two seeds ", number(agreement))
        body += [element("h3", encoder), worth]
        parts = [
            element(
                "div", legend(palette | {"none of them": "off"}), _scatter(points, second, told, names, "by label")
            ),
            element("div", legend(cohorts), _scatter(points, first, homes.tolist(), names, "by cohort")),
        ]
        body.append(figures(parts))
    return Markup("").join(body)


def _by_label(
    values: np.ndarray[tuple[int, int], np.dtype[np.float32]], labels: list[str], palette: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Give each record the style of its rarest label, and name all that it has."""
    order = np.argsort(np.nansum(values, axis=0))
    shown, told = [], []
    for row in values:
        mine = [labels[number] for number in order if row[number] > 0.5]
        shown.append(palette[mine[0]] if mine else "off")
        told.append(", ".join(mine) or "none of them")
    return shown, told


def _scatter(
    points: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    shown: Sequence[str],
    told: Sequence[str],
    names: Sequence[str],
    how: str,
) -> Markup:
    side = 520.0
    across = charts.scale(float(points[:, 0].min()), float(points[:, 0].max()), 6, side - 6)
    up = charts.scale(float(points[:, 1].min()), float(points[:, 1].max()), side - 6, 6)
    # What has no label lies below what has one.
    order = sorted(range(len(points)), key=lambda row: shown[row] != "off")
    dots = [
        element(
            "circle",
            cx=charts.fixed(across(float(points[row, 0]))),
            cy=charts.fixed(up(float(points[row, 1]))),
            r="2.2",
            class_=f"dot {shown[row]}",
            data_tip=f"{names[row]}: {told[row]}",
        )
        for row in order
    ]
    return charts.frame(Box(side, side, 0, 0, 0, 0), dots, f"map of {len(points)} records {how}")


def separability(run: Loaded) -> Markup:
    """Draw neighbour agreement against its chance level, and tabulate what says whether cohorts separate."""
    held = run.group("separability")
    if held is None or "value" not in held:
        return _NOTHING
    style = styles(run)
    body: list[Markup] = [legend({name: style[name] for name in run.models})]
    groups = []
    for label in run.labels:
        for cohort in run.cohorts:
            dots = []
            for encoder in run.models:
                where = {"encoder": encoder, "space": "embedding", "grouping": "label", "cohort": cohort}
                where |= {"label": label, "metric": "balanced_knn"}
                value, mean, sd = numbers(held, ("value", "null_mean", "null_sd"), **where)
                if math.isfinite(value):
                    dots.append(Dot(style[encoder], encoder, value, mean, sd))
            if dots:
                groups.append(Group(f"{label}, {cohort}", tuple(dots)))
    if groups:
        values = [v for group in groups for dot in group.dots for v in (dot.value, dot.null_mean) if math.isfinite(v)]
        limits = (min(0.4, *charts.span(values)), 1.0)
        body.append(
            figure(
                "Class-balanced neighbour agreement and its chance level",
                charts.null_chart(groups, limits, "neighbour agreement by label and cohort, against chance"),
            )
        )
    rows = []
    for encoder in run.models:
        known = [
            float(at(held["robustness_index"], encoder=encoder, label=label))
            if "robustness_index" in held
            else math.nan
            for label in run.labels
        ]
        cohort_auroc = float(at(held["cohort_auroc"], encoder=encoder)) if "cohort_auroc" in held else math.nan
        rows.append([encoder, *(number(one) for one in known), number(cohort_auroc)])
    heads = ["", *(f"Robustness Index, {label}" for label in run.labels), "AUROC of a classifier of cohorts"]
    body.append(table(heads, rows, "whether neighbours share label or cohort"))
    return Markup("").join(body)


def _sections() -> Iterator[Section]:
    signs = ", ".join(f"{sign} {word}" for word, sign in SIGNS.items() if word in OUTCOMES)
    yield Section(
        "matrix", "Outcomes", f"By cohort and label, for each suite: {signs}. A cell shows its checks below.", matrix
    )
    yield Section(
        "auroc",
        "AUROC by share of the training patients",
        "Mean over seeds with 95 % intervals; grey: references; feet: thresholds.",
        auroc,
    )
    yield Section(
        "transfer",
        "Transfer between cohorts",
        "AUROC of a probe of the source on the target's test records, and its drop against the target's own probe.",
        transfer,
    )
    yield Section(
        "stability",
        "Stability under perturbations",
        "Median distance to the clean embedding over the distance between patients, by severity.",
        stability,
    )
    yield Section(
        "relevance",
        "Relevance of leads",
        "Share of the mean absolute Shapley value, at the largest fraction; III, aVR, aVL, aVF follow from I and II.",
        relevance,
    )
    yield Section("map", "Map by UMAP", "The same records twice: labels should separate, cohorts should not.", maps)
    yield Section("separability", "Separability against chance", "Grey bars: what permuted labels give.", separability)
    yield Section("all-checks", "All checks", "Each against its threshold; sort by a column's head.", checks)
    yield Section("provenance", "Provenance", "Weights, data, versions.", provenance)


SECTIONS = tuple(_sections())
"""Every section, in the order of the page."""
