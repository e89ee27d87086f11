"""Names of built-in models, and cards in files, to encoders. Works without a pytest run."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import Declaration, declared_in
from pytest_ecgfm.encoders.base import Encoder, require_device
from pytest_ecgfm.encoders.sources import resolve_checkpoint
from pytest_ecgfm.errors import unknown_name


def fixture_modules() -> list[Any]:
    """Import the modules that hold the built-in model fixtures."""
    package = import_module("pytest_ecgfm.fixtures")
    return [import_module(f"{package.__name__}.{found.name}") for found in iter_modules(package.__path__)]


def builtin_models() -> dict[str, Declaration]:
    """Built-in models by name."""
    return {
        name: declaration for module in fixture_modules() for name, (_, _, declaration) in declared_in(module).items()
    }


def load_encoder(
    name: str, *, checkpoint: str | Path | None = None, device: str = "auto", precision: str = "float32"
) -> Encoder:
    """Load a built-in encoder.

    Parameters
    ----------
    name : str
        Such as ``"handcrafted"`` or ``"ecgfounder"``.
    checkpoint : path, optional
        The weights, if the model needs some: a file, a folder, or ``hf://owner/repo[@revision]/file``.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    precision : {"float32", "bfloat16"}
        See `Encoder`.

    Raises
    ------
    EcgfmError
        If the name is unknown (the message suggests the nearest one), or if the weights are missing or do not fit.
    """
    models = builtin_models()
    if name not in models:
        raise unknown_name("model", name, models)
    declaration = models[name]
    card = parse_card(name, declaration.fields, where=declaration.where)
    given = {} if checkpoint is None else {name: str(checkpoint)}
    # Foundation models ask for this fixture, reference encoders for none.
    wanted = {"ecgfm_checkpoint": lambda _: resolve_checkpoint(card, given)} if card.checkpoint else {}
    return Encoder(card, declaration.function(**wanted), device=require_device(device), precision=precision)
