"""Runs from the command line to exit status, files and reports."""

import fnmatch
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import xarray as xr

from pytest_ecgfm.report.verify import verify
from pytest_ecgfm.results.checks import CHECKS
from tests.encoders.test_exported import CARD, export
from tests.end_to_end.conftest import SMALL

pytestmark = pytest.mark.slow

CONTRACT = sum(kind.suite == "contract" for kind in CHECKS.values())

GRID = tuple(option for option in SMALL if not option.startswith("--ecgfm-limit"))


def verdict_of(folder):
    return json.loads((folder / "verdict.json").read_text())


@pytest.mark.usefixtures("fresh")
def test_handcrafted_passes_and_everything_is_written(user, run_folder):
    result = user.runpytest_subprocess("--ecgfm=handcrafted", *GRID)
    assert result.ret == 0, result.stdout.str()
    result.stdout.fnmatch_lines(["handcrafted: PASS (4 pass, 0 fail, *", "verdict: PASS OF A PART", "run: *"])
    folder = run_folder()
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "cube.nc",
        "verdict.json",
        "rows.jsonl",
        "run.toml",
        "report.html",
        "badge.json",
        "provenance.json",
        "generalization.html",
        "predictions.csv",
    }
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert verify(folder) == []
    tree = xr.open_datatree(folder / "cube.nc", engine="h5netcdf")
    auroc = tree["downstream"]["auroc"].sel(encoder="handcrafted", probe="logistic", label="AF").squeeze("cohort")
    assert auroc.sel(fraction=1.0, seed=0) > 0.9
    assert auroc.sel(fraction=0.1).notnull().sum() == 5
    assert auroc.sel(fraction=1.0, seed=0) > auroc.sel(fraction=0.1).mean()
    assert auroc.attrs["higher_is_better"] == 1
    assert tree.attrs["complete"] == 1
    assert tree["checks"].sizes["check"] == 4
    scores = tree["scores"].sel(encoder="handcrafted", label="AF")
    tested = scores["target"].notnull()
    assert tested.sum() > 900
    # The per-record scores are those from which the AUROC was computed.
    from sklearn.metrics import roc_auc_score

    again = roc_auc_score(scores["target"].values[tested], scores["score"].values[tested])
    assert again == pytest.approx(float(auroc.sel(fraction=1.0, seed=0)), abs=1e-4)


def test_an_encoder_of_constants_fails_with_its_values_in_the_cube(user, run_folder):
    result = user.runpytest_subprocess("--ecgfm=constants", *GRID)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*downstream.auroc?synthetic-europe,AF,1? = 0.5, but should be >= *"])
    tree = xr.open_datatree(run_folder() / "cube.nc", engine="h5netcdf")
    auroc = tree["downstream"]["auroc"].sel(encoder="constants")
    assert np.nanmax(abs(auroc.values - 0.5)) == 0
    assert verdict_of(run_folder())["outcome"] == "fail"


@pytest.mark.usefixtures("fresh")
def test_parallel_and_serial_runs_agree(user, run_folder, remove_results):
    workers = {}

    def rows(*options):
        result = user.runpytest_subprocess("--ecgfm=spread,constants", *options, *GRID)
        lines = result.stdout.str()
        found = re.findall(r"\[(gw\d)\].* \S+::\w+\[(\w+)-synthetic-europe", lines)
        scheduled = re.findall(r"scheduling tests via (\w+)", lines)
        workers[options] = (scheduled, sorted({(encoder, worker) for worker, encoder in found}))
        text = (run_folder() / "rows.jsonl").read_text()
        verdict = (run_folder() / "verdict.json").read_text()
        made = json.loads((run_folder() / "provenance.json").read_text())
        assert {"pytest", "--ecgfm=spread,constants"} <= set(made.pop("command"))
        made = {name: value for name, value in made.items() if name not in ("run_id", "started", "finished", "files")}
        remove_results()
        # Times and the run's id are all that may differ, to the byte.
        times = r'"(run_id|started|finished|cube.nc|rows.jsonl|provenance.json)": "[^"]*"'
        return re.sub(r'"arrays": "[^"]*"', "", text), re.sub(times, "", verdict), made

    first = rows("-n", "2", "-v")
    assert first == rows() == rows("-n", "2", "-v", "--dist=load")
    # What shares embeddings and probes is evaluated by one worker, unless the user says otherwise.
    scheduled, pairs = workers["-n", "2", "-v"]
    assert scheduled == ["ByGroup"]
    assert [encoder for encoder, _ in pairs] == ["constants", "spread"]
    assert {worker for _, worker in pairs} == {"gw0", "gw1"}
    assert workers["-n", "2", "-v", "--dist=load"][0] == ["LoadScheduling"]


def test_reports_of_pytest_carry_our_values(user, run_folder):
    user.runpytest_subprocess("--ecgfm=spread", "--junitxml=junit.xml", "--html=own.html", *SMALL)
    properties = {
        element.get("name"): element.get("value")
        for element in ElementTree.parse(user.path / "junit.xml").iter("property")
    }
    assert {"check", "outcome", "tier", "value", "low", "high", "threshold", "reason"} <= set(properties)
    page = (user.path / "own.html").read_text()
    assert "downstream.auroc_gain[synthetic-europe,AF,1,vs-demographics]" in page
    assert "Verdict: " in page
    assert not (run_folder() / "report.html").exists()


@pytest.mark.parametrize("options", [("-k", "gain"), ("--deselect-nothing",), ("-m", "not ecgfm_downstream")])
def test_a_part_is_never_a_pass(user, run_folder, options):
    if options == ("--deselect-nothing",):
        user.makepyfile(deselecting="def pytest_collection_modifyitems(items): del items[0]")
        user.syspathinsert()
        options = ("-p", "deselecting")
    result = user.runpytest_subprocess("--ecgfm=handcrafted", *options, *GRID)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["verdict: INCOMPLETE"])
    told = verdict_of(run_folder())
    assert told["complete"] is False
    # By the badge alone, the verdict alone, the page's first line alone: not the same run as one without the option.
    named = "a plugin" if options[0] == "-p" else options[0]
    assert named in told["identity"]["narrowed"]
    badge = json.loads((run_folder() / "badge.json").read_text())["message"]
    title = (run_folder() / "generalization.html").read_text().partition("<h1>")[2].partition("</h1>")[0]
    title = re.sub("<[^>]+>", "", title)
    assert all("of a part" in one and one.endswith(named) for one in (badge, title))


def test_skipping_everything_is_never_a_pass(user):
    user.makepyfile(
        skip_all="""
        import pytest
        def pytest_runtest_setup(item): pytest.skip("not today")
        """
    )
    user.syspathinsert()
    result = user.runpytest_subprocess("--ecgfm=handcrafted", "-p", "skip_all", *GRID)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*not today*"])


def test_an_incomplete_run_does_not_hide_a_complete_one(user):
    user.runpytest_subprocess("--ecgfm=spread", *SMALL)
    latest = user.path / "ecgfm-results" / "latest"
    complete = latest.resolve()
    user.runpytest_subprocess("--ecgfm=spread", "-k", "gain", *SMALL)
    assert latest.resolve() == complete
    user.runpytest_subprocess("--ecgfm=spread", *SMALL)
    assert latest.resolve() != complete


def test_a_folder_that_holds_a_run_keeps_it(user):
    user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-out=out", *SMALL)
    before = (user.path / "out" / "cube.nc").read_bytes()
    again = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-out=out", "-k", "gain", *SMALL)
    assert (user.path / "out" / "cube.nc").read_bytes() == before
    again.stdout.fnmatch_lines(["ecgfm: --ecgfm-out=*out holds an earlier run, which stays; this one goes to *run-*"])
    again.stdout.fnmatch_lines(["note: --ecgfm-out=*out holds an earlier run, which stays; this one goes to *run-*"])
    assert [path.name for path in (user.path / "out").glob("run-*")]


def test_a_crashed_worker_loses_nothing_that_was_measured(user, run_folder):
    with (user.path / "conftest.py").open("a") as handle:
        handle.write(
            """
import os

@ecg_model(sampling_rate=50, seconds=5, leads="II V1", pretrained_on=[])
def crashing():
    os._exit(3)
"""
        )
    result = user.runpytest_subprocess("--ecgfm=spread,crashing", "-n", "2", "--max-worker-restart=0", *SMALL)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    verdict = verdict_of(run_folder())
    assert verdict["complete"] is False
    assert any("crashed" in reason for reason in verdict["reasons"])
    assert (run_folder() / "cube.nc").exists()


def test_a_model_that_breaks_is_a_fail_with_its_reason(user, run_folder):
    with (user.path / "conftest.py").open("a") as handle:
        handle.write(
            """
@ecg_model(sampling_rate=50, seconds=5, leads="II V1", pretrained_on=[])
def not_finite():
    return lambda x: np.full((len(x), 4), np.nan)
"""
        )
    result = user.runpytest_subprocess("--ecgfm=not_finite", *SMALL)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*NotAnEmbedding: cohort synthetic-europe: model 'not_finite': the embedding of record *"]
    )
    result.stdout.no_fnmatch_line("*embeddings.py*")
    rows = [json.loads(line) for line in (run_folder() / "rows.jsonl").read_text().splitlines()]
    assert {row["outcome"] for row in rows} == {"fail"}
    assert {row["value"] for row in rows} == {None}
    assert len(rows) == 4


def test_few_positives_are_insufficient_and_never_a_pass(user, run_folder):
    result = user.runpytest_subprocess(
        "--ecgfm=handcrafted", *GRID, "--ecgfm-labels=LBBB", "--ecgfm-limit=60", "--ecgfm-fractions=1"
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*nothing was measured*", "verdict: INCOMPLETE"])
    (row, *_) = [json.loads(line) for line in (run_folder() / "rows.jsonl").read_text().splitlines()]
    assert row["outcome"] == "insufficient"
    assert re.search(r"\d+ positive, \d+ negative of \d+ records", row["reason"])


@pytest.mark.usefixtures("fresh")
def test_a_run_can_be_repeated_from_its_file(user, run_folder, remove_results):
    user.runpytest_subprocess("--ecgfm=spread", *SMALL)
    rows = (run_folder() / "rows.jsonl").read_text()
    (user.path / "run.toml").write_bytes((run_folder() / "run.toml").read_bytes())
    remove_results()
    user.runpytest_subprocess("--ecgfm-profile=run.toml")
    assert (run_folder() / "rows.jsonl").read_text() == rows


def test_list(user):
    result = user.runpytest_subprocess("--ecgfm-list")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "models:",
            "  constants: *",
            "  handcrafted: *",
            "cohorts (embedded)*",
            "  synthetic-europe (Europe): *",
            "checks:",
        ]
    )


USAGE_ERRORS = [
    (["--ecgfm="], "--ecgfm was given without a value."),
    (["--ecgfm=handcraftet"], "--ecgfm: unknown model 'handcraftet'. Did you mean 'handcrafted'? Valid: *"),
    (["--ecgfm=spread", "--ecgfm-cohorts=synthetic-asai"], "*unknown cohort *Did you mean 'synthetic-asia'?*"),
    (["--ecgfm=spread", "--ecgfm-labels=AFIB"], "*label 'AFIB'*Did you mean 'AF'?*"),
    (["--ecgfm=spread", "--ecgfm-fractions=0.5,2"], "*--ecgfm-fractions: '2' should be above 0 *"),
    (["--ecgfm=spread", "--ecgfm-suites=downstraem"], "*unknown suite *Did you mean 'downstream'?*"),
    (["--ecgfm=spread", "--ecgfm-profile=relaese"], "*unknown profile 'relaese'*"),
    (["--ecgfm=spread", "--ecgfm-profile=none.toml"], "*profile none.toml: no such file*"),
    (["--ecgfm=spread", "--ecgfm-reference=nobody"], "*--ecgfm-reference: unknown model 'nobody'*"),
    (["--ecgfm=spread", "--ecgfm-reference=none,handcrafted"], "*none and handcrafted exclude each other*"),
    (["--ecgfm=spread", "--ecgfm-timeout=0"], "--ecgfm-timeout=0: should be a number of seconds*"),
    (["--ecgfm=spread", "--ecgfm-timeout=nan"], "--ecgfm-timeout=nan: should be a number of seconds*"),
    (["--ecgfm=spread", "--ecgfm-data=empty"], "*empty: no cohort found. Layouts that are recognised: *"),
    (["--ecgfm=spread", "--ecgfm-data=missing"], "*missing: no such folder*"),
    (["--ecgfm=spread", "--ecgfm-fractions=0.3,1"], "profile default: no *check* entry *holds for fraction 0.3."),
    (["--ecgfm=spread", "--ecgfm-fractions=0.3"], "profile default: no *check* entry *holds for fraction 0.3."),
    (["--ecgfm=spread", "--ecgfm-limit=0"], "--ecgfm-limit=0: should be a whole number, 1 or more."),
    (["--ecgfm=spread", "--ecgfm-device=tpu"], "--ecgfm-device=tpu: not a device. Valid: *"),
    (["--ecgfm=spread", "--ecgfm-batch-size=none"], "--ecgfm-batch-size=none: should be auto, or *"),
    (["--ecgfm=spread", "--ecgfm-precision=int8"], "*unknown precision 'int8'*"),
    (
        ["--ecgfm=ecgfounder"],
        "model 'ecgfounder' needs its weights: 12_lead_ECGFounder.pth from hf://PKUDigitalHealth/ECGFounder *"
        "Give --ecgfm-checkpoint=ecgfounder=PATH.",
    ),
    (
        ["--ecgfm=ecgfounder", "--ecgfm-checkpoint=ecgfounder=none.pth"],
        "--ecgfm-checkpoint=ecgfounder=none.pth: no such file or folder.",
    ),
    (["--ecgfm=spread", "--ecgfm-checkpoint=x"], "--ecgfm-checkpoint=x: should be NAME=PATH*"),
    (["--ecgfm=spread", "--ecgfm-checkpoint=spraed=x"], "--ecgfm-checkpoint: unknown model 'spraed'*'spread'*"),
    (["--ecgfm=misdeclared"], "conftest.py:*: card of 'misdeclared': unknown field *'sampling_rate'*"),
    (["--ecgfm=mislead"], "conftest.py:*: card of 'mislead': *unknown lead 'V7'*"),
]

EACH = """
import contextlib, io, json, sys
import pytest

found = []
for options in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        status = pytest.main(options)
    found.append([status, said.getvalue()])
print(json.dumps(found))
"""


def test_usage_errors_are_one_line_and_exit_4(user):
    (user.path / "empty").mkdir()
    with (user.path / "conftest.py").open("a") as handle:
        handle.write(
            """
@ecg_model(sampling_freq=50)
def misdeclared(): ...

@ecg_model(leads="II V7")
def mislead(): ...
"""
        )
    # One process for all: nothing has been evaluated where an option is wrong, and most of the time goes into imports.
    given = json.dumps([options for options, _ in USAGE_ERRORS])
    process = subprocess.run([sys.executable, "-c", EACH], input=given, capture_output=True, text=True, check=True)
    results = json.loads(process.stdout)
    assert len(results) == len(USAGE_ERRORS)
    for (options, message), (status, said) in zip(USAGE_ERRORS, results, strict=True):
        lines = [line for line in said.splitlines() if line.strip()]
        assert len(lines) == 1, (options, lines)
        assert fnmatch.fnmatch(lines[0], f"ERROR: {message}"), (options, lines)
        assert status == pytest.ExitCode.USAGE_ERROR, options
    assert not (user.path / "ecgfm-results").exists()


def test_an_exported_model_is_tested_by_its_card(user, run_folder):
    export(user.path / "model.onnx")
    (user.path / "mine.toml").write_text(CARD.replace("mine", "exported"))
    result = user.runpytest_subprocess("--ecgfm=mine.toml", "--ecgfm-suites=contract", *SMALL[1:])
    assert result.ret == 0, result.stdout.str()
    result.stdout.fnmatch_lines([f"mine: PASS ({CONTRACT} pass, *"])
    attributes = json.loads(xr.open_datatree(run_folder() / "cube.nc", engine="h5netcdf").attrs["encoders"])
    assert len(attributes["mine"]["weights_sha256"]) == 64


def test_paths_in_an_ini_file_start_at_the_ini_file(user):
    user.makeini("[pytest]\necgfm_out = results\n")
    below = user.mkdir("below")
    user.runpytest_subprocess("--rootdir", str(user.path), f"--confcutdir={user.path}", "--ecgfm=spread", *SMALL)
    assert (user.path / "results" / "verdict.json").exists()
    assert not any(below.iterdir())


def test_the_leftovers_of_a_killed_run_are_kept(user):
    (user.path / "out").mkdir()
    (user.path / "out" / "rows.jsonl").write_text("measured before the crash\n")
    user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-out=out", *SMALL)
    assert (user.path / "out" / "rows.jsonl").read_text() == "measured before the crash\n"
    (run,) = (user.path / "out").glob("run-*")
    assert (run / "verdict.json").exists()


def test_an_expected_failure_does_not_block_and_an_unmatched_one_does(user, run_folder):
    with (user.path / "conftest.py").open("a") as handle:
        handle.write(
            """
@ecg_model(sampling_rate=50, seconds=5, leads="II V1", pretrained_on=[], version="1",
           expected_failures={"contract.declared_leads[synthetic-europe]": "known, issue 12",
                              "contract.declared_seconds[synthetic-europe]": "the same", "contract.batch[x]": ""})
def known():
    return lambda x: np.ones((len(x), 4), np.float32)
"""
        )
    result = user.runpytest_subprocess("--ecgfm=known", *SMALL[1:], "--ecgfm-suites=contract")
    result.stdout.fnmatch_lines(["*expects contract.batch?x? to fail, but no such check*", "verdict: INCOMPLETE"])
    rows = {row["check"]: row for row in map(json.loads, (run_folder() / "rows.jsonl").read_text().splitlines())}
    row = rows["contract.declared_leads[synthetic-europe]"]
    assert (row["outcome"], row["tier"]) == ("fail", "advisory")
    assert row["reason"].startswith("expected failure (known, issue 12)")


def test_a_checkpoint_that_the_model_does_not_read_fails(user):
    (user.path / "weights.pt").write_bytes(b"")
    found = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-checkpoint=spread=weights.pt", *SMALL)
    assert found.ret == pytest.ExitCode.TESTS_FAILED
    found.stdout.fnmatch_lines(
        ["*--ecgfm-checkpoint: model 'spread' does not read weights.pt: its fixture never calls*"]
    )


def test_a_threshold_that_applies_to_nothing_is_named(user):
    entry = '[[check]]\nname = "downstream.auroc"\nlabels = ["CD"]\nfractions = [0.99]\nminimum = 0.99\n'
    (user.path / "mine.toml").write_text(f'extends = "default"\n{entry}')
    found = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-profile=mine.toml", *SMALL)
    said = "profile mine: * downstream.auroc (labels CD; fractions 0.99; minimum 0.99) applies to no cell of this run"
    found.stdout.fnmatch_lines([f"ecgfm: {said}", f"note: {said}"])
    assert found.stdout.str().count("applies to no cell") == 2
