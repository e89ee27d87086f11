"""Which options left out a part of what the profile asks for: a pass of such a run is a pass of that part only."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ecgfm.cohorts.targets import canonical
from pytest_ecgfm.evaluations.splits import seeds_for
from pytest_ecgfm.results.checks import SUITES, suites
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.identity import left_out

if TYPE_CHECKING:
    import pytest

    from pytest_ecgfm.run.settings import Settings


def narrowed(settings: "Settings", cohorts: Sequence[str], own_labels: Iterable[str]) -> dict[str, str]:
    """Compare what a run evaluates with what its profile asks for.

    Parameters
    ----------
    settings : Settings
        Of the run.
    cohorts : sequence of str
        Those that the run has where no option names any.
    own_labels : iterable of str
        Labels that the cards of cohorts of one's own name: they are asked for beside the profile's.

    Returns
    -------
    dict of str to str
        Option to what it left out. What a repeated run's ``run.toml`` left out already is kept.
    """
    profile = settings.profile
    grid, where = profile.grid, f"profile {profile.name}"
    # Checks of one's own are part of each run that names no suites, and transfer needs two cohorts.
    wanted_suites = [
        one
        for one in dict.fromkeys((*grid.suites, *(one for one in suites() if one not in SUITES)))
        if one != "transfer" or len(settings.cohorts) > 1
    ]
    wanted_labels = [canonical(one, where) for one in dict.fromkeys((*grid.labels, *own_labels))]
    found = {
        "--ecgfm-suites": left_out(wanted_suites, settings.suites),
        "--ecgfm-cohorts": left_out(cohort_order(cohorts), cohort_order(settings.cohorts)),
        "--ecgfm-labels": left_out(wanted_labels, (*settings.labels, *settings.quantities, *settings.sets)),
        "--ecgfm-fractions": left_out(_shares(grid.fractions), _shares(settings.fractions)),
        "--ecgfm-seeds": _seeds(settings),
        "--ecgfm-reference": left_out(grid.references, settings.references or ("none",)),
        "--ecgfm-limit": f"at most {settings.limit} records a cohort" if settings.limit != profile.run.limit else "",
    }
    return {**profile.run.narrowed, **{option: words for option, words in found.items() if words}}


def _shares(fractions: Iterable[float]) -> list[str]:
    return [f"{100 * one:.6g} %" for one in sorted(fractions)]


def _seeds(settings: "Settings") -> str:
    """Say whether fewer seeds are fitted than the profile, or else the method, has for any of the fractions."""
    most, chosen = settings.profile.grid.seeds, settings.seeds
    fewer = any(len(seeds_for(one)[:chosen]) < len(seeds_for(one)[:most]) for one in settings.fractions)
    return f"at most {chosen} a fraction" if fewer else ""


def selection(config: "pytest.Config", missing: Sequence[str], deselected: int = 0) -> dict[str, str]:
    """Name the options of pytest for which planned checks were not evaluated.

    Parameters
    ----------
    config : pytest.Config
        Of the run.
    missing : sequence of str
        Planned checks without a result. Where there is none, nothing was narrowed, whatever the options say.
    deselected : int
        Tests of the suites that were deselected, by an option or by a plugin.

    Returns
    -------
    dict of str to str
        Option to what it left out.
    """
    if not missing:
        return {}
    option: Any = config.option
    given: Mapping[str, Any] = {
        "-k": getattr(option, "keyword", ""),
        "-m": getattr(option, "markexpr", ""),
        "--deselect": getattr(option, "deselect", None),
        "--ignore": getattr(option, "ignore", None) or getattr(option, "ignore_glob", None),
        "--last-failed": getattr(option, "lf", False),
        "--stepwise": getattr(option, "stepwise", False) or getattr(option, "stepwise_skip", False),
        "--maxfail": getattr(option, "maxfail", 0),
        "paths": _paths(config),
    }
    many = f"{len(missing)} planned check{'s' if len(missing) > 1 else ''} not evaluated"
    found = {name: f"{_written(value)}: {many}" for name, value in given.items() if value}
    if not found and deselected:
        found["a plugin"] = f"{deselected} tests deselected: {many}"
    return found


def _paths(config: "pytest.Config") -> list[str]:
    """Return the paths and node ids that choose a part of the suites, or other tests instead of them."""
    import pytest

    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return []
    return [one for one in map(str, config.args) if "::" in one or not one.endswith("pytest_ecgfm.suites")]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "given"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
