"""Labels of one's own, by the whole way: from an option to a verdict, and what is wrong in one line before the run."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import xarray as xr

from tests.doc_blocks import ROOT, blocks, commands_of, write_files

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "endpoints.md"
QUICK = ("--ecgfm-profile=smoke", "--ecgfm-suites=downstream", "--ecgfm-fractions=1", "--ecgfm-reference=demographics")


@pytest.fixture(scope="session")
def recordings():
    """Samples of published cohorts; found before a test's own fixtures hide `$ECGFM_DATA`."""
    root = Path(os.environ.get("ECGFM_DATA") or ROOT.parent / "shared" / "data")
    if not (root / "brugada-huca" / "metadata.csv").is_file():
        pytest.skip(f"no sample recordings: set $ECGFM_DATA, or put them in {root}")
    return root


@pytest.fixture
def data(user, recordings):
    """A data folder with two published cohorts; links to folders are not followed."""
    for name in ("brugada-huca", "ptb-xl"):
        shutil.copytree(recordings / name, user.path / "data" / name, ignore=shutil.ignore_patterns("records500"))
    return user


def rows_of(folder):
    found = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["check"]: row for row in found}


def latest(user):
    return user.path / "ecgfm-results" / "latest"


def test_brugada_ends_in_a_verdict_with_intervals(data):
    result = data.runpytest_subprocess(
        "--ecgfm=handcrafted", "--ecgfm-data=data", "--ecgfm-cohorts=brugada-huca", "--ecgfm-labels=brugada", *QUICK
    )
    row = rows_of(latest(data))["downstream.auroc[brugada-huca,brugada,1]"]
    assert result.ret == 0 and row["outcome"] == "pass"
    assert row["low"] < row["value"] < row["high"]
    assert (row["counts"]["n_test_positive"], row["counts"]["n_test"]) == (69, 356)
    result.stdout.fnmatch_lines(["*the column 'basal_pattern' contains 1 and 0, but no label of this run reads it*"])


EIGHT_LEADS = '''

@ecg_model(sampling_rate=100, seconds=10, leads="I II V1 V2 V3 V4 V5 V6", pretrained_on=[], version="1")
def beat():
    """The steepest beat in eight leads: relevance asks for thousands of embeddings, of which these are cheap."""
    def embed(x):
        x = np.asarray(x)
        steepest = np.abs(np.diff(x[..., 20:-60])).sum(axis=1).argmax(axis=1)
        at = 20 + steepest[:, None, None] + np.arange(-8, 48, 4)
        return np.take_along_axis(x, np.repeat(at, 8, axis=1), axis=2).reshape(len(x), -1)
    return embed
'''


def test_superclasses_of_ptb_xl_go_through_page_cube_and_tables(data):
    with (data.path / "conftest.py").open("a") as handle:
        handle.write(EIGHT_LEADS)
    result = data.runpytest_subprocess(
        "--ecgfm=beat", "--ecgfm-data=data", "--ecgfm-cohorts=ptb-xl", "--ecgfm-labels=scp:HYP,scp:MI",
        "--ecgfm-suites=downstream,relevance,separability", *QUICK[2:],
    )  # fmt: skip
    folder = latest(data)
    assert result.ret in (0, 1)
    rows = rows_of(folder)
    for label, positives in (("scp:MI", 73), ("scp:HYP", 40)):
        row = rows[f"downstream.auroc[ptb-xl,{label},1]"]
        assert row["low"] < row["value"] < row["high"] and row["counts"]["n_test_positive"] <= positives
        assert f"relevance.concentration[ptb-xl,{label}]" in rows and f"relevance.prior[ptb-xl,{label}]" not in rows
    with xr.open_datatree(folder / "cube.nc", engine="h5netcdf") as cube:
        assert set(cube["downstream"]["label"].values) == {"scp:MI", "scp:HYP"}
        assert json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["outcome"] in ("pass", "incomplete")
    page = (folder / "generalization.html").read_text(encoding="utf-8")
    assert 'id="check:beat:downstream.auroc[ptb-xl,scp:MI,1]"' in page
    for command in (["figures", str(folder), "drawn"], ["table", str(folder), "--out", "tables"]):
        assert data.run(sys.executable, "-m", "pytest_ecgfm.cli", *command).ret == 0
    assert (data.path / "drawn" / "relevance-beat-ptb-xl-scp-MI.svg").is_file()
    # What is repeated by its own file has the same labels.
    again = data.runpytest_subprocess(f"--ecgfm-profile={folder / 'run.toml'}", "--ecgfm-suites=downstream")
    assert set(rows) >= set(rows_of(latest(data))) and again.ret in (0, 1)


HERE = "*{label!r}: no chosen cohort ({chosen}) knows it. Here it is known in: {known}.*"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("ptb-xl brugada", HERE.format(label="brugada", chosen="ptb-xl", known="brugada-huca")),
        ("brugada-huca AF", HERE.format(label="AF", chosen="brugada-huca", known="ptb-xl")),
        ("brugada-huca scp:MI", HERE.format(label="scp:MI", chosen="brugada-huca", known="ptb-xl")),
        ("ptb-xl snomed:164873001", "*'snomed:164873001': no chosen cohort * It would be known in: georgia, *"),
        ("ptb-xl scp:LHV", "*scp has no code 'LHV'. Did you mean 'LVH'*"),
        ("ptb-xl,brugada-huca Brugada", "*unknown label 'Brugada'* Did you mean 'brugada'? Valid: *"),
        ("ptb-xl afib", "*unknown label 'afib'* Did you mean 'AF'? Valid: *"),
        (
            "ptb-xl quantity:EF",
            "*'quantity:EF': no chosen cohort (ptb-xl) states it. Valid: quantity:age, quantity:heart_rate; and *",
        ),
        ("brugada-huca age", "*'quantity:age': no chosen cohort (brugada-huca) states it. Here it is * ptb-xl*"),
    ],
)
def test_a_label_that_nobody_knows_is_an_error_before_the_run(data, options, message):
    cohorts, labels = options.split()
    chosen = (f"--ecgfm-cohorts={cohorts}", f"--ecgfm-labels={labels}")
    result = data.runpytest_subprocess("--ecgfm=handcrafted", "--ecgfm-data=data", *chosen)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert not (data.path / "ecgfm-results").exists()


def test_a_missing_file_of_labels_is_an_error(user):
    result = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-labels-file=missing.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: file of labels *missing.toml: no such file*"])


def test_a_label_is_listed_and_counted(data):
    (data.path / "labels.toml").write_text(next(one.body for one in blocks(PAGE, "toml")))
    listed = data.runpytest_subprocess("--ecgfm-list", "--ecgfm-data=data", "--ecgfm-labels-file=labels.toml")
    listed.stdout.fnmatch_lines(["*columns that are labels*brugada 69/356*"])
    listed.stdout.fnmatch_lines(["*CD *LVH 35/*", "*codes that are labels*scp:MI 73*"])
    command = ["cohorts", "data", "--quick", "--labels", "scp:MI", "--labels-file", "labels.toml"]
    counted = data.run(sys.executable, "-m", "pytest_ecgfm.cli", *command)
    counted.stdout.fnmatch_lines(["*brugada*69*287*7*", "*LVH*35*", "*scp:MI*73*427*0*"])


HOSPITAL = """
import pandas as pd
from pytest_ecgfm import ecg_cohort


@ecg_cohort(sampling_rate=100, leads="II V1"CARD)
def ours():
    rng = np.random.default_rng(0)
    targets = np.arange(240) % 3 == 0
    signals = rng.normal(size=(240, 2, 500)) * np.where(targets, 1.5, 1.0)[:, None, None]
    return signals, pd.DataFrame({"EF low": targets, "patient": np.arange(240) // 2, "EF": 55, "notes": [[]] * 240})
"""


def test_a_fixture_declares_its_labels(user):
    with (user.path / "conftest.py").open("a") as handle:
        handle.write(HOSPITAL.replace("CARD", ', labels=["EF low"]'))
    (user.path / "only.toml").write_text('extends = "smoke"\n[grid]\nlabels = []\n')
    result = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-profile=only.toml", *QUICK[1:])
    assert result.ret == 0
    assert rows_of(latest(user))["downstream.auroc[ours,EF low,1]"]["outcome"] == "pass"


def test_a_label_of_a_fixture_may_be_asked_for_and_a_misspelt_one_fails(user):
    with (user.path / "conftest.py").open("a") as handle:
        handle.write(HOSPITAL.replace("CARD", ""))
    result = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-labels=EF low", *QUICK)
    assert result.ret == 0
    result = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-labels=EF lov", *QUICK)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*unknown label 'EF lov'* Did you mean 'EF low'*"])


def test_the_page_by_its_own_files_and_commands(data):
    """Only `ecgfm fetch` is left out: the cohort is there."""
    assert write_files(PAGE, data.path) == ["labels.toml", "quantities.toml", "sets.toml", "make_hospital.py"]
    assert data.run(sys.executable, "make_hospital.py").ret == 0
    fetched, *commands = commands_of(PAGE)
    assert fetched[:2] == ["ecgfm", "fetch"]
    first, second, third, fourth = [words for words in commands if "my-hospital" in " ".join(words)]
    counted = data.run(sys.executable, "-m", "pytest_ecgfm.cli", "cohorts", "data", "--quick")
    counted.stdout.fnmatch_lines(["my-hospital*", "*LVH*80*160*240*a column*", "*quantity:EF 240 (* %)*"])
    result = data.runpytest_subprocess(*first[1:], "-q")
    assert result.ret == 0
    row = rows_of(data.path / "first-release")["downstream.auroc[my-hospital,LVH,1]"]
    assert (row["outcome"], row["counts"]["n_test_positive"], row["counts"]["n_test"]) == ("pass", 80, 240)
    result = data.runpytest_subprocess(*second[1:], "-q")
    assert result.ret == 0
    changed = rows_of(latest(data))["downstream.auroc_change[my-hospital,LVH,since-first-release]"]
    assert changed["outcome"] == "pass" and changed["value"] == 0
    data.runpytest_subprocess(*third[1:], "-q")
    moved = rows_of(latest(data))["transfer.drop[from-my-hospital,ptb-xl,LVH]"]
    assert moved["low"] < moved["value"] < moved["high"] and moved["counts"]["n_test_positive"] == 35
    assert data.runpytest_subprocess(*fourth[1:], "-q").ret == 0
    rows = rows_of(latest(data))
    assert rows["downstream.auroc[my-hospital,LVH,1]"]["outcome"] == "pass"
    row = rows["downstream.r2[my-hospital,quantity:EF,1]"]
    assert row["outcome"] == "pass" and row["low"] < row["value"] < row["high"] and row["counts"] == {"n_test": 240}
    assert "mean absolute error" in row["reason"] and "] %; Spearman" in row["reason"]
    with xr.open_datatree(latest(data) / "cube.nc", engine="h5netcdf") as cube:
        assert cube["quantities"]["units"].values.tolist() == [["%"]]
    assert "quantity:EF" in (latest(data) / "generalization.html").read_text(encoding="utf-8")
