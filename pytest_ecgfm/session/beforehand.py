"""What can be seen before a run: cohorts that cannot be read, and encoders that cannot read them."""

import inspect
from collections.abc import Mapping
from typing import Any

from pytest_ecgfm.cards import CohortCard, ModelCard
from pytest_ecgfm.cards.declarations import Declaration
from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.own import own_cohort
from pytest_ecgfm.encoders.preprocessing import lacking
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.run.settings import Settings


def look_ahead(
    settings: Settings,
    cards: Mapping[str, ModelCard],
    own: Mapping[str, tuple[Any, Declaration, CohortCard]],
    loaded: Mapping[str, Cohort],
) -> dict[str, Cohort]:
    """Load the cohorts of a run, and ask whether its encoders can read them.

    `loaded` holds those that are loaded already. A fixture that asks for other fixtures cannot be called yet: its
    cohort is made, and checked, when a test first
    needs it. Embedded cohorts are ours, and are left alone.

    Returns
    -------
    dict of str to Cohort
        What was loaded, so that it is not loaded twice.

    Raises
    ------
    EcgfmError
        One line: which file or fixture, record, patient or lead.
    """
    found: dict[str, Cohort] = dict(loaded)
    for name in settings.cohorts:
        if name in own:
            _, declaration, card = own[name]
            made = _called(declaration)
            if made is not None:
                found[name] = own_cohort(card, made[0], where=declaration.where)
            leads: tuple[str, ...] | None = card.leads
        elif settings.data is not None:
            if name not in found:
                skip_bad = settings.skip_bad_records
                found[name] = load_cohort(name, settings.data, cache=settings.cache, skip_bad=skip_bad)
            leads = _leads(found[name])
        else:
            continue
        if leads is not None:
            _require_leads(settings, cards, name, leads)
    return found


def _require_leads(settings: Settings, cards: Mapping[str, ModelCard], cohort: str, leads: tuple[str, ...]) -> None:
    # A reference of the profile's own choice is not what was asked for: its checks say that they do not apply.
    names = settings.encoders if settings.references_named else settings.models
    for name in names:
        if lead := lacking(cards[name], leads):
            option = "--ecgfm" if name in settings.models else "--ecgfm-reference"
            raise EcgfmError(
                f"{option}={name} reads lead {lead}, but the records of cohort {cohort} have only {', '.join(leads)}: "
                f"choose other cohorts with --ecgfm-cohorts{'' if name in settings.models else ', or no reference'}."
            )


def _leads(cohort: Cohort) -> tuple[str, ...] | None:
    """Return the leads of the first record; None where it is not readable: a run says so, or leaves it out."""
    try:
        return cohort.read(str(cohort.records[0])).leads
    except EcgfmError:
        return None


def _called(declaration: Declaration) -> tuple[Any] | None:
    function = declaration.function
    if inspect.isgeneratorfunction(function) or inspect.signature(function).parameters:
        return None
    try:
        return (function(),)
    except Exception:
        # Whatever it is, the fixture raises it again in the run, with its traceback.
        return None
