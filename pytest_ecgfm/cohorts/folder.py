"""A user's own cohort: WFDB records and a ``labels.csv``.

Columns of ``labels.csv``: ``record`` (a header's name without ``.hea``, below the folder), and any of ``patient``,
``age`` (years), ``sex`` (M, F), ``fold`` and the harmonised labels (1, 0, or empty for unknown). Labels without a
column are unknown for every record.
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from pytest_ecgfm.cohorts.base import CONTINENTS, LABELS, PublishedSplit
from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.tables import by_field, choices, cohort_table, keyed, numbers, read_table
from pytest_ecgfm.cohorts.wfdb_files import WfdbCohort, read_header
from pytest_ecgfm.errors import EcgfmError, unknown_name

TABLE = "labels.csv"
"""The table that the layout is recognised by."""

_SEXES = {"M": "M", "F": "F", "m": "M", "f": "F", "male": "M", "female": "F", "Male": "M", "Female": "F", "": ""}
_NAMED_FOLDS = {"train": "1", "validation": "2", "test": "3"}


def cohort_name(root: Path) -> str:
    """Return the name of the cohort in a folder: the folder's, in lower case, with hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", root.resolve().name.lower()).strip("-") or "folder"


class FolderCohort(WfdbCohort):
    """WFDB records with labels.

    Parameters
    ----------
    root : Path
        The folder of ``labels.csv``.
    name : str, optional
        Of the cohort; by default the folder's.
    continent : str, optional
        Where it was recorded; one of `CONTINENTS`.
    skip_bad : bool
        Leave out records whose files are unusable, with the reason in `excluded`, rather than raise.

    Raises
    ------
    EcgfmError
        If the table has no label, or a value is malformed, or a record's files are missing or malformed.

    Notes
    -----
    With ``fold``, either the words train, validation and test, or numbers of which the largest is for test, the second
    largest for validation, the others for training. Every record must then have one.
    """

    def __init__(self, root: Path, *, name: str | None = None, continent: str = "", skip_bad: bool = False) -> None:
        folder = Folder(root)
        path = folder.root / TABLE
        if continent and continent not in CONTINENTS:
            raise unknown_name("continent", continent, CONTINENTS)
        optional = ("patient", "age", "sex", "fold", *LABELS)
        rows = keyed(read_table(folder, path, ("record",), optional=optional), "record", path)
        stated = [label for label in LABELS if label in rows]
        if not stated:
            raise EcgfmError(f"{path}: no column is a label. Valid: {', '.join(LABELS)}.")
        if rows.empty:
            raise EcgfmError(f"{path}: no record.")
        headers, rates, excluded = _usable(folder, path, list(rows.index), skip_bad=skip_bad)
        rows = rows.drop(index=list(excluded))
        records = list(rows.index)
        labels = pd.DataFrame({label: pd.array([pd.NA] * len(rows), dtype="boolean") for label in LABELS}, rows.index)
        values = {"1": True, "0": False, "true": True, "false": False, "True": True, "False": False}
        for label in stated:
            known = choices(rows, label, path, {**{text: text for text in values}, "": ""})
            labels[label] = pd.array([values.get(text, pd.NA) for text in known], dtype="boolean")
        folds, split = _folds(rows, path)
        has_patients = "patient" in rows
        if has_patients:
            by_field(bool, rows, "patient", path, "an identifier")
        super().__init__(
            name or cohort_name(folder.root),
            folder,
            headers,
            continent=continent,
            table=cohort_table(
                records,
                patients=list(rows["patient"]) if has_patients else None,
                ages=numbers(rows, "age", path, low=0, high=120, empty=True)
                if "age" in rows
                else np.full(len(rows), np.nan),
                sexes=choices(rows, "sex", path, _SEXES) if "sex" in rows else [""] * len(rows),
                folds=folds,
            ),
            labels=labels,
            sampling_rate=rates.most_common(1)[0][0],
            has_patients=has_patients,
            split=split,
            label_notes={label: f"unknown: {TABLE} has no such column" for label in LABELS if label not in stated},
            excluded=excluded,
        )


def _usable(
    folder: Folder, path: Path, records: list[str], *, skip_bad: bool
) -> tuple[dict[str, Path], Counter[float], dict[str, str]]:
    """Return the header files of usable records, how often each sampling rate occurs, and why others are left out."""
    headers: dict[str, Path] = {}
    rates: Counter[float] = Counter()
    excluded: dict[str, str] = {}
    for record in records:
        try:
            header = folder.join(f"{record}.hea", where=f"{path}: record {record!r}: record")
            rates[_check(folder, header)] += 1
            headers[record] = header
        except EcgfmError as error:
            if not skip_bad or len(excluded) == len(records) - 1:
                raise
            excluded[record] = str(error)
    return headers, rates, excluded


def _check(folder: Folder, header: Path) -> float:
    """Return a record's sampling rate in Hz, its signal files being there."""
    parsed = read_header(folder, header)
    for name in {signal.file for signal in parsed.signals}:
        if not (header.parent / name).is_file():
            raise EcgfmError(f"{parsed.where}: the signal file {name!r} is missing.")
    return parsed.sampling_rate


def _folds(rows: pd.DataFrame, path: Path) -> tuple[list[int] | None, PublishedSplit | None]:
    """Return the fold of each record and which are for what; None without the column."""
    if "fold" not in rows:
        return None, None
    table = rows.assign(fold=[_NAMED_FOLDS.get(text.lower(), text) for text in rows["fold"]])
    values = numbers(table, "fold", path, low=0, high=1000)
    if (values % 1).any():
        raise EcgfmError(f"{path}: fold should hold whole numbers, or train, validation and test.")
    folds = values.astype(int).tolist()
    distinct = sorted(set(folds))
    if len(distinct) < 3:
        raise EcgfmError(f"{path}: fold has {len(distinct)} values; training, validation and test need three.")
    return folds, PublishedSplit(train=tuple(distinct[:-2]), validation=(distinct[-2],), test=(distinct[-1],))
