from pytest_ecgfm.report.summary import badge, in_words, job_summary
from pytest_ecgfm.report.terminal import summary_lines
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.rows import Measured, judged_row
from pytest_ecgfm.results.verdict import decide


def run(value, encoder="m"):
    case = Case("stability.retest", encoder, "ptb-xl")
    rows = [judged_row(case, Threshold(1.0, "maximum"), Measured(value, value, value))]
    return decide(rows, [case], models=[encoder]), rows


def test_the_paragraph_says_what_decided():
    verdict, rows = run(0.5)
    assert in_words(verdict, rows).startswith("m passes")
    assert (
        "Of 1 checks 1 passed, 0 failed, 0 could not be decided, 0 had too few records and "
        "0 could not be measured; 0 of these checks block." in in_words(verdict, rows)
    )
    verdict, rows = run(2.0)
    assert in_words(verdict, rows).startswith("m fails")
    assert "stability.retest[ptb-xl] = 2, but should be <= 1" in in_words(verdict, rows)
    assert in_words(verdict, rows).endswith("Evaluated on ptb-xl.")


def test_the_badge_is_that_of_the_outcome():
    found = badge(run(0.5)[0])
    assert found.pop("message").startswith("pass: ")
    assert found == {"schemaVersion": 1, "label": "ecgfm", "color": "brightgreen"}
    assert badge(run(2.0)[0])["message"].startswith("fail: ")
    assert badge(decide([], [], models=["m"]))["message"].startswith("incomplete: ")


def test_names_cannot_become_markup_in_a_job_summary():
    text = job_summary(*run(2.0, encoder="<script>|`x`"))
    assert "<script>" not in text and "&lt;script&gt;\\|\\`x\\`" in text
    assert text.startswith("## ECG foundation model conformance: fail: ")


def test_an_undecided_check_that_blocks_is_counted_and_marked_as_such():
    case = Case("downstream.auroc", "m", "ptb-xl", "AF", 1.0)
    for undecided, mark, counts in (
        ("block", "0.720?!", "of 1 planned; 1 block)"),
        ("allow", "0.720?\n", "of 1 planned)"),
    ):
        found = Measured(0.72, 0.65, 0.8, 60, 60)
        rows = [judged_row(case, Threshold(0.7, inconclusive=undecided), found)]
        text = "\n".join(summary_lines(decide(rows, [case], models=["m"]), rows))
        assert "1 inconclusive" in text and mark in text and counts in text
        assert ("?! inconclusive, which blocks" in text) == (undecided == "block")


def test_the_legend_explains_the_marks_of_the_table_and_no_others():
    cases = [Case("downstream.auroc", "m", "ptb-xl", "AF", fraction) for fraction in (0.1, 1.0)]
    few, all_of_them = Measured(0.72, 0.65, 0.8, 60, 60), Measured(0.9, 0.85, 0.95, 60, 60)
    rows = [
        judged_row(one, Threshold(0.7, inconclusive="block"), found)
        for one, found in zip(cases, (few, all_of_them), strict=True)
    ]
    text = "\n".join(summary_lines(decide(rows, cases, models=["m"]), rows))
    assert "AUROC at 1" in text and "0.900" in text and "0.720?!" not in text
    assert "which blocks" not in text
