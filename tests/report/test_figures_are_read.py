"""Every figure, of the pages and of `ecgfm figures`, has a title, axes with units, and a sentence on how to read it."""

import matplotlib
import pytest

from pytest_ecgfm.report import figure_parts, figures
from pytest_ecgfm.report.history import read_history
from pytest_ecgfm.report.history_page import history_page
from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.signals.perturbations import PERTURBATIONS
from tests.finished_runs import finished, planted
from tests.report.page_figures import Figures, is_sentence

WORDS = ("%", "factor", "on or off", "no unit", "0 to 1", "patient", "number", "AUROC", "R2")
UNITS = (*WORDS, *(f" {one.units}" for one in PERTURBATIONS.values() if one.units))


def has_unit(text):
    """A unit, or a quantity that has none and is called by its name."""
    return any(one in text for one in UNITS)


def test_every_figure_of_the_page_says_what_it_is_and_how_it_is_read(page):
    read = Figures(page)
    drawn = [one for one in read.found if one.chart]
    assert len(drawn) > 40 and read.outside == 0
    for one in read.found:
        assert one.title and is_sentence(one.how), one
    for one in drawn:
        assert has_unit(one.x), one
        assert has_unit(one.y) or one.y == "cohort, label" or one.y == "label, cohort", one
    # A table has heads, and needs no axes.
    assert {one.x for one in read.found if not one.chart} == {""}


def test_a_sentence_that_figures_share_is_shown_once_in_each_section(page):
    for section in page.split("<section ")[1:]:
        shared = {one.how for one in Figures(section.partition("</section>")[0]).found}
        for how in shared:
            assert section.count(f'<p class="how">{how.replace(chr(39), "&#39;")}</p>') == 1


def test_every_figure_of_a_history_does(tmp_path, monkeypatch):
    monkeypatch.delenv("ECGFM_DATA", raising=False)
    for number in (1, 2):
        finished(tmp_path / "all" / f"v{number}", lambda *_: planted(0.9), started=f"2026-01-0{number}T00:00:00Z")
    read = Figures(history_page(*read_history([tmp_path])))
    assert len(read.found) > 4 and read.outside == 0
    for one in read.found:
        assert one.chart and one.title and is_sentence(one.how), one
        assert one.x == "release, by number" and has_unit(one.y), one


def below(axes, figure):
    """The name of the axis of the lowest panel in the same column."""
    column = [one for one in figure.axes if one.get_subplotspec().colspan == axes.get_subplotspec().colspan]
    return column[-1].get_xlabel()


@pytest.fixture(scope="module")
def for_papers(made):
    with matplotlib.rc_context(figure_parts.SETTINGS):
        return [figure_parts.finished(one) for build in figures.FIGURES for one in build(load(made[0]))]


def test_every_figure_for_papers_does(for_papers):
    assert len(for_papers) > 12
    for one in for_papers:
        figure = one.figure
        assert figure.get_suptitle(), one.name
        assert is_sentence(one.how), one.name
        shown = " ".join(" ".join(text.get_text().split()) for text in figure.texts)
        assert one.how in shown, one.name
        for axes in figure.axes:
            if axes.axison:
                # The lowest of a column of panels speaks for all of it.
                x = axes.get_xlabel() or below(axes, figure)
                y = axes.get_ylabel() or figure.get_supylabel()
                assert has_unit(x) or x == "tested in", (one.name, x)
                assert has_unit(y) or "label" in y or y == "fitted in", (one.name, y)


def test_no_sentence_is_cut(for_papers):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with matplotlib.rc_context(figure_parts.SETTINGS):
        for one in for_papers[:3] + for_papers[-3:]:
            canvas = FigureCanvasAgg(one.figure)
            canvas.draw()
            wide, high = one.figure.get_size_inches() * one.figure.dpi
            for text in one.figure.texts:
                box = text.get_window_extent(canvas.get_renderer())
                assert box.x0 >= -1 and box.x1 <= wide + 1 and box.y0 >= -1 and box.y1 <= high + 1, one.name
