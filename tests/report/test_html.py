"""Our part of pytest-html's report, and what it costs."""

import json
import re
from html import unescape
from pathlib import Path

import pytest

from pytest_ecgfm.report.html import HtmlColumns, link_from, picture
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.rows import Measured, judged_row

CHECKS = 250
"""A sixth of what a large run has: size and memory grow with the checks, and the test stays short."""

CONFTEST = """
import re
from pathlib import Path
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.report.html import HtmlColumns
from pytest_ecgfm.results.rows import Measured, judged_row


def highest():
    # Of this process alone; `resource` would say its parent's.
    return re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1)


EMPTY = highest()


def pytest_configure(config):
    config.pluginmanager.register(HtmlColumns("generalization.html"), "columns")


def pytest_runtest_logreport(report):
    number = int(report.nodeid.rpartition("[")[2].rstrip("]"))
    case = Case("downstream.auroc", "a_model_with_a_long_name", f"a-cohort-with-a-long-name-{number}", "AF", 0.25)
    report.ecgfm_row = judged_row(case, Threshold(0.7), Measured(0.7 + number / 1e5, 0.6, 0.8, 60, 900))


def pytest_unconfigure(config):
    Path("memory.txt").write_text(f"{EMPTY} {highest()}")
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_1500_checks_are_below_10_mb_and_300_mb_of_memory(pytester):
    pytester.makeconftest(CONFTEST)
    lines = ("import pytest", f"@pytest.mark.parametrize('number', range({CHECKS}))", "def test_check(number): pass")
    pytester.makepyfile(test_many="\n".join(lines))
    result = pytester.runpytest_subprocess("--html=report.html", "--self-contained-html", "-p", "no:pytester", "-q")
    result.assert_outcomes(passed=CHECKS)
    path = pytester.path / "report.html"
    assert path.stat().st_size * 1500 / CHECKS < 10e6
    before, after = (int(one) for one in (pytester.path / "memory.txt").read_text().split())
    assert before + (after - before) * 1500 / CHECKS < 300e3
    tests = json.loads(unescape(re.search(r'data-jsonblob="([^"]*)"', path.read_text()).group(1)))["tests"]
    assert len(tests) == CHECKS
    (found,) = tests["test_many.py::test_check[7]"]
    assert "0.600 to 0.800" in found["interval"] and "generalization.html#check%3A" in found["check"]
    order = sorted(tests.values(), key=lambda one: one[0]["value"])
    assert [one[0]["testId"].rpartition("[")[2] for one in order[:3]] == ["0]", "1]", "2]"]


def row(value=0.75, low=0.7, high=0.8, encoder="m", cohort="a"):
    return judged_row(Case("downstream.auroc", encoder, cohort, "AF", 1.0), Threshold(0.5), Measured(value, low, high))


class Report:
    passed = True

    def __init__(self, found):
        self.ecgfm_row = found


def test_names_are_escaped_and_linked_to_the_page():
    evil = '"><script>alert(1)</script>'
    cells = ["<td>Passed</td>", f'<td class="col-testId">test[{evil}]</td>', "<td></td>", "<td></td>"]
    HtmlColumns("../generalization.html").pytest_html_results_table_row(Report(row(encoder=evil, cohort=evil)), cells)
    text = "".join(cells)
    assert "<script" not in text and '">"' not in text
    assert 'href="../generalization.html#check%3A%22%3E%3Cscript%3E' in text


def test_the_picture_puts_the_value_within_its_interval_and_beside_the_threshold():
    text = str(picture(row()))
    low, high = (float(one) for one in re.search(r"M([\d.]+) 8H([\d.]+)", text).groups())
    bound, value = (float(re.search(one, text).group(1)) for one in (r"M([\d.]+) 1v14", r'cx="([\d.]+)"'))
    assert bound < low < value < high and value == pytest.approx((low + high) / 2)
    assert picture(row(float("nan"), float("nan"), float("nan"))) == ""


@pytest.mark.parametrize(
    ("report", "link"),
    [("run/report.html", "generalization.html"), ("other/a.html", "../run/generalization.html")],
)
def test_the_page_is_linked_from_where_the_report_is(report, link, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert link_from(report, tmp_path / "run" / "generalization.html") == link
