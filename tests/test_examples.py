"""The examples in docstrings run, and everything that is public for notebooks has one."""

import doctest
import importlib
import inspect

import pytest

import pytest_ecgfm
from tests.doc_blocks import ROOT

PUBLIC = ROOT / "docs" / "api.md"
NAMED = [line.split()[1] for line in PUBLIC.read_text(encoding="utf-8").splitlines() if line.startswith("::: ")]
"""What the API page documents."""

WITH_EXAMPLES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for path in (ROOT / "pytest_ecgfm").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def named(full):
    module, _, name = full.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_a_module_run(module):
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert tried and not failed


def test_the_page_names_everything_public():
    assert {f"pytest_ecgfm.{name}" for name in pytest_ecgfm.__all__} - {"pytest_ecgfm.evaluations"} <= set(NAMED)


@pytest.mark.parametrize("full", [one for one in NAMED if ".evaluations." in one])
def test_every_evaluation_on_the_page_has_an_example(full):
    assert ">>> " in inspect.getdoc(named(full))
