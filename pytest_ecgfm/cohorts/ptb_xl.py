"""PTB-XL (Germany): ``ptbxl_database.csv`` with SCP-ECG statements, WFDB records at 100 Hz and 500 Hz.

Source: Wagner et al. 2020, Scientific Data 7:154; PhysioNet ptb-xl 1.0.3.
"""

import ast
import math
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from pytest_ecgfm.cohorts.base import PublishedSplit
from pytest_ecgfm.cohorts.folders import Folder, first_few
from pytest_ecgfm.cohorts.harmonise import harmonise
from pytest_ecgfm.cohorts.scp_classes import classes_of
from pytest_ecgfm.cohorts.tables import (
    OLD_AGE,
    choices,
    cohort_table,
    fault,
    identifiers,
    keyed,
    numbers,
    read_table,
    rows_here,
)
from pytest_ecgfm.cohorts.wfdb_files import WfdbCohort
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import Recording

DATABASE = "ptbxl_database.csv"
"""The table that the layout is recognised by."""

_STORED = {500: ("records500", "filename_hr"), 100: ("records100", "filename_lr")}
_COLUMNS = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold")
_MAX_STATEMENTS = 4096
_WITHHELD_AGE = 300.0


def parse_statements(text: str, path: Path, record: str) -> dict[str, float]:
    """Return the SCP-ECG statements of one record, with their likelihoods in per cent (0: not stated).

    Parameters
    ----------
    text : str
        The value of ``scp_codes``: a Python literal such as ``{'NORM': 100.0, 'SR': 0.0}``.
    path : Path
        The table, for messages.
    record : str
        For messages.

    Raises
    ------
    EcgfmError
        If it is not such a literal; names file, record and field.
    """
    wrong = fault(path, record, "scp_codes", text, "a literal such as {'NORM': 100.0, 'SR': 0.0}, likelihoods 0 to 100")
    if len(text) > _MAX_STATEMENTS or not text.startswith("{"):
        raise wrong
    try:
        statements = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise wrong from None
    if not isinstance(statements, dict):
        raise wrong
    for code, likelihood in statements.items():
        if not isinstance(code, str) or isinstance(likelihood, bool) or not isinstance(likelihood, int | float):
            raise wrong
        if not math.isfinite(likelihood) or not 0 <= likelihood <= 100:
            raise wrong
    return {code: float(likelihood) for code, likelihood in statements.items()}


def _find_rate(folder: Folder, sampling_rate: float | None) -> int:
    """Return the rate to read; 500 Hz rather than 100 Hz where both are there and neither is asked for."""
    present = [rate for rate, (name, _) in _STORED.items() if (folder.root / name).is_dir()]
    if sampling_rate is None:
        if not present:
            raise EcgfmError(f"{folder.root}: neither records500 nor records100 is there.")
        return present[0]
    if sampling_rate not in present:
        stored = ", ".join(f"{rate} Hz" for rate in present) or "none"
        raise EcgfmError(f"{folder.root}: ptb-xl is not there at {sampling_rate:g} Hz. Found: {stored}.")
    return int(sampling_rate)


class PtbXl(WfdbCohort):
    """PTB-XL.

    Parameters
    ----------
    root : Path
        The folder of ``ptbxl_database.csv``.
    sampling_rate : float, optional
        In Hz: 500 or 100; by default 500 where it is there.
    minimum_likelihood : float
        In per cent. Statements of a likelihood that is stated (not 0) and lower leave their labels unknown. Rhythm
        statements always carry 0, which stands for "not stated"; such statements count whatever the bound. The
        default takes every statement, as the published counts do.
    skip_bad : bool
        Leave out records whose files are missing, with the reason in `excluded`, rather than raise.

    Raises
    ------
    EcgfmError
        If the table is malformed, a record's file is missing, or the rate is not there; names file, record and field.

    Notes
    -----
    Age 300 stands for any age above 89; it is read as 90. Sex 0 is male, 1 female.
    """

    def __init__(
        self,
        root: Path,
        *,
        sampling_rate: float | None = None,
        minimum_likelihood: float = 0.0,
        skip_bad: bool = False,
    ) -> None:
        folder = Folder(root)
        path = folder.root / DATABASE
        rate = _find_rate(folder, sampling_rate)
        file_column = _STORED[rate][1]
        rows = read_table(folder, path, (*_COLUMNS, file_column))
        rows.index = rows["ecg_id"]
        rows["ecg_id"] = identifiers(rows, "ecg_id", path)
        rows, caution = rows_here(folder, keyed(rows, "ecg_id", path), "ecg_id")
        names = dict(zip(rows.index, rows[file_column], strict=True))
        headers, excluded = _headers(folder, path, names, file_column, skip_bad=skip_bad)
        rows = rows.drop(index=list(excluded))
        records = list(rows.index)
        ages = numbers(rows, "age", path, low=0, high=_WITHHELD_AGE, empty=True)
        for record, age in zip(records, ages, strict=True):
            if 120 < age < _WITHHELD_AGE:
                raise fault(path, record, "age", age, "at most 120 years, or 300")
        ages[ages == _WITHHELD_AGE] = OLD_AGE
        folds = numbers(rows, "strat_fold", path, low=1, high=10)
        if (folds % 1).any():
            raise EcgfmError(f"{path}: strat_fold should contain whole numbers.")
        statements = {
            record: parse_statements(text, path, record)
            for record, text in zip(records, rows["scp_codes"], strict=True)
        }
        doubtful = {
            record: [code for code, likelihood in said.items() if 0 < likelihood < minimum_likelihood]
            for record, said in statements.items()
        }
        sure = {record: set(said) - set(doubtful[record]) for record, said in statements.items()}
        harmonised = harmonise(sure, "scp_ecg", source="ptb-xl", doubtful=doubtful)
        codes = None if harmonised.codes is None else replace(harmonised.codes, classes=classes_of(folder))
        super().__init__(
            "ptb-xl",
            folder,
            headers,
            continent="Europe",
            table=cohort_table(
                records,
                patients=identifiers(rows, "patient_id", path),
                ages=ages,
                sexes=choices(rows, "sex", path, {"0": "M", "1": "F", "0.0": "M", "1.0": "F", "": ""}),
                folds=folds.astype(int).tolist(),
            ),
            labels=harmonised.labels,
            codes=codes,
            sampling_rate=rate,
            has_patients=True,
            split=PublishedSplit(train=tuple(range(1, 9)), validation=(9,), test=(10,)),
            label_notes=harmonised.notes,
            unmapped=harmonised.unmapped,
            caution=caution,
            excluded=excluded,
        )

    def _read(self, record: str) -> Recording:
        recording = super()._read(record)
        if recording.sampling_rate != self.sampling_rate:
            raise EcgfmError(
                f"{self._headers[record]}: record {record!r}: the header states {recording.sampling_rate:g} Hz in a "
                f"folder of {self.sampling_rate:g} Hz."
            )
        return recording


def _headers(
    folder: Folder, path: Path, names: dict[str, str], column: str, *, skip_bad: bool
) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the header file of each record whose files are there, and why others are left out.

    Raises
    ------
    EcgfmError
        If a name leads out of the folder or files are missing, and these are not to be left out or are all.
    """
    headers: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for record, name in names.items():
        where = f"{path}: record {record!r}: {column}"
        try:
            headers[record] = folder.join(f"{name}.hea", where=where)
        except EcgfmError as error:
            if not skip_bad:
                raise
            missing[record] = str(error)
    # One listing of a folder instead of two look-ups a record: on a network drive that is minutes less.
    listed: dict[Path, set[str]] = defaultdict(set)
    for parent in {header.parent for header in headers.values()}:
        if parent.is_dir():
            listed[parent] = {entry.name for entry in os.scandir(parent)}
    files: list[str] = []
    for record, header in headers.items():
        gone = [suffix for suffix in (".hea", ".dat") if header.stem + suffix not in listed[header.parent]]
        files += [f"record {record!r} ({names[record]}{suffix})" for suffix in gone]
        if gone:
            missing[record] = f"{path}: record {record!r}: {names[record]}{gone[0]} is missing."
    if files and (not skip_bad or len(missing) == len(names)):
        raise EcgfmError(
            f"{path}: {len(files)} of {2 * len(names)} files that it names are missing: {first_few(files)}."
        )
    return {record: header for record, header in headers.items() if record not in missing}, missing
