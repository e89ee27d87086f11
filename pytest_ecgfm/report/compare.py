"""What changed between two finished runs: AUROC on the same records, and outcomes of checks."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.statistics import Estimate
from pytest_ecgfm.evaluations.statistics.bootstrap import Interval
from pytest_ecgfm.report.escape import table_cell
from pytest_ecgfm.report.loaded import Loaded
from pytest_ecgfm.results.baseline import Baseline, change
from pytest_ecgfm.results.rounded import rounded


class Difference(NamedTuple):
    """AUROC, or R2 of a quantity, after minus before in one cohort; `problem` says why there is none."""

    cohort: str
    label: str
    records: int
    found: Estimate | Interval | None
    problem: str = ""
    positives: int = 0


def compare(before: Loaded, after: Loaded) -> Iterator[str]:
    """Say what changed, as lines of Markdown.

    AUROC is compared on identical records, paired, with its 95 % interval; where records, labels or patients differ,
    the line says how. Encoders are paired by name, or if each run tests one only.

    Parameters
    ----------
    before, after : Loaded

    Yields
    ------
    str
    """
    yield f"# {before.path.resolve().name} and {after.path.resolve().name}"
    yield ""
    yield f"verdict: {before.verdict['outcome']}, then {after.verdict['outcome']}"
    paired = pairs(before, after)
    if not paired:
        yield ""
        yield f"the two runs have no encoder in common: {', '.join(before.models)}; {', '.join(after.models)}"
    for then, now in paired:
        yield ""
        yield f"## {now}" if then == now else f"## {then}, then {now}"
        yield ""
        yield from _aurocs(before, after, then, now)
        yield ""
        yield from _outcomes(before, after, then, now)


def pairs(before: Loaded, after: Loaded) -> list[tuple[str, str]]:
    """Return which encoder of one run is which of the other: by name, or if each run tests one only."""
    same = [(name, name) for name in before.models if name in after.models]
    if not same and len(before.models) == len(after.models) == 1:
        return [(before.models[0], after.models[0])]
    return same


def differences(before: Loaded, after: Loaded, then: str, now: str) -> list[Difference] | None:
    """Compare AUROC on identical records; None where a run has no test scores.

    Parameters
    ----------
    before, after : Loaded
    then, now : str
        The encoder's name in each.
    """
    if "scores" not in before.tree or "scores" not in after.tree:
        return None
    old, new = (Baseline(run.path, run.tree) for run in (before, after))
    probe, code = new.probe, new.probe_code
    out = []
    for cohort in after.cohorts:
        for label in after.targets:
            try:
                fresh = new.scores(now, cohort, label, probe=probe, probe_code=code)
            except EcgfmError:
                continue  # too few records for a probe: there is nothing to compare
            try:
                held = old.scores(then, cohort, label, probe=probe, probe_code=code)
                found = change(fresh, held, old.name)
            except EcgfmError as error:
                out.append(Difference(cohort, label, len(fresh.records), None, str(error)))
                continue
            out.append(Difference(cohort, label, len(fresh.records), found, positives=int((fresh.targets > 0.5).sum())))
    return out


def _aurocs(before: Loaded, after: Loaded, then: str, now: str) -> Iterator[str]:
    found = differences(before, after, then, now)
    if found is None:
        yield "no AUROC to compare: a run without the downstream suite has no test scores"
        return
    yield "| cohort | label | records | AUROC (R2 of a quantity), now minus before | 95 % interval |"
    yield "| --- | --- | --- | --- | --- |"
    for one in found:
        where = f"| {one.cohort} | {one.label} | {one.records} |"
        if one.found is None:
            yield f"{where} not comparable: {table_cell(one.problem)} | |"
        else:
            value, low, high = (rounded(end, sign="+") for end in (one.found.value, one.found.low, one.found.high))
            yield f"{where} {value} | [{low}, {high}] |"


def outcomes(before: Loaded, after: Loaded, then: str, now: str) -> pd.DataFrame:
    """Return all checks of an encoder in either run.

    Returns
    -------
    DataFrame
        Indexed by check; columns ``outcome`` and ``value``, each with ``_before`` and ``_after``.
    """
    both = _checks_of(before, then).add_suffix("_before").join(_checks_of(after, now).add_suffix("_after"), how="outer")
    words = ["outcome_before", "outcome_after"]
    both[words] = both[words].fillna("not evaluated")
    return both


def _outcomes(before: Loaded, after: Loaded, then: str, now: str) -> Iterator[str]:
    both = outcomes(before, after, then, now)
    changed = both[both["outcome_before"] != both["outcome_after"]]
    yield f"{len(changed)} of {len(both)} checks have a different outcome"
    if not len(changed):
        return
    yield ""
    yield "| check | before | | now | |"
    yield "| --- | --- | --- | --- | --- |"
    for name, row in changed.iterrows():
        cells = [row["outcome_before"], _value(row["value_before"]), row["outcome_after"], _value(row["value_after"])]
        yield f"| {table_cell(str(name))} | {' | '.join(cells)} |"


def _checks_of(run: Loaded, encoder: str) -> pd.DataFrame:
    table = run.checks
    return table[table["encoder"] == encoder].set_index("check")[["outcome", "value"]]


def _value(value: float) -> str:
    return "" if pd.isna(value) else rounded(value)
