"""Records and batches of records: signals in mV, lead names, sampling rate, identifiers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError, unknown_name

FloatArray = npt.NDArray[np.float32]

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve standard leads in their customary order."""

_CANONICAL = {lead.upper(): lead for lead in LEADS}


def canonical_lead(name: str, *, where: str = "") -> str:
    """Return the customary spelling of a lead name (``"AVR"`` becomes ``"aVR"``).

    Raises
    ------
    EcgfmError
        If the name is not one of the twelve standard leads.
    """
    try:
        return _CANONICAL[name.strip().upper()]
    except KeyError:
        raise unknown_name("lead", name, LEADS, where=where) from None


def canonical_leads(names: str | Sequence[str], *, where: str = "") -> tuple[str, ...]:
    """Return the customary spelling of several lead names, given as a sequence or separated by blanks.

    Raises
    ------
    EcgfmError
        If a name is unknown or occurs twice.
    """
    parts = names.split() if isinstance(names, str) else list(names)
    leads = tuple(canonical_lead(name, where=where) for name in parts)
    for lead in leads:
        if leads.count(lead) > 1:
            raise EcgfmError(f"{where + ': ' if where else ''}lead {lead!r} is named twice in {', '.join(leads)}.")
    return leads


def leads_in_words(leads: Sequence[str]) -> str:
    """Name a few leads, count many.

    >>> leads_in_words(("I", "II")), leads_in_words(LEADS)
    ('leads I, II', '12 leads')
    """
    return f"{len(leads)} leads" if len(leads) > 3 else f"lead{'s' if len(leads) > 1 else ''} {', '.join(leads)}"


@dataclass(frozen=True)
class Recording:
    """One record's signals.

    Attributes
    ----------
    signals : ndarray of float32, shape (leads, samples)
        In mV.
    leads : tuple of str
        Customary lead names, one for each row of `signals`.
    sampling_rate : float
        In Hz.
    """

    signals: FloatArray
    leads: tuple[str, ...]
    sampling_rate: float


@dataclass(frozen=True)
class RecordBatch:
    """Several records with the same length, rate and leads.

    Attributes
    ----------
    signals : ndarray of float32, shape (records, leads, samples)
        In mV.
    leads : tuple of str
        Customary lead names.
    sampling_rate : float
        In Hz.
    records : tuple of str
        Identifiers, one for each row of `signals`.
    ages : ndarray of float32, shape (records,)
        In years; NaN where unknown.
    sexes : tuple of str
        ``"F"``, ``"M"`` or ``""`` (unknown).
    """

    signals: FloatArray
    leads: tuple[str, ...]
    sampling_rate: float
    records: tuple[str, ...]
    ages: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))
    sexes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.records)
        if self.signals.ndim != 3 or self.signals.shape[:2] != (n, len(self.leads)):
            raise EcgfmError(
                f"signals.shape={self.signals.shape}, but should be ({n} records, {len(self.leads)} leads, samples)."
            )
        if self.ages.size == 0 and n:
            object.__setattr__(self, "ages", np.full(n, np.nan, np.float32))
        if not self.sexes and n:
            object.__setattr__(self, "sexes", ("",) * n)

    def __len__(self) -> int:
        return len(self.records)

    def rows(self, numbers: Sequence[int]) -> "RecordBatch":
        """Return some of the records, in the given order."""
        chosen = list(numbers)
        return RecordBatch(
            self.signals[chosen],
            self.leads,
            self.sampling_rate,
            tuple(self.records[row] for row in chosen),
            self.ages[chosen],
            tuple(self.sexes[row] for row in chosen),
        )


def signals_by_name(batch: RecordBatch, leads: Sequence[str], sampling_rate: float) -> FloatArray:
    """Return a batch's signals in the order of `leads`, whatever their order in the batch.

    Parameters
    ----------
    batch : RecordBatch
        At `sampling_rate`.
    leads : sequence of str
        Customary names.
    sampling_rate : float
        In Hz.

    Returns
    -------
    ndarray of float32, shape (records, leads, samples)
        In mV.

    Raises
    ------
    EcgfmError
        If a lead is missing or the rate differs.
    """
    missing = [lead for lead in leads if lead not in batch.leads]
    if missing:
        raise EcgfmError(f"the batch lacks lead {missing[0]!r}; it has {', '.join(batch.leads)}.")
    if batch.sampling_rate != sampling_rate:
        raise EcgfmError(f"the batch is sampled at {batch.sampling_rate:g} Hz, but should be at {sampling_rate:g} Hz.")
    return batch.signals[:, [batch.leads.index(lead) for lead in leads]]
