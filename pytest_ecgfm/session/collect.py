"""How the suites are found and collected, whatever the user's own collection options say."""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

SUITES_PACKAGE = "pytest_ecgfm.suites"


@cache
def suites_folder() -> Path:
    """Return the folder of the shipped suites, in a wheel or an editable install."""
    spec = find_spec(SUITES_PACKAGE)
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))).resolve()


class SuiteModule(pytest.Module):
    """One suite: imported under one name in every kind of install."""

    def _getobj(self) -> Any:
        return import_module(f"{SUITES_PACKAGE}.{self.path.stem}")

    def funcnamefilter(self, name: str) -> bool:
        """Ignore the user's ``python_functions``."""
        return name.startswith("test_")

    def classnamefilter(self, name: str) -> bool:
        """Collect no classes: the suites have none."""
        return False

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Collect the suite's tests; without a model there is nothing that they could test."""
        if not self.config.pluginmanager.has_plugin("ecgfm-session"):
            raise self.CollectError("the suites need a model: add --ecgfm=NAME")
        return super().collect()


class SuiteDirectory(pytest.Directory):
    """The folder of the suites."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Yield one module for each suite that was asked for; without a model, all, to say what is missing."""
        session = self.config.pluginmanager.get_plugin("ecgfm-session")
        for path in sorted(self.path.glob("test_*.py")):
            suite = path.stem.removeprefix("test_")
            if session is None or suite in session.settings.suites or (suite == "declared" and session.has_declared):
                yield SuiteModule.from_parent(self, path=path)


def collect_directory(path: Path, parent: pytest.Collector) -> SuiteDirectory | None:
    """Return our collector if `path` is the suites' folder."""
    if path.resolve() != suites_folder():
        return None
    directory: SuiteDirectory = SuiteDirectory.from_parent(parent, path=path)
    return directory


def collect_module(path: Path, parent: pytest.Collector) -> SuiteModule | None:
    """Return our collector if `path` is one of the suites."""
    if path.parent.resolve() != suites_folder():
        return None
    module: SuiteModule = SuiteModule.from_parent(parent, path=path)
    return module
