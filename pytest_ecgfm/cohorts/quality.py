"""What is wrong with a record's signals: measured for each record, never mended and never passed over."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.signals.records import LEADS, FloatArray, Recording

CLIPPED_SECONDS = 0.02
"""A lead that stays at its own extreme for so long, and for five samples at least, is clipped."""

_CLIPPED_SAMPLES = 5


class Quality(TypedDict):
    """Measures of one record.

    Attributes
    ----------
    padding_start, padding_end : int
        Samples at either end at which every lead is exactly 0.
    flat_leads : tuple of str
        Leads that never change (padding and NaN left out).
    nan_samples : int
        Of all leads together.
    clipped_leads : tuple of str
        Leads that rest at their own highest or lowest value.
    missing_leads : tuple of str
        Standard leads that the record lacks.
    einthoven : float
        RMS of II - I - III over the RMS of I, II and III, each about its mean; NaN where one of them is missing or
        all are flat.
    goldberger : float
        The largest of the same for aVR, aVL and aVF against what I and II give, over the RMS of the three.
    """

    padding_start: int
    padding_end: int
    flat_leads: tuple[str, ...]
    nan_samples: int
    clipped_leads: tuple[str, ...]
    missing_leads: tuple[str, ...]
    einthoven: float
    goldberger: float


def padding_of(signals: FloatArray) -> tuple[int, int]:
    """Return how many samples at the start and at the end are 0 in every lead.

    Parameters
    ----------
    signals : ndarray of float32, shape (leads, samples)
        Any unit.

    Returns
    -------
    tuple of int
        Where all samples are 0: their number, and 0.
    """
    used = np.flatnonzero((signals != 0).any(axis=0))
    if not used.size:
        return signals.shape[1], 0
    return int(used[0]), int(signals.shape[1] - 1 - used[-1])


def _longest_run(mask: npt.NDArray[np.bool_]) -> int:
    """Return the length of the longest run of true values."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _is_clipped(lead: FloatArray, sampling_rate: float) -> bool:
    """Whether a lead that is not flat rests at its highest or lowest value."""
    enough = max(_CLIPPED_SAMPLES, round(CLIPPED_SECONDS * sampling_rate))
    return any(_longest_run(lead == extreme) >= enough for extreme in (np.nanmax(lead), np.nanmin(lead)))


def _relative(residuals: list[npt.NDArray[np.float64]], leads: list[npt.NDArray[np.float64]]) -> float:
    """Return the largest RMS of `residuals` over the RMS of `leads` together, each about its mean."""
    whole = np.sqrt(np.nanmean([np.nanvar(lead) for lead in leads]))
    return float(max(np.nanstd(residual) for residual in residuals) / whole) if whole > 0 else float("nan")


def limb_residuals(recording: Recording) -> tuple[float, float]:
    """Return how far the limb leads are from Einthoven's and from Goldberger's relations; see `Quality`.

    A record as it should be has residuals of rounding alone, below 0.05.
    """
    rows = dict(zip(recording.leads, recording.signals.astype(np.float64), strict=True))
    nan = float("nan")
    if not {"I", "II"} <= rows.keys() or any(np.isnan(rows[lead]).all() for lead in rows if lead in LEADS[:6]):
        return nan, nan
    one, two = rows["I"], rows["II"]
    einthoven = _relative([two - one - rows["III"]], [one, two, rows["III"]]) if "III" in rows else nan
    if not {"aVR", "aVL", "aVF"} <= rows.keys():
        return einthoven, nan
    augmented = [rows["aVR"], rows["aVL"], rows["aVF"]]
    expected = [-(one + two) / 2, one - two / 2, two - one / 2]
    return einthoven, _relative([a - b for a, b in zip(augmented, expected, strict=True)], augmented)


def quality(recording: Recording) -> Quality:
    """Measure one record.

    Parameters
    ----------
    recording : Recording
        Signals ``(leads, samples)`` in mV.

    Returns
    -------
    Quality
        Its measures.
    """
    signals = recording.signals
    start, end = padding_of(signals)
    inner = signals[:, start : signals.shape[1] - end]
    invalid = np.isnan(inner)
    flat: list[str] = []
    clipped: list[str] = []
    for name, lead, gone in zip(recording.leads, inner, invalid, strict=True):
        if gone.all() or np.nanmax(lead) == np.nanmin(lead):
            flat.append(name)
        elif _is_clipped(lead, recording.sampling_rate):
            clipped.append(name)
    einthoven, goldberger = limb_residuals(Recording(inner, recording.leads, recording.sampling_rate))
    return Quality(
        padding_start=start,
        padding_end=end,
        flat_leads=tuple(flat),
        nan_samples=int(invalid.sum()),
        clipped_leads=tuple(clipped),
        missing_leads=tuple(lead for lead in LEADS if lead not in recording.leads),
        einthoven=einthoven,
        goldberger=goldberger,
    )


def quality_table(cohort: Cohort) -> pd.DataFrame:
    """Measure every record of a cohort.

    Parameters
    ----------
    cohort : Cohort
        Read record by record.

    Returns
    -------
    DataFrame
        Indexed by record; the columns are those of `Quality`, lists of leads as text separated by blanks. Padding
        counts the samples that `Cohort.read` leaves out, too.

    Raises
    ------
    EcgfmError
        If a record cannot be read.
    """
    padding = getattr(cohort, "padding", None)
    rows = []
    for record in cohort.records:
        row: dict[str, object] = {**quality(cohort.read(record))}
        if padding is not None:
            start, end = padding(record)
            row["padding_start"] = int(str(row["padding_start"])) + start
            row["padding_end"] = int(str(row["padding_end"])) + end
        rows.append({name: " ".join(value) if isinstance(value, tuple) else value for name, value in row.items()})
    return pd.DataFrame(rows, index=cohort.records, columns=list(Quality.__annotations__))
