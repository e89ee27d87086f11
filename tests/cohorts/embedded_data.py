"""Small embedded cohorts, and states of hearts."""

from dataclasses import replace

from pytest_ecgfm.cohorts.synthetic import SPECS, EmbeddedCohort
from pytest_ecgfm.cohorts.synthetic.heart import State

NAMES = list(SPECS)


def small(name: str, n: int = 60, **options: object) -> EmbeddedCohort:
    return EmbeddedCohort(replace(SPECS[name], n_records=n), **options)  # type: ignore[arg-type]


def usual_state(**changes: object) -> State:
    state = State("sinus", 72.0, 0.02, 160.0, 92.0, "", 0.0, 0.0, 0.0, "", 0.0, 1.0, 5000)
    return replace(state, **changes)  # type: ignore[arg-type]
