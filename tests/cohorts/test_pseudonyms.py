"""Pseudonyms: another name for each record and patient, the same content, and no way back without the key."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cohorts.base import StatedCodes
from pytest_ecgfm.cohorts.pseudonyms import KEY_FILE, pseudonym, pseudonym_key, pseudonymous, withheld
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.run.run import Run
from tests.held_runs import settings_of
from tests.memory_cohort import MemoryCohort

KEY = bytes(range(32))
NAMES = st.text(min_size=1, max_size=20)


@given(NAMES, NAMES, st.binary(min_size=32, max_size=32))
def test_a_pseudonym_says_nothing_of_the_name(one, other, key):
    shown = pseudonym(key, "record", "mine", one)
    assert shown == pseudonym(key, "record", "mine", one)
    assert (shown == pseudonym(key, "record", "mine", other)) == (one == other)
    assert shown != pseudonym(key, "patient", "mine", one) != pseudonym(key, "patient", "yours", one)
    assert len(shown) == len("record-") + 16 and set(shown[7:]) <= set("0123456789abcdef")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["Smith", "Jones", "O'Neill", "Muñoz"]), min_size=6, max_size=6))
def test_the_same_content_under_other_names(patients):
    cohort = MemoryCohort(6, patients=patients)
    sure = {record: frozenset({"426783006"}) for record in cohort.records}
    cohort.codes = StatedCodes("snomed", sure, {}, dict.fromkeys(cohort.records, "georgia"))
    cohort.excluded = {"r99": "/data/Smith/r99.dat: too short"}
    other = pseudonymous(cohort, KEY)
    assert other.digest == cohort.digest and len(other) == 6 and other.leads == cohort.leads
    assert not set(other.records) & set(cohort.records)
    for mine, theirs in zip(other.records, cohort.records, strict=True):
        np.testing.assert_array_equal(other.read(mine).signals, cohort.read(theirs).signals)
        assert other.labels.loc[mine].tolist() == cohort.labels.loc[theirs].tolist()
        assert other.codes.source_of(mine) == "georgia" and other.codes.sure[mine]
    for a in range(6):
        for b in range(6):
            assert (other.patients.iloc[a] == other.patients.iloc[b]) == (patients[a] == patients[b])
    told = repr((other.table, other.labels, other.columns, other.excluded, other.codes, other.records))
    assert not any(name in told for name in {*patients, "r99", "'r1'", "/data"})
    # The cohort itself is as it was.
    assert list(cohort.patients) == patients and cohort.excluded and cohort.read("r0")


def test_batches_have_pseudonyms():
    other = pseudonymous(MemoryCohort(6), KEY)
    assert {name for batch in other.batches(2) for name in batch.records} == set(other.records)


@pytest.mark.parametrize("error", [EcgfmError, OSError, ValueError, KeyError])
def test_what_cannot_be_read_is_named_by_its_pseudonym_alone(error):
    cohort = MemoryCohort(6)

    def broken(record):
        raise error(f"/data/Smith/{record}.dat: damaged")

    cohort._read = broken
    other = pseudonymous(cohort, KEY)
    with pytest.raises(EcgfmError, match=f"cohort memory: {other.records[3]} cannot be read") as caught:
        other.read(other.records[3])
    assert "Smith" not in str(caught.value) and "r3" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert withheld({"r3": "/data/Smith/r3.dat"}, "memory", KEY).keys() == {other.records[3]}


def test_the_key_is_made_once_and_its_owners(tmp_path):
    folder = tmp_path / "cache"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: pseudonym_key(folder), range(16)))
    assert len(keys) == 1 and len(keys.pop()) == 32
    if os.name == "posix":
        assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert pseudonym_key(tmp_path / "another") != pseudonym_key(folder)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("content", [b"", b"00", b"\xff" * 64, b"zz" * 32, b"0" * 1000])
def test_a_damaged_key_is_one_line(tmp_path, content):
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(EcgfmError, match=r"should be 64 hexadecimal digits: remove it"):
        pseudonym_key(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_no_key(tmp_path):
    os.mkfifo(tmp_path / KEY_FILE)
    with pytest.raises(EcgfmError, match="hexadecimal digits"):
        pseudonym_key(tmp_path)


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EcgfmError, match=r"--ecgfm-pseudonyms: the key .*: "):
        pseudonym_key(tmp_path / "file" / "cache")


@pytest.mark.parametrize("where", ["add", "load"])
@pytest.mark.parametrize("pseudonyms", [True, False])
def test_what_is_wrong_with_a_cohort_names_nobody(tmp_path, where, pseudonyms):
    run = Run(replace(settings_of("m", ["mine"], tmp_path), pseudonyms=pseudonyms), "0", tmp_path, lambda _: None)

    def broken():
        raise EcgfmError("labels.csv: record 'Smith': age should be a number.")

    if where == "load":
        run._load = lambda name: broken()
    with pytest.raises(EcgfmError) as caught:
        run.add_cohort("mine", broken) if where == "add" else run.cohort("mine")
    assert ("Smith" in str(caught.value)) != pseudonyms and ("withheld" in str(caught.value)) == pseudonyms
    assert "\n" not in str(caught.value)
