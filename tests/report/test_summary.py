from pytest_ecgfm.checks import Case, Threshold
from pytest_ecgfm.report.summary import badge, in_words, job_summary
from pytest_ecgfm.rows import Measured, judged_row
from pytest_ecgfm.verdict import decide


def run(value, encoder="m"):
    case = Case("stability.retest", encoder, "ptb-xl")
    rows = [judged_row(case, Threshold(1.0, "maximum"), Measured(value, value, value))]
    return decide(rows, [case], models=[encoder]), rows


def test_the_paragraph_says_what_decided():
    verdict, rows = run(0.5)
    assert in_words(verdict, rows).startswith("m passes")
    assert "Of 1 checks 1 passed and 0 block" in in_words(verdict, rows)
    verdict, rows = run(2.0)
    assert in_words(verdict, rows).startswith("m fails")
    assert "stability.retest[ptb-xl] = 2, but should be <= 1" in in_words(verdict, rows)
    assert in_words(verdict, rows).endswith("Evaluated on ptb-xl.")


def test_the_badge_is_that_of_the_outcome():
    assert badge(run(0.5)[0]) == {"schemaVersion": 1, "label": "ecgfm", "message": "pass", "color": "brightgreen"}
    assert badge(run(2.0)[0])["message"] == "fail"
    assert badge(decide([], [], models=["m"]))["message"] == "incomplete"


def test_names_cannot_become_markup_in_a_job_summary():
    text = job_summary(*run(2.0, encoder="<script>|`x`"))
    assert "<script>" not in text and "&lt;script&gt;\\|\\`x\\`" in text
    assert text.startswith("## ECG foundation model conformance: fail\n")
