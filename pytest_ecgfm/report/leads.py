"""Relevance of leads, on the lead layout of a printed ECG, over an example beat."""

import math
from collections.abc import Mapping
from itertools import product

import numpy as np
from markupsafe import Markup

from pytest_ecgfm.report import charts, how_to_read
from pytest_ecgfm.report.charts import Axes, Box
from pytest_ecgfm.report.layout import NOTHING, behind, figure, figures
from pytest_ecgfm.report.loaded import Loaded
from pytest_ecgfm.report.series import Example, Floats, example_beat, lead_shares
from pytest_ecgfm.report.words import Triple, element, plain, text_of, with_interval
from pytest_ecgfm.results.rounded import chosen
from pytest_ecgfm.signals.records import LEADS

LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
"""Three rows of four, as most printed ECGs have them."""

TALLEST = 0.62
"""Share of a lead's box that its tallest deflection takes."""

_WIDE, _HIGH, _HEAD = 92.0, 62.0, 15.0
_LEFT, _BELOW = 18.0, 18.0
"""User units, for the names of the axes."""


def relevance(run: Loaded) -> Markup:
    """Draw the relevance of leads; encoders side by side."""
    body: list[Markup] = []
    rows: list[list[object]] = []
    beats = {cohort: example_beat(run, cohort) for cohort in run.cohorts}
    for label in run.labels:
        parts = []
        for cohort, encoder in product(run.cohorts, run.models):
            shares = lead_shares(run, encoder, cohort, label)
            if not shares:
                continue
            named = f"{cohort}, {label}" if len(run.models) == 1 else f"{encoder}: {cohort}, {label}"
            parts.append(figure(named, lead_layout(shares, beats[cohort], f"{encoder}, {cohort}, {label}")))
            rows.append([f"{encoder}, {cohort}, {label}", *(with_interval(*shares[lead]) for lead in LEADS)])
        if parts:
            body += [element("h3", label), figures(parts, how_to_read.LEADS, again=bool(body))]
    if not body:
        return NOTHING
    shown = [f"{beat.record} ({cohort})" for cohort, beat in beats.items() if beat is not None and beat.record]
    if shown:
        body.insert(
            0, element("p", f"The beats are from one example of each cohort: {', '.join(shown)}.", class_="soft")
        )
    body.append(behind(["", *LEADS], rows, "relevance of leads"))
    return Markup("").join(body)


def lead_layout(shares: Mapping[str, Triple], beat: Example | None, of: str) -> Markup:
    """Draw one profile: the deeper a box's colour, the more of the whole relevance is the lead's."""
    most = max((one.value for one in shares.values() if math.isfinite(one.value)), default=1.0) or 1.0
    scale = beat_scale(beat, _HIGH - _HEAD) if beat is not None else 0.0
    parts: list[Markup] = []
    for row, leads in enumerate(LAYOUT):
        for column, lead in enumerate(leads):
            x, y, share = _LEFT + column * _WIDE, row * _HIGH, shares[lead]
            box = {"x": x, "y": y, "width": _WIDE, "height": _HIGH}
            finite = math.isfinite(share.value)
            if finite:
                opacity = f"{0.55 * max(share.value, 0.0) / most:.2f}"
                parts.append(element("rect", **box, class_="share", opacity=opacity))
            if beat is not None and lead in beat.signals:
                parts.append(_trace(beat.signals[lead], x, y, scale))
            text = [element("tspan", lead, class_="lead-name")]
            text += [Markup(" "), element("tspan", text_of(share.value))] if finite else []
            parts.append(element("text", *text, x=x + 5, y=y + 13, class_="name"))
            tip = f"{lead}: {plain(*share)}" if finite else f"{lead}: not read"
            parts.append(element("rect", **box, class_="lead", data_tip=tip))
    told = ", ".join(f"{lead} {text_of(one.value)}" for lead, one in shares.items() if math.isfinite(one.value))
    whole = Box(4 * _WIDE + _LEFT, 3 * _HIGH + _BELOW, _LEFT, 0, 0, _BELOW)
    parts += charts.axis_labels(whole, beat_axes(beat))
    return charts.frame(whole, parts, f"relevance of leads, {of}: {told}")


def beat_axes(beat: Example | None) -> Axes:
    """Name the axes of a beat in a box: how long a box is, and how much the tallest lead of all spans."""
    if beat is None or not beat.signals:
        return Axes("leads as printed, share of relevance 0 to 1", "no beat to show")
    samples = max(one.size for one in beat.signals.values())
    known = [one[np.isfinite(one)] for one in beat.signals.values()]
    tallest = max((float(np.ptp(one)) for one in known if one.size), default=0.0)
    long = f"{chosen(samples / beat.sampling_rate, 2)} s a box" if beat.sampling_rate > 0 else "s"
    return Axes(f"time, {long}", f"signal, mV; tallest {chosen(tallest, 2)} mV")


def beat_scale(beat: Example, high: float) -> float:
    """Return units a mV, the same for all leads, by which the tallest lead fits."""
    tallest = max((float(np.ptp(one[np.isfinite(one)])) for one in beat.signals.values() if one.size), default=0.0)
    return TALLEST * high / tallest if tallest > 0 else 0.0


def _trace(signal: Floats, x: float, y: float, scale: float) -> Markup:
    drawn = np.nan_to_num(signal - np.nanmedian(signal))
    middle = (float(drawn.max()) + float(drawn.min())) / 2
    across = np.linspace(x + 4, x + _WIDE - 4, drawn.size)
    down = y + _HEAD + (_HIGH - _HEAD) / 2 - scale * (drawn - middle)
    path = "L".join(f"{charts.fixed(a)} {charts.fixed(b)}" for a, b in zip(across, down, strict=True))
    return element("path", d=f"M{path}", class_="trace")
