"""Published diagnosis codes to harmonised labels: true, false or unknown.

The tables in ``labels/`` hold one row for each code and label it bears on, with its source. Rules:

``true``
    The code makes the label true.
``unknown``
    The code leaves the label open, unless another code decides it.
``sole``
    The code makes the label true where no code of a finding accompanies it. In such a vocabulary every code without a
    row for the label is a finding, and makes the label false.
``neutral``
    In such a vocabulary: the code is no finding.
``none``
    The code is known and bears on no label.
``doubtful``
    A modifier: it turns the ``true`` of the statement it stands with into ``unknown``.

A row with a ``scope`` holds for that source only. ``labels/vocabulary.csv`` says which labels a source can express at
all; the others are unknown for each of its records. A code that no table holds may mean anything: it leaves open every
label that no other code makes true, and is counted in `Harmonised.unmapped`.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytest_ecgfm.cohorts.base import LABELS, StatedCodes
from pytest_ecgfm.cohorts.label_table import built_in_labels, table_rows
from pytest_ecgfm.errors import EcgfmError, unknown_name

if TYPE_CHECKING:
    # Otherwise where a table is made: every start imports this module, and most end before the first table.
    import pandas as pd


VOCABULARIES = ("scp_ecg", "snomed_ct", "aha", "code", "ludb", "mimic_iv_ecg")
"""Vocabularies with a table in ``labels/``."""

_RULES = ("true", "unknown", "sole", "neutral", "none", "doubtful")


@dataclass(frozen=True)
class Rule:
    """One row of a table: what one code says about one label."""

    code: str
    name: str
    label: str
    rule: str
    scope: str
    source: str
    note: str


@dataclass(frozen=True)
class Vocabulary:
    """The rows of one table.

    Attributes
    ----------
    name : str
        One of `VOCABULARIES`.
    rules : mapping of str to tuple of Rule
        By code.
    sole : frozenset of str
        Labels that have a ``sole`` rule.
    doubtful : frozenset of str
        Modifiers that make a statement doubtful.
    """

    name: str
    rules: Mapping[str, tuple[Rule, ...]]
    sole: frozenset[str]
    doubtful: frozenset[str]


@dataclass(frozen=True)
class Harmonised:
    """Labels of a cohort.

    Attributes
    ----------
    labels : DataFrame
        Indexed by record; one column of pandas' ``boolean`` type for each harmonised label.
    unmapped : mapping of str to int
        Codes that the vocabulary's table lacks, and in how many records they occur.
    notes : mapping of str to str
        For each label that the source cannot express, or expresses indirectly: how.
    codes : StatedCodes or None
        What the labels were read from.
    """

    labels: "pd.DataFrame"
    unmapped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    codes: StatedCodes | None = None


@lru_cache
def vocabulary(name: str) -> Vocabulary:
    """Return the table of a vocabulary.

    Parameters
    ----------
    name : str
        One of `VOCABULARIES`.

    Raises
    ------
    EcgfmError
        If there is no such table, or a row of it is malformed.
    """
    if name not in VOCABULARIES:
        raise unknown_name("vocabulary", name, VOCABULARIES)
    rules: dict[str, tuple[Rule, ...]] = {}
    for number, row in enumerate(table_rows(f"{name}.csv", Rule.__dataclass_fields__), start=2):
        rule = Rule(**row)
        where = f"labels/{name}.csv: line {number}"
        if rule.rule not in _RULES:
            raise unknown_name("rule", rule.rule, _RULES, where=where)
        if rule.rule not in ("none", "doubtful") and rule.label not in LABELS:
            raise unknown_name("label", rule.label, LABELS, where=where)
        if any((r.label, r.scope) == (rule.label, rule.scope) for r in rules.get(rule.code, ())):
            raise EcgfmError(f"{where}: code {rule.code!r} has two rows for label {rule.label!r}.")
        rules[rule.code] = (*rules.get(rule.code, ()), rule)
    every = [rule for group in rules.values() for rule in group]
    return Vocabulary(
        name,
        MappingProxyType(rules),
        sole=frozenset(rule.label for rule in every if rule.rule == "sole"),
        doubtful=frozenset(rule.code for rule in every if rule.rule == "doubtful"),
    )


@lru_cache
def _said_of(source: str) -> Mapping[str, tuple[str, str]]:
    """Return the rows of ``labels/vocabulary.csv`` for a source: by label, what is known and a note."""
    rows = table_rows("vocabulary.csv", ("source", "label", "known", "note"))
    return MappingProxyType({row["label"]: (row["known"], row["note"]) for row in rows if row["source"] == source})


@lru_cache
def expressible(source: str, name: str) -> Mapping[str, tuple[str, str]]:
    """Return what a source says about each label: ``yes``, ``derived`` or ``no``, and a note.

    A label is unknown unless something says that it is known: no row in the vocabulary, or none for this source in
    ``labels/vocabulary.csv``, is ``no``. A source without any row there (a user's own) is taken to express every label
    that its vocabulary has.

    Parameters
    ----------
    source : str
        Where records come from.
    name : str
        Their vocabulary; one of `VOCABULARIES`.
    """
    rules = [rule for group in vocabulary(name).rules.values() for rule in group]
    has = {rule.label for rule in rules if rule.rule in ("true", "sole") and rule.scope in ("", source)}
    said = _said_of(source)
    found: dict[str, tuple[str, str]] = {}
    for label in LABELS:
        if said.get(label, ("no",))[0] == "no" and said:
            found[label] = said.get(label, ("no", "labels/vocabulary.csv has no such row"))
        elif label not in has:
            found[label] = ("no", f"labels/{name}.csv has no such row")
        else:
            found[label] = said.get(label, ("yes", ""))
    return MappingProxyType(found)


@lru_cache(maxsize=65536)
def _decide(codes: frozenset[str], doubtful: frozenset[str], name: str, source: str) -> tuple[bool | None, ...]:
    """Return the labels, in the order of `LABELS`, of a record with these codes."""
    table = vocabulary(name)
    if not codes and not doubtful:
        return (None,) * len(LABELS)
    says: dict[str, dict[str, str]] = {}
    for code in codes | doubtful:
        says[code] = {
            rule.label: "unknown" if code in doubtful else rule.rule
            for rule in table.rules.get(code, ())
            if rule.scope in ("", source)
        }
    unmapped = any(code not in table.rules for code in says)
    known = expressible(source, name)
    decided: dict[str, bool | None] = {}
    for label in LABELS:
        rules = {code: said.get(label, "") for code, said in says.items()}
        if known[label][0] == "no":
            decided[label] = None
        elif "true" in rules.values():
            decided[label] = True
        elif unmapped:
            decided[label] = None
        elif label in table.sole:
            decided[label] = _decide_sole(rules, doubtful)
        else:
            decided[label] = None if "unknown" in rules.values() else False
    for label, one in built_in_labels().items():
        for implied in one.implies if known[label][0] != "no" else ():
            if known[implied][0] != "no" and decided[implied] is not True and decided[label] is not False:
                decided[implied] = decided[label]
    return tuple(decided.values())


def _decide_sole(rules: Mapping[str, str], doubtful: frozenset[str]) -> bool | None:
    """Return a label that a code makes true where no finding accompanies it."""
    findings = {code for code, rule in rules.items() if not rule}
    if findings - doubtful:
        return False
    if findings or "unknown" in rules.values():
        return None
    return True if "sole" in rules.values() else None


def harmonise(
    codes: Mapping[str, Collection[str]],
    name: str,
    *,
    source: str | Mapping[str, str],
    doubtful: Mapping[str, Collection[str]] | None = None,
) -> Harmonised:
    """Return the harmonised labels of records.

    Parameters
    ----------
    codes : mapping of str to collection of str
        For each record, the codes that it states. A record without codes has unknown labels: nobody has looked.
    name : str
        Vocabulary of the codes; one of `VOCABULARIES`.
    source : str or mapping of str to str
        Where the records come from, as in ``labels/vocabulary.csv``; one for all, or one a record.
    doubtful : mapping of str to collection of str, optional
        For each record, codes that it states with reservation: they can make a label unknown, but not true.

    Raises
    ------
    EcgfmError
        If there is no such vocabulary.
    """
    import pandas as pd

    table = vocabulary(name)
    uncertain = doubtful or {}
    rows: list[tuple[bool | None, ...]] = []
    held: tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]] = {}, {}
    # Most records say what others say: a set is kept once, or 800,000 of them would fill the memory.
    once: dict[frozenset[str], frozenset[str]] = {}
    unmapped: Counter[str] = Counter()
    for record, stated in codes.items():
        sure = frozenset(stated)
        unsure = frozenset(uncertain.get(record, ())) - sure
        held[0][record], held[1][record] = once.setdefault(sure, sure), once.setdefault(unsure, unsure)
        rows.append(_decide(sure, unsure, name, source if isinstance(source, str) else source[record]))
        unmapped.update(code for code in sure | unsure if code not in table.rules)
    labels = pd.DataFrame(rows, index=pd.Index(list(codes), dtype=object), columns=list(LABELS)).astype("boolean")
    sources = [source] if isinstance(source, str) else sorted(set(source.values()))
    return Harmonised(labels, dict(unmapped), _notes(sources, name), StatedCodes(name, *held, source))


def _notes(sources: list[str], name: str) -> dict[str, str]:
    """Return, for each label that not every source states outright, what `expressible` notes."""
    notes: dict[str, str] = {}
    for label in LABELS:
        said: dict[str, list[str]] = {}
        for source in sources:
            known, note = expressible(source, name)[label]
            if known != "yes":
                said.setdefault(note if known == "derived" else f"unknown: {note}", []).append(source)
        if said:
            notes[label] = "; ".join(
                note if len(who) == len(sources) else f"{', '.join(who)}: {note}" for note, who in said.items()
            )
    return notes
