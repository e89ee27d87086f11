import os
import threading
from pathlib import Path

import pytest

from pytest_ecgfm.cohorts.discovery import LAYOUTS, discover, load_cohort
from pytest_ecgfm.errors import EcgfmError

DX = ("#Age: 71", "#Sex: Female", "#Dx: 426783006")


def test_published_layouts_at_any_depth(data_root: Path) -> None:
    found = discover(data_root)
    assert {"ptb-xl", "georgia", "chapman-ningbo", "cpsc-2018", "code-15", "code-test", "sph"} <= set(found)
    assert [other.layout for other in found["chapman-ningbo"].alternatives] == ["ecg-arrhythmia"]
    assert found["ptb-xl"].layout == "ptb-xl" and found["ptb-xl"].paths == (data_root / "ptb-xl",)
    assert {path.name for path in found["chapman-ningbo"].paths} == {"chapman_shaoxing", "ningbo"}
    assert not any("original_headers" in str(path) for each in found.values() for path in each.paths)


@pytest.mark.parametrize("below", [".", "ptb-xl"])
def test_load_below_any_folder(data_root: Path, below: str) -> None:
    cohort = load_cohort("ptb-xl", data_root / below, sampling_rate=100)
    assert len(cohort) == 500 and cohort.sampling_rate == 100


@pytest.mark.parametrize("below", [".", "challenge-2021", "challenge-2021/training", "challenge-2021/training/georgia"])
def test_load_georgia(data_root: Path, below: str) -> None:
    assert len(load_cohort("georgia", data_root / below)) == 74


@pytest.mark.parametrize(
    ("below", "name", "records"),
    [
        ("chapman-wfdbrecords", "chapman-ningbo", 4),
        ("code-15-hdf5", "code-15", 10),
        ("code-test", "code-test", 80),
        ("sph", "sph", 9),
    ],
)
def test_load_other_layouts(data_root: Path, below: str, name: str, records: int) -> None:
    assert set(discover(data_root / below)) == {name}
    assert len(load_cohort(name, data_root / below)) == records


def test_cohorts_in_one_folder_do_not_hide_each_other(tmp_path: Path, write_record) -> None:
    (tmp_path / "ptbxl_database.csv").write_text("ecg_id\n")
    (tmp_path / "record_list.csv").write_text("subject_id\n")
    (tmp_path / "machine_measurements.csv").write_text("subject_id\n")
    (tmp_path / "exams.csv").write_text("exam_id,trace_file\n")
    (tmp_path / "ludb.csv").write_text('"ID","Rhythms"\n')
    write_record(tmp_path / "training/georgia", "E1", comments=DX)
    write_record(tmp_path / "WFDBRecords/01/010", "JS00001", comments=DX)
    assert set(discover(tmp_path)) == {"ptb-xl", "mimic-iv-ecg", "code-15", "ludb", "georgia", "chapman-ningbo"}


def test_tables_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("name,version\n")
    (tmp_path / "exams.csv").write_text("student,mark\n")
    (tmp_path / "labels.csv").write_text("image,label\n")
    assert discover(tmp_path) == {}


def test_names_of_folders_do_not_matter(tmp_path: Path, write_record) -> None:
    write_record(tmp_path / "a/b c/training/georgia/g1", "E1", comments=DX)
    write_record(tmp_path / "ptb-xl/other", "E2", comments=DX)
    write_record(tmp_path / "a/training/Mine", "M1", comments=DX)
    found = discover(tmp_path)
    assert set(found) == {"georgia", "mine"}
    assert len(load_cohort("mine", tmp_path)) == 1


def test_headers_without_diagnoses_are_no_cohort(tmp_path: Path, write_record) -> None:
    write_record(tmp_path / "training/holter", "100")
    (tmp_path / "training/georgia").mkdir()
    assert discover(tmp_path) == {}


def test_larger_copy_is_taken_and_the_other_told(tmp_path: Path, write_record) -> None:
    write_record(tmp_path / "a/training/ningbo/g1", "JS11000", comments=DX)
    for number in (1, 2):
        write_record(tmp_path / "b/training/ningbo/g1", f"JS1100{number}", comments=DX)
    found = discover(tmp_path)["chapman-ningbo"]
    assert found.paths == (tmp_path / "b/training/ningbo",)
    assert [other.paths for other in found.alternatives] == [(tmp_path / "a/training/ningbo",)]


def test_patient_identifiers_beat_size(tmp_path: Path, write_record) -> None:
    for number in (1, 2):
        write_record(tmp_path / "a/training/ptb-xl/g1", f"HR0000{number}", comments=DX)
    (tmp_path / "z").mkdir()
    (tmp_path / "z/ptbxl_database.csv").write_text("ecg_id\n")
    found = discover(tmp_path)["ptb-xl"]
    assert (found.layout, [other.layout for other in found.alternatives]) == ("ptb-xl", ["challenge-2021"])


def test_rate_that_is_not_published(tmp_path: Path, write_record) -> None:
    write_record(tmp_path / "training/georgia", "E1", comments=DX)
    assert load_cohort("georgia", tmp_path, sampling_rate=500).sampling_rate == 500
    with pytest.raises(EcgfmError, match="cohort georgia: published at 500 Hz only; 100 Hz was asked for"):
        load_cohort("georgia", tmp_path, sampling_rate=100)


def test_cohort_that_is_not_there(tmp_path: Path, write_record) -> None:
    write_record(tmp_path / "training/georgia", "E1", comments=DX)
    with pytest.raises(EcgfmError, match=r"unknown cohort 'goergia'. Did you mean 'georgia'.* Valid: georgia"):
        load_cohort("goergia", tmp_path)
    with pytest.raises(EcgfmError, match="no such folder"):
        load_cohort("georgia", tmp_path / "nowhere")


def test_links_are_not_followed(tmp_path: Path, write_record) -> None:
    write_record(tmp_path / "outside/training/georgia", "E1", comments=DX)
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root)
    assert discover(root) == {}
    with pytest.raises(EcgfmError, match=r"Links to folders are not followed: .*link"):
        load_cohort("georgia", root)
    assert set(discover(root / "link")) == {"georgia"}


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(EcgfmError, match=r"cannot list .*closed"):
        discover(tmp_path)


def test_layouts_have_distinct_names() -> None:
    names = [layout.name for layout in LAYOUTS]
    assert len(set(names)) == len(names)
    assert {"ptb-xl", "georgia", "chapman-ningbo", "cpsc-2018"} <= {name for layout in LAYOUTS for name in layout.names}


TABLES = (
    "labels.csv",
    "ptbxl_database.csv",
    "record_list.csv",
    "machine_measurements.csv",
    "exams.csv",
    "ludb.csv",
    "metadata.csv",
    "training/georgia/E1.hea",
    "training/georgia/g1/E1.hea",
    "WFDBRecords/01/010/JS00001.hea",
)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "folder", "link outside", "broken link"])
@pytest.mark.parametrize("table", TABLES)
def test_the_search_waits_for_nothing_and_shows_nothing_from_elsewhere(
    tmp_path: Path, write_record, table: str, kind: str
) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    write_record(data, "r1")
    (data / table).parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(data / table)
    elif kind == "folder":
        (data / table).mkdir()
    else:
        if kind == "link to a pipe":
            os.mkfifo(elsewhere)
        elif kind == "link outside":
            elsewhere.write_text("SECRET,content,#Dx: 1\n")
        (data / table).symlink_to("/dev/zero" if kind == "device" else elsewhere)
    said: list[str] = []

    def search() -> None:
        try:
            said.append(repr(discover(data)))
        except EcgfmError as error:
            said.append(str(error))

    thread = threading.Thread(target=search, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert said, "still at it"
    assert "SECRET" not in said[0] and "\n" not in said[0]
    if table == "labels.csv" and kind != "folder":
        assert str(data / table) in said[0]
