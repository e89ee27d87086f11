"""CSV tables of cohorts, read strictly: each value is text until a reader says what it must be."""

import csv
import io
import math
import re
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.errors import EcgfmError

if TYPE_CHECKING:
    # Otherwise where a table is made: every start imports this module, and most end before the first table.
    import pandas as pd


NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)

_UNKNOWN = frozenset(
    ("", "nan", "-nan", "na", "<na>", "n/a", "#n/a", "#na", "null", "none", "nat", "unknown", "1.#ind", "1.#qnan")
)

_MOST_TABLE = 4_000_000_000  # bytes; the largest published one takes a seventh of it

OLD_AGE = 90.0
"""Years that stand for any age above 89, which cohorts withhold (PTB-XL writes 300, MIMIC-IV 91)."""


def known(text: str) -> str:
    """Return a value as it stands, or nothing where it is one of the words that programs write for a missing value.

    One rule for every column: what pandas, R and databases write (``nan``, ``None``, ``NA``, ``<NA>``, ``NULL``) is an
    empty cell, not a patient or a label of that name.
    """
    return "" if text.strip().lower() in _UNKNOWN else text


def read_table(
    folder: Folder,
    path: Path,
    columns: Sequence[str],
    *,
    optional: Collection[str] = (),
    others: bool = False,
    key: str | None = None,
) -> "pd.DataFrame":
    """Return columns of a CSV file as text, white space stripped.

    Parameters
    ----------
    folder : Folder
        The cohort's folder.
    path : Path
        The file, in UTF-8 with or without a byte order mark.
    columns : sequence of str
        Columns that it must have.
    optional : collection of str, optional
        Columns to return where it has them.
    others : bool
        Whether to return all further columns, too; those whose name is empty or occurs twice are left out.
    key : str, optional
        The column that identifies a row; it becomes the index, and stays a column.

    Raises
    ------
    EcgfmError
        If the file is missing or not CSV, lacks a column, or has rows of uneven length or a repeated or empty key.
    """
    import pandas as pd

    data = folder.read(path, where=str(path), limit=_MOST_TABLE)
    try:
        rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        head = [name.strip() for name in next(rows, [])]
        for column in columns:
            if column not in head:
                raise EcgfmError(f"{path}: the column {column!r} is missing; there are {', '.join(head) or 'none'}.")
        wanted = [name for name in head if name in columns or name in optional]
        if others:
            wanted += [name for name in head if name and head.count(name) == 1 and name not in wanted]
        for name in wanted:
            if head.count(name) > 1:
                raise EcgfmError(f"{path}: the column {name!r} occurs twice.")
        places = [head.index(name) for name in wanted]
        values: list[list[str]] = []
        for row in rows:
            if len(row) != len(head):
                if not any(row):
                    continue
                raise EcgfmError(f"{path}: line {rows.line_num}: {len(row)} values for {len(head)} columns.")
            values.append([sys.intern(row[place].strip()) for place in places])
    except UnicodeDecodeError as error:
        raise EcgfmError(f"{path}: not UTF-8 text (byte {error.start}).") from None
    except csv.Error as error:
        raise EcgfmError(f"{path}: line {rows.line_num}: malformed CSV ({error}).") from None
    table = pd.DataFrame(values, columns=wanted, dtype=object)
    return table if key is None else keyed(table, key, path)


def keyed(table: "pd.DataFrame", key: str, path: Path) -> "pd.DataFrame":
    """Return `table` indexed by the column `key`.

    Raises
    ------
    EcgfmError
        If a key is empty or repeated; names it.
    """
    import pandas as pd

    for position in np.flatnonzero((table[key] == "").to_numpy()):
        raise EcgfmError(f"{path}: row {position + 1}: {key} is empty.")
    repeated = table.loc[table[key].duplicated(), key]
    if len(repeated):
        raise EcgfmError(f"{path}: record {repeated.iloc[0]!r}: {key} occurs in more than one row.")
    return table.set_index(pd.Index(table[key].tolist(), dtype=object))


def fault(path: Path, record: object, field: str, value: object, valid: str) -> EcgfmError:
    """Build the error for a value of a table that cannot be what it says."""
    return EcgfmError(f"{path}: record {str(record)!r}: {field} {str(value)[:80]!r} should be {valid}.")


def numbers(
    table: "pd.DataFrame", column: str, path: Path, *, low: float, high: float, empty: bool = False
) -> npt.NDArray[np.float64]:
    """Return a column as numbers.

    Parameters
    ----------
    table : DataFrame
        From `read_table`.
    column : str
        Of `table`.
    path : Path
        For messages.
    low, high : float
        Bounds, both allowed; infinite where there is none.
    empty : bool
        Whether an unknown value (see `known`) is NaN rather than an error.

    Raises
    ------
    EcgfmError
        If a value is not a number within the bounds; names the record.
    """
    out = np.full(len(table), np.nan)
    for row, (record, text) in enumerate(zip(table.index, table[column], strict=True)):
        if empty and not known(text):
            continue
        if not NUMBER.fullmatch(text) or not low <= float(text) <= high:
            raise fault(path, record, column, text, _between(low, high))
        out[row] = float(text)
    return out


def _between(low: float, high: float) -> str:
    ends = [f"{word} {bound:g}" for word, bound in (("from", low), ("to", high)) if math.isfinite(bound)]
    return " ".join(["a number", *ends])


def identifiers(table: "pd.DataFrame", column: str, path: Path) -> list[str]:
    """Return a column of whole numbers as text, without the ``.0`` that pandas leaves behind.

    Raises
    ------
    EcgfmError
        If a value is empty or not a whole number; names the record.
    """
    out = []
    for record, text in zip(table.index, table[column], strict=True):
        match = re.fullmatch(r"(\d+)(?:\.0*)?", text, re.ASCII)
        if match is None:
            raise fault(path, record, column, text, "a whole number")
        out.append(match[1])
    return out


def choices(
    table: "pd.DataFrame", column: str, path: Path, valid: dict[str, str], *, any_case: bool = False
) -> list[str]:
    """Return what each value of a column stands for; an unknown one (see `known`) is an empty one.

    With `any_case`, words may be in capitals; those of `valid` are in lower case.

    Raises
    ------
    EcgfmError
        If a value is none of `valid`; names the record.
    """
    out = []
    for record, text in zip(table.index, table[column], strict=True):
        value = text if text in valid else known(text.lower() if any_case else text)
        if value not in valid:
            raise fault(path, record, column, text, f"one of {', '.join(repr(v) for v in valid)}")
        out.append(valid[value])
    return out


def cohort_table(
    records: Sequence[str],
    *,
    patients: Sequence[str] | None,
    ages: Sequence[float] | npt.NDArray[np.float64],
    sexes: Sequence[str],
    folds: Sequence[int] | None = None,
) -> "pd.DataFrame":
    """Return the table of a `Cohort`.

    Parameters
    ----------
    records : sequence of str
        Identifiers.
    patients : sequence of str or None
        None where none are published: each record is then a patient of its own.
    ages : sequence of float
        In years, NaN where unknown.
    sexes : sequence of str
        ``"F"``, ``"M"`` or ``""``.
    folds : sequence of int, optional
        Published folds.
    """
    import pandas as pd

    index = pd.Index(list(records), dtype=object)
    return pd.DataFrame(
        {
            "patient": pd.Series(list(records if patients is None else patients), index=index, dtype=object),
            "age": np.asarray(ages, np.float64),
            "sex": pd.Series(list(sexes), index=index, dtype=object),
            "fold": pd.Series(pd.NA if folds is None else list(folds), index=index, dtype="Int64"),
        },
        index=index,
    )


def by_field(check: Callable[[str], bool], table: "pd.DataFrame", column: str, path: Path, valid: str) -> list[str]:
    """Return a column as it stands, once each value passes `check`; an unknown one (see `known`) is an empty one.

    Raises
    ------
    EcgfmError
        If one does not; names the record.
    """
    for record, text in zip(table.index, table[column], strict=True):
        if not check(known(text)):
            raise fault(path, record, column, known(text), valid)
    return list(table[column])


PART_FILE = "records-fetched.txt"
"""Names the records that are there, in a folder that holds part of a release."""


def rows_here(folder: Folder, table: "pd.DataFrame", column: str) -> "tuple[pd.DataFrame, str]":
    """Return the rows of records that are there, and what to say of it.

    Parameters
    ----------
    folder : Folder
        The cohort's folder; where ``ecgfm fetch --records`` filled it, it holds `PART_FILE`.
    table : DataFrame
        Of the whole release.
    column : str
        Of `table`: what `PART_FILE` names.

    Returns
    -------
    DataFrame
        All of `table` where there is no `PART_FILE`.
    str
        A caution; empty where all are there.

    Raises
    ------
    EcgfmError
        If `PART_FILE` names none of the records.
    """
    path = folder.root / PART_FILE
    if not path.is_file():
        return table, ""
    text = folder.read(path, where=str(path), limit=_MOST_TABLE).decode("utf-8", "replace")
    names = {line.strip() for line in text.splitlines() if not line.startswith("#")}
    here = table[table[column].isin(names)]
    if here.empty:
        raise EcgfmError(f"{path}: it names none of the {len(table)} records of the table.")
    return here, f"Part of the release: the first {len(here)} of {len(table)} records, as {PART_FILE} says."
