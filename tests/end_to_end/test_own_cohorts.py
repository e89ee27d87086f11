import json

import pytest

from tests.end_to_end.conftest import MODELS

pytestmark = pytest.mark.slow

COHORTS = '''
import pandas as pd
from pytest_ecgfm import ecg_cohort


@pytest.fixture(scope="session")
def drawn():
    rng = np.random.default_rng(0)
    targets = np.arange(240) % 3 == 0
    return targets, rng.normal(size=(240, 2, 500)) * np.where(targets, 1.5, 1.0)[:, None, None]


@ecg_cohort(sampling_rate=100, leads="II V1", continent="Europe")
def my_hospital(drawn):
    """Positives have the larger amplitude."""
    return drawn[1], pd.DataFrame({"AF": drawn[0], "patient": np.arange(240) // 2})


@ecg_cohort(name="other", sampling_rate=100, leads="II V1")
def read_one_by_one(drawn):
    """The same records, read when they are needed."""
    return lambda record: drawn[1][int(record)], pd.DataFrame({"AF": drawn[0]})
'''
OPTIONS = ("--ecgfm-suites=downstream,contract", "--ecgfm-labels=AF", "--ecgfm-fractions=1", "--ecgfm-profile=smoke")


@pytest.fixture
def hospital(user):
    user.makeconftest("import pytest\n" + MODELS + COHORTS)
    return user


def test_a_cohort_of_ones_own_is_evaluated(hospital, run_folder):
    result = hospital.runpytest_subprocess("--ecgfm=spread", *OPTIONS)
    rows = [json.loads(line) for line in (run_folder() / "rows.jsonl").read_text().splitlines()]
    found = {row["check"]: row for row in rows}
    assert {row["cohort"] for row in rows if row["cohort"]} == {"my_hospital", "other"}
    assert found["downstream.auroc[my_hospital,AF,1]"]["outcome"] == "pass"
    assert found["downstream.auroc[other,AF,1]"]["counts"]["n_test"] == 240
    result.stdout.fnmatch_lines(["ecgfm: cohorts my_hospital, other from *"])


def test_it_is_listed(hospital):
    result = hospital.runpytest_subprocess("--ecgfm-list")
    result.stdout.fnmatch_lines(["*my_hospital (Europe): declared in conftest.py:*"])


def test_what_is_wrong_with_it_is_one_line(hospital):
    with (hospital.path / "conftest.py").open("a") as handle:
        handle.write('\n\n@ecg_cohort(name="ptb-xl", sampling_rate=100)\ndef taken(): ...\n')
    result = hospital.runpytest_subprocess("--ecgfm=spread", *OPTIONS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: conftest.py:*: the name 'ptb-xl' is that of a published cohort; choose*"])


def test_a_fixture_that_returns_something_else_is_refused_before_the_run(hospital):
    with (hospital.path / "conftest.py").open("a") as handle:
        handle.write("\n\n@ecg_cohort(sampling_rate=100)\ndef nothing():\n    return None\n")
    options = ("--ecgfm-profile=smoke", "--ecgfm-suites=downstream", "--ecgfm-labels=AF", "--ecgfm-cohorts=nothing")
    result = hospital.runpytest_subprocess("--ecgfm=spread", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: *cohort nothing: the fixture returned NoneType, but should return (signals, *"]
    )


def test_a_fixture_that_others_make_cannot_be_measured(hospital, run_folder):
    with (hospital.path / "conftest.py").open("a") as handle:
        handle.write("\n\n@ecg_cohort(sampling_rate=100)\ndef nothing(drawn):\n    return None\n")
    options = ("--ecgfm-profile=smoke", "--ecgfm-suites=downstream", "--ecgfm-labels=AF", "--ecgfm-cohorts=nothing")
    result = hospital.runpytest_subprocess("--ecgfm=spread", *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["verdict: INCOMPLETE"])
    row = json.loads((run_folder() / "rows.jsonl").read_text().splitlines()[0])
    assert row["outcome"] == "error"
    assert "cohort nothing: the fixture returned NoneType, but should return (signals, table)" in row["reason"]
