"""Names of built-in models, and cards in files, to encoders. Works without a pytest run."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.encoders.base import Encoder, choose_device
from pytest_ecgfm.errors import unknown_name
from pytest_ecgfm.models import Declaration, declared_in


def fixture_modules() -> list[Any]:
    """Import the modules that hold the built-in model fixtures."""
    package = import_module("pytest_ecgfm.fixtures")
    return [import_module(f"{package.__name__}.{found.name}") for found in iter_modules(package.__path__)]


def builtin_models() -> dict[str, Declaration]:
    """Built-in models by name."""
    return {
        name: declaration for module in fixture_modules() for name, (_, _, declaration) in declared_in(module).items()
    }


def load_encoder(name: str, *, device: str = "auto", precision: str = "float32") -> Encoder:
    """Load a built-in encoder.

    Parameters
    ----------
    name : str
        Such as ``"handcrafted"``.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    precision : {"float32", "bfloat16"}
        See `Encoder`.

    Raises
    ------
    EcgfmError
        If the name is unknown; the message offers the nearest one.
    """
    models = builtin_models()
    if name not in models:
        raise unknown_name("model", name, models)
    declaration = models[name]
    card = parse_card(name, declaration.fields, where=declaration.where)
    return Encoder(card, declaration.function(), device=choose_device(device), precision=precision)
