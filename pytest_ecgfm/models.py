"""`@ecg_model`: how a foundation model becomes a fixture."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FIELDS_ATTRIBUTE = "_ecgfm_declaration"


@dataclass(frozen=True)
class Declaration:
    """What `@ecg_model` was given, not yet validated (so that a bad card is one line, not a failed import)."""

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
        ``embed(batch)``, mapping ``(batch, leads, samples)`` to ``(batch, dimensions)``.

    Examples
    --------
    >>> from pytest_ecgfm import ecg_model
    >>> @ecg_model(sampling_rate=100, seconds=10, leads="II V1", pretrained_on=[])
    ... def mean_and_spread():
    ...     return lambda x: __import__("torch").cat([x.mean(-1), x.std(-1)], dim=1)
    """

    def decorate(function: Callable[..., Any]) -> Any:
        chosen = name or function.__name__
        fixture = pytest.fixture(scope="session", name=chosen)(function)
        line = inspect.getsourcelines(function)[1] if hasattr(function, "__code__") else 0
        where = f"{Path(inspect.getfile(function)).name}:{line}"
        setattr(fixture, FIELDS_ATTRIBUTE, Declaration(chosen, card, where, function))
        return fixture

    return decorate


def declared_in(namespace: object) -> dict[str, tuple[str, Any, Declaration]]:
    """Find the `@ecg_model` fixtures among a module's attributes.

    Returns
    -------
    dict
        Name to (attribute, fixture, declaration).
    """
    found = {}
    for attribute, value in vars(namespace).items():
        # Some modules hold proxies that answer to any attribute, so the type is checked as well.
        declaration = getattr(value, FIELDS_ATTRIBUTE, None) if callable(value) else None
        if isinstance(declaration, Declaration):
            found[declaration.name] = (attribute, value, declaration)
    return found
