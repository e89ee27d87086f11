from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pytest_ecgfm.cohorts.quality import quality
from pytest_ecgfm.cohorts.sph import Sph, parse_statements
from pytest_ecgfm.cohorts.synthetic.population import MODELLED
from pytest_ecgfm.errors import EcgfmError

HEAD = "ECG_ID,AHA_Code,Patient_ID,Age,Sex,N,Date"


@pytest.fixture
def make(tmp_path: Path, limb_leads) -> Callable[..., Path]:
    def write(*rows: str, signals: np.ndarray | None = None, name: str = "ecg") -> Path:
        default = ("A00001,22;23,S00001,55,M,5000,2020-03-04", "A00002,106+312,S00001,32,F,5000,2020-03-04")
        (tmp_path / "metadata.csv").write_text("\n".join([HEAD, *(rows or default)]))
        (tmp_path / "records").mkdir(exist_ok=True)
        for number in (1, 2):
            with h5py.File(tmp_path / f"records/A0000{number}.h5", "w") as file:
                stored = (limb_leads(number, 5000) / 1000).T if signals is None else signals
                file[name] = stored.astype(np.float16) if stored.dtype.kind == "f" else stored
        return tmp_path

    return write


def test_published(data_root: Path) -> None:
    cohort = Sph(data_root / "sph")
    assert len(cohort) == 9 and cohort.excluded == {"SPH00005": "no row in metadata.csv"}
    assert cohort.labels[list(MODELLED)].sum().to_dict() == {
        "CD": 1, "AF": 0, "SB": 1, "STach": 0, "NORM": 6, "LBBB": 0, "RBBB": 1, "1AVB": 0,
    }  # fmt: skip
    assert cohort.labels.index[cohort.labels["NORM"].isna()].tolist() == ["SPH00001", "SPH00004"]
    for record in cohort.records:
        recording = cohort.read(record)
        with h5py.File(data_root / f"sph/records/{record}.h5") as file:
            np.testing.assert_array_equal(recording.signals, file["ecg"][...].astype(np.float32))
        measured = quality(recording)
        assert measured["einthoven"] < 0.02 and measured["goldberger"] < 0.02


def test_written(make) -> None:
    cohort = Sph(make())
    assert cohort.has_patients and cohort.patients.tolist() == ["S00001", "S00001"]
    assert cohort.labels.loc["A00001", "SB"]
    unknown = cohort.labels.loc["A00002", list(MODELLED)].isna()
    assert set(unknown.index[unknown]) == {"CD", "RBBB", "NORM"}
    assert cohort.read("A00001").signals.shape == (12, 5000)


@pytest.mark.parametrize(
    ("text", "sure", "doubtful"),
    [
        ("1", {"1"}, set()),
        ("50+346;22", {"50", "22"}, set()),
        ("106+315;1", {"1"}, {"106"}),
        ("106+315; 106", {"106"}, set()),
        ("147+205", {"147", "205"}, set()),
        ("", set(), set()),
    ],
)
def test_statements(text: str, sure: set[str], doubtful: set[str]) -> None:
    assert parse_statements(text, Path("t.csv"), "r") == (sure, doubtful)


@pytest.mark.parametrize("text", ["x", "22,23", "22;;x", "1+", "-1", "9999"])
def test_malformed_statements(text: str) -> None:
    with pytest.raises(EcgfmError, match=r"t\.csv: record 'r': AHA_Code"):
        parse_statements(text, Path("t.csv"), "r")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("A00009,1,S1,55,M,5000,x", "the files of 1 of 1 records are missing: A00009"),
        ("../A00001,1,S1,55,M,5000,x", "record '../A00001': ECG_ID"),
        ("A00001,1,,55,M,5000,x", "record 'A00001': Patient_ID ''"),
        ("A00001,1,S1,x,M,5000,x", "record 'A00001': Age 'x'"),
        ("A00001,1,S1,55,D,5000,x", "record 'A00001': Sex 'D'"),
        ("A00001,1,S1,55,M,0,x", "record 'A00001': N '0'"),
        ("A00001,1,S1,55,M,5000,x\nA00001.h5,1,S1,55,M,5000,x", "record 'A00001': ECG_ID occurs in more than one row"),
    ],
)
def test_malformed_table(make, row: str, message: str) -> None:
    with pytest.raises(EcgfmError, match=rf"metadata\.csv: .*{message}"):
        Sph(make(row))


@pytest.mark.parametrize(
    ("signals", "name", "message"),
    [
        (np.zeros((12, 4000)), "ecg", r"'ecg' has the shape \(12, 4000\)"),
        (np.zeros((8, 5000)), "ecg", r"'ecg' has the shape \(8, 5000\)"),
        (np.zeros((12, 5000), int), "ecg", "'ecg' holds int64"),
        (None, "signal", "no data set 'ecg'; there are signal"),
    ],
)
def test_malformed_record(make, signals: np.ndarray | None, name: str, message: str) -> None:
    with pytest.raises(EcgfmError, match=rf"A00002\.h5: record 'A00002': .*{message}"):
        Sph(make(signals=signals, name=name)).read("A00002")
