"""Sheets of cohorts: what is published of them, what their owners state, and what their tables hold."""

import re
from html import unescape

import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.cards import parse_cohort_card
from pytest_ecgfm.cards.facts import Facts
from pytest_ecgfm.cli import main
from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.cohorts.facts import PUBLISHED, facts_of, sheet
from pytest_ecgfm.cohorts.layouts import LAYOUTS
from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.cohorts.overview import age_in_words, describe, lines, sex_in_words
from pytest_ecgfm.cohorts.own import own_cohort
from pytest_ecgfm.encoders.registry import models_by_exposure
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.cohort_sheets import cohort_sheets
from pytest_ecgfm.report.loaded import load
from tests.report.runs import write_run

STATED = {
    "country": "Italy",
    "years": "2015 to 2022",
    "devices": "<b>GE</b> MAC",
    "licence": "none",
    "label_origin": "two readers",
    "source": "vote 12",
}


def test_every_published_cohort_has_country_licence_origin_of_labels_and_source():
    names = {name for layout in LAYOUTS for name in layout.names}
    assert names == set(PUBLISHED)
    for name, facts in PUBLISHED.items():
        for field in ("country", "licence", "label_origin", "source"):
            assert getattr(facts, field), (name, field)


@pytest.fixture
def folder(tmp_path, write_record):
    root = tmp_path / "data" / "mine"
    for name in ("a", "b", "c", "d"):
        write_record(root, name, rate=250)
    (root / "labels.csv").write_text("record,age,sex,AF\na,30,F,1\nb,50,M,0\nc,70,F,\nd,,,0\n")
    return root


def test_numbers_are_those_of_the_table(folder):
    found = sheet(load_cohort("mine", folder.parent))
    assert found["age"] == {
        "known": 3,
        "quartiles": [40.0, 50.0, 60.0],
        "bands": {"below 40": 1, "40 to 64": 1, "65 and above": 1},
    }
    assert found["sex"] == {"F": 2, "M": 1, "unknown": 1}
    assert found["country"] == ""


def test_a_folder_states_its_facts_in_a_file(folder, capsys):
    (folder / "cohort.toml").write_text("".join(f"{name} = {value!r}\n" for name, value in STATED.items()))
    with (folder / "cohort.toml").open("a") as handle:
        handle.write('continent = "Europe"\n')
    cohort = load_cohort("mine", folder.parent)
    assert cohort.continent == "Europe"
    assert {name: sheet(cohort)[name] for name in STATED} == STATED
    # A part of a cohort is from where the whole is from.
    assert sheet(limited(cohort, 2))["country"] == "Italy"
    assert main(["cohorts", str(folder.parent), "--quick"]) == 0
    shown = capsys.readouterr().out
    assert "recorded in Italy, 2015 to 2022; devices: <b>GE</b> MAC" in shown
    assert "age: 50 years, half of them 40 to 60 (below 40: 1, 40 to 64: 1, 65 and above: 1, unknown: 1)" in shown
    assert "67 % women (F: 2, M: 1, unknown: 1)" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("county = 'x'", "county: no such key. Did you mean 'country'?"),
        ("continent = 'Atlantis'", "continent = 'Atlantis'"),
        ("years = 2015", "years = 2015"),
        ("devices = 'a\\u001b'", "should be text without control characters"),
        ("devices = ", "cohort.toml: "),
    ],
)
def test_a_bad_file_is_one_line(folder, text, message):
    (folder / "cohort.toml").write_text(text.replace("'", '"'))
    with pytest.raises(EcgfmError) as caught:
        load_cohort("mine", folder.parent)
    assert message in str(caught.value)
    assert "cohort.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path):
    (tmp_path / "elsewhere.toml").write_text('country = "x"')
    (folder / "cohort.toml").symlink_to(tmp_path / "elsewhere.toml")
    with pytest.raises(EcgfmError):
        load_cohort("mine", folder.parent)


def test_a_fixture_states_its_facts_in_its_arguments():
    card = parse_cohort_card("mine", {"sampling_rate": 250, "leads": "I II", **STATED}, where="conftest.py:1")
    table = pd.DataFrame({"AF": [1, 0]}, index=["a", "b"])
    cohort = own_cohort(card, (np.zeros((2, 2, 500)), table), where="conftest.py:1")
    assert sheet(cohort)["label_origin"] == "two readers"
    told = list(lines({**describe(cohort), "layout": "x", "alternatives": []}))
    assert "  age: not known; sex: not known" in told


def test_the_command_names_the_models_that_saw_a_cohort():
    assert models_by_exposure("no-such-cohort") == {"seen": [], "possibly seen": []}
    card = parse_cohort_card("mine", {"sampling_rate": 250, "leads": "I II"}, where="")
    cohort = own_cohort(card, (np.zeros((1, 2, 500)), pd.DataFrame({"AF": [1]}, index=["a"])), where="")
    about = {"seen": ["ecg_fm"], "possibly seen": []}
    told = list(lines({**describe(cohort), "layout": "x", "alternatives": [], "pretraining": about}))
    assert "  seen in pretraining by: ecg_fm" in told
    assert not any("possibly" in line for line in told)


def test_embedded_cohorts_say_that_nobody_was_recorded():
    class Embedded:
        name = "synthetic-europe"
        facts = None

    assert facts_of(Embedded()).country == "none: simulated"
    Embedded.name = "no-such-cohort"
    assert facts_of(Embedded()) == Facts()


def test_words_of_ages_and_sexes():
    assert age_in_words({"known": 0, "quartiles": None, "bands": {}}, 3) == "not known"
    assert sex_in_words({"F": 0, "M": 0, "unknown": 4}) == "not known"


def test_the_page_has_a_sheet_of_each_cohort(tmp_path):
    run = load(write_run(tmp_path / "run")[0])
    run.cohort_notes["ptb-xl"] |= {
        "sheet": {**STATED, "age": {"known": 0, "quartiles": None, "bands": {}}, "sex": {"F": 1, "M": 3, "unknown": 0}},
        "patients": None,
        "unknown": {"CD": 500, "AF": 0, "SB": 9},
    }
    run.encoder_notes["one"]["card"] = {"possibly_pretrained_on": ["georgia"]}
    shown = cohort_sheets(run)
    words = unescape(re.sub("<[^>]+>", " ", shown))
    assert "Italy, Europe, 2015 to 2022" in words
    assert "<b>GE" not in shown
    assert "1000 records, patients not published" in words
    assert "25 % women" in words
    assert "CD 50 %, AF 0 %" in words
    assert "one: seen, two: seen" in words
    assert "one: possibly seen, two: unseen" in words
    # A damaged sheet, or none, is no traceback.
    run.cohort_notes["ptb-xl"]["sheet"] = {"age": 3, "sex": None}
    assert "not stated" in cohort_sheets(run)
