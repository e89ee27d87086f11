import pytest

from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.report.page import render
from tests.report.runs import write_run


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A run that has everything; nobody writes into it."""
    return write_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture(scope="session")
def page(made):
    """Its page."""
    return render(load(made[0]))
