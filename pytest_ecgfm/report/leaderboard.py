"""Several models on the same records: ranks with intervals, where no model saw the cohort, and apart where one did."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytest_ecgfm.cohorts.quantities import spelt
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.ranks import Place, Scored, ranked
from pytest_ecgfm.evaluations.statistics.variance import aurocs
from pytest_ecgfm.report.escape import csv_cell, table_cell, terminal
from pytest_ecgfm.report.history import Apart, asked, find_runs
from pytest_ecgfm.report.loaded import Loaded, load
from pytest_ecgfm.results.baseline import Baseline, Scores
from pytest_ecgfm.results.checks import MINIMUM_POSITIVES
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.profiles import held_profile
from pytest_ecgfm.results.rounded import rounded

UNSEEN = "Cohorts that no model saw in pretraining"
SEEN = "Cohorts that a model saw in pretraining, or may have seen"
METHOD = (
    "Ranked by the mean AUROC over all cells, at the whole training set. Patients are resampled for all models at "
    "once; in 95 % of cases all intervals of ranks hold together."
)


@dataclass(frozen=True)
class Entry:
    """A model in a run; `name` tells it from all others."""

    run: Loaded
    encoder: str
    name: str

    @property
    def headline(self) -> str:
        """The verdict on the model, on which profile, and on what part."""
        return self.run.identity.headline(str(self.run.verdict["encoders"][self.encoder].get("outcome", "")))

    @property
    def verdict(self) -> str:
        """The verdict alone, such as "pass of a part": what was asked is the same for all."""
        return self.headline.partition(":")[0]


@dataclass(frozen=True)
class Cell:
    """A cohort and a label that every model was tested on, with each model's AUROC."""

    cohort: str
    label: str
    records: int
    positives: int
    aurocs: tuple[float, ...]


@dataclass(frozen=True)
class Board:
    """Models ranked on some cohorts, the best first."""

    title: str
    entries: tuple[Entry, ...]
    places: tuple[Place, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Contest:
    """Models that were asked the same: a board for each kind of exposure, and the cells that not all share."""

    entries: tuple[Entry, ...]
    boards: tuple[Board, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def asked(self) -> str:
        """What they were asked, in a few words."""
        return self.entries[0].headline.partition(": ")[2]


def read_leaderboard(folders: Sequence[Path]) -> tuple[list[Contest], list[Apart]]:
    """Read all runs at or below some folders, and rank the models of those that were asked the same.

    Parameters
    ----------
    folders : sequence of Path
        Of runs, or folders that runs are below; their order does not matter.

    Returns
    -------
    list of Contest
        Of at least two models each.
    list of Apart
        Runs that cannot be read, and those that no other was asked the same as.

    Raises
    ------
    EcgfmError
        If a folder is missing, or there is no run.
    """
    groups: dict[tuple[Any, ...], list[Loaded]] = defaultdict(list)
    apart: list[Apart] = []
    for folder in sorted(find_runs(folders)):
        try:
            run = load(folder)
            held_profile(str(run.tree.attrs.get("profile", "")), "its profile")
        except EcgfmError as error:
            apart.append(Apart((folder.name,), f"it cannot be read: {error}"))
            continue
        if run.identity.asked_digest:
            groups[tuple(asked(run).values())].append(run)
        else:
            apart.append(Apart((folder.name,), "its verdict.json does not say what was asked for"))
    contests = []
    for runs in groups.values():
        entries = _entries(runs)
        if len(entries) > 1:
            contests.append(_contest(entries))
        else:
            apart.append(Apart((runs[0].path.name,), _why_alone(runs[0], groups.values())))
    return sorted(contests, key=lambda one: (-len(one.entries), one.asked)), apart


def _entries(runs: Sequence[Loaded]) -> list[Entry]:
    """Return each model of each run, in an order of its own; names that occur twice carry their run's folder."""
    pairs = [(run, encoder) for run in runs for encoder in run.models]
    often = [encoder for _, encoder in pairs]
    named = []
    for run, encoder in pairs:
        folder = run.path.resolve()
        twice = sum(other == encoder and one.path.resolve().name == folder.name for one, other in pairs) > 1
        where = f"{folder.parent.name}/{folder.name}" if twice else folder.name
        named.append(Entry(run, encoder, encoder if often.count(encoder) == 1 else f"{encoder} ({where})"))
    return sorted(named, key=lambda one: (one.name, str(one.run.path.resolve())))


def _why_alone(run: Loaded, groups: Any) -> str:
    """Say how a run differs from the one most like it."""
    mine = asked(run)
    others = [(other, asked(other)) for runs in groups for other in runs if other is not run]
    if not others:
        return "it tested one model, and there is no other run"
    differs = [([name for name in mine if mine[name] != theirs[name]], other.path.name) for other, theirs in others]
    fewest, name = min(differs, key=lambda one: len(one[0]))
    return f"no other run was asked the same: {', '.join(fewest)} differ from {name}"


def _contest(entries: Sequence[Entry]) -> Contest:
    held = [Baseline(entry.run.path, entry.run.tree) for entry in entries]
    cohorts = cohort_order(name for entry in entries for name in entry.run.cohorts)
    labels = list(dict.fromkeys(name for entry in entries for name in entry.run.targets))
    shared: dict[bool, dict[str, list[tuple[Cell, Scored]]]] = {True: defaultdict(list), False: defaultdict(list)}
    left_out = []
    for cohort, label in product(cohorts, labels):
        found = _shared(entries, held, cohort, label)
        if isinstance(found, str):
            left_out += [(f"{cohort}, {label}", found)] if found else []
            continue
        unseen = all(entry.run.exposure(entry.encoder, cohort) == "unseen" for entry in entries)
        shared[unseen][cohort].append((_cell(cohort, label, found), found))
    boards = [_board(entries, title, shared[unseen]) for unseen, title in ((True, UNSEEN), (False, SEEN))]
    return Contest(tuple(entries), tuple(board for board in boards if board is not None), tuple(left_out))


def _shared(entries: Sequence[Entry], held: Sequence[Baseline], cohort: str, label: str) -> Scored | str:
    """Return the scores of every model on one cell; or why there is no such cell: nothing where nobody has it."""
    found: list[Scores] = []
    missing = []
    for entry, run in zip(entries, held, strict=True):
        try:
            scores = run.scores(entry.encoder, cohort, label, probe=run.probe, probe_code=run.probe_code)
            found.append(scores.in_order())
        except EcgfmError:
            missing.append(entry.name)
    if not found:
        return ""
    if missing:
        return f"no test scores of {', '.join(missing)}"
    if spelt(label):
        return "a quantity has no AUROC"
    first = found[0]
    for entry, one in zip(entries, found, strict=True):
        pairs = ((one.records, first.records), (one.targets, first.targets), (one.patients, first.patients))
        if not all(np.array_equal(mine, theirs) for mine, theirs in pairs):
            return f"records, labels or patients of {entry.name} differ from those of {entries[0].name}"
    targets = first.targets > 0.5
    if min(targets.sum(), (~targets).sum()) < MINIMUM_POSITIVES:
        return f"fewer than {MINIMUM_POSITIVES} tested records of a class"
    return Scored(np.stack([one.scores for one in found]), targets, first.patients)


def _cell(cohort: str, label: str, found: Scored) -> Cell:
    values = tuple(aurocs(found.scores, found.targets).tolist())
    return Cell(cohort, label, int(found.targets.size), int(found.targets.sum()), values)


def _board(entries: Sequence[Entry], title: str, cells: Mapping[str, Sequence[tuple[Cell, Scored]]]) -> Board | None:
    if not cells:
        return None
    found = ranked({cohort: [tested for _, tested in members] for cohort, members in cells.items()})
    # Equal models keep the order of their names.
    order = sorted(range(len(entries)), key=lambda row: (found[row].rank, row))
    shown = [
        Cell(cell.cohort, cell.label, cell.records, cell.positives, tuple(cell.aurocs[row] for row in order))
        for members in cells.values()
        for cell, _ in members
    ]
    return Board(title, tuple(entries[row] for row in order), tuple(found[row] for row in order), tuple(shown))


def rank_in_words(place: Place) -> str:
    """Write the interval of a rank."""
    return str(place.best) if place.best == place.worst else f"{place.best} to {place.worst}"


def exposures(board: Board) -> list[tuple[str, str]]:
    """Say of each cohort of a board which models saw it, or may have."""
    out = []
    for cohort in dict.fromkeys(cell.cohort for cell in board.cells):
        words = [(entry.name, entry.run.exposure(entry.encoder, cohort)) for entry in board.entries]
        told = [f"{name}: {word.replace('unknown', 'not known')}" for name, word in words if word != "unseen"]
        if told:
            out.append((cohort, ", ".join(told)))
    return out


def leaderboard_lines(contests: Sequence[Contest], apart: Sequence[Apart]) -> Iterator[str]:
    """Say everything as lines of Markdown."""
    for contest in contests:
        yield f"# {len(contest.entries)} models: {contest.asked}"
        yield ""
        for board in contest.boards:
            yield from _board_lines(board)
        if not contest.boards:
            yield "no cell that all models share: there is nothing to rank"
            yield ""
        if contest.left_out:
            yield "Left out, as not all models share them:"
            yield ""
            yield from (terminal(f"- {where}: {why}") for where, why in contest.left_out)
            yield ""
    if not contests:
        yield "A leaderboard needs two models that were asked the same."
        yield ""
    if apart:
        yield "# Set apart"
        yield ""
        yield from (terminal(f"- {', '.join(one.runs)}: {one.reason}") for one in apart)


def _board_lines(board: Board) -> Iterator[str]:
    yield f"## {board.title}"
    yield ""
    yield "| rank | 95 % interval | model | run | mean AUROC | 95 % interval | verdict |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for entry, place in zip(board.entries, board.places, strict=True):
        cells = [str(place.rank), rank_in_words(place), entry.name, entry.run.path.resolve().name]
        cells += [rounded(place.value), f"[{rounded(place.low)}, {rounded(place.high)}]", entry.verdict]
        yield f"| {' | '.join(map(_told, cells))} |"
    yield ""
    yield METHOD
    yield ""
    seen = exposures(board)
    yield from (terminal(f"- {cohort}: {words}") for cohort, words in seen)
    yield from [""] if seen else []
    yield f"| cohort, label | records | positive | {' | '.join(_told(one.name) for one in board.entries)} |"
    yield f"| --- | --- | --- |{' --- |' * len(board.entries)}"
    for cell in board.cells:
        values = " | ".join(map(rounded, cell.aurocs))
        yield f"| {_told(f'{cell.cohort}, {cell.label}')} | {cell.records} | {cell.positives} | {values} |"
    yield ""


def _told(text: str) -> str:
    """Return a cell of the table: one line, whatever a name holds."""
    return table_cell(terminal(text))


def leaderboard_table(contests: Sequence[Contest]) -> pd.DataFrame:
    """Return one row a model and board: ranks and mean AUROC with their intervals; no spreadsheet sees a formula."""
    rows = []
    for contest in contests:
        for board in contest.boards:
            for entry, place in zip(board.entries, board.places, strict=True):
                texts = (contest.asked, board.title, entry.name, entry.run.path.resolve().name, entry.verdict)
                names = ("asked", "cohorts", "model", "run", "verdict")
                row: dict[str, object] = dict(zip(names, map(csv_cell, texts), strict=True))
                row |= {"rank": place.rank, "rank_low": place.best, "rank_high": place.worst}
                row |= {"auroc": place.value, "auroc_low": place.low, "auroc_high": place.high}
                rows.append(row | {"cells": len(board.cells)})
    return pd.DataFrame(rows)
