"""``generalization.html``: one page of a run, without network, scripts of others or anything left unescaped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from uuid import uuid4

from jinja2 import Environment
from markupsafe import Markup

from pytest_ecgfm.report.addresses import PAGE
from pytest_ecgfm.report.banner import banner
from pytest_ecgfm.report.loaded import Loaded, load
from pytest_ecgfm.report.sections import SECTIONS
from pytest_ecgfm.report.words import MEANINGS, SIGNS, listed


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
    # Everything that is not markup already is escaped.
    template = Environment(autoescape=True).from_string(_file("page.html"))
    return template.render(
        title=f"{listed(run.models)}: ECG foundation model conformance",
        subtitle=f"run {about.get('run_id', '')}, {about.get('finished', '')}, pytest-ecgfm "
        f"{about.get('plugin_version', '')}",
        banner=banner(run),
        sections=shown,
        meanings="; ".join(f"{SIGNS[word]} {word} {meaning}" for word, meaning in MEANINGS.items()),
        style=Markup(_file("page.css")),
        script=Markup(_file("page.js")),
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
    path = folder / PAGE
    temporary = folder / f".{PAGE}.{uuid4().hex}"
    try:
        temporary.write_text(render(replace(load(folder), baselines=tuple(baselines))), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _file(name: str) -> str:
    return resources.files("pytest_ecgfm.report").joinpath("template", name).read_text(encoding="utf-8")
