"""pytest-ecgfm: conformance suite and release gate for ECG foundation models.

Names are loaded when first used: every pytest run of an environment imports this package.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_ecgfm import evaluations as evaluations
    from pytest_ecgfm.cards.declarations import ecg_check as ecg_check
    from pytest_ecgfm.cards.declarations import ecg_cohort as ecg_cohort
    from pytest_ecgfm.cards.declarations import ecg_model as ecg_model
    from pytest_ecgfm.cards.declarations import ecg_perturbation as ecg_perturbation
    from pytest_ecgfm.cards.declarations import ecg_probe as ecg_probe
    from pytest_ecgfm.cohorts import load_cohort as load_cohort
    from pytest_ecgfm.encoders.registry import load_encoder as load_encoder
    from pytest_ecgfm.evaluations.measured import Cell as Cell
    from pytest_ecgfm.evaluations.measured import Measured as Measured
    from pytest_ecgfm.results.cube_files import open_run as open_run
    from pytest_ecgfm.session.in_process import evaluate as evaluate

_HERE = os.path.dirname(__file__)  # noqa: PTH120 - pathlib would be imported in every pytest run
if not os.path.isdir(os.path.join(_HERE, "suites")):  # noqa: PTH112, PTH118
    # The source tree, in which suites and fixtures lie beside this folder: `python -m pytest` in a clone puts it before
    # an installed wheel, which has them in the package.
    __path__.append(os.path.dirname(_HERE))  # noqa: PTH120

_PUBLIC = {
    "Cell": "pytest_ecgfm.evaluations.measured",
    "Measured": "pytest_ecgfm.evaluations.measured",
    "evaluate": "pytest_ecgfm.session.in_process",
    "ecg_check": "pytest_ecgfm.cards.declarations",
    "ecg_cohort": "pytest_ecgfm.cards.declarations",
    "ecg_model": "pytest_ecgfm.cards.declarations",
    "ecg_perturbation": "pytest_ecgfm.cards.declarations",
    "ecg_probe": "pytest_ecgfm.cards.declarations",
    "load_cohort": "pytest_ecgfm.cohorts",
    "load_encoder": "pytest_ecgfm.encoders.registry",
    "open_run": "pytest_ecgfm.results.cube_files",
}

__all__ = [
    "Cell",
    "Measured",
    "ecg_check",
    "ecg_cohort",
    "ecg_model",
    "ecg_perturbation",
    "ecg_probe",
    "evaluate",
    "evaluations",
    "load_cohort",
    "load_encoder",
    "open_run",
]


def __getattr__(name: str) -> Any:
    if name == "evaluations":
        return import_module("pytest_ecgfm.evaluations")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
