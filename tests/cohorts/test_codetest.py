from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.cohorts.codetest import CodeTest
from pytest_ecgfm.cohorts.quality import quality
from pytest_ecgfm.cohorts.synthetic.population import MODELLED
from pytest_ecgfm.errors import EcgfmError


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def write(gold: str = "1,0,0,0,0,0\n0,0,0,0,0,0", people: str = "34,M\n,F", leads: int = 12) -> Path:
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations/gold_standard.csv").write_text(f"1dAVb,RBBB,LBBB,SB,AF,ST\n{gold}\n")
        (tmp_path / "attributes.csv").write_text(f"age,sex\n{people}\n")
        with h5py.File(tmp_path / "ecg_tracings.hdf5", "w") as file:
            file["tracings"] = np.ones((2, 4096, leads))
        return tmp_path

    return write


def test_published_labels(data_root: Path) -> None:
    cohort = CodeTest(data_root / "code-test")
    gold = pd.read_csv(data_root / "code-test/annotations/gold_standard.csv").astype(bool)
    gold.index = gold.index.map(str)
    for label, column in {
        "1AVB": "1dAVb",
        "RBBB": "RBBB",
        "LBBB": "LBBB",
        "SB": "SB",
        "STach": "ST",
        "AF": "AF",
    }.items():
        assert (cohort.labels[label] == gold[column]).all()
    assert cohort.labels[list(MODELLED)].sum().to_dict() == {
        "CD": int(gold[["1dAVb", "RBBB", "LBBB"]].any(axis=1).sum()),
        **{"AF": 0, "SB": 3, "STach": 3, "NORM": 0, "LBBB": 5, "RBBB": 1, "1AVB": 8},
    }
    assert cohort.labels["NORM"].isna().all()
    assert (cohort.table["sex"] == "F").sum() == 53


def test_leads_are_named_in_the_order_of_the_file(data_root: Path) -> None:
    """The augmented leads are stored as aVL, aVF, aVR; only under these names do Goldberger's relations hold."""
    cohort = CodeTest(data_root / "code-test")
    for record in cohort.records[::8]:
        recording = cohort.read(record)
        assert recording.leads[3:6] == ("aVL", "aVF", "aVR")
        measured = quality(recording)
        assert measured["goldberger"] < 0.1 and measured["einthoven"] < 0.05
        assert sum(cohort.padding(record)) + recording.signals.shape[1] == 4096


def test_written(make) -> None:
    cohort = CodeTest(make())
    assert cohort.labels["CD"].tolist() == [True, False] and cohort.table["age"].isna().tolist() == [False, True]
    assert not cohort.has_patients and cohort.sampling_rate == 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gold": "1,0,0,0,0,0"}, r"gold_standard\.csv: 1 rows, but .* contains 2 tracings"),
        ({"people": "34,M"}, r"attributes\.csv: 1 rows"),
        ({"gold": "2,0,0,0,0,0\n0,0,0,0,0,0"}, r"gold_standard\.csv: record '0': 1dAVb '2'"),
        ({"people": "34,M\nx,F"}, r"attributes\.csv: record '1': age 'x'"),
        ({"people": "34,M\n3,D"}, r"attributes\.csv: record '1': sex 'D'"),
        ({"leads": 8}, r"ecg_tracings\.hdf5: 'tracings' has the shape \(2, 4096, 8\)"),
    ],
)
def test_malformed(make, changes: dict[str, object], message: str) -> None:
    with pytest.raises(EcgfmError, match=message):
        CodeTest(make(**changes))


def test_missing_annotations(make) -> None:
    root = make()
    (root / "annotations/gold_standard.csv").unlink()
    with pytest.raises(EcgfmError, match=r"gold_standard\.csv: cannot read"):
        CodeTest(root)
