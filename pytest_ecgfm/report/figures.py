"""Figures of a run for papers: SVG and PNG, one column wide, in colours that colour-blind readers tell apart."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pytest_ecgfm.cards.whole_files import whole
from pytest_ecgfm.report.changes import baseline_checks
from pytest_ecgfm.report.escape import terminal
from pytest_ecgfm.report.leads import LAYOUT, beat_scale
from pytest_ecgfm.report.loaded import Loaded, in_order
from pytest_ecgfm.report.marks import Line
from pytest_ecgfm.report.series import (
    auroc_limits,
    auroc_lines,
    bounds,
    example_beat,
    fractions,
    lead_shares,
    null_groups,
    palette,
    perturbation_title,
    perturbations,
    places,
    severities,
    severity_text,
    stability_lines,
    styles,
    transfer_cells,
)
from pytest_ecgfm.report.words import percent

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

_SETTINGS: dict[Any, Any] = {
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
    # Names of models and cohorts are names: a dollar in one starts no formula.
    "text.parse_math": False,
    # Text stays text, to be searched and edited; the same run gives the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "pytest-ecgfm",
}


class Drawn(NamedTuple):
    """A figure and its file's name, without ending."""

    name: str
    figure: "Figure"


def write_figures(run: Loaded, folder: Path) -> list[Path]:
    """Draw every figure for which the run has results; return the files, each whole or not at all.

    Parameters
    ----------
    run : Loaded
    folder : Path
        Is made where it is missing; files of the same names are replaced.
    """
    from matplotlib import rc_context

    written: list[Path] = []
    with rc_context(_SETTINGS):
        for build in FIGURES:
            for drawn in build(run):
                _show_names(drawn.figure)
                folder.mkdir(parents=True, exist_ok=True)
                for ending, about in (("svg", {"Date": None}), ("png", {"Software": None})):
                    path = folder / f"{_stem(drawn.name)}.{ending}"
                    with whole(path) as temporary:
                        drawn.figure.savefig(temporary, format=ending, dpi=DPI, metadata=about)
                    written.append(path)
    return written


def _show_names(figure: "Figure") -> None:
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


def _figure(height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(COLUMN, height), layout="constrained")


def _panels(count: int, columns: int, high: float) -> tuple["Figure", list["Axes"]]:
    rows = math.ceil(count / columns)
    figure = _figure(high * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False)
    axes: list[Axes] = list(grid.ravel())
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def _look(style: str) -> dict[str, Any]:
    number = int(style[1:]) - 1
    if style.startswith("r"):
        return {"color": GREYS[number % len(GREYS)], "marker": ".", "linestyle": "--"}
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def _draw_lines(axes: "Axes", lines: Sequence[Line], apart: float) -> None:
    for number, line in enumerate(lines):
        aside = apart * (number - (len(lines) - 1) / 2)
        known = [point for point in line.points if math.isfinite(point.found.value)]
        x = np.array([point.x for point in known]) + aside
        value, low, high = (np.array([point.found[one] for point in known]) for one in range(3))
        reach = np.maximum(np.nan_to_num([value - low, high - value]), 0.0)
        axes.errorbar(x, value, yerr=reach, label=line.name, elinewidth=0.6, **_look(line.style))


def _legend(figure: "Figure", axes: Sequence["Axes"]) -> None:
    found: dict[str, Any] = {}
    for one in axes:
        handles, names = one.get_legend_handles_labels()
        found |= dict(zip(names, handles, strict=True))
    columns = 2 if any(len(name) > 14 for name in found) else 3
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(columns, len(found)))


def auroc(run: Loaded) -> Iterator[Drawn]:
    """AUROC by share of the training patients: a figure a cohort, a panel a label."""
    limits, shares = auroc_limits(run), fractions(run)
    for cohort in run.cohorts:
        found = {label: lines for label in run.labels if (lines := auroc_lines(run, cohort, label))}
        if not found:
            continue
        figure, panels = _panels(len(found), 2, 1.25)
        for axes, (label, lines) in zip(panels, found.items(), strict=True):
            _draw_lines(axes, lines, 0.05)
            axes.axhline(0.5, color="#6E7781", linewidth=0.5, linestyle=":")
            for mark in bounds(run, cohort, label):
                axes.plot([mark.x - 0.2, mark.x + 0.2], [mark.bound] * 2, color="#A11D28", linewidth=0.8)
            axes.set_title(label)
            axes.set_ylim(*limits)
            axes.set_xticks([math.log(one) for one in shares], [percent(one).removesuffix(" %") for one in shares])
        figure.supylabel("AUROC", fontsize=7)
        figure.suptitle(f"{cohort}: AUROC by % of the training patients", fontsize=7)
        _legend(figure, panels)
        yield Drawn(f"auroc-{cohort}", figure)


def transfer(run: Loaded) -> Iterator[Drawn]:
    """AUROC from cohort to cohort: a figure for each encoder and label; targets seen in pretraining have a star."""
    for encoder, label in product(run.models, run.labels):
        cells = transfer_cells(run, encoder, label)
        if not cells:
            continue
        sources, targets = (in_order(dict.fromkeys(key[side] for key in cells), run.cohorts) for side in (0, 1))
        values = np.full((len(sources), len(targets)), np.nan)
        for (source, target), (found, _) in cells.items():
            values[sources.index(source), targets.index(target)] = found.value
        figure = _figure(0.9 + 0.36 * len(sources))
        axes = figure.subplots()
        axes.imshow(values, cmap="cividis", vmin=0.5, vmax=1.0, aspect="auto")
        for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
            value = values[row, column]
            colour = "white" if value < 0.78 else "black"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", color=colour, fontsize=6)
        stars = [f"{one}{' *' if run.exposure(encoder, one) == 'seen' else ''}" for one in targets]
        axes.set_xticks(range(len(targets)), stars, rotation=25, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(sources)), sources)
        axes.set_title(f"{encoder}, {label}: AUROC, from row to column")
        yield Drawn(f"transfer-{encoder}-{label}", figure)


def stability(run: Loaded) -> Iterator[Drawn]:
    """Displacement by severity: a figure an encoder, a panel a perturbation."""
    names = perturbations(run)
    for encoder in run.models:
        found = {name: lines for name in names if (lines := stability_lines(run, encoder, name))}
        if not found:
            continue
        figure, panels = _panels(len(found), 2, 1.05)
        for axes, (name, lines) in zip(panels, found.items(), strict=True):
            _draw_lines(axes, lines, 0.08)
            steps = severities(name)
            units = severity_text(name, steps[0]).partition(" ")[2]
            axes.set_xticks(range(len(steps)), [severity_text(name, one).partition(" ")[0] for one in steps])
            axes.set_xlim(-0.5, len(steps) - 0.5)
            axes.set_ylim(bottom=0.0)
            axes.set_title(f"{perturbation_title(name)}{f', {units}' if units else ''}")
        figure.supylabel("displacement", fontsize=7)
        _legend(figure, panels)
        yield Drawn(f"stability-{encoder}", figure)


def relevance(run: Loaded) -> Iterator[Drawn]:
    """Relevance of leads on the layout of an ECG, over one beat: a figure for each encoder, cohort and label."""
    from matplotlib import colormaps

    # One hue, from white: it prints in grey, too. The darkest third is left out, for the beat to stand on.
    colours = colormaps["Oranges"]
    beats = {cohort: example_beat(run, cohort) for cohort in run.cohorts}
    for encoder, cohort, label in product(run.models, run.cohorts, run.labels):
        shares = lead_shares(run, encoder, cohort, label)
        if not shares:
            continue
        beat = beats[cohort]
        scale = beat_scale(beat, 1.0) if beat is not None else 0.0
        top = max(one.value for one in shares.values() if math.isfinite(one.value)) or 1.0
        figure = _figure(1.9)
        grid = figure.subplots(3, 4, gridspec_kw={"wspace": 0, "hspace": 0})
        for row, column in product(range(3), range(4)):
            axes, lead = grid[row, column], LAYOUT[row][column]
            value = shares[lead].value
            finite = math.isfinite(value)
            axes.set_facecolor(colours(0.65 * max(value, 0.0) / top) if finite else "white")
            axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
            for spine in axes.spines.values():
                spine.set(visible=True, linewidth=0.3)
            if beat is not None and lead in beat.signals:
                drawn = np.nan_to_num(beat.signals[lead] - np.nanmedian(beat.signals[lead]))
                height = 0.4 + scale * (drawn - (drawn.max() + drawn.min()) / 2)
                axes.plot(np.linspace(0.05, 0.95, drawn.size), height, color="black", linewidth=0.5)
            axes.text(0.04, 0.96, f"{lead} {value:.2f}" if finite else lead, va="top", fontsize=6)
        figure.suptitle(f"{encoder}, {cohort}, {label}: relevance of leads", fontsize=7)
        yield Drawn(f"relevance-{encoder}-{cohort}-{label}", figure)


def maps(run: Loaded) -> Iterator[Drawn]:
    """Map of the records by UMAP, by label and by cohort: a figure an encoder."""
    for encoder in run.models:
        held = places(run, encoder)
        if held is None:
            continue
        none = "none"
        figure, panels = _panels(2, 2, 2.1)
        for axes, how, names in (
            (panels[0], "by label", [one or none for one in held.rarest()]),
            (panels[1], "by cohort", held.cohorts),
        ):
            kinds = [*held.labels, none] if how == "by label" else sorted(set(held.cohorts))
            looks = {kind: _look(style) for kind, style in palette(kinds).items()} | {none: {"color": "#D0D7DE"}}
            # What has no label lies below what has one.
            for kind in sorted(kinds, key=lambda one: one != none):
                x, y = held.points[np.array([name == kind for name in names])].T
                axes.scatter(x, y, s=1.2, color=looks[kind]["color"], label=kind, linewidths=0, rasterized=True)
            axes.set(xticks=[], yticks=[], title=how)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, markerscale=3, handletextpad=0.1)
        figure.suptitle(f"{encoder}: trustworthiness {held.trustworthiness:.3f}", fontsize=7)
        yield Drawn(f"map-{encoder}", figure)


def separability(run: Loaded) -> Iterator[Drawn]:
    """Neighbour agreement against chance, all encoders in one figure."""
    groups = null_groups(run)
    if not groups:
        return
    lanes = max(len(group.dots) for group in groups)
    step = 0.16 * lanes + 0.06
    figure = _figure(0.7 + step * len(groups))
    axes = figure.subplots()
    named: set[str] = set()
    for row, group in enumerate(groups):
        for lane, dot in enumerate(group.dots):
            y = row + (lane - (lanes - 1) / 2) * 0.7 / lanes
            if math.isfinite(dot.null_mean) and math.isfinite(dot.null_sd):
                half = 1.96 * dot.null_sd
                axes.barh(y, 2 * half, 0.5 / lanes, dot.null_mean - half, color="#D0D7DE")
            axes.plot(dot.value, y, linestyle="", label=None if dot.name in named else dot.name, **_look(dot.style))
            named.add(dot.name)
    axes.set_yticks(range(len(groups)), [group.name for group in groups])
    axes.invert_yaxis()
    axes.set_xlabel("neighbour agreement; grey: chance")
    _legend(figure, [axes])
    yield Drawn("separability", figure)


def changes(run: Loaded) -> Iterator[Drawn]:
    """AUROC now minus that of an earlier run: a figure a baseline."""
    for name, part in baseline_checks(run).items():
        cells = list(dict.fromkeys(zip(part["cohort"], part["label"], strict=True)))
        figure = _figure(0.7 + 0.2 * len(cells) * len(run.models))
        axes = figure.subplots()
        for number, encoder in enumerate(run.models):
            mine = part[part["encoder"] == encoder]
            aside = 0.6 * (number - (len(run.models) - 1) / 2) / len(run.models)
            y = np.array([cells.index(cell) for cell in zip(mine["cohort"], mine["label"], strict=True)]) + aside
            value, low, high = (mine[one].to_numpy(dtype=np.float64) for one in ("value", "low", "high"))
            reach = np.maximum(np.nan_to_num([value - low, high - value]), 0.0)
            look = _look(styles(run)[encoder])
            axes.errorbar(value, y, xerr=reach, linestyle="", label=encoder, elinewidth=0.6, **look)
        axes.axvline(0.0, color="#6E7781", linewidth=0.5, linestyle=":")
        axes.axvline(float(part["threshold"].max()), color="#A11D28", linewidth=0.8)
        axes.set_yticks(range(len(cells)), [f"{cohort}, {label}" for cohort, label in cells])
        axes.invert_yaxis()
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"AUROC, now minus {name}; red: margin")
        _legend(figure, [axes])
        yield Drawn(f"changes-{name}", figure)


FIGURES: tuple[Callable[[Loaded], Iterator[Drawn]], ...] = (
    auroc,
    transfer,
    stability,
    relevance,
    maps,
    separability,
    changes,
)
"""Every kind of figure."""
