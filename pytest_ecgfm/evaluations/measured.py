"""What an evaluation comes to: one type for every quantity, from the arrays to the gate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self


@dataclass(frozen=True)
class Cell:
    """Values for one coordinate of one group of the cube."""

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
    """A quantity with its interval, and what else the gate has to know of it.

    Attributes
    ----------
    value, low, high : float
        Estimate and 95 % interval; three times the same where there is no sampling error, NaN where there is none.
    positives, negatives : int or None
        Tested records of each class, where the value rests on them.
    records : int or None
        Tested records, where the value rests on those of a quantity.
    split : str
        How training and test records were told apart: ``"published"``, ``"holdout"``, ``"cv"`` or ``""``.
    cells : tuple of Cell
        For the cube.
    arrays : tuple of str
        Files with larger arrays for the cube, below the run's folder.
    note : str
        Added to the reason, such as what was wrong.
    advisory : str
        Why this cell never blocks, whatever the profile says; empty where it may.
    missing : str
        Why the quantity cannot be measured here although nothing is wrong; the outcome is then `insufficient`.
    most_asked : float or None
        Largest minimum that may be asked of this cell, where the quantity has a maximum of its own here.
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
        """Take over an estimate with its interval: anything with `value`, `low` and `high`."""
        return cls(estimate.value, estimate.low, estimate.high, **about)

    @classmethod
    def exact(cls, value: float, **about: Any) -> Self:
        """Take a quantity that has no sampling error."""
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
