"""Brugada-HUCA: its one column, records that are missing, and what is fetched."""

import csv
from collections import Counter

import numpy as np
import pytest

from pytest_ecgfm.cohorts.base import LABELS
from pytest_ecgfm.cohorts.discovery import load_cohort
from pytest_ecgfm.cohorts.endpoints import of_column, values_of
from pytest_ecgfm.cohorts.offered import offered_columns
from pytest_ecgfm.errors import EcgfmError
from tests.cohorts.stated_cohort import plain


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


def test_the_release_of_brugada_huca_is_fetched_whole(data_root):
    from pytest_ecgfm.cohorts.sources import SOURCES

    source = SOURCES["brugada-huca"]
    lines = (data_root / "brugada-huca" / "SHA256SUMS.txt").read_text(encoding="utf-8").splitlines()
    names = [line.split(maxsplit=1)[1] for line in lines]
    records = Counter(found["record"] for name in names if (found := source.pattern.fullmatch(name)))
    assert len(records) == source.records == 363 and set(records.values()) == {2}
    assert {"metadata.csv", "LICENSE.txt"} <= {name for name in names if source.others.fullmatch(name)}
    assert not any(source.pattern.fullmatch(name) or source.others.fullmatch(name) for name in names if "zip" in name)
