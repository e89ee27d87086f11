"""Which models a pytest run has, and whether what was asked of them can be judged."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_ecgfm.cards import (
    COHORTS,
    CohortCard,
    ModelCard,
    parse_card,
    parse_check_card,
    parse_cohort_card,
    parse_perturbation_card,
)
from pytest_ecgfm.cards.declarations import CHECK, COHORT, MODEL, PERTURBATION, PROBE, Declaration, declared_in
from pytest_ecgfm.cards.identity import file_digest
from pytest_ecgfm.encoders.exported import OnnxModel, read_card_file
from pytest_ecgfm.encoders.registry import fixture_modules
from pytest_ecgfm.encoders.sources import resolve_checkpoint
from pytest_ecgfm.errors import EcgfmError, unknown_name
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.evaluations.probe_kinds import PROBES, ProbeKind, forget_declared_probes, register_probe
from pytest_ecgfm.results.checks import CHECKS, Case, CheckKind, Threshold, forget_declared, register
from pytest_ecgfm.run.settings import Settings
from pytest_ecgfm.signals.perturbation import Perturbation
from pytest_ecgfm.signals.perturbations import (
    PERTURBATIONS,
    VARIANTS,
    forget_declared_perturbations,
    register_perturbation,
)

if TYPE_CHECKING:
    from pytest_ecgfm.encoders.base import Encoder
    from pytest_ecgfm.run.run import Run


def declared_models(config: pytest.Config) -> dict[str, tuple[Any, Declaration]]:
    """Find every `@ecg_model` fixture: built in, in conftest files, in modules given with ``-p``, in plugins.

    Raises
    ------
    EcgfmError
        If two declarations share a name.
    """
    return _declared(MODEL, "models", (*fixture_modules(), *_modules(config)))


def declared_cohorts(config: pytest.Config) -> dict[str, tuple[Any, Declaration, CohortCard]]:
    """Find every `@ecg_cohort` fixture, where models are found, and validate its card.

    Raises
    ------
    EcgfmError
        If two declarations share a name, or one has that of a published cohort; or if a card is malformed.
    """
    found = {}
    for name, (fixture, declaration) in _declared(COHORT, "cohorts", _modules(config)).items():
        card = parse_cohort_card(name, declaration.fields, where=declaration.where)
        if name in COHORTS:
            raise EcgfmError(f"{declaration.where}: the name {name!r} is that of a published cohort; choose another.")
        found[name] = fixture, declaration, card
    return found


def register_declared(config: pytest.Config) -> None:
    """Add what others declare to the tables of checks, perturbations and probes; found where models are.

    Raises
    ------
    EcgfmError
        If two declarations share a name, or one is malformed.
    """
    forget_all_declared()
    _register(_modules(config))


def forget_all_declared() -> None:
    """Remove the checks, perturbations and probes that others declared: they belong to one run."""
    forget_declared()
    forget_declared_perturbations()
    forget_declared_probes()


@contextmanager
def also_declared(given: Sequence[Any]) -> Iterator[None]:
    """Add what is given by hand to the tables, and leave them as they were.

    Parameters
    ----------
    given : sequence
        Functions that `ecg_check`, `ecg_perturbation` or `ecg_probe` decorates, or modules that hold such.

    Raises
    ------
    EcgfmError
        If one of them declares nothing, two share a name, or one is malformed.
    """
    modules = [
        one if isinstance(one, ModuleType) else SimpleNamespace(**{getattr(one, "__name__", "it"): one})
        for one in given
    ]
    for one, module in zip(given, modules, strict=True):
        if not any(declared_in(module, kind) for kind in (CHECK, PERTURBATION, PROBE)):
            raise EcgfmError(
                f"evaluate: declared has {one!r}, which declares nothing: give functions that ecg_check, "
                "ecg_perturbation or ecg_probe decorates, or modules that contain such functions."
            )
    tables: tuple[dict[Any, Any], ...] = (CHECKS, PERTURBATIONS, VARIANTS, PROBES)
    before = [dict(table) for table in tables]
    try:
        _register(modules)
        yield
    finally:
        for table, held in zip(tables, before, strict=True):
            table.clear()
            table.update(held)


def _register(modules: Sequence[Any]) -> None:
    for name, (function, declaration) in _declared(PROBE, "probes", modules).items():
        code = file_digest(Path(inspect.getfile(function))).hex()
        register_probe(ProbeKind(name, partial(_of_seed, function), where=declaration.where, code=code))
    for name, (function, declaration) in _declared(PERTURBATION, "perturbations", modules).items():
        about = parse_perturbation_card(name, declaration.fields, where=declaration.where)
        code = file_digest(Path(inspect.getfile(function))).hex()
        parts = about.parameter, about.units, about.severities, about.imitates, about.source
        register_perturbation(Perturbation(name, *parts, function, about.expected, declaration.where, code))
    for name, (function, declaration) in _declared(CHECK, "checks", modules).items():
        card = parse_check_card(name, declaration.fields, where=declaration.where)
        sense: Literal["minimum", "maximum"] = "maximum" if card.minimum is None else "minimum"
        variables = {variable: {"long_name": text, "units": card.units} for variable, text in card.variables.items()}
        default = Threshold(card.bound, sense, card.tier, card.decide, card.reason)
        what = name, card.title, "", card.cells, card.limits, variables, default
        register(CheckKind(*what, function, declaration.where, card.units))


def judged_by(kind: CheckKind) -> Callable[..., Measured]:
    """Return the function of a check that somebody else declared, which refuses what is no result."""

    def evaluate(run: "Run", encoder: "Encoder", case: Case) -> Measured:
        measured = kind.evaluate(run, encoder, case) if kind.evaluate is not None else None
        if not isinstance(measured, Measured):
            raise EcgfmError(
                f"{kind.where}: the check {kind.name!r} returned a {type(measured).__name__}, but should return a "
                "pytest_ecgfm.Measured, such as Measured.exact(0.5)."
            )
        for cell in measured.cells:
            kind.require_declared(cell.group, cell.values)
        return measured

    return evaluate


def _of_seed(function: Callable[[int], Any], seed: int, count: int) -> Any:
    return function(seed)


def _modules(config: pytest.Config) -> list[ModuleType]:
    plugins = [plugin for plugin in config.pluginmanager.get_plugins() if isinstance(plugin, ModuleType)]
    return sorted(plugins, key=lambda plugin: plugin.__name__)


def _declared(attribute: str, kind: str, modules: Iterable[Any]) -> dict[str, tuple[Any, Declaration]]:
    found: dict[str, tuple[Any, Declaration]] = {}
    for module in modules:
        for name, (_, fixture, declaration) in declared_in(module, attribute).items():
            if name in found and found[name][1] is not declaration:
                places = f"{found[name][1].where} and {declaration.where}"
                raise EcgfmError(f"two {kind} are named {name!r}: {places}.")
            found[name] = fixture, declaration
    return found


def model_cards(config: pytest.Config, settings: Settings) -> dict[str, ModelCard]:
    """Validate the card of every encoder of a run, and that its weights were named.

    Raises
    ------
    EcgfmError
        One line: which model or card, what is wrong, what would be valid.
    """
    declared = declared_models(config)
    cards = {}
    for name in settings.encoders:
        if name in settings.card_files:
            if name in declared:
                raise EcgfmError(
                    f"--ecgfm: {settings.card_files[name].name} and {declared[name][1].where} have the same name."
                )
            cards[name] = read_card_file(settings.card_files[name])[0]
            continue
        if name not in declared:
            where = "--ecgfm" if name in settings.models else "--ecgfm-reference"
            raise unknown_name("model", name, declared, where=where)
        declaration = declared[name][1]
        cards[name] = card = parse_card(name, declaration.fields, where=declaration.where)
        if card.checkpoint:
            # A file that is not there is found now; one on a hub is fetched when the model is first used.
            resolve_checkpoint(card, settings.checkpoints, download=Path)
    for name in settings.checkpoints:
        if name not in cards:
            raise unknown_name("model", name, cards, where="--ecgfm-checkpoint")
    return cards


def require_cells(settings: Settings, planned: Iterable[Case]) -> None:
    """Refuse a run in which something that was asked for would not be judged."""
    cases = list(planned)
    profile = f"profile {settings.profile.name}: no [[check]] entry"
    for suite in settings.suites:
        mine = [case for case in cases if CHECKS[case.check].suite == suite]
        if not mine:
            labels = ", ".join((*settings.labels, *settings.quantities, *settings.sets))
            fractions = ", ".join(f"{one:g}" for one in settings.fractions)
            asked = f"labels {labels or 'none'} and fractions {fractions or 'none'}"
            raise EcgfmError(f"{profile} holds for suite {suite} at {asked}, so it would judge nothing.")
        for label in settings.labels:
            of_labels = {case.label for case in mine if CHECKS[case.check].of == "label"} - {""}
            if of_labels and label not in of_labels:
                raise EcgfmError(f"{profile} of suite {suite} holds for label {label}.")
        for name in (*settings.quantities, *settings.sets) if suite == "downstream" else ():
            if name not in {case.label for case in mine}:
                raise EcgfmError(f"{profile} of suite {suite} holds for {name}.")
        by_fraction = any(
            "fraction" in CHECKS[rule.name].cells for rule in settings.profile.check if CHECKS[rule.name].suite == suite
        )
        for fraction in settings.fractions if by_fraction else ():
            if fraction not in {case.fraction for case in mine}:
                raise EcgfmError(f"{profile} of suite {suite} holds for fraction {fraction:g}.")


def exported_fixture(name: str, card_file: Path) -> Any:
    """Make the fixture of a model that is given as a card."""

    @pytest.fixture(scope="session", name=name)
    def model() -> OnnxModel:
        return OnnxModel(read_card_file(card_file)[1])

    return model
