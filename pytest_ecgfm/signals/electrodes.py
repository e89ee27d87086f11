"""Electrodes and leads: what happens at one electrode shows in every lead that hangs on it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import NotApplicable
from pytest_ecgfm.signals.records import LEADS, RecordBatch

Floats = npt.NDArray[np.float64]

ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
"""The nine recording electrodes of a standard ECG; the right leg is the ground."""

_LIMBS = {
    "I": (-1.0, 1.0, 0.0),
    "II": (-1.0, 0.0, 1.0),
    "III": (0.0, -1.0, 1.0),
    "aVR": (1.0, -0.5, -0.5),
    "aVL": (-0.5, 1.0, -0.5),
    "aVF": (-0.5, -0.5, 1.0),
}
_SWAPPED = {"I": ("I", -1.0), "II": ("III", 1.0), "III": ("II", 1.0), "aVR": ("aVL", 1.0), "aVL": ("aVR", 1.0)}


def lead_matrix(leads: Sequence[str]) -> Floats:
    """Return how each lead follows from the potentials of `ELECTRODES`, shape (leads, 9).

    Einthoven's and Goldberger's limb leads; the chest leads against Wilson's central terminal, the mean of the limbs.
    """
    rows = np.zeros((len(leads), len(ELECTRODES)))
    for row, lead in zip(rows, leads, strict=True):
        if lead in _LIMBS:
            row[:3] = _LIMBS[lead]
        else:
            row[:3] = -1 / 3
            row[ELECTRODES.index(lead)] = 1.0
    return rows


def leads_of(potentials: npt.NDArray[Any], leads: Sequence[str]) -> Floats:
    """Return the leads that potentials give, shape (records, leads, samples), from (records, 9, samples) in mV."""
    return np.asarray(np.einsum("le,nes->nls", lead_matrix(leads), potentials))


def _limb_potentials(batch: RecordBatch) -> Floats:
    """Return the potentials of LA and LL against RA, shape (records, 2, samples), from any two limb leads."""
    limbs = [lead for lead in LEADS[:6] if lead in batch.leads]
    # Against RA, the potentials of LA and LL are the only unknowns.
    equations = lead_matrix(limbs)[:, 1:3]
    if np.linalg.matrix_rank(equations) < 2:
        has = ", ".join(batch.leads)
        raise NotApplicable(
            f"two limb leads are needed to know the potentials of the limbs, but the records have {has}."
        )
    # Two leads that are stored exactly, rather than a fit to all: what deviates in the others stays their own.
    first = next((a, b) for a in range(len(limbs)) for b in range(a) if abs(np.linalg.det(equations[[a, b]])) > 1e-9)
    known = batch.signals[:, [batch.leads.index(limbs[i]) for i in first]].astype(np.float64)
    return np.asarray(np.einsum("ij,njs->nis", np.linalg.inv(equations[list(first)]), known))


def electrode_lost(batch: RecordBatch, electrode: str) -> Floats:
    """Return the leads without an electrode, shape (records, leads, samples), in mV.

    A lost limb electrode takes the potential of the right arm (the amplifier's input floats to its neighbour's), so
    that the lead between the two is flat, and every lead that uses it, the chest leads by Wilson's terminal too,
    changes. A lost chest electrode leaves its lead flat.

    Raises
    ------
    NotApplicable
        If a limb electrode is lost and the records do not have two limb leads, or the electrode is not there.
    """
    out = batch.signals.astype(np.float64)
    if electrode in batch.leads:
        out[:, batch.leads.index(electrode)] = 0.0
        return out
    if electrode not in ("LA", "LL"):
        raise NotApplicable(f"electrode {electrode} is in none of the leads {', '.join(batch.leads)}.")
    number = ("LA", "LL").index(electrode)
    potential = _limb_potentials(batch)[:, number]
    column = lead_matrix(batch.leads)[:, 1 + number]
    # The leads are linear in the potentials: taking one away changes each by its share.
    return out - column[None, :, None] * potential[:, None, :]


def swapped_arms(batch: RecordBatch) -> Floats:
    """Return the leads with the arm electrodes swapped: I turns over, II and III, and aVR and aVL, change places.

    Raises
    ------
    NotApplicable
        If a lead is there without the one that takes its place, and cannot be computed.
    """
    out = batch.signals.astype(np.float64)
    for row, lead in enumerate(batch.leads):
        if lead not in _SWAPPED:
            continue
        other, sign = _SWAPPED[lead]
        if other in batch.leads:
            out[:, row] = sign * batch.signals[:, batch.leads.index(other)]
        else:
            left = _limb_potentials(batch)
            against_ra = lead_matrix([other])[0, 1:3]
            out[:, row] = sign * np.einsum("e,nes->ns", against_ra, left)
    return out


def reversed_precordials(batch: RecordBatch) -> Floats:
    """Return the leads with the chest electrodes in reverse order: V1 shows what V6 should, and so on.

    Raises
    ------
    NotApplicable
        If no chest lead is there with the one that takes its place.
    """
    out = batch.signals.astype(np.float64)
    pairs = {f"V{number}": f"V{7 - number}" for number in range(1, 7)}
    both = [lead for lead in batch.leads if pairs.get(lead) in batch.leads]
    if not both:
        raise NotApplicable(f"no two chest leads change places in the leads {', '.join(batch.leads)}.")
    for lead in both:
        out[:, batch.leads.index(lead)] = batch.signals[:, batch.leads.index(pairs[lead])]
    return out
