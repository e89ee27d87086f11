"""`provenance.json`: by which command and from what a run was made; it says what the cube says."""

import hashlib
import json
import platform
from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.report.verify import verify
from pytest_ecgfm.results.provenance import ProvenanceFile, provenance, told_command
from tests.finished_runs import finished, planted


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ECGFM_DATA", raising=False)
        return finished(tmp_path_factory.mktemp("made") / "run", lambda cohort, label: planted(0.9))


def read(run):
    return json.loads((run / "provenance.json").read_text())


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_says_what_the_run_was_made_with_and_from(run):
    held = read(run)
    assert ProvenanceFile.model_validate(held).version == 1
    assert held["python"] == platform.python_version()
    assert held["packages"]["numpy"] == version("numpy")
    assert held["packages"]["umap-learn"] == version("umap-learn")
    assert held["models"]["m"]["weights_sha256"] == "ab" * 32
    assert held["models"]["m"]["version"] == "3"
    assert held["cohorts"] == {"synthetic-asia": "synthetic-asia-1", "synthetic-europe": "synthetic-europe-1"}
    assert set(held["files"]) == {"cube.nc", "rows.jsonl", "run.toml", "predictions.csv"}
    assert held["files"] == {name: sha256(run / name) for name in held["files"]}


def test_it_repeats_what_cube_and_verdict_hold_and_nothing_else(run):
    loaded = load(run)
    again = provenance(loaded.tree.attrs, loaded.identity, read(run)["files"])
    assert again.model_dump(mode="json", by_alias=True) == read(run)
    assert loaded.verdict["digests"]["provenance.json"] == sha256(run / "provenance.json")


def test_another_card_has_another_digest(run):
    loaded = load(run)
    about = dict(loaded.tree.attrs)
    about["encoders"] = about["encoders"].replace('"leads": ["II"]', '"leads": ["V1"]')
    other = provenance(about, loaded.identity, {}).models["m"]
    assert other.card_sha256 != read(run)["models"]["m"]["card_sha256"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("python", "2.7"), ("command", ["pytest"]), ("files", {}), ("packages", {"numpy": "1"}), ("models", {})],
)
def test_verify_finds_a_changed_line_even_with_its_digest_mended(run, tmp_path, key, value):
    import shutil

    copy = shutil.copytree(run, tmp_path / "copy")
    assert verify(copy) == []
    held = read(copy)
    held[key] = value
    (copy / "provenance.json").write_text(json.dumps(held))
    verdict = json.loads((copy / "verdict.json").read_text())
    assert any("provenance.json is not what the verdict is about" in one for one in verify(copy))
    verdict["digests"]["provenance.json"] = sha256(copy / "provenance.json")
    (copy / "verdict.json").write_text(json.dumps(verdict))
    (problem,) = verify(copy)
    assert problem.startswith(f"provenance.json: {key} is ")


def test_a_missing_or_damaged_file_is_one_line_and_an_older_run_needs_none(run, tmp_path):
    import shutil

    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "provenance.json").write_text("[]")
    assert any(one == "provenance.json: should be an object" for one in verify(copy))
    (copy / "provenance.json").unlink()
    assert any(one.startswith("provenance.json cannot be") for one in verify(copy))
    verdict = json.loads((copy / "verdict.json").read_text())
    del verdict["digests"]["provenance.json"]
    (copy / "verdict.json").write_text(json.dumps(verdict))
    assert verify(copy) == []


def test_a_path_of_bytes_that_are_no_text_is_kept_as_escapes():
    (kept,) = told_command(["--ecgfm-data=/d/\udcff"])
    assert kept.encode() == rb"--ecgfm-data=/d/\udcff"


@given(
    st.lists(st.text(max_size=8), max_size=3),
    st.sampled_from(["--token", "--hub-token", "--PASSWORD", "--api_key"]),
    st.text("abcXYZ019", min_size=12, max_size=12),
    st.booleans(),
)
def test_no_secret_is_kept(before, option, secret, joined):
    given = [*before, f"{option}={secret}"] if joined else [*before, option, secret]
    kept = told_command([*given, f"tcp://user:{secret}@host:1", "tests"])
    assert secret not in " ".join(kept)
    assert kept[-1] == "tests"
    assert kept[-2] == "tcp://***@host:1"
