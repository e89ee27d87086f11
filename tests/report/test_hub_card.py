"""`ecgfm card`: metadata that the Hugging Face Hub reads, and Markdown in which no name is markup."""

import json
import re
import shutil

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cli import main
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report import hub_card as module
from pytest_ecgfm.report.hub_card import hub_card
from pytest_ecgfm.report.loaded import load
from tests.finished_runs import finished, planted
from tests.report.runs import write_run

slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ECGFM_DATA", raising=False)
        return finished(tmp_path_factory.mktemp("card") / "run", lambda cohort, label: planted(0.9))


def read(text):
    """Front matter and the rest."""
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_metadata_hold_what_the_cube_holds(run):
    front, body = read(hub_card(run))
    ((name, results),) = ((one["name"], one["results"]) for one in front["model-index"])
    held = load(run).group("downstream")
    assert name == "m"
    assert len(results) == held["cohort"].size * held["label"].size
    for one in results:
        at = {"cohort": one["dataset"]["name"], "label": one["dataset"]["config"], "fraction": 1.0}
        (metric,) = one["metrics"]
        value, low, high = (
            float(held[f"auroc_mean{end}"].sel(at, method=None).squeeze()) for end in ("", "_low", "_high")
        )
        assert metric["value"] == pytest.approx(value, abs=5e-5)
        assert metric["name"] == f"AUROC, 95 % interval {low:.3f} to {high:.3f}"
        assert metric["type"] == "roc_auc"
        assert one["dataset"]["args"]["exposure"] == "unseen"
        assert f"| {value:.3f} | {low:.3f} to {high:.3f} |" in body


def test_a_part_is_called_a_part_in_the_metadata_the_badge_and_the_text(run):
    front, body = read(hub_card(run))
    assert load(run).identity.narrowed
    source = front["model-index"][0]["results"][0]["source"]["name"]
    assert "pass of a part" in source
    assert "message=pass+of+a+part" in body
    assert "color=yellowgreen" in body
    assert "**pass of a part: profile smoke" in body
    assert "not evaluated" in body or "only" in body


def test_the_hub_reads_it(run):
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard(hub_card(run)).data
    assert data.model_name == "m"
    found = {(one.dataset_name, one.dataset_config): one for one in data.eval_results}
    assert len(found) == len(data.eval_results) == 4
    again = hub.ModelCardData(model_name="m", eval_results=data.eval_results)
    assert len(hub.ModelCard(f"---\n{again.to_yaml()}\n---\n").data.eval_results) == 4


def test_it_is_written_to_a_file_or_printed(run, tmp_path, capsys):
    assert main(["card", str(run)]) == 0
    printed = capsys.readouterr().out
    assert main(["card", str(run), "--out", str(tmp_path / "card.md")]) == 0
    assert (tmp_path / "card.md").read_text() == printed
    assert main(["card", str(run), "--out", str(tmp_path / "none" / "card.md")]) == 2
    assert "--out" in capsys.readouterr().err


def test_a_verdict_that_does_not_belong_to_its_run_gives_no_card(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    held = json.loads((copy / "verdict.json").read_text())
    held["identity"]["narrowed"] = {}
    (copy / "verdict.json").write_text(json.dumps(held))
    assert main(["card", str(copy), "--out", str(tmp_path / "card.md")]) == 2
    assert "its verdict does not belong to it, so there is no card" in capsys.readouterr().err
    assert not (tmp_path / "card.md").exists()


def test_a_run_of_several_models_has_to_say_which(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "verify", lambda folder: [])
    folder = write_run(tmp_path / "run")[0]
    with pytest.raises(EcgfmError, match="tested one and two: a card is of one; say which with --model"):
        hub_card(folder)
    with pytest.raises(EcgfmError, match=r"unknown model 'tow'\. Did you mean 'two'"):
        hub_card(folder, "tow")
    front, body = read(hub_card(folder, "two"))
    assert front["model-index"][0]["name"] == "two"
    metrics = {one["metrics"][0]["type"] for one in front["model-index"][0]["results"]}
    assert metrics == {"roc_auc", "r_squared"}
    # What fails is said, and a run that broke is no pass of a model.
    assert "**fail" in body
    loaded = load(folder)
    loaded.verdict["encoders"]["two"]["outcome"] = "pass"
    loaded.verdict["complete"] = False
    assert module._outcome(loaded, "two") == "incomplete"


HOSTILE = (
    "a: b\n---\nx",
    "]] }} #",
    "' \" \\",
    "\x1b[2J\x00",
    "\u2028\u202e",
    "- x",
    "![a](b)",
    "|a|",
    "##[group]",
    "😀",
)


@slow
@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20)))
def test_no_name_breaks_out_of_metadata_or_text(tmp_path_factory, name):
    path = tmp_path_factory.getbasetemp() / "hostile"
    folder = path if path.exists() else write_run(path)[0]
    loaded = load(folder)
    tree = loaded.tree
    for group in ("downstream", "quantities"):
        held = tree[group].to_dataset().assign_coords(cohort=[name, "other"])
        tree[group] = type(tree)(held)
    loaded.verdict["encoders"]["two"]["reasons"] = [name]
    loaded.encoder_notes["two"]["card"] = {"intended_use": name, "pretrained_on": []}
    shown = "\n".join(["---", module._metadata(loaded, "two"), "---", *module._body(loaded, "two")])
    front, body = read(shown + "\n")
    names = {one["dataset"]["name"] for one in front["model-index"][0]["results"]}
    if name.isprintable():
        assert names >= {name} or not name
    for line in body.split("\n"):
        assert not line.startswith(("::", "---", "#")) or line == "## Conformance by pytest-ecgfm"
        assert not re.search(r"(?<!\\)\]\(b\)", line)
    assert "\x1b" not in shown
    rows = [line for line in body.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}
