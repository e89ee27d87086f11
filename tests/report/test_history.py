"""Runs as releases: what was lost little by little, what changed, and what is set apart."""

import json
import re

import pytest

from pytest_ecgfm.cli import main
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.report.compare import differences
from pytest_ecgfm.report.history import find_runs, history_lines, read_history
from pytest_ecgfm.report.history_page import history_page
from pytest_ecgfm.report.loaded import load
from tests.finished_runs import finished, planted

ASIA, EUROPE = "synthetic-asia", "synthetic-europe"


@pytest.fixture(scope="module", autouse=True)
def no_data():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ECGFM_DATA", raising=False)
        yield


def release(folder, number, quality, **options):
    """One release: AF in Asia as good as planted, everything else as the first."""

    def scores(cohort, label):
        return planted(quality if (cohort, label) == (ASIA, "AF") else 0.9, release=number)

    options.setdefault("weights", f"{number}" * 64)
    return finished(folder, scores, started=f"2026-01-{number:02d}T00:00:00Z", **options)


def slower(case, found):
    """The check of batches fails from here on."""
    return Measured.exact(0.5) if case.check == "contract.batch" and case.cohort == EUROPE else found


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """Five releases that lose 0.012 each, each held against the one before; and the last against the first."""
    top, before = tmp_path_factory.mktemp("history"), None
    for number in range(1, 6):
        held = {} if before is None else {"baseline": str(before)}
        edit = slower if number == 4 else None
        before = release(top / "all" / f"v{number}", number, 0.9 - 0.012 * (number - 1), edit=edit, **held)
    frozen = release(top / "frozen", 5, 0.9 - 0.048, baseline=str(top / "all" / "v1"))
    return top / "all", frozen


def changes(folder):
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return {row["check"]: row["outcome"] for row in rows if row["check"].startswith("downstream.auroc_change")}


def test_a_loss_that_no_step_shows_is_found_over_the_releases_and_by_a_frozen_baseline(five, capsys):
    folder, frozen = five
    for number in range(2, 6):
        found = changes(folder / f"v{number}")
        assert len(found) == 4 and set(found.values()) == {"pass"}, found
    outcomes = changes(frozen)
    assert outcomes.pop(f"downstream.auroc_change[{ASIA},AF,since-v1]") == "fail"
    assert set(outcomes.values()) == {"pass"}
    assert main(["history", str(folder)]) == 0
    out = capsys.readouterr().out
    (told,) = [line for line in out.splitlines() if line.startswith("SLOW LOSS")]
    assert f"SLOW LOSS in {ASIA}, AF: AUROC of release 5 minus that of release 1 (v1) is -0.0" in told
    assert "each step was within the margin of -0.02" in told
    page = (folder / "history.html").read_text()
    assert "slow loss in 1 cell" in page.partition("<h1>")[2].partition("</h1>")[0]


def test_the_loss_is_the_paired_difference_of_the_two_runs(five):
    ((series,), _) = read_history([five[0]])
    (loss,) = series.slow
    runs = [load(five[0] / name) for name in ("v1", "v5")]
    found = next(one.found for one in differences(*runs, "m", "m") if (one.cohort, one.label) == (ASIA, "AF"))
    assert (loss.since_first.value, loss.since_first.low, loss.since_first.high) == (found.value, found.low, found.high)
    assert loss.release == 4 and loss.since_first.outcome == "fail" and loss.since_last.outcome == "pass"


def test_what_changed_its_outcome_is_told_with_what_else_changed(five):
    ((series,), apart) = read_history([five[0]])
    assert apart == []
    assert [(name, number, then.outcome, now.outcome) for name, number, then, now in series.changed] == [
        (f"contract.batch[{EUROPE}]", 3, "pass", "fail"),
        (f"contract.batch[{EUROPE}]", 4, "fail", "pass"),
    ]
    assert series.differs(3) == ["weights"]
    text = "\n".join(history_lines([series], apart))
    assert f"- contract.batch[{EUROPE}], release 4: pass (0.020), then fail (0.500); changed: weights" in text
    # Each release has another baseline, so that the check is named without it.
    assert f"| downstream.auroc_change[{ASIA},AF,since-its-baseline] |  | -0.0" in text


def test_every_value_is_on_the_page_and_it_asks_for_nothing(five):
    series, apart = read_history([five[0]])
    page = history_page(series, apart)
    held = {float(one) for one in re.findall(r'<data value="([^"]+)">', page)}
    for one in series[0].releases:
        assert {found.value.value for found in one.checks.values()} <= held
    assert not re.search(r"(src|href)=\"(?!#)", page) and "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") > 10 and "Set apart" not in page


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"labels": "AF"}, "suites, labels, fractions, cohorts or limits, what options left out differ from v1"),
        ({"cohorts": ASIA}, "suites, labels, fractions, cohorts or limits, the records"),
        ({"profile": "PROFILE"}, "the profile"),
        ({"limit": "100"}, "suites, labels, fractions, cohorts or limits, what options left out differ from v1"),
        ({"model": "other"}, "no other run tests other"),
    ],
)
def test_runs_that_were_asked_something_else_are_set_apart(five, tmp_path, options, told):
    if "profile" in options:
        path = tmp_path / "own.toml"
        path.write_text('extends = "smoke"\n[[check]]\nname = "downstream.auroc"\nminimum = 0.85\n')
        options = {"profile": str(path)}
    release(tmp_path / "runs" / "odd", 3, 0.876, **options)
    series, (apart,) = read_history([five[0], tmp_path / "runs"])
    assert [len(one.releases) for one in series] == [5]
    assert apart.runs == ("odd",) and told in apart.reason


def test_other_records_and_other_schemas_are_set_apart(tmp_path):
    for number in (1, 2):
        release(tmp_path / f"v{number}", number, 0.9)
    for name, number in (("older", 3), ("cut", 4)):
        release(tmp_path / name, number, 0.9)
    held = json.loads((tmp_path / "older" / "verdict.json").read_text())
    (tmp_path / "older" / "verdict.json").write_text(json.dumps({**held, "schema": 1, "identity": None}))
    (tmp_path / "cut" / "cube.nc").unlink()
    held = json.loads((tmp_path / "v2" / "verdict.json").read_text())
    held["identity"]["cohorts"][ASIA] = "other records"
    (tmp_path / "v2" / "verdict.json").write_text(json.dumps(held))
    series, apart = read_history([tmp_path])
    told = {one.runs[0]: one.reason for one in apart}
    assert series == [] and set(told) == {"v1", "v2", "older", "cut"}
    assert "verdict.json of schema 1 does not say what was asked for" in told["older"]
    assert "no cube.nc there" in told["cut"] and "the records differ from v2" in told["v1"]
    assert "no two runs that were asked the same" in history_page(series, apart)


def test_a_loss_that_was_made_good_and_a_loss_at_once_are_no_slow_loss(tmp_path):
    for number, quality in enumerate((0.9, 0.888, 0.876, 0.888, 0.9), 1):
        release(tmp_path / "good" / f"v{number}", number, quality)
    for number, quality in enumerate((0.9, 0.9, 0.84, 0.84), 1):
        release(tmp_path / "bad" / f"v{number}", number, quality)
    for name in ("good", "bad"):
        ((series,), _) = read_history([tmp_path / name])
        assert series.slow == [], name
    assert series.losses[-4].since_first.outcome == "fail"


def test_names_are_joined_only_where_that_is_asked_for(tmp_path):
    for number in (1, 2):
        release(tmp_path / f"v{number}", number, 0.9, model=f"m{number}")
    series, apart = read_history([tmp_path])
    assert series == [] and len(apart) == 2
    ((series,), apart) = read_history([tmp_path], any_name=True)
    assert [one.encoder for one in series.releases] == ["m1", "m2"] and not apart and len(series.losses) == 4


def test_hostile_names_are_text(tmp_path):
    evil = "<img src=x onerror=alert(1)>\x1b[2J"
    for number in (1, 2):
        folder = release(tmp_path / "all" / f"v{number}", number, 0.9)
        folder.rename(folder.with_name(f"{evil.replace('/', '')}{number}"))
    series, apart = read_history([tmp_path])
    page = history_page(series, apart)
    assert "<img" not in page and "&lt;img src=x" in page


def test_links_are_not_followed_and_no_run_is_bad_input(tmp_path, capsys):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "verdict.json").write_text("{}")
    (tmp_path / "latest").symlink_to("one", target_is_directory=True)
    assert find_runs([tmp_path, tmp_path / "one"]) == [(tmp_path / "one").resolve()]
    (tmp_path / "none").mkdir()
    with pytest.raises(EcgfmError, match="no run is below"):
        find_runs([tmp_path / "none"])
    assert main(["history", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
