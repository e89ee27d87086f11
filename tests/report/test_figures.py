"""Figures for papers: all that a run has, one column wide, named so that nothing leaves the folder."""

import ast
import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import matplotlib.figure
import pytest
from PIL import Image

from pytest_ecgfm.cli import main
from pytest_ecgfm.report import figure_parts, figures
from pytest_ecgfm.report.escape import terminal
from pytest_ecgfm.report.loaded import load
from tests.report.runs import write_run


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Every figure of a run of one model, with names that nobody should choose, by the command."""
    folder = tmp_path_factory.mktemp("figures")
    write_run(folder / "run", ("..$x^{$",), ("../a<script>", "b"), ("AF",), (0.1, 1.0))
    assert main(["figures", str(folder / "run"), str(folder / "out")]) == 0
    return folder / "out"


def test_the_command_writes_each_figure_as_svg_and_png(drawn):
    written = {path.name for path in drawn.iterdir()}
    name = "..-x---"
    stems = {"auroc-..-a-script-", "auroc-b", f"transfer-{name}-AF", f"stability-{name}", f"map-{name}"}
    stems |= {f"relevance-{name}-..-a-script--AF", f"relevance-{name}-b-AF", "separability", "changes-spring"}
    stems |= {f"transfer-{name}-quantity-EF-{what}" for what in ("spearman", "spearman-drop")}
    assert written == {f"{stem}.{ending}" for stem in stems for ending in ("svg", "png")}
    for path in drawn.glob("*.png"):
        with Image.open(path) as image:
            # One column, 85 mm, at 300 points an inch.
            assert image.width == pytest.approx(85 / 25.4 * 300, abs=1)
            assert len(image.convert("L").getcolors()) > 10
    for path in drawn.glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        assert float(root.get("width").removesuffix("pt")) == pytest.approx(85 / 25.4 * 72, abs=0.1)
        assert root.findall(".//{http://www.w3.org/2000/svg}text")  # text is text, not outlines


def test_names_are_no_markup_and_no_formulas(drawn):
    text = (drawn / "relevance-..-x----..-a-script--AF.svg").read_text()
    assert "..$x^{$, ../a&lt;script&gt;, AF: relevance of leads" in text and "<script" not in text


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["\x1b[2J", "\x00", "a\nb", "\x9b", "\ufffe", "\u202eFA", "\udcff", "$x^{$"])
def test_what_no_svg_may_hold_is_shown_as_an_escape(name):
    with matplotlib.rc_context(figure_parts.SETTINGS):
        figure = matplotlib.figure.Figure()
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], label=name)
        axes.set_xticks([0, 1], [name, "b"])
        axes.legend()
        figure.suptitle(name)
        figure_parts.show_names(figure)
        file = io.BytesIO()
        figure.savefig(file, format="svg")
    told = "".join(ElementTree.fromstring(file.getvalue()).itertext())
    shown = [terminal(line) for line in name.split("\n")]
    assert all(told.count(line) >= 3 for line in shown) and terminal(told.replace("\n", "")) == told.replace("\n", "")


def test_what_is_drawn_is_what_the_cube_holds(made):
    run = load(made[0])
    with matplotlib.rc_context(figure_parts.SETTINGS):
        drawn = {one.name: one.figure for one in figures.auroc(run)}
    panel = next(axes for axes in drawn["auroc-georgia"].axes if axes.get_title() == "AF")
    (line,) = (one[0] for one in panel.containers if one.get_label() == "one")
    at = {"encoder": "one", "cohort": "georgia", "label": "AF", "probe": "logistic"}
    held = run.tree["downstream"]["auroc_mean"].sel(at).sortby("fraction").values
    assert line.get_ydata().tolist() == pytest.approx(held.tolist())


def test_the_same_run_gives_the_same_files(made, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", (figures.separability,))
    first, second = (
        [path.read_bytes() for path in figures.write_figures(load(made[0]), tmp_path / name)] for name in ("a", "b")
    )
    assert first == second


def test_a_run_without_figures_and_a_folder_that_cannot_be_are_one_line(made, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    assert main(["figures", str(made[0]), str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.endswith("cannot be written: File exists.\n")
    monkeypatch.setattr(figures, "FIGURES", ())
    assert main(["figures", str(made[0]), str(tmp_path / "none")]) == 2
    assert "no results that a figure shows" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_matplotlib_is_imported_only_where_it_draws():
    for path in Path(figures.__file__).parents[1].rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # At the top of a module; what only a type checker reads is below an `if`.
        top = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not [line for line in top if "matplotlib" in line or "report.figures" in line], path
