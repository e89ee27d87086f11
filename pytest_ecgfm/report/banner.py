"""The verdict on top of the page, as answers: released or not, why, for whom not, and what that rests on."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from pytest_ecgfm.cohorts.synthetic.specs import SPECS
from pytest_ecgfm.report.addresses import anchor
from pytest_ecgfm.report.layout import NOTHING
from pytest_ecgfm.report.loaded import Loaded, in_order
from pytest_ecgfm.report.series import perturbation_title
from pytest_ecgfm.report.subgroups import Found, found_groups
from pytest_ecgfm.report.words import bound, chip, element, listed, plain
from pytest_ecgfm.results.basis import Basis, basis_lines, nowhere_in_words
from pytest_ecgfm.results.checks import CHECKS
from pytest_ecgfm.results.cohort_order import cohort_order

_REASONS, _LINES, _NAMES = 3, 4, 3
"""How many reasons, lines and names there is room for; the sections below have all of them."""

_NONE = "no blocking check of downstream decided in any cohort"


def heading(run: Loaded) -> Markup:
    """Return the page's first line: it alone says the outcome, and whether a part was left out."""
    outcome = str(run.verdict["outcome"])
    word = chip(outcome, run.identity.word(outcome))
    # The name of an option is not broken at its hyphens.
    words = (element("span", word, class_="whole") for word in run.identity.asked().split())
    asked = element("span", Markup(" ").join(words), class_="asked")
    return Markup("").join([f"{listed(run.models)}: ", word, ": ", asked])


def banner(run: Loaded) -> Markup:
    """Build the banner."""
    outcome = str(run.verdict["outcome"])
    told: list[object] = [element("strong", released(run), class_="word")]
    answers = [
        ("Why", _why(run)),
        ("For whom not", _short(for_whom_not(run), "subgroups", "all groups")),
        ("It rests on", _short(rests_on(run), "basis", "the whole table")),
    ]
    pairs = [(element("dt", name), element("dd", answer)) for name, answer in answers if answer]
    told.append(element("dl", *(one for pair in pairs for one in pair), class_="answers"))
    if notes := [str(note) for note in run.verdict.get("notes", [])]:
        told.append(_folded(f"Notes ({len(notes)})", element("ul", *(element("li", note) for note in notes))))
    if asked := run.identity.lines():
        lines = [(element("dt", name), element("dd", words)) for name, words in asked]
        told.append(
            _folded("What was asked for", element("dl", *(one for pair in lines for one in pair), class_="asked"))
        )
    kind = "incomplete" if outcome == "pass" and (run.identity.narrowed or _only_synthetic(run)) else outcome
    return element("div", *told, class_=f"banner {kind}")


def _folded(title: str, inside: Markup) -> Markup:
    return element("details", element("summary", title), inside)


def released(run: Loaded) -> str:
    """Say in one sentence whether this run releases the model."""
    outcome = str(run.verdict["outcome"])
    if outcome == "incomplete":
        if run.verdict.get("complete", False):
            return "Not released: too little could be measured to decide."
        return "Not released: the run is incomplete."
    if outcome == "fail":
        count = sum(int(run.verdict["encoders"][name].get("counts", {}).get("blocking_fail", 0)) for name in run.models)
        return f"Not released: {count} blocking check{'s fail' if count != 1 else ' fails'}."
    if run.identity.narrowed:
        return "Not released by this run: it left out a part of the profile. The part that was evaluated passes."
    if _only_synthetic(run):
        return "Not released by this run: it passes on synthetic cohorts, and a release needs real recordings."
    return "Released: no blocking check fails."


def _only_synthetic(run: Loaded) -> bool:
    return bool(run.cohorts) and all(name in SPECS for name in run.cohorts)


def _why(run: Loaded) -> Markup:
    """Give the reasons: one line for each kind of check that blocks; then the counts of all checks."""
    reasons = list(plain_reasons(run))
    parts = [element("li", _counts(run, encoder)) for encoder in run.models]
    parts += [element("li", one) for one in reasons[:_REASONS]]
    shown: list[Markup] = [element("ul", *parts)]
    if left := len(reasons[_REASONS:]):
        more = element("ul", *(element("li", one) for one in reasons[_REASONS:]))
        shown.append(_folded(f"and {left} more reason{'s' if left > 1 else ''}", more))
    return Markup("").join(shown)


def _counts(run: Loaded, encoder: str) -> str:
    counts = run.verdict["encoders"][encoder].get("counts", {})
    words = {
        "pass": "passed",
        "fail": "failed",
        "inconclusive": "could not be decided",
        "insufficient": "had too few records, or did not apply",
        "error": "could not be measured",
    }
    told = [f"{counts[name]} {word}" for name, word in words.items() if counts.get(name)]
    if missing := len(run.verdict["encoders"][encoder].get("not_evaluated") or ()):
        told.append(f"{missing} were not evaluated")
    named = f"{encoder}: of" if len(run.models) > 1 else "Of"
    advisory = counts.get("fail", 0) - counts.get("blocking_fail", 0)
    also = f" ({advisory} of the failed {'is' if advisory == 1 else 'are'} advisory)" if advisory > 0 else ""
    return f"{named} {counts.get('planned', sum(counts.values()))} checks {listed(told) or 'none was evaluated'}{also}."


def for_whom_not(run: Loaded) -> list[str]:
    """Say where blocking checks fail, which groups are below the rest, and of what nothing is known."""
    fails, out = _where_it_fails(run), list[str]()
    mine = [one for one in found_groups(run) if one.encoder in run.models]
    if below := [one for one in mine if one.below]:
        names = [_group_words(one, run) for one in sorted(below, key=lambda one: -one.gap.value)]
        kinds = run.checks.iloc[blocking(run)]["kind"]
        counts = any(str(one).startswith("subgroups.") for one in kinds)
        tail = "" if counts else " This does not count in the verdict."
        out.append(f"Shown to have a lower AUROC than all other patients: {_some(names)}.{tail}")
    elif judged := sum(one.judged for one in mine):
        out.append(f"None of the {judged} groups that could be judged is shown to be below all other patients.")
    elif not mine:
        out.append("Groups of patients were not compared in this run.")
    if small := sum(not one.judged for one in mine):
        unknown = f"Not known: {small} of {len(mine)} groups of patients are too small to judge."
        # What is not known comes first where it is most of it.
        out.insert(0 if 2 * small > len(mine) else len(out), unknown)
    if undecided := _undecided(run):
        out.append(
            f"Not known: how well {listed(undecided)} {'is' if len(undecided) == 1 else 'are'} recognised: {_NONE}."
        )
    nowhere: dict[str, int] = {}
    for encoder in run.models:
        told = run.verdict["encoders"][encoder].get("basis") or {}
        nowhere |= told.get("gated_nowhere", {})
    if words := nowhere_in_words(nowhere):
        out.append(f"Not known: {words}.")
    return fails + out


def _undecided(run: Loaded) -> list[str]:
    """Name the labels for which no blocking check of the downstream suite decided in any cohort, though others did."""
    out: list[str] = []
    for encoder in run.models:
        told = run.verdict["encoders"][encoder].get("basis") or {}
        named = f" ({encoder})" if len(run.models) > 1 else ""
        out += [
            f"{label}{named}"
            for label, by in told.get("labels", {}).items()
            if "downstream" in run.identity.suites
            and not by.get("downstream")
            and label not in told.get("gated_nowhere", {})
        ]
    return out


def _where_it_fails(run: Loaded) -> list[str]:
    rows = run.checks.iloc[blocking(run)]
    where: dict[str, list[str]] = {}
    for cohort, label in zip(rows["cohort"], rows["label"], strict=True):
        where.setdefault(str(cohort), []).append(str(label))
    told = []
    for cohort in cohort_order(where):
        labels = in_order({name for name in where[cohort] if name}, run.targets)
        told.append(f"{cohort or 'all cohorts together'}{f' ({listed(labels)})' if labels else ''}")
    return [f"Blocking checks fail in {_some(told)}."] if told else []


def _group_words(one: Found, run: Loaded) -> str:
    named = f"{one.encoder}, " if len(run.models) > 1 else ""
    return f"{one.group} ({named}{one.label}, {one.cohort})"


def _some(names: Sequence[str]) -> str:
    shown = list(names[:_NAMES])
    return listed([*shown, f"{len(names) - _NAMES} more"] if len(names) > _NAMES else shown)


def rests_on(run: Loaded) -> list[str]:
    """Say in which cohorts blocking checks decided, and whether these were seen in pretraining."""
    out = []
    for encoder in run.models:
        told = run.verdict["encoders"][encoder].get("basis") or {}
        labels = {
            label: {suite: tuple(cohorts) for suite, cohorts in by.items()}
            for label, by in told.get("labels", {}).items()
        }
        suites = {suite: tuple(cohorts) for suite, cohorts in told.get("suites", {}).items()}
        named = f"{encoder}: " if len(run.models) > 1 else ""
        out += [f"{named}{line}." for line in basis_lines(Basis(labels, suites, told.get("gated_nowhere", {})))]
        if seen := [name for name in run.cohorts if run.exposure(encoder, name) == "seen"]:
            out.append(f"{named}seen in pretraining, so no proof of generalization: {listed(seen)}.")
    return out


def _short(lines: Iterable[str], section: str, whole: str) -> Markup:
    told = list(lines)
    if not told:
        return NOTHING
    shown: list[Markup] = [element("li", one) for one in told[:_LINES]]
    if len(told) > _LINES:
        shown.append(element("li", element("a", f"{len(told) - _LINES} more: {whole}", href=f"#{section}")))
    return element("ul", *shown)


def blocking(run: Loaded) -> list[int]:
    """Return the rows of the checks that block, in the order of the verdict's reasons."""
    by_start = _by_start(run)
    found = (by_start.get(_start(str(reason))) for reason in run.verdict.get("reasons", []))
    return [position for position in found if position is not None]


def _by_start(run: Loaded) -> dict[str, int]:
    """Say which row a reason is about: `verdict.json` has "encoder: check = value ..." for each that blocks."""
    frame = run.checks
    pairs = zip(frame["encoder"], frame["check"], strict=True)
    return {f"{encoder}: {check} = ": position for position, (encoder, check) in enumerate(pairs)}


def _start(reason: str) -> str:
    return f"{reason.partition(' = ')[0]} = "


def plain_reasons(run: Loaded) -> list[Markup]:
    """Say why the verdict is what it is: one line for each kind of check that blocks, with its worst cell."""
    known = _by_start(run)
    other = [str(reason) for reason in run.verdict.get("reasons", []) if _start(str(reason)) not in known]
    grouped = run.checks.iloc[blocking(run)].groupby(["encoder", "kind"], sort=False)
    lines = [_line(run, str(encoder), str(kind), part) for (encoder, kind), part in grouped]
    return [element("span", reason) for reason in other] + lines


def _line(run: Loaded, encoder: str, kind: str, part: pd.DataFrame) -> Markup:
    sign = np.where(part["sense"] == "maximum", 1.0, -1.0)
    short = sign * (part["value"].to_numpy(dtype=np.float64) - part["threshold"].to_numpy(dtype=np.float64))
    worst = part.iloc[int(np.argmax(np.nan_to_num(short, nan=-np.inf)))].to_dict()
    whole = len(run.checks[(run.checks["encoder"] == encoder) & (run.checks["kind"] == kind)])
    many = f"{len(part)} of {whole} checks {'block' if len(part) > 1 else 'blocks'}"
    first = ", the worst" if len(part) > 1 else ","
    link = element("a", _found(worst), href=f"#{anchor(encoder, str(worst['check']))}")
    named = f"{encoder}: " if len(run.models) > 1 else ""
    title = element("strong", f"{named}{title_of(kind)}")
    # Where there is little room, the table of the worst cells says it.
    tail = element("span", first, where_in(worst), ", ", link, class_="tail")
    return Markup("").join([title, f": {many}", tail, "."])


def title_of(kind: str) -> str:
    """Say in words what a kind of check measures."""
    return CHECKS[kind].title if kind in CHECKS else kind


def where_in(row: Mapping[Any, Any]) -> str:
    """Say in words which cell a check is about."""
    parts = []
    if row["source"]:
        parts.append(f"from {row['source']} to {row['cohort']}")
    elif row["cohort"]:
        parts.append(f"in {row['cohort']}")
    if row["label"]:
        parts.append(f"for {row['label']}")
    if row["perturbation"]:
        name, _, severity = str(row["perturbation"]).partition("@")
        parts.append(f"under {perturbation_title(name)}")
        # In the name of a check, a severity stands close to its unit.
        apart = re.sub(r"([0-9])([A-Za-z])", r"\1 \2", severity)
        parts += [f"of {apart}"] if severity else []
    if math.isfinite(row["fraction"]):
        parts.append(f"at {100 * row['fraction']:g} % of the training patients")
    if row["reference"]:
        parts.append(f"against {row['reference']}")
    return f" {' '.join(parts)}" if parts else ""


def _found(row: Mapping[Any, Any]) -> str:
    if math.isnan(row["value"]):
        return str(row["reason"])
    found = plain(*(float(row[name]) for name in ("value", "low", "high", "threshold")))
    return f"{found}; it has to be {bound(str(row['sense']), float(row['threshold']))}"
