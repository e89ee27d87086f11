"""What the checks of subgroups rest on: which records count, when they block, and who is named."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.subgroups import subgroups
from pytest_ecgfm.measurements import subgroups as measured
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.results.profiles import load_profile
from pytest_ecgfm.results.rows import judged_row
from pytest_ecgfm.session.beforehand import look_ahead

CASES = {name: Case(f"subgroups.{name}", "m", "c", "AF") for name in ("worst", "gap")}


def row_of(name, shares, lost, rng, n=3000, profile="default"):
    """Judge scores of AUROC 0.95 of groups of given shares, one of which loses so much."""
    group = rng.choice(list(shares), n, p=list(shares.values()))
    targets = rng.random(n) < 0.3
    apart = np.sqrt(2) * norm.ppf(0.95 - np.array([lost.get(one, 0.0) for one in group]))
    group[:7] = ""
    groups = subgroups(rng.normal(size=n) + apart * targets, targets, np.arange(n), {"site": group})
    at = {"encoder": "m", "cohort": "c", "label": "AF"}
    found = measured._Grouped(groups, measured._cells(groups, at), "holdout", int(targets.sum()), int((~targets).sum()))
    settings = SimpleNamespace(profile=load_profile(profile))
    run = SimpleNamespace(settings=settings, once=lambda key, make: found)
    case = CASES[name]
    one = getattr(measured, name)(run, SimpleNamespace(card=SimpleNamespace(name="m")), case)
    return judged_row(case, settings.profile.threshold(case), one), groups


def test_a_fail_rests_on_the_largest_group_that_fails_and_blocks_if_that_is_large(rng):
    row, groups = row_of("worst", {"a": 0.6, "b": 0.3, "c": 0.1}, {"b": 0.5, "c": 0.5}, rng)
    b = next(one for one in groups.groups if one.name == "b")
    assert row.outcome == "fail" and row.blocks
    assert row.counts == {"n_test": b.records, "n_test_positive": b.positives}
    assert "lowest of 3 groups" in row.reason and "shown for b, c" in row.reason.replace("c, b", "b, c")
    assert "unknown: site of 7 tested records" in row.reason


def test_a_large_group_that_fails_is_not_hidden_by_a_small_one_that_is_worse(rng):
    row, _ = row_of("worst", {"a": 0.65, "b": 0.3, "c": 0.05}, {"b": 0.45, "c": 0.8}, rng)
    assert row.blocks and row.counts["n_test_positive"] > 200
    small, _ = row_of("worst", {"a": 0.96, "b": 0.04}, {"b": 0.7}, rng)
    assert small.outcome == "fail" and small.tier == "advisory" and small.counts["n_test_positive"] < 50


def test_a_pass_rests_on_every_group_and_small_ones_never_make_a_run_incomplete(rng):
    row, _ = row_of("worst", {"a": 0.5, "b": 0.5}, {}, rng)
    assert row.outcome == "pass" and row.tier == "blocking" and not row.excused
    small, groups = row_of("worst", {"a": 0.97, "b": 0.03}, {}, rng)
    assert small.outcome == "pass" and small.tier == "advisory" and small.excused
    rarest = next(one for one in groups.groups if one.name == "b")
    assert f"the rarest group, b, has {rarest.positives} positives" in small.reason


def test_a_gap_is_advisory_and_names_who_is_below_the_rest(rng):
    row, _ = row_of("gap", {"a": 0.7, "b": 0.3}, {"b": 0.3}, rng)
    assert row.outcome == "fail" and row.tier == "advisory" and not row.blocks
    assert row.low < row.value < row.high and "widest of 2 groups: b" in row.reason
    cells = {cell.coordinates.get("group"): cell.values for cell in row.cells}
    assert (cells["b"]["below"], cells["a"]["below"]) == (1, 0)
    assert cells[None] == {"n_unknown": 7}


def test_groups_that_are_too_small_are_named_also_where_none_is_left(rng):
    row, _ = row_of("gap", {"a": 0.99, "b": 0.01}, {}, rng, n=1000)
    assert row.outcome == "insufficient" and "insufficient: b: " in row.reason
    none, _ = row_of("worst", {"a": 0.5, "b": 0.5}, {}, rng, n=20)
    assert none.outcome == "insufficient" and "insufficient: " in none.reason and none.excused


GRID = '[grid]\n{}\n[[check]]\nname = "subgroups.worst"\nminimum = 0.6\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("age_bands = [65, 40]", "age_bands should be ages in years, each above the one before"),
        ("age_bands = []", "age_bands should be ages"),
        ("age_bands = [0]", "grid.age_bands.0 = 0"),
        ('subgroups = ["sex x sex"]', "'sex x sex' should be a column, or different ones"),
        ('subgroups = [""]', "'' should be a column"),
    ],
)
def test_groups_of_a_profile_are_checked(tmp_path, line, message):
    path = tmp_path / "mine.toml"
    path.write_text(GRID.format(line), encoding="utf-8")
    with pytest.raises(EcgfmError) as raised:
        load_profile(str(path))
    assert message in str(raised.value) and "mine.toml" in str(raised.value) and "\n" not in str(raised.value)


def test_a_profile_chooses_columns_and_bands(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GRID.format('subgroups = ["device", "device x sex"]\nage_bands = [18, 40.5]'), encoding="utf-8")
    grid = load_profile(str(path)).grid
    assert grid.subgroups == ("device", "device x sex") and grid.age_bands == (18, 40.5)


@pytest.mark.parametrize("column", ["device", "sex x site"])
def test_a_column_that_no_cohort_has_is_refused_before_the_run(column):
    grid = SimpleNamespace(subgroups=("sex", column))
    asked = {"cohorts": ("synthetic-europe",), "data": None, "suites": ("downstream", "subgroups")}
    settings = SimpleNamespace(profile=SimpleNamespace(grid=grid), **asked)
    with pytest.raises(EcgfmError, match=r"grid\.subgroups: unknown column"):
        look_ahead(settings, {}, {}, {})
    settings.suites = ("downstream",)
    assert look_ahead(settings, {}, {}, {}) == {}
