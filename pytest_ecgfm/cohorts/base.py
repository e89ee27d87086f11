"""What every cohort offers, however it is stored."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pytest_ecgfm.cohorts.label_table import built_in_labels
from pytest_ecgfm.cohorts.read_ahead import read_ahead
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import RecordBatch, Recording, leads_in_words

if TYPE_CHECKING:
    # Otherwise where a table is made: every start imports this module, and most end before the first table.
    import pandas as pd

    from pytest_ecgfm.cards.facts import Facts


LABELS = {name: one.meaning for name, one in built_in_labels().items()}
"""Built-in labels and what they mean; a cohort may get further columns of labels (`endpoints.with_labels`)."""

CONTINENTS = ("Africa", "Asia", "Europe", "North America", "Oceania", "South America")


_Shape = tuple[tuple[int, ...], tuple[str, ...], float]


@dataclass(frozen=True)
class PublishedSplit:
    """The fold numbers that a cohort's authors recommend."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def _require_split_by_patient(name: str, table: "pd.DataFrame", split: PublishedSplit) -> None:
    """Refuse folds that put one patient into two parts."""
    import pandas as pd

    part = pd.Series(pd.NA, index=table.index, dtype="object")
    for word in ("train", "validation", "test"):
        part[table["fold"].isin(getattr(split, word)).to_numpy(dtype=bool, na_value=False)] = word
    known = table["patient"].notna() & part.notna()
    where = part[known].groupby(table["patient"][known].astype(str), sort=False)
    several = where.nunique()
    several = several[several > 1]
    if len(several):
        patient = several.index[0]
        records = where.get_group(patient)
        first = [f"{word} (record {records.index[records == word][0]})" for word in dict.fromkeys(records)]
        more = f", and {len(several) - 1} more patients" if len(several) > 1 else ""
        raise EcgfmError(
            f"cohort {name}: fold: patient {patient} is in {' and in '.join(first)}{more}; a split must be by patient."
        )


@dataclass(frozen=True)
class StatedCodes:
    """The codes that annotators stated of each record.

    Attributes
    ----------
    vocabulary : str
        One of `harmonise.VOCABULARIES`.
    sure, doubtful : mapping of str to frozenset of str
        By record: what is stated, and what is stated with reservation.
    source : str or mapping of str to str
        Where the records come from, as in ``labels/vocabulary.csv``; one for all, or one a record.
    classes : mapping of str to tuple of str
        Codes of each class of codes that the cohort publishes, by the class's name (`scp_classes`).
    """

    vocabulary: str
    sure: Mapping[str, frozenset[str]]
    doubtful: Mapping[str, frozenset[str]]
    source: str | Mapping[str, str]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def source_of(self, record: str) -> str:
        """Return where a record comes from."""
        return self.source if isinstance(self.source, str) else self.source[record]


class Cohort(ABC):
    """One published data set: identities, labels and signals.

    Parameters
    ----------
    name : str
        Such as ``"ptb-xl"``.
    continent : str
        One of `CONTINENTS`.
    table : DataFrame
        Indexed by record (str, unique), with columns ``patient`` (str), ``age`` (years, NaN where unknown),
        ``sex`` (``"F"``, ``"M"`` or ``""``) and ``fold`` (nullable integer, missing where none is published).
    labels : DataFrame
        It has the same index, and a column of pandas' ``boolean`` type for each of `LABELS`: true, false or missing
        (unknown). A label without a column is unknown.
    sampling_rate : float
        In Hz, as stored.
    has_patients : bool
        Whether `table` contains real patient identifiers. If they are not published, each record counts as a patient,
        and reports say so.
    split : PublishedSplit, optional
        The authors' folds.
    codes : StatedCodes, optional
        What the annotators stated about each record, if they used a vocabulary.
    columns : DataFrame, optional
        Text, indexed as `table`: further columns of the cohort's own table. You can ask for them as labels.

    Raises
    ------
    EcgfmError
        If a record is named twice, a column is missing, or the folds put one patient into two parts of the split.
    """

    def __init__(
        self,
        name: str,
        *,
        continent: str,
        table: "pd.DataFrame",
        labels: "pd.DataFrame",
        sampling_rate: float,
        has_patients: bool,
        split: PublishedSplit | None = None,
        codes: StatedCodes | None = None,
        columns: "pd.DataFrame | None" = None,
    ) -> None:
        import pandas as pd

        repeated = table.index[table.index.duplicated()]
        if len(repeated):
            raise EcgfmError(f"cohort {name}: record {repeated[0]!r} occurs twice; identifiers must be unique.")
        for column in ("patient", "age", "sex", "fold"):
            if column not in table.columns:
                raise EcgfmError(f"cohort {name}: the table lacks the column {column!r}.")
        self.name = name
        self.continent = continent
        self.table = table
        self.labels = labels.reindex(index=table.index, columns=list(LABELS)).astype("boolean")
        self.sampling_rate = float(sampling_rate)
        self.has_patients = has_patients
        self.split = split
        if split is not None and has_patients:
            _require_split_by_patient(name, table, split)
        self.codes = codes
        self.columns = pd.DataFrame(index=table.index) if columns is None else columns

    facts: "Facts | None" = None
    """Where it comes from, where that is stated with the cohort itself; `facts.facts_of` also knows published ones."""

    default_workers = 2
    """Threads that read ahead: one would hide decoding behind a model's work; the second hides slow drives."""

    @abstractmethod
    def _read(self, record: str) -> Recording:
        """Return one record's signals as stored."""

    @abstractmethod
    def _content_digest(self, records: Sequence[str]) -> str:
        """Return a SHA-256 over the stored content of `records`."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def records(self) -> "pd.Index":
        """Identifiers, in a fixed order."""
        return self.table.index

    @cached_property
    def leads(self) -> tuple[str, ...]:
        """Leads of the first record, which is read for this; other records may have more leads."""
        return self.read(self.records[0]).leads if len(self) else ()

    def __repr__(self) -> str:
        parts = [f"{len(self)} records"]
        if self.has_patients:
            parts.append(f"{self.patients.nunique()} patients")
        # To show an object must not fail: a file that cannot be read is an error when it is asked for.
        with suppress(EcgfmError, OSError):
            parts.append(leads_in_words(self.leads))
        parts.append(f"{self.sampling_rate:g} Hz")
        return f"<Cohort {self.name!r} ({self.continent or 'no continent stated'}): {', '.join(parts)}>"

    @property
    def patients(self) -> "pd.Series":
        """Patient of each record."""
        return self.table["patient"]

    @property
    def folds(self) -> "pd.Series":
        """Published fold of each record (missing where there is none)."""
        return self.table["fold"]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the content (not the time stamps) of every record, without the labels."""
        return self._content_digest(list(self.records))

    def read(self, record: str) -> Recording:
        """Return one record: signals ``(leads, samples)`` in mV, lead names, rate in Hz.

        Raises
        ------
        EcgfmError
            If the record is unknown, or its file cannot be used; the message names file and record.
        """
        if record not in self.table.index:
            raise EcgfmError(f"cohort {self.name}: no record {record!r} among {len(self)}.")
        return self._read(record)

    def batches(
        self, batch_size: int, records: Sequence[str] | None = None, *, workers: int | None = None
    ) -> Iterator[RecordBatch]:
        """Stream the cohort as batches; the records of a batch have the same length, rate and leads.

        Parameters
        ----------
        batch_size : int
            Largest number of records in a batch.
        records : sequence of str, optional
            Which ones; all by default.
        workers : int, optional
            Threads that read ahead; 0 for none. By default `default_workers`. The batches are the same.

        Yields
        ------
        RecordBatch
            In the cohort's order, except that a record waits until its batch (of its own length) is full.

        Raises
        ------
        EcgfmError
            If a record is unknown or its file is unusable.
        """
        names = list(self.records) if records is None else list(records)
        waiting: dict[_Shape, list[tuple[str, Recording]]] = defaultdict(list)
        held = 0
        for record, recording in read_ahead(self.read, names, self.default_workers if workers is None else workers):
            key = (recording.signals.shape, recording.leads, recording.sampling_rate)
            waiting[key].append((record, recording))
            held += 1
            # Records of rare lengths must not pile up: memory stays bounded by a few batches.
            full = key if len(waiting[key]) >= batch_size else None
            if full is None and held >= 4 * batch_size:
                full = max(waiting, key=lambda k: len(waiting[k]))
            if full is not None:
                rows = waiting.pop(full)
                held -= len(rows)
                yield self._batch(rows)
        for rows in waiting.values():
            yield self._batch(rows)

    def _batch(self, rows: list[tuple[str, Recording]]) -> RecordBatch:
        names = [name for name, _ in rows]
        first = rows[0][1]
        return RecordBatch(
            signals=np.stack([recording.signals for _, recording in rows]),
            leads=first.leads,
            sampling_rate=first.sampling_rate,
            records=tuple(names),
            ages=self.table.loc[names, "age"].to_numpy(np.float32),
            sexes=tuple(self.table.loc[names, "sex"]),
        )
