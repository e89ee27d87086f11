"""A user's own cohort as a fixture returns it: signals and a table, in memory or read record by record."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_ecgfm.cards import CohortCard
from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.cohorts.quantities import PREFIX, spelt, split_header
from pytest_ecgfm.cohorts.stated import COLUMNS, further_columns, read_stated, require_label
from pytest_ecgfm.cohorts.tables import keyed
from pytest_ecgfm.errors import EcgfmError, unknown_name
from pytest_ecgfm.signals.records import FloatArray, Recording

if TYPE_CHECKING:
    # Otherwise where a table is made: every start imports this module, and most end before the first table.
    import pandas as pd


class OwnCohort(Cohort):
    """A cohort that an `@ecg_cohort` fixture declares.

    Parameters
    ----------
    card : CohortCard
        Name, continent, sampling rate, leads and units of the signals.
    signals : ndarray of shape (records, leads, samples), sequence of ndarray of shape (leads, samples), or callable
        In the card's units; invalid samples are NaN or masked. A callable takes a record's name and returns an array of
        shape (leads, samples); it is called whenever a record is read, from several threads.
    table : DataFrame
        One row for each record, in the order of `signals`. The names are its index or its column ``record``. Columns
        are as in ``labels.csv`` of a folder: at least one label, and any of ``patient``, ``age``, ``sex`` and ``fold``.
    where : str
        Where the fixture is, for messages.

    Raises
    ------
    EcgfmError
        If `table` is malformed, or `signals` does not fit it.
    """

    def __init__(self, card: CohortCard, signals: Any, table: "pd.DataFrame", *, where: str) -> None:
        place = Path(f"{where}: cohort {card.name}")
        rows = _texts(table, place)
        for label in card.labels:
            # Of a quantity, the header may also hold its units.
            column = spelt(label).removeprefix(PREFIX) or label
            if column not in rows and not (spelt(label) and column in (split_header(str(one))[0] for one in rows)):
                raise unknown_name("column", column, rows.columns, where=f"{place}: labels")
        stated = read_stated(rows, place)
        if not callable(signals) and len(signals) != len(rows):
            raise EcgfmError(f"{place}: {len(signals)} signals, but the table has {len(rows)} records.")
        super().__init__(
            card.name,
            continent=card.continent,
            sampling_rate=card.sampling_rate,
            table=stated.table,
            labels=stated.labels,
            has_patients=stated.has_patients,
            split=stated.split,
            columns=further_columns(rows, place),
        )
        self.label_notes = {label: "unknown: the table has no such column" for label in LABELS if label not in rows}
        self.facts = card
        self._place = place
        self._card = card
        self._row = {str(record): row for row, record in enumerate(rows.index)}
        self._signals: Callable[[str], Any] | Sequence[Any] = signals

    def _read(self, record: str) -> Recording:
        held = self._signals
        where = f"{self._place}: record {record!r}: signals"
        try:
            signals = _filled(held(record) if callable(held) else held[self._row[record]])
        except EcgfmError:
            raise
        except Exception as error:  # Whatever a user's function raises is one line, which names the record.
            raise EcgfmError(f"{where} cannot be read ({type(error).__name__}: {error}).") from None
        leads = self._card.leads
        if signals.ndim != 2 or len(signals) != len(leads) or not signals.shape[1]:
            raise EcgfmError(f"{where}.shape={signals.shape}, but should be ({len(leads)} leads, samples).")
        return Recording(signals / np.float32(1000) if self._card.units == "uV" else signals, leads, self.sampling_rate)

    def _content_digest(self, records: Sequence[str]) -> str:
        total = hashlib.sha256(repr((self._card.leads, self.sampling_rate)).encode())
        for record in records:
            signals = self._read(record).signals
            total.update(repr((record, signals.shape)).encode() + np.ascontiguousarray(signals).tobytes())
        return total.hexdigest()


def own_cohort(card: CohortCard, returned: Any, *, where: str) -> Cohort:
    """Make a cohort of what an `@ecg_cohort` fixture returned.

    Raises
    ------
    EcgfmError
        If it is no pair of signals and table, or they are malformed.
    """
    import pandas as pd

    if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[1], pd.DataFrame):
        raise EcgfmError(
            f"{where}: cohort {card.name}: the fixture returned {type(returned).__name__}, but should return "
            "(signals, table): arrays or a function of a record's name, and a pandas data frame."
        )
    signals, table = returned
    if not callable(signals) and not isinstance(signals, np.ndarray | list | tuple):
        raise EcgfmError(
            f"{where}: cohort {card.name}: signals of type {type(signals).__name__} should be an array (records, "
            "leads, samples), a list of arrays (leads, samples), or a function of a record's name."
        )
    return OwnCohort(card, signals, table, where=where)


def _texts(table: "pd.DataFrame", place: Path) -> "pd.DataFrame":
    """Return a data frame as if it had been read from a file: text, unknown values empty, indexed by record."""
    import pandas as pd

    repeated = [name for name in COLUMNS if list(table.columns).count(name) > 1]
    if repeated:
        raise EcgfmError(f"{place}: the column {repeated[0]!r} occurs twice.")
    names = table.get("record", table.index)
    wanted = [name for name in table if name in COLUMNS or (name != "record" and _can_be_read(table, name))]
    rows = pd.DataFrame({name: [_text(value) for value in table[name]] for name in wanted}, dtype=object)
    rows["record"] = [_text(name) for name in names]
    require_label(rows, place)
    if rows.empty:
        raise EcgfmError(f"{place}: no record.")
    return keyed(rows, "record", place)


def _can_be_read(table: "pd.DataFrame", name: object) -> bool:
    """Whether a column of no meaning of its own may be text: its name stands once, and its cells are no lists."""
    import pandas as pd

    if not isinstance(name, str) or list(table.columns).count(name) > 1:
        return False
    return all(pd.api.types.is_scalar(value) for value in table[name])


def _filled(value: Any) -> FloatArray:
    """Return an array as float32, NaN where it is masked: below a mask may stand anything."""
    masked = isinstance(value, np.ma.MaskedArray)
    if masked or (isinstance(value, list | tuple) and any(isinstance(row, np.ma.MaskedArray) for row in value)):
        return np.ma.filled(np.ma.asarray(value, dtype=np.float32), np.nan)
    return np.asarray(value, dtype=np.float32)


def _text(value: Any) -> str:
    import pandas as pd

    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    # A column of whole numbers with a gap is one of floats: 1.0 is the 1 of a file.
    whole = isinstance(value, float | np.floating) and value.is_integer()
    return str(int(value)) if whole else str(value).strip()
