"""The recipes of the docs, from an empty folder, by the pages' own files and commands; `SMALLER` only narrows them."""

import json
import subprocess
import sys

import pytest

from pytest_ecgfm.results.checks import CHECKS
from tests.doc_blocks import ROOT, blocks, commands_of, write_files

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
CONTRACT = sum(kind.suite == "contract" for kind in CHECKS.values())
SMALLER = ("--ecgfm-cohorts=synthetic-europe", "--ecgfm-limit=200", "-q")


@pytest.fixture
def stranger(user):
    """An empty folder, and whatever a page tells one to write there."""
    (user.path / "conftest.py").unlink()
    return user


def asked(page, program):
    return [words for name, *words in commands_of(DOCS / page) if name == program]


def verdict(folder):
    return json.loads((folder / "ecgfm-results" / "latest" / "verdict.json").read_text(encoding="utf-8"))


def run_block(body, folder):
    done = subprocess.run([sys.executable, "-c", body], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("fresh")
def test_start_with_a_model_of_ones_own(stranger):
    assert write_files(DOCS / "index.md", stranger.path) == ["conftest.py"]
    words = next(words for words in asked("index.md", "pytest") if words[0] == "--ecgfm=my_model")
    result = stranger.runpytest_subprocess(*words, *SMALLER, "--ecgfm-suites=contract")
    assert result.ret == 0
    assert verdict(stranger.path)["encoders"]["my_model"]["counts"]["pass"] == CONTRACT


def test_write_an_adapter(stranger):
    assert "conftest.py" in write_files(DOCS / "adapter.md", stranger.path)
    for block in blocks(DOCS / "adapter.md", "python"):
        if not block.file:
            run_block(block.body, stranger.path)
    words = next(words for words in asked("adapter.md", "pytest") if words[0] == "--ecgfm=bands")
    result = stranger.runpytest_subprocess(*words, *SMALLER)
    assert result.ret == 0
    assert verdict(stranger.path)["encoders"]["bands"]["counts"]["pass"] == CONTRACT


def test_a_folder_of_ones_own_and_what_is_read_from_its_run(stranger):
    script = next(block for block in blocks(DOCS / "own_cohort.md", "python") if block.file == "make_folder.py")
    run_block(script.body, stranger.path)
    (listing,) = asked("own_cohort.md", "ecgfm")
    done = stranger.run(sys.executable, "-m", "pytest_ecgfm.cli", *listing)
    done.stdout.fnmatch_lines(["*240 records, 120 patients*", "*STach*60*180*0"])
    done.stdout.no_fnmatch_line("*residual above*")
    result = stranger.runpytest_subprocess(*asked("own_cohort.md", "pytest")[0], "-q", "--ecgfm-suites=downstream")
    assert result.ret == 0
    assert verdict(stranger.path)["outcome"] == "pass"
    for page, expected in (("cube.md", "st-elsewhere"), ("migration.md", "pass")):
        for block in blocks(DOCS / page, "python"):
            assert expected in run_block(block.body, stranger.path)


def test_a_fixture_of_ones_own(stranger):
    assert "conftest.py" in write_files(DOCS / "own_cohort.md", stranger.path)
    result = stranger.runpytest_subprocess(*asked("own_cohort.md", "pytest")[1], "-q")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*my_hospital*1.000*"])


def test_write_a_check(stranger):
    names = write_files(DOCS / "checks.md", stranger.path)
    assert names == ["conftest.py", "tests/test_age.py"]
    # As the page says: no check of the verdict, but of the exit status.
    (stranger.path / "tests" / "test_fails.py").write_text("def test_no(ecgfm_encoders): assert not ecgfm_encoders\n")
    (words,) = asked("checks.md", "pytest")
    result = stranger.runpytest_subprocess(*words, "--ecgfm-limit=300", "-q")
    assert result.ret == 1
    result.assert_outcomes(passed=CONTRACT + 1, failed=1)
    result.stdout.fnmatch_lines(["FAILED tests/test_fails.py::test_no*"])
    assert verdict(stranger.path)["outcome"] == "pass"
    assert verdict(stranger.path)["encoders"]["handcrafted"]["counts"]["planned"] == CONTRACT
