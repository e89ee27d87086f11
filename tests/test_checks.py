"""Cells of checks, and how a value and its interval become an outcome."""

import math
from dataclasses import replace

import pytest
from scipy.stats import norm

from pytest_ecgfm.results.checks import Case, Threshold, applicable_tier, cells, enough, evidence, judge
from tests.made_rows import CASE


@pytest.mark.parametrize(
    ("low", "value", "high", "decided_by", "outcome"),
    [
        (0.71, 0.80, 0.90, "interval", "pass"),
        (0.70, 0.80, 0.90, "interval", "pass"),
        (0.60, 0.80, 0.90, "interval", "inconclusive"),
        (0.60, 0.80, 0.90, "point", "pass"),
        (0.60, 0.69, 0.90, "point", "inconclusive"),
        (0.50, 0.60, 0.69, "interval", "fail"),
        (0.50, 0.60, 0.69, "point", "fail"),
        (0.50, 0.60, 0.70, "interval", "inconclusive"),
    ],
)
def test_a_value_and_its_interval_become_an_outcome(low, value, high, decided_by, outcome):
    assert judge(value, low, high, Threshold(0.7, decide=decided_by))[0] == outcome


@pytest.mark.parametrize("bad", [(math.nan, 0.8, 0.9), (0.8, math.nan, 0.9), (0.8, 0.7, math.inf)])
def test_what_is_no_number_fails(bad):
    value, low, high = bad
    assert judge(value, low, high, Threshold(0.1))[0] == "fail"


def test_few_positives_never_block():
    assert [applicable_tier("blocking", n) for n in (9, 49, 50)] == ["advisory", "advisory", "blocking"]
    assert applicable_tier("advisory", 1000) == "advisory"
    assert not enough(9, 1000)
    assert not enough(1000, 9)
    assert enough(10, 10)


def grid(**changes):
    return {
        "cohorts": ("a", "b"),
        "labels": ("AF", "CD"),
        "fractions": (0.01, 1.0),
        "references": ("r", "m", "s"),
        "suites": ("downstream",),
        **changes,
    }


def test_names_hold_the_cell_and_are_unique():
    found = list(cells("m", **grid()))
    assert len({case.name for case in found}) == len(found) == 8 + 8 * 2 + 4
    assert CASE.name == "downstream.auroc[ptb-xl,AF,0.01]"
    assert not any(case.reference == "m" for case in found)
    assert {case.check for case in cells("m", **grid(references=()))} == {
        "downstream.auroc",
        "downstream.sensitivity",
    }
    contract = list(cells("m", **grid(suites=("contract",))))
    assert {case.cell for case in contract} == {"a", "b", ""}
    assert Case("contract.generated", "m").name == "contract.generated"


def test_a_maximum_is_the_mirror_of_a_minimum():
    for value, low, high in [(0.2, 0.1, 0.3), (0.5, 0.4, 0.6), (0.7, 0.65, 0.8), (0.5, 0.5, 0.5)]:
        upper = judge(value, low, high, Threshold(0.5, "maximum"))[0]
        assert upper == judge(-value, -high, -low, Threshold(-0.5, "minimum"))[0]
    assert judge(0.0, 0.0, 0.0, Threshold(0.0, "maximum"))[0] == "pass"
    assert judge(1.0, 1.0, 1.0, Threshold(0.0, "maximum"))[0] == "fail"


@pytest.mark.parametrize("sense", ["minimum", "maximum"])
def test_evidence_agrees_with_the_interval_and_with_the_normal_distribution(sense):
    sign = 1 if sense == "minimum" else -1
    value, half = 0.5, 1.959964 * 0.1
    for errors in (-3.0, 0.0, 1.0, 3.5):
        bound = value + sign * 0.1 * errors
        found = evidence(value, value - half, value + half, bound, sense)
        assert found == pytest.approx(norm.sf(errors), rel=1e-5)
    assert evidence(value, value - half, value + half, value + sign * half, sense) == pytest.approx(0.025)
    assert [evidence(1.0, 1.0, 1.0, bound, "minimum") for bound in (0.9, 1.0, 1.1)] == [1.0, 1.0, 0.0]
    # A limit that touches the estimate says nothing: half of the interval does.
    assert evidence(0.5, 0.3, 0.5, 0.6, "minimum") == pytest.approx(norm.sf(0.1 / 0.1 * 1.959964), rel=1e-5)


def test_a_fail_has_to_hold_for_the_whole_family():
    assert judge(0.60, 0.55, 0.65, Threshold(0.66))[0] == "fail"
    outcome, reason = judge(0.60, 0.55, 0.65, Threshold(0.66), 20)
    assert outcome == "inconclusive" and "among 20 such checks one may do so by chance" in reason
    assert judge(0.50, 0.45, 0.55, Threshold(0.66), 20)[0] == "fail"
    assert judge(math.nan, 0.55, 0.65, Threshold(0.66), 20)[0] == "fail"
    assert judge(0.6, 0.6, 0.6, Threshold(0.66), 20)[0] == "fail"


def test_families_are_cells_of_one_check_against_one_reference():
    assert CASE.family == "downstream.auroc"
    gain = Case("downstream.auroc_gain", "m", "ptb-xl", "AF", 1.0, reference="r")
    change = Case("downstream.auroc_change", "m", "ptb-xl", "AF", baseline="old")
    assert (gain.family, change.family) == ("downstream.auroc_gain vs-r", "downstream.auroc_change since-old")


def test_without_a_value_of_no_change_a_threshold_is_stricter():
    strict = Threshold(-0.02, inconclusive="block")
    assert replace(strict, no_change=0.0).looser_than(strict)
    assert not strict.looser_than(replace(strict, no_change=0.0))
