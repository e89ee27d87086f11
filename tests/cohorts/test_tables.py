import math
from pathlib import Path

import pytest

from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.tables import choices, cohort_table, identifiers, numbers, read_table
from pytest_ecgfm.errors import EcgfmError


def write(tmp_path: Path, data: bytes | str) -> Path:
    path = tmp_path / "t.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_reads_text_only(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeffid,age,note,more\n1, 34 ,"a\nb",x\n\n2,,NaN,y\n')
    table = read_table(Folder(tmp_path), path, ("id", "age"), optional=("note", "absent"), key="id")
    assert table.to_dict("list") == {"id": ["1", "2"], "age": ["34", ""], "note": ["a\nb", "NaN"]}
    assert table.index.tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "column 'id' is missing; there are none"),
        ("name\nx\n", "column 'id' is missing; there are name"),
        ("id,id\n1,2\n", "column 'id' occurs twice"),
        ("id,b\n1,2\n1\n", "line 3: 1 values for 2 columns"),
        ("id,b\n1,2,3\n", "line 2: 3 values for 2 columns"),
        ("id\n1\n2\n1\n", "record '1': id occurs in more than one row"),
        ("id,b\n1,x\n,y\n", "row 2: id is empty"),
        ('id\n"1\n', "malformed CSV"),
        (b"id\n\xff\n", "not UTF-8"),
        ("id\n" + "x" * 200_000, "malformed CSV"),
    ],
)
def test_malformed(tmp_path: Path, data: bytes | str, message: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(EcgfmError, match=message) as caught:
        read_table(Folder(tmp_path), path, ("id",), key="id")
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EcgfmError, match=r"t\.csv: cannot read"):
        read_table(Folder(tmp_path), tmp_path / "t.csv", ("id",))


def test_values(tmp_path: Path) -> None:
    path = write(tmp_path, "id,age,sex,p\na,34.5,M,12.0\nb,,F,7\n")
    table = read_table(Folder(tmp_path), path, ("id", "age", "sex", "p"), key="id")
    ages = numbers(table, "age", path, low=0, high=120, empty=True)
    assert ages[0] == 34.5 and math.isnan(ages[1])
    assert identifiers(table, "p", path) == ["12", "7"]
    assert choices(table, "sex", path, {"M": "m", "F": "f"}) == ["m", "f"]
    with pytest.raises(EcgfmError, match=r"t\.csv: record 'b': age '' should be a number from 0 to 120"):
        numbers(table, "age", path, low=0, high=120)
    with pytest.raises(EcgfmError, match=r"record 'a': age '34.5' should be a number from 0 to 30"):
        numbers(table, "age", path, low=0, high=30)
    with pytest.raises(EcgfmError, match="record 'a': sex 'M' should be a number"):
        numbers(table, "sex", path, low=0, high=30)
    with pytest.raises(EcgfmError, match=r"record 'a': age '34.5' should be a whole number"):
        identifiers(table, "age", path)
    with pytest.raises(EcgfmError, match="record 'b': sex 'F' should be one of 'M'"):
        choices(table, "sex", path, {"M": "m"})


def test_a_record_without_a_patient_is_its_own() -> None:
    table = cohort_table(["a", "b"], patients=None, ages=[1, 2], sexes=["", "F"])
    assert table["patient"].tolist() == ["a", "b"]
    assert table["fold"].isna().all() and table["fold"].dtype == "Int64"
