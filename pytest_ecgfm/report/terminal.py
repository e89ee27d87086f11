"""The summary at the end of a run, for the terminal."""

from collections.abc import Iterator, Sequence
from math import isnan

from pytest_ecgfm.results.basis import basis_lines, nowhere_in_words
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.rounded import rounded
from pytest_ecgfm.results.rows import Row
from pytest_ecgfm.results.verdict import COUNTED, EncoderVerdict, Verdict

LETTERS = {"inconclusive": "i", "insufficient": "u", "error": "E"}
"""Progress letters of outcomes that pytest does not have."""

_MARKS = {"pass": "", "fail": "!", "inconclusive": "?", "insufficient": "u", "error": "e"}
_REASONS_SHOWN = 5


def summary_lines(verdict: Verdict, rows: Sequence[Row]) -> Iterator[str]:
    """Say for each encoder what was found: a table of AUROC, counts of outcomes, reasons."""
    for one in verdict.encoders:
        counts = ", ".join(f"{one.counts[word]} {word}" for word in COUNTED)
        # An undecided check may block, and an advisory one that fails does not.
        block = one.counts["blocking_fail"]
        also = f"; {block} block" if block != one.counts["fail"] else ""
        yield f"{one.encoder}: {one.outcome.upper()} ({counts}, of {one.counts['planned']} planned{also})"
        yield from _tables(one, rows)
        if nowhere := nowhere_in_words(one.basis.gated_nowhere):
            yield f"  {nowhere}"
        lines = basis_lines(one.basis)
        if lines:
            yield "  blocking checks decided in:"
            yield from (f"    {line}" for line in lines)
        for reason in one.reasons[:_REASONS_SHOWN]:
            yield f"  - {reason}"
        if len(one.reasons) > _REASONS_SHOWN:
            yield f"  - and {len(one.reasons) - _REASONS_SHOWN} more: see report.html"


def end_lines(verdict: Verdict, rows: Sequence[Row], notes: Sequence[str], trouble: Sequence[str]) -> Iterator[str]:
    """Say what was found, what was asked for, what a reader has to know beside it, and what went wrong."""
    yield from summary_lines(verdict, rows)
    yield from (f"asked: {name}: {words}" for name, words in verdict.identity.lines())
    yield from (f"note: {note}" for note in notes)
    yield from (f"! {reason}" for reason in trouble)


_TABLES = {"downstream.auroc": "AUROC", "downstream.macro_auroc": "mean AUROC", "downstream.r2": "R2"}


def _tables(one: EncoderVerdict, rows: Sequence[Row]) -> Iterator[str]:
    """AUROC of labels, its means over sets and R2 of quantities, at the largest share of the training patients."""
    mine = [row for row in rows if row.encoder == one.encoder]
    kinds = {kind: [row for row in mine if row.check.startswith(f"{kind}[")] for kind in _TABLES}
    for kind, rows_of_kind in kinds.items():
        yield from _table(_TABLES[kind], rows_of_kind)
    marks = [_mark(row) for rows_of_kind in kinds.values() for row in _at_top(rows_of_kind)]
    if marks:
        strict = ", ?! inconclusive, which blocks" if "?!" in marks else ""
        yield f"  (! fail, ? inconclusive{strict}, u insufficient: fewer than 10 of a class, e error: not measured)"


def _at_top(rows: Sequence[Row]) -> list[Row]:
    """Return the rows at the largest share of the training patients."""
    top = max((row.fraction for row in rows), default=0.0)
    return [row for row in rows if row.fraction == top]


def _table(heading: str, mine: Sequence[Row]) -> Iterator[str]:
    """One value by cohort and label."""
    if not mine:
        return
    at_top = {(row.cohort, row.label): row for row in _at_top(mine)}
    heading = f"{heading} at {next(iter(at_top.values())).fraction:.4g}"
    cohorts = cohort_order(row.cohort for row in mine)
    labels = list(dict.fromkeys(row.label for row in mine))
    sizes = {label: max(9, len(label) + 1) for label in labels}
    width = max(len(heading), *(len(cohort) for cohort in cohorts))
    yield f"  {heading:<{width}}" + "".join(f"{label:>{sizes[label]}}" for label in labels)
    for cohort in cohorts:
        entries = (f"{_entry(at_top.get((cohort, label))):>{sizes[label]}}" for label in labels)
        yield f"  {cohort:<{width}}" + "".join(entries)


def _entry(row: Row | None) -> str:
    if row is None:
        return "-"
    mark = _mark(row)
    return mark or "-" if isnan(row.value) else f"{rounded(row.value, row.threshold)}{mark}"


def _mark(row: Row) -> str:
    return "?!" if row.blocks and row.outcome == "inconclusive" else _MARKS[row.outcome]
