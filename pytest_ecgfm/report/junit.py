"""Outcomes that JUnit does not have, in the file that pytest's own plugin writes."""

import xml.etree.ElementTree as ET
from pathlib import Path

from pytest_ecgfm.report.escape import terminal
from pytest_ecgfm.results.rows import Row


def properties_of(row: Row) -> list[tuple[str, str]]:
    """Return what JUnit and HTML show of a row: what people read, not the whole of it."""
    numbers = {name: getattr(row, name) for name in ("value", "low", "high", "threshold")}
    return [
        ("check", terminal(row.check)),
        ("outcome", row.outcome),
        ("tier", row.tier),
        *((name, f"{value:.6g}") for name, value in numbers.items()),
        ("reason", terminal(row.reason)),
    ]


def mark_outcomes(path: Path) -> int:
    """Show what was not decided, or failed without blocking, as skipped, with its outcome as the type.

    To pytest such a test passed. A reader of the file must not count it as a pass.

    Parameters
    ----------
    path : Path
        Written by ``--junitxml`` in this run: nobody else's XML is parsed here.

    Returns
    -------
    int
        How many tests were marked; 0 where there is no file.
    """
    try:
        tree = ET.parse(path)
    except (OSError, ET.ParseError):
        return 0
    marked = 0
    for suite in tree.getroot().iter("testsuite"):
        here = sum(_mark(case) for case in suite.iter("testcase"))
        suite.set("skipped", str(int(suite.get("skipped", "0")) + here))
        marked += here
    if marked:
        temporary = path.with_name(f".{path.name}.tmp")
        tree.write(temporary, encoding="utf-8", xml_declaration=True)
        temporary.replace(path)
    return marked


def _mark(case: ET.Element) -> int:
    about = {one.get("name"): one.get("value", "") for one in case.iter("property")}
    undecided = about.get("outcome") in ("inconclusive", "insufficient", "error", "fail")
    if not undecided or any(case.find(tag) is not None for tag in ("failure", "error", "skipped")):
        return 0
    word = "advisory-fail" if about["outcome"] == "fail" else about["outcome"]
    text = f"{about.get('check', '')}: {about.get('reason', '')}"
    ET.SubElement(case, "skipped", {"type": f"ecgfm.{word}", "message": text})
    return 1
