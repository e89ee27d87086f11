from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ecgfm.cohorts import available_cohorts
from pytest_ecgfm.cohorts.discovery import load_cohort
from pytest_ecgfm.cohorts.folder import FolderCohort
from pytest_ecgfm.errors import EcgfmError


@pytest.fixture
def make(tmp_path: Path, write_record) -> Callable[..., Path]:
    def write(table: str) -> Path:
        root = tmp_path / "My Hospital"
        for name in ("a", "b", "sub/c"):
            write_record(root / Path(name).parent, Path(name).name, rate=250)
        (root / "labels.csv").write_text(table)
        return root

    return write


def test_all_columns(make) -> None:
    root = make(
        "record,patient,age,sex,fold,AF,CD,comment\na,p1,50,F,train,1,0,x\nb,p2,,M,validation,0,,\nsub/c,p3,7,,test,,1,\n"
    )
    cohort = FolderCohort(root, continent="Asia")
    assert (cohort.name, cohort.sampling_rate, cohort.has_patients) == ("my-hospital", 250, True)
    assert cohort.table["patient"].tolist() == ["p1", "p2", "p3"] and cohort.table["sex"].tolist() == ["F", "M", ""]
    assert cohort.labels["AF"].tolist()[:2] == [True, False] and cohort.labels["AF"].isna().tolist()[2]
    assert cohort.labels["CD"].isna().tolist() == [False, True, False]
    assert cohort.labels["SB"].isna().all() and "SB" in cohort.label_notes and "AF" not in cohort.label_notes
    assert cohort.split is not None and (cohort.split.train, cohort.split.validation, cohort.split.test) == (
        (1,),
        (2,),
        (3,),
    )
    assert cohort.read("sub/c").signals.shape == (12, 500)
    assert len(load_cohort("my-hospital", root.parent)) == 3


def test_few_columns(make) -> None:
    cohort = FolderCohort(make("record,NORM\na,true\nb,false\n"), name="mine")
    assert cohort.name == "mine" and not cohort.has_patients and cohort.split is None
    assert cohort.table["age"].isna().all() and cohort.patients.tolist() == ["a", "b"]
    assert cohort.labels["NORM"].tolist() == [True, False]


def test_numbered_folds(make) -> None:
    split = FolderCohort(make("record,AF,fold\na,1,1\nb,0,9\nsub/c,0,10\n")).split
    assert split is not None and (split.train, split.validation, split.test) == ((1,), (9,), (10,))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("record,af\na,x\n", "no column is a label. Valid: CD, AF"),
        ("record,AF\n", "no record"),
        ("AF\n1\n", "column 'record' is missing"),
        ("record,AF\na,1\na,0\n", "record 'a': record occurs in more than one row"),
        ("record,AF\na,2\n", "record 'a': AF '2'"),
        ("record,AF,age\na,1,-1\n", "record 'a': age '-1'"),
        ("record,AF,sex\na,1,X\n", "record 'a': sex 'X'"),
        ("record,AF,patient\na,1,\n", "record 'a': patient ''"),
        ("record,AF,fold\na,1,\n", "record 'a': fold ''"),
        ("record,AF,fold\na,1,1\nb,1,2\n", "fold has 2 values"),
        ("record,AF,fold\na,1,1.5\n", "whole numbers"),
        ("record,AF\n../x,1\n", r"record '\.\./x': record: .* is not a file name below"),
        ("record,AF\n/etc/x,1\n", "record '/etc/x': record: .* is not a file name below"),
    ],
)
def test_malformed_table(make, table: str, message: str) -> None:
    with pytest.raises(EcgfmError, match=rf"labels\.csv: .*{message}"):
        FolderCohort(make(table))


def test_missing_files(make) -> None:
    root = make("record,AF\na,1\n")
    (root / "a.dat").unlink()
    with pytest.raises(EcgfmError, match=r"a\.hea: record 'a': the signal file 'a\.dat' is missing"):
        FolderCohort(root)
    (root / "a.hea").unlink()
    with pytest.raises(EcgfmError, match=r"a\.hea: record 'a': cannot read"):
        FolderCohort(root)


def test_unknown_continent(make) -> None:
    with pytest.raises(EcgfmError, match=r"unknown continent 'Asien'\. Did you mean 'Asia'"):
        FolderCohort(make("record,AF\na,1\n"), continent="Asien")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("record;patient;AF\na;p1;1\n", r"lacks a column `record`; it has, separated by commas: record;patient;AF\.$"),
        ("patient,AF\np1,1\n", r"lacks a column `record`; it has, separated by commas: patient, AF\.$"),
        (
            "record,age\na,1\n",
            r"lacks a column of a label \(CD, AF, .*\); it has, separated by commas: record, age\.$",
        ),
        ("", r"lacks a column `record`; it has, separated by commas: nothing\.$"),
    ],
)
@pytest.mark.parametrize("place", ["beside", "below"])
def test_a_table_that_cannot_be_one_is_not_passed_over(make, write_record, place, table: str, message: str) -> None:
    root = make(table)
    if place == "below":
        for name in ("a", "b"):
            (root / f"{name}.hea").unlink()
    # Beside a good cohort, too.
    good = root.parent / "good"
    write_record(good, "a")
    (good / "labels.csv").write_text("record,AF\na,1\n")
    with pytest.raises(EcgfmError, match=r"My Hospital.labels\.csv: its first line " + message):
        available_cohorts(root.parent)
