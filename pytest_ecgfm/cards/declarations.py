"""`@ecg_model`, `@ecg_cohort`, `@ecg_check` and others: how what is one's own is declared."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_ecgfm.errors import EcgfmError

MODEL = "_ecgfm_declaration"
COHORT = "_ecgfm_cohort_declaration"
CHECK = "_ecgfm_check_declaration"
PERTURBATION = "_ecgfm_perturbation_declaration"
PROBE = "_ecgfm_probe_declaration"
"""Attributes of fixtures and functions that hold their declarations."""


@dataclass(frozen=True)
class Declaration:
    """What a decorator was given, not yet validated (so that a bad card is one line, not a failed import)."""

    name: str
    fields: dict[str, Any]
    where: str
    function: Callable[..., Any]


def ecg_model(*, name: str | None = None, **card: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare a fixture that returns an encoder, together with its card.

    Parameters
    ----------
    name : str, optional
        What ``--ecgfm`` calls it; the function's name by default.
    **card
        The fields of `pytest_ecgfm.cards.ModelCard`.

    Returns
    -------
    callable
        A decorator. The decorated function becomes a session-scoped fixture and may ask for other session-scoped
        fixtures. It returns a `torch.nn.Module`, a callable on a float32 tensor or array, or an object with
        ``embed(batch)``. Each maps ``(batch, leads, samples)`` to ``(batch, dimensions)``.

    Examples
    --------
    >>> from pytest_ecgfm import ecg_model
    >>> @ecg_model(sampling_rate=100, seconds=10, leads="II V1", pretrained_on=[])
    ... def mean_and_spread():
    ...     return lambda x: __import__("torch").cat([x.mean(-1), x.std(-1)], dim=1)
    """
    return _declare(MODEL, name, card)


def ecg_cohort(*, name: str | None = None, **card: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare a fixture that returns the signals and the table of a cohort of your own.

    Parameters
    ----------
    name : str, optional
        What ``--ecgfm-cohorts`` calls it; the function's name by default.
    **card
        The fields of `pytest_ecgfm.cards.CohortCard`: ``sampling_rate`` in Hz; also ``leads`` (default: the twelve),
        ``units`` (default: mV), ``continent``, ``labels``, ``country``, ``years``, ``devices``, ``licence``,
        ``label_origin`` and ``source``.

    Returns
    -------
    callable
        A decorator. The decorated function becomes a session-scoped fixture and may ask for other session-scoped
        fixtures. It returns ``(signals, table)`` as `pytest_ecgfm.cohorts.own.OwnCohort` takes them.

    Examples
    --------
    >>> import numpy, pandas
    >>> from pytest_ecgfm import ecg_cohort
    >>> @ecg_cohort(sampling_rate=250, leads="I II", continent="Europe")
    ... def my_hospital():
    ...     table = pandas.DataFrame({"AF": [1, 0], "patient": ["a", "b"]}, index=["ecg1", "ecg2"])
    ...     return numpy.zeros((2, 2, 2500)), table
    """
    return _declare(COHORT, name, card)


def ecg_check(name: str, **card: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a check of your own: it is collected, judged and reported like the checks of the package.

    Parameters
    ----------
    name : str
        A suite of your own, a dot, and the check: ``"fairness.sex_gap"``.
    **card
        The fields of `pytest_ecgfm.cards.CheckCard`: ``title``, ``reason``, and ``minimum`` or ``maximum``; also
        ``cells`` (default: ``("cohort",)``), ``tier``, ``decide``, ``limits``, ``units``, ``variables``.

    Returns
    -------
    callable
        A decorator, which returns the function as it is. The function takes the run
        (`pytest_ecgfm.run.run.Run`), the encoder (`pytest_ecgfm.encoders.base.Encoder`) and the case
        (`pytest_ecgfm.results.checks.Case`), and returns a `pytest_ecgfm.Measured`.

    Examples
    --------
    >>> from pytest_ecgfm import Measured, ecg_check
    >>> @ecg_check("size.dimensions", title="Dimensions of the embedding", maximum=1024, reason="what our index holds")
    ... def dimensions(run, encoder, case):
    ...     return Measured.exact(run.embeddings(encoder, run.cohort(case.cohort)).shape[1])
    """
    return _mark(CHECK, name, card)


def ecg_perturbation(name: str, **card: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a perturbation of your own; profiles may name it in the checks of the stability suite.

    Parameters
    ----------
    name : str
        A namespace of your own, a dot, and the perturbation: ``"mine.tremor"``.
    **card
        The fields of `pytest_ecgfm.cards.PerturbationCard`: ``parameter`` and ``severities``; also ``units``,
        ``imitates``, ``source``, ``expected``.

    Returns
    -------
    callable
        A decorator, which returns the function as it is. The function takes a batch
        (`pytest_ecgfm.signals.records.RecordBatch`, in mV), the severity, and a function from a record's name to its
        own `numpy.random.Generator`. It returns the changed signals, shape (records, leads, samples), and leaves the
        batch as it is.

    Examples
    --------
    >>> from pytest_ecgfm import ecg_perturbation
    >>> @ecg_perturbation("mine.offset", parameter="offset of every lead", units="mV", severities=(0.5, 1.0))
    ... def offset(batch, severity, generator):
    ...     return batch.signals + severity
    """
    return _mark(PERTURBATION, name, card)


def ecg_probe(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a probe of your own; a profile may name it in place of the logistic probe.

    It is fitted on the same splits, shares of the patients and seeds as any other probe.

    Parameters
    ----------
    name : str
        A namespace of your own, a dot, and the probe: ``"mine.svm"``. A profile chooses it by ``probe = "mine.svm"``
        in its ``[grid]``.

    Returns
    -------
    callable
        A decorator, which returns the function as it is. The function takes the seed, and returns an unfitted
        scikit-learn classifier (or pipeline) with ``predict_proba`` or ``decision_function``. It is fitted to
        embeddings that are z-scored by the training records, shape (records, dimensions), and to targets True or False.

    Examples
    --------
    >>> from pytest_ecgfm import ecg_probe
    >>> @ecg_probe("mine.svm")
    ... def svm(seed):
    ...     from sklearn.svm import SVC
    ...     return SVC(random_state=seed)
    """
    return _mark(PROBE, name, {})


def _mark(kind: str, name: str, card: dict[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(function, kind, Declaration(name, card, _place(function), function))
        return function

    return decorate


def _place(function: Callable[..., Any]) -> str:
    # From the code itself: the source is not there in a notebook, or in an archive.
    line = function.__code__.co_firstlineno if hasattr(function, "__code__") else 0
    return f"{Path(inspect.getfile(function)).name}:{line}"


def _declare(kind: str, name: str | None, card: dict[str, Any]) -> Callable[[Callable[..., Any]], Any]:
    def decorate(function: Callable[..., Any]) -> Any:
        chosen = name or function.__name__
        fixture = pytest.fixture(scope="session", name=chosen)(function)
        setattr(fixture, kind, Declaration(chosen, card, _place(function), function))
        return fixture

    return decorate


def declared_in(namespace: object, kind: str = MODEL) -> dict[str, tuple[str, Any, Declaration]]:
    """Find the `@ecg_model` fixtures (or, with `COHORT`, the `@ecg_cohort` ones) among a module's attributes.

    Returns
    -------
    dict
        Name to (attribute, fixture, declaration).

    Raises
    ------
    EcgfmError
        If two declarations of the module share a name.
    """
    found: dict[str, tuple[str, Any, Declaration]] = {}
    for attribute, value in vars(namespace).items():
        # Some modules hold proxies that answer to any attribute, so the type is checked as well.
        declaration = getattr(value, kind, None) if callable(value) else None
        if isinstance(declaration, Declaration):
            held = found.get(declaration.name)
            if held is not None and held[2] is not declaration:
                places = f"{held[2].where} and {declaration.where}"
                raise EcgfmError(f"two declarations are named {declaration.name!r}: {places}.")
            found[declaration.name] = (attribute, value, declaration)
    return found
