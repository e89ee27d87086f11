import pytest

from pytest_ecgfm.cards import COHORTS, parse_card
from pytest_ecgfm.cards.declarations import declared_in, ecg_model
from pytest_ecgfm.cohorts.base import CONTINENTS
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS


def test_leads_are_spelled_in_the_customary_way():
    card = parse_card("m", {"leads": "i AVR v6"}, where="here")
    assert card.leads == ("I", "aVR", "V6")


def test_defaults_are_those_of_a_twelve_lead_ecg():
    card = parse_card("m", {}, where="here")
    assert (card.sampling_rate, card.seconds, card.leads, card.units) == (500, 10, LEADS, "mV")


def test_exposure():
    assert parse_card("m", {"pretrained_on": ["ptb-xl"]}, where="").exposure("ptb-xl") == "seen"
    assert parse_card("m", {"pretrained_on": ["ptb-xl"]}, where="").exposure("georgia") == "unseen"
    assert parse_card("m", {"pretrained_on": []}, where="").exposure("georgia") == "unseen"
    assert parse_card("m", {}, where="").exposure("georgia") == "unknown"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sampling_freq": 100}, "unknown field 'sampling_freq'. Did you mean 'sampling_rate'?"),
        ({"leads": "I II V7"}, "unknown lead 'V7'."),
        ({"leads": "I I"}, "lead 'I' is named twice in I, I."),
        ({"leads": 3}, "leads = 3: should be lead names"),
        ({"pretrained_on": ["ptbxl"]}, "unknown cohort 'ptbxl'. Did you mean 'ptb-xl'?"),
        ({"units": "V"}, "units = 'V'"),
        ({"sampling_rate": -1}, "sampling_rate = -1"),
        ({"sampling_rate": float("nan")}, "sampling_rate = nan"),
        ({"seconds": 0}, "seconds = 0"),
        ({"normalize": "z-score"}, "normalize = 'z-score'"),
        ({"dimensions": 0}, "dimensions = 0"),
    ],
)
def test_a_bad_card_is_one_line_that_names_file_model_and_field(fields, message):
    with pytest.raises(EcgfmError) as caught:
        parse_card("m", fields, where="conftest.py:7")
    assert str(caught.value).startswith("conftest.py:7: card of 'm': ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_continents_of_cohorts_are_continents():
    assert set(COHORTS.values()) <= set(CONTINENTS)


def test_declarations_are_found_by_name_and_nothing_else_is():
    class Namespace:
        @ecg_model(name="other", leads="II")
        def mine():
            return None

        unrelated = 3

    ((name, (attribute, _, declaration)),) = declared_in(Namespace).items()
    assert (name, attribute, declaration.fields) == ("other", "mine", {"leads": "II"})
    assert declaration.where.startswith("test_cards.py:")


def test_a_model_can_be_declared_where_its_source_is_not_at_hand():
    held = {}
    exec(compile("@ecg_model()\ndef model(): ...", "cell 1", "exec"), {"ecg_model": ecg_model}, held)
    assert declared_in(type("Namespace", (), held))["model"][2].where == "cell 1:1"
