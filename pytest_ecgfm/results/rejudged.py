"""Rows judged again, from their values and from what the profile demands."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from pytest_ecgfm.results.checks import (
    GATED_RECORDS,
    MINIMUM_RECORDS,
    Outcome,
    Threshold,
    applicable_tier,
    enough,
    judge,
    may_be_chance,
)
from pytest_ecgfm.results.rounded import chosen
from pytest_ecgfm.results.rows import Row
from pytest_ecgfm.results.verdict import UNJUDGED, corrected


def row_problems(
    rows: Sequence[Row],
    threshold_of: Callable[[Row], Threshold | None],
    expected_failures: Mapping[str, Collection[str]],
) -> Iterator[str]:
    """Say which rows are not what their values and the profile give.

    Parameters
    ----------
    rows : sequence of Row
        Of a whole run: cells of a check are corrected together.
    threshold_of : callable
        What the profile demands of a row's cell; None where that is not known.
    expected_failures : mapping of str to collection of str
        Encoder to the checks that its card expects to fail.

    Yields
    ------
    str
        The check, its encoder, and what differs.
    """
    again = []
    for row in rows:
        threshold, expected = threshold_of(row), row.check in expected_failures.get(row.encoder, ())
        if threshold is not None:
            yield from (f"{row.check} of {row.encoder}: {one}" for one in _demanded(row, threshold, expected))
        again.append(replace(row, outcome=_outcome(row, threshold, expected)))
    for row, found in zip(rows, corrected(again), strict=True):
        if row.outcome != found.outcome:
            yield f"{row.check} of {row.encoder}: outcome is {row.outcome}, but its value gives {found.outcome}"


def _demanded(row: Row, threshold: Threshold, expected: bool) -> Iterator[str]:
    """Compare threshold, sense and tier with the profile's."""
    bound = threshold.bound
    if threshold.sense == "minimum" and row.most_asked < bound:
        bound = row.most_asked
    threshold = replace(threshold, bound=bound)
    if (row.threshold, row.sense) != (bound, threshold.sense):
        demanded = f"{threshold.sense} {chosen(bound)}"
        yield f"threshold is {row.sense} {chosen(row.threshold)}, but the profile of the run demands {demanded}"
    if row.why != threshold.reason:
        yield "the reason of its threshold is not the profile's"
    most = _tier(row, threshold)
    if row.tier == "blocking" and most == "advisory":
        yield "tier is blocking, but the profile, or the number of records, makes it advisory"
    if row.tier == "advisory" and most == "blocking" and not (row.excused or expected):
        yield "tier is advisory, but the profile makes it blocking"
    if row.outcome not in UNJUDGED and not _enough(row):
        yield f"outcome is {row.outcome}, but there are too few records to judge"
    strict = threshold.inconclusive == "block"
    given = (row.value, row.low, row.high, threshold, row.members)
    if strict and judge(row.value, row.low, row.high, threshold, row.members)[0] == "inconclusive":
        strict = not may_be_chance(*given)
    if row.strict != strict and not math.isnan(row.value):
        yield f"strict is {row.strict}, but the profile of the run makes it {strict}"


def _tier(row: Row, threshold: Threshold) -> str:
    if "n_test_positive" in row.counts:
        return applicable_tier(threshold.tier, row.counts["n_test_positive"])
    if "n_test" in row.counts and row.counts["n_test"] < GATED_RECORDS:
        return "advisory"
    return threshold.tier


def _enough(row: Row) -> bool:
    if "n_test_positive" in row.counts:
        positives = row.counts["n_test_positive"]
        return enough(positives, row.counts["n_test"] - positives)
    return row.counts.get("n_test", MINIMUM_RECORDS) >= MINIMUM_RECORDS


def _outcome(row: Row, threshold: Threshold | None, expected: bool) -> Outcome:
    """Return the outcome of a value before its family is corrected; what was not measured keeps its own."""
    if row.outcome in UNJUDGED:
        return row.outcome
    if not all(map(math.isfinite, (row.value, row.low, row.high))):
        return "fail"
    sense = "minimum" if row.sense == "minimum" else "maximum"
    asked = replace(threshold or Threshold(row.threshold), bound=row.threshold, sense=sense)  # type: ignore[arg-type]
    outcome = judge(row.value, row.low, row.high, asked, row.members)[0]
    # A check that should fail and passes fails: the card is to be mended.
    return "fail" if expected and outcome == "pass" else outcome
