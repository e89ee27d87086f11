"""A run in one paragraph, as a GitHub job summary, and as a badge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_ecgfm.report.escape import markdown
from pytest_ecgfm.results.basis import basis_lines, nowhere_in_words
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.rows import Row
from pytest_ecgfm.results.verdict import Verdict

_SHOWN = 10
_COLUMNS = ("pass", "blocking_fail", "inconclusive", "insufficient", "error")

_COLOURS = {"pass": "brightgreen", "fail": "red", "incomplete": "yellow"}
_PART = "yellowgreen"
"""Of a pass of a part: it must not look like a whole one from afar."""

_WORDS = {
    "pass": "passes: every blocking check that could be decided passed",
    "fail": "fails",
    "incomplete": "cannot be judged: the run is incomplete, or measured too little",
}


def in_words(verdict: Verdict, rows: Sequence[Row]) -> str:
    """Return one paragraph that needs no knowledge of the suite."""
    parts = [f"{verdict.headline[0].upper()}{verdict.headline[1:]}."] if verdict.identity.profile else []
    for one in verdict.encoders:
        counts = one.counts
        parts.append(f"{one.encoder} {_WORDS[one.outcome]}.")
        if nowhere := nowhere_in_words(one.basis.gated_nowhere):
            parts.append(f"{nowhere}.")
        parts.append(
            f"Of {counts['planned']} checks {counts['pass']} passed, {counts['fail']} failed, "
            f"{counts['inconclusive']} could not be decided, {counts['insufficient']} had too few records and "
            f"{counts['error']} could not be measured; {counts['blocking_fail']} of these checks block."
        )
        if one.reasons:
            more = f", and {len(one.reasons) - 1} more" if len(one.reasons) > 1 else ""
            parts.append(f"First reason: {one.reasons[0]}{more}.")
    cohorts = cohort_order(row.cohort for row in rows if row.cohort)
    if cohorts:
        parts.append(f"Evaluated on {', '.join(cohorts)}.")
    return " ".join(parts)


def badge(verdict: Verdict) -> dict[str, Any]:
    """Return the content of a badge for the endpoint of shields.io: outcome, profile, and what narrowed the run."""
    colour = badge_colour(verdict.outcome, bool(verdict.identity.narrowed))
    return {"schemaVersion": 1, "label": "ecgfm", "message": verdict.headline, "color": colour}


def badge_colour(outcome: str, narrowed: bool) -> str:
    """Return the colour of a badge, by its name at shields.io."""
    return _PART if outcome == "pass" and narrowed else _COLOURS.get(outcome, "lightgrey")


def job_summary(verdict: Verdict, rows: Sequence[Row]) -> str:
    """Return Markdown for a GitHub Actions job summary; what comes from outside cannot become markup."""
    lines = [f"## ECG foundation model conformance: {markdown(verdict.headline)}", ""]
    lines += [markdown(in_words(verdict, rows)), ""]
    lines += [
        "| encoder | verdict | pass | blocking | inconclusive | insufficient | error |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in verdict.encoders:
        numbers = " | ".join(str(one.counts[k]) for k in _COLUMNS)
        lines.append(f"| {markdown(one.encoder)} | {one.outcome} | {numbers} |")
    for one in verdict.encoders:
        if told := basis_lines(one.basis):
            lines += ["", f"Blocking checks of {markdown(one.encoder)} decided in:", ""]
            lines += [f"- {markdown(line)}" for line in told]
    if asked := verdict.identity.lines():
        lines += ["", "Asked:", "", *(f"- {markdown(name)}: {markdown(words)}" for name, words in asked)]
    if verdict.notes:
        lines += ["", *(f"- note: {markdown(note)}" for note in verdict.notes)]
    reasons = list(verdict.reasons)
    if reasons:
        lines += ["", *(f"- {markdown(reason)}" for reason in reasons[:_SHOWN])]
        if len(reasons) > _SHOWN:
            lines.append(f"- and {len(reasons) - _SHOWN} more")
    return "\n".join(lines) + "\n"


def append_job_summary(place: Path, verdict: Verdict, rows: Sequence[Row]) -> list[str]:
    """Add a run to the file that a GitHub job shows; return what went wrong."""
    try:
        with place.open("a", encoding="utf-8") as handle:
            handle.write(job_summary(verdict, rows))
    except OSError as error:
        return [f"the job summary could not be written to {place}: {error.strerror}"]
    return []
