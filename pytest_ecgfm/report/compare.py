"""What changed between two finished runs: AUROC on the same records, and outcomes of checks."""

from collections.abc import Iterator

import pandas as pd

from pytest_ecgfm.baseline import Baseline, change
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.loaded import Loaded


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
    pairs = _pairs(before, after)
    if not pairs:
        yield ""
        yield f"no encoder is in both: {', '.join(before.models)}; {', '.join(after.models)}"
    for then, now in pairs:
        yield ""
        yield f"## {now}" if then == now else f"## {then}, then {now}"
        yield ""
        yield from _aurocs(before, after, then, now)
        yield ""
        yield from _outcomes(before, after, then, now)


def _pairs(before: Loaded, after: Loaded) -> list[tuple[str, str]]:
    same = [(name, name) for name in before.models if name in after.models]
    if not same and len(before.models) == len(after.models) == 1:
        return [(before.models[0], after.models[0])]
    return same


def _aurocs(before: Loaded, after: Loaded, then: str, now: str) -> Iterator[str]:
    if "scores" not in before.tree or "scores" not in after.tree:
        yield "no AUROC to compare: a run without the downstream suite has no test scores"
        return
    old, new = Baseline(before.path), Baseline(after.path)
    yield "| cohort | label | records | AUROC, then minus before | 95 % interval |"
    yield "| --- | --- | --- | --- | --- |"
    for cohort in after.cohorts:
        for label in after.labels:
            try:
                fresh = new.scores(now, cohort, label)
            except EcgfmError:
                continue  # too few records for a probe: there is nothing to compare
            try:
                found = change(fresh, old.scores(then, cohort, label), old.name)
            except EcgfmError as error:
                yield f"| {cohort} | {label} | {len(fresh.records)} | not comparable: {_cell(str(error))} | |"
                continue
            limits = f"[{found.low:+.3f}, {found.high:+.3f}]"
            yield f"| {cohort} | {label} | {len(fresh.records)} | {found.value:+.3f} | {limits} |"


def _outcomes(before: Loaded, after: Loaded, then: str, now: str) -> Iterator[str]:
    old, new = _checks_of(before, then), _checks_of(after, now)
    both = old.join(new, how="outer", lsuffix="_before", rsuffix="_after")
    words = [column for column in both.columns if column.startswith("outcome")]
    both[words] = both[words].fillna("not evaluated")
    changed = both[both["outcome_before"] != both["outcome_after"]]
    yield f"{len(changed)} of {len(both)} checks have another outcome"
    if not len(changed):
        return
    yield ""
    yield "| check | before | | then | |"
    yield "| --- | --- | --- | --- | --- |"
    for name, row in changed.iterrows():
        values = [_value(row["value_before"]), _value(row["value_after"])]
        yield f"| {_cell(str(name))} | {row['outcome_before']} | {values[0]} | {row['outcome_after']} | {values[1]} |"


def _checks_of(run: Loaded, encoder: str) -> pd.DataFrame:
    table = run.checks
    return table[table["encoder"] == encoder].set_index("check")[["outcome", "value"]]


def _value(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.4g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
