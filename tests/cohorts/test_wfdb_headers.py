"""One parser decides what a WFDB header says, whatever the format of the samples."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.tables import read_table
from pytest_ecgfm.cohorts.wfdb_files import parse_header, read_recording, verify_checksums
from pytest_ecgfm.errors import EcgfmError

RANGES = {"8": 120, "16": 32767, "24": 1 << 22, "32": 1 << 30, "61": 32767, "80": 127, "160": 32767}
RANGES |= {"212": 2047, "310": 511, "311": 511}
DATES = (
    *("2006", "10:00:00 01/01/89", "10:00:00 01/01/199", "24:00:00 01/01/2001", "00:00:00 00/00/0000", "10:00"),
    *("2001-01-01 10:00:00", "05-May-2020 14:50:55", "25:61:61 32/13/2001", "(unknown)", "10:00:00.123456789"),
)
LEADS = ("I", "II", "V1", "V5")


def encode(form: str, flat: np.ndarray) -> bytes:
    """Store interleaved numbers in a format; written from signal(5), without wfdb."""
    numbers = flat.astype(np.int64)
    if form in ("16", "61"):
        return numbers.astype("<i2" if form == "16" else ">i2").tobytes()
    if form == "160":
        return (numbers + 32768).astype("<u2").tobytes()
    if form == "32":
        return numbers.astype("<i4").tobytes()
    if form == "24":
        return b"".join(int(one).to_bytes(3, "little", signed=True) for one in numbers)
    if form == "80":
        return (numbers + 128).astype(np.uint8).tobytes()
    if form == "8":
        return numbers.astype(np.int8).tobytes()
    if form == "212":
        pairs = np.append(numbers, 0)[: len(numbers) + len(numbers) % 2].reshape(-1, 2) & 0xFFF
        bytes_ = np.stack([pairs[:, 0] & 0xFF, pairs[:, 0] >> 8 | pairs[:, 1] >> 8 << 4, pairs[:, 1] & 0xFF], axis=1)
        return bytes_.astype(np.uint8).tobytes()
    triples = np.append(numbers, [0, 0])[: len(numbers) + -len(numbers) % 3].reshape(-1, 3) & 0x3FF
    one, two, three = triples.T
    if form == "310":
        words = [(one & 0x7F) << 1 | (one >> 7 | (three & 0x1F) << 3) << 8, (two & 0x7F) << 1]
        words[1] |= (two >> 7 | three >> 5 << 3) << 8
        return np.stack(words, axis=1).astype("<u2").tobytes()
    return (one | two << 10 | three << 20).astype("<u4").tobytes()


def written(
    folder: Path, form: str, stored: np.ndarray, gains: list[str], *, line: str = "", comment: bytes = b""
) -> Path:
    """Write a record; `stored` (samples, leads) are differences from 0 in format 8."""
    (folder / "r.dat").write_bytes(encode(form, stored.reshape(-1)))
    total = np.cumsum(stored, axis=0) if form == "8" else stored
    lines = [line or f"r {stored.shape[1]} 250 {len(stored)}"]
    for gain, lead, column in zip(gains, LEADS, total.T, strict=False):
        first = 0 if form == "8" else column[0]
        lines.append(f"r.dat {form} {gain} 12 0 {first} {int(column.sum()) & 0xFFFF} 0 {lead}")
    (folder / "r.hea").write_bytes("\n".join(lines).encode() + b"\n" + comment)
    return folder / "r.hea"


def numbers(draw: st.DrawFn, form: str) -> np.ndarray:
    seed, samples, leads = draw(st.integers(0, 1 << 30)), draw(st.integers(1, 40)), draw(st.integers(1, 4))
    most = RANGES[form]
    return np.random.default_rng(seed).integers(-most, most + 1, (samples, leads))


@st.composite
def records(draw: st.DrawFn) -> tuple[str, np.ndarray, list[str]]:
    form = draw(st.sampled_from(sorted(RANGES)))
    stored = numbers(draw, form)
    if form == "8":
        stored = stored // 16
    value = draw(
        st.sampled_from(["200", "200.", "1000.0", "2e2", "4.88e+3", "20.5e1", "204.7", "+2e2", "2E2", "2.E2", "20E1"])
    )
    baseline = draw(st.sampled_from(["", "(0)", "(-7)", "(1024)"]))
    # Coarser than 1 mV a step is refused.
    units = draw(st.sampled_from(["", "/mV", "/uV", *(["/V"] if float(value) >= 1000 else [])]))
    return form, stored, [f"{value}{baseline}{units}"] * stored.shape[1]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(records())
def test_the_same_numbers_in_every_format(record: tuple[str, np.ndarray, list[str]]) -> None:
    """Gain, baseline and units by a formula of the test's own, and checksums right."""
    form, stored, gains = record
    with tempfile.TemporaryDirectory() as scratch:
        path = written(Path(scratch), form, stored, gains)
        signals = read_recording(Folder(path.parent), path).signals
        checks = verify_checksums(Folder(path.parent), path)
    head, _, units = gains[0].partition("/")
    gain, _, baseline = head.partition("(")
    total = np.cumsum(stored, axis=0) if form == "8" else stored
    expected = (total.T - int(baseline.rstrip(")") or 0)) / float(gain) * {"": 1, "mV": 1, "uV": 1e-3, "V": 1e3}[units]
    np.testing.assert_allclose(signals, expected, rtol=1e-6, atol=1e-9)
    assert set(checks.values()) == {True}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(records())
def test_equals_wfdb_where_both_read_the_header(record: tuple[str, np.ndarray, list[str]]) -> None:
    form, stored, gains = record
    # wfdb's own pattern knows neither a capital exponent nor a leading plus.
    gains = [gain.replace("E", "e").lstrip("+") for gain in gains]
    with tempfile.TemporaryDirectory() as scratch:
        path = written(Path(scratch), form, stored, gains)
        signals = read_recording(Folder(path.parent), path).signals
        physical = wfdb.rdrecord(str(path.with_suffix(""))).p_signal.T
    scale = 1e-3 if "uV" in gains[0] else 1e3 if "/V" in gains[0] else 1.0
    np.testing.assert_array_equal(signals, (physical * scale).astype(np.float32))


@pytest.mark.parametrize("form", sorted(RANGES))
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    after=st.one_of(
        st.sampled_from(DATES),
        st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=30),
    )
)
def test_what_follows_the_number_of_samples_is_ignored_in_every_format(form: str, after: str) -> None:
    stored = np.arange(60).reshape(30, 2) % 7
    with tempfile.TemporaryDirectory() as scratch:
        path = written(Path(scratch), form, stored, ["200(0)/mV"] * 2)
        plain = read_recording(Folder(path.parent), path).signals
        path = written(Path(scratch), form, stored, ["200(0)/mV"] * 2, line=f"r 2 250 30 {after}")
        np.testing.assert_array_equal(read_recording(Folder(path.parent), path).signals, plain)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    comment=st.binary(max_size=40).filter(lambda data: b"\n" not in data and b"\r" not in data),
    form=st.sampled_from(["16", "212"]),
)
def test_any_bytes_in_a_comment_and_a_byte_order_mark(mark: bytes, comment: bytes, form: str) -> None:
    stored = np.arange(40).reshape(20, 2)
    with tempfile.TemporaryDirectory() as scratch:
        path = written(Path(scratch), form, stored, ["200(0)/mV"] * 2, comment=b"#" + comment + b"\n#Age: 50\n")
        path.write_bytes(mark + path.read_bytes())
        header = parse_header(path.read_bytes(), path)
        assert header.comments[-1] == "Age: 50" and len(header.comments) == 2
        np.testing.assert_allclose(read_recording(Folder(path.parent), path).signals, stored.T / 200)


def test_latin_1_micro_sign(tmp_path: Path) -> None:
    path = written(tmp_path, "212", np.arange(40).reshape(20, 2), ["2/uV"] * 2)
    path.write_bytes(path.read_bytes().replace(b"/uV", b"/\xb5V"))
    np.testing.assert_allclose(read_recording(Folder(tmp_path), path).signals[0, :3], [0, 1e-3, 2e-3])


@pytest.mark.parametrize("form", ["212", "61", "80"])
def test_signals_of_two_files_in_turn(tmp_path: Path, form: str) -> None:
    """Signals of one file need not stand beside each other in the header."""
    stored = np.arange(60).reshape(20, 3)
    (tmp_path / "a.dat").write_bytes(encode(form, stored[:, [0, 2]].reshape(-1)))
    (tmp_path / "b.dat").write_bytes(encode(form, stored[:, 1]))
    lines = [f"{file}.dat {form} 200(0)/mV 12 0 0 0 0 {lead}" for file, lead in zip("aba", LEADS, strict=False)]
    (tmp_path / "r.hea").write_text("\n".join(["r 3 250 20", *lines]))
    np.testing.assert_allclose(read_recording(Folder(tmp_path), tmp_path / "r.hea").signals, stored.T / 200, rtol=1e-6)


def test_one_file_in_two_formats(tmp_path: Path) -> None:
    path = written(tmp_path, "212", np.zeros((20, 2), int), ["200(0)/mV"] * 2)
    path.write_text(path.read_text().replace("r.dat 212", "r.dat 16", 1))
    with pytest.raises(EcgfmError, match=r"signal line 2: 'r\.dat' is of format 212\+0 here, but of format 16\+0"):
        read_recording(Folder(tmp_path), path)


def test_an_invalid_sample_makes_its_frame_invalid(tmp_path: Path) -> None:
    stored = np.array([10, 30, -2048, 50, 7, 8])
    (tmp_path / "r.dat").write_bytes(encode("212", stored))
    (tmp_path / "r.hea").write_text("r 1 250 3\nr.dat 212x2 200(0)/mV 12 0 0 0 0 I\n")
    np.testing.assert_allclose(
        read_recording(Folder(tmp_path), tmp_path / "r.hea").signals, [[0.1, np.nan, 7 / 200]], rtol=1e-6
    )


@pytest.mark.parametrize("samples", [10**12 - 1, 10**9, 5_000_000])
def test_compressed_records_that_claim_too_much(tmp_path: Path, samples: int) -> None:
    (tmp_path / "r.dat").write_bytes(b"fLaC" + bytes(40))
    (tmp_path / "r.hea").write_text(f"r 1 250 {samples}\nr.dat 516 200(0)/mV 12 0 0 0 0 I\n")
    with pytest.raises(EcgfmError, match=f"{samples} samples in format 516 are not plausible in 44 bytes"):
        read_recording(Folder(tmp_path), tmp_path / "r.hea")


@pytest.mark.parametrize("rate", ["1e-300", "0.5", "1e6", "inf", "nan", "0"])
def test_rates_that_none_samples_at(tmp_path: Path, rate: str) -> None:
    path = written(tmp_path, "16", np.zeros((20, 1), int), ["200(0)/mV"], line=f"r 1 {rate} 20")
    with pytest.raises(EcgfmError, match=f"sampling rate '{rate}' should be a number of Hz from 1 to 100000"):
        read_recording(Folder(tmp_path), path)


@pytest.mark.parametrize(("form", "bits"), [("508", 8), ("516", 16), ("524", 24)])
@pytest.mark.parametrize("gain", ["2E2(5)/mV", "2e2(5)/mV"])
def test_compressed_records(tmp_path: Path, form: str, bits: int, gain: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    stored = np.random.default_rng(0).integers(-(1 << bits - 1) + 1, 1 << bits - 1, (300, 2))
    subtype = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24"}[bits]
    soundfile.write(tmp_path / "r.dat", (stored << 32 - bits).astype(np.int32), 96_000, subtype, format="FLAC")
    lines = [
        f"r.dat {form} {gain} {bits} 0 0 {int(one.sum()) & 0xFFFF} 0 {lead}"
        for one, lead in zip(stored.T, LEADS, strict=False)
    ]
    (tmp_path / "r.hea").write_text("\n".join(["r 2 250 300 2006", *lines]))
    path = tmp_path / "r.hea"
    np.testing.assert_allclose(read_recording(Folder(tmp_path), path).signals, (stored.T - 5) / 200, rtol=1e-6)
    assert set(verify_checksums(Folder(tmp_path), path).values()) == {True}


@pytest.mark.parametrize("form", ["16", "212", "61"])
@pytest.mark.parametrize("samples", [20, 10**11])
def test_files_of_terabytes_are_not_read(tmp_path: Path, form: str, samples: int) -> None:
    """A sparse file takes no space on disk, and all memory."""
    path = written(tmp_path, form, np.zeros((20, 1), int), ["200(0)/mV"], line=f"r 1 250 {samples}")
    with (tmp_path / "r.dat").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(EcgfmError, match=r"record 'r': .* holds 1099511627776 bytes"):
        read_recording(Folder(tmp_path), path)


def test_tables_of_terabytes_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "labels.csv").open("wb") as file:
        file.write(b"record,AF\n")
        file.truncate(1 << 40)
    with pytest.raises(EcgfmError, match="holds 1099511627776 bytes"):
        read_table(Folder(tmp_path), tmp_path / "labels.csv", ("record",))
