"""How a value with its interval becomes an outcome: thresholds, and enough records to judge at all."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from pytest_ecgfm.results.rounded import chosen

Outcome = Literal["pass", "fail", "inconclusive", "insufficient", "error"]
Tier = Literal["blocking", "advisory"]

MINIMUM_POSITIVES = 10
"""Fewer positives in the test split are `insufficient` (protocol, section 6)."""

GATED_POSITIVES = 50
"""From here on a check may block; with 10 to 49 positives it is advisory."""

MINIMUM_RECORDS, GATED_RECORDS = 2 * MINIMUM_POSITIVES, 2 * GATED_POSITIVES
"""The same of the tested records of a quantity: half of them lie on either side of its median."""

SIDE = 0.025
"""One-sided level of a 95 % interval, for a whole family of checks."""

_QUANTILE = NormalDist().inv_cdf(1 - SIDE)


@dataclass(frozen=True)
class Threshold:
    """The threshold of one cell, as a profile gives it.

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
        Why this threshold, if the profile says so.
    inconclusive : {"allow", "block"}
        Whether an interval that contains the bound blocks, too.
    no_change : float or None
        For a difference: the value that means no difference. If it may be that by chance, an inconclusive cell does not
        block.
    """

    bound: float
    sense: Literal["minimum", "maximum"] = "minimum"
    tier: Tier = "blocking"
    decide: Literal["interval", "point"] = "interval"
    reason: str = ""
    inconclusive: Literal["allow", "block"] = "allow"
    no_change: float | None = None

    def looser_than(self, other: "Threshold") -> bool:
        """Say whether something passes here, or does not block, that would not pass, or would block, there."""
        if self.tier == "advisory" and other.tier == "blocking":
            return True
        if self.decide == "point" and other.decide == "interval":
            return True
        if self.inconclusive == "allow" and other.inconclusive == "block":
            return True
        if self.no_change is not None and self.no_change != other.no_change:
            return True
        sign = 1.0 if self.sense == "minimum" else -1.0
        return self.sense != other.sense or sign * self.bound < sign * other.bound

    def words(self) -> str:
        """Write as in a profile."""
        tier = "" if self.tier == "blocking" else ", advisory"
        return f"{self.sense} {chosen(self.bound)}{tier}{'' if self.decide == 'interval' else ', decided by the value'}"


def evidence(value: float, low: float, high: float, bound: float, sense: str) -> float:
    """Return the one-sided p-value of the hypothesis that a quantity meets a bound, read off its interval.

    Parameters
    ----------
    value, low, high, bound : float
        Estimate, 95 % interval, bound.
    sense : {"minimum", "maximum"}
        What the bound is.

    Returns
    -------
    float
        In [0, 1]; 0.025 if the interval just reaches the bound. The estimate is treated as normally distributed, with
        the standard error of the interval on the side of the bound. Without sampling error, 0 or 1.
    """
    sign = 1.0 if sense == "minimum" else -1.0
    reach = high - value if sign > 0 else value - low
    width = reach if reach > 0 else (high - low) / 2
    missing = sign * (bound - value)
    if width <= 0:
        return 0.0 if missing > 0 else 1.0
    return math.erfc(missing / width * _QUANTILE / math.sqrt(2)) / 2


def may_be_chance(value: float, low: float, high: float, threshold: Threshold, family: int = 1) -> bool:
    """Say whether a difference may be chance, corrected for the checks of its family (Bonferroni)."""
    none = threshold.no_change
    return none is not None and evidence(value, low, high, none, threshold.sense) > SIDE / family


def judge(value: float, low: float, high: float, threshold: Threshold, family: int = 1) -> tuple[Outcome, str]:
    """Compare a quantity, with its interval, to a threshold.

    Parameters
    ----------
    value, low, high : float
        Estimate and 95 % interval (three times the same where a quantity has no sampling error).
    threshold : Threshold
        What is demanded.
    family : int
        How many checks are corrected together. A fail has to hold against the smallest level of Holm's procedure; this
        decides whether any check of the family fails. Which others do, `verdict.corrected` finds at the end of a run.

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
    right_side = "at or above" if sign > 0 else "at or below"
    what = "the value" if low == high else "the whole interval"
    if best < sign * bound and evidence(value, low, high, bound, threshold.sense) <= SIDE / family:
        return "fail", f"{what} lies {wrong_side} {chosen(bound)}"
    if best < sign * bound:
        return (
            "inconclusive",
            f"{what} lies {wrong_side} {chosen(bound)}, but among {family} such checks one may do so by chance",
        )
    if worst >= sign * bound:
        return "pass", f"{what} is {right_side} {chosen(bound)}"
    if threshold.decide == "point" and sign * value >= sign * bound:
        where = f"{right_side} {chosen(bound)}; its interval contains {chosen(bound)}"
        return "pass", f"the value is {where} (decided by the value)"
    return "inconclusive", f"the interval contains {chosen(bound)}"


def applicable_tier(tier: Tier, positives: int) -> Tier:
    """Return the tier that a cell with so many positives can have: below 50 it never blocks."""
    return tier if positives >= GATED_POSITIVES else "advisory"


def enough(positives: int, negatives: int) -> bool:
    """Say whether there are enough records of both classes to judge at all."""
    return min(positives, negatives) >= MINIMUM_POSITIVES
