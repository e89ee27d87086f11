"""Options, ini keys and profile, as one frozen object. Usage errors are raised here."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ecgfm.cards import COHORTS
from pytest_ecgfm.cohorts import available_cohorts
from pytest_ecgfm.cohorts.endpoints import Endpoint
from pytest_ecgfm.cohorts.quantities import Quantity
from pytest_ecgfm.cohorts.targets import Definitions, chosen_targets, read_targets
from pytest_ecgfm.embeddings.store import cache_folder
from pytest_ecgfm.encoders.base import PRECISIONS, require_device
from pytest_ecgfm.encoders.exported import read_card_file
from pytest_ecgfm.encoders.sources import parse_checkpoints
from pytest_ecgfm.errors import EcgfmError, unknown_name
from pytest_ecgfm.evaluations.probe_kinds import PROBES
from pytest_ecgfm.results.checks import SUITES, Case, Threshold, cells, suites
from pytest_ecgfm.results.identity import digest_of, profile_digest
from pytest_ecgfm.results.profiles import Asked, Profile, load_profile
from pytest_ecgfm.run.narrowing import narrowed

if TYPE_CHECKING:
    from pytest_ecgfm.results.baseline import Baseline

NO_REFERENCE = "none"
"""As a reference: no encoder is compared with."""

_LONGEST = 1e6
"""Seconds; more than a week."""


@dataclass(frozen=True)
class Settings:
    """What a run was asked for, every default filled in."""

    models: tuple[str, ...]
    card_files: Mapping[str, Path]
    checkpoints: Mapping[str, str]
    profile: Profile
    data: Path | None
    cohorts: tuple[str, ...]
    labels: tuple[str, ...]
    fractions: tuple[float, ...]
    seeds: int | None
    suites: tuple[str, ...]
    references: tuple[str, ...]
    baselines: Mapping[str, "Baseline"]
    out: Path | None
    cache: Path
    device: str
    dask: str | None
    batch_size: int
    precision: str
    limit: int | None
    skip_bad_records: bool
    pseudonyms: bool = False
    references_named: bool = False
    timeout: float | None = None
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    narrowed: Mapping[str, str] = field(default_factory=dict)

    @property
    def encoders(self) -> tuple[str, ...]:
        """Models under test and reference encoders, each once."""
        return tuple(dict.fromkeys((*self.models, *self.references)))

    def planned(self) -> dict[Case, Threshold]:
        """Return every cell that the profile judges, with what it demands, for each model under test."""
        out = {}
        for model in self.models:
            for case in cells(
                model,
                cohorts=self.cohorts,
                labels=self.labels,
                fractions=self.fractions,
                references=self.references,
                baselines=tuple(self.baselines),
                suites=self.suites,
                quantities=tuple(self.quantities),
                sets=tuple(self.sets),
            ):
                threshold = self.profile.threshold(case)
                if threshold is not None:
                    out[case] = threshold
        return out

    def resolved_profile(self) -> Profile:
        """Return the profile that repeats this run."""
        grid = self.profile.grid.model_copy(
            update={
                "suites": self.suites,
                "labels": (*self.labels, *self.quantities, *self.sets),
                "fractions": self.fractions,
                "seeds": self.seeds,
                "references": self.references,
            }
        )
        asked = Asked.model_validate(
            {
                "models": tuple(str(self.card_files.get(name, name)) for name in self.models),
                "checkpoints": tuple(f"{name}={place}" for name, place in self.checkpoints.items()),
                "data": str(self.data) if self.data else "",
                "cohorts": self.cohorts,
                "limit": self.limit,
                "skip_bad_records": self.skip_bad_records,
                "pseudonyms": self.pseudonyms,
                "precision": self.precision,
                "baselines": tuple(str(one.path) for one in self.baselines.values()),
                "probe_code": PROBES[self.profile.grid.probe].code,
                "profile_digest": profile_digest(self.profile),
                "narrowed": dict(self.narrowed),
            }
        )
        whole = self.profile.model_copy(update={"grid": grid, "run": asked})
        return whole.model_copy(update={"run": asked.model_copy(update={"asked_digest": digest_of(whole)})})


class Options:
    """Command line first, then ini; knows the option's name for messages."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def text(self, name: str) -> str | None:
        """Return the option's text, or None if it was not given; an empty one is an error."""
        given: Any = self._config.getoption(f"ecgfm_{name}" if name else "ecgfm")
        if given is None or given == []:
            given = self._config.getini(f"ecgfm_{name}" if name else "ecgfm") or None
            if given is None:
                return None
        joined = ",".join(given) if isinstance(given, list) else str(given)
        if not joined.strip(" ,"):
            raise EcgfmError(f"{self.flag(name)} was given without a value.")
        return joined.strip()

    def path(self, name: str) -> Path | None:
        """Return a path: an option's from the working folder, an ini key's from the ini file's folder."""
        given = self.text(name)
        if given is None:
            return None
        ini = self._config.inipath
        from_ini = self._config.getoption(f"ecgfm_{name}") is None and ini is not None
        base = ini.parent if from_ini and ini is not None else Path.cwd()
        return (base / Path(given).expanduser()).absolute()

    def names(self, name: str) -> tuple[str, ...] | None:
        """Return a comma-separated option as names, each once."""
        joined = self.text(name)
        if joined is None:
            return None
        return tuple(dict.fromkeys(part.strip() for part in joined.split(",") if part.strip()))

    def chosen(self, name: str, kind: str, valid: Iterable[str]) -> tuple[str, ...] | None:
        """Return names that must be among `valid`, in the order of `valid`."""
        given = self.names(name)
        if given is None:
            return None
        known = list(valid)
        for part in given:
            if part not in known:
                raise unknown_name(kind, part, known, where=self.flag(name))
        return tuple(part for part in known if part in given)

    def whole(self, name: str) -> int | None:
        """Return a positive whole number."""
        given = self.text(name)
        if given is None:
            return None
        if not given.isdigit() or int(given) < 1:
            raise EcgfmError(f"{self.flag(name)}={given}: should be a whole number, 1 or more.")
        return int(given)

    @staticmethod
    def flag(name: str) -> str:
        """Spell the option as on the command line."""
        return f"--ecgfm-{name.replace('_', '-')}" if name else "--ecgfm"


def _fractions(options: Options) -> tuple[float, ...] | None:
    given = options.names("fractions")
    if given is None:
        return None
    out = []
    for part in given:
        try:
            value = float(part[:-1]) / 100 if part.endswith("%") else float(part)
        except ValueError:
            value = float("nan")
        if not 0 < value <= 1:
            raise EcgfmError(f"--ecgfm-fractions: {part!r} should be above 0 and at most 1 (or 100%).")
        out.append(value)
    return tuple(sorted(set(out)))


def _one_of(options: Options, name: str, valid: Sequence[str], default: str) -> str:
    given = options.text(name) or default
    if given not in valid:
        raise unknown_name(name.replace("_", " "), given, valid, where=options.flag(name))
    return given


def _card_file(model: str) -> tuple[str, Path | None]:
    """Return a model's name and, for one that is given as a card, the card's path."""
    if not model.endswith(".toml"):
        return model, None
    path = Path(model).expanduser().absolute()
    return read_card_file(path)[0].name, path


def _suites(options: Options, default: tuple[str, ...], cohorts: Sequence[str]) -> tuple[str, ...]:
    asked = options.chosen("suites", "suite", suites())
    # Checks of one's own are part of each run that names no suites.
    default = tuple(dict.fromkeys((*default, *(one for one in suites() if one not in SUITES))))
    if len(cohorts) > 1 or "transfer" not in (asked or default):
        return asked or default
    if asked is not None:
        raise EcgfmError(f"--ecgfm-suites: transfer needs two cohorts, but there is only {', '.join(cohorts)}.")
    return tuple(suite for suite in default if suite != "transfer")


def _references(options: Options, default: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Return the reference encoders, and whether they were named for this run rather than by the profile."""
    given = options.names("reference")
    if given is None:
        return default, False
    if NO_REFERENCE in given and len(given) > 1:
        others = ", ".join(name for name in given if name != NO_REFERENCE)
        raise EcgfmError(f"--ecgfm-reference: {NO_REFERENCE} and {others} exclude each other; give one of the two.")
    return () if given == (NO_REFERENCE,) else given, True


def _timeout(options: Options, dask: str | None) -> float | None:
    given = options.text("timeout")
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = float("nan")
    if not 0 < seconds <= _LONGEST:
        raise EcgfmError(f"--ecgfm-timeout={given}: should be a number of seconds, above 0 and at most {_LONGEST:g}.")
    if dask is not None:
        raise EcgfmError("--ecgfm-timeout and --ecgfm-dask: batches on a cluster are not watched; give one of the two.")
    return seconds


def _baselines(options: Options, asked: Asked) -> dict[str, "Baseline"]:
    given = options.names("baseline") or asked.baselines
    if not given:
        return {}
    # Only now: it imports what reads a cube.
    from pytest_ecgfm.results.baseline import load_baselines

    try:
        return load_baselines([Path(one).expanduser() for one in given])
    except EcgfmError as error:
        raise EcgfmError(f"--ecgfm-baseline: {error}") from None


def dask_address(options: Options, config: pytest.Config) -> str | None:
    """Return where the cluster is that was asked for, if one was.

    Raises
    ------
    EcgfmError
        If it is no address, Dask is not installed, or every process of ``-n`` would start a cluster.
    """
    given = options.text("dask")
    if given is None:
        return None
    if not re.fullmatch(r"local(:[1-9]\d*)?|(tcp|tls)://.+:\d+", given):
        raise EcgfmError(f"--ecgfm-dask={given}: should be local, local:N, tcp://host:port or tls://host:port.")
    if find_spec("distributed") is None:
        raise EcgfmError("--ecgfm-dask: Dask is not installed; pip install 'pytest-ecgfm[dask]'.")
    if given.startswith("local") and (config.getoption("numprocesses", None) or hasattr(config, "workerinput")):
        raise EcgfmError(f"--ecgfm-dask={given} and -n: each worker of -n would start a cluster; give one of the two.")
    return given


def _others(found: Sequence[str], own: Sequence[str]) -> Sequence[str]:
    for name in own:
        if name in found:
            raise EcgfmError(f"the cohort {name!r} is declared by a fixture, and is also in the data folder.")
    return found


def read_settings(config: pytest.Config, own_cohorts: Mapping[str, Sequence[str]] | None = None) -> Settings:
    """Build the settings of a run.

    Parameters
    ----------
    config : pytest.Config
        Options and ini keys.
    own_cohorts : mapping of str to sequence of str, optional
        Cohorts that fixtures declare, with the labels that their cards name. They are part of each run that names no
        cohorts; the embedded ones are then not, unless they are named.

    Raises
    ------
    EcgfmError
        One line: which option, why, and the valid values.
    """
    options = Options(config)
    own_cohorts = own_cohorts or {}
    labels_file = options.path("labels_file")
    definitions = read_targets(labels_file) if labels_file else Definitions()
    asked_labels = options.names("labels")
    profile = load_profile(
        options.text("profile") or "default",
        labels=(
            *definitions.names,
            *(asked_labels or ()),
            *(label for named in own_cohorts.values() for label in named),
        ),
    )
    profile = profile.with_definitions(definitions)
    grid, asked = profile.grid, profile.run
    models = options.names("") or asked.models
    if not models:
        raise EcgfmError("--ecgfm: name a model to test.")
    named = {name: _card_file(name) for name in models}
    # A run that is repeated keeps to its own data, also where that was the embedded cohorts.
    otherwise = asked.data if asked.models else os.environ.get("ECGFM_DATA")
    root = options.path("data") or (Path(otherwise).expanduser().absolute() if otherwise else None)
    found = (*own_cohorts, *_others(available_cohorts(root), tuple(own_cohorts)))
    for name in (name for rule in profile.check for name in rule.cohorts):
        if name not in (*COHORTS, *found):
            raise unknown_name("cohort", name, (*COHORTS, *found), where=f"profile {profile.name}: check.cohorts")
    unnamed = asked.cohorts or (tuple(own_cohorts) if own_cohorts and root is None else found)
    cohorts = options.chosen("cohorts", "cohort", found) or unnamed
    for name in cohorts:
        if name not in found:
            raise unknown_name("cohort", name, found, where="run.cohorts")
    references, named_here = _references(options, grid.references)
    dask = dask_address(options, config)
    cards_name = tuple(label for name in cohorts for label in own_cohorts.get(name, ()))
    targets = chosen_targets(
        asked_labels or (*grid.labels, *cards_name),
        profile.definitions,
        where=f"profile {profile.name}" if asked_labels is None else "--ecgfm-labels",
    )
    size = options.text("batch_size") or "auto"
    if size != "auto" and (not size.isdigit() or int(size) < 1):
        raise EcgfmError(f"--ecgfm-batch-size={size}: should be auto, or a whole number, 1 or more.")
    settings = Settings(
        models=tuple(dict.fromkeys(name for name, _ in named.values())),
        card_files={name: path for name, path in named.values() if path is not None},
        checkpoints=parse_checkpoints(options.names("checkpoint") or asked.checkpoints),
        profile=profile,
        data=root,
        cohorts=cohorts,
        labels=targets.labels,
        fractions=_fractions(options) or tuple(sorted(grid.fractions)),
        seeds=options.whole("seeds") or grid.seeds,
        suites=_suites(options, grid.suites, cohorts),
        references=references,
        baselines=_baselines(options, asked),
        out=options.path("out"),
        cache=cache_folder(options.path("cache")),
        device=require_device(options.text("device") or "auto"),
        dask=dask,
        batch_size=64 if size == "auto" else int(size),
        precision=_one_of(options, "precision", PRECISIONS, asked.precision),
        limit=options.whole("limit") or asked.limit,
        skip_bad_records=bool(
            config.getoption("ecgfm_skip_bad_records")
            or config.getini("ecgfm_skip_bad_records")
            or asked.skip_bad_records
        ),
        pseudonyms=bool(config.getoption("ecgfm_pseudonyms") or config.getini("ecgfm_pseudonyms") or asked.pseudonyms),
        references_named=named_here,
        timeout=_timeout(options, dask),
        endpoints=targets.endpoints,
        quantities=targets.quantities,
        sets=targets.sets,
    )
    return replace(settings, narrowed=narrowed(settings, unnamed, cards_name))
