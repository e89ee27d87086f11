"""Records with some of their leads taken away: what Shapley values of leads are made from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import NotApplicable
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS, RecordBatch

INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""Leads from which the other four follow."""

DEPENDENT = ("III", "aVR", "aVL", "aVF")

Grouping = Literal["independent", "limb", "twelve"]


@dataclass(frozen=True)
class Player:
    """Leads that come and go together."""

    name: str
    leads: tuple[str, ...]


def players(leads: Sequence[str], grouping: Grouping = "independent") -> tuple[Player, ...]:
    """Return the players of an encoder that reads some leads.

    Parameters
    ----------
    leads : sequence of str
        Those that the encoder reads. III, aVR, aVL and aVF follow from I and II, which then are players.
    grouping : {"independent", "limb", "twelve"}
        At most eight players, so that every coalition is a possible ECG; seven, with I and II as one; or each lead that
        is read by itself, which makes limb leads that contradict each other.

    Returns
    -------
    tuple of Player
        In the customary order of leads.
    """
    if grouping == "twelve":
        return tuple(Player(lead, (lead,)) for lead in LEADS if lead in leads)
    limbs = any(lead in leads for lead in DEPENDENT)
    read = [lead for lead in INDEPENDENT if lead in leads or (limbs and lead in ("I", "II"))]
    together = tuple(lead for lead in read if lead in ("I", "II"))
    if grouping == "limb" and len(together) == 2:
        chest = [Player(lead, (lead,)) for lead in read if lead not in together]
        return (Player("limb", together), *chest)
    return tuple(Player(lead, (lead,)) for lead in read)


def coalitions(count: int) -> npt.NDArray[np.bool_]:
    """Return every subset of `count` players, shape (2 ** count, count); row s holds the bits of s."""
    numbers = np.arange(2**count)[:, None]
    return np.asarray((numbers >> np.arange(count)) & 1, dtype=np.bool_)


def with_leads(
    batch: RecordBatch, background: npt.NDArray[Any], cast: Sequence[Player], present: npt.NDArray[np.bool_]
) -> RecordBatch:
    """Return records in which only some players keep their leads.

    Parameters
    ----------
    batch : RecordBatch
        Any of the twelve leads, in any order.
    background : ndarray, shape like ``batch.signals``
        What takes the place of leads that are taken away, such as zeros, or another record.
    cast : sequence of Player
        Leads of no player are left as they are.
    present : ndarray of bool, shape (records, players)
        Who is there, record by record.

    Returns
    -------
    RecordBatch
        With everybody there, the records as they are stored. Where I or II is taken away, III, aVR, aVL and aVF are
        computed from what stands there now, so that the limb leads keep their relations.

    Raises
    ------
    NotApplicable
        If a player's lead is not in the records.
    """
    position = {lead: row for row, lead in enumerate(batch.leads)}
    missing = [lead for one in cast for lead in one.leads if lead not in position]
    if missing:
        have = f"but the records have only {', '.join(batch.leads) or 'others'}"
        raise NotApplicable(f"lead {missing[0]!r} is needed to take leads away one by one, {have}")
    signals = batch.signals.copy()
    for column, player in enumerate(cast):
        gone = np.flatnonzero(~present[:, column])
        for lead in player.leads:
            signals[gone, position[lead]] = background[gone, position[lead]]
    named = {lead for one in cast for lead in one.leads}
    followers = [lead for lead in DEPENDENT if lead in position and lead not in named]
    limb = [column for column, one in enumerate(cast) if {"I", "II"} & set(one.leads)]
    changed = np.flatnonzero(~present[:, limb].all(axis=1))
    if followers and limb and changed.size and "I" in position and "II" in position:
        pair = signals[changed][:, [position["I"], position["II"]]]
        computed = select_leads(pair, ("I", "II"), followers)
        for number, lead in enumerate(followers):
            signals[changed, position[lead]] = computed[:, number]
    return replace(batch, signals=signals)


def complete(batch: RecordBatch, read: Sequence[str] = LEADS) -> RecordBatch:
    """Return the records with all twelve leads, as far as they follow from those that are there.

    Of leads that an encoder does not `read`, only those that players of its leads may hold are kept.
    """
    wanted = [lead for lead in LEADS if lead in batch.leads]
    if "I" in batch.leads and "II" in batch.leads:
        wanted = [lead for lead in LEADS if lead in batch.leads or lead in DEPENDENT]
    kept = {*read, *(("I", "II") if set(read) & set(DEPENDENT) else ())}
    wanted = [lead for lead in wanted if lead in kept]
    return replace(batch, signals=select_leads(batch.signals, batch.leads, wanted), leads=tuple(wanted))
