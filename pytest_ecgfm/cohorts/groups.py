"""Groups of patients by which a run is looked at: sex, age bands, further columns of a cohort's table, and their pairs.

They are read after the embeddings are made and the probes are fitted: no encoder and no probe is told of them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.tables import known
from pytest_ecgfm.errors import EcgfmError, unknown_name

SEX, AGE = "sex", "age"
"""Columns that every cohort has, though their values may be unknown."""

AND = " x "
"""Between the columns of an intersection: ``"sex x age"``."""

MOST_GROUPS = 50
"""Values that a column of groups may have in one cohort: one with more, such as a height, tells no groups."""

Texts = npt.NDArray[np.str_]


def parts_of(column: str) -> tuple[str, ...]:
    """Return the columns of an intersection, or the one column.

    >>> parts_of("sex x age"), parts_of("device")
    (('sex', 'age'), ('device',))
    """
    return tuple(part.strip() for part in column.split(AND))


def band_name(age: float, bands: Sequence[float]) -> str:
    """Return the name of the age band that holds an age in years; empty where the age is unknown.

    >>> [band_name(age, (40, 65)) for age in (39.9, 40, 64.5, 65, float("nan"))]
    ['below 40', '40 to 64', '40 to 64', '65 and above', '']
    """
    if math.isnan(age):
        return ""
    place = sum(age >= band for band in bands)
    if place == 0:
        return f"below {bands[0]:g}"
    if place == len(bands):
        return f"{bands[-1]:g} and above"
    low, high = bands[place - 1], bands[place]
    # Ages are stated in whole years: 64.5 is 64.
    return f"{low:g} to {high - 1:g}" if float(high).is_integer() else f"{low:g} to below {high:g}"


def groups_of(cohort: Cohort, columns: Iterable[str], bands: Sequence[float]) -> dict[str, Texts]:
    """Return the group of each record, by column.

    Parameters
    ----------
    cohort : Cohort
        Of the run.
    columns : iterable of str
        ``sex``, ``age``, a column of the cohort's own table, or several of them with `AND` in between.
    bands : sequence of float
        Ages in years at which a new band begins, ascending.

    Returns
    -------
    dict of str to ndarray of str, shape (records,)
        Such as ``"sex F, age 65 and above"``; empty where the value of a column is unknown, or the cohort has no such
        column.

    Raises
    ------
    EcgfmError
        If a column has more than `MOST_GROUPS` values.
    """
    single: dict[str, Texts] = {}
    out: dict[str, Texts] = {}
    for column in columns:
        parts = parts_of(column)
        for part in parts:
            if part not in single:
                single[part] = _named(cohort, part, bands)
        whole = [", ".join(each) if all(each) else "" for each in zip(*(single[part] for part in parts), strict=True)]
        out[column] = np.array(whole, dtype=np.str_)
    return out


def _named(cohort: Cohort, column: str, bands: Sequence[float]) -> Texts:
    if column == AGE:
        values = [band_name(float(age), bands) for age in cohort.table["age"]]
    elif column == SEX:
        values = [str(sex) for sex in cohort.table["sex"]]
    elif column in cohort.columns:
        values = [" ".join(known(str(text)).split()) for text in cohort.columns[column]]
        count = len(set(values) - {""})
        if count > MOST_GROUPS:
            raise EcgfmError(
                f"cohort {cohort.name}: grid.subgroups: column {column!r} has {count} values; a column of "
                f"groups should have at most {MOST_GROUPS}."
            )
    else:
        values = [""] * len(cohort)
    return np.array([f"{column} {value}" if value else "" for value in values], dtype=np.str_)


def require_groups(columns: Sequence[str], cohorts: Mapping[str, Cohort]) -> None:
    """Refuse a column of groups that no cohort has, and one with too many values.

    Raises
    ------
    EcgfmError
        Which column, and the columns that there are.
    """
    wanted = dict.fromkeys(part for column in columns for part in parts_of(column))
    further = dict.fromkeys(str(name) for cohort in cohorts.values() for name in cohort.columns)
    for column in wanted:
        if column not in (SEX, AGE) and column not in further:
            raise unknown_name("column", column, (SEX, AGE, *further), where="grid.subgroups")
    for cohort in cohorts.values():
        groups_of(cohort, [column for column in wanted if column not in (SEX, AGE)], ())
