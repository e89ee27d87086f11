"""One release after another: baselines, stale ones, comparisons, and the files that CI reads."""

import json
import sys

import pytest

from tests.end_to_end.conftest import SMALL

pytestmark = pytest.mark.slow

GRID = tuple(option for option in SMALL if not option.startswith("--ecgfm-limit"))

WORSE = '''

@ecg_model(sampling_rate=50, seconds=5, leads="II V1", pretrained_on=[], version="2")
def worse():
    """One spread, in noise."""
    def embed(x):
        x = np.asarray(x)
        noise = np.sin(1e4 * x.sum((-1, -2)))[:, None]
        return np.concatenate([np.std(x, -1)[:, :1] + 3 * noise, noise], axis=1)
    return embed
'''


def outcomes(folder):
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return {row["check"]: (row["outcome"], row["value"], row["reason"]) for row in rows}


def test_a_release_is_held_against_the_one_before(user, monkeypatch):
    conftest = user.path / "conftest.py"
    conftest.write_text(conftest.read_text() + WORSE)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(user.path / "summary.md"))
    user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-out=first", *GRID)
    again = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-out=second", "--ecgfm-baseline=first", *GRID)
    same = outcomes(user.path / "second")["downstream.auroc_change[synthetic-europe,AF,since-first]"]
    assert same[:2] == ("pass", 0.0), again.stdout.str()
    lost = user.runpytest_subprocess("--ecgfm=worse", "--ecgfm-out=third", "--ecgfm-baseline=first", *GRID)
    assert lost.ret == pytest.ExitCode.TESTS_FAILED
    outcome, value, _ = outcomes(user.path / "third")["downstream.auroc_change[synthetic-europe,AF,since-first]"]
    assert outcome == "fail" and value < -0.05
    assert "worse fails" in json.loads((user.path / "third" / "verdict.json").read_text())["summary"]
    assert json.loads((user.path / "third" / "badge.json").read_text())["message"].startswith("fail of a part: ")
    assert (user.path / "summary.md").read_text().count("## ECG foundation model conformance") == 3
    # Fewer records than the baseline's: nothing is compared, and that is a failure.
    stale = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-out=fourth", "--ecgfm-baseline=first", *SMALL)
    assert stale.ret == pytest.ExitCode.TESTS_FAILED
    outcome, _, reason = outcomes(user.path / "fourth")["downstream.auroc_change[synthetic-europe,AF,since-first]"]
    assert outcome == "fail" and "baseline first is stale" in reason and "records are gone" in reason
    told = user.run(sys.executable, "-m", "pytest_ecgfm.cli", "compare", "first", "third")
    assert told.ret == 0
    told.stdout.fnmatch_lines(
        ["## spread, then worse", "| synthetic-europe | AF | *", "* checks have a different outcome"]
    )


def test_an_edited_threshold_without_a_reason_and_a_baseline_that_is_none_are_usage_errors(user):
    (user.path / "mine.toml").write_text(
        'extends = "default"\n[[check]]\nname = "downstream.auroc"\nfractions = [1.0]\nminimum = 0.1\n'
    )
    result = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-profile=mine.toml", *SMALL)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*minimum 0.1 is looser than minimum * say why in its * entry: reason = *"])
    result = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-baseline=nothing", *SMALL)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--ecgfm-baseline: run *nothing: no cube.nc there."])


def test_one_value_that_is_no_number_blocks_and_an_empty_cohort_is_a_usage_error(user):
    conftest = user.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + """

@ecg_model(sampling_rate=50, seconds=5, leads="II V1", pretrained_on=[], version="1")
def holed():
    def embed(x):
        out = np.std(np.asarray(x), -1)
        out[0, 0] = np.nan
        return out
    return embed
"""
    )
    holed = user.runpytest_subprocess("--ecgfm=holed", "--ecgfm-out=holed", *SMALL)
    assert holed.ret == pytest.ExitCode.TESTS_FAILED
    assert {outcome for outcome, _, _ in outcomes(user.path / "holed").values()} == {"fail"}
    assert all("is not finite" in reason for _, _, reason in outcomes(user.path / "holed").values())
    cohort = user.mkdir("data") / "mine"
    cohort.mkdir()
    (cohort / "a.hea").write_text("a 1 100 1000\na.dat 16 1000/mV 16 0 0 0 0 II\n")
    (cohort / "labels.csv").write_text("record,patient,AF\n")
    options = [option for option in SMALL if not option.startswith("--ecgfm-cohorts")]
    empty = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-out=empty", "--ecgfm-data=data", *options)
    # That can be seen before the run.
    assert empty.ret == pytest.ExitCode.USAGE_ERROR
    empty.stderr.fnmatch_lines(["ERROR: *labels.csv: no record."])
