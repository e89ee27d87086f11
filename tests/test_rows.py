"""Rows of a run: what is judged, what blocks, and the line that holds it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.rows import Cell, Measured, Row, expected_to_fail, judged_row, parse_row, received_row
from tests.made_rows import CASE, THRESHOLD, row


def test_few_records_of_a_class_are_insufficient_with_the_counts():
    made = judged_row(CASE, THRESHOLD, Measured(0.9, 0.8, 1.0, 9, 300))
    assert (made.outcome, made.tier) == ("insufficient", "advisory")
    assert "9 positive, 300 negative of 309 records" in made.reason
    assert judged_row(CASE, THRESHOLD, Measured(0.9, 0.8, 1.0, 10, 300)).outcome == "pass"
    assert judged_row(CASE, THRESHOLD, Measured(0.9, 0.8, 1.0, 50, 300)).tier == "blocking"


finite = st.floats(-1, 1)


@given(value=finite, low=finite, high=finite, threshold=finite, reason=st.text(max_size=30))
def test_a_row_survives_its_line(value, low, high, threshold, reason):
    cell = Cell("downstream", {"fraction": 0.01, "cohort": "ptb-xl", "seed": 3}, {"auroc": value, "C": math.nan})
    found = Measured(value, low, high, 3, 4, "cv", (cell,), ("arrays/x.npz",), reason)
    made = judged_row(CASE, Threshold(threshold), found)
    line = made.to_json()
    again = parse_row(line)
    assert "\n" not in line
    assert again.to_json() == line
    assert isinstance(again, Row)
    assert (again.value, again.key, again.cells[0].values["auroc"]) == (value, made.key, value)
    assert math.isnan(again.cells[0].values["C"])


def test_a_row_is_written_once_and_a_changed_one_anew(monkeypatch):
    written, dumps = [], json.dumps
    monkeypatch.setattr(json, "dumps", lambda value, **how: written.append(value) or dumps(value, **how))
    made = row()
    text = made.to_json()
    assert made.to_json() is text
    assert received_row(text, where="a test").to_json() is text
    assert len(written) == 1
    assert parse_row(f" {text}").to_json() == text
    assert json.loads(replace(made, outcome="fail").to_json())["outcome"] == "fail"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"encoder": 1}', row().to_json().replace('"pass"', '"passed"')])
def test_a_bad_line_is_an_error_that_says_where(text):
    with pytest.raises(EcgfmError, match=r"^line 3: not a row of a run"):
        parse_row(text, where="line 3")


def test_an_expected_failure_is_strict():
    failed = expected_to_fail(row("fail"), "issue 12")
    assert (failed.outcome, failed.tier) == ("fail", "advisory")
    assert "issue 12" in failed.reason
    passed = expected_to_fail(row("pass"), "issue 12")
    assert passed.blocks
    assert expected_to_fail(row("inconclusive"), "issue 12") == row("inconclusive")


def test_an_undecided_expected_failure_does_not_block():
    undecided = replace(row("inconclusive"), strict=True)
    assert undecided.blocks and not expected_to_fail(undecided, "issue 12").blocks


def test_a_loss_blocks_if_it_is_large_and_no_chance():
    case = Case("downstream.auroc_change", "m", "ptb-xl", "AF", baseline="old")
    threshold = Threshold(-0.02, decide="point", inconclusive="block", no_change=0.0)

    def blocks(value, half, members=1):
        return judged_row(case, threshold, Measured(value, value - half, value + half, 60, 60), members).blocks

    assert not blocks(-0.015, 0.001)  # real, but small
    assert not blocks(-0.03, 0.04)  # large, but may be chance
    assert blocks(-0.03, 0.02)  # neither: the interval holds -0.02, and not 0
    assert not blocks(-0.03, 0.02, members=400)
    assert blocks(-0.05, 0.02, members=16)
    assert blocks(math.nan, 0.02)
    made = judged_row(case, threshold, Measured(-0.03, -0.07, 0.01, 60, 60))
    assert made.outcome == "inconclusive" and made.reason.endswith("the difference from 0 may be chance")


@pytest.mark.parametrize(
    ("check", "found", "cut"),
    [
        ("downstream.auroc", (0.95, 0.9, 1.04), (0.9, 1.0)),
        ("downstream.auroc", (0.02, -0.1, 0.2), (0.0, 0.2)),
        ("downstream.auroc_gain", (0.9, -1.5, 1.5), (-1.0, 1.0)),
        ("stability.displacement", (0.1, -0.2, 7.0), (0.0, 7.0)),
        ("separability.robustness", (0.919, 0.697, 1.141), (0.697, 1.0)),
        ("separability.neighbours", (0.5, -3.0, 1.2), (-3.0, 1.0)),
        # The value stays in its interval, and nothing is made up where there is none.
        ("downstream.auroc", (1.2, 1.1, 1.3), (1.1, 1.2)),
        ("downstream.auroc", (0.5, math.nan, math.nan), (math.nan, math.nan)),
        ("downstream.auroc", (0.5, 0.4, math.nan), (0.4, math.nan)),
    ],
)
def test_an_interval_ends_where_its_quantity_does(check, found, cut):
    made = judged_row(Case(check, "m", "ptb-xl"), Threshold(0.7), Measured(*found))
    np.testing.assert_array_equal((made.low, made.high), cut)
    assert made.value == found[0]
    assert made.outcome == "fail" or not np.isnan(cut).any()


def test_the_interval_that_is_cut_is_the_one_that_is_judged():
    share = Case("stability.retrieval", "m", "ptb-xl", perturbation="gain@1.1")
    assert judged_row(share, Threshold(1.0, "maximum"), Measured(0.9, 0.8, 1.1)).outcome == "pass"
