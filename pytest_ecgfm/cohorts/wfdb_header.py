"""WFDB headers, parsed strictly: a header that leaves a number in doubt is an error, not a guess.

Source: WFDB Applications Guide, header(5). Stricter than it in four places. The sampling rate, the number of samples,
the gain and the description (which names the lead) must be stated: the defaults of the specification (250 Hz, 200 ADC
units a mV) mark uncalibrated signals, which have no value in mV.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.errors import EcgfmError

MIN_RATE, MAX_RATE = 1.0, 100_000.0
"""Hz. No electrocardiograph samples slower or faster; a header that says so is malformed."""

MAX_HEADER = 1 << 20
"""Bytes that a header file may hold."""

_UNITS = {"": 1.0, "mV": 1.0, "mv": 1.0, "MV": 1.0, "uV": 1e-3, "uv": 1e-3, "µV": 1e-3, "μV": 1e-3, "V": 1e3, "v": 1e3}
_UNITS_SHOWN = "mV, uV, V"

BYTES = {
    **{"8": 1.0, "16": 2.0, "24": 3.0, "32": 4.0, "61": 2.0, "80": 1.0, "160": 2.0},
    **{"212": 1.5, "310": 4 / 3, "311": 4 / 3},
}
"""Bytes a sample of the formats of fixed size."""

COMPRESSED = ("508", "516", "524")
"""Formats of no fixed size: FLAC streams."""

_RECORD = re.compile(
    # Challenge 2021 1.0.2 names most records of Georgia "E00001.mat" here.
    r"(?P<name>[-\w]+)(?:\.mat)?(?:/(?P<segments>\d+))?[ \t]+(?P<leads>\d{1,4})"
    r"(?:[ \t]+(?P<rate>[^\s/(]+)(?:/[^\s(]*(?:\([^\s)]*\))?)?(?:[ \t]+(?P<samples>\d{1,12})(?:[ \t].*)?)?)?",
    re.ASCII,
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)[ \t]+(?P<format>\S+)[ \t]+(?P<gain>\S+)"
    r"(?:[ \t]+(?P<resolution>\d{1,9})(?:[ \t]+(?P<zero>-?\d{1,10})(?:[ \t]+(?P<initial>-?\d{1,10})"
    r"(?:[ \t]+(?P<checksum>-?\d{1,10})(?:[ \t]+(?P<block>\d{1,10})(?:[ \t]+(?P<lead>\S.*))?)?)?)?)?)?",
    re.ASCII,
)
_FIELDS = (
    ("file name", r"\S+"),
    ("format", r"\S+"),
    ("gain", r"\S+"),
    ("ADC resolution", r"\d{1,9}"),
    ("ADC zero", r"-?\d{1,10}"),
    ("initial value", r"-?\d{1,10}"),
    ("checksum", r"-?\d{1,10}"),
    ("block size", r"\d{1,10}"),
)
_FORMAT = re.compile(
    r"(?P<code>\d{1,4})(?:x(?P<frame>\d{1,4}))?(?::(?P<skew>\d{1,6}))?(?:\+(?P<offset>\d{1,10}))?", re.ASCII
)
_GAIN = re.compile(r"(?P<gain>[^\s(/]+)(?:\((?P<baseline>-?\d{1,10})\))?(?:/(?P<units>\S*))?", re.ASCII)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)


class Signal(NamedTuple):
    """One signal line of a header: how one lead is stored."""

    file: str
    format: str
    frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    scale: float
    initial: int | None
    checksum: int | None
    lead: str


@dataclass(frozen=True)
class Header:
    """A WFDB header.

    Attributes
    ----------
    path : Path
        The header file.
    name : str
        The record.
    sampling_rate : float
        In Hz.
    samples : int
        A lead.
    signals : tuple of Signal
        One a lead; `Signal.gain` in ADC units a physical unit, `Signal.scale` in mV a physical unit.
    comments : tuple of str
        Comment lines, without ``#``.
    """

    path: Path
    name: str
    sampling_rate: float
    samples: int
    signals: tuple[Signal, ...]
    comments: tuple[str, ...]

    @property
    def where(self) -> str:
        """Header file and record, for messages."""
        return where_of(self.path)


def where_of(path: Path) -> str:
    """Return header file and record, for messages."""
    return f"{path}: record {path.stem!r}"


@lru_cache(maxsize=4096)
def _parse_format(text: str) -> tuple[str, int, int, int] | str:
    """Return format, samples a frame, skew and byte offset; or what is wrong with `text`."""
    match = _FORMAT.fullmatch(text)
    if match is None or (match["frame"] is not None and int(match["frame"]) < 1):
        return f"format {text!r} is malformed; it should look like '16' or '16x1+24'."
    if match["code"] not in BYTES and match["code"] not in COMPRESSED:
        return f"format {match['code']!r} is none of WFDB's; valid: {', '.join((*BYTES, *COMPRESSED))}."
    return match["code"], int(match["frame"] or 1), int(match["skew"] or 0), int(match["offset"] or 0)


@lru_cache(maxsize=4096)
def _parse_gain(text: str) -> tuple[float, int | None, float] | str:
    """Return gain, baseline (None where left out) and mV a unit; or what is wrong with `text`."""
    match = _GAIN.fullmatch(text)
    if match is None or not _NUMBER.fullmatch(match["gain"]):
        return f"gain {text!r} is malformed; it should look like '1000(0)/mV'."
    units = match["units"] or ""
    if units not in _UNITS:
        return f"units {units!r} are not a voltage; valid: {_UNITS_SHOWN}."
    gain, scale = float(match["gain"]), _UNITS[units]
    if gain == 0:
        return "gain 0 marks an uncalibrated signal, which has no value in mV."
    # One step of an electrocardiograph's converter is a few uV; steps beyond 1 mV or below 1 pV are a slip of the gain.
    if not 1 <= gain / scale <= 1e9:
        return f"gain {text!r} is not plausible: one step would be {scale / gain:g} mV."
    return gain, None if match["baseline"] is None else int(match["baseline"]), scale


def _parse_signal(line: str, number: int, where: str) -> Signal:
    """Return one signal line.

    Raises
    ------
    EcgfmError
        If it is malformed; names the field.
    """
    match = _SIGNAL.fullmatch(line)
    place = f"{where}: signal line {number}"
    if match is None:
        raise _signal_error(line, place)
    file, code, gain_text, _, zero, initial, checksum, _, lead = match.groups()
    form, gain = _parse_format(code), _parse_gain(gain_text)
    if isinstance(form, str):
        raise EcgfmError(f"{place}: {form}")
    if isinstance(gain, str):
        raise EcgfmError(f"{place}: {gain}")
    if lead is None:
        raise EcgfmError(f"{place}: the description, which names the lead, is missing.")
    if "/" in file or "\\" in file or file in ("-", "..") or ":" in file or not file.isprintable():
        raise EcgfmError(
            f"{place}: file name {file!r} is not a plain name in the header's own folder; it is not followed."
        )
    return Signal(
        file,
        *form,
        gain[0],
        int(zero or 0) if gain[1] is None else gain[1],
        gain[2],
        None if initial is None else int(initial),
        None if checksum is None else int(checksum),
        lead.strip(),
    )


def _signal_error(line: str, place: str) -> EcgfmError:
    """Say which field of a malformed signal line is to blame."""
    tokens = line.split(None, len(_FIELDS))
    for (field, pattern), token in zip(_FIELDS, tokens, strict=False):
        if not re.fullmatch(pattern, token, re.ASCII):
            return EcgfmError(f"{place}: {field} {token!r} is malformed.")
    return EcgfmError(f"{place}: {len(tokens)} fields, but file name, format and gain at least are needed.")


def _record_error(line: str, where: str) -> EcgfmError:
    """Say what is wrong with a malformed record line."""
    name = line.split(None, 1)[0] if line else ""
    if name and not re.fullmatch(r"[-\w]+(/\d+)?", name, re.ASCII):
        return EcgfmError(f"{where}: record name {name[:80]!r} may hold letters, digits, hyphens and underscores only.")
    return EcgfmError(
        f"{where}: record line {line[:80]!r} is malformed; it should be name, leads, rate in Hz, samples."
    )


def _parse_rate(text: str | None, where: str) -> float:
    if text is None:
        raise EcgfmError(f"{where}: the sampling rate is missing.")
    if not _NUMBER.fullmatch(text) or not MIN_RATE <= float(text) <= MAX_RATE:
        raise EcgfmError(f"{where}: sampling rate {text!r} should be a number of Hz from {MIN_RATE:g} to {MAX_RATE:g}.")
    return float(text)


def _lines(data: bytes) -> tuple[list[str], list[str]]:
    """Return the lines of a header and, without ``#``, its comments."""
    lines: list[str] = []
    comments: list[str] = []
    # Lines end where bytes say so: as text, a comment would also end at a vertical tab or at Latin-1's 0x85.
    for raw in data.removeprefix(b"\xef\xbb\xbf").splitlines():
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError:
            line = raw.decode("latin-1").strip()
        if line.startswith("#"):
            comments.append(line[1:].strip())
        elif line:
            lines.append(line)
    return lines, comments


def _check_files(signals: tuple[Signal, ...], where: str) -> None:
    """Refuse a signal file that is said to be stored in two ways.

    Raises
    ------
    EcgfmError
        Names the signal line.
    """
    first: dict[str, Signal] = {}
    for number, signal in enumerate(signals, start=1):
        other = first.setdefault(signal.file, signal)
        if (signal.format, signal.offset) != (other.format, other.offset):
            raise EcgfmError(
                f"{where}: signal line {number}: {signal.file!r} is of format {signal.format}+{signal.offset} here, "
                f"but of format {other.format}+{other.offset} in an earlier line; one file has one format."
            )


def parse_header(data: bytes, path: Path) -> Header:
    """Return the header that `data`, the content of `path`, holds.

    What follows the number of samples in the record line (time, date) is not read: published cohorts write it in
    several ways that the specification does not know. A byte order mark is skipped, and a line that is not UTF-8 (a
    comment with an umlaut, the unit µV) is read as Latin-1: both are older than the specification's UTF-8.

    Parameters
    ----------
    data : bytes
        At most `MAX_HEADER`.
    path : Path
        For messages; its stem must be the record's name.

    Raises
    ------
    EcgfmError
        If the header is not valid; names file, record and field.
    """
    where = where_of(path)
    lines, comments = _lines(data)
    match = _RECORD.fullmatch(lines[0]) if lines else None
    if match is None:
        raise _record_error(lines[0] if lines else "", where)
    name, segments, leads, rate, samples = match.groups()
    if name != path.stem:
        raise EcgfmError(f"{where}: the header names another record, {name!r}.")
    if segments is not None:
        raise EcgfmError(f"{where}: it has {segments} segments; records in several segments are not read.")
    sampling_rate = _parse_rate(rate, where)
    if samples is None or int(samples) < 1:
        raise EcgfmError(f"{where}: the number of samples is missing or 0.")
    count = int(leads)
    if count != len(lines) - 1 or count < 1:
        raise EcgfmError(f"{where}: the record line declares {count} leads, but {len(lines) - 1} signal lines follow.")
    signals = tuple(_parse_signal(line, number, where) for number, line in enumerate(lines[1:], start=1))
    _check_files(signals, where)
    return Header(path, name, sampling_rate, int(samples), signals, tuple(comments))


def read_header(folder: Folder, path: Path) -> Header:
    """Return the header in file `path` of a cohort's folder.

    Raises
    ------
    EcgfmError
        If the file is missing or malformed.
    """
    return parse_header(folder.read(path, where=where_of(path), limit=MAX_HEADER), path)
