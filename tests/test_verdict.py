"""The rows of a run become a verdict."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from pytest_ecgfm.errors import NotAnEmbedding
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.rows import Measured, failed_row, judged_row
from pytest_ecgfm.results.verdict import VerdictFile, corrected, decide
from tests.made_rows import CASE, THRESHOLD, row


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
