"""A leaderboard as a page, in the style of a run's."""

from collections.abc import Sequence

from markupsafe import Markup

from pytest_ecgfm.report.history import Apart
from pytest_ecgfm.report.layout import stacked
from pytest_ecgfm.report.leaderboard import METHOD, Board, Contest, exposures, rank_in_words
from pytest_ecgfm.report.page import Shown, filled
from pytest_ecgfm.report.words import element, listed, number, with_interval


def leaderboard_page(contests: Sequence[Contest], apart: Sequence[Apart]) -> str:
    """Return the page.

    Parameters
    ----------
    contests, apart
        As `pytest_ecgfm.report.leaderboard.read_leaderboard` returns them.
    """
    shown = []
    for place, contest in enumerate(contests):
        for position, board in enumerate(contest.boards):
            shown.append(Shown(f"board-{place}-{position}", board.title, METHOD, _board(board)))
        if contest.left_out:
            rows = [[where, why] for where, why in contest.left_out]
            body = stacked(["cell", "why"], rows, "cells that are left out")
            shown.append(Shown(f"left-out-{place}", "Left out", "Not all models share these cells.", body))
    if apart:
        rows = [[", ".join(one.runs), one.reason] for one in apart]
        note = "They were not asked the same, so they are not joined."
        shown.append(Shown("apart", "Set apart", note, stacked(["run", "why"], rows, "runs that are set apart")))
    return filled(
        title=f"Leaderboard of {sum(len(one.entries) for one in contests)} models",
        subtitle="ECG foundation models on the same records",
        banner=_banner(contests),
        sections=shown,
        scripts=("tip.js",),
    )


def _banner(contests: Sequence[Contest]) -> Markup:
    parts = []
    for contest in contests:
        for board in contest.boards:
            first = [entry.name for entry, place in zip(board.entries, board.places, strict=True) if place.best == 1]
            words = f"may be first: {listed(first)}" if len(first) > 1 else f"first: {listed(first)}"
            parts.append(element("p", element("strong", f"{board.title}: {words}"), f" ({contest.asked})"))
        if not contest.boards:
            parts.append(element("p", f"No cell that all models share ({contest.asked})."))
    if not parts:
        parts.append(element("p", "A leaderboard needs two models that were asked the same."))
    return element("div", *parts, class_="banner")


def _board(board: Board) -> Markup:
    rows: list[list[object]] = [
        [
            entry.name,
            str(place.rank),
            rank_in_words(place),
            with_interval(place.value, place.low, place.high),
            entry.run.path.resolve().name,
            entry.verdict,
        ]
        for entry, place in zip(board.entries, board.places, strict=True)
    ]
    heads = ["", "rank", "95 % interval of the rank", "mean AUROC", "run", "verdict"]
    seen = [element("p", f"{cohort}: {words}") for cohort, words in exposures(board)]
    cells: list[list[object]] = [
        [f"{cell.cohort}, {cell.label}", str(cell.records), str(cell.positives), *map(number, cell.aurocs)]
        for cell in board.cells
    ]
    names = ["", "records", "positive", *(entry.name for entry in board.entries)]
    tables = [stacked(heads, rows, "ranks"), *seen, element("h3", "AUROC of each cell"), stacked(names, cells, "cells")]
    return Markup("").join(tables)
