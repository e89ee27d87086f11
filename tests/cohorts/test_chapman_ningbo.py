from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.cohorts.challenge import Challenge
from pytest_ecgfm.cohorts.chapman_ningbo import ChapmanNingbo
from pytest_ecgfm.cohorts.harmonise import vocabulary
from pytest_ecgfm.errors import EcgfmError

FLUTTER = ("#Age: 85", "#Sex: Male", "#Dx: 164890007")


def test_same_as_in_the_challenge(data_root: Path) -> None:
    ours = ChapmanNingbo(data_root / "chapman-wfdbrecords")
    theirs = Challenge([data_root / "challenge-2021/training/chapman_shaoxing"])
    assert ours.records.tolist() == ["JS00001", "JS00002", "JS00004", "JS00005"]
    # The challenge's copy of JS00005 states one code more, of a conduction disturbance.
    same = ["JS00001", "JS00002", "JS00004"]
    pd.testing.assert_frame_equal(ours.labels.loc[same], theirs.labels.loc[same])
    pd.testing.assert_frame_equal(ours.table, theirs.table.loc[ours.records])
    for record in ours.records:
        np.testing.assert_array_equal(ours.read(record).signals, theirs.read(record).signals)


def test_every_code_of_the_release_is_in_the_table(data_root: Path) -> None:
    names = pd.read_csv(data_root / "chapman-wfdbrecords/ConditionNames_SNOMED-CT.csv", dtype=str)
    assert set(names["Snomed_CT"].str.strip()) <= set(vocabulary("snomed_ct").rules)


def test_number_tells_the_hospital(tmp_path: Path, write_record) -> None:
    for name in ("JS10646", "JS10647"):
        write_record(tmp_path / "WFDBRecords/01/010", name, suffix=".mat", comments=FLUTTER)
    assert ChapmanNingbo(tmp_path).labels["AF"].isna().tolist() == [False, True]


def test_known_faults_are_left_out_and_told(tmp_path: Path, write_record) -> None:
    folder = tmp_path / "WFDBRecords/01/019"
    for name in ("JS01051", "JS01052"):
        write_record(folder, name, suffix=".mat", comments=FLUTTER)
    assert ChapmanNingbo(tmp_path).excluded == {}
    merged = (folder / "JS01052.hea").read_text().replace("500\nJS01052.mat 16+24 1000(0)", "5000", 1)
    assert merged.startswith("JS01052 12 500 5000/mV 16")
    (folder / "JS01052.hea").write_text(merged)
    cohort = ChapmanNingbo(tmp_path)
    assert cohort.records.tolist() == ["JS01051"]
    assert "line break" in cohort.excluded["JS01052"]
    (folder / "JS01051.hea").write_text(merged)
    with pytest.raises(EcgfmError, match=r"JS01051\.hea: record 'JS01051': record line"):
        ChapmanNingbo(tmp_path)


def test_other_names_and_duplicates(tmp_path: Path, write_record) -> None:
    write_record(tmp_path / "WFDBRecords/01/010", "E00001", suffix=".mat", comments=FLUTTER)
    with pytest.raises(EcgfmError, match=r"E00001\.hea: record 'E00001': a name of this release"):
        ChapmanNingbo(tmp_path)
    (tmp_path / "WFDBRecords/01/010/E00001.hea").unlink()
    for group in ("010", "011"):
        write_record(tmp_path / "WFDBRecords/01" / group, "JS00001", suffix=".mat", comments=FLUTTER)
    with pytest.raises(EcgfmError, match="record 'JS00001' is also in"):
        ChapmanNingbo(tmp_path)
