"""Quantities: a number for each record, such as age, or a numeric column of a cohort's own table.

A quantity is asked for by ``quantity:EF``, beside labels. Its column is called ``EF``, or ``EF [%]`` with the units;
``[quantity.EF]`` in a file of labels or in a profile may say more: meaning, units, columns of other names, and the
range of what is possible. Empty cells are unknown. What is no number, out of range, or seems to have other units than
the rest is an error that names the record. Heart rate is measured from the signals where no column states it.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.endpoints import require_name
from pytest_ecgfm.cohorts.stated import numeric_columns
from pytest_ecgfm.cohorts.tables import fault, known, numbers
from pytest_ecgfm.errors import EcgfmError

if TYPE_CHECKING:
    # Otherwise where a table is made: every start imports this module, and most end before the first table.
    import pandas as pd


PREFIX = "quantity:"

_HEADER = re.compile(r"(?P<name>.*\S)\s*[\[(](?P<units>[^\[\]()]{1,20})[\])]")

MIXED = 5.0
"""Factor by which a few values lie apart from all others, where they have other units or a misplaced comma."""

_COMPACT = 20.0  # largest over smallest of the others: a quantity that spans more, such as NT-proBNP, has no such gap
_FEW = 0.25  # share of the values that may be those of other units
_LEAST = 10  # values from which on anything is said of their units


class QuantityDefinition(BaseModel):
    """``[quantity.NAME]`` of a profile or of a file of labels, as written."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", str_strip_whitespace=True)

    meaning: str = Field("", max_length=200)
    units: str = Field("", max_length=20)
    column: tuple[str, ...] = ()
    low: float | None = Field(None, allow_inf_nan=False)
    high: float | None = Field(None, allow_inf_nan=False)


@dataclass(frozen=True)
class Quantity:
    """A quantity that was asked for.

    Attributes
    ----------
    name : str
        With its prefix: ``quantity:EF``.
    meaning : str
        In words.
    units : str
        As declared; where that is empty, a cohort's header says them.
    columns : tuple of str
        Columns that hold it, without their units; empty for age.
    low, high : float or None
        What is possible, both allowed; None where nothing was declared.
    """

    name: str
    meaning: str
    units: str
    columns: tuple[str, ...]
    low: float | None = None
    high: float | None = None


AGE = Quantity(f"{PREFIX}age", "age", "years", ())
"""Of each record, in every cohort that states it. Its range is checked where tables are read."""

HEART_RATE = Quantity(f"{PREFIX}heart_rate", "heart rate", "bpm", ("heart_rate",))
"""Of each record: as a column states it, or else as it is measured from the signals."""


def is_measured(quantity: Quantity, cohort: Cohort) -> bool:
    """Say whether a quantity is measured from a cohort's signals: heart rate is, where no column states it."""
    return quantity.name == HEART_RATE.name and not _columns_of(quantity, cohort)


def spelt(name: str) -> str:
    """Return the name of a quantity as checks have it; an empty text where the name is no quantity's."""
    if name in ("age", AGE.name):
        return AGE.name
    return f"{PREFIX}{name.removeprefix(PREFIX).strip()}" if name.startswith(PREFIX) else ""


def quantity_of(name: str, definitions: Mapping[str, QuantityDefinition], *, where: str) -> Quantity:
    """Return a quantity by its name (`spelt`).

    Raises
    ------
    EcgfmError
        If the name is empty, or its definition is not valid.
    """
    if name == AGE.name:
        return AGE
    plain = name.removeprefix(PREFIX)
    if not plain:
        raise EcgfmError(f"{where}: {PREFIX} needs the name of a column, such as {PREFIX}EF.")
    require_name(plain, where=where)
    if plain in definitions:
        return defined_quantity(plain, definitions[plain], where=where)
    if name == HEART_RATE.name:
        return HEART_RATE
    return Quantity(name, f"column {plain} of the cohort's own table", "", (plain,))


def defined_quantity(name: str, definition: QuantityDefinition, *, where: str) -> Quantity:
    """Return the quantity that a definition makes.

    Raises
    ------
    EcgfmError
        If the name is taken, the range is empty, or heart rate gets other units.
    """
    place = f"{where}: quantity.{name}"
    require_name(name, where=where)
    if name == "age":
        raise EcgfmError(f"{place}: age is built in; choose another name.")
    own = HEART_RATE if f"{PREFIX}{name}" == HEART_RATE.name else None
    if own is not None and definition.units not in ("", own.units):
        raise EcgfmError(f"{place}.units: {name} is in {own.units}, as it is measured; choose another name.")
    low, high = definition.low, definition.high
    if low is not None and high is not None and low >= high:
        raise EcgfmError(f"{place}: low = {low:g} should be below high = {high:g}.")
    meaning = definition.meaning or (own.meaning if own else f"column {name} of the cohort's own table")
    units = own.units if own else definition.units
    return Quantity(f"{PREFIX}{name}", meaning, units, definition.column or (name,), low, high)


def split_header(column: str) -> tuple[str, str]:
    """Return a column's name and its units, which may follow in brackets: ``EF [%]``.

    >>> split_header("EF [%]"), split_header("K (mmol/l)"), split_header("LVH")
    (('EF', '%'), ('K', 'mmol/l'), ('LVH', ''))
    """
    found = _HEADER.fullmatch(column)
    return (found["name"], found["units"].strip()) if found else (column, "")


def _columns_of(quantity: Quantity, cohort: Cohort) -> list[str]:
    return [one for one in map(str, cohort.columns) if {one, split_header(one)[0]} & set(quantity.columns)]


def units_of(quantity: Quantity, cohort: Cohort) -> str:
    """Return the units of a quantity in a cohort; empty where nothing states them.

    Raises
    ------
    EcgfmError
        If a header has other units than those that are declared, or than another column of the quantity.
    """
    stated = {column: split_header(column)[1] for column in _columns_of(quantity, cohort)}
    units = quantity.units or next(filter(None, stated.values()), "")
    for column, one in stated.items():
        if one and one != units:
            raise EcgfmError(f"{_file(cohort)}: column {column!r}: the units of {quantity.name} should be {units!r}.")
    return units


def quantity_values(quantity: Quantity, cohort: Cohort) -> "pd.Series":
    """Return a quantity for each record of a cohort, as float; NaN where it is unknown.

    What is measured from signals (`is_measured`) is unknown here: no table holds it.

    Raises
    ------
    EcgfmError
        If a value is no number, out of the declared range, or apart from all others, where none was declared; or two
        columns disagree. Names the record.
    """
    if quantity == AGE:
        return cohort.table["age"].astype(float)
    import pandas as pd

    units_of(quantity, cohort)
    found = pd.Series(np.nan, cohort.records, dtype=float)
    low = -math.inf if quantity.low is None else quantity.low
    high = math.inf if quantity.high is None else quantity.high
    path = _file(cohort)
    for column in _columns_of(quantity, cohort):
        values = pd.Series(numbers(cohort.columns, column, path, low=low, high=high, empty=True), cohort.records)
        clash = found.notna() & values.notna() & (found != values)
        if clash.any():
            record = str(clash.index[clash][0])
            raise EcgfmError(f"{path}: record {record!r}: two columns of {quantity.name} disagree, one is {column!r}.")
        if quantity.low is None and quantity.high is None:
            _require_one_unit(values, column, quantity, path)
        found = found.fillna(values)
    return found


def _require_one_unit(values: "pd.Series", column: str, quantity: Quantity, path: Path) -> None:
    """Refuse a few values that lie apart from all others by a large factor: other units, or a misplaced comma."""
    positive = values[values > 0].sort_values()
    if positive.size < _LEAST:
        return
    sizes = positive.to_numpy(float)
    ratios = sizes[1:] / sizes[:-1]
    gap = int(np.argmax(ratios)) + 1
    small, large = sizes[:gap], sizes[gap:]
    few, others = (small, large) if small.size < large.size else (large, small)
    if ratios[gap - 1] < MIXED or others[-1] / others[0] > _COMPACT or few.size > _FEW * sizes.size:
        return
    odd = positive.index[:gap] if few is small else positive.index[gap:]
    name = quantity.name.removeprefix(PREFIX)
    more = f" ({odd.size} such records)" if odd.size > 1 else ""
    raise fault(
        path,
        odd[0],
        column,
        f"{positive[odd[0]]:g}",
        f"of the size of all others, {others[0]:g} to {others[-1]:g}: are units mixed?{more} Correct it, or declare "
        f"what is possible: [quantity.{name}], low = ..., high = ...",
    )


def require_one_scale(quantity: Quantity, cohorts: Iterable[Cohort]) -> None:
    """Refuse a quantity that cohorts state in different units: a probe of one would be worth nothing in another.

    Raises
    ------
    EcgfmError
        Which cohorts, and their units; or, where none states any, medians that differ by a factor of `MIXED`.
    """
    if quantity == AGE:
        return
    units, middles = {}, {}
    for cohort in cohorts:
        # A cohort may have the column, and no value in it.
        values = quantity_values(quantity, cohort).dropna()
        if is_measured(quantity, cohort) or values.size:
            units[cohort.name] = units_of(quantity, cohort)
            middles[cohort.name] = float(values.median()) if values.size else math.nan
    name = quantity.name.removeprefix(PREFIX)
    mend = f"transfer needs one. Mend a table, or declare [quantity.{name}], units = ..."
    if len(set(units.values())) > 1:
        words = ", ".join(f"{cohort} in {one or 'none'}" for cohort, one in units.items())
        raise EcgfmError(f"{quantity.name}: units differ: {words}; {mend}")
    if any(units.values()) or quantity.low is not None or quantity.high is not None:
        return
    sizes = sorted((value, cohort) for cohort, value in middles.items() if value > 0)
    if sizes and sizes[-1][0] >= MIXED * sizes[0][0]:
        words = ", ".join(f"{cohort} {value:g}" for value, cohort in (sizes[0], sizes[-1]))
        raise EcgfmError(f"{quantity.name}: no units are stated, and medians are far apart: {words}; {mend}")


def offered_quantities(cohort: Cohort) -> Iterator[tuple[str, str]]:
    """Yield the quantities that a cohort offers, each with how many records have it, its range and its units.

    What is measured from the signals is told without them: who asks may not want them read.
    """
    columns = numeric_columns(cohort.columns)
    named = [AGE, *(Quantity(PREFIX + split_header(one)[0], "", "", (one,)) for one in columns)]
    for quantity in named:
        values = cohort.table["age"] if quantity == AGE else _plain_numbers(cohort.columns[quantity.columns[0]])
        there = values.dropna()
        if len(there):
            units = AGE.units if quantity == AGE else split_header(quantity.columns[0])[1]
            yield quantity.name, f"{len(there)} ({there.min():g} to {there.max():g}{f' {units}' if units else ''})"
    if is_measured(HEART_RATE, cohort):
        yield HEART_RATE.name, f"measured from the signals ({HEART_RATE.units})"


def _plain_numbers(column: "pd.Series") -> "pd.Series":
    return column.map(lambda text: float(text) if known(text) else math.nan).astype(float)


def _file(cohort: Cohort) -> Path:
    return Path(cohort.columns.attrs.get("file", f"cohort {cohort.name}"))
