"""Labels of one's own: definitions in a file, and columns of a table."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cohorts.base import LABELS
from pytest_ecgfm.cohorts.discovery import load_cohort
from pytest_ecgfm.cohorts.endpoints import Definition, chosen_labels, defined, of_column, values_of, with_labels
from pytest_ecgfm.cohorts.folder import FolderCohort
from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.cohorts.offered import nearest_label, offered_columns, unused_columns
from pytest_ecgfm.cohorts.targets import read_targets
from pytest_ecgfm.errors import EcgfmError
from tests.cohorts.stated_cohort import Stated, plain


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.text("abcdefgh", min_size=1, max_size=3),
        st.tuples(
            st.sets(st.sampled_from(["LVH", "VCLVH", "SR", "NORM", "?"])), st.sets(st.sampled_from(["LVH", "SR"]))
        ),
        min_size=1,
    )
)
def test_a_definition_is_what_its_page_says(said):
    made = defined("mine", Definition(meaning="x", true={"scp": ["LVH"]}, unknown={"scp": ["VCLVH"]}), where="f")
    doubtful = {record: unsure - sure for record, (sure, unsure) in said.items()}
    found = values_of(made, Stated({record: sure for record, (sure, _) in said.items()}, doubtful=doubtful))
    somebody = any("LVH" in sure for sure, _ in said.values())
    for record, (sure, _) in said.items():
        every = sure | doubtful[record]
        if "LVH" in sure:
            expected = True
        elif not somebody or not every or every & {"VCLVH", "?", "LVH"}:
            expected = None
        else:
            expected = False
        assert plain([found[record]]) == [expected], (record, sure, doubtful[record])


GOOD = """
[label.LVH]
meaning = "left ventricular hypertrophy"
true = { scp = ["LVH"], snomed = ["164873001"], aha = ["142"], column = ["LVH", "hypertrophy"] }
unknown = { scp = ["VCLVH"], column = ["borderline"] }
"""


def test_a_definition_spans_vocabularies_and_columns(tmp_path):
    (tmp_path / "labels.toml").write_text(GOOD)
    definitions = read_targets(tmp_path / "labels.toml").label
    names, own = chosen_labels(["AF", "LVH", "CD"], definitions, where="--ecgfm-labels")
    assert names == ("CD", "AF", "LVH") and own["LVH"].meaning == "left ventricular hypertrophy"
    columns = pd.DataFrame(
        {"LVH": ["1", "0", "", "0"], "hypertrophy": ["0", "", "", "0"], "borderline": ["1", "0", "0", "1"]},
        index=list("abcd"),
    )
    assert plain(values_of(own["LVH"], Stated(columns=columns))) == [True, None, None, None]
    assert plain(values_of(own["LVH"], Stated({"a": ["142"], "b": ["1"]}, "aha", "sph"))) == [True, False]
    assert plain(values_of(own["LVH"], Stated({"a": ["AF"]}, "code", "code-15"))) == [None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace('"142"', '"1420"'), r"label\.LVH\.true: aha has no code '1420'\. Did you mean '142'"),
        (GOOD.replace('"VCLVH"', '"VCLV"'), r"label\.LVH\.unknown: scp has no code 'VCLV'\. Did you mean 'VCLVH'"),
        (GOOD.replace("snomed =", "snomd ="), r"unknown vocabulary 'snomd'\. Did you mean 'snomed'"),
        (GOOD.replace("label.LVH", "label.AF"), "AF is a built-in label"),
        (GOOD.replace("label.LVH", 'label."scp:MI"'), "is read as a code"),
        (GOOD.replace("label.LVH", 'label."a,b"'), "none of the marks"),
        (GOOD.replace("meaning =", "meanin ="), r"labels\.toml: label\.LVH\.(meaning|meanin)"),
        (GOOD.replace("unknown =", "unknwn ="), r"unknwn: no such key\. Did you mean 'unknown'"),
        ('[label.X]\nmeaning = "x"\ntrue = {}\n', r"label\.X\.true"),
        ('[label.X]\nmeaning = "x"\ntrue = { scp = [] }\n', "is empty; name at least one"),
        ("", "label: is missing"),
        ("[[label]]\n", "label"),
        ("label = 1\n", "label"),
    ],
)
def test_a_malformed_file_of_labels_is_one_line(tmp_path, text, message):
    (tmp_path / "labels.toml").write_text(text)
    with pytest.raises(EcgfmError, match=message) as raised:
        read_targets(tmp_path / "labels.toml")
    assert "\n" not in str(raised.value)


# Columns

TEXTS = {"1": True, "0": False, "": None, "TRUE": True, "no": False, "NA": None, "1.0": True, "nan": None}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(sorted(TEXTS)), min_size=1, max_size=20))
def test_a_column_is_read_as_built_in_labels_are(texts):
    columns = pd.DataFrame({"EF low": texts}, index=[f"r{number}" for number in range(len(texts))])
    cohort = Stated(columns=columns)
    found = with_labels(cohort, [of_column("EF low", where="x")])
    assert plain(found.labels["EF low"]) == [TEXTS[text] for text in texts]
    assert list(found.labels) == [*LABELS, "EF low"] and list(cohort.labels) == list(LABELS)
    assert set(offered_columns(cohort)) == ({"EF low"} if True in plain(found.labels["EF low"]) else set())


@pytest.fixture
def hospital(tmp_path, write_record):
    for name in "abcd":
        write_record(tmp_path / "hospital", name, rate=100)
    (tmp_path / "hospital" / "labels.csv").write_text(
        "record,LVH,afib,EF,Stach,comment,sex,x,x,\na,1,1,55,0,,F,1,1,\nb,0,0,60,1,,,,,\nc,,,,,,M,,,\nd,0,1,30,,y,,,,\n"
    )
    return tmp_path / "hospital"


def test_a_folder_whose_labels_are_all_its_own(hospital):
    cohort = load_cohort("hospital", hospital.parent)
    assert cohort.labels.isna().all().all()
    assert {name: tuple(counts.values()) for name, counts in offered_columns(cohort).items()} == {
        "LVH": (1, 2, 1),
        "afib": (2, 1, 1),
        "Stach": (1, 1, 2),
    }
    found = limited(with_labels(cohort, [of_column("LVH", where="x")]), 2)
    assert len(found.labels) == len(found.columns) == 2 and "LVH" in found.labels
    with pytest.raises(EcgfmError, match=r"labels\.csv: record 'a': EF '55' should be one of '', '1'"):
        values_of(of_column("EF", where="x"), cohort)


def test_columns_that_look_like_labels_are_named_with_the_nearest(hospital):
    notes = list(unused_columns(FolderCohort(hospital), {"LVH"}))
    assert len(notes) == 2
    assert (
        "'afib' contains 1 and 0" in notes[0]
        and "--ecgfm-labels=afib" in notes[0]
        and "do you mean AF (atrial" in notes[0]
    )
    assert "'Stach' contains 1 and 0" in notes[1] and "do you mean STach (sinus tachycardia)" in notes[1]


@pytest.mark.parametrize(
    ("name", "label"),
    [("afib", "AF"), ("Stach", "STach"), ("norm", "NORM"), ("atrial_fibrillation", "AF"), ("LVH", None), ("K", None)],
)
def test_the_nearest_label(name, label):
    found = nearest_label(name)
    assert (found and found[0]) == label
