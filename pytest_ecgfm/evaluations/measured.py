"""What an evaluation comes to: one type for every quantity, from the arrays to the gate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self


@dataclass(frozen=True)
class Cell:
    """Values for one position in one group of the cube."""

    group: str
    coordinates: Mapping[str, str | float | int]
    values: Mapping[str, float]


class Estimated(Protocol):
    """An estimate with its interval."""

    @property
    def value(self) -> float:
        """The estimate."""

    @property
    def low(self) -> float:
        """The lower limit of its 95 % interval."""

    @property
    def high(self) -> float:
        """The upper limit of its 95 % interval."""


@dataclass(frozen=True)
class Measured:
    """A quantity with its interval, and what else the gate has to know about it.

    Attributes
    ----------
    value, low, high : float
        Estimate and 95 % interval. Without sampling error, all three are the same; without an estimate, all are NaN.
    positives, negatives : int or None
        Number of test records of each class, for a quantity that is computed from two classes.
    records : int or None
        Number of test records, for a quantity that has no classes, such as an age.
    split : str
        How records were divided for training and test: ``"published"``, ``"holdout"``, ``"cv"`` or ``""``.
    cells : tuple of Cell
        For the cube.
    arrays : tuple of str
        Files with larger arrays for the cube, in the run's folder.
    note : str
        Text that is added to the reason, such as what was wrong.
    advisory : str
        Why this cell never blocks, whatever the profile says; empty if it may block.
    missing : str
        Why the quantity cannot be measured here, although nothing is wrong; the outcome is then `insufficient`.
    most_asked : float or None
        Largest minimum that may be asked of this cell, if its quantity has a maximum of its own.
    """

    value: float
    low: float
    high: float
    positives: int | None = None
    negatives: int | None = None
    split: str = ""
    cells: tuple[Cell, ...] = ()
    arrays: tuple[str, ...] = ()
    note: str = ""
    advisory: str = ""
    missing: str = ""
    most_asked: float | None = None
    records: int | None = None

    @classmethod
    def of(cls, estimate: Estimated, **about: Any) -> Self:
        """Make one from an estimate with its interval: anything with `value`, `low` and `high`."""
        return cls(estimate.value, estimate.low, estimate.high, **about)

    @classmethod
    def exact(cls, value: float, **about: Any) -> Self:
        """Make one from a quantity without sampling error."""
        return cls(value, value, value, **about)

    @classmethod
    def insufficient(cls, missing: str, **about: Any) -> Self:
        """Say why the quantity cannot be measured here although nothing is wrong."""
        return cls(math.nan, math.nan, math.nan, missing=missing, **about)


Described = tuple[str, str, list[float] | None, bool | None, str]
"""Name, what it is in words, range, whether higher is better, and source or formula; None where nothing is to say."""


def described(*rows: Described, units: Mapping[str, str] | None = None) -> Mapping[str, Mapping[str, Any]]:
    """Return the attributes of variables of the cube, by name; a variable without units of its own has ``"1"``."""
    given = units or {}
    return {
        name: {
            "long_name": text,
            "units": given.get(name, "1"),
            "range": limits,
            "higher_is_better": higher,
            "reference": reference,
        }
        for name, text, limits, higher, reference in rows
    }
