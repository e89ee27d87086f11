"""What a card says of a model's use: validated, kept with the verdict, and shown on the page."""

import json
import re
from html import unescape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.statement import TITLES, Statement, left_open, stated
from pytest_ecgfm.encoders.exported import read_card_file
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.report.model_cards import model_cards
from pytest_ecgfm.report.page import render
from pytest_ecgfm.report.verify import verify
from tests.finished_runs import finished, planted

WHOLE = {
    "intended_use": "Embeddings for research.",
    "population": "Adults at rest.",
    "excluded_uses": ["Children.", "<script>alert(1)</script>"],
    "limitations": "Paced rhythms & flutter.",
    "training_data": "1.2 million ECGs.",
    "contact": "a@example.org",
}


def test_a_paragraph_over_several_lines_is_one_and_a_sentence_is_a_list_of_one():
    card = parse_card("m", {**WHOLE, "population": "Adults\n    at rest."}, where="here")
    assert card.population == "Adults at rest."
    assert card.limitations == ("Paced rhythms & flutter.",)
    assert card.statement.excluded_uses == tuple(WHOLE["excluded_uses"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"intended_uses": "x"}, "unknown field 'intended_uses'. Did you mean 'intended_use'?"),
        ({"contact": 3}, "contact = 3"),
        ({"population": "a\x1b[2J"}, "should be text without control characters"),
        ({"population": "a" * 2001}, "population = "),
        ({"limitations": ["a", ""]}, "limitations.1 = ''"),
        ({"excluded_uses": ["a"] * 31}, "excluded_uses = "),
    ],
)
def test_a_bad_field_is_one_line(fields, message):
    with pytest.raises(EcgfmError, match=re.escape(message)) as caught:
        parse_card("m", fields, where="conftest.py:7")
    assert "\n" not in str(caught.value)


def test_it_is_no_part_of_what_an_embedding_depends_on():
    assert parse_card("m", WHOLE, where="").identity() == parse_card("m", {}, where="").identity()


def test_a_card_in_a_file_states_it_too(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    lines = [f"{name} = {json.dumps(value)}" for name, value in WHOLE.items()]
    (tmp_path / "card.toml").write_text("\n".join(['file = "model.onnx"', *lines]))
    assert read_card_file(tmp_path / "card.toml")[0].statement.contact == "a@example.org"


def test_traps_are_limitations_and_an_empty_card_leaves_all_open():
    assert stated({"traps": ["one lead"], "limitations": ["paced"]})["limitations"] == ("paced", "one lead")
    assert left_open({}) == list(TITLES.values())
    assert left_open(WHOLE) == []


slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
anything = st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5)


@slow
@given(st.dictionaries(st.sampled_from([*TITLES, "traps", "pretrained_on", "possibly_pretrained_on"]), anything))
def test_a_card_of_a_file_may_hold_anything(card):
    for name, words in stated(card).items():
        assert name in TITLES
        assert all(isinstance(one, str) and one for one in words)


@slow
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("intended_use", "population", "contact"), st.text())))
def test_what_a_card_accepts_goes_through_the_files(fields):
    try:
        card = parse_card("m", fields, where="here")
    except EcgfmError:
        return
    assert Statement.model_validate(json.loads(card.statement.model_dump_json())) == card.statement


@pytest.fixture
def run(tmp_path, monkeypatch):
    from tests import finished_runs

    monkeypatch.delenv("ECGFM_DATA", raising=False)
    monkeypatch.setattr(finished_runs, "CARD", {**finished_runs.CARD, **WHOLE})
    return finished(tmp_path / "run", lambda cohort, label: planted(0.9))


def test_the_verdict_holds_it_and_verify_compares_it_with_the_cube(run):
    path = run / "verdict.json"
    held = json.loads(path.read_text())
    assert held["identity"]["encoders"]["m"]["statement"]["excluded_uses"] == WHOLE["excluded_uses"]
    assert verify(run) == []
    held["identity"]["encoders"]["m"]["statement"]["population"] = "Everybody."
    path.write_text(json.dumps(held))
    assert any("what the card says of m" in one for one in verify(run))


def test_the_page_begins_with_it_and_names_what_is_open(run):
    page = render(load(run))
    shown = page[: page.index("<nav")]
    words = unescape(re.sub("<[^>]+>", "", shown))
    assert "Intended use of m: Embeddings for research." in words
    assert "leaves open" not in words
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in shown
    for one in ("Adults at rest.", "Paced rhythms & flutter.", "1.2 million ECGs.", "a@example.org"):
        assert one in words


def test_an_open_card_is_said_to_be_open_and_a_run_without_cards_shows_none(run):
    loaded = load(run)
    loaded.encoder_notes["m"]["card"] = {"intended_use": "Research.", "pretrained_on": None}
    words = unescape(re.sub("<[^>]+>", "", model_cards(loaded)))
    leaves = "population, excluded uses, known limitations, training data and contact"
    assert f"Intended use of m: Research. Its card leaves open: {leaves}." in words
    del loaded.encoder_notes["m"]["card"]
    assert model_cards(loaded) == ""
