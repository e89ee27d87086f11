import xml.etree.ElementTree as ET

import pytest

from pytest_ecgfm.report.junit import mark_outcomes

CASE = """<testcase classname="suites" name="{name}" time="0.1">
<properties><property name="check" value="downstream.auroc[a]"/><property name="outcome" value="{outcome}"/>
<property name="reason" value="the interval contains 0.7 &amp; &lt;more&gt;"/></properties>{inside}</testcase>"""


@pytest.fixture
def report(tmp_path):
    def write(*cases):
        body = "".join(CASE.format(name=f"t{i}", outcome=one[0], inside=one[1]) for i, one in enumerate(cases))
        path = tmp_path / "junit.xml"
        path.write_text(f'<testsuites><testsuite name="pytest" skipped="1">{body}</testsuite></testsuites>')
        return path

    return write


def test_what_was_not_decided_is_skipped_with_its_own_word(report):
    path = report(("pass", ""), ("inconclusive", ""), ("insufficient", ""), ("fail", ""), ("fail", "<failure/>"))
    assert mark_outcomes(path) == 3
    suite = ET.parse(path).getroot().find("testsuite")
    kinds = [None if c.find("skipped") is None else c.find("skipped").get("type") for c in suite.iter("testcase")]
    assert kinds == [None, "ecgfm.inconclusive", "ecgfm.insufficient", "ecgfm.advisory-fail", None]
    assert suite.get("skipped") == "4"
    message = next(suite.iter("skipped")).get("message")
    assert message == "downstream.auroc[a]: the interval contains 0.7 & <more>"


def test_marking_twice_changes_nothing_more(report):
    path = report(("inconclusive", ""))
    mark_outcomes(path)
    once = path.read_text()
    assert mark_outcomes(path) == 0
    assert path.read_text() == once


def test_a_file_that_is_not_there_or_no_xml(tmp_path):
    assert mark_outcomes(tmp_path / "none.xml") == 0
    (tmp_path / "bad.xml").write_text("<a")
    assert mark_outcomes(tmp_path / "bad.xml") == 0
