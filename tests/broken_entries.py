"""An entry of the table of broken encoders: what it declares, and what its outcomes leave to complain of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.results.baseline import Baseline
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.results.cube import build_cube, write_cube
from pytest_ecgfm.results.rows import Row
from tests.broken_models import honest
from tests.held_runs import HeldRun, evaluate, planned, settings_of

CARD = {"sampling_rate": 125, "seconds": 10, "pretrained_on": []}


@dataclass(frozen=True)
class Entry:
    """One broken encoder.

    `fails`, `passes` and `undecided` name checks, in brackets with what the name of their cell must hold. Of the first,
    one cell at least fails; of the second, none does and one at least passes; the last are insufficient in every cell.
    """

    name: str
    make: Callable[[], Any]
    fails: tuple[str, ...]
    passes: tuple[str, ...]
    card: dict[str, Any] = field(default_factory=lambda: CARD)
    cohorts: str = "plain"
    undecided: tuple[str, ...] = ()


def speaks_of(name: str, case: Case) -> bool:
    """Say whether a name of the table, such as ``stability.retrieval[gain@1.1]``, means this cell."""
    check, _, part = name.removesuffix("]").partition("[")
    return case.check == check and part in case.cell


def encoder_of(entry: Entry) -> Encoder:
    """Put the entry's model behind its card."""
    return Encoder(parse_card("m", entry.card, where="matrix"), entry.make())


def baseline_of(folder, cohorts) -> Baseline:
    """Keep the scores of the honest encoder as an earlier run."""
    entry = Entry("honest", honest.Honest, (), ())
    run = HeldRun(settings_of("m", cohorts, folder), folder, cohorts)
    kept = ("downstream.auroc", "downstream.r2")
    cases = {case: one for case, one in planned(run.settings).items() if case.check in kept}
    rows = evaluate(run, encoder_of(entry), cases)
    write_cube(build_cube(rows.values(), folder / "arrays", {}), folder / "cube.nc")
    return Baseline(folder)


def complaints(entry: Entry, rows: dict[Case, Row]) -> list[str]:
    """Say what a broken encoder should have failed, or passed, and did not."""
    found = []
    for name in entry.fails:
        outcomes = [row.outcome for case, row in rows.items() if speaks_of(name, case)]
        if "fail" not in outcomes:
            values = [row.message() for case, row in rows.items() if speaks_of(name, case)]
            found.append(f"{entry.name} should fail {name}: {values}")
    for name in entry.passes:
        mine = [row for case, row in rows.items() if speaks_of(name, case)]
        if not any(row.outcome == "pass" for row in mine) or any(row.outcome == "fail" for row in mine):
            found.append(f"{entry.name} should pass {name}: {[row.message() for row in mine if row.outcome != 'pass']}")
    for name in entry.undecided:
        mine = [row for case, row in rows.items() if speaks_of(name, case)]
        if not mine or any(row.outcome != "insufficient" for row in mine):
            found.append(f"{entry.name} should decide nothing by {name}: {[row.message() for row in mine]}")
    return found
