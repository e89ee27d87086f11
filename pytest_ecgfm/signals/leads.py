"""Leads by name."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import FloatArray

# Goldberger's and Einthoven's equations: each limb lead as a multiple of I and of II.
_FROM_I_AND_II = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}


def select_leads(signals: FloatArray, leads: Sequence[str], wanted: Sequence[str]) -> FloatArray:
    """Pick leads by name; limb leads that are absent are computed from I and II.

    Parameters
    ----------
    signals : ndarray, shape (records, leads, samples)
        In mV.
    leads : sequence of str
        Names of the rows of `signals`.
    wanted : sequence of str
        Names of the rows of the result.

    Raises
    ------
    EcgfmError
        If a lead is neither there nor computable.
    """
    position = {lead: row for row, lead in enumerate(leads)}
    if tuple(wanted) == tuple(leads):
        return signals
    rows = []
    for lead in wanted:
        if lead in position:
            rows.append(signals[:, position[lead]])
        elif lead in _FROM_I_AND_II and "I" in position and "II" in position:
            of_i, of_ii = _FROM_I_AND_II[lead]
            rows.append(of_i * signals[:, position["I"]] + of_ii * signals[:, position["II"]])
        else:
            raise EcgfmError(f"lead {lead!r} is needed, but the records have only {', '.join(leads)}.")
    return np.stack(rows, axis=1).astype(np.float32, copy=False)


def any_leads(signals: FloatArray, leads: Sequence[str], wanted: Sequence[str]) -> FloatArray:
    """Pick leads by name; where a record lacks one, or it is not finite, take the first finite lead that it has.

    Parameters
    ----------
    signals : ndarray, shape (records, leads, samples)
        In mV.
    leads, wanted : sequence of str
        Names of the rows of `signals`, and of the result.

    Returns
    -------
    ndarray of float32, shape (records, wanted, samples)
        Finite; zeros where no lead is.
    """
    out = np.zeros((len(signals), len(wanted), signals.shape[-1]), np.float32)
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(signals).all(axis=-1))
    for row, lead in enumerate(wanted):
        order = sorted(range(len(leads)), key=lambda number: leads[number] != lead)
        for record in range(len(signals)):
            first = next((number for number in order if finite[record, number]), None)
            if first is not None:
                out[record, row] = signals[record, first]
    return out
