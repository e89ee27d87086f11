"""Our columns and summary in pytest-html's report. Everything from outside is escaped."""

from collections.abc import Sequence
from html import escape
from math import isnan
from typing import Any

from pytest_ecgfm.rows import Row
from pytest_ecgfm.verdict import Verdict

COLUMNS = ("Check", "Value", "95 % interval", "Threshold", "Tier", "Outcome")


class HtmlColumns:
    """pytest-html's hooks; registered only with the plugin that offers them."""

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self.files: dict[str, str] = {}

    def pytest_html_report_title(self, report: Any) -> None:
        """Name the page."""
        report.title = "ECG foundation model conformance"

    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        """Add our columns after the test's name."""
        cells[2:2] = [f'<th class="sortable" data-column-type="ecgfm">{escape(name)}</th>' for name in COLUMNS]

    def pytest_html_results_table_row(self, report: Any, cells: list[str]) -> None:
        """Fill our columns; tests that are not ours have empty ones."""
        row: Row | None = getattr(report, "ecgfm_row", None)
        values = _values(row) if row is not None else [""] * len(COLUMNS)
        if row is not None and report.passed and row.outcome != "pass":
            # To pytest such a test passed; on the page it must not look like one.
            word = "advisory fail" if row.outcome == "fail" else row.outcome
            cells[0] = f'<td class="col-result">{escape(word.capitalize())}</td>'
        cells[2:2] = [f"<td>{escape(value)}</td>" for value in values]

    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        """Put the verdict on top."""
        if self.verdict is None:
            return
        prefix.append(f"<h2>Verdict: {escape(self.verdict.outcome)}</h2>")
        for one in self.verdict.encoders:
            counts = ", ".join(f"{number} {word.replace('_', ' ')}" for word, number in one.counts.items())
            prefix.append(f"<p><strong>{escape(one.encoder)}</strong>: {escape(one.outcome)} ({escape(counts)})</p>")
        reasons = self.verdict.reasons[:20]
        if reasons:
            prefix.append("<ul>" + "".join(f"<li>{escape(reason)}</li>" for reason in reasons) + "</ul>")


def _values(row: Row) -> Sequence[str]:
    return (
        row.check,
        _number(row.value),
        "" if isnan(row.low) or row.low == row.high else f"{row.low:.3f} to {row.high:.3f}",
        f"{row.sense} {row.threshold:g}",
        row.tier,
        row.outcome,
    )


def _number(value: float) -> str:
    return "" if isnan(value) else f"{value:.6g}" if abs(value) < 1e-3 else f"{value:.3f}"
