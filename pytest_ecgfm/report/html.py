"""Our columns and summary in pytest-html's report. Everything from outside is escaped."""

import math
import os
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from pytest_ecgfm.report.addresses import anchor
from pytest_ecgfm.report.charts import fixed, scale
from pytest_ecgfm.report.words import element
from pytest_ecgfm.results.rounded import chosen, rounded
from pytest_ecgfm.results.rows import Row
from pytest_ecgfm.results.verdict import Verdict

COLUMNS = ("Check", "Value", "95 % interval", "Threshold", "Tier", "Outcome")

_NAMES = ("check", "value", "interval", "threshold", "tier", "outcome")
"""By these pytest-html finds what it sorts by."""

_COLOURS = {
    "pass": "#1a7f37",
    "fail": "#c0232f",
    "inconclusive": "#9a6700",
    "insufficient": "#57606a",
    "error": "#8250df",
}

_BEFORE, _AFTER = '<td class="col-testId">', "</td>"


class HtmlColumns:
    """pytest-html's hooks; registered only with the plugin that offers them."""

    def __init__(self, page: str = "") -> None:
        self.page = page
        """Address of `generalization.html` as seen from the report; checks link to their rows there."""
        self.verdict: Verdict | None = None

    def pytest_html_report_title(self, report: Any) -> None:
        """Name the page."""
        report.title = "ECG foundation model conformance"

    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        """Add our columns after the test's name."""
        cells[2:2] = [
            f'<th class="sortable" data-column-type="{name}">{escape(title)}</th>'
            for name, title in zip(_NAMES, COLUMNS, strict=True)
        ]

    def pytest_html_results_table_row(self, report: Any, cells: list[str]) -> None:
        """Fill our columns; tests that are not ours have empty ones."""
        row: Row | None = getattr(report, "ecgfm_row", None)
        values = _values(row, self.page) if row is not None else [""] * len(COLUMNS)
        if row is not None and report.passed and row.outcome != "pass":
            # To pytest such a test passed; on the page it must not look like one.
            word = "advisory fail" if row.outcome == "fail" else row.outcome
            cells[0] = f'<td class="col-result">{escape(word.capitalize())}</td>'
        if row is not None and cells[1].startswith(_BEFORE):
            # pytest-html writes a test's name as it is; ours holds names of cohorts and models.
            cells[1] = f"{_BEFORE}{escape(cells[1][len(_BEFORE) : -len(_AFTER)])}{_AFTER}"
        cells[2:2] = [
            str(element("td", value, class_=f"col-{name}")) for name, value in zip(_NAMES, values, strict=True)
        ]

    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        """Put the verdict on top."""
        if self.verdict is None:
            return
        prefix.append(f"<h2>Verdict: {escape(self.verdict.headline)}</h2>")
        for one in self.verdict.encoders:
            counts = ", ".join(f"{number} {word.replace('_', ' ')}" for word, number in one.counts.items())
            prefix.append(f"<p><strong>{escape(one.encoder)}</strong>: {escape(one.outcome)} ({escape(counts)})</p>")
        reasons = self.verdict.reasons[:20]
        if reasons:
            prefix.append("<ul>" + "".join(f"<li>{escape(reason)}</li>" for reason in reasons) + "</ul>")


def link_from(report: str, page: Path) -> str:
    """Return the address of a page as seen from a report's file, given as pytest-html's option is."""
    here = (Path.cwd() / Path(os.path.expandvars(report)).expanduser()).parent
    try:
        return quote(Path(os.path.relpath(page, here)).as_posix())
    except ValueError:
        return page.absolute().as_uri()  # on another drive


def _values(row: Row, page: str) -> list[object]:
    exact = math.isnan(row.low) or row.low == row.high
    ends = "" if exact else " to ".join(rounded(one, row.threshold) for one in (row.low, row.high))
    return [
        _linked(row, row.check, page),
        _number(row),
        Markup("{} {}").format(ends, _linked(row, picture(row), page)),
        f"{row.sense} {chosen(row.threshold)}",
        row.tier,
        row.outcome,
    ]


def _linked(row: Row, inside: object, page: str) -> object:
    if not page or not inside:
        return inside
    return element("a", inside, href=f"{page}#{quote(anchor(row.encoder, row.check))}")


def picture(row: Row) -> Markup:
    """Draw a check's value and interval against its threshold; nothing where there is no value."""
    if not (math.isfinite(row.value) and math.isfinite(row.threshold)):
        return Markup("")
    ends = [end for end in (row.value, row.low, row.high, row.threshold) if math.isfinite(end)]
    across = scale(min(ends), max(ends), 6, 90)
    parts = []
    if math.isfinite(row.low) and math.isfinite(row.high):
        d = f"M{fixed(across(row.low))} 8H{fixed(across(row.high))}"
        parts.append(element("path", d=d, stroke="currentColor"))
    d = f"M{fixed(across(row.threshold))} 1v14"
    parts.append(element("path", d=d, stroke="#c0232f", stroke_dasharray="2 2"))
    parts.append(element("circle", cx=fixed(across(row.value)), cy="8", r="4", fill=_COLOURS[row.outcome]))
    told = f"{rounded(row.value, row.threshold)} against {chosen(row.threshold)}: {row.outcome}"
    return element("svg", *parts, width="96", height="16", role="img", aria_label=told)


def _number(row: Row) -> object:
    value = row.value
    if math.isnan(value):
        return ""
    text = rounded(value, row.threshold)
    # pytest-html sorts a column by the text of its cells: a key of equal length comes first.
    return element("span", text, data_key=f"{min(max(value, -1e6), 1e6) + 1e6:017.6f}")
