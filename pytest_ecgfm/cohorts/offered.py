"""Which labels of one's own a cohort offers: its columns, the statements of its annotators and their classes."""

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.cohorts.endpoints import PREFIXES, of_code
from pytest_ecgfm.cohorts.harmonise import vocabulary
from pytest_ecgfm.cohorts.stated import flags, label_columns
from pytest_ecgfm.errors import nearest


class Offer(NamedTuple):
    """A label that a cohort offers: the name to ask for it, its meaning, and the records in which it is true."""

    name: str
    meaning: str
    positives: int


def offered_columns(cohort: Cohort) -> dict[str, dict[str, int]]:
    """Return the true, false and unknown records of each column that can be a label."""
    out = {}
    for name in label_columns(cohort.columns):
        values = flags(cohort.columns, name, _file(cohort))
        out[name] = {
            "true": int(values.sum()),
            "false": int((~values).sum()),
            "unknown": int(values.isna().sum()),
        }
    return out


def offered_codes(cohort: Cohort) -> list[Offer]:
    """Return the statements of a cohort that its vocabulary has, and their classes; the commonest first."""
    stated = cohort.codes
    if stated is None:
        return []
    prefix = next(prefix for prefix, name in PREFIXES.items() if name == stated.vocabulary)
    table = vocabulary(stated.vocabulary)
    said = [stated.sure[record] for record in cohort.records]
    counts = Counter(code for codes in said for code in codes if code in table.rules)
    found: dict[str, Offer] = {}
    for code, count in counts.items():
        found[f"{prefix}:{code}"] = Offer(f"{prefix}:{code}", table.rules[code][0].name, count)
    for key, codes in stated.classes.items():
        one = of_code(f"{prefix}:{key}", where=cohort.name) if f"{prefix}:{key}" not in found else None
        members = set(codes)
        positives = sum(1 for each in said if each & members)
        if one is not None and positives:
            found[one.name] = Offer(one.name, one.meaning, positives)
    return sorted(found.values(), key=lambda one: (-one.positives, one.name))


def unused_columns(cohort: Cohort, used: Collection[str]) -> Iterator[str]:
    """Yield a note on each column that looks like a label and is not one of the run.

    Parameters
    ----------
    cohort : Cohort
        Of the run.
    used : collection of str
        Columns that the labels of the run read.
    """
    for name in label_columns(cohort.columns):
        if name not in used:
            near = nearest_label(name)
            mean = f" or do you mean {near[0]} ({near[1]})? Then call the column {near[0]}" if near else ""
            yield (
                f"{_file(cohort)}: the column {name!r} contains 1 and 0, but no label of this run reads it:"
                f" --ecgfm-labels={name} makes it a label{';' if mean else ''}{mean}"
            )


def nearest_label(name: str) -> tuple[str, str] | None:
    """Return the built-in label that a name is like, in whatever capitals, with its meaning; None where none is."""
    words = name.replace("_", " ").strip()
    by_meaning = {meaning: label for label, meaning in LABELS.items()}
    hint = nearest(words, LABELS) or nearest(words.lower(), by_meaning)
    found = hint.partition("'")[2].partition("'")[0]
    label = by_meaning.get(found, found)
    return (label, LABELS[label]) if label in LABELS else None


def _file(cohort: Cohort) -> Path:
    return Path(cohort.columns.attrs.get("file", f"cohort {cohort.name}"))
