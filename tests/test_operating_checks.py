"""What the checks of sensitivity rest on: whose threshold, which records, what is reported, and when they block."""

from dataclasses import replace

import numpy as np
import pytest

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.calibration import POINTS
from pytest_ecgfm.measurements import operating
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.cube import build_cube
from pytest_ecgfm.results.profiles import load_profile
from pytest_ecgfm.results.profiles.grid import OperatingPoint
from pytest_ecgfm.results.rows import judged_row
from tests.broken_entries import Entry, encoder_of
from tests.broken_models import groups, honest
from tests.grouped_cohort import GroupedCohort
from tests.held_runs import HeldRun, settings_of

HOME = Case("downstream.sensitivity", "m", "here", "AF")
ABROAD = Case("transfer.sensitivity", "m", "here", "AF", source="there")


@pytest.fixture
def run_of(tmp_path):
    def make(point=None, **changes):
        cohorts = {"here": GroupedCohort("here", **changes), "there": GroupedCohort("there", records=600)}
        settings = settings_of("m", cohorts, tmp_path)
        if point is not None:
            grid = settings.profile.grid.model_copy(update={"operating_point": point})
            settings = replace(settings, profile=settings.profile.model_copy(update={"grid": grid}))
        return HeldRun(settings, tmp_path / "run", cohorts)

    return make


def measured(run, make=honest.Honest):
    encoder = encoder_of(Entry("", make, (), ()))
    return operating.sensitivity(run, encoder, HOME), operating.sensitivity_abroad(run, encoder, ABROAD)


def judged(run, *found):
    cases = (HOME, ABROAD)
    return [judged_row(c, run.settings.profile.threshold(c), f) for c, f in zip(cases, found, strict=True)]


def test_an_honest_encoder_keeps_its_sensitivity_and_the_cube_has_all_of_it(run_of):
    run = run_of(records=600)
    rows = judged(run, *measured(run))
    assert [(row.outcome, row.tier) for row in rows] == [("pass", "advisory")] * 2
    assert "by sensitivity 0.9" in rows[0].reason and "specificity 0." in rows[0].reason
    held = build_cube(rows, run.folder / "arrays", {})["operating"].to_dataset()
    home = held.sel(encoder="m", source="here", target="here", label="AF")
    assert float(home["sensitivity"]) == pytest.approx(rows[0].value)
    assert float(home["n_test"]) == rows[0].counts["n_test"]
    assert held.sizes["point"] == POINTS and np.isfinite(home["observed"].values).all()
    assert (home["observed_low"] <= home["observed"]).all() and (home["observed"] <= home["observed_high"]).all()
    for name, array in held.data_vars.items():
        assert array.attrs["long_name"] and array.attrs["units"] == "1", name
    away = held.sel(encoder="m", source="there", target="here", label="AF")
    assert float(away["sensitivity"]) == pytest.approx(rows[1].value)


def test_a_device_that_lowers_scores_is_found_and_blocks_if_a_profile_says_so(run_of):
    run = run_of(newer=True)
    found = measured(run, groups.HearingTheDevice)
    rows = judged(run, *found)
    assert [(row.outcome, row.blocks) for row in rows] == [("fail", False)] * 2
    strict = [judged_row(case, Threshold(0.8), one) for case, one in zip((HOME, ABROAD), found, strict=True)]
    assert all(row.blocks for row in strict)
    cells = {name: value for cell in found[0].cells for name, value in cell.values.items()}
    assert cells["intercept_low"] > 0 and cells["training_sensitivity"] >= 0.9
    assert f"intercept {cells['intercept']:.2f}" in rows[0].reason


def test_the_profile_says_what_a_threshold_is_chosen_by(run_of):
    found = {}
    for point in (
        OperatingPoint(at=0.95),
        OperatingPoint(at=0.5),
        OperatingPoint(by="specificity", at=0.99),
        OperatingPoint(by="youden"),
    ):
        home, _ = measured(run_of(point, records=600))
        assert f"by {point.words()}" in home.note
        values = home.cells[0].values
        found[point.words()] = values["threshold"], values["training_specificity"], home.value
    assert found["sensitivity 0.95"][0] < found["sensitivity 0.5"][0]
    assert found["sensitivity 0.95"][2] > found["sensitivity 0.5"][2]
    assert found["specificity 0.99"][1] >= 0.99


def test_too_few_records_decide_nothing(run_of):
    run = run_of(records=16)
    for row in judged(run, *measured(run)):
        assert row.outcome == "insufficient" and "fewer than 10" in row.reason
    run = run_of()
    for name in ("here", "there"):
        cohort = run.cohort(name)
        training = cohort.table["fold"] == 1
        known = cohort.labels["AF"] & ~training
        known[training[training].index[0]] = True
        cohort.labels["AF"] = known
    for row, place in zip(judged(run, *measured(run)), ("here", "there"), strict=True):
        assert row.outcome == "insufficient"
        assert f"too few training patients of a class in {place} for out-of-fold scores" in row.reason


def test_a_class_that_is_too_rare_for_a_split_is_insufficient(run_of):
    run = run_of(records=200)
    run.cohort("here").labels["AF"] = False
    home, abroad = judged(run, *measured(run))
    assert home.outcome == abroad.outcome == "insufficient"


GRID = '[grid]\n{}\n[[check]]\nname = "downstream.sensitivity"\nminimum = 0.8\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('operating_point = {by = "accuracy"}', "grid.operating_point.by"),
        ("operating_point = {at = 1.0}", "grid.operating_point.at = 1"),
        ("operating_point = {at = true}", "grid.operating_point.at"),
        ('operating_point = {by = "youden", at = 0.9}', "takes no number"),
        ('operating_point = {by = "specificity"}', "needs `at`"),
        ("operating_point = {att = 0.9}", "Did you mean 'at'?"),
        ('operating_point = "sensitivity"', "grid.operating_point"),
    ],
)
def test_the_operating_point_of_a_profile_is_checked(tmp_path, line, message):
    path = tmp_path / "mine.toml"
    path.write_text(GRID.format(line), encoding="utf-8")
    with pytest.raises(EcgfmError) as raised:
        load_profile(str(path))
    assert message in str(raised.value) and "mine.toml" in str(raised.value) and "\n" not in str(raised.value)


def test_a_profile_chooses_its_operating_point(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GRID.format('operating_point = {by = "specificity", at = 0.95}'), encoding="utf-8")
    assert load_profile(str(path)).grid.operating_point.words() == "specificity 0.95"
    assert load_profile("default").grid.operating_point.at == 0.9
    assert OperatingPoint(by="youden").at is None
