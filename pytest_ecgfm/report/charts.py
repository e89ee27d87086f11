"""Small charts as SVG, drawn when the page is written.

Own code instead of a plotting library's: colours come from the page's style sheet, so that they follow the theme;
nothing runs in the browser, so that the page needs no script of others, prints as vectors and stays small; and each
mark carries the numbers it stands for.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from pytest_ecgfm.report.marks import Dot, Group, Line, Mark, Point
from pytest_ecgfm.report.words import bound_text, element, plain, text_of
from pytest_ecgfm.results.rounded import chosen


class Axes(NamedTuple):
    """What the axes of a chart are, with units: below it, and at its left; where there are rows, above their names."""

    x: str
    y: str


class Box(NamedTuple):
    """Size of a chart and of its margins, in user units: one is one CSS pixel where the chart is shown at its size."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers that span an interval, at most about `most` of them."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    rough = span / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def span(values: Iterable[float], least: float = 0.0) -> tuple[float, float]:
    """Return round limits around finite values, `least` apart at least; (0, 1) where there are none."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    if high - low < max(least, 1e-9):
        middle, half = (low + high) / 2, max(least, 1e-9, abs(high) * 1e-3) / 2
        low, high = middle - half, middle + half
    step = max(ticks(low, high)[1] - ticks(low, high)[0], 1e-12) if len(ticks(low, high)) > 1 else (high - low)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def scale(low: float, high: float, first: float, last: float) -> Callable[[float], float]:
    """Return the linear function from values to user units; what lies outside stays at the edge."""

    def place(value: float) -> float:
        share = 0.5 if high == low else (value - low) / (high - low)
        return first + min(max(share, 0.0), 1.0) * (last - first)

    return place


def fixed(value: float) -> str:
    """Write a coordinate."""
    return f"{value:.1f}".removesuffix(".0")


def tick_text(value: float) -> str:
    """Write a tick."""
    return bound_text(value)


def symbol(style: str, x: float, y: float, tip: str = "", size: float = 3.6) -> Markup:
    """Draw the mark of an encoder: each has a shape as well as a colour."""
    number = int(style[1:]) if style[1:].isdigit() else 1
    kind = f"mark {style}"
    about = {"class_": kind, "data_tip": tip or None}
    if style.startswith("r"):
        return element("circle", cx=fixed(x), cy=fixed(y), r=fixed(size * 0.6), **about)
    if number % 4 == 2:
        side = size * 1.75
        return element(
            "rect", x=fixed(x - side / 2), y=fixed(y - side / 2), width=fixed(side), height=fixed(side), **about
        )
    if number % 4 == 3:
        return element("path", d=_polygon(x, y, size * 1.35, 3), **about)
    if number % 4 == 0:
        return element("path", d=_polygon(x, y, size * 1.3, 4), **about)
    return element("circle", cx=fixed(x), cy=fixed(y), r=fixed(size), **about)


def _polygon(x: float, y: float, radius: float, corners: int) -> str:
    angles = [-math.pi / 2 + 2 * math.pi * number / corners for number in range(corners)]
    points = [f"{fixed(x + radius * math.cos(a))} {fixed(y + radius * math.sin(a))}" for a in angles]
    return f"M{'L'.join(points)}Z"


def line_chart(
    box: Box,
    lines: Sequence[Line],
    *,
    labelled: Sequence[tuple[float, str]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    y_ticks: Sequence[float],
    describe: str,
    axes: Axes,
    marks: Sequence[Mark] = (),
    chance: float | None = None,
) -> Markup:
    """Draw estimates with their intervals, joined by lines.

    Parameters
    ----------
    box : Box
    lines : sequence of Line
        References first, so that the models under test lie on top of them.
    labelled : sequence of (float, str)
        Positions that are named below the chart.
    x_range, y_range : tuple of float
        Limits.
    y_ticks : sequence of float
        Values with a grid line.
    describe : str
        What a screen reader says.
    axes : Axes
    marks : sequence of Mark
        Bounds.
    chance : float, optional
        Where a line says what chance gives.
    """
    right, bottom = box.width - box.right, box.height - box.bottom
    across = scale(*x_range, box.left + 8, right - 8)
    up = scale(*y_range, bottom, box.top)
    parts = [
        element("path", d=f"M{fixed(box.left)} {fixed(up(tick))}H{fixed(right)}", class_="grid") for tick in y_ticks
    ]
    parts += [
        element("text", tick_text(tick), x=fixed(box.left - 6), y=fixed(up(tick) + 3.5), class_="tick end")
        for tick in y_ticks
    ]
    parts += [
        element("text", name, x=fixed(across(x)), y=fixed(bottom + 15), class_="tick middle") for x, name in labelled
    ]
    if chance is not None and y_range[0] <= chance <= y_range[1]:
        parts.append(
            element(
                "path", d=f"M{fixed(box.left)} {fixed(up(chance))}H{fixed(right)}", class_="chance", data_tip="chance"
            )
        )
    for mark in marks:
        x, y = across(mark.x), up(mark.bound)
        words = "at most" if mark.sense == "maximum" else "at least"
        side = 4 if mark.sense == "maximum" else -4
        # The little foot points to the wrong side.
        d = f"M{fixed(x - 9)} {fixed(y)}H{fixed(x + 9)}M{fixed(x)} {fixed(y)}v{fixed(-side)}"
        parts.append(element("path", d=d, class_="demand", data_tip=f"threshold: {words} {chosen(mark.bound)}"))
    wide = len(lines)
    for number, line in enumerate(lines):
        parts.append(_line(line, across, up, 3.0 * (number - (wide - 1) / 2)))
    return frame(box, [*parts, *axis_labels(box, axes)], describe)


def axis_labels(box: Box, axes: Axes, rows: bool = False) -> list[Markup]:
    """Write what the axes are: that of rows stands above their names, as it is one of words."""
    middle = (box.left + box.width - box.right) / 2
    below = element("text", axes.x, x=fixed(middle), y=fixed(box.height - 4), class_="axis x middle")
    if rows:
        return [below, element("text", axes.y, x=fixed(box.left - 10), y=fixed(box.top - 6), class_="axis y end")]
    up = (box.top + box.height - box.bottom) / 2
    turned = f"translate(11 {fixed(up)}) rotate(-90)"
    return [below, element("text", axes.y, transform=turned, class_="axis y middle")]


def _line(line: Line, across: Callable[[float], float], up: Callable[[float], float], aside: float) -> Markup:
    """Draw a line; whiskers of several lines stand beside each other."""
    known = [point for point in line.points if math.isfinite(point.found.value)]
    at = [(across(point.x) + aside, up(point.found.value)) for point in known]
    path = "".join(f"{'L' if number else 'M'}{fixed(x)} {fixed(y)}" for number, (x, y) in enumerate(at))
    parts = [element("path", d=path, class_=f"line {line.style}")] if len(at) > 1 else []
    for (x, _), point in zip(at, known, strict=True):
        _, low, high = point.found
        if math.isfinite(low) and math.isfinite(high) and high > low:
            d = f"M{fixed(x)} {fixed(up(low))}V{fixed(up(high))}"
            parts.append(element("path", d=d, class_=f"whisker {line.style}"))
    parts += [
        symbol(line.style, x, y, f"{line.name}, {point.name}: {plain(*point.found)}")
        for (x, y), point in zip(at, known, strict=True)
    ]
    return element("g", *parts)


def frame(box: Box, parts: Iterable[object], describe: str, kind: str = "chart") -> Markup:
    """Put parts into an SVG that scales with its container."""
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {fixed(box.width)} {fixed(box.height)}",
        width=fixed(box.width),
        height=fixed(box.height),
        class_=kind,
        role="img",
        aria_label=describe,
    )


def null_chart(
    groups: Sequence[Group],
    x_range: tuple[float, float],
    describe: str,
    axes: Axes,
    *,
    width: float = 620,
) -> Markup:
    """Draw values against the band that chance gives: mean and 1.96 standard deviations under permutation."""
    lanes = max((len(group.dots) for group in groups), default=1)
    step = 10.0 * lanes + 10
    gutter = _gutter([group.name for group in groups])
    box = Box(width, 40 + step * len(groups) + 22, gutter, 16, 22, 40)
    across = scale(*x_range, box.left, box.width - box.right)
    parts = _across(x_range, across, box)
    for row, group in enumerate(groups):
        top = box.top + row * step
        parts.append(element("text", group.name, x=fixed(gutter - 10), y=fixed(top + step / 2 + 4), class_="tick end"))
        for lane, dot in enumerate(group.dots):
            parts.append(_dot(dot, across, top + step / 2 + 10 * (lane - (lanes - 1) / 2)))
    return frame(box, [*parts, *axis_labels(box, axes, rows=True)], describe)


def _gutter(names: Sequence[str]) -> float:
    """Return the room for the names of rows, at their size of letters."""
    return min(max([90.0, *(16 + 6.2 * len(name) for name in names)]), 260.0)


def _dot(dot: Dot, across: Callable[[float], float], y: float) -> Markup:
    parts: list[Markup] = []
    if math.isfinite(dot.null_mean) and math.isfinite(dot.null_sd):
        low, high = across(dot.null_mean - 1.96 * dot.null_sd), across(dot.null_mean + 1.96 * dot.null_sd)
        tip = f"chance: {text_of(dot.null_mean)}, standard deviation {text_of(dot.null_sd)}"
        parts.append(
            element(
                "rect",
                x=fixed(low),
                y=fixed(y - 4),
                width=fixed(max(high - low, 1.5)),
                height="8",
                class_="null",
                data_tip=tip,
            )
        )
        x = fixed(across(dot.null_mean))
        parts.append(element("path", d=f"M{x} {fixed(y - 4)}v8", class_="null-mean"))
        if math.isfinite(dot.value):
            parts.append(element("path", d=f"M{x} {fixed(y)}H{fixed(across(dot.value))}", class_=f"reach {dot.style}"))
    if math.isfinite(dot.value):
        parts.append(symbol(dot.style, across(dot.value), y, f"{dot.name}: {text_of(dot.value)}"))
    return element("g", *parts)


def forest(
    cells: Sequence[str],
    lines: Sequence[Line],
    margin: float,
    describe: str,
    axes: Axes,
    *,
    width: float = 620,
) -> Markup:
    """Draw differences with their intervals, a row each; a point's x is its row. Zero and a margin are marked."""
    lanes = max(len(lines), 1)
    step = 10.0 * lanes + 10
    gutter = _gutter(cells)
    box = Box(width, 40 + step * len(cells) + 22, gutter, 16, 22, 40)
    ends = [value for line in lines for point in line.points for value in point.found]
    limits = span([*ends, 0.0, margin], 0.02)
    across = scale(*limits, box.left, box.width - box.right)
    bottom = box.height - box.bottom
    parts = _across(limits, across, box)
    for value, kind, tip in ((0.0, "chance", "no change"), (margin, "demand upright", f"margin: {chosen(margin)}")):
        if math.isfinite(value):
            d = f"M{fixed(across(value))} {fixed(box.top)}V{fixed(bottom)}"
            parts.append(element("path", d=d, class_=kind, data_tip=tip))
    for row, name in enumerate(cells):
        y = box.top + (row + 0.5) * step
        parts.append(element("text", name, x=fixed(gutter - 10), y=fixed(y + 4), class_="tick end"))
        for lane, line in enumerate(lines):
            here = y + 10 * (lane - (lanes - 1) / 2)
            parts += [_difference(line, point, across, here) for point in line.points if point.x == row]
    return frame(box, [*parts, *axis_labels(box, axes, rows=True)], describe)


def _difference(line: Line, point: Point, across: Callable[[float], float], y: float) -> Markup:
    value, low, high = point.found
    if not math.isfinite(value):
        return element("g")
    d = f"M{fixed(across(low))} {fixed(y)}H{fixed(across(high))}"
    whisker = element("path", d=d, class_=f"whisker {line.style}") if math.isfinite(low + high) else ""
    tip = f"{line.name}, {point.name}: {plain(value, low, high)}"
    return element("g", whisker, symbol(line.style, across(value), y, tip))


def _across(limits: tuple[float, float], across: Callable[[float], float], box: Box) -> list[Markup]:
    parts = []
    bottom = box.height - box.bottom
    for tick in ticks(*limits, most=6):
        x = fixed(across(tick))
        parts.append(element("path", d=f"M{x} {fixed(box.top)}V{fixed(bottom)}", class_="grid"))
        parts.append(element("text", tick_text(tick), x=x, y=fixed(bottom + 15), class_="tick middle"))
    return parts
