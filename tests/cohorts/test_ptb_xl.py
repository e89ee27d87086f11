import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.cohorts.ptb_xl import DATABASE, PtbXl, parse_statements
from pytest_ecgfm.errors import EcgfmError

ROW = {
    "ecg_id": "1",
    "patient_id": "15709.0",
    "age": "56.0",
    "sex": "1",
    "scp_codes": "{'NORM': 100.0, 'SR': 0.0}",
    "strat_fold": "3",
    "filename_lr": "records100/00000/00001_lr",
    "filename_hr": "records500/00000/00001_hr",
}


@pytest.fixture
def make(tmp_path: Path, write_record) -> Callable[..., Path]:
    """Write a small PTB-XL: two records, changed as the test wants."""

    def write(**changes: str) -> Path:
        second = {
            **ROW,
            "ecg_id": "2",
            "patient_id": "13243.0",
            "sex": "0",
            "strat_fold": "10",
            "scp_codes": "{'CLBBB': 15.0, 'AFIB': 0.0}",
            "filename_lr": "records100/00000/00002_lr",
            "filename_hr": "records500/00000/00002_hr",
        }
        with (tmp_path / DATABASE).open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, ROW)
            table.writeheader()
            table.writerows([{**ROW, **changes}, second])
        for number in (1, 2):
            write_record(tmp_path / "records100/00000", f"0000{number}_lr", rate=100)
            write_record(tmp_path / "records500/00000", f"0000{number}_hr", rate=500)
        return tmp_path

    return write


def test_published_counts(data_root: Path) -> None:
    """The counts of the sample's PROVENANCE.md."""
    cohort = PtbXl(data_root / "ptb-xl")
    counts = {"CD": 78, "NORM": 297, "AF": 13, "SB": 9, "STach": 5, "LBBB": 8, "RBBB": 8, "1AVB": 10}
    assert cohort.labels[list(counts)].sum().to_dict() == counts
    assert len(cohort) == 500 and cohort.patients.nunique() == 466
    # Six records are paced: what they would show without is unknown.
    assert cohort.labels[list(counts)].isna().sum().to_dict() == {**dict.fromkeys(counts, 6), "1AVB": 7}
    assert not cohort.unmapped


def test_published_labels_record_by_record(data_root: Path) -> None:
    cohort = PtbXl(data_root / "ptb-xl", sampling_rate=100)
    published = pd.read_csv(data_root / "ptb-xl/qa.csv", dtype={"ecg_id": str}).set_index("ecg_id")
    for label, column in {
        "CD": "super_CD",
        "NORM": "super_NORM",
        "AF": "AFIB",
        "SB": "SBRAD",
        "STach": "STACH",
    }.items():
        assert (cohort.labels[label] == published[column].astype(bool)).all(), label
    for label, column in {"LBBB": "CLBBB", "RBBB": "CRBBB", "1AVB": "1AVB"}.items():
        assert (cohort.labels[label].fillna(False) == published[column].astype(bool)).all(), label


def test_identities(data_root: Path) -> None:
    cohort = PtbXl(data_root / "ptb-xl")
    assert cohort.table.loc["1"].to_dict() == {"patient": "15709", "age": 56.0, "sex": "F", "fold": 3}
    assert cohort.table.loc["2", "sex"] == "F" or cohort.table.loc["2", "sex"] == "M"
    assert cohort.has_patients and cohort.continent == "Europe"
    assert cohort.split is not None
    parts = [
        cohort.table["fold"].isin(folds) for folds in (cohort.split.train, cohort.split.validation, cohort.split.test)
    ]
    assert sum(part.astype(int) for part in parts).eq(1).all()
    held = [set(cohort.patients[part]) for part in parts]
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])


@pytest.mark.parametrize("rate", [100, 500])
def test_both_rates(data_root: Path, rate: int) -> None:
    cohort = PtbXl(data_root / "ptb-xl", sampling_rate=rate)
    assert cohort.sampling_rate == rate
    recording = cohort.read("1")
    assert recording.signals.shape == (12, 10 * rate)
    assert recording.leads == ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    one, two, three = recording.signals[:3]
    assert np.abs(two - one - three).max() < 0.01
    assert set(cohort.verify_checksums("1").values()) == {True}


def test_written(make) -> None:
    cohort = PtbXl(make(age="300.0"))
    assert cohort.table["age"].tolist() == [90.0, 56.0]
    assert cohort.table["sex"].tolist() == ["F", "M"]
    assert cohort.labels.loc["2"].to_dict() | {"NORM": None} == {
        **dict.fromkeys(cohort.labels, False), "CD": True, "LBBB": True, "AF": True, "NORM": None,
    }  # fmt: skip
    assert cohort.sampling_rate == 500


def test_minimum_likelihood(make) -> None:
    cohort = PtbXl(make(), minimum_likelihood=50)
    second = cohort.labels.loc["2"]
    assert second.isna().to_dict() == {label: label in ("CD", "LBBB") for label in cohort.labels}
    assert second["AF"] and cohort.labels.loc["1", "NORM"]


def test_digest_depends_on_content_only(make) -> None:
    root = make()
    first, low = PtbXl(root).digest, PtbXl(root, sampling_rate=100).digest
    header = root / "records500/00000/00002_hr.hea"
    header.touch()
    assert PtbXl(root).digest == first != low
    header.write_text(header.read_text() + "# changed\n")
    assert PtbXl(root).digest != first


def test_rate_that_is_not_there(make) -> None:
    root = make()
    with pytest.raises(EcgfmError, match=r"not there at 250 Hz\. Found: 500 Hz, 100 Hz"):
        PtbXl(root, sampling_rate=250)
    (root / "records500").rename(root / "elsewhere")
    assert PtbXl(root).sampling_rate == 100
    with pytest.raises(EcgfmError, match=r"not there at 500 Hz\. Found: 100 Hz"):
        PtbXl(root, sampling_rate=500)


def test_missing_files_are_counted(make) -> None:
    root = make()
    (root / "records500/00000/00001_hr.dat").unlink()
    (root / "records500/00000/00002_hr.hea").unlink()
    with pytest.raises(
        EcgfmError, match=r"2 of 4 files that it names are missing: record '1' \(records500/00000/00001_hr\.dat\), rec"
    ):
        PtbXl(root)


def test_header_of_another_rate(make, write_record) -> None:
    root = make()
    write_record(root / "records500/00000", "00001_hr", rate=250)
    with pytest.raises(EcgfmError, match=r"00001_hr\.hea: record '1': the header states 250 Hz"):
        PtbXl(root).read("1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ecg_id": "2"}, "record '2': ecg_id occurs in more than one row"),
        ({"ecg_id": "x"}, "record 'x': ecg_id 'x' should be a whole number"),
        ({"patient_id": ""}, "record '1': patient_id ''"),
        ({"age": "-3"}, "record '1': age '-3'"),
        ({"age": "151"}, "record '1': age '151.0'"),
        ({"age": "old"}, "record '1': age 'old'"),
        ({"sex": "2"}, "record '1': sex '2'"),
        ({"strat_fold": "11"}, "record '1': strat_fold '11'"),
        ({"strat_fold": ""}, "record '1': strat_fold ''"),
        ({"strat_fold": "1.5"}, "strat_fold should contain whole numbers"),
        ({"scp_codes": "__import__('os')"}, "record '1': scp_codes"),
        ({"filename_hr": "../../x"}, "record '1': filename_hr: '../../x.hea' is not a file name"),
        ({"filename_hr": "/etc/passwd"}, "record '1': filename_hr: '/etc/passwd.hea' is not a file name"),
        ({"filename_hr": ""}, "2 of 4 files that it names are missing"),
    ],
)
def test_malformed_table(make, change: dict[str, str], message: str) -> None:
    with pytest.raises(EcgfmError, match=message) as caught:
        PtbXl(make(**change))
    assert DATABASE in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NORM",
        "['NORM']",
        "{'NORM'}",
        "{'NORM': 'x'}",
        "{'NORM': True}",
        "{'NORM': -1}",
        "{'NORM': 101}",
        "{'NORM': 1e999}",
        "{1: 100.0}",
        "{'NORM': 100.0",
        "{'NORM': __import__('os').getpid()}",
        "{'NORM': 2**9}",
        "{'NORM': 10, **{}}",
        "{" + "(" * 2000,
        "{'A': 1, " * 2000,
        "{'\\d': 1, '\\",
    ],
)
def test_malformed_statements(text: str) -> None:
    with pytest.raises(EcgfmError, match=r"t\.csv: record 'r': scp_codes"):
        parse_statements(text, Path("t.csv"), "r")


def test_no_statement_leaves_every_label_unknown(make) -> None:
    assert parse_statements("{}", Path("t.csv"), "r") == {}
    assert PtbXl(make(scp_codes="{}")).labels.loc["1"].isna().all()
