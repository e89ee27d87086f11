"""What a verdict rests on: the cohorts in which a blocking check decided, for each label and suite."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from pytest_ecgfm.cohorts.quantities import spelt
from pytest_ecgfm.results.checks import SUITES
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.rows import Row

TOGETHER = "all together"
"""Stands for the cohort of a check that takes all cohorts as one."""

_DECIDED = ("pass", "fail")


class Planned(Protocol):
    """A cell that a run should evaluate, as a verdict sees it: a `Case`, or what a finished run says of one."""

    @property
    def encoder(self) -> str:
        """The encoder under test."""

    @property
    def check(self) -> str:
        """Kind of the check."""

    @property
    def label(self) -> str:
        """Label; empty where there is none."""

    @property
    def name(self) -> str:
        """Name of the check, with its cell."""


class BasisPart(BaseModel):
    """What ``verdict.json`` says about what one encoder's verdict rests on."""

    model_config = ConfigDict(defer_build=True, extra="ignore")

    labels: dict[str, dict[str, list[str]]] = Field(
        description="label to suite to the cohorts in which a blocking check passed or failed"
    )
    suites: dict[str, list[str]] = Field(
        description="suite to the cohorts in which any blocking check passed or failed"
    )
    gated_nowhere: dict[str, int] = Field(
        description="labels and quantities that no blocking check decided; for each, the largest number of positives, "
        "or records, tested in one cohort"
    )


@dataclass(frozen=True)
class Basis:
    """What the verdict on one encoder rests on.

    Attributes
    ----------
    labels : dict of str to dict of str to tuple of str
        Label to suite to cohorts in which a blocking check decided (passed or failed). Suites that have checks by label
        are all there, with no cohort where nothing was decided.
    suites : dict of str to tuple of str
        Suite to cohorts, over all its checks, with a label or without.
    gated_nowhere : dict of str to int
        Labels that no blocking check decided, and the most positives that were tested in one cohort.
    """

    labels: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    suites: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gated_nowhere: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return what `BasisPart` describes."""
        return {
            "labels": {label: {s: list(cohorts) for s, cohorts in by.items()} for label, by in self.labels.items()},
            "suites": {suite: list(cohorts) for suite, cohorts in self.suites.items()},
            "gated_nowhere": dict(self.gated_nowhere),
        }


def basis(encoder: str, rows: Iterable[Row], planned: Sequence[Planned] = ()) -> Basis:
    """Find what the verdict on an encoder rests on.

    Parameters
    ----------
    encoder : str
        Under test.
    rows : iterable of Row
        Of any encoder, in any order.
    planned : sequence of Planned
        What should have been evaluated: a label whose checks never ran is gated nowhere, too.

    Returns
    -------
    Basis
        Labels in the order of `planned`, then of the rows; suites in the order in which they run.
    """
    mine = [row for row in rows if row.encoder == encoder]
    asked = [(case.label, case.check.partition(".")[0]) for case in planned if case.encoder == encoder]
    asked += [(row.label, row.suite) for row in mine]
    decided = [row for row in mine if row.tier == "blocking" and row.outcome in _DECIDED]

    def cohorts(of: Iterable[Row]) -> tuple[str, ...]:
        found = {row.cohort for row in of}
        # Checks without a cohort are told only where no other check of the kind names one.
        return cohort_order(found - {""}) or ((TOGETHER,) if found else ())

    names = dict.fromkeys(suite for _, suite in asked)
    suites = [suite for suite in (*SUITES, *(one for one in names if one not in SUITES)) if suite in names]
    labels: dict[str, dict[str, tuple[str, ...]]] = {}
    for label in dict.fromkeys(label for label, _ in asked if label):
        labels[label] = {
            suite: cohorts(row for row in decided if row.label == label and row.suite == suite)
            for suite in suites
            if (label, suite) in asked
        }
    nowhere = {
        label: max((_tested(row) for row in mine if row.label == label), default=0)
        for label, by in labels.items()
        if not any(by.values())
    }
    return Basis(labels, {s: cohorts(row for row in decided if row.suite == s) for s in suites}, nowhere)


def _tested(row: Row) -> int:
    """Return the tested positives of a label, or the tested records of a quantity."""
    return row.counts.get("n_test_positive", row.counts.get("n_test", 0))


def nowhere_in_words(gated_nowhere: Mapping[str, int]) -> str:
    """Name the labels that were gated nowhere, with their positives; empty where there is none.

    >>> nowhere_in_words({"SB": 15, "STach": 9})
    'SB and STach were not gated in any cohort: 15 and 9 positives'
    >>> nowhere_in_words({"SB": 15, "quantity:EF": 90})
    'SB was not gated in any cohort: 15 positives; quantity:EF was not gated in any cohort: 90 records'
    """
    labels = {name: count for name, count in gated_nowhere.items() if not spelt(name)}
    quantities = {name: count for name, count in gated_nowhere.items() if name not in labels}
    parts = ((labels, "positive"), (quantities, "record"))
    return "; ".join(_nowhere(found, unit) for found, unit in parts if found)


def _nowhere(counted: Mapping[str, int], unit: str) -> str:
    names, counts = list(counted), [str(count) for count in counted.values()]
    verb = "was" if len(names) == 1 else "were"
    return (
        f"{_listed(names)} {verb} not gated in any cohort: {_listed(counts)} {unit if counts == ['1'] else f'{unit}s'}"
    )


def every_cohort(suites: Iterable[Sequence[str]]) -> list[str]:
    """Return the cohorts in which anything was decided, sorted."""
    return list(cohort_order({cohort for cohorts in suites for cohort in cohorts} - {TOGETHER}))


def cohorts_in_words(cohorts: Sequence[str], every: Sequence[str]) -> str:
    """Name cohorts; all of them, where they are several, by their number."""
    if len(every) < 2 or list(cohorts) != list(every):
        return ", ".join(cohorts)
    return "both cohorts" if len(every) == 2 else f"all {len(every)} cohorts"


def basis_lines(rests_on: Basis) -> list[str]:
    """Return the basis as lines of text: labels, then the suites that have no labels; what is alike on one line."""
    every = every_cohort(rests_on.suites.values())
    lines: dict[str, list[str]] = {}
    for label, by in rests_on.labels.items():
        suites: dict[tuple[str, ...], list[str]] = {}
        for suite, cohorts in by.items():
            suites.setdefault(cohorts, []).append(suite)
        parts = [
            f"{', '.join(names)} in {cohorts_in_words(cohorts, every)}" for cohorts, names in suites.items() if cohorts
        ]
        if parts and () in suites:
            parts.append(f"not gated: {', '.join(suites[()])}")
        lines.setdefault("; ".join(parts) or "not gated in any cohort", []).append(label)
    with_labels = {suite for by in rests_on.labels.values() for suite in by}
    for suite, cohorts in rests_on.suites.items():
        if suite not in with_labels:
            lines.setdefault(cohorts_in_words(cohorts, every) or "decided nowhere", []).append(suite)
    return [f"{', '.join(names)}: {text}" for text, names in lines.items()]


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
