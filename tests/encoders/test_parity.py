"""What is known of an adapter, and `ecgfm parity`, which holds it against official embeddings of one's own."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.parity import Parity, told, weights_in_words
from pytest_ecgfm.cli import main
from pytest_ecgfm.encoders.parity import TOLERANCE, load_named, read_vectors
from pytest_ecgfm.encoders.registry import builtin_models, load_encoder
from pytest_ecgfm.encoders.sources import checkpoint_digest
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.tabulated import provenance
from pytest_ecgfm.run import run as run_module
from pytest_ecgfm.session.listing import _of_weights
from pytest_ecgfm.signals.records import LEADS
from tests.doc_blocks import blocks
from tests.held_runs import HeldRun, settings_of

CARDS = {name: parse_card(name, found.fields, where=found.where) for name, found in builtin_models().items()}
PARITY = {"code": "a/b@1", "weights": "synthetic", "records": "4 records", "tolerance": 1e-5, "unverified": ["a GPU"]}
MODEL = """
import numpy as np
from pytest_ecgfm import ecg_model

@ecg_model(input="array", pretrained_on=[], leads="I II V1", seconds=None)
def spread():
    return lambda x: np.concatenate([x.std(-1), x.max(-1)], axis=1)

@ecg_model(input="array", pretrained_on=[])
def needs_more(tmp_path_factory):
    return None
"""


@pytest.fixture
def official(tmp_path, rng):
    """Three records and what a model of MODEL makes of them, as a function of what is changed."""
    signals = rng.normal(size=(3, 4, 500)).astype(np.float32)
    chosen = signals[:, [0, 1, 3]]
    entries = {
        "signals": signals,
        "leads": np.array(["I", "II", "III", "V1"]),
        "sampling_rate": 500,
        "embedding": np.concatenate([chosen.std(-1), chosen.max(-1)], axis=1),
    }
    (tmp_path / "mine.py").write_text(MODEL, encoding="utf-8")

    def write(**changed):
        path = tmp_path / "official.npz"
        np.savez(path, **{name: value for name, value in (entries | changed).items() if value is not None})
        return path

    return write


def run(official, tmp_path, *more):
    return main(["parity", f"{tmp_path}/mine.py::spread", f"--vectors={official}", *more])


def test_every_model_with_weights_says_what_was_verified_and_where_they_come_from():
    for card in (card for card in CARDS.values() if card.checkpoint):
        assert card.parity is not None and card.licence and card.source and card.traps, card.name
        assert card.parity.weights == ("published" if card.name == "openecg_codec" else "synthetic")
        assert "a GPU" in card.parity.unverified
        assert card.parity.tolerance <= 2e-4
        if card.parity.weights == "synthetic":
            assert any("weights" in what for what in card.parity.unverified), card.name


def test_a_licence_that_forbids_commercial_use_is_among_the_excluded_uses():
    forbidding = {name for name, card in CARDS.items() if "CC BY-NC" in card.licence}
    assert {"d_beta", "d_beta_standard_order", "st_mem", "hubert_ecg_base"} <= forbidding
    for name in forbidding:
        assert any("CC BY-NC" in use for use in CARDS[name].excluded_uses), name


def test_models_of_one_lead_say_so():
    for card in CARDS.values():
        if card.checkpoint and len(card.leads) == 1:
            assert any("reads one lead" in trap for trap in card.traps), card.name


def test_what_was_verified_is_no_part_of_what_an_embedding_depends_on():
    card = CARDS["openecg_codec"]
    fields = {"published_sha256": {"ab" * 32: "me"}, "parity": None, "traps": ()}
    assert card.model_copy(update=fields).identity() == card.identity()
    assert card.model_copy(update={"version": "2"}).identity() != card.identity()


def test_digests_of_a_card_are_sha_256():
    with pytest.raises(EcgfmError, match=r"published_sha256.*64 small hexadecimal"):
        parse_card("mine", {"published_sha256": {"ABC": "me"}}, where="here")
    with pytest.raises(EcgfmError, match="tolerance"):
        parse_card("mine", {"parity": PARITY | {"tolerance": 0}}, where="here")


def test_words_of_weights():
    known = {"ab" * 32: "by its authors"}
    assert weights_in_words(known, "ab" * 32) == f"weights verified: SHA-256 {'ab' * 32}, by its authors"
    assert weights_in_words(known, "cd" * 32).startswith(
        "weights not verified: their SHA-256 is not among the published"
    )
    assert weights_in_words({}, "cd" * 32).startswith("weights not verified: no SHA-256 of them is published")
    assert weights_in_words(known, "").startswith("weights not verified: their file was not looked at")


def test_what_a_cube_tells_of_an_encoder():
    card = {"checkpoint": "w.pt", "published_sha256": {"ab" * 32: "me"}, "parity": PARITY}
    found = dict(told({"card": card, "checkpoint_sha256": "ab" * 32}))
    assert found["adapter"] == Parity(**PARITY).in_words() and found["adapter"].endswith("not verified: a GPU")
    assert found["checkpoint"].startswith("weights verified")
    assert "weights not verified" in dict(told({"card": card}))["checkpoint"]
    assert dict(told({"card": card | {"parity": {"code": 3}}}))["adapter"].startswith("not verified")
    # A run of an earlier version, and a model without weights, tell nothing.
    for note in ({}, {"card": {"checkpoint": "w.pt"}}, {"card": card | {"checkpoint": ""}}, {"card": "damaged"}):
        assert told(note) == []


def test_the_page_says_what_is_not_verified():
    notes = {"mine": {"card": CARDS["ecgfounder"].model_dump(mode="json"), "checkpoint_sha256": "cd" * 32}}
    run = SimpleNamespace(tree=SimpleNamespace(attrs={}), encoder_notes=notes, cohort_notes={}, packages={})
    page = str(provenance(run))
    assert "adapter of mine" in page and "PKUDigitalHealth/ECGFounder@04edac7" in page
    assert "weights not verified: their SHA-256 is not among the published ones" in page


def test_the_list_says_where_weights_come_from_their_licence_and_what_was_verified():
    weights, licence, verified = _of_weights(CARDS["st_mem"])
    assert "st_mem_vit_base_encoder.pth from https://github.com/bakqui/ST-MEM" in weights
    assert "CC BY-NC 4.0" in licence
    assert "bakqui/ST-MEM@69ec702" in verified and "not verified: the published weights, a GPU" in verified
    assert not list(_of_weights(CARDS["handcrafted"]))


def test_the_digest_of_a_checkpoint_is_that_of_its_file(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert checkpoint_digest(tmp_path) == checkpoint_digest(tmp_path / "model.safetensors") != ""
    assert checkpoint_digest(tmp_path / "none") == ""


def test_a_checkpoint_is_read_for_its_digest_once_and_not_before_each_check(tmp_path, monkeypatch):
    file = tmp_path / "weights.pt"
    file.write_bytes(b"weights")
    read = []
    monkeypatch.setattr(run_module, "checkpoint_digest", lambda path: read.append(path) or "ab")
    run = HeldRun(settings_of("m", [], tmp_path), tmp_path / "run", {})
    card = parse_card("m", {"sampling_rate": 500, "pretrained_on": []}, where="here")
    encoders = [run.encoder(card, lambda x: np.asarray(x).mean(-1), file) for _ in range(3)]
    assert read == [file] and {one.checkpoint_sha256 for one in encoders} == {"ab"}


def test_the_trained_model_knows_its_file():
    pytest.importorskip("openecg")
    encoder = load_encoder("openecg_codec", device="cpu")
    assert weights_in_words(encoder.card.published_sha256, encoder.checkpoint_sha256).startswith("weights verified")


def test_equal_embeddings_end_with_status_0(official, tmp_path, capsys):
    assert run(official(), tmp_path) == 0
    out = capsys.readouterr().out
    assert out.count("largest difference") == 3 and "in another order" in out
    assert "spread: equal to the official embeddings" in out


def test_another_embedding_ends_with_status_1_and_names_the_number(official, tmp_path, capsys):
    held = np.load(official())["embedding"]
    held[2, 4] += 0.5
    assert run(official(embedding=held), tmp_path) == 1
    out = capsys.readouterr().out
    assert "record 2, dimension 4 is" in out and "NOT equal" in out
    assert run(official(embedding=held, tolerance=0.6), tmp_path) == 0


def test_the_default_tolerance(official):
    assert read_vectors(official()).tolerance == TOLERANCE
    assert read_vectors(official(tolerance=1e-3)).tolerance == 1e-3


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"embedding": None}, "has no entry 'embedding'"),
        ({"embeddings": np.zeros(3)}, "embedding"),
        ({"embedding": np.zeros((2, 6))}, "should be"),
        ({"embedding": np.full((3, 6), np.nan)}, "not finite"),
        ({"embedding": np.zeros((3, 0))}, "should be"),
        ({"embedding": np.zeros((3, 7))}, "7: another layer, or another pooling"),
        ({"signals": np.zeros((3, 500))}, "3 axes"),
        ({"leads": np.array(["I", "II", "III", "V7"])}, "V7"),
        ({"leads": np.array([1, 2, 3, 4])}, "leads should be text"),
        ({"leads": np.array(["I", "II", "III", "V1"], dtype=object)}, "allow_pickle"),
        ({"sampling_rate": 0}, "above 0"),
        ({"sampling_rate": "500 Hz"}, "sampling_rate should be numbers"),
        ({"tolerance": -1.0}, "above 0"),
    ],
)
def test_a_file_that_cannot_be_used_ends_with_status_2_and_one_line(changed, said, official, tmp_path, capsys):
    assert run(official(**changed), tmp_path) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_files_that_are_none(tmp_path, capsys):
    (tmp_path / "other.npz").write_bytes(b"PK nothing")
    for name, said in (("none.npz", "no such file"), ("other.npz", r"no .npz of numbers and text")):
        assert main(["parity", "handcrafted", f"--vectors={tmp_path / name}"]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "checkpoint", "said"),
    [
        ("ecgfouder", None, "ecgfounder"),
        ("ecgfounder", None, "--ecgfm-checkpoint=ecgfounder=PATH"),
        ("handcrafted", "weights.pt", "asks for no checkpoint"),
        ("mine.py::sprd", None, "spread"),
        ("mine.py::needs_more", None, "asks for tmp_path_factory"),
        ("broken.py::it", None, "cannot be run (ZeroDivisionError"),
        ("none.py::it", None, "no such Python file"),
        ("card.toml", "weights.pt", "names its own file"),
    ],
)
def test_models_that_cannot_be_had(model, checkpoint, said, official, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    (tmp_path / "card.toml").write_text("", encoding="utf-8")
    with pytest.raises(EcgfmError) as caught:
        load_named(model, checkpoint, "cpu")
    assert said in str(caught.value)


def test_the_page_writes_the_file_that_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, block = blocks(Path(__file__).parents[2] / "docs" / "models.md", "python")
    exec(block.body, {"signals": np.zeros((2, 12, 5000)), "embedding": np.zeros((2, 7))})
    found = read_vectors(Path("official.npz"))
    assert found.leads == LEADS and found.sampling_rate == 500 and found.tolerance == TOLERANCE


def test_a_built_in_encoder_is_compared_by_its_name(tmp_path, rng, capsys):
    signals = rng.normal(size=(2, 12, 5000)).astype(np.float32)
    expected = load_encoder("random_conv", device="cpu").embed(signals, sampling_rate=500, leads=LEADS)
    path = tmp_path / "official.npz"
    np.savez(path, signals=signals, leads=np.array(LEADS), sampling_rate=500.0, embedding=expected)
    assert main(["parity", "random_conv", f"--vectors={path}"]) == 0
    assert "weights" not in capsys.readouterr().out
