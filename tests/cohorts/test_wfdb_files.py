import os
import time
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.wfdb_files import parse_header, read_header, read_recording, verify_checksums
from pytest_ecgfm.errors import EcgfmError


def as_wfdb(path: Path) -> np.ndarray:
    return wfdb.rdrecord(str(path.with_suffix(""))).p_signal.T.astype(np.float32)


@pytest.mark.parametrize(
    "pattern",
    [
        "ptb-xl/records100/*/*7_lr.hea",
        "ptb-xl/records500/*/*3_hr.hea",
        "challenge-2021/training/*/*/*[05].hea",
        "chapman-wfdbrecords/**/*.hea",
    ],
)
def test_equals_wfdb_on_published_records(data_root: Path, pattern: str) -> None:
    folder = Folder(data_root)
    paths = sorted(data_root.glob(pattern))
    assert len(paths) >= 4
    for path in paths:
        recording = read_recording(folder, path)
        assert recording.signals.dtype == np.float32 and recording.signals.flags.c_contiguous
        np.testing.assert_array_equal(recording.signals, as_wfdb(path))
        checks = verify_checksums(folder, path)
        assert list(checks) == wfdb.rdheader(str(path.with_suffix(""))).sig_name
        assert set(checks.values()) == {True}


def test_is_many_times_as_fast_as_wfdb(data_root: Path) -> None:
    folder = Folder(data_root / "ptb-xl")
    path = data_root / "ptb-xl/records500/00000/00001_hr.hea"

    def fastest(call: object, times: int) -> float:
        spent = []
        for _ in range(times):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
        return min(spent)

    ours = fastest(lambda: read_recording(folder, path), 200)
    theirs = fastest(lambda: wfdb.rdrecord(str(path.with_suffix(""))), 20)
    # Measured at 25 to 30 times on an idle machine; the bound leaves room for a busy one.
    assert theirs / ours > 12


@pytest.mark.parametrize("suffix", [".dat", ".mat"])
@pytest.mark.parametrize("gain", ["1000(0)/mV", "200", "1000.0(-7)/mV", "0.2(3)/uV", "4.88e3/mV", "204.7/mV", "1e6/V"])
def test_written_records_equal_wfdb(tmp_path: Path, write_record, suffix: str, gain: str) -> None:
    stored = np.random.default_rng(0).integers(-32767, 32768, (400, 12)).astype(np.int16)
    stored[17, 4] = -32768
    path = write_record(tmp_path, "r", stored, gain=gain, suffix=suffix)
    signals = read_recording(Folder(tmp_path), path).signals
    scale = 1e-3 if "uV" in gain else 1e3 if "/V" in gain else 1.0
    physical = wfdb.rdrecord(str(tmp_path / "r")).p_signal.T * scale
    np.testing.assert_array_equal(signals, physical.astype(np.float32))
    assert np.argwhere(np.isnan(signals)).tolist() == [[4, 17]]


@pytest.mark.filterwarnings("ignore")  # wfdb writes with parts of pandas that newer versions deprecate
@pytest.mark.parametrize("form", ["16", "24", "32", "80", "212"])
def test_formats_written_by_wfdb(tmp_path: Path, form: str) -> None:
    rng = np.random.default_rng(1)
    signal = np.cumsum(rng.normal(0, 0.02, (600, 12)), axis=0).clip(-1, 1)
    leads = ["i", "ii", "iii", "avr", "avl", "avf", *(f"v{n}" for n in range(1, 7))]
    same = {"units": ["mV"] * 12, "fmt": [form] * 12, "adc_gain": [100.0] * 12, "baseline": [0] * 12}
    wfdb.wrsamp("r", 257, sig_name=leads, p_signal=signal, write_dir=str(tmp_path), **same)
    path = tmp_path / "r.hea"
    recording = read_recording(Folder(tmp_path), path)
    assert recording.leads[:6] == ("I", "II", "III", "aVR", "aVL", "aVF")
    assert recording.sampling_rate == 257
    np.testing.assert_array_equal(recording.signals, as_wfdb(path))
    assert np.abs(recording.signals.T - signal).max() < 0.006
    assert set(verify_checksums(Folder(tmp_path), path).values()) == {True}


def test_signals_in_several_files(tmp_path: Path, write_record) -> None:
    path = write_record(tmp_path, "r")
    data = np.frombuffer((tmp_path / "r.dat").read_bytes(), "<i2").reshape(-1, 12)
    (tmp_path / "r.dat").write_bytes(data[:, :6].tobytes())
    (tmp_path / "s.dat").write_bytes(data[:, 6:].tobytes())
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:7] + [line.replace("r.dat", "s.dat") for line in lines[7:]]))
    np.testing.assert_array_equal(read_recording(Folder(tmp_path), path).signals, (data.T / 1000).astype(np.float32))
    (tmp_path / "s.dat").write_bytes(data[:-1, 6:].tobytes())
    with pytest.raises(EcgfmError, match=r"s\.dat: record 'r': the file holds 5988 bytes.*need 6000"):
        read_recording(Folder(tmp_path), path)


def test_frank_leads_are_left_out(tmp_path: Path, write_record) -> None:
    stored = np.arange(60, dtype=np.int16).reshape(20, 3)
    recording = read_recording(Folder(tmp_path), write_record(tmp_path, "r", stored, leads=["v1", "vx", "II"]))
    assert recording.leads == ("V1", "II")
    np.testing.assert_array_equal(recording.signals, (stored.T[[0, 2]] / 1000).astype(np.float32))


def test_a_changed_sample_fails_its_checksum(tmp_path: Path, write_record) -> None:
    path = write_record(tmp_path, "r")
    data = bytearray((tmp_path / "r.dat").read_bytes())
    data[2 * 12 * 30 + 2 * 6] ^= 1
    (tmp_path / "r.dat").write_bytes(data)
    checks = verify_checksums(Folder(tmp_path), path)
    assert [lead for lead, right in checks.items() if not right] == ["V1"]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(line.replace(" V1", "") for line in lines[1:])]))
    with pytest.raises(EcgfmError, match="signal line 7: the description"):
        verify_checksums(Folder(tmp_path), path)


SIGNAL = "r.dat 16 1000(0)/mV 16 0 0 0 0 "
MALFORMED = {
    "empty": ("", "record line ''"),
    "suffix": ("r.dat 1 500 10\n" + SIGNAL + "I", "record name 'r.dat'"),
    "other record": ("q 1 500 10\n" + SIGNAL + "I", "names another record, 'q'"),
    "segments": ("r/2 1 500 10\n" + SIGNAL + "I", "2 segments"),
    "no rate": ("r 1\n" + SIGNAL + "I", "sampling rate is missing"),
    "rate 0": ("r 1 0 10\n" + SIGNAL + "I", "sampling rate '0'"),
    "rate negative": ("r 1 -500 10\n" + SIGNAL + "I", "sampling rate '-500'"),
    "rate nan": ("r 1 nan 10\n" + SIGNAL + "I", "sampling rate 'nan'"),
    "rate huge": ("r 1 1e9 10\n" + SIGNAL + "I", "sampling rate '1e9'"),
    "no samples": ("r 1 500\n" + SIGNAL + "I", "number of samples"),
    "samples 0": ("r 1 500 0\n" + SIGNAL + "I", "number of samples"),
    "samples text": ("r 1 500 many\n" + SIGNAL + "I", "record line 'r 1 500 many'"),
    "merged line": ("r 12 500 500000/mV 16 0 15 31255 0 I", "record line"),
    "too few leads": ("r 2 500 10\n" + SIGNAL + "I", "declares 2 leads, but 1 signal lines"),
    "too many leads": ("r 1 500 10\n" + SIGNAL + "I\n" + SIGNAL + "II", "declares 1 leads, but 2 signal lines"),
    "no leads": ("r 0 500 10\n", "declares 0 leads"),
    "lead unknown": ("r 1 500 10\n" + SIGNAL + "V9", "unknown lead 'V9'"),
    "lead twice": ("r 2 500 10\n" + SIGNAL + "V1\n" + SIGNAL + "v1", "'V1' is named twice"),
    "lead missing": ("r 1 500 10\nr.dat 16 1000/mV 16 0 0 0 0", "description"),
    "no standard lead": ("r 1 500 10\n" + SIGNAL + "vx", "none of the leads vx"),
    "format text": ("r 1 500 10\nr.dat x 1000/mV 16 0 0 0 0 I", "format 'x'"),
    "format unknown": ("r 1 500 10\nr.dat 17 1000/mV 16 0 0 0 0 I", "format '17'"),
    "frame 0": ("r 1 500 10\nr.dat 16x0 1000/mV 16 0 0 0 0 I", "format '16x0'"),
    "gain 0": ("r 1 500 10\nr.dat 16 0/mV 16 0 0 0 0 I", "gain 0"),
    "gain negative": ("r 1 500 10\nr.dat 16 -1000/mV 16 0 0 0 0 I", "gain '-1000/mV'"),
    "gain nan": ("r 1 500 10\nr.dat 16 nan/mV 16 0 0 0 0 I", "gain 'nan/mV'"),
    "gain huge": ("r 1 500 10\nr.dat 16 1e300/mV 16 0 0 0 0 I", "not plausible"),
    "gain tiny": ("r 1 500 10\nr.dat 16 0.001/mV 16 0 0 0 0 I", "not plausible"),
    "gain missing": ("r 1 500 10\nr.dat 16", "2 fields"),
    "units": ("r 1 500 10\nr.dat 16 1000/mmHg 16 0 0 0 0 I", "units 'mmHg'"),
    "resolution": ("r 1 500 10\nr.dat 16 1000/mV x 0 0 0 0 I", "ADC resolution 'x'"),
    "ADC zero": ("r 1 500 10\nr.dat 16 1000/mV 16 0.5 0 0 0 I", "ADC zero '0.5'"),
    "checksum": ("r 1 500 10\nr.dat 16 1000/mV 16 0 0 x 0 I", "checksum 'x'"),
    "parent": ("r 1 500 10\n../r.dat 16 1000/mV 16 0 0 0 0 I", "file name '../r.dat'"),
    "absolute": ("r 1 500 10\n/etc/passwd 16 1000/mV 16 0 0 0 0 I", "file name '/etc/passwd'"),
    "backslash": ("r 1 500 10\n..\\r.dat 16 1000/mV 16 0 0 0 0 I", "file name"),
    "address": ("r 1 500 10\nhttp:r.dat 16 1000/mV 16 0 0 0 0 I", "file name 'http:r.dat'"),
    "pipe": ("r 1 500 10\n- 16 1000/mV 16 0 0 0 0 I", "file name '-'"),
    "no file": ("r 1 500 10\ns.dat 16 1000/mV 16 0 0 0 0 I", "cannot read .*s.dat"),
    "no file, unusual format": ("r 1 500 10\ns.dat 212 1000/mV 12 0 0 0 0 I", "cannot read .*s.dat"),
    "truncated": ("r 1 500 11\n" + SIGNAL + "I", "holds 20 bytes, but 1 leads of 11 samples .* are 22"),
    "longer": ("r 1 500 9\n" + SIGNAL + "I", "holds 20 bytes, but 1 leads of 9 samples .* are 18"),
    "truncated, unusual format": ("r 1 500 14\nr.dat 212 200/mV 12 0 0 0 0 I", "holds 20 bytes.* need 21"),
    "absurd length": ("r 1 500 999999999999\n" + SIGNAL + "I", "holds 20 bytes"),
    "offset beyond the end": ("r 1 500 10\nr.dat 16+24 1000/mV 16 0 0 0 0 I", "holds 20 bytes"),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_headers(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.hea"
    path.write_text(text)
    (tmp_path / "r.dat").write_bytes(bytes(20))
    with pytest.raises(EcgfmError, match=message) as caught:
        read_recording(Folder(tmp_path), path)
    assert "record 'r'" in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"r 1 500 10\n\xff\xfe\n", "1 fields"),
        ("r 1 500 10\n".encode("utf-16"), "record name"),
        (bytes(100), "record name"),
        (b"#" * (1 << 20) + b"\n", "at most 1048576"),
    ],
)
def test_headers_that_are_not_text(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "r.hea").write_bytes(data)
    with pytest.raises(EcgfmError, match=message) as caught:
        read_header(Folder(tmp_path), tmp_path / "r.hea")
    assert "r.hea: record 'r'" in str(caught.value)


HEADER = "r 2 500 10\nr.dat 16x1+0 1000.0(-7)/mV 16 0 5 99 0 I\nr.dat 16x1+0 200/uV 16 0 5 -99 0 aVR\n#Age: 3\n"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    place=st.integers(0, len(HEADER)),
    cut=st.integers(0, 6),
    put=st.one_of(
        st.binary(max_size=6), st.sampled_from([b"0", b"-", b"/", b"e9", b"nan", b"1" * 30, b"\n", b" ", b"x"])
    ),
)
def test_any_change_of_a_header_is_read_or_refused(place: int, cut: int, put: bytes) -> None:
    """Never another exception, and never a rate, gain or count that is none."""
    data = HEADER.encode()
    try:
        header = parse_header(data[:place] + put + data[place + cut :], Path("folder/r.hea"))
    except EcgfmError as error:
        assert "record 'r'" in str(error)
        return
    assert 0 < header.sampling_rate <= 100_000 and header.samples > 0 and len(header.signals) >= 1
    assert all(0 < signal.gain < np.inf and "/" not in signal.file for signal in header.signals)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipe_instead_of_a_file(tmp_path: Path, write_record) -> None:
    path = write_record(tmp_path, "r")
    (tmp_path / "r.dat").unlink()
    os.mkfifo(tmp_path / "r.dat")
    with pytest.raises(EcgfmError, match=r"record 'r': .* is not a regular file"):
        read_recording(Folder(tmp_path), path)


def test_matrix_that_disagrees_with_the_header(tmp_path: Path, write_record) -> None:
    """Ten leads of 600 samples have the size of twelve of 500; only the matrix tells that they are mixed up."""
    write_record(tmp_path, "r", np.zeros((600, 10), np.int16), suffix=".mat", leads=[*"abcdefghij"])
    twelve = write_record(tmp_path / "other", "r", suffix=".mat")
    (tmp_path / "r.hea").write_text(twelve.read_text())
    with pytest.raises(EcgfmError, match=r"r\.mat: record 'r': the MATLAB matrix is of type 30 and 10 x 600"):
        read_recording(Folder(tmp_path), tmp_path / "r.hea")


def test_suffix_of_the_challenge_in_the_record_line(tmp_path: Path, write_record) -> None:
    path = write_record(tmp_path, "r", suffix=".mat", record_line="r.mat 12 500 500 05-May-2020 14:50:55")
    assert read_header(Folder(tmp_path), path).name == "r"
    np.testing.assert_array_equal(
        read_recording(Folder(tmp_path), path).signals,
        read_recording(Folder(tmp_path), write_record(tmp_path, "r", suffix=".mat")).signals,
    )


def test_time_and_date_of_the_record_line_are_not_read(tmp_path: Path, write_record) -> None:
    path = write_record(tmp_path, "r", record_line="r 12 500/1000(3.5) 500 05-May-2020 14:50:55")
    assert read_recording(Folder(tmp_path), path).sampling_rate == 500


class TestLinks:
    @pytest.fixture(autouse=True)
    def _links(self) -> None:
        if not hasattr(os, "symlink"):
            pytest.skip("no symbolic links")

    def test_inside_are_read(self, tmp_path: Path, write_record) -> None:
        path = write_record(tmp_path / "a", "r")
        (tmp_path / "b").mkdir()
        (tmp_path / "a/r.dat").rename(tmp_path / "b/r.dat")
        (tmp_path / "a/r.dat").symlink_to(tmp_path / "b/r.dat")
        assert read_recording(Folder(tmp_path), path).signals.shape == (12, 500)

    @pytest.mark.parametrize("what", ["file", "header", "folder", "unusual"])
    def test_outside_are_refused(self, tmp_path: Path, write_record, what: str) -> None:
        outside = write_record(tmp_path / "outside", "r")
        inside = tmp_path / "cohort"
        if what == "folder":
            inside.mkdir()
            (inside / "g1").symlink_to(outside.parent)
            path = inside / "g1/r.hea"
        else:
            path = write_record(inside, "r")
            name = "r.hea" if what == "header" else "r.dat"
            (inside / name).unlink()
            (inside / name).symlink_to(tmp_path / "outside" / name)
        if what == "unusual":
            path.write_text(path.read_text().replace(" 16 1000", " 61 1000"))
        with pytest.raises(EcgfmError, match=r"record 'r'.* leads out of the cohort's folder"):
            read_recording(Folder(inside), path)


def test_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(EcgfmError, match="no such folder"):
        Folder(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["", " ", "/etc/passwd", "../x", "a/../../x", "a\\b", "a\0b", "x\n", " x"])
def test_names_that_are_no_file_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(EcgfmError, match=r"table: field: .* is not followed"):
        Folder(tmp_path).join(name, where="table: field")


def test_names_below_the_folder(tmp_path: Path) -> None:
    assert Folder(tmp_path).join("a/b.hea", where="") == tmp_path / "a" / "b.hea"
