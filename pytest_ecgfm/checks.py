"""Checks: what they are called, which cells they have, and how a value becomes an outcome."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "fail", "inconclusive", "insufficient"]
Tier = Literal["blocking", "advisory"]

MINIMUM_POSITIVES = 10
"""Fewer positives in the test split are `insufficient` (protocol, section 6)."""

GATED_POSITIVES = 50
"""From here on a check may block; with 10 to 49 positives it is advisory."""


@dataclass(frozen=True)
class CheckKind:
    """One row of the table of checks.

    Attributes
    ----------
    name : str
        Such as ``"downstream.auroc"``; its first part is the suite.
    title : str
        What is compared.
    relative : bool
        Whether the value is a difference to a reference encoder.
    definition : str
        Where the quantity is defined.
    """

    name: str
    title: str
    relative: bool
    definition: str

    @property
    def suite(self) -> str:
        """Name of the suite that evaluates it."""
        return self.name.partition(".")[0]


CHECKS = {
    kind.name: kind
    for kind in (
        CheckKind("downstream.auroc", "AUROC of a linear probe", False, "docs/method.md#downstream"),
        CheckKind(
            "downstream.auroc_gain",
            "AUROC minus that of a reference encoder on the same records",
            True,
            "docs/method.md#downstream",
        ),
    )
}
"""Every check there is."""

SUITES = tuple(dict.fromkeys(kind.suite for kind in CHECKS.values()))
"""Names of the suites, in the order in which they run."""


@dataclass(frozen=True)
class Case:
    """One cell of one check: what a parametrised test evaluates."""

    check: str
    encoder: str
    cohort: str
    label: str
    fraction: float
    reference: str = ""

    @property
    def cell(self) -> str:
        """The part in square brackets of `name`."""
        parts = [self.cohort, self.label, f"{self.fraction:.6g}"]
        return ",".join([*parts, f"vs-{self.reference}"] if self.reference else parts)

    @property
    def name(self) -> str:
        """Name of the check with its cell; the same in every installation, unlike pytest's node ids."""
        return f"{self.check}[{self.cell}]"

    @property
    def id(self) -> str:
        """What pytest shows in brackets."""
        return f"{self.encoder}-{self.cell.replace(',', '-')}"


@dataclass(frozen=True)
class Threshold:
    """What a profile demands of one cell.

    Attributes
    ----------
    minimum : float
        The value should not be smaller.
    tier : {"blocking", "advisory"}
        Whether a failure sets the exit status.
    decide : {"interval", "point"}
        Whether the whole interval, or only the value, has to reach the minimum (protocol, section 6).
    reason : str
        Why this threshold, where the profile says so.
    """

    minimum: float
    tier: Tier = "blocking"
    decide: Literal["interval", "point"] = "interval"
    reason: str = ""


def judge(value: float, low: float, high: float, threshold: Threshold) -> tuple[Outcome, str]:
    """Compare a quantity, with its interval, to a threshold.

    Parameters
    ----------
    value, low, high : float
        Estimate and 95 % interval; a higher value is better.
    threshold : Threshold
        What is demanded.

    Returns
    -------
    outcome : {"pass", "fail", "inconclusive"}
        As defined in the protocol, section 6. A quantity that is not a number fails.
    reason : str
        In plain words.
    """
    bound = threshold.minimum
    if not all(math.isfinite(x) for x in (value, low, high)):
        return "fail", "the quantity, or its interval, is not a number"
    if high < bound:
        return "fail", f"the whole interval lies below {bound:g}"
    if low >= bound:
        return "pass", f"the whole interval reaches {bound:g}"
    if threshold.decide == "point" and value >= bound:
        return "pass", f"the value reaches {bound:g}, its interval holds it (decided by the value)"
    return "inconclusive", f"the interval holds {bound:g}"


def applicable_tier(tier: Tier, positives: int) -> Tier:
    """Return the tier that a cell with so many positives can have: below 50 it never blocks."""
    return tier if positives >= GATED_POSITIVES else "advisory"


def enough(positives: int, negatives: int) -> bool:
    """Say whether there are enough records of both classes to judge at all."""
    return min(positives, negatives) >= MINIMUM_POSITIVES


def cells(
    encoder: str,
    cohorts: tuple[str, ...],
    labels: tuple[str, ...],
    fractions: tuple[float, ...],
    references: tuple[str, ...],
    suites: tuple[str, ...],
) -> Iterator[Case]:
    """Enumerate the cells of every check of the chosen suites, for one encoder."""
    for kind in CHECKS.values():
        if kind.suite not in suites:
            continue
        # An encoder is not compared with itself.
        against = tuple(name for name in references if name != encoder) if kind.relative else ("",)
        for cohort in cohorts:
            for label in labels:
                for fraction in fractions:
                    for reference in against:
                        yield Case(kind.name, encoder, cohort, label, fraction, reference)
