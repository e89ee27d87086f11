"""Whether each label that was asked for is known in a chosen cohort, found before the run; and what else is offered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_ecgfm.cards import CohortCard
from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.cohorts.endpoints import COLUMN, PREFIXES, Endpoint, values_of
from pytest_ecgfm.cohorts.offered import nearest_label, unused_columns
from pytest_ecgfm.cohorts.quantities import (
    AGE,
    HEART_RATE,
    PREFIX,
    is_measured,
    offered_quantities,
    quantity_values,
    require_one_scale,
    spelt,
)
from pytest_ecgfm.cohorts.stated import label_columns
from pytest_ecgfm.errors import EcgfmError, nearest
from pytest_ecgfm.run.settings import Options, Settings

if TYPE_CHECKING:
    from pytest_ecgfm.run.run import Run

_USED_BY = {
    "scp": "ptb-xl",
    "snomed": "georgia, chapman-ningbo, cpsc-2018, cpsc-extra, ptb, incart",
    "aha": "sph",
    "code": "code-15, code-test",
    "ludb": "ludb",
    "mimic": "mimic-iv-ecg",
}

_COLUMN_LAYOUTS = ("folder", "brugada-huca")
"""Layouts whose tables have columns that are labels, or quantities, when they are asked for."""


@dataclass
class Known:
    """What was found before the run.

    Attributes
    ----------
    loaded : dict of str to Cohort
        Cohorts that were loaded for it.
    notes : list of str
        What whoever asked may have meant otherwise.
    """

    loaded: dict[str, Cohort] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def require_known(settings: Settings, own: Mapping[str, CohortCard], config: pytest.Config) -> Known:
    """Refuse labels that no chosen cohort knows.

    Labels of the profile's that are built in are not looked for: there, that a cohort lacks one is a result.

    Parameters
    ----------
    settings : Settings
        Of the run.
    own : mapping of str to CohortCard
        Those chosen cohorts that fixtures declare. Their tables are not there yet: `require_columns` looks at them.
    config : pytest.Config
        Options.

    Raises
    ------
    EcgfmError
        Which label, and where it would be known; or a column holds something else than 1, 0 and empty cells, or a
        quantity a value that cannot be.
    """
    asked = (*settings.endpoints, *settings.quantities, *settings.sets)
    unused = [name for name in settings.profile.definitions.names if name not in asked]
    found = Known(notes=[f"{name} is defined, but not asked for: --ecgfm-labels={name}" for name in unused])
    found.notes += _without_quantities(settings)
    named = Options(config).names("labels") or ()
    wanted = [label for label in settings.labels if label in settings.endpoints or label in named]
    wanted += settings.quantities
    open_cards = any(not card.labels for card in own.values())
    pending = [
        label
        for label in wanted
        if not any(label in map(_spelt, card.labels) for card in own.values())
        and not (own and (label in LABELS or label in (AGE.name, HEART_RATE.name)))
        and not (open_cards and label in settings.quantities)
        and not (open_cards and COLUMN in _of(settings, label).true)
    ]
    tables = _with_columns(settings.data)
    for name in settings.cohorts if settings.data is not None else ():
        if name in own or not (pending or name in tables):
            continue
        try:
            cohort = load_cohort(name, settings.data, skip_bad=settings.skip_bad_records)
        except EcgfmError:
            # What is wrong with a cohort is for the run to say, in a row for each check.
            pending = []
            continue
        found.loaded[name] = cohort
        known_here = {label for label in (*pending, *settings.quantities) if _knows(cohort, settings, label)}
        pending = [label for label in pending if label not in known_here]
        found.notes += unused_columns(cohort, _read_columns(settings.endpoints.values()))
    if settings.data is None:
        from pytest_ecgfm.cohorts.synthetic.population import FURTHER, MODELLED

        embedded = any(name not in own for name in settings.cohorts)
        pending = [
            label for label in pending if not (embedded and label in (*MODELLED, *FURTHER, AGE.name, HEART_RATE.name))
        ]
    if pending:
        raise _unknown(pending[0], settings, found.loaded)
    _require_one_scale(settings, found.loaded)
    return found


def require_columns(run: "Run") -> None:
    """Refuse labels that no chosen cohort knows, now that the tables of fixtures are there.

    Raises
    ------
    EcgfmError
        Which label, and the nearest name.
    """
    settings = run.settings
    for label in (*settings.endpoints, *settings.quantities):
        if not any(_knows(run.cohort(name), settings, label) for name in settings.cohorts):
            raise _unknown(label, settings, {name: run.cohort(name) for name in settings.cohorts})
    _require_one_scale(settings, {name: run.cohort(name) for name in settings.cohorts} if settings.quantities else {})


def _require_one_scale(settings: Settings, cohorts: Mapping[str, Cohort]) -> None:
    """Refuse to transfer a quantity between cohorts that state it in different units."""
    if "transfer" in settings.suites:
        for quantity in settings.quantities.values():
            require_one_scale(quantity, cohorts.values())


def _of(settings: Settings, label: str) -> Endpoint:
    return settings.endpoints.get(label) or Endpoint(label, LABELS.get(label, ""), {})


def _spelt(name: str) -> str:
    return spelt(name) or name


def _without_quantities(settings: Settings) -> list[str]:
    """Say which suites leave quantities out: they have no meaning there."""
    suites = [one for one in ("stability", "relevance", "separability") if one in settings.suites]
    if not settings.quantities or not suites:
        return []
    return [f"not applicable to {', '.join(settings.quantities)}, a quantity: {', '.join(suites)}"]


def _knows(cohort: Cohort, settings: Settings, label: str) -> bool:
    if label in settings.quantities:
        quantity = settings.quantities[label]
        return is_measured(quantity, cohort) or bool(quantity_values(quantity, cohort).notna().any())
    values = values_of(settings.endpoints[label], cohort) if label in settings.endpoints else cohort.labels[label]
    return bool(values.notna().any())


def _read_columns(endpoints: Iterable[Endpoint]) -> set[str]:
    return {name for one in endpoints for part in (one.true, one.unknown) for name in part.get(COLUMN, ())}


def _with_columns(root: Path | None) -> set[str]:
    """Name the cohorts whose tables have columns that are labels if you ask for them."""
    if root is None:
        return set()
    from pytest_ecgfm.cohorts.discovery import discover

    return {name for name, one in discover(root).items() if one.layout in _COLUMN_LAYOUTS}


def _unknown(label: str, settings: Settings, loaded: Mapping[str, Cohort]) -> EcgfmError:
    """Build the error for a label that no chosen cohort knows: where it is known here, and where it would be."""
    others = _elsewhere(label, settings, loaded)
    if label in settings.quantities:
        return _unknown_quantity(label, settings, loaded, others)
    chosen = f"no chosen cohort ({', '.join(settings.cohorts)}) knows it"
    known = f" Here it is known in: {', '.join(others)}." if others else ""
    endpoint = _of(settings, label)
    used = [f"{_USED_BY[one]} ({one} codes)" for one in endpoint.true if one in _USED_BY]
    if used or label in LABELS or (label in settings.profile.label):
        if used and not others:
            known = f" It would be known in: {'; '.join(used)}."
        return EcgfmError(f"--ecgfm-labels: label {label!r}: {chosen}.{known}")
    columns = dict.fromkeys(name for cohort in loaded.values() for name in label_columns(cohort.columns))
    valid = sorted({*LABELS, *settings.profile.label, *columns})
    near = nearest_label(label)
    prefix, colon, _ = label.partition(":")
    hint = (
        nearest(prefix, PREFIXES) if colon else nearest(label, valid) or (f" Did you mean {near[0]!r}?" if near else "")
    )
    return EcgfmError(
        f"--ecgfm-labels: unknown label {label!r}: {chosen}.{known or hint} Valid: {', '.join(valid)}; codes such as "
        "scp:LVH; and columns of the chosen cohorts' tables."
    )


def _unknown_quantity(label: str, settings: Settings, loaded: Mapping[str, Cohort], others: list[str]) -> EcgfmError:
    """Build the error for a quantity that no chosen cohort states."""
    offered = dict.fromkeys(name for cohort in loaded.values() for name, _ in offered_quantities(cohort))
    plain = {name.removeprefix(PREFIX): name for name in offered}
    near = nearest(label.removeprefix(PREFIX), plain).replace(" '", f" '{PREFIX}")
    known = f" Here it is stated in: {', '.join(others)}." if others else near
    valid = f" Valid: {', '.join(offered)}; and columns of numbers in the tables of your own cohorts."
    where = ", ".join(settings.cohorts)
    return EcgfmError(f"--ecgfm-labels: quantity {label!r}: no chosen cohort ({where}) states it.{known}{valid}")


def _elsewhere(label: str, settings: Settings, loaded: Mapping[str, Cohort]) -> list[str]:
    """Name the cohorts of the data folder, not chosen, that know a label.

    A column is sought only where tables have columns: to read the table of a large cohort takes long.
    """
    if settings.data is None:
        return []
    from pytest_ecgfm.cohorts.discovery import discover, load_found

    there = discover(settings.data)
    if label in settings.quantities and label != AGE.name:
        there = {name: one for name, one in there.items() if one.layout in _COLUMN_LAYOUTS}
    out = []
    for name, one in there.items():
        if name in settings.cohorts or name in loaded:
            continue
        try:
            if _knows(load_found(one, skip_bad=settings.skip_bad_records), settings, label):
                out.append(name)
        except EcgfmError:
            continue
    return out
