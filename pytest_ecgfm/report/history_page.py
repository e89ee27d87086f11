"""``history.html``: releases side by side, on one page in the style of a run's."""

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from pytest_ecgfm.cohorts.quantities import spelt
from pytest_ecgfm.report import charts, how_to_read
from pytest_ecgfm.report.charts import Axes, Box
from pytest_ecgfm.report.history import Apart, Series, loss_sentences
from pytest_ecgfm.report.layout import NOTHING, behind, figure, figures, legend, table
from pytest_ecgfm.report.marks import Line, Mark, Point
from pytest_ecgfm.report.page import Shown, filled
from pytest_ecgfm.report.series import palette
from pytest_ecgfm.report.words import Triple, chip, element, listed, number, with_interval
from pytest_ecgfm.results.checks import CHECKS

_BOX = Box(284, 198, 60, 8, 10, 40)
_MOST_LINES = 8
"""In one chart: as many as there are colours."""


def history_page(series: Sequence[Series], apart: Sequence[Apart]) -> str:
    """Return the page.

    Parameters
    ----------
    series, apart
        As `pytest_ecgfm.report.history.read_history` returns them.
    """
    shown = []
    for place, one in enumerate(series):
        for kind, title, note, build in (
            ("releases", "Releases", "In the order in which the runs began.", _releases),
            ("loss", "Loss since the first release", _LOSS, _losses),
            ("changed", "Changed outcomes", "What else the release was made with is beside it.", _changed),
            ("checks", "Each check over the releases", _CHECKS, _checks),
        ):
            body = build(one)
            if body:
                shown.append(Shown(f"{kind}-{place}", f"{one.encoder}: {title}", note, body))
    if apart:
        rows: list[list[object]] = [[", ".join(one.runs), one.reason] for one in apart]
        body = table(["run", "why"], rows, "runs that are set apart")
        shown.append(Shown("apart", "Set apart", "They were not asked the same, so they are not joined.", body))
    count = sum(len(one.slow) for one in series)
    names = listed(dict.fromkeys(one.encoder for one in series)) or "no two runs that were asked the same"
    word = f"slow loss in {count} {'cell' if count == 1 else 'cells'}" if count else "no slow loss"
    return filled(
        title=f"{names}: {word}" if series else names,
        subtitle=f"ECG foundation models over releases, {sum(len(one.releases) for one in series)} runs",
        banner=_banner(series, "fail" if count else "pass"),
        sections=shown,
        scripts=("tip.js",),
    )


_LOSS = (
    "AUROC (R2 of a quantity) minus that of the first release, on the same records, with 95 % intervals. Below the red "
    "mark and more than chance is a loss. A slow loss is one that no single step shows."
)
_CHECKS = "By the number of the release."


def _banner(series: Sequence[Series], outcome: str) -> Markup:
    parts: list[Markup] = []
    for one in series:
        profile = one.releases[-1].run.headline.partition(": ")[2]
        parts.append(element("p", element("strong", f"{one.encoder}, {len(one.releases)} releases"), f": {profile}"))
        parts.append(element("ul", *(element("li", sentence) for sentence in loss_sentences(one))))
    if not series:
        parts.append(element("p", "A history needs two runs of one encoder that were asked the same."))
    return element("div", *parts, class_=f"banner {outcome if series else 'incomplete'}")


def _releases(one: Series) -> Markup:
    rows: list[list[object]] = [
        [
            str(number + 1),
            release.name,
            release.started,
            chip(release.outcome),
            (", ".join(one.differs(number)) or "nothing") if number else "",
        ]
        for number, release in enumerate(one.releases)
    ]
    return table(["", "run", "started", "verdict", "changed since the one before"], rows, "releases")


def _losses(one: Series) -> Markup:
    if not one.losses:
        return element("p", "No AUROC to compare: the runs have no test scores of the same records.")
    drawn = []
    for cell in dict.fromkeys(loss.where for loss in one.losses):
        mine = [loss for loss in one.losses if loss.where == cell]
        points = [Point(1.0, "release 1", Triple(0.0, 0.0, 0.0))]
        for loss in mine:
            row = loss.since_first
            points.append(
                Point(loss.release + 1.0, f"release {loss.release + 1}", Triple(row.value, row.low, row.high))
            )
        marks = [Mark(loss.release + 1.0, loss.since_first.threshold, loss.since_first.sense) for loss in mine]
        line = Line(cell, "s1", tuple(points))
        unit = "R2, minus release 1" if spelt(mine[0].label) else "AUROC, minus release 1"
        drawn.append(figure(cell, _chart(one, [line], marks, f"loss since the first release of {cell}", unit)))
    rows: list[list[object]] = [
        [
            f"{loss.where}, release {loss.release + 1}",
            with_interval(loss.since_first.value, loss.since_first.low, loss.since_first.high),
            "" if loss.since_last is None else number(loss.since_last.value),
            chip(loss.since_first.outcome, "slow loss" if loss.slow else ""),
        ]
        for loss in one.losses
    ]
    heads = ["", "minus the first", "minus the one before", "against the first"]
    problems = [element("p", f"Not comparable: {problem}") for problem in one.problems]
    return Markup("").join(
        [figures(drawn, how_to_read.LOSS), *problems, behind(heads, rows, "loss since the first release")]
    )


def _changed(one: Series) -> Markup:
    rows: list[list[object]] = [
        [
            f"{name}, release {later + 1}",
            Markup("").join([chip(then.outcome), " ", with_interval(*then.value, then.threshold)]),
            Markup("").join([chip(now.outcome), " ", with_interval(*now.value, now.threshold)]),
            ", ".join(one.differs(later)) or "nothing that is known",
        ]
        for name, later, then, now in one.changed
    ]
    if not rows:
        return element("p", "No check changed its outcome.")
    return table(["check", "before", "then", "what else changed"], rows, "checks that changed their outcome")


def _checks(one: Series) -> Markup:
    body: list[Markup] = []
    kinds: dict[str, list[str]] = {}
    for name in one.checks:
        kinds.setdefault(name.partition("[")[0], []).append(name)
    for kind, names in kinds.items():
        drawn: list[Markup] = []
        for start in range(0, len(names), _MOST_LINES):
            part = names[start : start + _MOST_LINES]
            drawn.append(_together(one, kind, part))
        heads: list[object] = ["", *(str(position + 1) for position in range(len(one.releases)))]
        rows: list[list[object]] = [[name, *_cells(one, name)] for name in names]
        title = CHECKS[kind].title if kind in CHECKS else kind
        body += [
            element("h3", f"{kind}: {title}"),
            figures(drawn, how_to_read.RELEASES, again=bool(body)),
            behind(heads, rows, kind),
        ]
    return Markup("").join(body) if body else NOTHING


def _cells(one: Series, name: str) -> list[object]:
    found = (release.checks.get(name) for release in one.releases)
    return [
        Markup("").join([with_interval(*each.value, each.threshold), " ", chip(each.outcome)]) if each else ""
        for each in found
    ]


def _together(one: Series, kind: str, names: Sequence[str]) -> Markup:
    """Draw a few cells of a check in one chart."""
    style = palette(names)
    lines, marks = [], dict[Mark, None]()
    for name in names:
        points = []
        for position, release in enumerate(one.releases, 1):
            found = release.checks.get(name)
            if found is None:
                continue
            points.append(Point(float(position), f"release {position}: {found.outcome}", found.value))
            if math.isfinite(found.threshold):
                marks[Mark(float(position), found.threshold, found.sense)] = None
        lines.append(Line(name.removeprefix(kind).strip("[]") or kind, style[name], tuple(points)))
    named = legend({line.name: line.style for line in lines})
    unit = f"{kind.partition('.')[2].replace('_', ' ') or kind}, no unit"
    drawing = _chart(one, lines, list(marks), f"{kind} over the releases", unit)
    return element("figure", element("figcaption", f"{kind}, release by release"), drawing, named)


def _chart(one: Series, lines: Sequence[Line], marks: Sequence[Mark], describe: str, unit: str) -> Markup:
    ends: Iterable[float] = (end for line in lines for point in line.points for end in point.found)
    limits = charts.span([*ends, *(mark.bound for mark in marks)], 0.02)
    count = len(one.releases)
    every = max(1, math.ceil(count / 8))
    return charts.line_chart(
        _BOX,
        lines,
        labelled=[(float(position), str(position)) for position in range(1, count + 1, every)],
        x_range=(0.7, count + 0.3),
        y_range=limits,
        y_ticks=charts.ticks(*limits),
        describe=describe,
        axes=Axes("release, by number", unit),
        marks=marks,
    )
