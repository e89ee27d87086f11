"""A package outside this repository adds checks, which are collected, judged and reported like ours."""

import json

import pytest

import pytest_ecgfm
from tests.end_to_end.conftest import SMALL

pytestmark = pytest.mark.slow

FAIRNESS = '''
import numpy as np
from sklearn.metrics import roc_auc_score

from pytest_ecgfm import Cell, Measured, ecg_check


@ecg_check(
    "fairness.sex_gap",
    title="AUROC of women minus that of men, absolute",
    cells=("cohort", "label"),
    maximum=0.5,
    limits=(0.0, 1.0),
    reason="what our board allows",
    variables={"auroc_of_women": "AUROC of women"},
)
def sex_gap(run, encoder, case):
    """One dimension stands for a score: the check is what is tried here, not the statistics."""
    cohort = run.cohort(case.cohort)
    labelled = run.labelled(cohort, case.label)
    score = run.embeddings(encoder, cohort)[labelled.known].sum(axis=1)
    women = (cohort.table["sex"] == "F").to_numpy()[labelled.known]
    found = [roc_auc_score(labelled.targets[part], score[part]) for part in (women, ~women)]
    at = {"encoder": case.encoder, "cohort": case.cohort, "label": case.label}
    return Measured.exact(abs(found[0] - found[1]), cells=(Cell("fairness", at, {"auroc_of_women": found[0]}),))


@ecg_check("size.dimensions", title="Dimensions of the embedding", cells=(), maximum=100, reason="what our index holds")
def dimensions(run, encoder, case):
    return Measured.exact(run.embeddings(encoder, run.cohort(run.settings.cohorts[0])).shape[1])
'''
POINTS = "[pytest11]\nfairness = fairness_of_ours\n"
METADATA = "Metadata-Version: 2.1\nName: fairness-of-ours\nVersion: 1.0\n"


@pytest.fixture
def package(user, monkeypatch):
    """A package that is installed beside the plugin, with an entry point of pytest."""
    place = user.path / "installed"
    about = place / "fairness_of_ours-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(METADATA)
    (about / "entry_points.txt").write_text(POINTS)

    def write(text=FAIRNESS):
        (place / "fairness_of_ours.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(place))
        return user

    return write


def test_a_package_adds_checks_that_pass_and_stand_everywhere(package, run_folder):
    user = package()
    result = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-profile=smoke", *SMALL[1:])
    folder = run_folder()
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    ours = {row["check"]: row for row in rows if row["suite"] in ("fairness", "size")}
    assert set(ours) == {"fairness.sex_gap[synthetic-europe,AF]", "size.dimensions"}
    assert ours["size.dimensions"]["value"] == 4 and ours["size.dimensions"]["outcome"] == "pass"
    assert ours["fairness.sex_gap[synthetic-europe,AF]"]["why"] == "what our board allows"
    tree = pytest_ecgfm.open_run(folder)
    variable = tree["fairness/auroc_of_women"]
    assert variable.dims == ("encoder", "cohort", "label") and variable.attrs["long_name"] == "AUROC of women"
    assert "spread: size.dimensions" in tree["checks/check"].values
    page = (folder / "generalization.html").read_text()
    assert "fairness.sex_gap" in page and "AUROC of women minus that of men, absolute" in page
    result.stdout.fnmatch_lines(["*verdict: *"])


@pytest.mark.parametrize("distribution", [(), ("-n", "2")])
def test_a_check_of_a_package_blocks_a_release(package, run_folder, distribution):
    user = package(FAIRNESS.replace("maximum=100", "maximum=3"))
    result = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-suites=size", *SMALL[1:], *distribution)
    assert result.ret == 1
    verdict = json.loads((run_folder() / "verdict.json").read_text())
    assert verdict["outcome"] == "fail"
    assert any("size.dimensions = 4, but should be <= 3" in reason for reason in verdict["reasons"])


def test_a_profile_sets_the_threshold_and_a_looser_one_needs_no_words_of_ours(package, run_folder):
    user = package()
    rule = '[[check]]\nname = "size.dimensions"\nmaximum = 3\nreason = "a small index"\n'
    user.makefile(".toml", mine=f'extends = "smoke"\n{rule}')
    options = ("--ecgfm-suites=size", "--ecgfm-profile=mine.toml", "--ecgfm-cohorts=synthetic-europe")
    assert user.runpytest_subprocess("--ecgfm=spread", *options).ret == 1
    (row,) = [json.loads(line) for line in (run_folder() / "rows.jsonl").read_text().splitlines()]
    assert row["threshold"] == 3 and row["outcome"] == "fail" and row["why"] == "a small index"


def test_the_list_says_whose_a_check_is(package):
    result = package().runpytest_subprocess("--ecgfm-list")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["suites: contract, *, fairness, size", "*size.dimensions: *theirs: declared in fairness_of_ours.py:*"]
    )


def test_a_declaration_that_is_wrong_is_one_line(package):
    user = package(FAIRNESS.replace("maximum=100", "maximum=100, minimum=0"))
    result = user.runpytest_subprocess("--ecgfm=spread", "--collect-only")
    assert result.ret == 4
    lines = [line for line in result.stderr.lines if line.startswith("ERROR")]
    assert len(lines) == 1 and "should have either a minimum or a maximum" in lines[0]


WRONG = [
    (
        "return Measured.exact(run.embeddings",
        "return (run.embeddings",
        "returned a int, but should return a pytest_ecgfm.Measured",
    ),
    (
        '{"auroc_of_women": found[0]}',
        '{"women": found[0]}',
        "has no variable 'women' in the cube. Declared: auroc_of_women",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_a_check_that_breaks_its_word_is_named(package, old, new, message):
    user = package(FAIRNESS.replace(old, new))
    result = user.runpytest_subprocess("--ecgfm=spread", "--ecgfm-suites=size,fairness", *SMALL[1:])
    assert result.ret == 1
    assert message in result.stdout.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


PERTURBED = """
from pytest_ecgfm import ecg_perturbation


@ecg_perturbation("mine.doubled", parameter="factor", severities=(1.1, 200.0))
def doubled(batch, severity, generator):
    return batch.signals * severity
"""


def test_a_perturbation_of_a_package_is_judged_and_stands_in_the_cube(package, run_folder):
    user = package(PERTURBED)
    rule = 'name = "stability.displacement"\nperturbations = ["mine.doubled@200"]\nmaximum = 0.5\nreason = "ours"\n'
    user.makefile(".toml", mine=f'extends = "default"\n[[check]]\n{rule}')
    options = ("--ecgfm-suites=stability", "--ecgfm-profile=mine.toml", *SMALL[1:])
    result = user.runpytest_subprocess("--ecgfm=spread", *options, "-k", "doubled")
    assert result.ret == 1
    (row,) = [json.loads(line) for line in (run_folder() / "rows.jsonl").read_text().splitlines()]
    assert row["perturbation"] == "mine.doubled@200" and row["outcome"] == "fail"
    curve = pytest_ecgfm.open_run(run_folder())["stability/displacement"].sel(perturbation="mine.doubled").squeeze()
    assert 0 < curve.sel(severity=1.1) < 0.5 < curve.sel(severity=200.0)


PROBE = """
from pytest_ecgfm import ecg_probe


@ecg_probe("mine.trees")
def trees(seed):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(20, random_state=seed)
"""


def test_a_probe_of_a_package_is_chosen_by_a_profile_and_listed(package, run_folder):
    user = package(PROBE)
    user.makefile(".toml", mine='extends = "smoke"\n[grid]\nprobe = "mine.trees"\n')
    options = ("--ecgfm-suites=downstream", "--ecgfm-profile=mine.toml", *SMALL[1:])
    user.runpytest_subprocess("--ecgfm=spread", *options)
    tree = pytest_ecgfm.open_run(run_folder())
    assert tree["downstream"]["probe"].values.tolist() == ["mine.trees"]
    assert tree["downstream/auroc"].notnull().any() and tree["downstream/brier"].notnull().any()
    repeated = user.runpytest_subprocess(f"--ecgfm-profile={run_folder() / 'run.toml'}", "--collect-only")
    assert repeated.ret == 0
    listed = user.runpytest_subprocess("--ecgfm-list")
    listed.stdout.fnmatch_lines(["probes: logistic, knn, mlp, mine.trees (theirs: declared in fairness_of_ours.py:*)"])
