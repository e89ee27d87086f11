"""`ecgfm leaderboard`: models on the same cells, seen and unseen apart, and what is set apart."""

import csv
import json
import re
import shutil
from html import unescape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cli import main
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.leaderboard import (
    SEEN,
    UNSEEN,
    Entry,
    _contest,
    leaderboard_lines,
    leaderboard_table,
    read_leaderboard,
)
from pytest_ecgfm.report.leaderboard_page import leaderboard_page
from pytest_ecgfm.report.loaded import load
from tests import finished_runs
from tests.finished_runs import finished, planted

QUALITY = {"good": 0.95, "same": 0.8, "copy": 0.8, "weak": 0.6}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Four models, of which two are one, and one has seen a cohort; and two runs that asked something else."""
    top = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ECGFM_DATA", raising=False)
        for name, quality in QUALITY.items():
            seen = ["synthetic-europe"] if name == "weak" else []
            patch.setattr(finished_runs, "CARD", {**finished_runs.CARD, "pretrained_on": seen})
            release = 1 if name in ("same", "copy") else len(name)
            finished(top / "all" / name, lambda *_, q=quality, r=release: planted(q, r, 100), model=name)
        finished(top / "apart", lambda *_: planted(0.9, 9, 100), model="other", labels="AF")
    return top


def numbers(lines):
    return [line.split(" | ") for line in lines if re.match(r"\| \d", line)]


def test_models_are_ranked_where_none_saw_the_cohort_and_apart_where_one_did(runs):
    ((contest,), (alone,)) = read_leaderboard([runs])
    assert [board.title for board in contest.boards] == [UNSEEN, SEEN]
    for board in contest.boards:
        assert len({cell.cohort for cell in board.cells}) == 1
        assert [entry.name for entry in board.entries] == ["good", "copy", "same", "weak"]
        ranks = {entry.name: place[3:] for entry, place in zip(board.entries, board.places, strict=True)}
        assert ranks["good"] == (1, 1, 1)
        assert ranks["copy"] == ranks["same"] == (2, 2, 3)
        assert ranks["weak"] == (4, 4, 4)
    assert alone.runs == ("apart",)
    assert "no other run was asked the same: " in alone.reason
    lines = "\n".join(leaderboard_lines([contest], [alone]))
    assert "- synthetic-europe: weak: seen" in lines
    assert "synthetic-asia: " not in lines


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(sorted(QUALITY)))
def test_the_order_of_the_runs_does_not_matter(runs, order):
    wanted = list(leaderboard_lines(*read_leaderboard([runs / "all"])))
    assert list(leaderboard_lines(*read_leaderboard([runs / "all" / name for name in order]))) == wanted


def test_the_command_prints_and_writes_what_it_found(runs, tmp_path, capsys):
    page, table = tmp_path / "board.html", tmp_path / "board.csv"
    assert main(["leaderboard", str(runs / "all"), "--html", str(page), "--csv", str(table)]) == 0
    out = capsys.readouterr().out
    assert f"## {UNSEEN}" in out
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["model"] for row in rows] == 2 * ["good", "copy", "same", "weak"]
    assert {row["rank_low"] for row in rows if row["model"] == "copy"} == {"2"}
    words = unescape(re.sub("<[^>]+>", " ", page.read_text()))
    assert f"{UNSEEN}: first: good" in words
    assert "pass of a part" in words
    assert "profile smoke" in words
    assert main(["leaderboard", str(runs / "all"), "--html", str(tmp_path / "no" / "x.html")]) == 2
    assert "--html" in capsys.readouterr().err


def test_a_cell_that_not_all_have_is_left_out_with_the_reason(runs):
    ((contest,), _) = read_leaderboard([runs])
    entries = list(contest.entries)
    held = entries[1].run
    tree = held.tree.copy()
    scores = tree["scores"].to_dataset()
    changed = scores.assign(target=scores["target"].where(scores["cohort"] != "synthetic-asia", 1 - scores["target"]))
    tree["scores"] = type(tree)(changed)
    entries[1] = Entry(type(held)(held.path, tree, held.verdict), entries[1].encoder, entries[1].name)
    found = _contest(entries)
    assert [board.title for board in found.boards] == [SEEN]
    assert {where for where, _ in found.left_out} == {"synthetic-asia, AF", "synthetic-asia, STach"}
    assert all("records, labels or patients of good differ from those of copy" in why for _, why in found.left_out)


def test_one_model_is_no_leaderboard_and_no_run_is_an_error(runs, tmp_path, capsys):
    assert main(["leaderboard", str(runs / "apart")]) == 0
    out = capsys.readouterr().out
    assert "A leaderboard needs two models" in out
    assert "it tested one model, and there is no other run" in out
    with pytest.raises(EcgfmError, match="no run is below"):
        read_leaderboard([tmp_path])
    copy = shutil.copytree(runs / "apart", tmp_path / "broken")
    (copy / "cube.nc").write_bytes(b"no cube")
    _, ((names, reason),) = read_leaderboard([copy])
    assert names == ("broken",)
    assert "cannot be read" in reason


def test_a_model_of_two_runs_is_told_apart_by_their_folders(runs, tmp_path):
    for number in (1, 2):
        shutil.copytree(runs / "all" / "good", tmp_path / f"v{number}")
        shutil.copytree(runs / "all" / "good", tmp_path / "deep" / f"v{number}" / "run")
    ((contest,), _) = read_leaderboard([tmp_path / "deep"])
    assert [entry.name for entry in contest.entries] == ["good (v1/run)", "good (v2/run)"]
    ((contest,), _) = read_leaderboard([tmp_path / "v1", tmp_path / "v2"])
    assert [entry.name for entry in contest.entries] == ["good (v1)", "good (v2)"]
    assert {place[3:] for board in contest.boards for place in board.places} == {(1, 1, 2)}


HOSTILE = ("<script>alert(1)</script>", "a|b", "x\ny", "\x1b[2J", "=1+1", "\u202eabc", "##[error]", "::error::")


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_steers_a_terminal_a_page_or_a_spreadsheet(runs, name, capsys):
    from pytest_ecgfm.report.printed import say

    ((contest,), _) = read_leaderboard([runs / "all"])
    entries = [Entry(one.run, one.encoder, f"{name}{number}") for number, one in enumerate(contest.entries)]
    for entry in entries:
        load(entry.run.path)
    found = [_contest(entries)]
    for line in leaderboard_lines(found, []):
        say(line)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert not re.search(r"^\s*::|##\w*\[", shown, re.MULTILINE)
    rows = [re.sub(r"\\\|", "", line) for line in shown.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in rows}) == 1
    page = leaderboard_page(found, [])
    assert "<script>alert" not in page
    assert "\u202e" not in page
    for cell in leaderboard_table(found)["model"]:
        assert not cell.lstrip().startswith(("=", "+", "-", "@"))
        assert json.dumps(cell).isascii()
