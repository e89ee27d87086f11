"""Rows: one a check, JSON in and out. The cube, the verdict and the reports are views of them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from pytest_ecgfm.errors import EcgfmError, first_line, is_models_fault
from pytest_ecgfm.evaluations.measured import Cell, Measured
from pytest_ecgfm.results.checks import (
    CHECKS,
    GATED_RECORDS,
    MINIMUM_RECORDS,
    Case,
    Outcome,
    Threshold,
    Tier,
    applicable_tier,
    enough,
    judge,
    may_be_chance,
)
from pytest_ecgfm.results.rounded import chosen, rounded, spanned

NOT_APPLICABLE = "not applicable: "
"""How the reason begins where a check has no meaning for an encoder: that is no pass, and no gap either."""

PROPERTY = "ecgfm_row"
"""Name of the user property under which a row travels from a test to the controller, as JSON text."""

_OUTCOMES = ("pass", "fail", "inconclusive", "insufficient", "error")
_TIERS = ("blocking", "advisory")
_SENSES = ("minimum", "maximum")
_MOST_MEMBERS = 1_000_000


@dataclass(frozen=True)
class Row:
    """What one check found.

    Attributes
    ----------
    encoder, check, suite, cohort, label, reference, source, perturbation, space : str
        Identity; `check` is the full name with its cell. Empty where a check has no such coordinate.
    fraction : float
        Share of the training patients; NaN for checks that have none.
    outcome : {"pass", "fail", "inconclusive", "insufficient", "error"}
        See the protocol, section 6.
    tier : {"blocking", "advisory"}
        Of this cell, after the rule that few positives never block.
    value, low, high, threshold : float
        Estimate, 95 % interval, bound; NaN where there is none.
    sense : {"minimum", "maximum"}
        What the bound is.
    reason : str
        Why this outcome, in plain words.
    counts : dict
        Records and positives, such as ``n_test`` and ``n_test_positive``.
    split : {"published", "holdout", "cv", ""}
        How training and test records were told apart.
    cells : tuple of Cell
        What goes into the cube.
    why : str
        The profile's reason for the threshold.
    arrays : tuple of str
        Files with larger arrays for the cube, in the run's folder.
    strict : bool
        Whether a check that could not be decided blocks, too.
    excused : bool
        Whether it cannot block for what it is: advisory in the profile, not applicable, or such as a transfer to a
        cohort that was seen in pretraining. Too few positives are no excuse.
    family : str
        Checks of this encoder that are corrected together (Holm).
    members : int
        How many there are, measured or not.
    most_asked : float
        Largest minimum that may be asked of this cell, where the quantity has a maximum of its own here; else NaN.
    """

    encoder: str
    check: str
    suite: str
    cohort: str
    label: str
    fraction: float
    reference: str
    outcome: Outcome
    tier: Tier
    value: float
    low: float
    high: float
    threshold: float
    sense: str
    reason: str
    counts: Mapping[str, int] = field(default_factory=dict)
    split: str = ""
    cells: Sequence[Cell] = ()
    arrays: Sequence[str] = ()
    source: str = ""
    perturbation: str = ""
    space: str = ""
    why: str = ""
    strict: bool = False
    excused: bool = False
    family: str = ""
    members: int = 1
    most_asked: float = math.nan

    @property
    def key(self) -> tuple[str, str]:
        """Encoder and check: no two rows of a run share it."""
        return self.encoder, self.check

    @property
    def blocks(self) -> bool:
        """Whether this row alone fails the run."""
        return self.tier == "blocking" and (self.outcome == "fail" or (self.strict and self.outcome == "inconclusive"))

    def to_json(self) -> str:
        """Write as one line, once; values that are not finite become null."""
        return self._line

    @cached_property
    def _line(self) -> str:
        return json.dumps(_plain(asdict(self)), allow_nan=False, sort_keys=True)

    def message(self) -> str:
        """Say what was found and what should have been: ``name = value, but should be >= bound [where]``."""
        where = self.encoder
        if "n_test_positive" in self.counts:
            where += f", {self.counts['n_test_positive']} of {self.counts['n_test']} positive"
        elif "n_test" in self.counts:
            where += f", {self.counts['n_test']} records"
        sign = ">=" if self.sense == "minimum" else "<="
        asked = f"{sign} {chosen(self.threshold)}"
        return f"{self.check} = {self.interval()}, but should be {asked} [{where}]: {self.reason}"

    def interval(self) -> str:
        """Write value and interval; only the value where it has no sampling error."""
        if self.low == self.high == self.value:
            # Whole numbers, and what is exact, as they are; what is next to nothing is not worth a power of ten.
            return rounded(self.value, self.threshold) if "e-" in f"{self.value:.6g}" else chosen(self.value)
        return spanned(self.value, self.low, self.high, self.threshold)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} should be a number")
    return float(value)


def parse_row(text: str, *, where: str = "rows.jsonl") -> Row:
    """Read one line.

    Raises
    ------
    EcgfmError
        If it is no row.
    """
    try:
        raw = json.loads(text)
        raw["cells"] = tuple(_cell(one) for one in _kind(raw["cells"], list))
        raw["arrays"] = tuple(_kind(name, str) for name in _kind(raw["arrays"], list))
        raw["counts"] = {name: _kind(count, int) for name, count in raw["counts"].items()}
        raw.setdefault("most_asked", None)
        for name in ("fraction", "value", "low", "high", "threshold", "most_asked"):
            raw[name] = _number(raw[name])
        unknown = set(raw) - {f.name for f in fields(Row)}
        if unknown or raw["outcome"] not in _OUTCOMES or raw["tier"] not in _TIERS or raw["sense"] not in _SENSES:
            raise KeyError(*sorted(unknown), raw["outcome"], raw["tier"], raw["sense"])
        row = Row(**raw)
        for f in fields(Row):
            if f.type in (str, bool, int):
                _kind(getattr(row, f.name), f.type)
        if not 1 <= row.members <= _MOST_MEMBERS:
            raise ValueError(f"members {row.members}")
        if "n_test_positive" in row.counts and "n_test" not in row.counts:
            raise KeyError("n_test")
        return row
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise EcgfmError(f"{where}: not a row of a run ({type(error).__name__}: {error}).") from None


def received_row(text: str, *, where: str) -> Row:
    """Read a line that `Row.to_json` wrote in this run: it is kept as it came, and not written anew.

    Raises
    ------
    EcgfmError
        If it is no row.
    """
    row = parse_row(text, where=where)
    vars(row)["_line"] = text
    return row


def _kind(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} should be a {kind.__name__}")
    return value


def _cell(raw: Any) -> Cell:
    coordinates = _kind(raw["coordinates"], dict)
    if not all(type(one) in (str, int, float) for one in coordinates.values()):
        raise TypeError(f"coordinates {coordinates!r} should be texts and numbers")
    return Cell(_kind(raw["group"], str), coordinates, {name: _number(one) for name, one in raw["values"].items()})


def judged_row(case: Case, threshold: Threshold, found: Measured, members: int = 1) -> Row:
    """Judge what was measured: enough records first, then the threshold, corrected for the members of its family."""
    if found.most_asked is not None and threshold.sense == "minimum" and threshold.bound > found.most_asked:
        threshold = replace(threshold, bound=found.most_asked)
    tier = threshold.tier
    counts: dict[str, int] = {}
    found = _within_limits(case, found)
    outcome, reason = judge(found.value, found.low, found.high, threshold, members)
    same = threshold.no_change
    chance = may_be_chance(found.value, found.low, found.high, threshold, members)
    if outcome == "inconclusive" and same is not None and chance:
        reason += f"; the difference from {chosen(same)} may be chance"
        threshold = replace(threshold, inconclusive="allow")
    if found.positives is not None and found.negatives is not None:
        counts = {"n_test": found.positives + found.negatives, "n_test_positive": found.positives}
        tier = applicable_tier(tier, found.positives)
        if not enough(found.positives, found.negatives):
            known = f"{found.positives} positive, {found.negatives} negative of {counts['n_test']} records"
            outcome, reason = "insufficient", f"fewer than 10 records of a class: {known} with a known label"
    if found.records is not None:
        counts = {"n_test": found.records}
        tier = tier if found.records >= GATED_RECORDS else "advisory"
        if found.records < MINIMUM_RECORDS:
            outcome = "insufficient"
            reason = f"fewer than {MINIMUM_RECORDS} tested records with a known value: {found.records}"
    if found.missing:
        outcome, reason = "insufficient", found.missing
    if found.advisory:
        tier, reason = "advisory", f"{reason}; {found.advisory}"
    if outcome == "inconclusive" and threshold.inconclusive == "block" and tier == "blocking":
        side = "above" if threshold.sense == "minimum" else "below"
        reason += f"; this blocks, because the value has to be shown to be at or {side} {chosen(threshold.bound)}"
        if threshold.no_change is not None:
            reason += f", and the difference from {chosen(threshold.no_change)} is more than chance"
    reason = f"{reason} ({found.note})" if found.note else reason
    return replace(_row(case, threshold, outcome, reason, tier, counts, found), family=case.family, members=members)


def _within_limits(case: Case, found: Measured) -> Measured:
    """Cut an interval where its quantity ends; what each quantity's interval is made by should leave nothing to cut."""
    # Comparisons with NaN are false, which would make an interval of no width out of none.
    if case.check not in CHECKS or math.isnan(found.low) or math.isnan(found.high):
        return found
    least, most = CHECKS[case.check].limits
    return replace(found, low=min(found.value, max(found.low, least)), high=max(found.value, min(found.high, most)))


def expected_to_fail(row: Row, reason: str) -> Row:
    """Apply a card's expected failure, strictly: a fail does not block, and a pass fails until the card is mended."""
    if row.outcome == "fail" or row.blocks:
        return replace(row, tier="advisory", reason=f"expected failure ({reason}): {row.reason}")
    if row.outcome == "pass":
        return replace(row, outcome="fail", reason=f"expected to fail ({reason}), but passed: correct the card")
    return row


def failed_row(case: Case, threshold: Threshold, error: BaseException) -> Row:
    """Make the row of a check that has no value: a fail where the model is at fault, else an error; with the reason."""
    outcome: Outcome = "fail" if is_models_fault(error, case.encoder) else "error"
    done = "evaluated" if outcome == "fail" else "measured"
    reason = f"could not be {done}: {type(error).__name__}: {first_line(error)}"
    return _row(case, threshold, outcome, reason, threshold.tier, {}, Measured.exact(math.nan))


def _excused(case: Case, threshold: Threshold, found: Measured) -> bool:
    """Say whether a suite need not be decided by this cell: it cannot block, or tells nothing, for what it is."""
    alone = found.advisory or threshold.tier == "advisory" or CHECKS[case.check].arithmetic
    return bool(alone) or found.missing.startswith(NOT_APPLICABLE)


def _row(
    case: Case, threshold: Threshold, outcome: Outcome, reason: str, tier: Tier, counts: dict[str, int], found: Measured
) -> Row:
    return Row(
        encoder=case.encoder,
        check=case.name,
        suite=case.check.partition(".")[0],
        cohort=case.cohort,
        label=case.label,
        fraction=math.nan if case.fraction is None else case.fraction,
        reference=case.reference,
        source=case.source,
        perturbation=case.perturbation,
        space=case.space,
        outcome=outcome,
        tier=tier,
        value=float(found.value),
        low=float(found.low),
        high=float(found.high),
        threshold=threshold.bound,
        why=threshold.reason,
        strict=threshold.inconclusive == "block",
        excused=_excused(case, threshold, found),
        sense=threshold.sense,
        reason=reason,
        counts=counts,
        split=found.split,
        cells=found.cells,
        arrays=found.arrays,
        most_asked=math.nan if found.most_asked is None else found.most_asked,
    )
