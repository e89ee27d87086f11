"""LUDB (Lobachevsky University, Russia): ``ludb.csv`` with diagnoses, WFDB records in ``data/``.

Source: Kalyakulina et al. 2020, IEEE Access 8:186181; PhysioNet ludb 1.0.1.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from pytest_ecgfm.cohorts.folders import Folder, first_few
from pytest_ecgfm.cohorts.harmonise import harmonise
from pytest_ecgfm.cohorts.quality import limb_residuals
from pytest_ecgfm.cohorts.tables import (
    OLD_AGE,
    choices,
    cohort_table,
    identifiers,
    keyed,
    numbers,
    read_table,
    rows_here,
)
from pytest_ecgfm.cohorts.wfdb_files import WfdbCohort, read_header, read_recording
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import Recording

TABLE = "ludb.csv"
"""The table that the layout is recognised by."""

DIAGNOSES = (
    "Rhythms",
    "Electric axis of the heart",
    "Conduction abnormalities",
    "Extrasystolies",
    "Hypertrophies",
    "Cardiac pacing",
    "Ischemia",
    "Non-specific repolarization abnormalities",
    "Other states",
)
"""Columns of statements, several to a value, one a line."""

MAX_RESIDUAL = 0.1
"""Limb-lead residual (see `quality.Quality`) above which a gain is not believed."""


def parse_statements(text: str) -> list[str]:
    """Return the statements of one value of ``ludb.csv``, as ``labels/ludb.csv`` spells them."""
    lines = (re.sub(r"\s+", " ", line).strip().lower().rstrip(".") for line in text.splitlines())
    return [line.removeprefix("rhythm: ") for line in lines if line]


class Ludb(WfdbCohort):
    """LUDB.

    Parameters
    ----------
    root : Path
        The folder of ``ludb.csv`` and ``data``.
    skip_bad : bool
        Leave out records whose files are missing, with the reason in `excluded`, rather than raise.

    Raises
    ------
    EcgfmError
        If the table is malformed or a record's file is missing.

    Notes
    -----
    The headers state a gain for each lead, and those of release 1.0.0 were wrong. A record is therefore checked when it
    is read: the limb leads must obey Einthoven's and Goldberger's relations (residual at most `MAX_RESIDUAL`) with the
    header's gains or, failing that, with the median of these gains for all leads. If neither is so, it is an error.
    """

    def __init__(self, root: Path, *, skip_bad: bool = False) -> None:
        folder = Folder(root)
        path = folder.root / TABLE
        rows = read_table(folder, path, ("ID", "Sex", "Age", *DIAGNOSES))
        rows.index = rows["ID"]
        rows["ID"] = identifiers(rows, "ID", path)
        rows, caution = rows_here(folder, keyed(rows, "ID", path), "ID")
        headers, excluded = _headers(folder, path, list(rows.index), skip_bad=skip_bad)
        rows = rows.drop(index=list(excluded))
        rows["Age"] = [text.replace(">89", str(OLD_AGE)) for text in rows["Age"]]
        records = list(rows.index)
        codes: dict[str, list[str]] = {record: [] for record in records}
        for column in DIAGNOSES:
            for record, text in zip(records, rows[column], strict=True):
                codes[record] += parse_statements(text)
        harmonised = harmonise(codes, "ludb", source="ludb")
        super().__init__(
            "ludb",
            folder,
            headers,
            continent="Europe",
            table=cohort_table(
                records,
                patients=None,
                ages=numbers(rows, "Age", path, low=0, high=120, empty=True),
                sexes=choices(rows, "Sex", path, {"M": "M", "F": "F", "": ""}),
            ),
            labels=harmonised.labels,
            codes=harmonised.codes,
            sampling_rate=500,
            has_patients=False,
            label_notes=harmonised.notes,
            unmapped=harmonised.unmapped,
            caution=caution,
            excluded=excluded,
        )

    def _read(self, record: str) -> Recording:
        path = self._headers[record]
        recording = read_recording(self.folder, path)
        if recording.sampling_rate != self.sampling_rate:
            raise EcgfmError(f"{path}: record {record!r}: {recording.sampling_rate:g} Hz; LUDB is recorded at 500 Hz.")
        worst = _worst(recording)
        if worst <= MAX_RESIDUAL:
            return recording
        steps = np.array([s.scale / s.gain for s in read_header(self.folder, path).signals], np.float32)[:, np.newaxis]
        if len(steps) == len(recording.leads):
            common = replace(recording, signals=recording.signals / steps * np.median(steps))
            if _worst(common) <= MAX_RESIDUAL:
                return common
        raise EcgfmError(
            f"{path}: record {record!r}: the limb leads contradict each other (residual {worst:.2g}) with the gains of "
            "the header and with a common gain; neither can be trusted."
        )


def _headers(
    folder: Folder, path: Path, records: list[str], *, skip_bad: bool
) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the header file of each record whose files are there, and why others are left out."""
    headers = {record: folder.root / "data" / f"{record}.hea" for record in records}
    missing = {
        file: record
        for record, header in headers.items()
        for file in (header, header.with_suffix(".dat"))
        if not file.is_file()
    }
    gone = set(missing.values())
    if missing and (not skip_bad or len(gone) == len(records)):
        shown = first_few([file.relative_to(folder.root) for file in missing])
        raise EcgfmError(f"{path}: {len(missing)} of {2 * len(records)} files are missing: {shown}.")
    excluded = {record: f"{path}: record {record!r}: a file of data/{record} is missing." for record in sorted(gone)}
    return {record: header for record, header in headers.items() if record not in gone}, excluded


def _worst(recording: Recording) -> float:
    """Return the larger limb-lead residual; one that cannot be computed says nothing against the gain."""
    return max((residual for residual in limb_residuals(recording) if residual == residual), default=0.0)
