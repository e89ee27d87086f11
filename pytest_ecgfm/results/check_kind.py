"""One row of the table of checks: what a check is called, what it compares, and what it is evaluated for."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.results.judging import Threshold

Target = Literal["label", "quantity", "set"]
"""What a check's coordinate ``label`` may name."""


@dataclass(frozen=True)
class CheckKind:
    """One row of the table of checks.

    Attributes
    ----------
    name : str
        Such as ``"downstream.auroc"``; its first part is the suite.
    title : str
        What is compared.
    definition : str
        Where the quantity is defined.
    cells : tuple of str
        What it is evaluated for, beside the encoder: among `COORDINATES`.
    limits : tuple of float
        Smallest and largest value that the quantity can take; a bound outside them can be no threshold.
    variables : mapping of str to mapping
        Variables that it writes to the group of its suite in the cube, each with its attributes (``long_name``,
        ``units``, ...). Those of the package's own suites are in the evaluations.
    default : Threshold or None
        What holds for a cell that no profile speaks of; None for the package's own checks.
    evaluate : callable or None
        Takes the run, the encoder and the case, and returns a `Measured`; None for the package's own checks, which
        have a test in a suite.
    where : str
        File and line where somebody else declared it; empty for the package's own checks.
    units : str
        Of the quantity.
    arithmetic : bool
        Whether it tries our own arithmetic: every encoder that is a function of its record passes, whatever its
        quality, so that a suite in which nothing else passes has decided nothing.
    of : {"label", "quantity", "set"}
        What the coordinate ``label`` names in its cells: a label, a quantity, or a named set of labels.
    """

    name: str
    title: str
    definition: str
    cells: tuple[str, ...] = ("cohort",)
    limits: tuple[float, float] = (-math.inf, math.inf)
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    default: Threshold | None = None
    evaluate: Callable[..., Any] | None = None
    where: str = ""
    units: str = "1"
    arithmetic: bool = False
    of: Target = "label"

    @property
    def suite(self) -> str:
        """Name of the suite that evaluates it."""
        return self.name.partition(".")[0]

    def require_declared(self, group: str, variables: Iterable[str]) -> None:
        """Refuse variables for the cube that somebody else's check did not declare.

        Raises
        ------
        EcgfmError
            Which variable, and which ones are declared.
        """
        known = ", ".join(self.variables) or "none"
        if group != self.suite:
            raise EcgfmError(f"{self.where}: {self.name} writes to the cube's group {group!r}, which is not its own.")
        for name in variables:
            if name not in self.variables:
                raise EcgfmError(f"{self.where}: {self.name} has no variable {name!r} in the cube. Declared: {known}.")
