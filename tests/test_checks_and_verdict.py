import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from pytest_ecgfm.errors import EcgfmError, NotAnEmbedding
from pytest_ecgfm.results.checks import Case, Threshold, applicable_tier, cells, enough, evidence, judge
from pytest_ecgfm.results.rows import (
    Cell,
    Measured,
    Row,
    expected_to_fail,
    failed_row,
    judged_row,
    parse_row,
    received_row,
)
from pytest_ecgfm.results.verdict import VerdictFile, corrected, decide

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
    verdict = decide([failed_row(CASE, THRESHOLD, NotAnEmbedding("no"))], [CASE], models=["m"])
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


@pytest.mark.parametrize("sense", ["minimum", "maximum"])
def test_evidence_agrees_with_the_interval_and_with_the_normal_distribution(sense):
    sign = 1 if sense == "minimum" else -1
    value, half = 0.5, 1.959964 * 0.1
    for errors in (-3.0, 0.0, 1.0, 3.5):
        bound = value + sign * 0.1 * errors
        found = evidence(value, value - half, value + half, bound, sense)
        assert found == pytest.approx(norm.sf(errors), rel=1e-5)
    assert evidence(value, value - half, value + half, value + sign * half, sense) == pytest.approx(0.025)
    assert [evidence(1.0, 1.0, 1.0, bound, "minimum") for bound in (0.9, 1.0, 1.1)] == [1.0, 1.0, 0.0]
    # A limit that touches the estimate says nothing: half of the interval does.
    assert evidence(0.5, 0.3, 0.5, 0.6, "minimum") == pytest.approx(norm.sf(0.1 / 0.1 * 1.959964), rel=1e-5)


def test_a_fail_has_to_hold_for_the_whole_family():
    assert judge(0.60, 0.55, 0.65, Threshold(0.66))[0] == "fail"
    outcome, reason = judge(0.60, 0.55, 0.65, Threshold(0.66), 20)
    assert outcome == "inconclusive" and "with 20 such checks one may by chance" in reason
    assert judge(0.50, 0.45, 0.55, Threshold(0.66), 20)[0] == "fail"
    assert judge(math.nan, 0.55, 0.65, Threshold(0.66), 20)[0] == "fail"
    assert judge(0.6, 0.6, 0.6, Threshold(0.66), 20)[0] == "fail"


def test_families_are_cells_of_one_check_against_one_reference():
    assert CASE.family == "downstream.auroc"
    gain = Case("downstream.auroc_gain", "m", "ptb-xl", "AF", 1.0, reference="r")
    change = Case("downstream.auroc_change", "m", "ptb-xl", "AF", baseline="old")
    assert (gain.family, change.family) == ("downstream.auroc_gain vs-r", "downstream.auroc_change since-old")


def family(values, members=None, half=0.05, **changes):
    """Rows of one family, each as its test would judge it."""
    count = members or len(values)
    cases = [Case("downstream.auroc", "m", f"c{n}", "AF", 1.0) for n in range(len(values))]
    made = [
        judged_row(case, THRESHOLD, Measured(value, value - half, value + half, 60, 60), count)
        for case, value in zip(cases, values, strict=True)
    ]
    return [replace(row, **changes) for row in made]


def test_holms_procedure_is_finished_at_the_end():
    # p-values against 0.7: 4.4e-5, 0.0094, 0.16; the first holds against 0.025 / 3, then the second against 0.025 / 2.
    rows = family([0.60, 0.64, 0.675])
    assert [row.outcome for row in rows] == ["fail", "inconclusive", "inconclusive"]
    done = corrected(rows)
    assert [row.outcome for row in done] == ["fail", "fail", "inconclusive"]
    assert "like others of its family" in done[1].reason
    assert [row.key for row in done] == [row.key for row in rows]


def test_nothing_fails_at_the_end_where_nothing_failed_before():
    assert [row.outcome for row in corrected(family([0.64, 0.64, 0.66]))] == ["inconclusive"] * 3
    # Cells without a row still count, and those that cannot block open no door.
    assert [row.outcome for row in corrected(family([0.60, 0.64], members=10))] == ["fail", "inconclusive"]
    first, second = family([0.60, 0.64])
    third = replace(second, check="downstream.auroc[d,AF,1]", members=3, outcome="inconclusive")
    assert corrected([replace(first, tier="advisory"), third])[1].outcome == "inconclusive"


@given(
    # At 0.65 the interval ends at the bound, and rounding decides.
    values=st.lists(st.floats(0.3, 0.95).filter(lambda value: abs(value - 0.65) > 1e-6), min_size=1, max_size=12),
    extra=st.integers(0, 20),
    seed=st.integers(0, 100),
)
def test_the_correction_is_holms_and_never_makes_a_verdict(values, extra, seed):
    rows = family(values, len(values) + extra)
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    done = corrected(shuffled)
    p_values = np.concatenate([[norm.sf((0.7 - row.value) / (0.05 / 1.959964)) for row in done], np.ones(extra)])
    rejected = multipletests(p_values, alpha=0.025)[: len(values)]
    assert [row.outcome == "fail" for row in done] == rejected.tolist()
    assert any(row.blocks for row in rows) == any(row.blocks for row in done)


def multipletests(p_values, alpha):
    """Holm by definition: step down until one is not rejected."""
    rejected = np.zeros(p_values.size, bool)
    for rank, index in enumerate(np.argsort(p_values)):
        if p_values[index] > alpha / (p_values.size - rank):
            break
        rejected[index] = True
    return rejected


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
    assert made.outcome == "inconclusive" and made.reason.endswith("it may be 0 by chance")


def test_without_a_value_of_no_change_a_threshold_is_stricter():
    strict = Threshold(-0.02, inconclusive="block")
    assert replace(strict, no_change=0.0).looser_than(strict)
    assert not strict.looser_than(replace(strict, no_change=0.0))


def decided(*rows):
    cases = [case for case, _, _ in rows]
    made = [judged_row(*one) for one in rows]
    return decide(made, cases, models=["m"])


EFFICIENCY = (Case("relevance.efficiency", "m", "a"), Threshold(1e-4, "maximum"), Measured.exact(0.0))
DELETION = Case("relevance.deletion", "m", "a", "AF")


def test_a_suite_in_which_only_our_arithmetic_passed_has_decided_nothing():
    assert decided(EFFICIENCY).outcome == "incomplete"
    gap = (DELETION, Threshold(0.0), Measured.insufficient("fewer than 10 of a class"))
    assert decided(EFFICIENCY, gap).outcome == "incomplete"
    passed = (DELETION, Threshold(0.0), Measured(0.2, 0.1, 0.3))
    assert decided(EFFICIENCY, passed).outcome == "pass"


def test_what_is_not_applicable_is_neither_a_gap_nor_a_pass():
    contract = (Case("contract.generated", "m"), Threshold(1.0), Measured.exact(1.0))
    gain = Case("stability.displacement", "m", "a", perturbation="gain@1.1")
    away = (gain, Threshold(0.5, "maximum"), Measured.insufficient("not applicable: the card takes the gain away"))
    gap = (gain, Threshold(0.5, "maximum"), Measured.insufficient("fewer than 10 of a class"))
    assert decided(contract, away).outcome == "pass"
    assert decided(contract, gap).outcome == "incomplete"
    alone = decided(away)
    assert alone.outcome == "incomplete"
    assert "no check could be judged: stability.displacement[a,gain@1.1]: not applicable" in alone.reasons[0]


def test_where_every_row_is_excused_nothing_has_passed():
    seen = Measured(0.01, 0.0, 0.02, 100, 100, advisory="the encoder has seen this cohort in pretraining")
    drop = (Case("transfer.drop", "m", "b", "AF", source="a"), Threshold(0.15, "maximum"), seen)
    assert decided(drop).outcome == "incomplete"
    contract = (Case("contract.generated", "m"), Threshold(1.0), Measured.exact(1.0))
    assert decided(contract, drop).outcome == "pass"


def test_a_suite_that_has_no_meaning_for_an_encoder_takes_nothing_from_the_others():
    contract = (Case("contract.generated", "m"), Threshold(1.0), Measured.exact(1.0))
    away = (DELETION, Threshold(0.0), Measured.insufficient("not applicable: the encoder reads one lead alone"))
    chosen = (
        Case("relevance.selected_auroc", "m", "a", "AF"),
        Threshold(0.6, tier="advisory"),
        Measured(0.7, 0.5, 0.9, 60, 60),
    )
    assert decided(contract, EFFICIENCY, away, chosen).outcome == "pass"
    assert decided(EFFICIENCY, away, chosen).outcome == "incomplete"


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
