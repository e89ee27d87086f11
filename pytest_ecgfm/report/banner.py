"""The verdict on top of the page: one word, one paragraph, and the reasons in plain words."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from pytest_ecgfm.report.addresses import anchor
from pytest_ecgfm.report.loaded import Loaded
from pytest_ecgfm.report.words import bound, chip, element, plain
from pytest_ecgfm.results.checks import CHECKS

_SHOWN = 12


def banner(run: Loaded) -> Markup:
    """Build the banner."""
    outcome = str(run.verdict["outcome"])
    parts: list[object] = [element("p", element("strong", chip(outcome, run.headline), class_="word"))]
    parts.append(element("p", str(run.verdict.get("summary", ""))))
    if asked := run.identity.lines():
        pairs = [(element("dt", name), element("dd", words)) for name, words in asked]
        told = element("dl", *(one for pair in pairs for one in pair), class_="asked")
        parts.append(element("details", element("summary", "What was asked for"), told))
    parts += [element("p", f"Note: {note}") for note in run.verdict.get("notes", [])]
    reasons = list(plain_reasons(run))
    if reasons:
        parts.append(element("ul", *(element("li", one) for one in reasons[:_SHOWN])))
    if len(reasons) > _SHOWN:
        parts.append(element("p", f"and {len(reasons) - _SHOWN} more, in the table of checks", class_="soft"))
    return element("div", *parts, class_=f"banner {outcome}")


def plain_reasons(run: Loaded) -> list[Markup]:
    """Say why the verdict is what it is: one line for each kind of check that blocks, with its worst cell."""
    told = [str(one) for one in run.verdict.get("reasons", [])]
    frame = run.checks
    # `verdict.json` says of each check that blocks: "encoder: check = value ...".
    starts = [f"{encoder}: {check} = " for encoder, check in zip(frame["encoder"], frame["check"], strict=True)]
    by_start = {start: position for position, start in enumerate(starts)}
    rows: list[int] = []
    other: list[Markup] = []
    for reason in told:
        position = by_start.get(f"{reason.partition(' = ')[0]} = ")
        if position is None:
            other.append(element("span", reason))
        else:
            rows.append(position)
    blocking = frame.iloc[rows]
    grouped = blocking.groupby(["encoder", "kind"], sort=False)
    return other + [_line(run, str(encoder), str(kind), part) for (encoder, kind), part in grouped]


def _line(run: Loaded, encoder: str, kind: str, part: pd.DataFrame) -> Markup:
    sign = np.where(part["sense"] == "maximum", 1.0, -1.0)
    short = sign * (part["value"].to_numpy(dtype=np.float64) - part["threshold"].to_numpy(dtype=np.float64))
    worst = part.iloc[int(np.argmax(np.nan_to_num(short, nan=-np.inf)))].to_dict()
    title = CHECKS[kind].title if kind in CHECKS else kind
    whole = len(run.checks[(run.checks["encoder"] == encoder) & (run.checks["kind"] == kind)])
    many = f"{len(part)} of {whole} checks block" + (", the worst" if len(part) > 1 else "")
    link = element("a", _found(worst), href=f"#{anchor(encoder, str(worst['check']))}")
    named = f"{encoder}: " if len(run.models) > 1 else ""
    return Markup("").join([element("strong", f"{named}{title}"), f": {many}", _where(worst), ", ", link, "."])


def _where(row: Mapping[Any, Any]) -> str:
    """Say in words which cell a check is about."""
    parts = []
    if row["source"]:
        parts.append(f"from {row['source']} to {row['cohort']}")
    elif row["cohort"]:
        parts.append(f"in {row['cohort']}")
    if row["label"]:
        parts.append(f"for {row['label']}")
    if row["perturbation"]:
        parts.append(f"under {str(row['perturbation']).replace('@', ' of ').replace('_', ' ')}")
    if math.isfinite(row["fraction"]):
        parts.append(f"at {100 * row['fraction']:g} % of the training patients")
    if row["reference"]:
        parts.append(f"against {row['reference']}")
    return f" {' '.join(parts)}" if parts else ""


def _found(row: Mapping[Any, Any]) -> str:
    if math.isnan(row["value"]):
        return str(row["reason"])
    found = plain(*(float(row[name]) for name in ("value", "low", "high", "threshold")))
    return f"{found}, where {bound(str(row['sense']), float(row['threshold']))} is demanded"
