"""Names of built-in models, and cards in files, to encoders. Works without a pytest run."""

import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import Declaration, declared_in
from pytest_ecgfm.encoders.base import Encoder, require_device
from pytest_ecgfm.encoders.sources import checkpoint_digest, resolve_checkpoint
from pytest_ecgfm.errors import EcgfmError, unknown_name


def fixture_modules() -> list[Any]:
    """Import the modules that hold the built-in model fixtures."""
    package = import_module("pytest_ecgfm.fixtures")
    return [import_module(f"{package.__name__}.{found.name}") for found in iter_modules(package.__path__)]


def builtin_models() -> dict[str, Declaration]:
    """Built-in models by name."""
    return {
        name: declaration for module in fixture_modules() for name, (_, _, declaration) in declared_in(module).items()
    }


def models_by_exposure(cohort: str) -> dict[str, list[str]]:
    """Name the built-in models whose cards say that they saw a cohort in pretraining, and those that may have.

    >>> "ecg_fm" in models_by_exposure("cpsc-extra")["seen"]
    True
    """
    out: dict[str, list[str]] = {"seen": [], "possibly seen": []}
    for name, declared in sorted(builtin_models().items()):
        card = parse_card(name, declared.fields, where=declared.where)
        if cohort in card.possibly_pretrained_on:
            out["possibly seen"].append(name)
        elif card.exposure(cohort) == "seen":
            out["seen"].append(name)
    return out


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
    return load_declared(models[name], checkpoint=checkpoint, device=device, precision=precision)


def load_declared(
    declaration: Declaration,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "float32",
) -> Encoder:
    """Load the encoder that a fixture declares, whose function asks for its checkpoint at most; see `load_encoder`."""
    name = declaration.name
    card = parse_card(name, declaration.fields, where=declaration.where)
    given = {} if checkpoint is None else {name: str(checkpoint)}
    files: list[Path] = []

    def find(_: str) -> Path:
        files.append(resolve_checkpoint(card, given))
        return files[-1]

    # Foundation models ask for this fixture, reference encoders for none.
    asks = "ecgfm_checkpoint" in inspect.signature(declaration.function).parameters
    model = declaration.function(**({"ecgfm_checkpoint": find} if asks else {}))
    if given and not files:
        raise EcgfmError(f"model {name!r} does not read {checkpoint}: its fixture asks for no checkpoint.")
    encoder = Encoder(card, model, device=require_device(device), precision=precision)
    encoder.checkpoint_sha256 = checkpoint_digest(files[-1]) if files else ""
    return encoder
