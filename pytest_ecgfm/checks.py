"""Checks: what they are called, which cells they have, and how a value becomes an outcome."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

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
    definition : str
        Where the quantity is defined.
    cells : tuple of str
        What it is evaluated for, beside the encoder: among ``cohort``, ``label``, ``fraction`` and ``reference``.
    """

    name: str
    title: str
    definition: str
    cells: tuple[str, ...] = ("cohort",)

    @property
    def suite(self) -> str:
        """Name of the suite that evaluates it."""
        return self.name.partition(".")[0]


_CONTRACT = "docs/method.md#contract"
_DOWNSTREAM = "docs/method.md#downstream"

CHECKS = {
    kind.name: kind
    for kind in (
        CheckKind("contract.repeatable", "Largest difference between two passes, relative to the spread", _CONTRACT),
        CheckKind("contract.batch", "Smallest cosine between batches of one, of many, and in another order", _CONTRACT),
        CheckKind("contract.frozen", "Parameters and buffers that changed while embedding", _CONTRACT),
        CheckKind(
            "contract.lead_order", "Smallest cosine between records with their leads in another order", _CONTRACT
        ),
        CheckKind("contract.declared_leads", "Share of leads that are read if, and only if, declared", _CONTRACT),
        CheckKind("contract.hard_records", "Share of unusual records that are embedded, or refused clearly", _CONTRACT),
        CheckKind(
            "contract.generated", "Share of generated records that are embedded, or refused clearly", _CONTRACT, ()
        ),
        CheckKind("downstream.auroc", "AUROC of a linear probe", _DOWNSTREAM, ("cohort", "label", "fraction")),
        CheckKind(
            "downstream.auroc_gain",
            "AUROC minus that of a reference encoder on the same records",
            _DOWNSTREAM,
            ("cohort", "label", "fraction", "reference"),
        ),
    )
}
"""Every check there is."""

SUITES = tuple(dict.fromkeys(kind.suite for kind in CHECKS.values()))
"""Names of the suites, in the order in which they run."""


@dataclass(frozen=True)
class Case:
    """One cell of one check: what a parametrised test evaluates. Coordinates that the check does not have are empty."""

    check: str
    encoder: str
    cohort: str = ""
    label: str = ""
    fraction: float | None = None
    reference: str = ""

    @property
    def cell(self) -> str:
        """The part in square brackets of `name`."""
        fraction = "" if self.fraction is None else f"{self.fraction:.6g}"
        reference = f"vs-{self.reference}" if self.reference else ""
        return ",".join(part for part in (self.cohort, self.label, fraction, reference) if part)

    @property
    def name(self) -> str:
        """Name of the check with its cell; the same in every installation, unlike pytest's node ids."""
        return f"{self.check}[{self.cell}]" if self.cell else self.check

    @property
    def id(self) -> str:
        """What pytest shows in brackets."""
        return "-".join((self.encoder, *(part for part in self.cell.split(",") if part)))


@dataclass(frozen=True)
class Threshold:
    """What a profile demands of one cell.

    Attributes
    ----------
    bound : float
        The value should not be smaller, or not be larger.
    sense : {"minimum", "maximum"}
        Which of the two.
    tier : {"blocking", "advisory"}
        Whether a failure sets the exit status.
    decide : {"interval", "point"}
        Whether the whole interval, or only the value, has to reach the bound (protocol, section 6).
    reason : str
        Why this threshold, where the profile says so.
    """

    bound: float
    sense: Literal["minimum", "maximum"] = "minimum"
    tier: Tier = "blocking"
    decide: Literal["interval", "point"] = "interval"
    reason: str = ""


def judge(value: float, low: float, high: float, threshold: Threshold) -> tuple[Outcome, str]:
    """Compare a quantity, with its interval, to a threshold.

    Parameters
    ----------
    value, low, high : float
        Estimate and 95 % interval (three times the same where a quantity has no sampling error).
    threshold : Threshold
        What is demanded.

    Returns
    -------
    outcome : {"pass", "fail", "inconclusive"}
        As defined in the protocol, section 6. A quantity that is not a number fails.
    reason : str
        In plain words.
    """
    bound = threshold.bound
    if not all(math.isfinite(x) for x in (value, low, high)):
        return "fail", "the quantity, or its interval, is not a number"
    sign = 1.0 if threshold.sense == "minimum" else -1.0
    worst, best = sorted((sign * low, sign * high))
    wrong_side = "below" if sign > 0 else "above"
    what = "the value" if low == high else "the whole interval"
    if best < sign * bound:
        return "fail", f"{what} lies {wrong_side} {bound:g}"
    if worst >= sign * bound:
        return "pass", f"{what} keeps to {bound:g}"
    if threshold.decide == "point" and sign * value >= sign * bound:
        return "pass", f"the value keeps to {bound:g}, its interval holds it (decided by the value)"
    return "inconclusive", f"the interval holds {bound:g}"


def applicable_tier(tier: Tier, positives: int) -> Tier:
    """Return the tier that a cell with so many positives can have: below 50 it never blocks."""
    return tier if positives >= GATED_POSITIVES else "advisory"


def enough(positives: int, negatives: int) -> bool:
    """Say whether there are enough records of both classes to judge at all."""
    return min(positives, negatives) >= MINIMUM_POSITIVES


def cells(
    encoder: str,
    *,
    cohorts: tuple[str, ...],
    labels: tuple[str, ...],
    fractions: tuple[float, ...],
    references: tuple[str, ...],
    suites: tuple[str, ...],
) -> Iterator[Case]:
    """Enumerate the cells of every check of the chosen suites, for one encoder."""
    grid: dict[str, tuple[Any, ...]] = {
        "cohort": cohorts,
        "label": labels,
        "fraction": fractions,
        # An encoder is not compared with itself.
        "reference": tuple(name for name in references if name != encoder),
    }
    for kind in CHECKS.values():
        if kind.suite in suites:
            for values in product(*(grid[name] for name in kind.cells)):
                yield Case(kind.name, encoder, **dict(zip(kind.cells, values, strict=True)))
