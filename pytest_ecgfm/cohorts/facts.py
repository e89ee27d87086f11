"""Where each cohort comes from, as published, and who is in it, as its table says: a sheet of each cohort.

Beside the readers, and not in them: a fact that is added changes no embedding.
"""

from pathlib import Path
from typing import Any

from pytest_ecgfm.cards.facts import Facts, FolderFacts, parse_facts
from pytest_ecgfm.cards.toml_files import parse_toml
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.sources import SOURCES

CARD = "cohort.toml"
"""Beside ``labels.csv`` in a folder of one's own: what is known of where the records come from."""

BANDS = (40.0, 65.0)
"""Ages in years at which a band of the sheet begins, as the suite `subgroups` has them by default."""

_MOST_BYTES = 1_000_000
_CHALLENGE = "SNOMED CT codes of the challenge"
_CODE_DEVICES = "TEB ECGPC and Micromed ErgoPC 13"


def _published(cohort: str, **facts: str) -> Facts:
    """Return the facts of a release that can be fetched, whose licence and source are stated there."""
    held = SOURCES[cohort]
    return Facts(licence=held.licence, source=held.citation, **facts)


PUBLISHED: dict[str, Facts] = {
    "ptb-xl": _published(
        "ptb-xl",
        country="Germany",
        years="1989 to 1996",
        devices="Schiller AG",
        label_origin="SCP-ECG statements by up to two cardiologists",
    ),
    "georgia": _published("georgia", country="USA", label_origin=_CHALLENGE),
    "chapman-ningbo": _published(
        "chapman-ningbo",
        country="China",
        devices="read from a GE MUSE system",
        label_origin="statements of professional experts, as SNOMED CT codes",
    ),
    "cpsc-2018": _published("cpsc-2018", country="China", label_origin="the nine classes of the challenge of 2018"),
    "cpsc-extra": _published("cpsc-extra", country="China", label_origin=_CHALLENGE),
    "ptb": _published(
        "ptb",
        country="Germany",
        devices="prototype of the Physikalisch-Technische Bundesanstalt",
        label_origin="diagnosis of the patient, not of the record",
    ),
    "incart": _published(
        "incart",
        country="Russia",
        devices="Holter recorders",
        label_origin="diagnosis of the patient, not of the record",
    ),
    "ludb": _published(
        "ludb",
        country="Russia",
        years="2017 to 2018",
        devices="Schiller Cardiovit AT-101",
        label_origin="diagnoses by cardiologists",
    ),
    "mimic-iv-ecg": _published(
        "mimic-iv-ecg",
        country="USA",
        years="2008 to 2019",
        label_origin="the electrocardiograph's own statements, read over by nobody",
    ),
    "brugada-huca": _published("brugada-huca", country="Spain", label_origin="the hospital's diagnosis of the patient"),
    "code-15": _published(
        "code-15",
        country="Brazil",
        years="2010 to 2016",
        devices=_CODE_DEVICES,
        label_origin="reports of physicians and automatic measurements, combined by rules",
    ),
    "code-test": _published(
        "code-test",
        country="Brazil",
        years="2018",
        devices=_CODE_DEVICES,
        label_origin="two cardiologists, and a third where they disagreed",
    ),
    "sph": Facts(
        country="China",
        years="2019 to 2020",
        licence="stated at figshare, doi:10.6084/m9.figshare.c.5779802",
        label_origin="AHA statements",
        source="Liu et al. 2022, Scientific Data 9:272",
    ),
}
"""What is published of each cohort; empty where a publication does not say it."""


def facts_of(cohort: Cohort) -> Facts:
    """Return what is known of where a cohort comes from."""
    if cohort.facts is not None:
        return cohort.facts
    from pytest_ecgfm.cohorts.synthetic.specs import SPECS

    spec = SPECS.get(cohort.name)
    if spec is None:
        return PUBLISHED.get(cohort.name, Facts())
    return Facts(
        country="none: simulated",
        licence="that of this package",
        label_origin="the simulation itself, with errors of readers added",
        source=f"modelled on {spec.modelled_on}",
    )


def folder_facts(root: Path) -> FolderFacts:
    """Read what ``cohort.toml`` states of a folder; nothing where there is none.

    Raises
    ------
    EcgfmError
        If it cannot be read, or a field is not valid.
    """
    path = root / CARD
    if not (path.exists() or path.is_symlink()):
        return FolderFacts()
    folder = Folder(root)
    held = folder.read(folder.join(CARD, where=str(path)), where=str(path), limit=_MOST_BYTES)
    text = held.decode("utf-8", "replace")
    return parse_facts(parse_toml(text, str(path)), where=str(path))


def sheet(cohort: Cohort) -> dict[str, Any]:
    """Return a cohort's sheet: plain values, fit for JSON.

    Returns
    -------
    dict
        The fields of `Facts`; ``age``: how many are known, the quartiles in years, and how many there are in each
        band; ``sex``: how many F, M and unknown. Numbers count records.
    """
    from pytest_ecgfm.cohorts.groups import band_name

    facts = facts_of(cohort)
    ages = cohort.table["age"].astype(float).dropna()
    bands = [band_name(float(age), BANDS) for age in ages]
    names = [band_name(age, BANDS) for age in (0.0, *BANDS)]
    quartiles = [float(one) for one in ages.quantile([0.25, 0.5, 0.75])] if len(ages) else None
    sexes = cohort.table["sex"].astype(str)
    return {
        **{name: getattr(facts, name) for name in Facts.model_fields},
        "age": {"known": len(ages), "quartiles": quartiles, "bands": {name: bands.count(name) for name in names}},
        "sex": {name: int((sexes == value).sum()) for name, value in (("F", "F"), ("M", "M"), ("unknown", ""))},
    }
