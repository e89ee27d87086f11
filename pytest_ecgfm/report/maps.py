"""The map by UMAP, twice: by label and by cohort."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from pytest_ecgfm.report import charts, how_to_read
from pytest_ecgfm.report.charts import Axes, Box
from pytest_ecgfm.report.layout import NOTHING, figures, legend
from pytest_ecgfm.report.loaded import Loaded
from pytest_ecgfm.report.series import Places, palette, places
from pytest_ecgfm.report.words import element, number

_MOST = 24_000
"""Records drawn on a page, over all its maps: each takes 200 bytes, and a page should open on any machine."""

_LEFT, _BELOW = 18.0, 18.0
"""User units, for the names of the axes."""


_NONE = "none of them"


def maps(run: Loaded) -> Markup:
    """Draw the map of each model; hover says which record it is."""
    body: list[Markup] = []
    for encoder in run.models:
        held = places(run, encoder)
        if held is None:
            continue
        shown = held.some(_MOST // max(len(run.models), 4))
        about: list[object] = ["trustworthiness ", number(held.trustworthiness)]
        about += [", agreement of two seeds ", number(held.agreement)]
        if len(shown.records) < len(held.records):
            about.append(f"; {len(shown.records)} of {len(held.records)} records are drawn; the cube contains all")
        body += [
            element("h3", encoder),
            element("p", *about),
            figures(_pair(run, shown), how_to_read.MAP, again=bool(body)),
        ]
    return Markup("").join(body) if body else NOTHING


def _pair(run: Loaded, shown: Places) -> list[Markup]:
    told = [
        ", ".join(label for label, has in zip(shown.labels, row, strict=True) if has) or _NONE for row in shown.positive
    ]
    tips = [
        f"{record}: {one}, {cohort}" for record, one, cohort in zip(shown.records, told, shown.cohorts, strict=True)
    ]
    labels = {**palette(shown.labels), _NONE: "off"}
    cohorts = {name: style for name, style in palette(run.cohorts).items() if name in shown.cohorts}
    rarest = [one or _NONE for one in shown.rarest()]
    return [_map(shown, rarest, labels, tips, "by label"), _map(shown, shown.cohorts, cohorts, tips, "by cohort")]


def _map(shown: Places, names: Sequence[str], style: Mapping[str, str], tips: Sequence[str], how: str) -> Markup:
    side = 520.0
    low, high = shown.points.min(axis=0), shown.points.max(axis=0)
    across = charts.scale(float(low[0]), float(high[0]), _LEFT + 6, _LEFT + side - 6)
    up = charts.scale(float(low[1]), float(high[1]), side - 6, 6)
    # What has no label lies below what has one.
    order = sorted(range(len(names)), key=lambda row: style[names[row]] != "off")
    dots = [
        element(
            "circle",
            cx=charts.fixed(across(float(shown.points[row, 0]))),
            cy=charts.fixed(up(float(shown.points[row, 1]))),
            r="2.2",
            class_=f"dot {style[names[row]]}",
            data_tip=tips[row],
        )
        for row in order
    ]
    box = Box(side + _LEFT, side + _BELOW, _LEFT, 0, 0, _BELOW)
    axes = charts.axis_labels(box, Axes("first axis of UMAP, no unit", "second axis of UMAP, no unit"))
    drawing = charts.frame(box, [*dots, *axes], f"map of {len(names)} records {how}", "chart map")
    heading = element("figcaption", f"records, coloured {how}")
    return element("figure", heading, legend(style), drawing, class_="wide")
