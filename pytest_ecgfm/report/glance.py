"""Below the verdict: the worst cells, the groups of patients, and what changed since the baseline, in a few lines."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from pytest_ecgfm.report.addresses import anchor
from pytest_ecgfm.report.banner import blocking, title_of, where_in
from pytest_ecgfm.report.changes import baseline_checks
from pytest_ecgfm.report.layout import NOTHING, stacked
from pytest_ecgfm.report.loaded import Loaded
from pytest_ecgfm.report.subgroups import Found, found_groups
from pytest_ecgfm.report.words import OUTCOMES, bound, chip, element, number, text_of, with_interval
from pytest_ecgfm.results.rounded import rounded

_WORST = 5


def glance(run: Loaded) -> Markup:
    """Build what stands between the verdict and the list of sections."""
    cells = element("div", element("h2", "Worst cells"), worst_table(run), id="worst")
    beside = element("div", _groups(run), _since(run), class_="beside")
    return element("div", cells, beside, class_="glance")


def margins(frame: pd.DataFrame) -> pd.Series:
    """Return how far each value is on the right side of its threshold; negative: on the wrong one."""
    sign = np.where(frame["sense"] == "maximum", -1.0, 1.0)
    return (frame["value"] - frame["threshold"]) * sign


def worst(run: Loaded, most: int = _WORST) -> pd.DataFrame:
    """Return the rows that need attention most.

    Those that block come first, then others that fail, then what could not be measured or decided, then what passes.
    Among equals, the worst one of each kind of check comes before the second of any; worse is what is further on the
    wrong side, in units of its interval. What passes without a sampling error is no close call, and is left out.
    """
    frame = run.checks.reset_index(drop=True)
    frame = frame[frame["encoder"].isin(run.models) & (frame["outcome"] != "insufficient")]
    reach = ((frame["high"] - frame["low"]) / 2).to_numpy(dtype=np.float64)
    margin = margins(frame).to_numpy(dtype=np.float64)
    exact = ~(reach > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        units = np.where(exact, np.where(margin < 0, -np.inf, np.inf), margin / reach)
    blocks = frame.index.isin(blocking(run))
    frame = frame.assign(
        rank=np.where(blocks, -1, [OUTCOMES.index(one) for one in frame["outcome"]]), margin=margin, units=units
    )
    frame = frame[~((frame["outcome"] == "pass") & exact)]
    frame = frame.sort_values(["rank", "units", "check"], kind="stable")
    turn = frame.groupby(["rank", "kind"]).cumcount()
    return frame.assign(turn=turn).sort_values(["rank", "turn", "units", "check"], kind="stable").head(most)


def worst_table(run: Loaded) -> Markup:
    """Tabulate them: value, interval, threshold and margin."""
    rows = [_worst_row(row, run) for row in worst(run).to_dict("records")]
    if not rows:
        return element("p", "No check was judged.")
    note = "Margin: how far the value is on the right side of its threshold; negative is wrong."
    told = element("p", note, class_="note")
    return Markup("").join([told, stacked(["", "value", "threshold", "margin", "outcome"], rows, "worst cells")])


def _worst_row(row: Mapping[Any, Any], run: Loaded) -> list[object]:
    value, low, high, threshold = (float(row[name]) for name in ("value", "low", "high", "threshold"))
    named = f"{row['encoder']}: " if len(run.models) > 1 else ""
    address = f"#{anchor(str(row['encoder']), str(row['check']))}"
    link = element("a", f"{named}{title_of(str(row['kind']))}", href=address)
    margin = float(row["margin"])
    advisory = " (advisory)" if row["outcome"] == "fail" and row["tier"] == "advisory" else ""
    return [
        Markup("").join([link, where_in(row)]),
        with_interval(value, low, high, threshold),
        number(threshold, bound(str(row["sense"]), threshold)) if math.isfinite(threshold) else "",
        "" if math.isnan(margin) else rounded(margin, threshold, sign="+").replace("-", "−"),
        chip(str(row["outcome"]), f"{row['outcome']}{advisory}"),
    ]


def _groups(run: Loaded) -> Markup:
    """Give the group with the lowest AUROC, and the one furthest below all other patients."""
    found = [one for one in found_groups(run) if one.encoder in run.models]
    judged = [one for one in found if math.isfinite(one.auroc.value)]
    told: list[Markup] = []
    if judged:
        lowest = min(judged, key=lambda one: one.auroc.value)
        told.append(_group("Lowest AUROC", lowest, with_interval(*lowest.auroc), run))
    if compared := [one for one in judged if math.isfinite(one.gap.value)]:
        widest = max(compared, key=lambda one: one.gap.value)
        told.append(_group("Widest gap to all other patients", widest, with_interval(*widest.gap), run))
    if judged:
        below = sum(one.below for one in judged)
        small = f"; {len(found) - len(judged)} more are too small to judge" if len(found) > len(judged) else ""
        words = f"{below} of {len(judged)} groups {'is' if below == 1 else 'are'} shown to be below the rest{small}."
        told.append(element("li", words))
    elif found:
        told.append(element("li", f"All {len(found)} groups are too small to judge."))
    else:
        told.append(element("li", "They were not compared in this run."))
    return element("div", element("h2", "Groups of patients"), element("ul", *told), id="groups-at-a-glance")


def _group(what: str, one: Found, value: Markup, run: Loaded) -> Markup:
    named = f"{one.encoder}, " if len(run.models) > 1 else ""
    told = f" {one.group}, {named}{one.label} in {one.cohort} ({one.positives:g} of {one.records:g} positive)."
    mark = element("strong", " ↓ below the rest") if one.below else ""
    return element("li", f"{what}: ", value, told, mark)


def _since(run: Loaded) -> Markup:
    """Say how many cells lost more than the margin since each earlier run, and where most was lost."""
    judged = baseline_checks(run)
    told = [_one_baseline(name, part, run) for name, part in judged.items()]
    for before in run.baselines:
        if (name := before.path.resolve().name) not in judged:
            told.append(element("li", f"{name}: verdict {before.verdict['outcome']}, now {run.verdict['outcome']}."))
    if not told:
        told.append(element("li", "No earlier run was compared (--ecgfm-baseline)."))
    more = element("p", element("a", "What changed", href="#changes")) if judged or run.baselines else NOTHING
    return element("div", element("h2", "Since the baseline"), element("ul", *told), more, id="since")


def _one_baseline(name: str, part: pd.DataFrame, run: Loaded) -> Markup:
    known = part[np.isfinite(part["value"])]
    if known.empty:
        return element("li", f"{name}: no cell could be compared.")
    counts = known["outcome"].value_counts()
    told = [f"{counts[one]} {word}" for one, word in _CHANGED.items() if counts.get(one)]
    row = known.loc[known["value"].idxmin()].to_dict()
    named = f"{row['encoder']}, " if len(run.models) > 1 else ""
    value = with_interval(float(row["value"]), float(row["low"]), float(row["high"]), float(row["threshold"]))
    tail = f" ({named}{row['label']} in {row['cohort']}; at least {text_of(float(row['threshold']))} is required)."
    return element("li", f"{name}: of {len(part)} cells {', '.join(told)}. Largest loss of AUROC: ", value, tail)


_CHANGED = {"fail": "lost more than the margin", "inconclusive": "are undecided", "pass": "kept within the margin"}
