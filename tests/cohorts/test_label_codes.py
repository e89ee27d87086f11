"""Labels by the codes that annotators stated: their names, their truths, and counts by a script of its own."""

import ast
import csv
from collections import Counter

import pytest

from pytest_ecgfm.cohorts.discovery import load_cohort
from pytest_ecgfm.cohorts.endpoints import PREFIXES, Definition, defined, of_code, values_of, with_labels
from pytest_ecgfm.cohorts.harmonise import vocabulary
from pytest_ecgfm.cohorts.offered import offered_codes
from pytest_ecgfm.errors import EcgfmError
from tests.cohorts.stated_cohort import Stated, plain


def code(name):
    found = of_code(name, where="--ecgfm-labels")
    assert found is not None
    return found


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
