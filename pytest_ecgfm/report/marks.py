"""What a chart is made of, as plain values: drawing them needs no cube."""

from typing import NamedTuple

from pytest_ecgfm.report.words import Triple


class Point(NamedTuple):
    """One estimate at one position; `name` is what a reader calls the position, such as ``"5 %"``."""

    x: float
    name: str
    found: Triple


class Line(NamedTuple):
    """Estimates of one encoder or cohort. `style` is a class of the style sheet: ``s1`` to ``s8``, ``r1`` to ``r3``."""

    name: str
    style: str
    points: tuple[Point, ...]


class Mark(NamedTuple):
    """What a profile demands at one position."""

    x: float
    bound: float
    sense: str


class Dot(NamedTuple):
    """One encoder's value with its null distribution."""

    style: str
    name: str
    value: float
    null_mean: float
    null_sd: float


class Group(NamedTuple):
    """One row of a dot chart."""

    name: str
    dots: tuple[Dot, ...]
