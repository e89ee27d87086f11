"""Rows: one a check, JSON in and out. The cube, the verdict and the reports are views of them."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pytest_ecgfm.checks import Case, Outcome, Threshold, Tier
from pytest_ecgfm.errors import EcgfmError

PROPERTY = "ecgfm_row"
"""Name of the user property under which a row travels from a test to the controller, as JSON text."""

_OUTCOMES = ("pass", "fail", "inconclusive", "insufficient")
_TIERS = ("blocking", "advisory")


@dataclass(frozen=True)
class Cell:
    """Values for one coordinate of one group of the cube."""

    group: str
    coordinates: Mapping[str, str | float | int]
    values: Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """What one check found.

    Attributes
    ----------
    encoder, check, suite, cohort, label, reference : str
        Identity; `check` is the full name with its cell.
    fraction : float
        Share of the training patients.
    outcome : {"pass", "fail", "inconclusive", "insufficient"}
        See the protocol, section 6.
    tier : {"blocking", "advisory"}
        Of this cell, after the rule that few positives never block.
    value, low, high, threshold : float
        Estimate, 95 % interval, minimum; NaN where there is none.
    reason : str
        Why this outcome, in plain words.
    counts : dict
        Records and positives, such as ``n_test`` and ``n_test_positive``.
    split : {"published", "holdout", "cv", ""}
        How training and test records were told apart.
    cells : tuple of Cell
        What goes into the cube.
    arrays : str
        File with per-record values, below the run's folder; empty where there is none.
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
    reason: str
    counts: Mapping[str, int] = field(default_factory=dict)
    split: str = ""
    cells: Sequence[Cell] = ()
    arrays: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Encoder and check: no two rows of a run share it."""
        return self.encoder, self.check

    @property
    def blocks(self) -> bool:
        """Whether this row alone fails the run (inconclusive rows are the profile's decision)."""
        return self.outcome == "fail" and self.tier == "blocking"

    def to_json(self) -> str:
        """Write as one line; values that are not finite become null."""
        return json.dumps(_plain(asdict(self)), allow_nan=False, sort_keys=True)

    def message(self) -> str:
        """Say what was found and what should have been: ``name = value, but should be >= bound [where]``."""
        where = f"{self.encoder}, {self.counts.get('n_test_positive', 0)} of {self.counts.get('n_test', 0)} positive"
        interval = f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.check} = {interval}, but should be >= {self.threshold:g} [{where}]: {self.reason}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def parse_row(text: str, *, where: str = "rows.jsonl") -> Row:
    """Read one line.

    Raises
    ------
    EcgfmError
        If it is no row.
    """
    try:
        raw = json.loads(text)
        raw["cells"] = tuple(
            Cell(c["group"], c["coordinates"], {k: _number(v) for k, v in c["values"].items()}) for c in raw["cells"]
        )
        for name in ("fraction", "value", "low", "high", "threshold"):
            raw[name] = _number(raw[name])
        unknown = set(raw) - {f.name for f in fields(Row)}
        if unknown or raw["outcome"] not in _OUTCOMES or raw["tier"] not in _TIERS:
            raise KeyError(*sorted(unknown), raw["outcome"], raw["tier"])
        return Row(**raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EcgfmError(f"{where}: not a row of a run ({type(error).__name__}: {error}).") from None


def failed_row(case: Case, threshold: Threshold, reason: str) -> Row:
    """Make the row of a check that could not be evaluated: a fail, with the reason, and no value."""
    nan = math.nan
    return make_row(case, threshold, ("fail", reason), (nan, nan, nan), threshold.tier)


def make_row(
    case: Case,
    threshold: Threshold,
    judged: tuple[Outcome, str],
    interval: tuple[float, float, float],
    tier: Tier,
    *,
    counts: Mapping[str, int] | None = None,
    split: str = "",
    cells: Iterable[Cell] = (),
    arrays: str = "",
) -> Row:
    """Put a case, what was found, and what it means into a row."""
    value, low, high = interval
    return Row(
        encoder=case.encoder,
        check=case.name,
        suite=case.check.partition(".")[0],
        cohort=case.cohort,
        label=case.label,
        fraction=case.fraction,
        reference=case.reference,
        outcome=judged[0],
        tier=tier,
        value=float(value),
        low=float(low),
        high=float(high),
        threshold=threshold.minimum,
        reason=judged[1],
        counts=dict(counts or {}),
        split=split,
        cells=tuple(cells),
        arrays=arrays,
    )
