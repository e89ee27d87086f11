"""``generalization.html``: one page of a run, without network, scripts of others or anything left unescaped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from pytest_ecgfm.cards.whole_files import whole
from pytest_ecgfm.report.addresses import PAGE
from pytest_ecgfm.report.banner import banner, heading
from pytest_ecgfm.report.escape import page as shown_page
from pytest_ecgfm.report.glance import glance
from pytest_ecgfm.report.loaded import Loaded, load
from pytest_ecgfm.report.model_cards import model_cards
from pytest_ecgfm.report.sections import SECTIONS
from pytest_ecgfm.report.words import MEANINGS, SIGNS, element, listed


@dataclass(frozen=True)
class Shown:
    """A section as it is on the page."""

    anchor: str
    title: str
    note: str
    body: Markup


def render(run: Loaded) -> str:
    """Return the page of a run.

    Parameters
    ----------
    run : Loaded
        Sections for which it has no results are left out.
    """
    shown = []
    for section in SECTIONS:
        body = section.build(run)
        if body:
            shown.append(Shown(section.anchor, section.title, section.note, body))
    about = run.tree.attrs
    return filled(
        title=f"{listed(run.models)}: {run.headline}",
        subtitle=f"ECG foundation model conformance, run {about.get('run_id', '')}, {about.get('finished', '')}, "
        f"pytest-ecgfm {about.get('plugin_version', '')}",
        heading=heading(run),
        # The verdict, and beside it what the model is for; then what says most in a few lines.
        banner=Markup("").join([element("div", banner(run), model_cards(run), class_="top"), glance(run)]),
        sections=shown,
        scripts=("tip.js", "page.js"),
    )


def write_page(folder: Path, baselines: Sequence[Loaded] = ()) -> Path:
    """Write the page of a finished run into its folder, whole or not at all; return its path.

    Parameters
    ----------
    folder : Path
        The run's.
    baselines : sequence of Loaded
        Earlier runs: the page says what changed since.

    Raises
    ------
    EcgfmError
        If the run cannot be read.
    """
    return write_whole(folder / PAGE, render(replace(load(folder), baselines=tuple(baselines))))


def write_whole(path: Path, text: str) -> Path:
    """Write a page, whole or not at all; return its path."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def filled(
    *,
    title: str,
    subtitle: str,
    banner: Markup,
    sections: Sequence[Shown],
    scripts: Sequence[str],
    heading: Markup | None = None,
) -> str:
    """Return a whole page, in the style of all of them.

    Parameters
    ----------
    title, subtitle : str
        Of the window, and below the first line; they are escaped.
    banner : Markup
        What stands above the sections.
    sections : sequence of Shown
    scripts : sequence of str
        Names of files beside the template.
    heading : Markup, optional
        The first line; by default the title.
    """
    # Everything that is not markup already is escaped.
    template = Environment(autoescape=True).from_string(_file("page.html"))
    return shown_page(
        template.render(
            title=title,
            heading=title if heading is None else heading,
            subtitle=subtitle,
            banner=banner,
            sections=sections,
            meanings="; ".join(f"{SIGNS[word]} {word} {meaning}" for word, meaning in MEANINGS.items()),
            style=Markup(_file("page.css")),
            script=Markup("".join(_file(name) for name in scripts)),
        )
    )


def _file(name: str) -> str:
    return resources.files("pytest_ecgfm.report").joinpath("template", name).read_text(encoding="utf-8")
