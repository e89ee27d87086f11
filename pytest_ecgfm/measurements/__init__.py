"""What the suites hand to the gate: embeddings go into the evaluations, findings come out as `Measured`.

A module is loaded when it is first used, ``measurements.downstream`` by the first check of that suite that runs: the
suites are collected without what computes.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name in (found.name for found in iter_modules(__path__)):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
