"""A verdict belongs to its cube and rows, or `ecgfm verify` says what does not fit."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cli import main
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.report.verify import verify
from pytest_ecgfm.results.cube import checks_of, write_cube
from pytest_ecgfm.results.cube_files import open_run
from pytest_ecgfm.results.rows import parse_row
from tests.finished_runs import finished, planted

few = settings(max_examples=8, deadline=None)
FILES = ("cube.nc", "rows.jsonl", "run.toml")


@pytest.fixture(scope="module", autouse=True)
def no_data():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ECGFM_DATA", raising=False)
        yield


def mixed(case, found):
    """Passes, one fail, one undecided check, and one with too few records."""
    if case.check == "contract.batch" and case.cohort == "synthetic-asia":
        return Measured.exact(0.5)
    if case.check == "downstream.auroc" and case.cohort == "synthetic-asia":
        return replace(found, positives=6) if case.label == "AF" else replace(found, value=0.8, low=0.6)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("verify") / "run", lambda cohort, label: planted(0.9), edit=mixed)


class Copy:
    """A copy of the run, to tamper with."""

    def __init__(self, run, folder):
        self.folder = Path(folder) / "run"
        shutil.copytree(run, self.folder)

    @property
    def rows(self):
        return [parse_row(line) for line in (self.folder / "rows.jsonl").read_text().splitlines()]

    def write_rows(self, rows):
        (self.folder / "rows.jsonl").write_text("".join(row.to_json() + "\n" for row in rows))

    def write_cube(self, **changes):
        """Write the cube with other groups or attributes."""
        with open_run(self.folder) as held:
            tree = held.load()
        for name, value in changes.items():
            if isinstance(value, xr.Dataset):
                tree[name] = xr.DataTree(value)
            else:
                tree.attrs[name] = value
        write_cube(tree, self.folder / "cube.nc")

    def verdict(self, edit):
        held = json.loads((self.folder / "verdict.json").read_text())
        edit(held)
        (self.folder / "verdict.json").write_text(json.dumps(held))

    def signed(self):
        """Let the verdict state the digests of what is there now, as a forger would."""
        digests = {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in FILES}
        self.verdict(lambda held: held.update(digests=digests))
        return verify(self.folder)


@pytest.fixture
def copy(run, tmp_path):
    return Copy(run, tmp_path)


def test_a_run_as_it_was_written_fits(run, capsys):
    assert verify(run) == []
    assert main(["verify", str(run)]) == 0
    assert "the verdict belongs to this run" in capsys.readouterr().out
    outcomes = {json.loads(line)["outcome"] for line in (run / "rows.jsonl").read_text().splitlines()}
    assert outcomes == {"pass", "fail", "inconclusive", "insufficient"}


@few
@given(data=st.data())
def test_a_changed_byte_is_found_and_its_file_named(run, data):
    name = data.draw(st.sampled_from(FILES))
    with TemporaryDirectory() as folder:
        copy = Copy(run, folder)
        held = bytearray((copy.folder / name).read_bytes())
        held[data.draw(st.integers(0, len(held) - 1))] ^= data.draw(st.integers(1, 255))
        (copy.folder / name).write_bytes(held)
        assert any(problem.startswith(name) for problem in verify(copy.folder))


@few
@given(data=st.data())
def test_a_changed_row_is_found_also_where_the_digests_were_made_anew(run, data):
    with TemporaryDirectory() as folder:
        copy = Copy(run, folder)
        rows = copy.rows
        number = data.draw(st.integers(0, len(rows) - 1))
        field = data.draw(st.sampled_from(["value", "low", "high", "threshold", "outcome", "tier", "reason"]))
        held = getattr(rows[number], field)
        other = {"outcome": ("pass", "fail"), "tier": ("blocking", "advisory"), "reason": ("none", "x")}
        drawn = st.sampled_from(other[field]) if field in other else st.floats(-2, 2)
        rows[number] = replace(rows[number], **{field: data.draw(drawn.filter(lambda one: one != held))})
        copy.write_rows(rows)
        problems = copy.signed()
        assert any(rows[number].check in one and f"{field} is" in one for one in problems), problems


@few
@given(data=st.data())
def test_rows_and_cube_that_were_changed_alike_are_found_by_judging_again(run, data):
    with TemporaryDirectory() as folder:
        copy = Copy(run, folder)
        rows = copy.rows
        field = data.draw(st.sampled_from(["threshold", "outcome", "tier", "why"]))
        number = data.draw(
            st.sampled_from([n for n, row in enumerate(rows) if field != "outcome" or row.outcome != "insufficient"])
        )
        row = rows[number]
        new = {
            "threshold": row.threshold + data.draw(st.floats(0.01, 1.0)) * data.draw(st.sampled_from([1, -1])),
            "outcome": data.draw(st.sampled_from(sorted({"pass", "fail", "inconclusive"} - {row.outcome}))),
            "tier": {"blocking": "advisory", "advisory": "blocking"}[row.tier],
            "why": f"{row.why} (or so)",
        }
        rows[number] = replace(row, **{field: new[field]})
        copy.write_rows(rows)
        copy.write_cube(checks=checks_of(rows))
        assert any(row.check in one for one in copy.signed())


def test_a_changed_threshold_is_named(copy):
    rows = copy.rows
    number = next(number for number, row in enumerate(rows) if row.outcome == "fail")
    rows[number] = replace(rows[number], threshold=0.9, outcome="pass", reason="")
    copy.write_rows(rows)
    copy.write_cube(checks=checks_of(rows))
    told = copy.signed()
    assert any("threshold is maximum 0.9, but the profile of the run demands maximum 0.02" in one for one in told), told
    # Nor does it help to change the profile as well.
    profile = (copy.folder / "run.toml").read_text().replace("maximum = 0.02", "maximum = 0.9")
    (copy.folder / "run.toml").write_text(profile)
    copy.write_cube(profile=profile)
    assert any("profile in cube.nc: not what the run was asked for" in one for one in copy.signed())


def test_values_behind_the_checks_are_compared(copy):
    with open_run(copy.folder) as held:
        downstream = held["downstream"].to_dataset().load()
    downstream["auroc_mean"] = downstream["auroc_mean"] + 0.01
    copy.write_cube(downstream=downstream)
    assert any("auroc_mean in /downstream of cube.nc is not what rows.jsonl holds" in one for one in copy.signed())


def test_a_swapped_verdict_is_found(copy, tmp_path):
    other = finished(tmp_path / "other", lambda cohort, label: planted(0.95))
    shutil.copy(other / "verdict.json", copy.folder / "verdict.json")
    told = verify(copy.folder)
    assert any(one.startswith("cube.nc is not what the verdict is about") for one in told)
    assert any("run_id is 'other' there, and 'run' in cube.nc" in one for one in copy.signed())


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda held: held.update(outcome="pass"), "outcome is 'pass'"),
        (lambda held: held["encoders"]["m"].update(outcome="pass"), "outcome of m is 'pass'"),
        (lambda held: held["encoders"]["m"]["counts"].update(fail=0), "counts of m"),
        (lambda held: held["encoders"]["m"]["reasons"].clear(), "reasons of m"),
        (lambda held: held["encoders"]["m"]["basis"]["suites"].update(downstream=[]), "basis of m"),
        (lambda held: held["reasons"].clear(), "reasons is []"),
        (lambda held: held.update(complete=False), "complete is False"),
        (lambda held: held.update(summary="all is well"), "summary is 'all is well'"),
        (lambda held: held.update(digests={}), "states no digest of cube.nc"),
        (lambda held: held["identity"]["narrowed"].clear(), "options narrowed the run"),
        (lambda held: held["identity"].update(profile_digest="ab"), "its profile is not the one that verdict"),
        (lambda held: held["identity"]["encoders"]["m"].update(weights_sha256="cd"), "weights of m is 'cd' there"),
        (lambda held: held["identity"]["encoders"]["m"].update(version="9"), "card's version of m is '9' there"),
        (lambda held: held["identity"]["cohorts"].update({"synthetic-asia": "x"}), "records of synthetic-asia"),
        (lambda held: held["identity"]["encoders"]["m"].update(gated_nowhere=["AF"]), "labels gated nowhere of m"),
    ],
)  # fmt: skip
def test_an_edited_verdict_is_found(copy, edit, told, capsys):
    copy.verdict(edit)
    problems = verify(copy.folder)
    assert any(told in one for one in problems), problems
    assert main(["verify", str(copy.folder)]) == 1
    assert "the verdict does not belong to this run" in capsys.readouterr().err


def test_a_badge_of_another_run_is_found(copy):
    (copy.folder / "badge.json").write_text('{"schemaVersion": 1, "label": "ecgfm", "message": "pass", "color": "red"}')
    assert verify(copy.folder) == ["badge.json shows another verdict"]


@pytest.mark.parametrize("name", [*FILES, "badge.json"])
def test_a_file_that_is_gone_is_named(copy, name):
    (copy.folder / name).unlink()
    assert any(name in one for one in verify(copy.folder))


def test_no_verdict_and_one_of_another_schema_are_bad_input(copy, capsys):
    copy.verdict(lambda held: held.update(schema=1))
    assert main(["verify", str(copy.folder)]) == 2
    assert "verdict.json has schema 1, but this release verifies 2" in capsys.readouterr().err
    copy.verdict(lambda held: held.update(schema=2, complete="perhaps"))
    assert main(["verify", str(copy.folder)]) == 2
    assert "verdict.json: complete: " in capsys.readouterr().err
    (copy.folder / "verdict.json").unlink()
    assert main(["verify", str(copy.folder)]) == 2


def test_a_run_that_went_wrong_fits_as_well(tmp_path):
    folder = finished(tmp_path / "run", lambda cohort, label: planted(0.9), trouble=["worker gw0 crashed"])
    assert json.loads((folder / "verdict.json").read_text())["outcome"] == "incomplete"
    assert verify(folder) == []
