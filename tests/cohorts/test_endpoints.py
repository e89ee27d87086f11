"""Labels of one's own: columns, codes, definitions; and one more built-in label in a scratch copy of the tables."""

import ast
import csv
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.cohorts.discovery import load_cohort
from pytest_ecgfm.cohorts.endpoints import (
    PREFIXES,
    Definition,
    chosen_labels,
    defined,
    of_code,
    of_column,
    values_of,
    with_labels,
)
from pytest_ecgfm.cohorts.folder import FolderCohort
from pytest_ecgfm.cohorts.harmonise import harmonise, vocabulary
from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.cohorts.offered import nearest_label, offered_codes, offered_columns, unused_columns
from pytest_ecgfm.cohorts.tables import cohort_table
from pytest_ecgfm.cohorts.targets import read_targets
from pytest_ecgfm.errors import EcgfmError
from tests.doc_blocks import ROOT


class Stated(Cohort):
    """Codes and columns without signals."""

    def __init__(self, codes=None, name="scp_ecg", source="ptb-xl", doubtful=None, columns=None):
        records = list(codes if codes is not None else columns.index)
        found = None if codes is None else harmonise(codes, name, source=source, doubtful=doubtful)
        super().__init__(
            "stated",
            continent="Europe",
            table=cohort_table(records, patients=None, ages=[50.0] * len(records), sexes=[""] * len(records)),
            labels=pd.DataFrame(index=records) if found is None else found.labels,
            sampling_rate=100,
            has_patients=False,
            codes=None if found is None else found.codes,
            columns=columns,
        )

    def _read(self, record):
        raise NotImplementedError

    def _content_digest(self, records):
        return ""


def plain(values):
    return [None if pd.isna(one) else bool(one) for one in values]


def code(name):
    found = of_code(name, where="--ecgfm-labels")
    assert found is not None
    return found


# Codes


def test_a_code_is_true_false_or_unknown():
    codes = {"a": ["LVH", "SR"], "b": ["SR"], "c": [], "d": ["SR", "NOBODY KNOWS"], "e": ["SR"], "f": ["LVH"]}
    cohort = Stated(codes, doubtful={"e": ["LVH"], "f": ["LVH"]})
    assert plain(values_of(code("scp:LVH"), cohort)) == [True, False, None, None, None, True]


def test_a_code_is_known_only_where_its_vocabulary_is_used_and_somebody_states_it():
    scp = Stated({"a": ["LVH"], "b": ["SR"]})
    assert plain(values_of(code("snomed:164873001"), scp)) == [None, None]
    codes = {"a": ["164873001"], "b": ["426783006"], "c": ["426783006"]}
    two = Stated(codes, "snomed_ct", {"a": "georgia", "b": "georgia", "c": "cpsc_2018"})
    # CPSC's nine classes hold no hypertrophy: that nobody states it there does not mean that it is absent.
    assert plain(values_of(code("snomed:164873001"), two)) == [True, False, None]


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("scp:LVH", "scp:LVH"),
        ("scp:Left ventricular hypertrophy", "scp:LVH"),
        ("snomed: left ventricular hypertrophy", "snomed:164873001"),
        ("aha:142", "aha:142"),
        ("mimic:sinus rhythm", "mimic:sinus rhythm"),
        ("scp:superclass:MI", "scp:MI"),
        ("scp:STTC", "scp:STTC"),
        ("scp:subclass:STTC", "scp:subclass:STTC"),
        ("scp:IMI", "scp:IMI"),
        ("scp:subclass:IMI", "scp:subclass:IMI"),
        ("scp:ISCA", "scp:ISCA"),
    ],
)
def test_a_code_has_one_name(given_name, name):
    assert code(given_name).name == name
    assert code(name) == code(given_name)


def test_superclass_before_statement_before_subclass():
    cohort = Stated({"a": ["IMI"], "b": ["ILMI"], "c": ["NDT"], "d": ["ISCAL"], "e": ["NORM"], "f": ["SR"]})
    cohort.codes = cohort.codes.__class__(**{**vars(cohort.codes), "classes": _packaged()})
    truths = {name: plain(values_of(code(name), cohort)) for name in ("scp:IMI", "scp:subclass:IMI", "scp:STTC")}
    assert truths["scp:IMI"] == [True, False, False, False, False, False]
    assert truths["scp:subclass:IMI"] == [True, True, False, False, False, False]
    assert truths["scp:STTC"] == [False, False, True, True, False, False]
    assert plain(values_of(code("scp:subclass:STTC"), cohort)) == [False, False, True, False, False, False]


def _packaged():
    from pytest_ecgfm.cohorts.scp_classes import packaged_classes

    return packaged_classes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scp:LHV", r"scp has no code 'LHV'\. Did you mean 'LVH'\?"),
        ("snomed:16487300", r"snomed has no code '16487300'\. Did you mean '164873001'\?"),
        ("aha:left ventriclar hypertrophy", "Did you mean 'left ventricular hypertrophy'"),
        ("ludb:", "ludb has no code ''"),
    ],
)
def test_an_unknown_code_is_an_error_with_the_nearest(name, message):
    with pytest.raises(EcgfmError, match=message):
        of_code(name, where="--ecgfm-labels")


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


# Definitions


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
        (GOOD.replace("label.LVH", 'label."scp:MI"'), "that of a code"),
        (GOOD.replace("label.LVH", 'label."a,b"'), "none of the marks"),
        (GOOD.replace("meaning =", "meanin ="), r"labels\.toml: label\.LVH\.(meaning|meanin)"),
        (GOOD.replace("unknown =", "unknwn ="), r"unknwn: no such key\. Did you mean 'unknown'"),
        ('[label.X]\nmeaning = "x"\ntrue = {}\n', r"label\.X\.true"),
        ('[label.X]\nmeaning = "x"\ntrue = { scp = [] }\n', "names nothing"),
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
    assert "'afib' holds 1 and 0" in notes[0] and "--ecgfm-labels=afib" in notes[0] and "is AF (atrial" in notes[0]
    assert "'Stach' holds 1 and 0" in notes[1] and "is STach (sinus tachycardia) meant" in notes[1]


@pytest.mark.parametrize(
    ("name", "label"),
    [("afib", "AF"), ("Stach", "STach"), ("norm", "NORM"), ("atrial_fibrillation", "AF"), ("LVH", None), ("K", None)],
)
def test_the_nearest_label(name, label):
    found = nearest_label(name)
    assert (found and found[0]) == label


# Counts against a script of its own


def test_counts_of_ptb_xl_are_those_of_its_tables(data_root):
    with (data_root / "ptb-xl" / "scp_statements.csv").open() as file:
        classes = {row[""]: row["diagnostic_class"] for row in csv.DictReader(file)}
    expected, records = Counter(), 0
    with (data_root / "ptb-xl" / "ptbxl_database.csv").open() as file:
        for row in csv.DictReader(file):
            stated = set(ast.literal_eval(row["scp_codes"]))
            expected.update({f"scp:{classes[one]}" for one in stated if classes.get(one)})
            expected.update(f"scp:{one}" for one in stated if one != "NORM")
            records += 1
    names = ["scp:MI", "scp:HYP", "scp:STTC", "scp:CD", "scp:NORM", "scp:LVH", "scp:IMI", "scp:AFIB"]
    cohort = with_labels(load_cohort("ptb-xl", data_root), [code(name) for name in names])
    assert records == len(cohort) == 500
    for name in names:
        assert int(cohort.labels[name].sum()) == expected[name] > 0
        assert int((~cohort.labels[name]).sum()) == records - expected[name]
    offered = {one.name: one.positives for one in offered_codes(cohort)}
    assert {name: offered[name] for name in names} == {name: expected[name] for name in names}


def test_the_likelihood_bound_of_the_labels_holds_for_codes(data_root):
    from pytest_ecgfm.cohorts.ptb_xl import PtbXl

    cohort = PtbXl(data_root / "ptb-xl", sampling_rate=100, minimum_likelihood=60)
    sure = unsure = 0
    with (data_root / "ptb-xl" / "ptbxl_database.csv").open() as file:
        for row in csv.DictReader(file):
            likelihood = ast.literal_eval(row["scp_codes"]).get("IMI")
            sure += likelihood is not None and not 0 < likelihood < 60
            unsure += likelihood is not None and 0 < likelihood < 60
    values = values_of(code("scp:IMI"), cohort)
    assert (int(values.sum()), int(values.isna().sum())) == (sure, unsure)
    assert unsure


def test_the_classes_of_the_package_are_those_of_the_release(data_root):
    from pytest_ecgfm.cohorts.folders import Folder
    from pytest_ecgfm.cohorts.scp_classes import classes_of

    assert classes_of(Folder(data_root / "ptb-xl")) == _packaged()
    assert classes_of(Folder(data_root / "brugada-huca")) == _packaged()


@pytest.mark.parametrize("name", ["scp", "snomed", "aha", "code", "ludb", "mimic"])
def test_every_code_of_every_vocabulary_can_be_asked_for(name):
    for one in vocabulary(PREFIXES[name]).rules:
        by_definition = defined("x", Definition(meaning="x", true={name: [one]}), where="f")
        assert by_definition.true[name]
        if set(one) & set(",[]\"'") or len(one) > 70:
            with pytest.raises(EcgfmError, match=r"a label by a definition: \[label\.NAME\]"):
                of_code(f"{name}:{one}", where="x")
        else:
            assert code(f"{name}:{one}").name.startswith(f"{name}:")


# Brugada-HUCA


def test_brugada_huca(data_root):
    cohort = load_cohort("brugada-huca", data_root)
    assert (len(cohort), cohort.patients.nunique(), cohort.sampling_rate, cohort.continent) == (363, 363, 100, "Europe")
    assert cohort.labels.isna().all().all() and set(cohort.label_notes) == set(LABELS)
    with (data_root / "brugada-huca" / "metadata.csv").open() as file:
        expected = Counter(row["brugada"] for row in csv.DictReader(file))
    counts = offered_columns(cohort)["brugada"]
    assert counts == {"true": expected["1"], "false": expected["0"], "unknown": expected["2"]}
    assert counts["true"] == 69 and counts["unknown"] == 7
    recording = cohort.read(cohort.records[0])
    assert recording.signals.shape == (12, 1200) and np.isfinite(recording.signals).all()


def test_brugada_huca_without_some_files(tmp_path, write_record):
    root = tmp_path / "renamed"
    for name in ("1", "2"):
        write_record(root / "files" / name, name, rate=100)
    (root / "metadata.csv").write_text("patient_id,basal_pattern,sudden_death,brugada\n1,0,0,1\n2,0,0,2\n3,1,0,0\n")
    with pytest.raises(EcgfmError, match=r"metadata\.csv: the files of 1 of 3 records are missing: 3"):
        load_cohort("brugada-huca", tmp_path)
    cohort = load_cohort("brugada-huca", tmp_path, skip_bad=True)
    assert list(cohort.records) == ["1", "2"] and "files/3 is missing" in cohort.excluded["3"]
    assert plain(values_of(of_column("brugada", where="x"), cohort)) == [True, None]
    (root / "metadata.csv").write_text("patient_id,basal_pattern,sudden_death,brugada\n1,0,0,3\n2,0,0,2\n")
    with pytest.raises(EcgfmError, match=r"record '1': brugada '3' should be one of"):
        load_cohort("brugada-huca", tmp_path)


# One more built-in label

NINTH = """
from pytest_ecgfm.cohorts import LABELS, load_cohort
from pytest_ecgfm.cohorts.synthetic import SPECS
from pytest_ecgfm.cohorts.harmonise import VOCABULARIES, harmonise
from pytest_ecgfm.evaluations.relevance import PRIORS
from pytest_ecgfm.results.profiles import load_profile
print("LVH" in LABELS, PRIORS.get("LVH"))
for source, vocabulary, codes in (
    ("ptb-xl", "scp_ecg", ("LVH", "NORM")), ("georgia", "snomed_ct", ("164873001", "426783006")),
    ("somebody's own", "snomed_ct", ("164873001", "426783006")), ("sph", "aha", ("142", "1")),
):
    found = harmonise({one: [one] for one in codes}, vocabulary, source=source)
    print(*(str(one) for one in found.labels.get("LVH", ())))
import hashlib, pandas
total = hashlib.sha256()
for name in SPECS:
    cohort = load_cohort(name)
    old = [one for one in cohort.labels if one != "LVH"]
    total.update(pandas.util.hash_pandas_object(cohort.labels[old].astype(str)).to_numpy().tobytes())
    total.update(pandas.util.hash_pandas_object(cohort.table.astype(str)).to_numpy().tobytes())
    print(cohort.labels.get("LVH", pandas.Series(dtype="boolean")).notna().sum())
print(total.hexdigest())
"""


def _scratch(folder):
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    script = f"import sys; sys.path.insert(0, {str(folder)!r})\nimport pytest_ecgfm\n"
    script += f"assert pytest_ecgfm.__file__.startswith({str(folder)!r}), pytest_ecgfm.__file__\n" + NINTH
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_ninth_built_in_label_is_one_row_and_its_rows_in_vocabularies(tmp_path):
    shutil.copytree(ROOT / "pytest_ecgfm", tmp_path / "pytest_ecgfm", ignore=shutil.ignore_patterns("__pycache__"))
    before = _scratch(tmp_path)
    tables = tmp_path / "pytest_ecgfm" / "cohorts" / "labels"
    _append(tables / "labels.csv", "LVH,left ventricular hypertrophy,I V1 V5 V6,")
    _append(tables / "scp_ecg.csv", "LVH,left ventricular hypertrophy,LVH,true,,a test,")
    _append(tables / "snomed_ct.csv", "164873001,left ventricular hypertrophy,LVH,true,,a test,")
    _append(tables / "vocabulary.csv", "ptb-xl,LVH,yes,")
    after = _scratch(tmp_path)
    assert after[0] == "True ('I', 'V1', 'V5', 'V6')" and before[0] == "False None"
    # Known where a row says so; where none does, unknown and never false.
    assert after[1:5] == ["True False", "<NA> <NA>", "True False", "<NA> <NA>"]
    assert after[5:9] == ["0"] * 4
    assert after[9] == before[9], "the synthetic cohorts changed"


def _append(path: Path, line: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").rstrip("\n") + f"\n{line}\n", encoding="utf-8")


def test_the_release_of_brugada_huca_is_fetched_whole(data_root):
    from pytest_ecgfm.cohorts.sources import SOURCES

    source = SOURCES["brugada-huca"]
    lines = (data_root / "brugada-huca" / "SHA256SUMS.txt").read_text(encoding="utf-8").splitlines()
    names = [line.split(maxsplit=1)[1] for line in lines]
    records = Counter(found["record"] for name in names if (found := source.pattern.fullmatch(name)))
    assert len(records) == source.records == 363 and set(records.values()) == {2}
    assert {"metadata.csv", "LICENSE.txt"} <= {name for name in names if source.others.fullmatch(name)}
    assert not any(source.pattern.fullmatch(name) or source.others.fullmatch(name) for name in names if "zip" in name)
