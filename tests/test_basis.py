"""What a verdict rests on, and what could not be measured."""

import errno
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ecgfm.errors import EcgfmError, NotAnEmbedding, StaleBaseline, blame, is_models_fault, reworded
from pytest_ecgfm.report.summary import in_words, job_summary
from pytest_ecgfm.report.terminal import summary_lines
from pytest_ecgfm.results.basis import TOGETHER, Basis, basis, basis_lines, nowhere_in_words
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.collected import Results
from pytest_ecgfm.results.rows import Measured, failed_row, judged_row, parse_row
from pytest_ecgfm.results.verdict import VerdictFile, decide

THRESHOLD = Threshold(0.7)
OUTCOMES = ("pass", "fail", "inconclusive", "insufficient", "error")


def case(label="AF", cohort="ptb-xl", check="downstream.auroc"):
    return Case(check, "m", cohort, label, 1.0)


def row(of, outcome="pass", tier="blocking", positives=60):
    made = judged_row(of, THRESHOLD, Measured(0.8, 0.75, 0.85, positives, 60))
    return replace(made, outcome=outcome, tier=tier)


def test_labels_that_no_cohort_could_gate_are_named_in_the_first_paragraph():
    cases = [case(), case("SB"), case("STach")]
    rows = [row(cases[0]), row(cases[1], "pass", "advisory", 15), row(cases[2], "insufficient", "advisory", 9)]
    verdict = decide(rows, cases, models=["m"])
    assert verdict.outcome == "pass"
    told = "SB and STach were not gated in any cohort: 15 and 9 positives"
    for text in (in_words(verdict, rows), job_summary(verdict, rows), "\n".join(summary_lines(verdict, rows))):
        assert told in text
    assert verdict.to_json()["encoders"]["m"]["basis"] == {
        "labels": {"AF": {"downstream": ["ptb-xl"]}, "SB": {"downstream": []}, "STach": {"downstream": []}},
        "suites": {"downstream": ["ptb-xl"]},
        "gated_nowhere": {"SB": 15, "STach": 9},
    }


def test_checks_without_a_label_or_a_cohort_have_a_basis_too():
    cases = [Case("contract.generated", "m"), Case("contract.batch", "m", "georgia"), Case("contract.memory", "m")]
    assert basis("m", [row(cases[0])]).suites == {"contract": (TOGETHER,)}
    assert basis("m", [row(one) for one in cases]).suites == {"contract": ("georgia",)}
    assert basis_lines(basis("m", [row(cases[1], "inconclusive")])) == ["contract: decided nowhere"]
    assert basis("m", [], [case("SB")]).gated_nowhere == {"SB": 0}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["AF", "SB", ""]),
            st.sampled_from(["a", "b", ""]),
            st.sampled_from(["downstream.auroc", "relevance.prior", "contract.batch"]),
            st.sampled_from(OUTCOMES),
            st.sampled_from(["blocking", "advisory"]),
        ),
        unique_by=lambda one: one[:3],
    )
)
def test_a_label_is_gated_somewhere_or_named(asked):
    cases = [case(label, cohort, check) for label, cohort, check, _, _ in asked]
    rows = [row(one, outcome, tier) for one, (*_, outcome, tier) in zip(cases, asked, strict=True)]
    found = basis("m", rows, cases)
    for label in {one.label for one in cases} - {""}:
        gated = any(r.label == label and r.tier == "blocking" and r.outcome in ("pass", "fail") for r in rows)
        assert gated == any(found.labels[label].values()) == (label not in found.gated_nowhere)
        assert gated or label in nowhere_in_words(found.gated_nowhere)
    verdict = decide(rows, cases, models=["m"])
    whole = {**verdict.to_json(), "summary": "", "run_id": "x", "started": "", "finished": ""}
    assert VerdictFile.model_validate(whole).encoders["m"].basis is not None
    assert sum(verdict.encoders[0].counts[one] for one in OUTCOMES) == len(rows)
    if any(r.outcome == "error" for r in rows):
        assert verdict.outcome != "pass" and not verdict.complete


def test_what_could_not_be_measured_is_incomplete_and_no_fail():
    broken = failed_row(case("SB"), THRESHOLD, EcgfmError("cohort ptb-xl: r1.dat is missing"))
    assert (broken.outcome, broken.blocks, math.isnan(broken.value)) == ("error", False, True)
    assert parse_row(broken.to_json()).outcome == "error"
    verdict = decide([row(case()), broken], [case(), case("SB")], models=["m"])
    assert (verdict.outcome, verdict.complete, verdict.encoders[0].counts["error"]) == ("incomplete", False, 1)
    assert "r1.dat is missing" in verdict.reasons[0]
    failed = decide([row(case(), "fail"), broken], [case(), case("SB")], models=["m"])
    assert failed.outcome == "fail"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotAnEmbedding("a tuple"), "fail"),
        (blame(RuntimeError("device busy"), "m"), "fail"),
        (reworded(blame(EcgfmError("no"), "m"), "record 3: no"), "fail"),
        (StaleBaseline("other records"), "fail"),
        (blame(NotAnEmbedding("a tuple"), "reference"), "error"),
        (blame(RuntimeError("device busy"), "reference"), "error"),
        (blame(ImportError("no module named x"), "m"), "error"),
        (blame(OSError(errno.ENOSPC, "No space left on device"), "m"), "error"),
        (blame(OSError(errno.EROFS, "Read-only file system"), "m"), "error"),
        (blame(FileNotFoundError(errno.ENOENT, "weights.pt"), "m"), "fail"),
        (EcgfmError("cannot write the cache folder"), "error"),
        (ZeroDivisionError("ours"), "error"),
    ],
)
def test_whose_fault_it_is_decides_between_fail_and_error(error, outcome):
    assert failed_row(case(), THRESHOLD, error).outcome == outcome
    assert is_models_fault(error, "m") == (outcome == "fail")


def test_the_last_result_counts_and_a_change_is_named():
    results = Results()
    for outcome in ("fail", "inconclusive", "pass"):
        results.add(row(case(), outcome))
    results.add(row(case("SB")))
    results.add(row(case("SB")))
    assert [one.outcome for one in results.rows] == ["pass", "pass"]
    (told,) = results.changed()
    assert "downstream.auroc[ptb-xl,AF,1] of m" in told and "fail, then inconclusive, then pass" in told


def test_a_line_that_blocks_although_it_is_undecided_says_why():
    change = Case("downstream.auroc_change", "m", "a", "AF", baseline="last")
    strict = Threshold(-0.02, inconclusive="block", no_change=0.0)
    blocking = judged_row(change, strict, Measured(-0.03, -0.04, -0.015, 60, 60))
    assert (blocking.outcome, blocking.blocks) == ("inconclusive", True)
    assert "this blocks, because the value has to be shown to be at or above -0.02" in blocking.message()
    assert "the difference from 0 is more than chance" in blocking.message()
    for found in (Measured(-0.03, -0.07, 0.01, 60, 60), Measured(-0.03, -0.04, -0.015, 20, 60)):
        undecided = judged_row(change, strict, found)
        assert not undecided.blocks and "this blocks" not in undecided.reason


def test_lines_say_what_is_alike_once():
    found = Basis(
        {
            "AF": {"downstream": ("a", "b"), "transfer": ("a", "b")},
            "CD": {"downstream": ("a", "b"), "transfer": ("a", "b")},
            "SB": {"downstream": ("b",), "transfer": ()},
            "STach": {"downstream": (), "transfer": ()},
        },
        {"contract": ("a", "b"), "downstream": ("a", "b"), "transfer": ("a", "b"), "stability": ()},
    )
    assert basis_lines(found) == [
        "AF, CD: downstream, transfer in both cohorts",
        "SB: downstream in b; not gated: transfer",
        "STach: not gated in any cohort",
        "contract: both cohorts",
        "stability: decided nowhere",
    ]
