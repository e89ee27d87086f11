import gc
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import h5py
import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.cohorts.bad_records import without_bad_records
from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.cohorts.challenge import Challenge
from pytest_ecgfm.cohorts.read_ahead import CHUNK, read_ahead
from pytest_ecgfm.cohorts.tables import cohort_table
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, Recording

NORMAL = ("#Age: 71", "#Sex: Female", "#Dx: 426783006")


class Made(Cohort):
    """A cohort of made-up records of several lengths, that counts what is read."""

    def __init__(self, count: int, bad: Sequence[int] = (), delay: float = 0.0) -> None:
        names = [f"r{number:03d}" for number in range(count)]
        labels = pd.DataFrame(dict.fromkeys(LABELS, False), index=pd.Index(names, dtype=object))
        table = cohort_table(names, patients=None, ages=[50.0] * count, sexes=["F"] * count)
        super().__init__("made", continent="", table=table, labels=labels, sampling_rate=100, has_patients=False)
        self.bad = set(bad)
        self.delay = delay
        self.done: list[str] = []

    def _read(self, record: str) -> Recording:
        number = int(record[1:])
        time.sleep(self.delay)
        if number in self.bad:
            raise EcgfmError(f"file: record {record!r}: spoilt")
        self.done.append(record)
        signals = np.full((12, 100 + number % 3), number, np.float32)
        return Recording(signals, LEADS, 100)

    def _content_digest(self, records: Sequence[str]) -> str:
        return "".join(records)


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ecgfm-read")]


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, 100])
def test_batches_are_the_same_with_and_without_workers(workers, count) -> None:
    cohort = Made(count)
    plain = list(cohort.batches(7, workers=0))
    ahead = list(cohort.batches(7, workers=workers))
    assert [batch.records for batch in ahead] == [batch.records for batch in plain]
    assert all((a.signals == b.signals).all() for a, b in zip(ahead, plain, strict=True))
    assert sorted(record for batch in ahead for record in batch.records) == list(cohort.records)
    assert not readers()


def test_a_chosen_order_is_kept() -> None:
    chosen = ["r050", "r002", "r002", *(f"r{number:03d}" for number in range(90, 10, -2))]
    batches = [batch.records for batch in Made(100).batches(1, chosen, workers=3)]
    assert [record for (record,) in batches] == chosen


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_in_its_records_place(workers) -> None:
    cohort = Made(60, bad=[30, 45])
    got: list[str] = []
    with pytest.raises(EcgfmError, match="record 'r030': spoilt"):
        for batch in cohort.batches(1, workers=workers):
            got.extend(batch.records)
    assert got == [f"r{number:03d}" for number in range(30)] and not readers()


def test_closing_early_stops_the_threads() -> None:
    cohort = Made(1000, delay=0.001)
    batches = cohort.batches(1, workers=2)
    next(batches)
    next(batches)
    assert readers()
    batches.close()
    assert not readers() and len(cohort.done) <= 6 * CHUNK
    for batch in cohort.batches(4, workers=2):
        assert len(batch) == 4
        break
    gc.collect()
    assert not readers()


def test_no_more_is_read_than_a_few_chunks_ahead() -> None:
    cohort = Made(500)
    for number, _ in enumerate(read_ahead(cohort.read, list(cohort.records), 2), start=1):
        assert len(cohort.done) <= number + 4 * CHUNK
    assert number == 500


def test_files_are_read_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=20)

    def read(record: str) -> int:
        # Each read but the first one waits until another is under way: one after the other, they would wait forever.
        return 0 if record == "first" else together.wait()

    records = ["first", *map(str, range(4 * CHUNK))]
    assert [record for record, _ in read_ahead(read, records, 2)] == records


def test_memory_does_not_grow_with_the_cohort(tmp_path, write_record, limb_leads) -> None:
    for number in range(40):
        write_record(tmp_path / "training/x", f"r{number}", limb_leads(number, 5000), suffix=".mat", comments=NORMAL)
    script = (
        "import sys, tracemalloc\n"
        "from pytest_ecgfm.cohorts import load_cohort\n"
        "cohort = load_cohort('x', sys.argv[1])\n"
        "peaks = []\n"
        "for times in (1, 10):\n"
        "    tracemalloc.start()\n"
        "    count = sum(len(batch) for batch in cohort.batches(16, list(cohort.records) * times))\n"
        "    peaks.append(tracemalloc.get_traced_memory()[1])\n"
        "    tracemalloc.stop()\n"
        "    assert count == 40 * times\n"
        "print(*peaks)\n"
    )
    out = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    once, ten_times = map(int, out.stdout.split())
    assert 5000 * 12 * 4 * 16 < once < 30e6 and ten_times < 1.5 * once


def test_real_cohorts_stream_as_they_are_read(data_root) -> None:
    for name in ("cpsc-2018", "code-test"):
        cohort = load_cohort(name, data_root)
        seen = 0
        for batch in cohort.batches(16, list(cohort.records)[:60], workers=3):
            for record, signals in zip(batch.records, batch.signals, strict=True):
                np.testing.assert_array_equal(signals, cohort.read(record).signals)
                seen += 1
        assert seen == 60


# Unusable records


def spoil_truncated(folder, name):
    path = folder / f"{name}.mat"
    path.write_bytes(path.read_bytes()[:-7])


def spoil_header(old, new):
    def spoil(folder, name):
        path = folder / f"{name}.hea"
        assert old in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(old, new))

    return spoil


FUZZ = {
    "truncated": (spoil_truncated, "bytes"),
    "empty": (lambda folder, name: (folder / f"{name}.mat").write_bytes(b""), "bytes"),
    "wrong_gain": (spoil_header(b"1000(0)/mV", b"0(0)/mV"), "gain"),
    "nonsense_gain": (spoil_header(b"1000(0)/mV", b"NaN/mV"), "gain"),
    "lead_count": (spoil_header(b" 12 500 ", b" 13 500 "), "13 leads"),
    "lead_name": (spoil_header(b" aVR\n", b" Q7\n"), "unknown lead 'Q7'"),
    "same_lead_twice": (spoil_header(b" aVR\n", b" aVL\n"), "twice"),
    "missing_file": (lambda folder, name: (folder / f"{name}.mat").unlink(), "missing"),
    "rate": (spoil_header(b" 12 500 ", b" 12 1e9 "), "sampling rate"),
    "no_utf8": (spoil_header(b"#Age: 71", b"#Age: \xff\xfe"), "Age"),
    "traversal": (spoil_header(b"traversal.mat 16", b"../outside.mat 16"), "not followed"),
    "absolute": (spoil_header(b"absolute.mat 16", b"/etc/passwd 16"), "not followed"),
    "empty_header": (lambda folder, name: (folder / f"{name}.hea").write_bytes(b""), "malformed"),
    "binary_header": (lambda folder, name: (folder / f"{name}.hea").write_bytes(bytes(range(256)) * 20), ""),
    "no_diagnosis": (spoil_header(b"#Dx", b"#Hx"), "no Dx"),
    "samples": (spoil_header(b" 500 500\n", b" 500 99999999\n"), "bytes"),
    "nan": (None, "of 6000 samples are NaN"),
}


@pytest.fixture
def spoilt(tmp_path, write_record, limb_leads):
    """A folder in the challenge's layout, of good records and every kind of bad one."""
    folder = tmp_path / "data/training/georgia/g1"
    write_record(tmp_path / "data/training/georgia", "outside", suffix=".mat", comments=NORMAL)
    (tmp_path / "data/training/georgia/outside.hea").unlink()
    for name in ("E1", "E2", *FUZZ):
        stored = limb_leads(3, 500)
        if name == "nan":
            stored[17, 4] = -32768
        write_record(folder, name, stored, suffix=".mat", comments=NORMAL)
        if name in FUZZ and FUZZ[name][0]:
            FUZZ[name][0](folder, name)
    return tmp_path / "data"


def test_bad_records_are_errors_unless_they_are_to_be_left_out(spoilt) -> None:
    with pytest.raises(EcgfmError, match=r"\.hea: record '.* more of 19 records are unusable"):
        load_cohort("georgia", spoilt)
    cohort = load_cohort("georgia", spoilt, skip_bad=True)
    calls: list[tuple[int, int]] = []
    good, reasons = without_bad_records(cohort, lambda done, total: calls.append((done, total)))
    assert list(good.records) == ["E1", "E2"] and list(good.labels.index) == ["E1", "E2"]
    assert good.excluded == {**cohort.excluded, **reasons} and set(good.excluded) == set(FUZZ)
    for name, (_, message) in FUZZ.items():
        assert message in good.excluded[name], name
        assert name in good.excluded[name] or name == "nan"
    assert calls[-1] == (len(cohort), len(cohort)) and len(cohort.records) == 2 + len(reasons)
    assert sum(len(batch) for batch in good.batches(4)) == 2 and len(good.digest) == 64
    assert without_bad_records(good) == (good, {})


def test_early_headers_of_the_challenge_are_left_out_one_by_one(data_root, tmp_path) -> None:
    """The headers that the publishers corrected, in one folder with the files that they belong to."""
    folder = tmp_path / "training/cpsc_2018"
    folder.mkdir(parents=True)
    files = {path.stem: path for path in (data_root / "challenge-2021/training/cpsc_2018").rglob("*.mat")}
    originals = sorted((data_root / "challenge-2021/original_headers/cpsc_2018").glob("*.hea"))
    for original in originals:
        shutil.copy(original, folder)
        shutil.copy(files[original.stem], folder)
    final = next(iter(set(files) - {path.stem for path in originals}))
    for path in (files[final], files[final].with_suffix(".hea")):
        shutil.copy(path, folder)
    with pytest.raises(EcgfmError, match="records are unusable"):
        Challenge([folder])
    cohort = Challenge([folder], skip_bad=True)
    assert len(cohort) + len(cohort.excluded) == len(originals) + 1 and final in cohort.records
    assert all(f"{record}.hea: record {record!r}" in reason for record, reason in cohort.excluded.items())


def test_nothing_usable_is_an_error(tmp_path, write_record) -> None:
    path = write_record(tmp_path / "training/georgia/g1", "E1", suffix=".mat", comments=NORMAL)
    path.with_suffix(".mat").write_bytes(b"")
    with pytest.raises(EcgfmError, match=r"none of 1 records is usable\. .*E1\.mat"):
        without_bad_records(load_cohort("georgia", tmp_path))
    path.write_text("nonsense\n")
    with pytest.raises(EcgfmError, match=r"no record .* Left out: .*E1\.hea"):
        load_cohort("georgia", tmp_path, skip_bad=True)


def write_ptb_xl(root, write_record) -> None:
    rows = ["ecg_id,patient_id,age,sex,scp_codes,strat_fold,filename_hr"]
    for number in range(1, 4):
        write_record(root / "records500/00000", f"{number:05d}_hr")
        rows.append(f"{number},{number},50,0,\"{{'NORM': 100.0}}\",{number},records500/00000/{number:05d}_hr")
    rows.append("4,4,50,0,\"{'NORM': 100.0}\",4,../../outside")
    (root / "ptbxl_database.csv").write_text("\n".join(rows) + "\n")
    (root / "records500/00000/00002_hr.dat").unlink()


def write_ludb(root, write_record) -> None:
    columns = (
        "ID,Sex,Age,Rhythms,Electric axis of the heart,Conduction abnormalities,Extrasystolies,Hypertrophies,"
        "Cardiac pacing,Ischemia,Non-specific repolarization abnormalities,Other states"
    )
    for number in ("1", "3"):
        write_record(root / "data", number)
    rows = [f"{number},F,50,Sinus rhythm{',' * 8}" for number in (1, 2, 3)]
    (root / "ludb.csv").write_text("\n".join([columns, *rows]) + "\n")


def write_sph(root, write_record) -> None:
    (root / "records").mkdir(parents=True)
    for number in (1, 3):
        with h5py.File(root / f"records/A{number}.h5", "w") as file:
            file["ecg"] = np.ones((12, 500), np.float16)
    rows = [f"A{number},1,P{number},50,F,500,2020-01-01" for number in (1, 2, 3)]
    (root / "metadata.csv").write_text("\n".join(["ECG_ID,AHA_Code,Patient_ID,Age,Sex,N,Date", *rows]) + "\n")


def write_code15(root, write_record) -> None:
    root.mkdir(parents=True)
    with h5py.File(root / "exams_part0.hdf5", "w") as file:
        file["exam_id"] = np.array([1, 3, 0])
        file["tracings"] = np.ones((3, 4096, 12), np.float32)
    head = "exam_id,age,is_male,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,normal_ecg,trace_file"
    rows = [f"{exam},50,True{',False' * 6},{exam},True,exams_part{exam % 2 == 0:d}.hdf5" for exam in (1, 2, 3)]
    (root / "exams.csv").write_text("\n".join([head, *rows]) + "\n")


def write_folder(root, write_record) -> None:
    for name in ("1", "3"):
        write_record(root, name)
    write_record(root, "2").write_text("nonsense\n")
    (root / "labels.csv").write_text("record,AF\n1,1\n2,0\n3,0\n")


@pytest.mark.parametrize(
    ("name", "write", "lost"),
    [
        ("ptb-xl", write_ptb_xl, ["2", "4"]),
        ("ludb", write_ludb, ["2"]),
        ("sph", write_sph, ["A2"]),
        ("code-15", write_code15, ["2"]),
        ("mine", write_folder, ["2"]),
    ],
)
def test_missing_files_of_other_layouts_are_left_out(tmp_path, write_record, name, write, lost) -> None:
    root = tmp_path / name
    write(root, write_record)
    with pytest.raises(EcgfmError):
        load_cohort(name, tmp_path)
    cohort = load_cohort(name, tmp_path, skip_bad=True)
    assert sorted(cohort.excluded) == lost and not set(lost) & set(cohort.records)
    assert all(record in reason for record, reason in cohort.excluded.items())
    assert len(cohort) == 2 and sum(len(batch) for batch in cohort.batches(2)) == 2
