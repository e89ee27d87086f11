"""One probe in each group of patients: by sex, age and further columns (docs/method.md#subgroups)."""

from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations.downstream import DownstreamResult
from pytest_ecgfm.evaluations.measured import Cell, Measured
from pytest_ecgfm.evaluations.statistics.bootstrap import Interval
from pytest_ecgfm.evaluations.subgroups import Group, Subgroups, subgroups
from pytest_ecgfm.measurements.downstream import columns_of_groups, evaluated
from pytest_ecgfm.results.checks import GATED_POSITIVES, MINIMUM_POSITIVES, Case
from pytest_ecgfm.results.profiles import demanded
from pytest_ecgfm.results.rounded import spanned
from pytest_ecgfm.run.run import Run


class _Grouped(NamedTuple):
    """Groups of one cell, what the cube keeps of them, and the split of the probe; no groups without a probe."""

    groups: Subgroups | None
    cells: tuple[Cell, ...]
    split: str
    positives: int
    negatives: int


_SMALL = "groups that are too small decide nothing, and need not"
"""Advisory: a small cohort alone must not make a run incomplete whose other suites are decided."""


class _Question(NamedTuple):
    """What a check asks of the groups of one cell.

    Attributes
    ----------
    groups : callable
        Those that can be asked.
    interval : callable
        What is asked of a group.
    most : callable
        Chooses the group that is furthest from what is wanted: `min` or `max`.
    value, shown : callable
        What is compared with the bound; the groups that are shown to be beyond it.
    word : str
        For the reason.
    """

    groups: Callable[[Subgroups], tuple[Group, ...]]
    interval: Callable[[Group], Interval]
    most: Callable[..., Group]
    value: Callable[[Subgroups], Interval]
    shown: Callable[[Subgroups, float], tuple[Group, ...]]
    word: str


_WORST = _Question(attrgetter("judged"), Group.auroc, min, Subgroups.lowest, Subgroups.shown_lower, "lowest")
_GAP = _Question(attrgetter("compared"), Group.gap, max, Subgroups.widest, Subgroups.shown_wider, "widest")


def worst(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC of the group of patients where it is lowest; its upper limit is corrected for the number of groups."""
    return _measured(run, encoder, case, _WORST)


def gap(run: Run, encoder: Encoder, case: Case) -> Measured:
    """How far the AUROC of a group lies below that of the rest, at most; its lower limit is corrected as in `worst`."""
    return _measured(run, encoder, case, _GAP)


def _measured(run: Run, encoder: Encoder, case: Case, asked: _Question) -> Measured:
    """Say on which records a finding rests: a fail on the largest group that fails, all else on every group."""
    found = _found(run, encoder, case)
    if found.groups is None:
        # Too few of a class for any split: their numbers say so.
        counts = {"positives": found.positives, "negatives": found.negatives, "advisory": _SMALL}
        return Measured.insufficient("too few records of a class for a probe", **counts)
    left_out = _left_out(found.groups)
    groups = asked.groups(found.groups)
    if not groups:
        why = f"no group, or not its rest, has {MINIMUM_POSITIVES} tested records of either class"
        return Measured.insufficient(why, split=found.split, cells=found.cells, note=left_out, advisory=_SMALL)
    extreme = asked.most(groups, key=lambda one: asked.interval(one).value)
    told = f"{asked.word} of {len(groups)} groups: {_told(extreme, asked.interval(extreme))}"
    advisory = beyond = ""
    shown = asked.shown(found.groups, demanded(run.settings.profile, case).bound)
    if shown:
        decisive = max(shown, key=lambda one: one.positives)
        beyond = f"shown for {', '.join(one.name for one in shown)}"
    else:
        decisive = min(groups, key=lambda one: one.positives)
        if decisive.positives < GATED_POSITIVES:
            advisory = f"the rarest group, {decisive.name}, has {decisive.positives} positives"
    return Measured.of(
        asked.value(found.groups),
        positives=decisive.positives,
        negatives=decisive.records - decisive.positives,
        split=found.split,
        cells=found.cells,
        note="; ".join(filter(None, (told, beyond, left_out))),
        advisory=advisory,
    )


def _told(group: Group, found: Interval) -> str:
    return f"{group.name} {spanned(found.value, found.low, found.high)}"


def _left_out(groups: Subgroups) -> str:
    """Name the groups that are too small, and count the records that are in none."""
    small = [
        f"{one.name}: {one.positives} positive, {one.records - one.positives} negative"
        for one in groups.groups
        if one.own is None
    ]
    parts = [f"insufficient: {', '.join(small)}"] if small else []
    unknown = [f"{column} of {count}" for column, count in groups.unknown.items() if count]
    parts += [f"unknown: {', '.join(unknown)} tested records"] if unknown else []
    return "; ".join(parts)


def _found(run: Run, encoder: Encoder, case: Case) -> _Grouped:
    key = ("subgroups", encoder.card.name, case.cohort, case.label)
    return run.once(key, lambda: _evaluate(run, encoder, case))


def _evaluate(run: Run, encoder: Encoder, case: Case) -> _Grouped:
    own = evaluated(run, encoder, Case("downstream.auroc", case.encoder, case.cohort, case.label, 1.0))
    result = own.result
    if not isinstance(result, DownstreamResult):
        return _Grouped(None, (), own.split, own.positives, own.negatives)
    cohort = run.cohort(case.cohort)
    rows = run.labelled(cohort, case.label).rows[result.tested]
    columns = columns_of_groups(run, cohort, rows)
    groups = subgroups(result.scores, result.targets, result.patients, columns, least=MINIMUM_POSITIVES)
    cells = _cells(groups, {"encoder": encoder.card.name, "cohort": case.cohort, "label": case.label})
    return _Grouped(groups, cells, own.split, own.positives, own.negatives)


def _cells(groups: Subgroups, at: dict[str, str]) -> tuple[Cell, ...]:
    below = groups.shown_wider(0.0)
    out = [
        Cell("subgroups", {**at, "column": column}, {"n_unknown": float(count)})
        for column, count in groups.unknown.items()
    ]
    for one in groups.groups:
        values = {"judged": float(one.own is not None), "n_test": float(one.records)}
        values["n_test_positive"] = float(one.positives)
        for name, found in (("auroc", one.auroc()), ("gap", one.gap())):
            values |= found.named(name)
        if one in groups.compared:
            values["below"] = float(one in below)
        out.append(Cell("subgroups", {**at, "column": one.column, "group": one.name}, values))
    return tuple(out)
