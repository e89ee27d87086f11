"""WFDB records: decoding to float32 mV.

One parser decides what a header says, for all formats: `wfdb_header`. Format 16 in one file (PTB-XL, and the MATLAB
level 4 files of the PhysioNet challenges) is decoded straight from the bytes. In every other format `wfdb` decodes the
stored samples, by a header that we write for it; gains, baselines and units are never its own reading. Both give the
same values: float32 of the float64 that ``wfdb.rdrecord`` returns for a header that it reads right. Source: WFDB
Applications Guide, signal(5).
"""

import hashlib
import struct
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.published import PublishedCohort
from pytest_ecgfm.cohorts.wfdb_header import (
    BYTES,
    COMPRESSED,
    MAX_HEADER,
    Header,
    Signal,
    parse_header,
    read_header,
    where_of,
)
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import FloatArray, Recording, canonical_leads

__all__ = ["Header", "WfdbCohort", "parse_header", "read_header", "read_recording", "verify_checksums"]

OTHER_LEADS = frozenset({"VX", "VY", "VZ", "X", "Y", "Z"})
"""Frank leads, recorded beside the standard ones in PTB: left out, being none of the twelve."""

_INVALID_16 = -32768
_INVALID = {
    **dict.fromkeys(("16", "61", "160", "516"), _INVALID_16),
    **dict.fromkeys(("80", "508"), -(1 << 7)),
    **dict.fromkeys(("310", "311"), -(1 << 9)),
    **dict.fromkeys(("24", "524"), -(1 << 23)),
    **{"212": -(1 << 11), "32": -(1 << 31)},
}
# Stored number that marks a sample as invalid; format 8, of differences, has none.

MAX_FILE = 4_000_000_000
"""Bytes that a signal file may hold: two days of twelve leads at 1000 Hz."""

_MOST_SAMPLES = 1 << 28
# Of a compressed record, whose file does not tell how much memory it takes: 2 GB.


@lru_cache(maxsize=4096)
def _leads(descriptions: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[str, ...]] | str:
    """Return rows and customary names of the standard leads; or what is wrong."""
    rows = tuple(row for row, lead in enumerate(descriptions) if lead.upper() not in OTHER_LEADS)
    if not rows:
        return f"none of the leads {', '.join(descriptions)} is a standard one."
    try:
        return rows, canonical_leads([descriptions[row] for row in rows])
    except EcgfmError as error:
        return str(error)


def _plain(header: Header) -> bool:
    """Whether every signal is format 16, one sample a frame, interleaved in one file."""
    first = header.signals[0]
    return first.format == "16" and all(
        signal[:5] == first[:5] and signal.frame == 1 and signal.skew == 0 for signal in header.signals
    )


def _samples_16(folder: Folder, header: Header) -> npt.NDArray[np.int16]:
    """Return the stored samples ``(samples, leads)`` of a `_plain` record."""
    first = header.signals[0]
    leads = len(header.signals)
    expected = first.offset + 2 * leads * header.samples
    # A file that is a little too long is told from the header in the words below; one of terabytes is not read first.
    most = min(MAX_FILE, expected + (1 << 20))
    data = folder.read(header.path.parent / first.file, where=header.where, limit=most)
    if len(data) != expected:
        raise EcgfmError(
            f"{header.path.parent / first.file}: record {header.name!r}: the file holds {len(data)} bytes, but "
            f"{leads} leads of {header.samples} samples in format 16 after {first.offset} bytes are {expected}."
        )
    if first.offset == 24 and first.file.endswith(".mat"):
        # A MATLAB level 4 matrix: its own dimensions give away a header with too few or too many leads.
        kind, rows, columns = struct.unpack_from("<3i", data)
        if (kind, rows, columns) != (30, leads, header.samples):
            raise EcgfmError(
                f"{header.path.parent / first.file}: record {header.name!r}: the MATLAB matrix is of type {kind} and "
                f"{rows} x {columns}; the header declares type 30 and {leads} x {header.samples}."
            )
    return np.frombuffer(data, "<i2", offset=first.offset).reshape(header.samples, leads)


def _to_mv(header: Header, stored: npt.NDArray[np.int16]) -> FloatArray:
    """Return ``(leads, samples)`` in mV from stored samples ``(samples, leads)``."""
    gains = [signal.gain for signal in header.signals]
    baselines = [signal.baseline for signal in header.signals]
    # Dividing in float32 rounds the same quotient once where float64 and then float32 round it twice; as float64 has
    # more than twice float32's digits, the results are equal (Figueroa 1995) as long as both operands are exact.
    exact = all(signal.scale == 1.0 for signal in header.signals) and all(
        float(np.float32(gain)) == gain and abs(baseline) < 1 << 22
        for gain, baseline in set(zip(gains, baselines, strict=True))
    )
    kind: type[np.floating] = np.float32 if exact else np.float64
    values = stored.T.astype(kind, order="C")
    if any(baselines):
        values -= np.array(baselines, kind)[:, np.newaxis]
    values /= gains[0] if gains.count(gains[0]) == len(gains) else np.array(gains, kind)[:, np.newaxis]
    if not exact:
        values *= np.array([signal.scale for signal in header.signals], kind)[:, np.newaxis]
    if stored.min() == _INVALID_16:
        values[stored.T == _INVALID_16] = np.nan
    return values.astype(np.float32, copy=False)


def _signal_files(folder: Folder, header: Header) -> list[Path]:
    """Return the record's signal files, each once, all below the cohort's folder."""
    names = dict.fromkeys(signal.file for signal in header.signals)
    return [folder.inside(header.path.parent / name, where=header.where) for name in names]


@lru_cache(maxsize=1)
def _wfdb() -> Any:
    # Importing wfdb uses parts of pandas that newer versions deprecate; a run with -W error must not fail for that.
    # Reading does not: it happens in several threads, of which none may touch the filters of warnings.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb
    return wfdb


def _check_size(header: Header, file: Path, stored: Sequence[Signal], size: int) -> None:
    """Refuse a file that is too short for its signals, or a compressed one that would take all memory."""
    samples = sum(signal.frame for signal in stored) * header.samples
    needed = int(samples * BYTES.get(stored[0].format, 0.0)) + stored[0].offset
    if stored[0].format in COMPRESSED:
        # The offset counts samples here. FLAC's largest block, 65535 samples of one value, takes a few bytes.
        needed = 0
        if samples > min(_MOST_SAMPLES, size * 65_535):
            raise EcgfmError(
                f"{file}: record {header.name!r}: {samples} samples in format {stored[0].format} are not plausible in "
                f"{size} bytes."
            )
    if size < needed:
        raise EcgfmError(
            f"{file}: record {header.name!r}: the file holds {size} bytes, but {len(stored)} leads of "
            f"{header.samples} samples in format {stored[0].format} need {needed}."
        )


def _header_for_wfdb(header: Header, order: Sequence[int], names: Mapping[str, str]) -> str:
    """Return a header that leaves nothing to interpret: gain 1, baseline 0, no date, each file by a plain name."""
    lines = [f"r {len(order)} 500 {header.samples}"]
    for signal in (header.signals[row] for row in order):
        code = f"{signal.format}x{signal.frame}:{signal.skew}+{signal.offset}"
        lines.append(f"{names[signal.file]} {code} 1(0)/mV 0 0 {signal.initial or 0} 0 0 x")
    return "\n".join(lines) + "\n"


def _stored_samples(folder: Folder, header: Header) -> list[npt.NDArray[np.float64]]:
    """Return the stored samples of each signal, ``(samples, frame)``, as `wfdb` decodes them; NaN where invalid.

    `wfdb` gets copies of the signal files, read within the cohort's folder, and a header of ours.
    """
    held: dict[str, bytes] = {}
    for file in _signal_files(folder, header):
        held[file.name] = folder.read(file, where=header.where, limit=MAX_FILE)
        stored = [signal for signal in header.signals if signal.file == file.name]
        _check_size(header, file, stored, len(held[file.name]))
    names = {name: f"s{number}.dat" for number, name in enumerate(held)}
    # wfdb takes signals of one file to stand beside each other.
    order = sorted(range(len(header.signals)), key=lambda row: list(held).index(header.signals[row].file))
    try:
        with tempfile.TemporaryDirectory(prefix="ecgfm-") as scratch:
            for name, data in held.items():
                (Path(scratch) / names[name]).write_bytes(data)
            (Path(scratch) / "r.hea").write_text(_header_for_wfdb(header, order, names), encoding="ascii")
            # Asked for stored numbers, wfdb fails on big-endian ones (format 61); with gain 1 these are the same.
            read = _wfdb().rdrecord(str(Path(scratch) / "r"), smooth_frames=False).e_p_signal
    except OSError as error:
        raise EcgfmError(f"{header.where}: cannot be decoded in a temporary folder ({error}).") from None
    except Exception as error:  # wfdb has no error class of its own: whatever it meets, the file is to blame
        raise EcgfmError(f"{header.where}: wfdb cannot read it ({type(error).__name__}: {error}).") from None
    out: list[npt.NDArray[np.float64]] = [np.empty(0)] * len(order)
    for row, samples in zip(order, read, strict=True):
        frame = header.signals[row].frame
        if len(samples) != header.samples * frame:
            raise EcgfmError(f"{header.where}: wfdb does not return {header.samples} samples of each lead.")
        out[row] = samples.reshape(header.samples, frame)
    return out


def _decoded(folder: Folder, header: Header) -> FloatArray:
    """Return ``(leads, samples)`` in mV of a record that `wfdb` decodes; a frame of several samples is their mean."""
    stored = _stored_samples(folder, header)
    out = np.empty((len(header.signals), header.samples), np.float32)
    for row, (signal, samples) in enumerate(zip(header.signals, stored, strict=True)):
        # As wfdb does: the mean of a frame is a stored number again, cut to a whole one.
        values = np.trunc(samples.mean(axis=1)) if signal.frame > 1 else samples[:, 0]
        out[row] = (values - signal.baseline) / signal.gain * signal.scale
    return out


def read_recording(folder: Folder, path: Path) -> Recording:
    """Return one record of a cohort's folder.

    Parameters
    ----------
    folder : Folder
        The cohort's folder, which holds every file that is opened.
    path : Path
        The header file.

    Returns
    -------
    Recording
        Signals ``(leads, samples)`` in mV, NaN where the file marks a sample as invalid; standard leads only.

    Raises
    ------
    EcgfmError
        If a file is missing, malformed, truncated or outside of the folder; names file and record.
    """
    header = read_header(folder, path)
    standard = _leads(tuple(signal.lead for signal in header.signals))
    if isinstance(standard, str):
        raise EcgfmError(f"{header.where}: {standard}")
    rows, leads = standard
    signals = _to_mv(header, _samples_16(folder, header)) if _plain(header) else _decoded(folder, header)
    if len(rows) < len(signals):
        signals = signals[list(rows)]
    return Recording(signals, leads, header.sampling_rate)


def verify_checksums(folder: Folder, path: Path) -> dict[str, bool | None]:
    """Compare a record's samples with the checksums in its header.

    Parameters
    ----------
    folder : Folder
        The cohort's folder.
    path : Path
        The header file.

    Returns
    -------
    dict of str to (bool or None)
        For each lead whether the 16 low bits of the sum of its samples are those of the checksum; None where the
        header states none.

    Raises
    ------
    EcgfmError
        If the record cannot be read.
    """
    header = read_header(folder, path)
    if _plain(header):
        sums = _samples_16(folder, header).sum(axis=0, dtype=np.int64).tolist()
    else:
        sums = [
            int(np.nan_to_num(samples, nan=_INVALID.get(signal.format, 0)).sum())
            for signal, samples in zip(header.signals, _stored_samples(folder, header), strict=True)
        ]
    return {
        signal.lead: None if signal.checksum is None else (total - signal.checksum) % 65536 == 0
        for signal, total in zip(header.signals, sums, strict=True)
    }


class WfdbCohort(PublishedCohort):
    """A cohort whose records are WFDB files.

    Parameters
    ----------
    name : str
        Of the cohort.
    folder : Folder
        Holds every file of the cohort.
    headers : mapping of str to Path
        The header file of each record.
    **published
        As for `PublishedCohort`.
    """

    def __init__(self, name: str, folder: Folder, headers: Mapping[str, Path], **published: Any) -> None:
        super().__init__(name, folder, **published)
        self._headers = headers

    def _read(self, record: str) -> Recording:
        return read_recording(self.folder, self._headers[record])

    def _content_digest(self, records: Sequence[str]) -> str:
        digest = hashlib.sha256()
        for record in records:
            path = self._headers[record]
            where = where_of(path)
            header_bytes = self.folder.read(path, where=where, limit=MAX_HEADER)
            parts = [record.encode(), header_bytes]
            for file in _signal_files(self.folder, parse_header(header_bytes, path)):
                parts.append(self.folder.read(file, where=where, limit=MAX_FILE))
            for part in parts:
                digest.update(len(part).to_bytes(8, "little"))
                digest.update(part)
        return digest.hexdigest()

    def verify_checksums(self, record: str) -> dict[str, bool | None]:
        """Compare a record's samples with its header's checksums; see `verify_checksums`."""
        if record not in self._headers:
            raise EcgfmError(f"cohort {self.name}: no record {record!r} among {len(self)}.")
        return verify_checksums(self.folder, self._headers[record])
