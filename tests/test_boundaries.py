"""What changed code showed that no other test looks at (`benchmarks/mutants.py`)."""

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import xarray as xr

from pytest_ecgfm.cohorts.base import PublishedSplit
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.geometry import effective_rank, intrinsic_dimension
from pytest_ecgfm.evaluations.splits import make_split, nested_subset
from pytest_ecgfm.evaluations.statistics import Estimate, delong_interval, mean_auroc, mean_auroc_difference, p_value
from pytest_ecgfm.results.checks import OTHERS, Case, Threshold, cells, judge
from pytest_ecgfm.results.cube import build_cube
from pytest_ecgfm.results.cube_files import open_run, read_into_memory
from pytest_ecgfm.results.rows import Measured, judged_row
from pytest_ecgfm.results.verdict import corrected, decide

STRICT = Threshold(0.7, inconclusive="block")


@pytest.mark.parametrize(
    ("changes", "looser"),
    [
        ({}, False),
        ({"tier": "advisory"}, True),
        ({"decide": "point"}, True),
        ({"inconclusive": "allow"}, True),
        ({"no_change": 0.0}, True),
        ({"bound": 0.69}, True),
        ({"bound": 0.71}, False),
        ({"sense": "maximum"}, True),
        # One thing that is stricter does not make up for another that is looser.
        ({"bound": 0.9, "tier": "advisory"}, True),
        ({"bound": 0.9, "decide": "point"}, True),
        ({"bound": 0.9, "inconclusive": "allow"}, True),
        ({"bound": 0.9, "no_change": 0.0}, True),
    ],
)
def test_what_is_looser_than_a_strict_threshold(changes, looser):
    assert replace(STRICT, **changes).looser_than(STRICT) is looser


@pytest.mark.parametrize("field", [{"tier": "advisory"}, {"decide": "point"}, {"inconclusive": "allow"}])
def test_what_the_other_allows_too_is_not_looser(field):
    lenient = replace(STRICT, **field)
    assert not lenient.looser_than(lenient)
    assert not STRICT.looser_than(lenient)


def test_a_maximum_is_looser_where_it_is_larger():
    bound = Threshold(0.5, "maximum")
    assert Threshold(0.6, "maximum").looser_than(bound)
    assert not Threshold(0.4, "maximum").looser_than(bound)


def test_a_quantity_without_classes_is_judged_by_its_threshold_alone():
    case = Case("contract.batch", "m", "a")
    made = judged_row(case, Threshold(0.7), Measured(0.8, 0.8, 0.8))
    assert (made.outcome, made.tier, made.counts) == ("pass", "blocking", {})


@pytest.mark.parametrize(
    ("value", "threshold", "outcome", "bound"),
    [
        (1.6, Threshold(2.0), "pass", 1.5),
        (1.0, Threshold(2.0), "fail", 1.5),
        (1.3, Threshold(1.2), "pass", 1.2),
        (1.6, Threshold(2.0, "maximum"), "pass", 2.0),
    ],
)
def test_no_more_is_asked_than_a_cell_can_have(value, threshold, outcome, bound):
    made = judged_row(Case("stability.effective_rank", "m", "a"), threshold, Measured(*[value] * 3, most_asked=1.5))
    assert (made.outcome, made.threshold) == (outcome, bound)


@pytest.mark.parametrize(
    ("found", "threshold", "reason"),
    [
        ((0.5, 0.4, 0.6), Threshold(0.7), "the whole interval lies below 0.7"),
        ((0.5, 0.4, 0.6), Threshold(0.3, "maximum"), "the whole interval lies above 0.3"),
        ((0.5, 0.5, 0.5), Threshold(0.7), "the value lies below 0.7"),
        ((0.5, 0.5, 0.5), Threshold(0.3, "maximum"), "the value lies above 0.3"),
        ((0.8, 0.75, 0.9), Threshold(0.7), "the whole interval is at or above 0.7"),
        ((0.8, 0.8, 0.8), Threshold(0.7), "the value is at or above 0.7"),
        ((0.7, 0.6, 0.9), Threshold(0.7), "the interval contains 0.7"),
    ],
)
def test_a_reason_says_what_lies_where(found, threshold, reason):
    assert judge(*found, threshold)[1] == reason


def test_a_value_at_its_bound_keeps_to_it():
    assert judge(0.7, 0.6, 0.9, Threshold(0.7, decide="point"))[0] == "pass"
    assert judge(0.7, 0.6, 0.9, Threshold(0.7, "maximum", decide="point"))[0] == "pass"


def test_three_rows_have_a_dimension_and_two_have_none():
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    assert np.isfinite(intrinsic_dimension(rows))
    assert np.isnan(intrinsic_dimension(rows[:2]))


def test_three_folds_are_enough():
    targets, patients = np.arange(12) % 2 == 0, np.array([f"p{number:02d}" for number in range(12)])
    assert len(make_split(targets, patients, folds=3).folds) == 3
    with pytest.raises(EcgfmError, match="at least 3"):
        make_split(targets, patients, folds=2)


@pytest.mark.parametrize("crossing", [("a", "t"), ("a", "v"), ("v", "t")])
def test_published_folds_that_divide_a_patient_are_refused(crossing):
    patients = np.array(["a", "v", "t", "a2", "v2", "t2"])
    patients[patients == crossing[1]] = crossing[0]
    with pytest.raises(EcgfmError, match="one patient into two parts"):
        make_split(np.ones(6, bool), patients, [1, 2, 3, 1, 2, 3], PublishedSplit((1,), (2,), (3,)))


@pytest.mark.parametrize(
    ("threshold", "sign", "word"), [(Threshold(0.0), 1, "below"), (Threshold(0.0, "maximum"), -1, "above")]
)
def test_what_fails_like_others_of_its_family_says_where_it_lies(threshold, sign, word):
    def of(number, value):
        case = Case("downstream.auroc_gain", "m", f"c{number}", "AF", 1.0, "r")
        return judged_row(
            case, threshold, Measured(sign * value, *sorted((sign * (value - 0.1), sign * (value + 0.1))), 60, 60), 2
        )

    first, second = corrected([of(0, -0.5), of(1, -0.105)])
    assert (first.outcome, second.outcome) == ("fail", "fail")
    assert second.reason == f"the whole interval lies {word} 0, like others of its family"


def test_a_missing_check_is_counted_among_the_planned():
    cases = [Case("contract.batch", "m", name) for name in "abc"]
    rows = [judged_row(case, Threshold(0.7), Measured(0.8, 0.8, 0.8)) for case in cases[:2]]
    (one,) = decide(rows, cases, models=["m"]).encoders
    assert one.reasons == ("1 of 3 planned checks were not evaluated: contract.batch[c]",)
    assert one.counts["planned"] == 3


def test_a_difference_ends_at_one():
    targets = np.arange(12) % 2 == 0
    worse = np.where(targets, 0.0, 1.0) + np.linspace(0, 2, 12)
    better = mean_auroc_difference(targets.astype(float), worse, targets)
    assert 0.7 < better.value < 1.0 and better.high == 1.0
    assert better.value + 1.9 * better.standard_error > 1.0
    assert mean_auroc_difference(worse, targets.astype(float), targets).low == -1.0


def test_one_pair_of_records_says_what_one_trial_says():
    assert mean_auroc([0.0, 1.0], [False, True]).low == pytest.approx(0.025)
    assert delong_interval(1.0, 0.0, pairs=0) == delong_interval(1.0, 0.0, pairs=1)


def test_what_is_not_known_in_part_has_no_interval_and_no_p_value():
    assert np.isnan(delong_interval(1.0, math.nan, pairs=5)).all()
    assert np.isnan(delong_interval(math.nan, 0.0, pairs=5)).all()
    for value, low in ((1.0, math.nan), (math.nan, 0.5)):
        assert math.isnan(p_value(Estimate(value, low, 1.0, 0.0, math.nan, 1, pairs=5), 0.5))


def test_an_auroc_of_zero_is_not_above_zero():
    worst = mean_auroc([1.0, 0.0], [False, True])
    assert (worst.value, worst.low) == (0.0, 0.0)
    assert p_value(worst, 0.0) == 1.0
    assert p_value(worst, -0.1) == 0.0


@pytest.mark.parametrize(
    ("cohorts", "sources"),
    [
        (("a",), set()),
        (("a", "b"), {("a", "b"), ("b", "a")}),
        (("a", "b", "c"), {*permutations("abc", 2), *((OTHERS, name) for name in "abc")}),
    ],
)
def test_probes_travel_from_each_other_cohort_and_from_all_others(cohorts, sources):
    found = cells("m", cohorts=cohorts, labels=("AF",), fractions=(1.0,), references=(), suites=("transfer",))
    assert {(case.source, case.cohort) for case in found} == sources


def test_the_first_that_is_missing_is_named():
    cases = [Case("contract.batch", "m", name) for name in "abc"]
    row = judged_row(cases[1], Threshold(0.7), Measured(0.8, 0.8, 0.8))
    (one,) = decide([row], cases, models=["m"]).encoders
    assert one.reasons == ("2 of 3 planned checks were not evaluated: contract.batch[a]",)
    assert one.counts == {
        "pass": 1,
        "fail": 0,
        "inconclusive": 0,
        "insufficient": 0,
        "error": 0,
        "blocking_fail": 0,
        "planned": 3,
    }


def test_what_hardly_differs_does_not_vary_whatever_its_size():
    assert effective_rank(np.empty((0, 3))) == 0.0
    assert effective_rank(np.empty((3, 0))) == 0.0
    noise = np.random.default_rng(0).normal(size=(20, 4))
    for size in (1e-6, 1.0, 1e6):
        assert effective_rank(size * (1 + 1e-8 * noise)) == 0.0
        assert effective_rank(size * (1 + 1e-3 * noise)) > 2.0


def test_rows_of_nearly_one_distance_have_a_large_dimension():
    # A triangle of sides 1, 1.05 and 1.1: the ratios of second to first neighbour are known.
    x = (1 + 1.05**2 - 1.1**2) / 2
    rows = [[0.0, 0.0], [1.0, 0.0], [x, math.sqrt(1.05**2 - x**2)]]
    wanted = 3 / (math.log(1.05) + math.log(1.1) + math.log(1.1 / 1.05))
    assert intrinsic_dimension(rows) == pytest.approx(wanted)


def test_as_many_tested_positives_as_are_asked_for_are_enough():
    targets, patients = np.arange(400) % 2 == 0, np.array([f"p{number:03d}" for number in range(400)])
    split = make_split(targets, patients, minimum_test_positives=1)
    tested = int(targets[split.folds[0].test].sum())
    assert make_split(targets, patients, minimum_test_positives=tested).kind == "holdout"
    assert make_split(targets, patients, minimum_test_positives=tested + 1).kind == "cv"


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.001, 1.5])
def test_a_share_is_more_than_nothing_and_at_most_all(fraction):
    with pytest.raises(EcgfmError, match=r"should be in \(0, 1\]"):
        nested_subset(np.arange(4), np.ones(4, bool), np.array(["a", "b", "c", "d"]), fraction)


def test_arrays_of_several_files_lie_side_by_side_with_whole_names(tmp_path):
    for number, names in enumerate((["a"], ["a", "longer"])):
        data = xr.Dataset(
            {"shap": (("dimension",), np.arange(len(names)) + 0.5), "unit": (("dimension",), names)},
            {"dimension": names},
            {"group": "features/m"},
        )
        data.to_netcdf(tmp_path / f"{number}.nc", engine="h5netcdf")
    case = Case("contract.batch", "m", "a")
    row = judged_row(case, Threshold(0.7), Measured(0.8, 0.8, 0.8, arrays=("arrays/0.nc", "arrays/1.nc")))
    found = build_cube([row], tmp_path, {})["features/m"].to_dataset()
    assert found["dimension"].values.tolist() == found["unit"].values.tolist() == ["a", "longer"]
    assert found["shap"].values.tolist() == [0.5, 1.5]
    assert "group" not in found.attrs


def test_a_cube_that_opens_and_cannot_be_read_is_an_error(tmp_path):
    marker = np.full(4096, 123456789.0)
    held = xr.Dataset({"value": (("check",), marker)}, attrs={"schema_version": 1})
    held.to_netcdf(
        tmp_path / "cube.nc", engine="h5netcdf", encoding={"value": {"fletcher32": True, "chunksizes": (4096,)}}
    )
    assert read_into_memory(open_run(tmp_path), tmp_path)["value"].values[0] == marker[0]
    data = bytearray((tmp_path / "cube.nc").read_bytes())
    data[data.index(marker[:8].tobytes())] ^= 1
    (tmp_path / "cube.nc").write_bytes(data)
    tree = open_run(tmp_path)
    with pytest.raises(EcgfmError, match=r"cube\.nc cannot be read"):
        read_into_memory(tree, tmp_path)
