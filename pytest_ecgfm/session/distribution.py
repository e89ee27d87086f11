"""Which worker of pytest-xdist evaluates what."""

from collections.abc import Mapping
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from pytest_ecgfm.results.checks import Case


def group_of(case: Case) -> str:
    """Return what a check shares its work with: a cohort; the map, which is one for all; or a label in all cohorts."""
    return f"{case.encoder} {'' if case.space == 'umap' else case.cohort or case.label}"


def scheduler(config: pytest.Config, log: Any, groups: Mapping[str, str]) -> "ByGroup | None":
    """Return a scheduler that keeps groups of checks together, unless the user chose one.

    Parameters
    ----------
    config : pytest.Config
        Of the controller.
    log : xdist.remote.Producer
        For messages.
    groups : mapping of str to str
        From a check's parameters, as in the brackets of its node id, to its group.
    """
    asked = [*config.invocation_params.args, *config.getini("addopts")]
    if config.getvalue("dist") != "load" or any(str(one).startswith("--dist") for one in asked):
        return None
    return ByGroup(config, log, groups)


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
    """One worker after the other takes a whole group: probes and embeddings of a group are made in one process only.

    The largest groups go first. Tests that are no check of ours are groups of their own.
    """

    def __init__(self, config: pytest.Config, log: Any, groups: Mapping[str, str]) -> None:
        super().__init__(config, log)
        self._groups = groups

    def _split_scope(self, nodeid: str) -> str:
        _, _, parameters = nodeid.partition("[")
        return self._groups.get(parameters.removesuffix("]"), nodeid)
