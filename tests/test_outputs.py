"""The end of a run on a disk that is full, or comes to be: what was measured is told, and nothing is said twice."""

import errno
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.session.outputs import Outputs, RunFolder
from tests.held_runs import EUROPE, settings_of
from tests.made_rows import row

CASES = [Case("downstream.auroc", "m", EUROPE, label, 1.0) for label in ("AF", "STach")]
NAMES = st.text(st.characters(codec=None), max_size=10) | st.sampled_from(["\udcff", "Müller/\udce9", "\x1b[2J", "\0"])


@pytest.fixture(autouse=True)
def no_page(monkeypatch):
    """Draw no page: it takes seconds, and has tests of its own."""
    monkeypatch.setattr(Outputs, "_write_page", lambda _: None)


class Disk:
    """Fails at some of the writes, as a disk does that is full and then is not."""

    def __init__(self, patch, failing):
        self.failing, self.count = failing, 0
        for name in ("write_text", "write_bytes"):
            patch.setattr(Path, name, self.spoilt(getattr(Path, name)))

    def spoilt(self, write):
        def spoilt(path, *args, **kwargs):
            self.count += 1
            if self.count in self.failing:
                path.touch()
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return write(path, *args, **kwargs)

        return spoilt


def begun(place):
    outputs = Outputs(RunFolder(place / "run", "0" * 8), "0" * 8, settings_of("m", [EUROPE], place), {})
    return outputs, place / "run"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(1, 9)))
def test_whichever_write_fails_it_is_told_and_the_rest_is_there(failing):
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        outputs, run = begun(Path(place))
        rows = [row(case=case) for case in CASES]
        for one in rows:
            outputs.append(one)
        Disk(patch, failing)
        verdict = outputs.finish(rows, CASES, ())
        told = " ".join(outputs.problems)
        names = ("verdict.json", "rows.jsonl", "run.toml", "cube", "predictions.csv", "provenance.json")
        lost = [name for name in names if f"{name} could not be" in told]
        assert bool(lost) == (verdict.outcome != "pass")
        file = run / "verdict.json"
        held = json.loads(file.read_text()) if file.exists() else {"outcome": "incomplete"}
        # Never better than what the exit status says.
        assert held["outcome"] in (verdict.outcome, "incomplete") and ("verdict.json" in lost or file.exists())
        # Rows that were written as they came are there, whether they could be written again or not.
        assert len((run / "rows.jsonl").read_text().splitlines()) == len(rows)
        for name in ("rows.jsonl", "run.toml", "cube"):
            lacks = not (run / ("cube.nc" if name == "cube" else name)).exists()
            assert not lacks or f"{name} could not be written" in told
        assert not [path.name for path in run.iterdir() if path.name.endswith(".tmp")]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES, NAMES)
def test_texts_that_are_no_utf_8_cost_no_verdict(reason, note):
    with tempfile.TemporaryDirectory() as place:
        outputs, run = begun(Path(place))
        failed = row("fail", case=CASES[0])
        failed = type(failed)(**{**vars(failed), "reason": reason})
        outputs.append(failed)
        verdict = outputs.finish([failed, row(case=CASES[1])], CASES, [f"trouble {note}"], [note])
        assert verdict.outcome == "fail" and not outputs.problems
        held = json.loads((run / "verdict.json").read_text(encoding="utf-8"))
        assert held["outcome"] == "fail" and (run / "cube.nc").is_file()


def test_a_folder_that_cannot_be_written_ends_the_run_before_it_begins(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(EcgfmError, match="--ecgfm-out: cannot write"):
        begun(tmp_path)


def test_a_disk_that_is_full_from_the_beginning_ends_the_run_before_it_begins(tmp_path, monkeypatch):
    Disk(monkeypatch, range(1, 99))
    with pytest.raises(EcgfmError, match=r"--ecgfm-out: verdict\.json could not be written: No space left"):
        begun(tmp_path)
