import importlib.util
import re
from pathlib import Path

import pytest

from pytest_ecgfm.plugin import OPTIONS
from pytest_ecgfm.profiles import load_profile

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_models_page_is_made_from_the_cards():
    spec = importlib.util.spec_from_file_location("make_models", ROOT / "docs" / "make_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "models.md").read_text(encoding="utf-8") == module.render()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = page.parent / file if file else page
        assert found.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-").replace("`", "") for heading in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_named_in_the_pages_exist(page):
    known = {"--ecgfm", "--ecgfm-list", "--ecgfm-skip-bad-records"}
    known |= {f"--ecgfm-{name.replace('_', '-')}" for name in OPTIONS if name}
    assert set(re.findall(r"--ecgfm(?:-[a-z]+)*", page.read_text(encoding="utf-8"))) <= known


def test_every_option_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in OPTIONS:
        assert (f"--ecgfm-{name.replace('_', '-')}" if name else "--ecgfm=") in text


def test_the_readme_states_the_defaults_of_the_profile():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    grid = load_profile("default").grid
    assert ", ".join(f"{100 * fraction:g}" for fraction in grid.fractions) + " %" in text
    assert all(f"`{label}`" in text for label in grid.labels)
    assert f"`{grid.references[0]}` by default" in text
