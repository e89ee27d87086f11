"""A gate on files, and the clock of a batch."""

import json
import os
import subprocess
import sys

import pytest

from pytest_ecgfm.cli import main
from pytest_ecgfm.results.gate import newest

BASE = {"schema": 2, "outcome": "pass", "complete": True, "started": "2026-01-01T00:00:00Z"}


def put(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "verdict.json").write_text(json.dumps({**BASE, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 0),
        ({"outcome": "fail"}, 1),
        ({"outcome": "incomplete"}, 1),
        ({"complete": False}, 1),
        ({"schema": 1}, 1),
        ({"schema": 3}, 1),
        ({"complete": "yes"}, 1),
        ({"started": None}, 1),
        ({"outcome": "\x1b[2Jpass"}, 1),
        ({"outcome": ["pass"]}, 1),
    ],
)
def test_only_a_complete_pass_passes(tmp_path, changes, status, capsys):
    assert main(["gate", str(put(tmp_path / "run", **changes))]) == status
    assert "\x1b" not in "".join(capsys.readouterr())


def test_no_run_is_no_pass(tmp_path, capsys):
    assert main(["gate", str(tmp_path / "none")]) == 2
    assert "there is no run" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "verdict.json").write_text("[")
    assert main(["gate", str(tmp_path / "run")]) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_no_verdict_and_nobody_waits_for_it(tmp_path, capsys):
    run = put(tmp_path / "run")
    (run / "verdict.json").unlink()
    os.mkfifo(run / "verdict.json")
    assert main(["gate", str(run)]) == 1
    said = capsys.readouterr()
    assert "not a regular file" in said.err and not said.out


def test_an_earlier_pass_does_not_stand_in_for_a_later_run(tmp_path):
    run = put(tmp_path / "run")
    assert newest(run)[1] == "pass"
    put(run / "run-1", started="2026-01-02T00:00:00Z", outcome="incomplete")
    assert newest(run)[1] == "incomplete"
    (run / "run-2" / "arrays").mkdir(parents=True)
    assert newest(run)[1].startswith("verdict.json cannot be read")
    results = tmp_path / "ecgfm-results"
    put(results / "first")
    (results / "latest").symlink_to("first", target_is_directory=True)
    assert newest(results / "latest")[1] == "pass"
    put(results / "second", started="2026-01-02T00:00:00Z", outcome="incomplete")
    assert newest(results / "latest")[1] == "incomplete"


@pytest.mark.parametrize("body", ["time.sleep(30)", "ctypes.PyDLL(None).sleep(30)"])
def test_a_batch_that_takes_too_long_ends_the_process(body):
    script = f"""
import ctypes, time
from pytest_ecgfm.run import watch
watch._GRACE = 0.5
with watch.Watch(0.3, lambda where: print(where, flush=True)).batch("slow", ["r1", "r2"]):
    {body}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=25)
    assert done.returncode == 1
    assert "a batch of 2 records that begins with r1" in done.stdout or "Timeout" in done.stderr
