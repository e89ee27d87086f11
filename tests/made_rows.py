"""A row of a run as its test would make it, with the outcome that is asked for."""

from dataclasses import replace

from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.rows import Measured, judged_row

CASE = Case("downstream.auroc", "m", "ptb-xl", "AF", 0.01)
THRESHOLD = Threshold(0.7)


def row(outcome="pass", *, tier="blocking", case=CASE, value=0.8):
    made = judged_row(case, THRESHOLD, Measured(value, value - 0.05, value + 0.05, 60, 60))
    return replace(made, outcome=outcome, tier=tier)
