"""Runs that end in other ways than by themselves, and checks that run more than once."""

import json
import signal
import subprocess
import sys
import time

import pytest

from pytest_ecgfm.cli import main

pytestmark = pytest.mark.slow

OWN = """
import os
import time

import numpy as np
import pandas as pd
from pytest_ecgfm import ecg_cohort, ecg_model

CALLS = []


@ecg_cohort(sampling_rate=100, leads="II V1")
def tiny():
    targets = np.arange(40) % 3 == 0
    return np.random.default_rng(0).normal(size=(40, 2, 500)), pd.DataFrame({"AF": targets})


def embed(x):
    return np.concatenate([np.std(np.asarray(x), -1), np.ptp(np.asarray(x), -1)], axis=1)


@ecg_model(sampling_rate=100, seconds=5, leads="II V1", pretrained_on=[])
def flaky():
    def model(x):
        CALLS.append(1)
        if len(CALLS) == 1:
            raise RuntimeError("device busy")
        return embed(x)
    return model


@ecg_model(sampling_rate=100, seconds=5, leads="II V1", pretrained_on=[])
def leaves():
    return lambda x: os._exit(0)


@ecg_model(sampling_rate=100, seconds=5, leads="II V1", pretrained_on=[])
def hangs():
    def model(x):
        CALLS.append(1)
        if len(CALLS) > 11:  # eight records are looked at before the first check
            time.sleep(60)
        return embed(x)
    return model
"""
OPTIONS = ("--ecgfm-suites=contract", "--ecgfm-profile=smoke", "--ecgfm-out=run", "-q")


@pytest.fixture
def place(user):
    user.makeconftest(OWN)
    return user


def held(place):
    rows = [json.loads(line) for line in (place.path / "run" / "rows.jsonl").read_text().splitlines()]
    return json.loads((place.path / "run" / "verdict.json").read_text()), rows


def test_reruns_give_one_result_a_check_and_name_what_changed(place):
    pytest.importorskip("pytest_rerunfailures")
    result = place.runpytest_subprocess("--ecgfm=flaky", "--reruns=2", *OPTIONS)
    verdict, rows = held(place)
    assert len(rows) == len({row["check"] for row in rows}) == verdict["encoders"]["flaky"]["counts"]["planned"]
    assert "contract.repeatable[tiny] of flaky changed its result between runs: fail, then" in verdict["notes"][0]
    result.stdout.fnmatch_lines(["note: contract.repeatable?tiny? of flaky changed its result*"])
    assert (place.path / "run" / "cube.nc").is_file() and (place.path / "run" / "generalization.html").is_file()


def test_a_model_that_leaves_does_not_pass_the_gate_of_the_recipes(place, capsys):
    result = place.runpytest_subprocess("--ecgfm=leaves", *OPTIONS)
    assert result.ret == 0
    assert main(["gate", str(place.path / "run")]) == 1
    assert json.loads((place.path / "run" / "verdict.json").read_text())["reasons"] == ["the run has not ended"]
    capsys.readouterr()


def test_a_model_that_hangs_ends_the_run_and_what_was_measured_is_kept(place):
    result = place.runpytest_subprocess("--ecgfm=hangs", "--ecgfm-timeout=1", *OPTIONS)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["! a batch took longer than 1 s (--ecgfm-timeout): model hangs, check *", "verdict: *"]
    )
    verdict, rows = held(place)
    assert verdict["outcome"] in ("incomplete", "fail") and not verdict["complete"] and rows


def test_sigterm_writes_what_there_is(place):
    command = [sys.executable, "-m", "pytest", "--ecgfm=hangs", *OPTIONS]
    process = subprocess.Popen(command, cwd=place.path, stdout=subprocess.PIPE, text=True)
    rows = place.path / "run" / "rows.jsonl"
    until = time.monotonic() + 60
    while not (rows.is_file() and rows.stat().st_size) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    verdict, found = held(place)
    assert "the run was stopped by SIGTERM" in verdict["reasons"] and found
    assert "verdict: " in said


FULL = """

@ecg_model(sampling_rate=100, seconds=5, leads="II V1", pretrained_on=[])
def steady():
    return embed


@pytest.hookimpl(tryfirst=True)
def pytest_configure():
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    pytest_html.basereport.BaseReport._write_report = write
"""


def test_a_report_of_pytest_html_that_finds_no_room_takes_no_verdict_from_the_terminal(place):
    conftest = place.path / "conftest.py"
    conftest.write_text("import errno\nimport pytest\nimport pytest_html.basereport\n" + OWN + FULL, encoding="utf-8")
    result = place.runpytest_subprocess("--ecgfm=steady", *OPTIONS)
    result.stdout.fnmatch_lines(["note: *report.html could not be written: No space left on device", "verdict: *"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert json.loads((place.path / "run" / "verdict.json").read_text(encoding="utf-8"))["outcome"] == "pass"
