"""Labels of one's own: a column of a table, a code of a vocabulary, or a definition over several.

All three are an `Endpoint`, which says for each vocabulary, and for columns, what makes the label true and what leaves
it open. Rules, for each record:

- true, where one of the codes that make it true is stated, or one of the columns is 1;
- unknown, where a code that leaves it open is stated, one that makes it true is stated with reservation, a code is
  stated that no table holds, nothing is stated at all, or the columns are empty;
- false, where none of this is so.

A label is known only where it can be: in a cohort of one of its vocabularies, and there only in sources of which at
least one record states one of the codes. Nobody looked for what nobody ever stated, and unknown is never false.
"""

import re
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pytest_ecgfm.cohorts.base import LABELS, Cohort, StatedCodes
from pytest_ecgfm.cohorts.harmonise import Vocabulary, vocabulary
from pytest_ecgfm.cohorts.scp_classes import class_key, packaged_classes
from pytest_ecgfm.cohorts.stated import flags
from pytest_ecgfm.errors import EcgfmError, nearest, unknown_name

if TYPE_CHECKING:
    # Otherwise where a table is made: every start imports this module, and most end before the first table.
    import pandas as pd


PREFIXES: Mapping[str, str] = {
    "scp": "scp_ecg",
    "snomed": "snomed_ct",
    "aha": "aha",
    "code": "code",
    "ludb": "ludb",
    "mimic": "mimic_iv_ecg",
}
"""How a vocabulary is called in a label's name and in a definition, and its table."""

COLUMN = "column"
"""In a definition, in place of a vocabulary: columns of the cohort's table."""

# Names stand in check names, pytest's ids and comma-separated options: these marks would end them.
_NAME = re.compile(r"[^\s,\[\]\"'\x00-\x1f][^,\[\]\"'\x00-\x1f]{0,79}")


@dataclass(frozen=True)
class Endpoint:
    """A label of one's own.

    Attributes
    ----------
    name : str
        Of the label.
    meaning : str
        In words.
    true, unknown : mapping of str to tuple of str
        By vocabulary (one of `PREFIXES`, or `COLUMN`): what makes the label true, and what leaves it open. A class of
        SCP-ECG statements is ``superclass:MI``.
    """

    name: str
    meaning: str
    true: Mapping[str, tuple[str, ...]]
    unknown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Definition(BaseModel):
    """``[label.NAME]`` of a profile or of a file of labels, as written."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", str_strip_whitespace=True)

    meaning: str = Field(min_length=1, max_length=200)
    true: dict[str, tuple[str, ...]] = Field(min_length=1)
    unknown: dict[str, tuple[str, ...]] = {}


def require_name(name: str, *, where: str) -> None:
    """Refuse names that no check could carry.

    Raises
    ------
    EcgfmError
        If it is longer than 80 letters, or holds a mark that separates names.
    """
    if not _NAME.fullmatch(name) or name != name.strip():
        raise EcgfmError(
            f"{where}: label {name[:80]!r}: a name has at most 80 letters, and none of the marks , [ ] \" '; a column "
            f"or a code of another name is a label by a definition: [label.NAME], true = {{ {COLUMN} = [...] }}."
        )


def defined(name: str, definition: Definition, *, where: str) -> Endpoint:
    """Return the label that a definition makes.

    Raises
    ------
    EcgfmError
        If the name is taken, or a vocabulary or a code is unknown: the nearest one is named.
    """
    place = f"{where}: label.{name}"
    require_name(name, where=where)
    if name in LABELS:
        raise EcgfmError(f"{place}: {name} is a built-in label ({LABELS[name]}); choose another name.")
    prefix, colon, _ = name.partition(":")
    if colon and prefix in PREFIXES:
        raise EcgfmError(f"{place}: a name that begins with {prefix}: is read as a code; choose another name.")
    parts: dict[str, dict[str, tuple[str, ...]]] = {}
    for key, given in (("true", definition.true), ("unknown", definition.unknown)):
        parts[key] = {}
        for prefix, codes in given.items():
            if prefix not in (*PREFIXES, COLUMN):
                raise unknown_name("vocabulary", prefix, (*PREFIXES, COLUMN), where=f"{place}.{key}")
            if not codes:
                raise EcgfmError(f"{place}.{key}.{prefix}: is empty; name at least one.")
            found = codes if prefix == COLUMN else [code_of(prefix, one, where=f"{place}.{key}") for one in codes]
            parts[key][prefix] = tuple(dict.fromkeys(found))
    return Endpoint(name, definition.meaning, parts["true"], parts["unknown"])


def code_of(prefix: str, name: str, *, where: str) -> str:
    """Return the code, or the class of codes, that a code or an exact name stands for.

    Raises
    ------
    EcgfmError
        If the vocabulary has none such: the nearest is named.
    """
    table = vocabulary(PREFIXES[prefix])
    if prefix == "scp" and (key := class_key(name, table.rules)) is not None:
        return key
    if name in table.rules:
        return name
    by_name = {rules[0].name.lower(): code for code, rules in table.rules.items()}
    if name.lower() in by_name:
        return by_name[name.lower()]
    raise EcgfmError(f"{where}: {prefix} has no code {name!r}.{_nearest_code(table, name)}")


def _nearest_code(table: Vocabulary, name: str) -> str:
    names = (rules[0].name.lower() for rules in table.rules.values())
    near = nearest(name, table.rules) or nearest(name.lower(), names)
    known = [*table.rules][:6]
    return f"{near} It has {len(table.rules)}: {', '.join(known)}, ... (labels/{table.name}.csv)."


def of_code(name: str, *, where: str) -> Endpoint | None:
    """Return the label of a code such as ``scp:LVH``; None where the name is no code's.

    Raises
    ------
    EcgfmError
        If the vocabulary has no such code.
    """
    prefix, colon, rest = name.partition(":")
    if not colon or prefix not in PREFIXES:
        return None
    code = code_of(prefix, rest.strip(), where=where)
    if (classes := packaged_classes()) and prefix == "scp" and code in classes:
        level, _, short = code.partition(":")
        spelt = short if class_key(short, vocabulary("scp_ecg").rules) == code else code
        meaning = f"{level} {short} of PTB-XL: {', '.join(classes[code])}"
        return Endpoint(f"scp:{spelt}", meaning, {prefix: (code,)})
    require_name(f"{prefix}:{code}", where=where)
    return Endpoint(f"{prefix}:{code}", vocabulary(PREFIXES[prefix]).rules[code][0].name, {prefix: (code,)})


def chosen_labels(
    names: Iterable[str], definitions: Mapping[str, Definition], *, where: str
) -> tuple[tuple[str, ...], dict[str, Endpoint]]:
    """Return the labels of a run, built-in ones first in their order, and what those of one's own are.

    A name is a built-in label, else a definition, else a code, else a column.

    Raises
    ------
    EcgfmError
        If a definition is malformed, or a code is unknown.
    """
    own: dict[str, Endpoint] = {}
    given = list(names)
    for name in given:
        if name not in LABELS:
            made = defined(name, definitions[name], where=where) if name in definitions else None
            made = made or of_code(name, where=where) or of_column(name, where=where)
            own[made.name] = made
    return (*(label for label in LABELS if label in given), *own), own


def of_column(name: str, *, where: str) -> Endpoint:
    """Return the label of a column."""
    require_name(name, where=where)
    return Endpoint(name, f"column {name} of the cohort's own table", {COLUMN: (name,)})


def values_of(endpoint: Endpoint, cohort: Cohort) -> "pd.Series":
    """Return a label of one's own for each record of a cohort: true, false or missing.

    Raises
    ------
    EcgfmError
        If a column holds something else than 1, 0 and empty; names record and column.
    """
    import pandas as pd

    stated = _by_codes(endpoint, cohort.codes, cohort.records) if cohort.codes is not None else None
    columns = _by_columns(endpoint, cohort)
    if stated is None or columns is None:
        known = columns if stated is None else stated
        return known if known is not None else pd.Series(pd.NA, cohort.records, dtype="boolean")
    return columns | stated


def _by_columns(endpoint: Endpoint, cohort: Cohort) -> "pd.Series | None":
    import pandas as pd

    wanted = [name for name in endpoint.true.get(COLUMN, ()) if name in cohort.columns]
    if not wanted:
        return None
    where = Path(cohort.columns.attrs.get("file", f"cohort {cohort.name}"))
    found = pd.Series(False, cohort.records, dtype="boolean")
    for name in wanted:
        found |= flags(cohort.columns, name, where)
    for name in (name for name in endpoint.unknown.get(COLUMN, ()) if name in cohort.columns):
        leaves_open = flags(cohort.columns, name, where).fillna(False)
        found = found.mask((leaves_open & ~found.fillna(False)).astype(bool))
    return found


def _by_codes(endpoint: Endpoint, stated: StatedCodes, records: "pd.Index") -> "pd.Series | None":
    import pandas as pd

    prefix = next(prefix for prefix, name in PREFIXES.items() if name == stated.vocabulary)
    if prefix not in endpoint.true:
        return None
    makes, leaves = (_expanded(part.get(prefix, ()), stated) for part in (endpoint.true, endpoint.unknown))
    looked_for = {stated.source_of(record) for record, said in stated.sure.items() if said & makes}
    known = vocabulary(stated.vocabulary).rules.keys()
    found: list[Any] = []
    for record in records:
        sure, doubtful = stated.sure[record], stated.doubtful[record]
        if sure & makes:
            found.append(True)
        elif (
            not (sure or doubtful)
            or stated.source_of(record) not in looked_for
            or (sure | doubtful) & leaves
            or doubtful & makes
            or not (sure | doubtful) <= known
        ):
            found.append(pd.NA)
        else:
            found.append(False)
    return pd.Series(pd.array(found, dtype="boolean"), records)


def _expanded(codes: Iterable[str], stated: StatedCodes) -> frozenset[str]:
    """Return codes, each class as the codes that it holds in this cohort."""
    return frozenset(one for code in codes for one in stated.classes.get(code, (code,)))


def with_labels(cohort: Cohort, endpoints: Iterable[Endpoint]) -> Cohort:
    """Return a cohort of the same records that has further labels.

    Raises
    ------
    EcgfmError
        As `values_of` does.
    """
    import pandas as pd

    wanted = list(endpoints)
    if not wanted:
        return cohort
    further = {one.name: values_of(one, cohort) for one in wanted}
    out = copy(cohort)
    out.labels = pd.concat([cohort.labels, pd.DataFrame(further, index=cohort.records)], axis=1)
    return out
