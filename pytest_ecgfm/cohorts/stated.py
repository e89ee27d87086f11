"""What users state about records of their own: patients, ages, sexes, folds and labels, from a file or a data frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pytest_ecgfm.cohorts.base import LABELS, PublishedSplit
from pytest_ecgfm.cohorts.tables import NUMBER, by_field, choices, cohort_table, known, numbers
from pytest_ecgfm.errors import EcgfmError

if TYPE_CHECKING:
    # Otherwise where a table is made: every start imports this module, and most end before the first table.
    import pandas as pd


COLUMNS = ("patient", "age", "sex", "fold", *LABELS)
"""Columns with a meaning of their own; any other one can be a label when it is asked for."""

_SEXES = {"": "", "m": "M", "male": "M", "f": "F", "female": "F"}
# pandas writes a column of 1 and 0 with a gap as 1.0 and 0.0; R writes TRUE and FALSE; people write yes and no.
_VALUES = {
    "": "",
    **dict.fromkeys(("1", "1.0", "true", "yes"), "1"),
    **dict.fromkeys(("0", "0.0", "false", "no"), "0"),
}
_NAMED_FOLDS = {
    **dict.fromkeys(("train", "training"), "1"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "2"),
    **dict.fromkeys(("test", "testing"), "3"),
}
_DISTINCT = 3
_PATIENT = "an identifier; where patients are unknown (empty, nan, None, NA), leave the column out"


@dataclass(frozen=True)
class Stated:
    """What a `Cohort` wants to know of its records: its arguments of these names."""

    table: "pd.DataFrame"
    labels: "pd.DataFrame"
    has_patients: bool
    split: PublishedSplit | None


def further_columns(rows: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """Return the columns that mean nothing until they are asked for as labels; they remember their file."""
    out = rows[[name for name in rows if name not in (*COLUMNS, "record")]].copy()
    out.attrs["file"] = str(path)
    return out


def label_columns(columns: "pd.DataFrame") -> list[str]:
    """Name the columns that can be labels: they hold 1, 0 and empty cells, and 1 once at least."""
    out = []
    for name in columns:
        found = {_VALUES.get(known(text.lower())) for text in set(columns[name])}
        if "1" in found and None not in found:
            out.append(str(name))
    return out


def numeric_columns(columns: "pd.DataFrame") -> list[str]:
    """Name the columns that can be quantities: they hold numbers, three different ones at least, and empty cells."""
    out = []
    for name in columns:
        texts = {known(text) for text in set(columns[name])} - {""}
        if len(texts) >= _DISTINCT and all(NUMBER.fullmatch(text) for text in texts):
            out.append(str(name))
    return out


def flags(rows: "pd.DataFrame", column: str, path: Path) -> "pd.Series":
    """Return a column of 1, 0 and empty cells as true, false and missing.

    Raises
    ------
    EcgfmError
        If it holds anything else; names the record.
    """
    import pandas as pd

    stated = choices(rows, column, path, _VALUES, any_case=True)
    return pd.Series(
        pd.array([pd.NA if text == "" else text == "1" for text in stated], dtype="boolean"), index=rows.index
    )


def require_label(rows: "pd.DataFrame", path: Path) -> None:
    """Refuse a table without any column that is, or can be, a label or a quantity.

    Raises
    ------
    EcgfmError
        Which columns would be labels.
    """
    further = further_columns(rows, path)
    if not any(label in rows for label in LABELS) and not label_columns(further) and not numeric_columns(further):
        raise EcgfmError(
            f"{path}: no column is a label. Valid: {', '.join(LABELS)}, and columns of any name that contain 1, 0 and "
            "empty cells, or numbers."
        )


def read_stated(rows: "pd.DataFrame", path: Path) -> Stated:
    """Read the columns that are there.

    Parameters
    ----------
    rows : DataFrame of str
        Indexed by record; any of `COLUMNS`. Labels are 1, 0 or empty for unknown; a label without a column is unknown.
        In every column ``nan``, ``None``, ``NA`` and the like are empty (`tables.known`), and words may be in capitals.
    path : Path
        For messages.

    Raises
    ------
    EcgfmError
        If a value is malformed; names record and column.
    """
    import pandas as pd

    records = list(rows.index)
    labels = pd.DataFrame({label: pd.array([pd.NA] * len(rows), dtype="boolean") for label in LABELS}, rows.index)
    for label in (label for label in LABELS if label in rows):
        labels[label] = flags(rows, label, path)
    folds, split = _folds(rows, path)
    has_patients = "patient" in rows
    if has_patients:
        by_field(bool, rows, "patient", path, _PATIENT)
    table = cohort_table(
        records,
        patients=list(rows["patient"]) if has_patients else None,
        ages=numbers(rows, "age", path, low=0, high=120, empty=True) if "age" in rows else np.full(len(rows), np.nan),
        sexes=choices(rows, "sex", path, _SEXES, any_case=True) if "sex" in rows else [""] * len(rows),
        folds=folds,
    )
    return Stated(table, labels, has_patients, split)


def _folds(rows: "pd.DataFrame", path: Path) -> tuple[list[int] | None, PublishedSplit | None]:
    """Return the fold of each record and which are for what; None without the column."""
    if "fold" not in rows:
        return None, None
    table = rows.assign(fold=[_NAMED_FOLDS.get(text.lower(), known(text)) for text in rows["fold"]])
    values = numbers(table, "fold", path, low=0, high=1000)
    if (values % 1).any():
        raise EcgfmError(f"{path}: fold should contain whole numbers, or train, validation and test.")
    folds = values.astype(int).tolist()
    distinct = sorted(set(folds))
    if len(distinct) < 3:
        raise EcgfmError(f"{path}: fold has {len(distinct)} values; training, validation and test need three.")
    return folds, PublishedSplit(train=tuple(distinct[:-2]), validation=(distinct[-2],), test=(distinct[-1],))
