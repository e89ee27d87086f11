"""MIMIC-IV-ECG (USA): ``record_list.csv``, WFDB records, and the electrocardiograph's own statements as labels.

Source: Gow et al. 2023, PhysioNet mimic-iv-ecg 1.0. Ages and sexes are in MIMIC-IV itself, under another licence:
unknown here.
"""

import re
from functools import lru_cache
from pathlib import Path

from pytest_ecgfm.cohorts.folders import Folder, first_few
from pytest_ecgfm.cohorts.harmonise import harmonise, vocabulary
from pytest_ecgfm.cohorts.tables import cohort_table, identifiers, keyed, read_table, rows_here
from pytest_ecgfm.cohorts.wfdb_files import WfdbCohort
from pytest_ecgfm.errors import EcgfmError

TABLE = "record_list.csv"
"""The table that the layout is recognised by, with `MEASUREMENTS` beside it."""

MEASUREMENTS = "machine_measurements.csv"
"""The table of statements."""

REPORTS = tuple(f"report_{number}" for number in range(18))
"""Columns of statements."""

NO_SUMMARY = "no summary"
"""Stands for a record whose statements do not sum up whether the ECG is normal."""

_SUMMARIES = re.compile(r"\b(?:ab)?normal (?:rhythm )?ecg\b|\bborderline ecg\b")
_RESERVED = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|consider|suspect(?:ed)?|borderline|cannot rule out|may be|suggests?)\b"
)
_CHECKED = 200


@lru_cache(maxsize=1)
def _phrases() -> re.Pattern[str]:
    """Return a pattern of the phrases of ``labels/mimic_iv_ecg.csv``, longer ones first, so that they are preferred."""
    longest_first = sorted(vocabulary("mimic_iv_ecg").rules, key=lambda phrase: (-len(phrase), phrase))
    return re.compile(r"(?<![a-z0-9])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![a-z0-9])")


@lru_cache(maxsize=65536)
def parse_statement(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the phrases of the label table that one statement holds, and those that it makes with reservation.

    A phrase within a longer one does not count: "incomplete right bundle branch block" is no right bundle branch block.
    A reservation ("possible", "borderline") holds for what follows it in the statement.

    Parameters
    ----------
    text : str
        Such as ``"Sinus rhythm with borderline 1st degree A-V block"``.
    """
    plain = " ".join(re.sub(r"[^a-z0-9:/]+", " ", text.lower()).split())
    found = list(_phrases().finditer(plain))
    # "Borderline ECG" is a phrase of its own, no reservation: phrases are blanked before reservations are looked for.
    blank = _phrases().sub(lambda match: "." * len(match[0]), plain)
    reserved = _RESERVED.search(blank)
    until = reserved.start() if reserved else len(plain)
    return (
        frozenset(match[0] for match in found if match.start() < until),
        frozenset(match[0] for match in found if match.start() >= until),
    )


def parse_report(statements: list[str]) -> tuple[set[str], set[str]]:
    """Return the phrases that a record's statements make, and those that they make with reservation.

    Parameters
    ----------
    statements : list of str
        Of one record; none where the machine said nothing.
    """
    sure: set[str] = set()
    doubtful: set[str] = set()
    for statement in statements:
        said, reserved = parse_statement(statement)
        sure |= said
        doubtful |= reserved
    if statements and not any(_SUMMARIES.search(phrase) for phrase in sure):
        sure.add(NO_SUMMARY)
    return sure, doubtful - sure


class MimicIvEcg(WfdbCohort):
    """MIMIC-IV-ECG.

    Parameters
    ----------
    root : Path
        The folder of ``record_list.csv`` and ``machine_measurements.csv``.
    skip_bad : bool
        Leave missing files to be found when records are read, rather than raise.

    Raises
    ------
    EcgfmError
        If a table is malformed, a record has no statements row, or files are missing.

    Notes
    -----
    A record's name is its ``study_id``. The leads are stored as I, II, III, aVR, aVF, aVL, V1 to V6 and read by name.
    Of the 800,000 files, 200 spread over the release are looked for; the others are an error when they are read.
    """

    def __init__(self, root: Path, *, skip_bad: bool = False) -> None:
        folder = Folder(root)
        path = folder.root / TABLE
        rows = read_table(folder, path, ("subject_id", "study_id", "path"))
        rows.index = rows["study_id"]
        rows["study_id"] = identifiers(rows, "study_id", path)
        rows, caution = rows_here(folder, keyed(rows, "study_id", path), "study_id")
        records = list(rows.index)
        names = dict(zip(records, rows["path"], strict=True))
        headers = {record: folder.root / f"{name}.hea" for record, name in names.items()}
        # Names that lead out of the folder are refused at the latest when a record is read.
        checked = [] if skip_bad else records[:: max(1, len(records) // _CHECKED)]
        for record in checked:
            folder.join(f"{names[record]}.hea", where=f"{path}: record {record!r}: path")
        missing = [
            f"record {record!r} ({names[record]})"
            for record in checked
            if not (headers[record].is_file() and headers[record].with_suffix(".dat").is_file())
        ]
        if missing:
            raise EcgfmError(
                f"{path}: of {len(checked)} records looked for, {len(missing)} are missing: {first_few(missing)}."
            )
        parsed = _read_reports(folder, records)
        harmonised = harmonise(
            {record: sure for record, (sure, _) in parsed.items()},
            "mimic_iv_ecg",
            source="mimic-iv-ecg",
            doubtful={record: unsure for record, (_, unsure) in parsed.items()},
        )
        super().__init__(
            "mimic-iv-ecg",
            folder,
            headers,
            continent="North America",
            table=cohort_table(
                records,
                patients=identifiers(rows, "subject_id", path),
                ages=[float("nan")] * len(records),
                sexes=[""] * len(records),
            ),
            labels=harmonised.labels,
            sampling_rate=500,
            has_patients=True,
            label_notes=harmonised.notes,
            caution=caution,
        )


def _read_reports(folder: Folder, records: list[str]) -> dict[str, tuple[set[str], set[str]]]:
    """Return the parsed statements of each record.

    Raises
    ------
    EcgfmError
        If the table is malformed, or lacks a record.
    """
    path = folder.root / MEASUREMENTS
    rows = read_table(folder, path, ("study_id",), optional=REPORTS)
    columns = [column for column in REPORTS if column in rows]
    if not columns:
        raise EcgfmError(f"{path}: no column of statements ({REPORTS[0]} to {REPORTS[-1]}).")
    rows.index = rows["study_id"]
    rows["study_id"] = identifiers(rows, "study_id", path)
    rows = keyed(rows, "study_id", path)
    said = dict(zip(rows.index, zip(*(rows[column] for column in columns), strict=True), strict=True))
    missing = [record for record in records if record not in said]
    if missing:
        raise EcgfmError(f"{path}: no row for {len(missing)} of {len(records)} records: {first_few(missing)}.")
    return {record: parse_report([text for text in said[record] if text]) for record in records}
