from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.cohorts.code15 import Code15
from pytest_ecgfm.cohorts.synthetic.population import MODELLED
from pytest_ecgfm.errors import EcgfmError

HEAD = "exam_id,age,is_male,nn_predicted_age,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,death,timey,normal_ecg,trace_file"


@pytest.fixture
def make(tmp_path: Path, limb_leads) -> Callable[..., Path]:
    """Write a CODE-15% of three exams of two patients in two parts, in another order than the table's."""

    def write(rows: list[str] | None = None, change: Callable[[h5py.File], None] | None = None) -> Path:
        (tmp_path / "exams.csv").write_text(
            "\n".join(
                [HEAD]
                + (
                    rows
                    or [
                        "11,38,True,40.1,False,True,False,False,False,False,7,,,False,exams_part0.hdf5",
                        "12,54,False,40.1,False,False,False,False,False,False,8,,,True,exams_part1.hdf5",
                        "13,39,True,40.1,False,False,False,True,False,False,7,,,False,exams_part0.hdf5",
                    ]
                )
            )
        )
        for part, exams in enumerate([(13, 11, 0), (12, 0)]):
            tracings = np.zeros((len(exams), 4096, 12), np.float32)
            for row, exam in enumerate(exams):
                if exam:
                    tracings[row, 648:-648] = limb_leads(exam, 2800) / 1000
            with h5py.File(tmp_path / f"exams_part{part}.hdf5", "w") as file:
                file["exam_id"] = np.array(exams, np.int32)
                file["tracings"] = tracings
                if change and part == 0:
                    change(file)
        return tmp_path

    return write


def test_published_labels(data_root: Path) -> None:
    cohort = Code15(data_root / "code-15-hdf5")
    table = pd.read_csv(data_root / "code-15-hdf5/exams.csv", dtype={"exam_id": str}).set_index("exam_id")
    assert cohort.records.tolist() == table.index.tolist()
    for label, column in {
        "1AVB": "1dAVb",
        "RBBB": "RBBB",
        "LBBB": "LBBB",
        "SB": "SB",
        "STach": "ST",
        "AF": "AF",
    }.items():
        assert (cohort.labels[label] == table[column]).all()
    assert (cohort.labels["CD"] == table[["1dAVb", "RBBB", "LBBB"]].any(axis=1)).all()
    assert (cohort.labels["NORM"] == table["normal_ecg"]).all()
    assert "1dAVb" in cohort.label_notes["CD"] and "1.7" in cohort.caution


def test_published_signals(data_root: Path) -> None:
    root = data_root / "code-15-hdf5"
    cohort = Code15(root)
    with h5py.File(root / "exams_part0.hdf5") as file:
        identities, tracings = file["exam_id"][...].tolist(), file["tracings"][...]
    for record in cohort.records:
        recording = cohort.read(record)
        start, end = cohort.padding(record)
        assert start + recording.signals.shape[1] + end == 4096
        whole = tracings[identities.index(int(record))].T
        np.testing.assert_array_equal(recording.signals, whole[:, start : 4096 - end])
        assert not whole[:, :start].any() and not whole[:, 4096 - end :].any()
        assert recording.signals[:, 0].any() and recording.signals[:, -1].any()


def test_written(make, limb_leads) -> None:
    cohort = Code15(make())
    assert cohort.records.tolist() == ["11", "12", "13"] and cohort.patients.tolist() == ["7", "8", "7"]
    assert cohort.table["sex"].tolist() == ["M", "F", "M"] and cohort.has_patients
    for record in cohort.records:
        assert cohort.padding(record) == (648, 648)
        np.testing.assert_array_equal(
            cohort.read(record).signals, (limb_leads(int(record), 2800) / 1000).T.astype(np.float32)
        )
    assert cohort.labels["NORM"].tolist() == [False, True, False]
    assert not cohort.labels[list(MODELLED)].isna().any().any()
    assert cohort.digest == Code15(make()).digest


def rows(**changes: str) -> list[str]:
    row = "11,38,True,40,False,True,False,False,False,False,7,,,False,exams_part0.hdf5"
    return [",".join({**dict(zip(HEAD.split(","), row.split(","), strict=True)), **changes}.values())]


def replace(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exam_id": "x"}, "record 'x': exam_id 'x'"),
        ({"exam_id": "99"}, "record '99': exams.csv places it here, but no row"),
        ({"age": "400"}, "record '11': age '400'"),
        ({"is_male": "m"}, "record '11': is_male 'm'"),
        ({"RBBB": "maybe"}, "record '11': RBBB 'maybe'"),
        ({"patient_id": ""}, "record '11': patient_id ''"),
        ({"trace_file": "../exams_part0.hdf5"}, "record '11': trace_file '../exams_part0.hdf5'"),
        ({"trace_file": "exams_part7.hdf5"}, r"1 of 1 files that it names are missing: exams_part7\.hdf5"),
    ],
)
def test_malformed_table(make, changes: dict[str, str], message: str) -> None:
    with pytest.raises(EcgfmError, match=message):
        Code15(make(rows(**changes)))


def test_exam_twice_in_the_table(make) -> None:
    with pytest.raises(EcgfmError, match="record '11': exam_id occurs in more than one row"):
        Code15(make(rows() * 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace("tracings", None), "no data set 'tracings'; there are exam_id"),
        (replace("exam_id", None), "no data set 'exam_id'"),
        (replace("tracings", np.zeros((3, 4096, 8), "f4")), r"'tracings' has the shape \(3, 4096, 8\)"),
        (replace("tracings", np.zeros((3, 12, 4096), "f4")), r"'tracings' has the shape \(3, 12, 4096\)"),
        (replace("tracings", np.zeros((2, 4096, 12), "f4")), r"'tracings' has the shape \(2, 4096, 12\)"),
        (replace("tracings", np.zeros((3, 4096, 12), "i4")), "'tracings' holds int32"),
        (replace("tracings", h5py.ExternalLink("other.hdf5", "tracings")), "not a data set of this file itself"),
        (replace("tracings", h5py.SoftLink("/exam_id")), "not a data set of this file itself"),
        (replace("exam_id", np.array([13, 11, 11], "i4")), "record '11': exam_id occurs in rows 1 and 2"),
        (replace("exam_id", np.array([13.0, 11, 0])), "'exam_id' holds float64"),
    ],
)
def test_malformed_part(make, change: Callable[[h5py.File], None], message: str) -> None:
    with pytest.raises(EcgfmError, match=message) as caught:
        Code15(make(change=change))
    assert "exams_part0.hdf5" in str(caught.value)


def test_virtual_data_set_of_another_file(make, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((3, 4096, 12), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path.parent / "other.hdf5"), "tracings", (3, 4096, 12))
        del file["tracings"]
        file.create_virtual_dataset("tracings", layout)

    with pytest.raises(EcgfmError, match="not a data set of this file itself"):
        Code15(make(change=change))


def test_exam_without_signal(make) -> None:
    def silence(file: h5py.File) -> None:
        file["tracings"][1] = 0

    with pytest.raises(EcgfmError, match=r"exams_part0\.hdf5: record '11': every sample is 0"):
        Code15(make(change=silence)).read("11")


def test_damaged_part(make) -> None:
    root = make()
    (root / "exams_part0.hdf5").write_bytes((root / "exams_part0.hdf5").read_bytes()[:3000])
    with pytest.raises(EcgfmError, match=r"exams_part0\.hdf5: cannot read .* as HDF5"):
        Code15(root)


def test_part_outside_of_the_folder(make, tmp_path: Path) -> None:
    root = make()
    (root / "exams_part0.hdf5").rename(tmp_path.parent / f"{tmp_path.name}-outside.hdf5")
    (root / "exams_part0.hdf5").symlink_to(tmp_path.parent / f"{tmp_path.name}-outside.hdf5")
    with pytest.raises(EcgfmError, match="leads out of the cohort's folder"):
        Code15(root)
