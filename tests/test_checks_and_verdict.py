import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ecgfm.checks import Case, Threshold, applicable_tier, cells, enough, judge
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.rows import Cell, Measured, Row, expected_to_fail, failed_row, judged_row, parse_row
from pytest_ecgfm.verdict import VerdictFile, decide

CASE = Case("downstream.auroc", "m", "ptb-xl", "AF", 0.01)
THRESHOLD = Threshold(0.7)


def row(outcome="pass", *, tier="blocking", case=CASE, value=0.8):
    made = judged_row(case, THRESHOLD, Measured(value, value - 0.05, value + 0.05, 60, 60))
    return replace(made, outcome=outcome, tier=tier)


@pytest.mark.parametrize(
    ("low", "value", "high", "decided_by", "outcome"),
    [
        (0.71, 0.80, 0.90, "interval", "pass"),
        (0.70, 0.80, 0.90, "interval", "pass"),
        (0.60, 0.80, 0.90, "interval", "inconclusive"),
        (0.60, 0.80, 0.90, "point", "pass"),
        (0.60, 0.69, 0.90, "point", "inconclusive"),
        (0.50, 0.60, 0.69, "interval", "fail"),
        (0.50, 0.60, 0.69, "point", "fail"),
        (0.50, 0.60, 0.70, "interval", "inconclusive"),
    ],
)
def test_a_value_and_its_interval_become_an_outcome(low, value, high, decided_by, outcome):
    assert judge(value, low, high, Threshold(0.7, decide=decided_by))[0] == outcome


@pytest.mark.parametrize("bad", [(math.nan, 0.8, 0.9), (0.8, math.nan, 0.9), (0.8, 0.7, math.inf)])
def test_what_is_no_number_fails(bad):
    value, low, high = bad
    assert judge(value, low, high, Threshold(0.1))[0] == "fail"


def test_few_positives_never_block():
    assert [applicable_tier("blocking", n) for n in (9, 49, 50)] == ["advisory", "advisory", "blocking"]
    assert applicable_tier("advisory", 1000) == "advisory"
    assert not enough(9, 1000)
    assert not enough(1000, 9)
    assert enough(10, 10)


def grid(**changes):
    return {
        "cohorts": ("a", "b"),
        "labels": ("AF", "CD"),
        "fractions": (0.01, 1.0),
        "references": ("r", "m", "s"),
        "suites": ("downstream",),
        **changes,
    }


def test_names_hold_the_cell_and_are_unique():
    found = list(cells("m", **grid()))
    assert len({case.name for case in found}) == len(found) == 8 + 8 * 2
    assert CASE.name == "downstream.auroc[ptb-xl,AF,0.01]"
    assert not any(case.reference == "m" for case in found)
    assert {case.check for case in cells("m", **grid(references=()))} == {"downstream.auroc"}
    contract = list(cells("m", **grid(suites=("contract",))))
    assert {case.cell for case in contract} == {"a", "b", ""}
    assert Case("contract.generated", "m").name == "contract.generated"


def test_a_maximum_is_the_mirror_of_a_minimum():
    for value, low, high in [(0.2, 0.1, 0.3), (0.5, 0.4, 0.6), (0.7, 0.65, 0.8), (0.5, 0.5, 0.5)]:
        upper = judge(value, low, high, Threshold(0.5, "maximum"))[0]
        assert upper == judge(-value, -high, -low, Threshold(-0.5, "minimum"))[0]
    assert judge(0.0, 0.0, 0.0, Threshold(0.0, "maximum"))[0] == "pass"
    assert judge(1.0, 1.0, 1.0, Threshold(0.0, "maximum"))[0] == "fail"


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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"encoder": 1}', row().to_json().replace('"pass"', '"passed"')])
def test_a_bad_line_is_an_error_that_says_where(text):
    with pytest.raises(EcgfmError, match=r"^line 3: not a row of a run"):
        parse_row(text, where="line 3")


def test_all_pass():
    verdict = decide([row()], [CASE], models=["m"])
    assert (verdict.outcome, verdict.complete, verdict.reasons) == ("pass", True, ())


def test_one_blocking_fail_fails_and_says_what_should_have_been():
    other = Case("downstream.auroc", "m", "georgia", "AF", 1.0)
    verdict = decide([row(), row("fail", case=other, value=0.5)], [CASE, other], models=["m"])
    assert verdict.outcome == "fail"
    assert verdict.complete
    assert "downstream.auroc[georgia,AF,1] = 0.500 [0.450, 0.550], but should be >= 0.7" in verdict.reasons[0]


def test_an_advisory_fail_does_not():
    other = Case("downstream.auroc", "m", "georgia", "AF", 1.0)
    verdict = decide([row(), row("fail", tier="advisory", case=other)], [CASE, other], models=["m"])
    assert verdict.outcome == "pass"


def test_an_expected_failure_is_strict():
    failed = expected_to_fail(row("fail"), "issue 12")
    assert (failed.outcome, failed.tier) == ("fail", "advisory")
    assert "issue 12" in failed.reason
    passed = expected_to_fail(row("pass"), "issue 12")
    assert passed.blocks
    assert expected_to_fail(row("inconclusive"), "issue 12") == row("inconclusive")


def test_inconclusive_is_the_profiles_decision():
    other = Case("downstream.auroc", "m", "georgia", "AF", 1.0)
    rows = [row(), row("inconclusive", case=other)]
    assert decide(rows, [CASE, other], models=["m"]).outcome == "pass"
    strict = [replace(row, strict=True) for row in rows]
    assert decide(strict, [CASE, other], models=["m"]).outcome == "fail"


def test_a_planned_check_without_a_row_is_incomplete():
    other = Case("downstream.auroc", "m", "georgia", "AF", 1.0)
    verdict = decide([row()], [CASE, other], models=["m"])
    assert (verdict.outcome, verdict.complete) == ("incomplete", False)
    assert other.name in verdict.reasons[0]


@pytest.mark.parametrize("rows", [[], [row("insufficient")]])
def test_nothing_measured_is_never_a_pass(rows):
    assert decide(rows, [CASE], models=["m"]).outcome == "incomplete"


def test_no_blocking_check_that_passed_is_never_a_pass():
    assert decide([row("inconclusive")], [CASE], models=["m"]).outcome == "incomplete"
    assert decide([row("pass", tier="advisory")], [CASE], models=["m"]).outcome == "incomplete"


def test_one_suite_that_passes_does_not_stand_in_for_another():
    contract = Case("contract.generated", "m")
    rows = [row(case=contract), row("insufficient", tier="advisory")]
    verdict = decide(rows, [CASE, contract], models=["m"])
    assert verdict.outcome == "incomplete"
    assert verdict.reasons[0].startswith("m: downstream: no blocking check passed")


def test_nothing_planned_is_never_a_pass():
    assert decide([], [], models=["m"]).outcome == "incomplete"
    assert decide([], [], models=[]).outcome == "incomplete"


def test_trouble_is_never_a_pass():
    verdict = decide([row()], [CASE], models=["m"], trouble=["worker gw0 crashed"])
    assert (verdict.outcome, verdict.complete, verdict.reasons) == ("incomplete", False, ("worker gw0 crashed",))


def test_a_check_that_broke_fails():
    verdict = decide([failed_row(CASE, THRESHOLD, "could not be evaluated")], [CASE], models=["m"])
    assert verdict.outcome == "fail"


def test_one_encoder_that_fails_fails_the_run():
    second = Case("downstream.auroc", "n", "ptb-xl", "AF", 0.01)
    verdict = decide([row(), row("fail", case=second)], [CASE, second], models=["m", "n"])
    assert [one.outcome for one in verdict.encoders] == ["pass", "fail"]
    assert verdict.outcome == "fail"


def test_the_published_schema_is_that_of_the_file():
    published = Path(__file__).parents[1] / "docs" / "verdict.schema.json"
    assert json.loads(published.read_text(encoding="utf-8")) == VerdictFile.model_json_schema(by_alias=True)
    whole = {**decide([], [], models=["m"]).to_json(), "summary": "", "run_id": "x", "started": "", "finished": ""}
    assert VerdictFile.model_validate(whole).outcome == "incomplete"


def test_a_suite_whose_checks_are_all_excused_does_not_make_a_run_incomplete():
    other = Case("transfer.drop", "m", "georgia", "AF", source="ptb-xl")
    seen = judged_row(other, Threshold(0.1, "maximum"), Measured(0.0, -0.01, 0.01, advisory="it was seen"))
    assert (seen.tier, seen.outcome) == ("advisory", "pass")
    assert decide([row(), seen], [CASE, other], models=["m"]).outcome == "pass"
    assert decide([row(), replace(seen, excused=False)], [CASE, other], models=["m"]).outcome == "incomplete"


def test_an_undecided_expected_failure_does_not_block():
    undecided = replace(row("inconclusive"), strict=True)
    assert undecided.blocks and not expected_to_fail(undecided, "issue 12").blocks
