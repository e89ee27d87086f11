"""Operating point and calibration on the page: tables of decisions, and reliability curves."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import xarray as xr
from markupsafe import Markup

from pytest_ecgfm.report import charts
from pytest_ecgfm.report.how_to_read import RELIABILITY
from pytest_ecgfm.report.layout import NOTHING, behind, figure, figures, legend, stacked
from pytest_ecgfm.report.loaded import Loaded, at, estimate, in_order
from pytest_ecgfm.report.words import element, number, plain, text_of, with_interval
from pytest_ecgfm.results.checks import OTHERS

_BOX = charts.Box(270, 236, 46, 10, 10, 40)
_AXES = charts.Axes("predicted probability (0 to 1)", "observed share (0 to 1)")
_HOME, _ABROAD = "probe of the cohort itself", "probe of other cohorts"
_STYLES = {_HOME: "s1", _ABROAD: "s2"}
_HEADS = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "slope": "slope",
    "intercept": "intercept",
    "ici": "ICI",
}

Where = Mapping[str, str]
"""One cell of the cube: encoder, source, target, label."""


def operating(run: Loaded) -> Markup:
    """Tabulate what the threshold of the training patients gives, and draw how right the probabilities are."""
    held = run.group("operating")
    if held is None or "sensitivity" not in held:
        return NOTHING
    rows: dict[bool, list[list[object]]] = {True: [], False: []}
    for where in _cells(run, held):
        home = where["source"] == where["target"]
        rows[home].append(_row(run, held, where))
    parts = [_table(rows[True], "", "at home")] if rows[True] else []
    if rows[False]:
        abroad = _table(rows[False], "from → to", "in other cohorts")
        parts.append(element("details", element("summary", "Numbers: the same threshold in other cohorts"), abroad))
    return Markup("").join([*parts, _curves(run, held)])


def _table(rows: Sequence[Sequence[object]], first: str, where: str) -> Markup:
    heads = [first or "at home", "threshold", *_HEADS.values()]
    return stacked(heads, rows, f"operating point and calibration {where}")


def _cells(run: Loaded, held: xr.Dataset) -> Iterator[Where]:
    """Yield what there is: by where it is tested, then by label, then by where the probe comes from."""
    named = {name: held[name].values.astype(str).tolist() for name in ("encoder", "label", "source", "target")}
    order = product(
        in_order(named["target"], run.cohorts),
        in_order(named["label"], run.labels),
        in_order(named["source"], run.cohorts),
        in_order(named["encoder"], run.models),
    )
    for target, label, source, encoder in order:
        where = {"encoder": encoder, "source": source, "target": target, "label": label}
        if math.isfinite(float(at(held["n_test"], **where))):
            yield where


def _row(run: Loaded, held: xr.Dataset, where: Where) -> list[object]:
    place = where["target"] if where["source"] == where["target"] else f"{where['source']} → {where['target']}"
    parts = [place, where["label"]] if len(run.models) == 1 else [where["encoder"], place, where["label"]]
    found: list[object] = [with_interval(*estimate(held, name, **where)) for name in _HEADS]
    return [", ".join(parts), number(float(at(held["threshold"], **where))), *found]


def _curves(run: Loaded, held: xr.Dataset) -> Markup:
    if "observed" not in held:
        return NOTHING
    parts: list[Markup] = []
    rows: list[list[object]] = []
    sources = held["source"].values.astype(str).tolist()
    for cohort, label, encoder in product(run.cohorts, run.labels, run.models):
        others = [one for one in sources if one != cohort]
        # All others together, where there are several.
        abroad = OTHERS if OTHERS in others else others[0] if len(others) == 1 else ""
        asked = {_HOME: cohort, _ABROAD: abroad}
        at_cell = {"encoder": encoder, "target": cohort, "label": label}
        drawn = {name: _curve(held, {**at_cell, "source": one}) for name, one in asked.items() if one}
        drawn = {name: one for name, one in drawn.items() if one.size}
        if not drawn:
            continue
        named = f"{cohort}, {label}" if len(run.models) == 1 else f"{encoder}: {cohort}, {label}"
        parts.append(figure(named, _drawing(drawn, f"observed share of {named} by predicted probability")))
        rows += [[f"{named}, {name}", *_some(one)] for name, one in drawn.items()]
    if not parts:
        return NOTHING
    heads = ["", *(f"point {position + 1}" for position in range(5))]
    numbers = behind(heads, rows, "predicted probability: observed share")
    return Markup("").join([legend(_STYLES), figures(parts, RELIABILITY), numbers])


def _curve(held: xr.Dataset, where: Where) -> npt.NDArray[np.float64]:
    """Return predicted, observed, low and high of each point, shape (points, 4); empty where there is no curve."""
    names = ("predicted", "observed", "observed_low", "observed_high")
    if any(where[name] not in held[name].values.astype(str) for name in where):
        return np.empty((0, 4))
    found = np.stack([held[name].sel(dict(where)).values.astype(np.float64) for name in names], axis=1)
    return np.asarray(found[np.isfinite(found).all(axis=1)])


def _some(curve: npt.NDArray[np.float64]) -> list[object]:
    places = np.linspace(0, len(curve) - 1, 5).round().astype(int)
    return [f"{text_of(curve[one, 0])}: {plain(*curve[one, 1:].tolist())}" for one in places]


def _drawing(curves: Mapping[str, npt.NDArray[np.float64]], describe: str) -> Markup:
    top = max(charts.span([0.0, 0.2, *(float(one.max()) for one in curves.values())])[1], 0.2)
    top = min(top, 1.0)
    right, bottom = _BOX.width - _BOX.right, _BOX.height - _BOX.bottom
    across, up = charts.scale(0.0, top, _BOX.left, right), charts.scale(0.0, top, bottom, _BOX.top)
    fixed = charts.fixed
    parts: list[Markup] = []
    for tick in charts.ticks(0.0, top):
        parts.append(element("path", d=f"M{fixed(_BOX.left)} {fixed(up(tick))}H{fixed(right)}", class_="grid"))
        words = charts.tick_text(tick)
        parts.append(element("text", words, x=fixed(_BOX.left - 6), y=fixed(up(tick) + 3.5), class_="tick end"))
        parts.append(element("text", words, x=fixed(across(tick)), y=fixed(bottom + 15), class_="tick middle"))
    diagonal = f"M{fixed(across(0.0))} {fixed(up(0.0))}L{fixed(across(top))} {fixed(up(top))}"
    parts.append(element("path", d=diagonal, class_="chance", data_tip="as predicted"))
    for name, curve in curves.items():
        xs = [across(one) for one in curve[:, 0].tolist()]
        lows, highs = ([up(one) for one in curve[:, column].tolist()] for column in (2, 3))
        around = [*zip(xs, highs, strict=True), *zip(xs[::-1], lows[::-1], strict=True)]
        parts.append(element("path", d=f"{_path(around)}Z", class_=f"band {_STYLES[name]}"))
        line = list(zip(xs, map(up, curve[:, 1].tolist()), strict=True))
        parts.append(element("path", d=_path(line), class_=f"line {_STYLES[name]}", data_tip=name))
    return charts.frame(_BOX, [*parts, *charts.axis_labels(_BOX, _AXES)], describe)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{charts.fixed(x)} {charts.fixed(y)}" for x, y in points)
