"""The table of built-in labels, ``labels/labels.csv``. A further label is one row there and its rows in vocabularies.

Columns: ``label``; ``meaning``; ``leads``, where cardiology looks for it (``all`` for a label of rate alone, empty
where there is no such place); ``implies``, labels that are true wherever this one is. Leads are those that Shapley
values explain (aVL follows from I and II); sources are in `pytest_ecgfm.evaluations.relevance`.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

from pytest_ecgfm.errors import EcgfmError, unknown_name
from pytest_ecgfm.signals.records import LEADS

EVERY_LEAD = "all"
"""Stands in the column ``leads`` for a label that each lead shows alike."""

_LEADS = tuple(lead for lead in LEADS if lead not in ("III", "aVR", "aVL", "aVF"))


@dataclass(frozen=True)
class BuiltIn:
    """One row of the table of labels."""

    label: str
    meaning: str
    leads: tuple[str, ...]
    implies: tuple[str, ...]


def table_rows(file: str, columns: Iterable[str]) -> list[dict[str, str]]:
    """Return the rows of a table in ``labels/``.

    Raises
    ------
    EcgfmError
        If it has other columns; names the line.
    """
    text = files("pytest_ecgfm.cohorts.labels").joinpath(file).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    for number, row in enumerate(rows, start=2):
        if set(row) != set(columns) or None in row.values():
            raise EcgfmError(f"labels/{file}: line {number}: should have the columns {', '.join(columns)}.")
    return rows


@lru_cache
def built_in_labels() -> Mapping[str, BuiltIn]:
    """Return the built-in labels by name, in their customary order.

    Raises
    ------
    EcgfmError
        If a row names a lead or a label that there is not.
    """
    out: dict[str, BuiltIn] = {}
    for row in table_rows("labels.csv", ("label", "meaning", "leads", "implies")):
        leads, implies = tuple(row["leads"].split()), tuple(row["implies"].split())
        out[row["label"]] = BuiltIn(row["label"], row["meaning"], leads, implies)
    for one in out.values():
        where = f"labels/labels.csv: {one.label}"
        for lead in one.leads:
            if lead not in (*_LEADS, EVERY_LEAD):
                raise unknown_name("lead", lead, (*_LEADS, EVERY_LEAD), where=where)
        for label in one.implies:
            if label not in out:
                raise unknown_name("label", label, out, where=where)
    return MappingProxyType(out)
