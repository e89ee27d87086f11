"""What figures for papers are put together from: sizes, colours, panels, legends, and the sentence below each."""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pytest_ecgfm.cards.whole_files import whole
from pytest_ecgfm.report.escape import terminal
from pytest_ecgfm.report.marks import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 85 / 25.4
"""Inches: one column of most journals is 84 to 90 mm wide."""

DPI = 300
"""Of the PNG files, and of what is drawn as pixels in the SVG files: maps of thousands of records."""

# Okabe and Ito, "Color Universal Design" (2008); yellow is left out, as it is too light for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
GREYS = ("#6E7781", "#9AA2AB", "#4A5058")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

SETTINGS: dict[Any, Any] = {
    "font.size": 7.0,
    "axes.titlesize": 7.0,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.0,
    "ytick.labelsize": 6.0,
    "legend.fontsize": 6.0,
    "axes.linewidth": 0.5,
    "lines.linewidth": 0.9,
    "lines.markersize": 3.0,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    # Decimals, and never powers of ten.
    "axes.formatter.limits": (-9, 9),
    "axes.formatter.useoffset": False,
    # Names of models and cohorts are names: a dollar in one starts no formula.
    "text.parse_math": False,
    # Text stays text, to be searched and edited; the same run gives the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "pytest-ecgfm",
}


class Drawn(NamedTuple):
    """A figure, its file's name without ending, and how it is read."""

    name: str
    figure: "Figure"
    how: str


_SMALL, _LINE, _CHARACTERS, _ROW = 5.5, 7.2, 75, 9.5
"""Of the sentence below a figure: points of a letter and of a line, letters on a line; points of a row of a legend."""


def finished(drawn: Drawn) -> Drawn:
    """Put the legend below a figure, and below that how it is read; the figure becomes higher by so much."""
    figure = drawn.figure
    lines = textwrap.wrap(drawn.how, _CHARACTERS)
    width, height = figure.get_size_inches()
    rows = sum(math.ceil(len(one.get_texts()) / _columns(one.get_texts())) for one in figure.legends)
    below, between = (len(lines) * _LINE + 4) / 72, (rows * _ROW + 3) / 72 if rows else 0.0
    whole = height + below + between
    figure.set_size_inches(width, whole)
    engine = figure.get_layout_engine()
    if engine is not None:
        room = (below + between) / whole
        engine.set(rect=(0, room, 1, 1 - room))  # type: ignore[call-arg]
    for one in figure.legends:
        one.set_bbox_to_anchor((0, below / whole, 1, between / whole), transform=figure.transFigure)
    text = figure.text(0.02, 2 / 72 / whole, "\n".join(lines), fontsize=_SMALL, va="bottom", color="#4A5058")
    text.set_in_layout(False)
    return drawn


def save(drawn: Drawn, folder: Path) -> Iterator[Path]:
    """Write a figure as SVG and PNG, each whole or not at all."""
    show_names(finished(drawn).figure)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"svg": {"Date": None, "Description": drawn.how}, "png": {"Software": None, "Description": drawn.how}}
    for ending, metadata in about.items():
        path = folder / f"{_stem(drawn.name)}.{ending}"
        with whole(path) as temporary:
            drawn.figure.savefig(temporary, format=ending, dpi=DPI, metadata=metadata)
        yield path


def show_names(figure: "Figure") -> None:
    """Show as escapes what no font has, and no SVG may hold: control characters in names."""
    from matplotlib.text import Text
    from matplotlib.ticker import FuncFormatter

    for text in figure.findobj(Text):
        text.set_text(_shown(text.get_text()))
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            # Names of ticks are written anew when they are drawn, by a function of the axis.
            formatter = axis.get_major_formatter()
            if isinstance(formatter, FuncFormatter):
                formatter.func = partial(_labelled, formatter.func)


def _labelled(held: Callable[..., str], value: float, place: int | None = None) -> str:
    return _shown(held(value, place))


def _shown(text: str) -> str:
    return "\n".join(map(terminal, text.split("\n")))


def _stem(name: str) -> str:
    """Return a file's name: what a folder could be made of is no part of it."""
    return "".join(one if one.isalnum() or one in "-_." else "-" for one in name).lstrip(".")


def blank(height: float) -> "Figure":
    """Return a figure of one column, without anything in it; `height` in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(COLUMN, height), layout="constrained")


def panels(count: int, columns: int, high: float) -> tuple["Figure", list["Axes"]]:
    """Return a figure with so many panels, each `high` inches."""
    rows = math.ceil(count / columns)
    figure = blank(high * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False)
    axes: list[Axes] = list(grid.ravel())
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def look(style: str) -> dict[str, Any]:
    """Return the colour and the marker of a style of the page."""
    number = int(style[1:]) - 1
    if style.startswith("r"):
        return {"color": GREYS[number % len(GREYS)], "marker": ".", "linestyle": "--"}
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def draw_lines(axes: "Axes", lines: Sequence[Line], apart: float) -> None:
    """Draw estimates with their intervals; those of several lines stand beside each other."""
    for number, line in enumerate(lines):
        aside = apart * (number - (len(lines) - 1) / 2)
        known = [point for point in line.points if math.isfinite(point.found.value)]
        x = np.array([point.x for point in known]) + aside
        value, low, high = (np.array([point.found[one] for point in known]) for one in range(3))
        reach = np.maximum(np.nan_to_num([value - low, high - value]), 0.0)
        axes.errorbar(x, value, yerr=reach, label=line.name, elinewidth=0.6, **look(line.style))


def legend(figure: "Figure", axes: Sequence["Axes"]) -> None:
    """Say below the panels which mark is whose."""
    found: dict[str, Any] = {}
    for one in axes:
        handles, names = one.get_legend_handles_labels()
        found |= dict(zip(names, handles, strict=True))
    figure.legend(found.values(), found.keys(), loc="center", ncols=_columns(list(found)), borderaxespad=0)


def _columns(names: Sequence[Any]) -> int:
    texts = [name if isinstance(name, str) else name.get_text() for name in names]
    return max(1, min(2 if any(len(text) > 14 for text in texts) else 3, len(texts)))
