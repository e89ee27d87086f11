"""Cohorts in one order, whatever the order in which they were asked for: page, terminal, cube, tables and figures."""

import re

import matplotlib
import numpy as np
import pytest

from pytest_ecgfm.report import figure_parts, figures
from pytest_ecgfm.report.changes import changed_cells
from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.report.page import render
from pytest_ecgfm.report.summary import in_words
from pytest_ecgfm.report.tables import tables
from pytest_ecgfm.report.terminal import summary_lines
from pytest_ecgfm.results.basis import basis
from pytest_ecgfm.results.checks import OTHERS, Case, Threshold
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.cube import cells_of
from pytest_ecgfm.results.rows import Cell, Measured, judged_row
from pytest_ecgfm.results.verdict import decide
from tests.report.runs import write_run

ASKED = ("sph", "chapman", "ptb-xl")
SHOWN = ("chapman", "ptb-xl", "sph")


@pytest.fixture(scope="module")
def scrambled(tmp_path_factory):
    folder, rows = write_run(tmp_path_factory.mktemp("order") / "run", ("one",), ASKED, ("AF",), (1.0,), 60)
    return load(folder), rows


def in_text(text):
    """The cohorts of a text, in the order in which each is named first."""
    return tuple(dict.fromkeys(re.findall("|".join(ASKED), text)))


def test_all_others_together_come_last():
    assert cohort_order([*ASKED, OTHERS, "sph"]) == (*SHOWN, OTHERS)


def test_the_page_shows_them_in_one_order(scrambled):
    run, _ = scrambled
    assert run.cohorts == SHOWN
    page = render(run)
    for name in ("matrix", "auroc", "subgroups", "transfer", "quantity-transfer", "stability", "relevance"):
        section = page.partition(f'<section id="{name}">')[2].partition("</section>")[0]
        assert in_text(section) == SHOWN, name
    assert changed_cells(run, run.checks[run.checks["kind"] == "downstream.auroc_change"]) == [
        (cohort, "AF") for cohort in SHOWN
    ]


def test_the_terminal_and_the_summary_do(scrambled):
    rows = scrambled[1]
    verdict = decide(rows, [], models=["one"])
    told = [line.split()[0] for line in summary_lines(verdict, rows) if line.split()[0] in ASKED]
    # Two tables: AUROC of labels, and of sets.
    assert len(told) % 3 == 0 and tuple(told[:3]) == SHOWN and told == told[:3] * (len(told) // 3)
    assert in_text(in_words(verdict, rows).partition("Evaluated on")[2]) == SHOWN
    assert basis("one", rows).suites["downstream"] == SHOWN


def test_the_cube_and_the_tables_do(scrambled):
    run, _ = scrambled
    for group, dims in (("downstream", ("cohort",)), ("transfer", ("source", "target")), ("stability", ("cohort",))):
        for dim in dims:
            assert tuple(run.tree[group][dim].values.tolist()) == SHOWN
    (table,) = (one for one in tables([run]) if one.name == "transfer-one-AF")
    assert tuple(table.frame.index) == SHOWN and in_text(" ".join(table.frame.columns)) == SHOWN


def test_a_probe_of_all_others_is_the_last_source_of_the_cube():
    at = {"encoder": "m", "target": "a", "label": "AF"}
    cells = [Cell("transfer", {**at, "source": source}, {"auroc": 0.8}) for source in (OTHERS, "sph", "chapman")]
    measured = Measured(0.0, 0.0, 0.0, 60, 60, "cv", tuple(cells))
    row = judged_row(Case("transfer.drop", "m", "a", "AF", source="sph"), Threshold(0.1, "maximum"), measured)
    assert cells_of([row])["transfer"]["source"].values.tolist() == ["chapman", "sph", OTHERS]


def test_the_figures_do_and_give_a_cohort_one_colour(scrambled):
    run, _ = scrambled
    with matplotlib.rc_context(figure_parts.SETTINGS):
        drawn = {one.name: one.figure for build in figures.FIGURES for one in build(run)}
    (axes,) = drawn["transfer-one-AF"].axes[:1]
    assert in_text(" ".join(one.get_text() for one in axes.get_yticklabels())) == SHOWN
    assert in_text(" ".join(one.get_text() for one in axes.get_xticklabels())) == SHOWN
    stability = drawn["stability-one"].axes[0]
    by_cohort = drawn["map-one"].axes[1]
    lines = {one.get_label(): matplotlib.colors.to_hex(one[0].get_color()) for one in stability.containers}
    dots = {one.get_label(): matplotlib.colors.to_hex(one.get_facecolor()[0]) for one in by_cohort.collections}
    assert tuple(lines) == tuple(dots) == SHOWN and lines == dots
    assert np.unique(list(lines.values())).size == 3
