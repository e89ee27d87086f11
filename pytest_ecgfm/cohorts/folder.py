"""A user's own cohort: WFDB records and a ``labels.csv``.

Columns of ``labels.csv``: ``record`` (a header's name without ``.hea``, below the folder), and any of ``patient``,
``age`` (years), ``sex`` (M, F), ``fold`` and labels (1, 0, or empty for unknown). Built-in labels are read where they
are there; any other column is a label when it is asked for. Labels without a column are unknown for every record.
"""

import re
from collections import Counter
from pathlib import Path

from pytest_ecgfm.cohorts.base import CONTINENTS, LABELS
from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.stated import COLUMNS, further_columns, read_stated, require_label
from pytest_ecgfm.cohorts.tables import keyed, read_table
from pytest_ecgfm.cohorts.wfdb_files import WfdbCohort, read_header
from pytest_ecgfm.errors import EcgfmError, unknown_name

TABLE = "labels.csv"
"""The table that the layout is recognised by."""


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
        rows = keyed(read_table(folder, path, ("record",), optional=COLUMNS, others=True), "record", path)
        require_label(rows, path)
        if rows.empty:
            raise EcgfmError(f"{path}: no record.")
        headers, rates, excluded = _usable(folder, path, list(rows.index), skip_bad=skip_bad)
        rows = rows.drop(index=list(excluded))
        stated = read_stated(rows, path)
        super().__init__(
            name or cohort_name(folder.root),
            folder,
            headers,
            continent=continent,
            sampling_rate=rates.most_common(1)[0][0],
            label_notes={label: f"unknown: {TABLE} has no such column" for label in LABELS if label not in rows},
            excluded=excluded,
            table=stated.table,
            labels=stated.labels,
            has_patients=stated.has_patients,
            split=stated.split,
            columns=further_columns(rows, path),
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
