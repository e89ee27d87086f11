"""What is in a cohort: counts of labels, signal quality and heart rates, for ``ecgfm cohorts``."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.cohorts.facts import sheet
from pytest_ecgfm.cohorts.folders import first_few
from pytest_ecgfm.cohorts.offered import offered_codes, offered_columns
from pytest_ecgfm.cohorts.quality import Quality, quality
from pytest_ecgfm.cohorts.quantities import Quantity, offered_quantities, quantity_values
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import Recording

RESIDUAL = 0.1
"""Limb-lead residual above which a record is named."""

RATED = 200
"""Records a group, spread over the cohort, whose heart rate is measured."""

USUAL = (0.3, 8.0)
"""Peak to peak in mV between which the median of a cohort of ECGs lies."""

FEW_CODES = 12
"""So many codes of a cohort are printed."""

_LISTS = ("flat_leads", "clipped_leads", "missing_leads")


def rate_groups(labels: pd.DataFrame) -> pd.Series:
    """Return for each record ``SB``, ``STach`` or ``others``, by its labels.

    Parameters
    ----------
    labels : DataFrame
        As in `Cohort.labels`.
    """
    groups = pd.Series("others", index=labels.index, dtype=object)
    for label in ("SB", "STach"):
        groups[labels[label].fillna(False).astype(bool)] = label
    return groups


def _rated(cohort: Cohort) -> set[str]:
    """Return the records whose heart rate is measured."""
    chosen: set[str] = set()
    for _, members in rate_groups(cohort.labels).groupby(rate_groups(cohort.labels)):
        places = np.linspace(0, len(members) - 1, min(RATED, len(members))).astype(int)
        chosen.update(str(members.index[place]) for place in places)
    return chosen


def survey(
    cohort: Cohort,
    heart_rate: Callable[[Recording], float],
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Read every record of a cohort once, and say what is found.

    Parameters
    ----------
    cohort : Cohort
        Read record by record.
    heart_rate : callable
        Given a recording without NaN, returns beats per minute.
    progress : callable, optional
        Called with the number of records done and of all.

    Returns
    -------
    DataFrame
        Indexed by record: table and labels of the cohort, ``sampling_rate``, ``samples``, the measures of
        `quality.Quality` (lists as text), ``peak_to_peak`` (mV, the median over leads), ``heart_rate`` (NaN where it
        was not measured), and ``error``: what is wrong with a record that cannot be read.
    """
    padding = getattr(cohort, "padding", None)
    rated = _rated(cohort)
    rows: list[dict[str, Any]] = []
    for done, record in enumerate(cohort.records, start=1):
        try:
            recording = cohort.read(record)
            row: dict[str, Any] = {**quality(recording)}
            if padding is not None:
                start, end = padding(record)
                row["padding_start"] += start
                row["padding_end"] += end
        except EcgfmError as error:
            rows.append({"error": str(error)})
        else:
            row |= {name: " ".join(row[name]) for name in _LISTS}
            row["peak_to_peak"] = _peak_to_peak(recording)
            row |= {"sampling_rate": recording.sampling_rate, "samples": recording.signals.shape[1], "error": ""}
            if record in rated and not row["nan_samples"]:
                row["heart_rate"] = heart_rate(recording)
            rows.append(row)
        if progress is not None:
            progress(done, len(cohort))
    columns = ["sampling_rate", "samples", *Quality.__annotations__, "peak_to_peak", "heart_rate", "error"]
    measured = pd.DataFrame(rows, index=cohort.records, columns=columns)
    return pd.concat([cohort.table, cohort.labels, measured], axis=1).rename_axis("record")


def describe(cohort: Cohort, quantities: Iterable[Quantity] = ()) -> dict[str, Any]:
    """Return what is known of a cohort without reading its signals: plain values, fit for JSON.

    Raises
    ------
    EcgfmError
        If a value of one of the quantities is not valid.
    """
    asked = {one.name: int(quantity_values(one, cohort).notna().sum()) for one in quantities}
    known = {
        label: {
            "true": int(column.sum()),
            "false": int((~column).sum()),
            "unknown": int(column.isna().sum()),
        }
        for label, column in cohort.labels.items()
    }
    return {
        "cohort": cohort.name,
        "continent": cohort.continent or None,
        "records": len(cohort),
        "patients": int(cohort.patients.nunique()) if cohort.has_patients else None,
        "published_folds": cohort.split is not None,
        "sampling_rate": cohort.sampling_rate,
        "labels": known,
        "columns": offered_columns(cohort),
        "quantities": {**{name: f"{count}" for name, count in asked.items()}, **dict(offered_quantities(cohort))},
        "codes": {one.name: {"meaning": one.meaning, "true": one.positives} for one in offered_codes(cohort)},
        "label_notes": dict(getattr(cohort, "label_notes", {})),
        "unmapped": dict(getattr(cohort, "unmapped", {})),
        "excluded": dict(getattr(cohort, "excluded", {})),
        "caution": getattr(cohort, "caution", ""),
        "sheet": sheet(cohort),
    }


def summarise(table: pd.DataFrame) -> dict[str, Any]:
    """Return the sums of a `survey`: plain values, fit for JSON."""
    bad = table["error"] != ""
    good = table[~bad]
    if good.empty:
        return {"unreadable": {str(record): str(text) for record, text in table.loc[bad, "error"].items()}}
    seconds = good["samples"] / good["sampling_rate"]
    groups = rate_groups(good[list(LABELS)])
    rates = good["heart_rate"].astype(float)
    worst = good[["einthoven", "goldberger"]].astype(float).max(axis=1)
    return {
        "sampling_rates": {f"{rate:g}": count for rate, count in sorted(Counter(good["sampling_rate"]).items())},
        "seconds": {"least": float(seconds.min()), "median": float(seconds.median()), "most": float(seconds.max())},
        "quality": {
            "flat leads": int((good["flat_leads"] != "").sum()),
            "NaN": int((good["nan_samples"] > 0).sum()),
            "clipped leads": int((good["clipped_leads"] != "").sum()),
            "zero padding": int(((good["padding_start"] > 0) | (good["padding_end"] > 0)).sum()),
            "missing leads": int((good["missing_leads"] != "").sum()),
        },
        "limb_leads": {
            "einthoven": _median(good["einthoven"]),
            "goldberger": _median(good["goldberger"]),
            "above": [str(record) for record in worst.index[worst > RESIDUAL]],
        },
        "peak_to_peak": _median(good["peak_to_peak"]),
        "heart_rate": {
            group: {"records": int(rates[groups == group].notna().sum()), "median": _median(rates[groups == group])}
            for group in ("SB", "STach", "others")
        },
        "unreadable": {str(record): str(text) for record, text in table.loc[bad, "error"].items()},
    }


def _peak_to_peak(recording: Recording) -> float:
    """Return the median over leads of the range, in mV; NaN where there are only NaN."""
    known = recording.signals[~np.isnan(recording.signals).all(axis=1)]
    return float(np.median(np.nanmax(known, axis=1) - np.nanmin(known, axis=1))) if len(known) else float("nan")


def _median(values: pd.Series) -> float | None:
    """Return the median of what is known, or None."""
    known = values.astype(float).dropna()
    return float(known.median()) if len(known) else None


def lines(about: dict[str, Any], paths: Sequence[Path] = ()) -> Iterator[str]:
    """Yield the report of one cohort.

    Parameters
    ----------
    about : dict
        From `describe` and, where signals were read, `summarise`; with ``layout``, ``alternatives`` and ``digest``.
    paths : sequence of Path
        Where it is.
    """
    where = f": {', '.join(map(str, paths))}" if paths else ""
    yield f"{about['cohort']} ({about['continent'] or 'continent not stated'}), layout {about['layout']}{where}"
    patients = "no patient identifiers" if about["patients"] is None else f"{about['patients']} patients"
    folds = "published folds" if about["published_folds"] else "no published folds"
    yield f"  {about['records']} records, {patients}, {folds}, {about['sampling_rate']:g} Hz{_lengths(about)}"
    yield from _sheet_lines(about["sheet"], about["records"])
    for word, models in about.get("pretraining", {}).items():
        if models:
            yield f"  {word} in pretraining by: {', '.join(models)}"
    for other in about["alternatives"]:
        yield f"  also here, not used: layout {other['layout']}: {', '.join(other['paths'])}"
    if about.get("digest"):
        yield f"  digest {about['digest']}"
    yield from _label_lines(about)
    if about["unmapped"]:
        codes = first_few([f"{code} ({count} records)" for code, count in about["unmapped"].items()])
        yield f"  codes that no table contains: {codes}"
    if about["excluded"]:
        left_out = first_few([f"{record} ({reason})" for record, reason in about["excluded"].items()])
        yield f"  left out: {len(about['excluded'])} records: {left_out}"
    if about["caution"]:
        yield f"  caution: {about['caution']}"
    yield from _quality_lines(about)


def _sheet_lines(told: dict[str, Any], records: int) -> Iterator[str]:
    """Yield where a cohort comes from, and who is in it."""
    place = ", ".join(part for part in (told["country"], told["years"]) if part)
    yield f"  recorded in {place or 'a place that is not stated'}; devices: {told['devices'] or 'not stated'}"
    yield f"  labels from: {told['label_origin'] or 'not stated'}; licence: {told['licence'] or 'not stated'}"
    if told["source"]:
        yield f"  source: {told['source']}"
    yield f"  age: {age_in_words(told['age'], records)}; sex: {sex_in_words(told['sex'])}"


def age_in_words(age: dict[str, Any], records: int) -> str:
    """Say how old the people of a sheet are."""
    if age["quartiles"] is None:
        return "not known"
    low, middle, high = age["quartiles"]
    bands = ", ".join(f"{name}: {count}" for name, count in age["bands"].items())
    unknown = f", unknown: {records - age['known']}" if records > age["known"] else ""
    return f"{middle:.0f} years, half of them {low:.0f} to {high:.0f} ({bands}{unknown})"


def sex_in_words(sex: dict[str, int]) -> str:
    """Say how many women and men are in a sheet."""
    known = sex["F"] + sex["M"]
    if not known:
        return "not known"
    unknown = f", unknown: {sex['unknown']}" if sex["unknown"] else ""
    return f"{100 * sex['F'] / known:.0f} % women (F: {sex['F']}, M: {sex['M']}{unknown})"


def _label_lines(about: dict[str, Any]) -> Iterator[str]:
    """Yield the counts of labels, and of what is a label when it is asked for."""
    columns = {name: counts for name, counts in about["columns"].items() if name not in about["labels"]}
    notes = {**dict.fromkeys(columns, "a column; a label if you ask for it"), **about["label_notes"]}
    width = max(8, *(len(name) + 1 for name in (*about["labels"], *columns)))
    yield f"  {'label':<{width}}{'true':>9}{'false':>9}{'unknown':>9}"
    for name, counts in (*about["labels"].items(), *columns.items()):
        note = notes.get(name, "")
        shown = f"{counts['true']:>9}{counts['false']:>9}{counts['unknown']:>9}"
        yield f"  {name:<{width}}{shown}{'  ' if note else ''}{note}"
    if about["quantities"]:
        named = first_few([f"{name} {told}" for name, told in about["quantities"].items()], few=FEW_CODES)
        yield f"  quantities, with the number of records that have them: {named}"
    if about["codes"]:
        codes = first_few([f"{name} {one['true']}" for name, one in about["codes"].items()], few=FEW_CODES)
        yield f"  codes that are labels if you ask for them, with the number of records: {codes}"


def _lengths(about: dict[str, Any]) -> str:
    if "seconds" not in about:
        return ""
    least, median, most = (about["seconds"][key] for key in ("least", "median", "most"))
    rates = about["sampling_rates"]
    several = f" ({', '.join(f'{n} at {rate} Hz' for rate, n in rates.items())})" if len(rates) > 1 else ""
    return f"{several}, " + (f"{least:g} s" if least == most else f"{least:.3g} to {most:.3g} s (median {median:.3g})")


def _quality_lines(about: dict[str, Any]) -> Iterator[str]:
    if "quality" in about:
        yield "  records with " + ", ".join(f"{name}: {count}" for name, count in about["quality"].items())
        limbs = about["limb_leads"]
        shown = {k: "unknown" if limbs[k] is None else f"{limbs[k]:.4f}" for k in ("einthoven", "goldberger")}
        yield f"  limb-lead residual, median: Einthoven {shown['einthoven']}, Goldberger {shown['goldberger']}"
        if limbs["above"]:
            yield f"  limb-lead residual above {RESIDUAL:g}: {len(limbs['above'])} records: {first_few(limbs['above'])}"
        if (size := about["peak_to_peak"]) is not None:
            odd = "" if USUAL[0] <= size <= USUAL[1] else " (unusual for an ECG: check gain and unit in the headers)"
            yield f"  peak to peak in mV, median over leads and records: {size:.3g}{odd}"
        rates = [
            f"{group} {found['median']:.0f} ({found['records']} records)"
            for group, found in about["heart_rate"].items()
            if found["median"] is not None
        ]
        yield f"  heart rate in bpm, median: {', '.join(rates) or 'not measured'}"
    if about.get("unreadable"):
        yield f"  cannot be read: {len(about['unreadable'])} records: {first_few(about['unreadable'].values(), few=1)}"
