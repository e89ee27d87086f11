"""All outcomes of a run, and what they mean for the exit status."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pytest_ecgfm.evaluations.holm import holm
from pytest_ecgfm.results.basis import Basis, BasisPart, Planned, basis
from pytest_ecgfm.results.checks import CHECKS, SIDE, evidence
from pytest_ecgfm.results.identity import Identity
from pytest_ecgfm.results.rounded import chosen
from pytest_ecgfm.results.rows import Row
from pytest_ecgfm.results.schema import SCHEMA as SCHEMA

UNJUDGED = ("insufficient", "error")
"""Outcomes of checks that were compared with no threshold."""

COUNTED = ("pass", "fail", "inconclusive", "insufficient", "error")
"""In the order in which outcomes are counted everywhere."""

Word = Literal["pass", "fail", "incomplete"]


class EncoderPart(BaseModel):
    """What ``verdict.json`` says about one encoder."""

    model_config = ConfigDict(defer_build=True, extra="ignore")

    outcome: Word
    counts: dict[str, int] = Field(description="checks by outcome; blocking_fail: those that block; planned: all")
    reasons: list[str] = Field(description="in plain words, the most important first")
    basis: BasisPart | None = Field(default=None, description="in which cohorts a blocking check decided")
    not_evaluated: list[str] = Field(default=[], description="planned checks without a result")


class VerdictFile(BaseModel):
    """The content of ``verdict.json``; its JSON Schema is published in ``docs/verdict.schema.json``."""

    model_config = ConfigDict(defer_build=True, extra="ignore")

    version: Literal[2] = Field(alias="schema", description="version of this schema")
    outcome: Word = Field(
        description="the worst of the encoders'; where identity.narrowed names an option, of that part only"
    )
    complete: bool = Field(description="whether every planned check was evaluated, and nothing went wrong")
    reasons: list[str]
    encoders: dict[str, EncoderPart]
    summary: str = Field(description="one paragraph in plain words")
    notes: list[str] = Field(default=[], description="what else a reader has to know, such as results that changed")
    run_id: str
    started: str = Field(description="UTC, ISO 8601")
    finished: str = Field(description="UTC, ISO 8601")
    identity: Identity = Field(description="what was asked for, and of which weights and records")
    digests: dict[str, str] = Field(
        default={}, description="SHA-256 of the run's other files, as they were when the run ended"
    )


@dataclass(frozen=True)
class EncoderVerdict:
    """The verdict on one encoder.

    Attributes
    ----------
    encoder : str
        Its name.
    outcome : {"pass", "fail", "incomplete"}
        `incomplete`: nothing failed, but a planned check was not evaluated, or no check could be judged.
    counts : dict
        Number of rows by outcome; ``blocking_fail`` counts those that block.
    reasons : tuple of str
        In plain words, the most important first.
    basis : Basis
        In which cohorts a blocking check decided.
    missing : tuple of str
        Planned checks without a row.
    """

    encoder: str
    outcome: Word
    counts: dict[str, int]
    reasons: tuple[str, ...]
    basis: Basis = field(default_factory=Basis)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The verdict on a run. Its `identity` says what was asked for: every output renders that one object."""

    outcome: Word
    complete: bool
    encoders: tuple[EncoderVerdict, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    identity: Identity = field(default_factory=Identity)

    @property
    def headline(self) -> str:
        """Outcome, profile and narrowing in one line."""
        return self.identity.headline(self.outcome)

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``verdict.json``, without what depends on time."""
        return {
            "schema": SCHEMA,
            "outcome": self.outcome,
            "complete": self.complete,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "identity": self.identity.model_dump(mode="json"),
            "encoders": {
                v.encoder: {
                    "outcome": v.outcome,
                    "counts": v.counts,
                    "reasons": list(v.reasons),
                    "basis": v.basis.to_json(),
                    "not_evaluated": list(v.missing),
                }
                for v in self.encoders
            },
        }


def corrected(rows: Iterable[Row]) -> list[Row]:
    """Finish Holm's procedure: what fails beside the first of a family.

    A test judges its own check only, at the smallest level of the procedure. If any check of a family fails, the levels
    of the others become larger, and some that were undecided fail too. This adds reasons to a verdict, but never
    changes a pass into a fail.

    Parameters
    ----------
    rows : iterable of Row
        In any order.

    Returns
    -------
    list of Row
        In the same order.
    """
    out = list(rows)
    families: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, row in enumerate(out):
        # What cannot block is no part of the family: it must not open the door for another.
        if row.family and row.tier == "blocking" and row.outcome not in UNJUDGED:
            families[row.encoder, row.family].append(number)
    for numbers in families.values():
        found = [out[number] for number in numbers]
        p_values = [evidence(row.value, row.low, row.high, row.threshold, row.sense) for row in found]
        unmeasured = max(row.members for row in found) - len(found)
        adjusted = holm([*p_values, *[np.nan] * unmeasured])
        for number, row, p_value in zip(numbers, found, adjusted, strict=False):
            if row.outcome == "inconclusive" and p_value <= SIDE:
                side = "below" if row.sense == "minimum" else "above"
                reason = f"the whole interval lies {side} {chosen(row.threshold)}, like others of its family"
                out[number] = replace(row, outcome="fail", reason=reason)
    return out


def _encoder_verdict(encoder: str, rows: Sequence[Row], planned: Sequence[Planned]) -> EncoderVerdict:
    mine = [row for row in rows if row.encoder == encoder]
    done = {row.check for row in mine}
    missing = [case.name for case in planned if case.encoder == encoder and case.name not in done]
    failed = [row for row in mine if row.blocks]
    judged = [row for row in mine if row.outcome not in UNJUDGED]
    broken = [row for row in mine if row.outcome == "error"]
    reasons = [row.message() for row in failed]
    outcome: Word = "fail" if failed else "pass"
    if broken:
        more = f", and {len(broken) - 1} more such checks" if len(broken) > 1 else ""
        reasons.append(f"{broken[0].check} {broken[0].reason}{more}")
        outcome = "fail" if failed else "incomplete"
    if missing:
        reasons.append(f"{len(missing)} of {len(missing) + len(done)} planned checks were not evaluated: {missing[0]}")
        outcome = "fail" if failed else "incomplete"
    elif broken:
        pass
    elif not judged:
        first = f": {mine[0].check}: {mine[0].reason}" if mine else ""
        reasons.append(f"nothing was measured: no check could be judged{first}")
        outcome = "incomplete"
    elif not failed and (empty := _without_a_pass(mine)):
        reasons.append(
            f"{', '.join(empty)}: no blocking check passed (too few positives, or intervals too wide, to decide)"
        )
        outcome = "incomplete"
    counts = Counter(str(row.outcome) for row in mine)
    summary = {name: counts.get(name, 0) for name in COUNTED}
    summary["blocking_fail"] = len(failed)
    summary["planned"] = len(missing) + len(done)
    return EncoderVerdict(encoder, outcome, summary, tuple(reasons), basis(encoder, mine, planned), tuple(missing))


def _without_a_pass(rows: Sequence[Row]) -> list[str]:
    """Name the suites that decided nothing: one that passes must not stand in for another that could not measure."""
    decided = {row.suite for row in rows if row.tier == "blocking" and row.outcome == "pass" and _tells(row)}
    # Where nothing was decided at all, nothing is excused either.
    return sorted({row.suite for row in rows if not (decided and row.excused)} - decided)


def _tells(row: Row) -> bool:
    """Say whether a pass tells something of the encoder: a check that only tries our own arithmetic does not."""
    kind = CHECKS.get(row.check.partition("[")[0])
    return kind is None or not kind.arithmetic


def decide(
    rows: Iterable[Row],
    planned: Sequence[Planned],
    *,
    models: Sequence[str],
    trouble: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Verdict:
    """Decide a run.

    Parameters
    ----------
    rows : iterable of Row
        In any order.
    planned : sequence of Planned
        Every cell that the profile asks for: one without a row makes the run incomplete.
    models : sequence of str
        The encoders under test.
    trouble : sequence of str
        What else went wrong (an interrupted run, a crashed worker): makes the run incomplete.
    notes : sequence of str
        What a reader has to know although it decides nothing.

    Returns
    -------
    Verdict
        The worst of its encoders: fail, then incomplete, then pass.
    """
    ordered = sorted(rows, key=lambda row: row.key)
    verdicts = tuple(_encoder_verdict(name, ordered, planned) for name in models)
    words = {verdict.outcome for verdict in verdicts}
    evaluated = {row.key for row in ordered}
    complete = not trouble and bool(planned) and all((case.encoder, case.name) in evaluated for case in planned)
    complete = complete and all(row.outcome != "error" for row in ordered)
    outcome: Word = "pass"
    if "fail" in words:
        outcome = "fail"
    elif "incomplete" in words or not complete:
        outcome = "incomplete"
    reasons = [*trouble, *(f"{v.encoder}: {reason}" for v in verdicts for reason in v.reasons)]
    if not planned:
        reasons.append("nothing was planned: no check of the profile applies")
    return Verdict(outcome, complete, verdicts, tuple(reasons), tuple(notes))
