"""Figures of a run for papers: SVG and PNG, one column wide, in colours that colour-blind readers tell apart."""

import math
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.quantities import spelt
from pytest_ecgfm.report import how_to_read
from pytest_ecgfm.report.changes import baseline_checks, changed_cells
from pytest_ecgfm.report.figure_parts import SETTINGS, Drawn, blank, draw_lines, legend, look, panels, save
from pytest_ecgfm.report.leads import LAYOUT, beat_axes, beat_scale
from pytest_ecgfm.report.loaded import Loaded
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
    severity_axis,
    severity_text,
    stability_lines,
    styles,
    transfer_cells,
    travelled_cells,
    travelled_quantities,
)
from pytest_ecgfm.report.words import Triple, percent
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.rounded import rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figures(run: Loaded, folder: Path) -> list[Path]:
    """Draw every figure for which the run has results; return the files, each whole or not at all.

    Parameters
    ----------
    run : Loaded
    folder : Path
        Is made where it is missing; files of the same names are replaced.
    """
    from matplotlib import rc_context

    with rc_context(SETTINGS):
        return [path for build in FIGURES for drawn in build(run) for path in save(drawn, folder)]


def auroc(run: Loaded) -> Iterator[Drawn]:
    """AUROC by share of the training patients: a figure a cohort, a panel a label."""
    limits, shares = auroc_limits(run), fractions(run)
    for cohort in run.cohorts:
        found = {label: lines for label in run.labels if (lines := auroc_lines(run, cohort, label))}
        if not found:
            continue
        figure, shown = panels(len(found), 2, 1.35)
        for axes, (label, lines) in zip(shown, found.items(), strict=True):
            draw_lines(axes, lines, 0.05)
            axes.axhline(0.5, color="#6E7781", linewidth=0.5, linestyle=":")
            for mark in bounds(run, cohort, label):
                axes.plot([mark.x - 0.2, mark.x + 0.2], [mark.bound] * 2, color="#A11D28", linewidth=0.8)
            axes.set_title(label)
            axes.set_ylim(*limits)
            axes.set_xticks([math.log(one) for one in shares], [percent(one).removesuffix(" %") for one in shares])
            axes.set_xlabel("training patients, %")
        figure.supylabel("AUROC, 0 to 1", fontsize=7)
        figure.suptitle(f"{cohort}: AUROC by share of the training patients", fontsize=7)
        legend(figure, shown)
        yield Drawn(f"auroc-{cohort}", figure, how_to_read.AUROC)


def transfer(run: Loaded) -> Iterator[Drawn]:
    """AUROC from cohort to cohort: a figure for each encoder and label; targets seen in pretraining have a star."""
    for encoder, label in product(run.models, run.labels):
        cells = {where: found for where, (found, _) in transfer_cells(run, encoder, label).items()}
        if cells:
            figure = _heat(run, encoder, cells, (0.5, 1.0))
            figure.suptitle(f"{encoder}, {label}: AUROC from cohort to cohort, 0 to 1", fontsize=7)
            yield Drawn(f"transfer-{encoder}-{label}", figure, how_to_read.HEAT)


def quantity_transfer(run: Loaded) -> Iterator[Drawn]:
    """Spearman correlation of a quantity from cohort to cohort, and what it lost: a figure each."""
    for encoder, quantity in product(run.models, travelled_quantities(run)):
        for variable, words, limits in (
            ("spearman", "Spearman correlation from cohort to cohort, −1 to 1", (0.0, 1.0)),
            ("spearman_drop", "loss of Spearman correlation by transfer, no unit", (0.0, 0.5)),
        ):
            cells = travelled_cells(run, encoder, quantity, variable)
            if cells:
                figure = _heat(run, encoder, cells, limits)
                figure.suptitle(f"{encoder}, {quantity}: {words}", fontsize=7)
                stem = f"transfer-{encoder}-{quantity}-{variable.replace('_', '-')}"
                yield Drawn(stem, figure, how_to_read.HEAT)


def _heat(run: Loaded, encoder: str, cells: dict[tuple[str, str], Triple], limits: tuple[float, float]) -> "Figure":
    sources, targets = (list(cohort_order(key[side] for key in cells)) for side in (0, 1))
    values: npt.NDArray[np.float64] = np.full((len(sources), len(targets)), np.nan)
    for (source, target), found in cells.items():
        values[sources.index(source), targets.index(target)] = found.value
    figure = blank(1.1 + 0.36 * len(sources))
    axes = figure.subplots()
    axes.imshow(values, cmap="cividis", vmin=limits[0], vmax=limits[1], aspect="auto")
    middle = limits[0] + 0.56 * (limits[1] - limits[0])
    for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
        value = values[row, column]
        colour = "white" if value < middle else "black"
        axes.text(column, row, rounded(value), ha="center", va="center", color=colour, fontsize=6)
    stars = [f"{one}{' *' if run.exposure(encoder, one) == 'seen' else ''}" for one in targets]
    axes.set_xticks(range(len(targets)), stars, rotation=25, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(sources)), sources)
    axes.set(xlabel="tested in", ylabel="fitted in")
    return figure


def stability(run: Loaded) -> Iterator[Drawn]:
    """Displacement by severity: a figure an encoder, a panel a perturbation."""
    names = perturbations(run)
    for encoder in run.models:
        found = {name: lines for name in names if (lines := stability_lines(run, encoder, name))}
        if not found:
            continue
        figure, shown = panels(len(found), 2, 1.2)
        for axes, (name, lines) in zip(shown, found.items(), strict=True):
            draw_lines(axes, lines, 0.08)
            steps = severities(name)
            axes.set_xticks(range(len(steps)), [severity_text(name, one).partition(" ")[0] for one in steps])
            axes.set_xlim(-0.5, len(steps) - 0.5)
            axes.set_ylim(bottom=0.0)
            axes.set_title(perturbation_title(name))
            axes.set_xlabel(severity_axis(name))
        figure.suptitle(f"{encoder}: displacement by perturbation", fontsize=7)
        figure.supylabel("displacement (1 = the distance to another patient)", fontsize=7)
        legend(figure, shown)
        yield Drawn(f"stability-{encoder}", figure, how_to_read.STABILITY)


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
        figure = blank(2.1)
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
        named = beat_axes(beat)
        for axes in grid[-1]:
            axes.set_xlabel(named.x, fontsize=6)
        figure.supylabel(named.y, fontsize=6)
        figure.suptitle(f"{encoder}, {cohort}, {label}: relevance of leads", fontsize=7)
        yield Drawn(f"relevance-{encoder}-{cohort}-{label}", figure, how_to_read.LEADS)


def maps(run: Loaded) -> Iterator[Drawn]:
    """Map of the records by UMAP, by label and by cohort: a figure an encoder."""
    for encoder in run.models:
        held = places(run, encoder)
        if held is None:
            continue
        none = "none"
        figure, shown = panels(2, 2, 2.2)
        for axes, how, names in (
            (shown[0], "by label", [one or none for one in held.rarest()]),
            (shown[1], "by cohort", held.cohorts),
        ):
            kinds = [*held.labels, none] if how == "by label" else [one for one in run.cohorts if one in held.cohorts]
            # One colour for a cohort in all figures.
            named = palette(held.labels if how == "by label" else run.cohorts)
            looks = {kind: look(style) for kind, style in named.items()} | {none: {"color": "#D0D7DE"}}
            # What has no label lies below what has one.
            for kind in sorted(kinds, key=lambda one: one != none):
                x, y = held.points[np.array([name == kind for name in names])].T
                axes.scatter(x, y, s=1.2, color=looks[kind]["color"], label=kind, linewidths=0, rasterized=True)
            axes.set(xticks=[], yticks=[], title=how, xlabel="UMAP 1, no unit", ylabel="UMAP 2, no unit")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, markerscale=3, handletextpad=0.1)
        figure.suptitle(f"{encoder}: map by UMAP, trustworthiness {rounded(held.trustworthiness)}", fontsize=7)
        yield Drawn(f"map-{encoder}", figure, how_to_read.MAP)


def separability(run: Loaded) -> Iterator[Drawn]:
    """Neighbour agreement against chance, all encoders in one figure."""
    groups = null_groups(run)
    if not groups:
        return
    lanes = max(len(group.dots) for group in groups)
    step = 0.16 * lanes + 0.06
    figure = blank(0.9 + step * len(groups))
    axes = figure.subplots()
    named: set[str] = set()
    for row, group in enumerate(groups):
        for lane, dot in enumerate(group.dots):
            y = row + (lane - (lanes - 1) / 2) * 0.7 / lanes
            if math.isfinite(dot.null_mean) and math.isfinite(dot.null_sd):
                half = 1.96 * dot.null_sd
                axes.barh(y, 2 * half, 0.5 / lanes, dot.null_mean - half, color="#D0D7DE")
            axes.plot(dot.value, y, linestyle="", label=None if dot.name in named else dot.name, **look(dot.style))
            named.add(dot.name)
    axes.set_yticks(range(len(groups)), [group.name for group in groups])
    axes.invert_yaxis()
    axes.set(xlabel="neighbour agreement, 0 to 1; grey: chance", ylabel="label, cohort")
    figure.suptitle("Class-balanced neighbour agreement and its chance level", fontsize=7)
    legend(figure, [axes])
    yield Drawn("separability", figure, how_to_read.AGREEMENT)


def changes(run: Loaded) -> Iterator[Drawn]:
    """AUROC now minus that of an earlier run: a figure a baseline."""
    for name, part in baseline_checks(run).items():
        cells = changed_cells(run, part)
        figure = blank(0.9 + 0.2 * len(cells) * len(run.models))
        axes = figure.subplots()
        for number, encoder in enumerate(run.models):
            mine = part[part["encoder"] == encoder]
            aside = 0.6 * (number - (len(run.models) - 1) / 2) / len(run.models)
            y = np.array([cells.index(cell) for cell in zip(mine["cohort"], mine["label"], strict=True)]) + aside
            value, low, high = (mine[one].to_numpy(dtype=np.float64) for one in ("value", "low", "high"))
            reach = np.maximum(np.nan_to_num([value - low, high - value]), 0.0)
            style = look(styles(run)[encoder])
            axes.errorbar(value, y, xerr=reach, linestyle="", label=encoder, elinewidth=0.6, **style)
        axes.axvline(0.0, color="#6E7781", linewidth=0.5, linestyle=":")
        axes.axvline(float(part["threshold"].max()), color="#A11D28", linewidth=0.8)
        axes.set_yticks(range(len(cells)), [f"{cohort}, {label}" for cohort, label in cells])
        axes.invert_yaxis()
        axes.locator_params(axis="x", nbins=5)
        what = "R2" if all(spelt(label) for _, label in cells) else "AUROC"
        axes.set(xlabel=f"{what}, now minus {name}; red: margin", ylabel="cohort, label")
        figure.suptitle(f"{what}: what changed since {name}", fontsize=7)
        legend(figure, [axes])
        yield Drawn(f"changes-{name}", figure, how_to_read.CHANGES)


FIGURES: tuple[Callable[[Loaded], Iterator[Drawn]], ...] = (
    auroc,
    transfer,
    quantity_transfer,
    stability,
    relevance,
    maps,
    separability,
    changes,
)
"""Every kind of figure."""
