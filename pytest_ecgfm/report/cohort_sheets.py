"""A sheet of each cohort: where it comes from, who is in it, who made its labels, and which models have seen it."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from pytest_ecgfm.cohorts.overview import age_in_words, sex_in_words
from pytest_ecgfm.report.layout import NOTHING, stacked
from pytest_ecgfm.report.loaded import Loaded
from pytest_ecgfm.report.words import element

_NOT_STATED = element("span", "not stated", class_="soft")
_HEADS = (
    "",
    "recorded",
    "devices",
    "licence",
    "records, patients",
    "age",
    "sex",
    "labels from",
    "labels unknown",
    "in pretraining",
    "source",
)


def cohort_sheets(run: Loaded) -> Markup:
    """Tabulate the cohorts; of a run of before it kept sheets, what it kept."""
    rows = [_row(run, name, note) for name in run.cohorts if (note := run.cohort_notes.get(name)) is not None]
    return stacked(_HEADS, rows, "cohorts") if rows else NOTHING


def _row(run: Loaded, name: str, note: Mapping[str, Any]) -> list[object]:
    held = note.get("sheet")
    sheet: Mapping[str, Any] = held if isinstance(held, Mapping) else {}
    place = ", ".join(str(one) for one in (sheet.get("country"), note.get("continent"), sheet.get("years")) if one)
    return [
        name,
        place or _NOT_STATED,
        _said(sheet, "devices"),
        _said(sheet, "licence"),
        _counted(note),
        _people(sheet, note),
        _sexes(sheet),
        _said(sheet, "label_origin"),
        _unknown(run, note),
        _seen(run, name),
        _said(sheet, "source"),
    ]


def _said(sheet: Mapping[str, Any], name: str) -> object:
    return str(sheet.get(name) or "") or _NOT_STATED


def _counted(note: Mapping[str, Any]) -> str:
    patients = note.get("patients")
    who = "patients not published" if patients is None else f"{patients} patients"
    return f"{note.get('records', 'unknown')} records, {who}"


def _people(sheet: Mapping[str, Any], note: Mapping[str, Any]) -> object:
    try:
        return age_in_words(sheet["age"], int(note["records"]))
    except (KeyError, TypeError, ValueError):
        return _NOT_STATED


def _sexes(sheet: Mapping[str, Any]) -> object:
    try:
        return sex_in_words(sheet["sex"])
    except (KeyError, TypeError, ValueError):
        return _NOT_STATED


def _unknown(run: Loaded, note: Mapping[str, Any]) -> object:
    """Say in which share of the records each evaluated label is unknown."""
    held, records = note.get("unknown"), note.get("records")
    if not isinstance(held, Mapping) or not isinstance(records, int) or records < 1:
        return _NOT_STATED
    return ", ".join(f"{label} {100 * held[label] / records:.0f} %" for label in run.labels if label in held)


def _seen(run: Loaded, cohort: str) -> str:
    """Say of each model whether it saw a cohort in pretraining."""
    words = []
    for model in run.models:
        card = run.encoder_notes.get(model, {}).get("card")
        perhaps = isinstance(card, Mapping) and cohort in (card.get("possibly_pretrained_on") or ())
        word = "possibly seen" if perhaps else run.exposure(model, cohort).replace("unknown", "not known")
        words.append(word if len(run.models) == 1 else f"{model}: {word}")
    return ", ".join(words)
