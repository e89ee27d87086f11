"""Quantities and sets through a run: age that is withheld, few records, rare labels, and what the cube keeps."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.cohorts.quantities import AGE, quantity_of
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.measurements import downstream
from pytest_ecgfm.measurements.without_age import embeddings_for
from pytest_ecgfm.results.baseline import Scores, change
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.cube import build_cube
from pytest_ecgfm.results.rows import Measured, judged_row, parse_row
from tests.held_runs import HeldRun, settings_of
from tests.memory_cohort import MemoryCohort, encoder_of

SIZE = quantity_of("quantity:size", {}, where="")


class Told:
    """Reads what a record is told to be, and the mean of its first lead."""

    def __init__(self):
        self.embedded = 0

    def embed(self, batch):
        self.embedded += len(batch)
        ages = np.nan_to_num(batch.ages, nan=0.0)
        return np.stack([ages, batch.signals[:, 0].mean(axis=-1), batch.signals[:, 1].mean(axis=-1)], axis=1)


@pytest.fixture
def cohort():
    made = MemoryCohort(n=240, patients=[f"p{i // 2}" for i in range(240)])
    rng = np.random.default_rng(0)
    made.table["age"] = rng.uniform(20, 90, 240)
    sizes = np.array([made.signals[name][0].mean() for name in made.records])
    sizes = 10 + (sizes - sizes.mean()) / sizes.std()
    made.columns = pd.DataFrame({"size [mV]": [f"{size:.4f}" for size in sizes]}, made.records)
    made.labels["LBBB"] = pd.array(np.arange(240) < 6, dtype="boolean")
    return made


@pytest.fixture
def run(cohort, tmp_path):
    settings = settings_of("m", {"memory": cohort}, tmp_path)
    sets = {"three": ("AF", "CD", "LBBB"), "rare": ("AF", "LBBB")}
    quantities = {AGE.name: AGE, SIZE.name: SIZE}
    changed = replace(settings, cohorts=("memory",), labels=("AF", "CD", "LBBB"), sets=sets, quantities=quantities)
    return HeldRun(changed, tmp_path / "run", {"memory": cohort})


def told(model=None):
    return encoder_of(model or Told(), input="records", preprocessing="model", version="1")


def case(check, name, fraction=1.0):
    return Case(check, "m", "memory", name, fraction)


def test_age_is_not_read_from_an_encoder_that_is_told_it(run, cohort):
    encoder = told()
    embedding = embeddings_for(run, encoder, cohort, AGE.name)
    assert (embedding[:, 0] == 0).all() and embedding.shape == (240, 3)
    np.testing.assert_array_equal(embedding[:, 1:], run.embeddings(encoder, cohort)[:, 1:])
    assert downstream.over_seeds(run, encoder, case("downstream.r2", AGE.name)).value < 0.1
    # Of anything else it may know the age.
    np.testing.assert_array_equal(
        embeddings_for(run, encoder, cohort, SIZE.name)[:, 0], cohort.table["age"].astype("f4")
    )


def test_an_encoder_that_reads_no_age_embeds_once(run, cohort):
    class Deaf(Told):
        def embed(self, batch):
            return super().embed(replace(batch, ages=np.zeros(len(batch), np.float32)))

    model = Deaf()
    encoder = told(model)
    first = embeddings_for(run, encoder, cohort, AGE.name)
    assert first is run.embeddings(encoder, cohort) and model.embedded <= 240 + 16


def test_a_quantity_has_r2_error_in_its_units_and_a_place_in_the_cube(run, tmp_path):
    encoder = told()
    found = downstream.over_seeds(run, encoder, case("downstream.r2", SIZE.name))
    assert found.value > 0.9 and found.low < found.value < found.high <= 1 and found.records == 240
    assert "mean absolute error" in found.note and "] mV; Spearman" in found.note
    row = judged_row(case("downstream.r2", SIZE.name), Threshold(0.05), found)
    assert (row.outcome, row.tier, row.counts) == ("pass", "blocking", {"n_test": 240})
    assert "240 records" in row.message() and parse_row(row.to_json()) == row
    tree = build_cube([row], run.folder / "arrays", {"cohorts": '{"memory": {"units": {"quantity:size": "mV"}}}'})
    held = tree["quantities"]
    assert float(held["r2_mean"].squeeze()) == found.value and held["units"].values.tolist() == [["mV"]]
    assert tree["scores"]["label"].values.tolist() == ["quantity:size"]
    assert "downstream" not in tree
    by_group = tree["quantity_groups"].to_dataset().squeeze(["encoder", "cohort", "quantity"])
    women = by_group.sel(column="sex", group="sex F")
    assert float(women["judged"]) == 1 and float(women["r2_low"]) < float(women["r2"]) < float(women["r2_high"]) <= 1
    assert float(women["n_test"]) == 240 == float(by_group["n_test"].sel(column="age").sum())
    assert by_group["units"].item() == "mV"


def test_gain_of_a_quantity_is_paired(run):
    other = encoder_of(lambda x: x[:, 2:4].mean(dim=-1), version="2")
    encoder = told()
    here = downstream.gain(run, encoder, replace_name(other, "other"), case("downstream.r2_gain", SIZE.name))
    assert 0.5 < here.low < here.value and here.records == 240


def replace_name(encoder, name):
    encoder.card = encoder.card.model_copy(update={"name": name})
    return encoder


@pytest.mark.parametrize(
    ("records", "outcome", "tier"),
    [(19, "insufficient", "advisory"), (20, "pass", "advisory"), (99, "pass", "advisory"), (100, "pass", "blocking")],
)
def test_few_records_of_a_quantity_never_block(records, outcome, tier):
    row = judged_row(case("downstream.r2", AGE.name), Threshold(0.0), Measured(0.5, 0.4, 0.6, records=records))
    assert (row.outcome, row.tier) == (outcome, tier)
    assert ("fewer than 20 tested records" in row.reason) == (records < 20)


def test_rare_labels_stay_out_of_a_mean_and_are_named(run):
    found = downstream.macro_auroc(run, told(), case("downstream.macro_auroc", "three"))
    assert found.low < found.value < found.high
    assert (
        "mean over 2 of 3 labels; left out, with fewer than 10 tested records of a class: LBBB (6 positive"
        in found.note
    )
    each = [downstream.over_seeds(run, told(), case("downstream.auroc", name)).value for name in ("AF", "CD")]
    assert found.value == pytest.approx(np.mean(each))
    held = {
        cell.coordinates["label"]: cell.values
        for cell in found.cells
        if cell.group == "sets" and "label" in cell.coordinates
    }
    assert held == {"AF": {"included": 1}, "CD": {"included": 1}, "LBBB": {"included": 0}}
    alone = downstream.macro_auroc(run, told(), case("downstream.macro_auroc", "rare"))
    row = judged_row(case("downstream.macro_auroc", "rare"), Threshold(0.5), alone)
    assert row.outcome == "insufficient" and "LBBB (6 positive" in row.reason


def test_a_change_of_r2_is_paired_and_a_changed_value_is_stale():
    rng = np.random.default_rng(1)
    values = rng.normal(50, 10, 60)
    records, patients = np.array([f"r{i}" for i in range(60)]), np.array([f"p{i // 2}" for i in range(60)])
    then = Scores(records, patients, values + rng.normal(0, 2, 60), values, quantity=True)
    now = replace(then, scores=values + rng.normal(0, 8, 60))
    found = change(now, then, "before")
    assert found.low < found.value < found.high < 0
    assert change(then, then, "before") == (0, 0, 0)
    with pytest.raises(EcgfmError, match="baseline before is stale: 60 values differ"):
        change(now, replace(then, targets=values + 1), "before")
    assert not math.isnan(found.value)


def test_an_encoder_that_ignores_its_input_fails_r2_gain_and_the_mean_over_a_set(run):
    constant = encoder_of(lambda x: np.ones((len(x), 3), np.float32), version="1")
    reference = replace_name(told(), "other")
    read = downstream.over_seeds(run, constant, case("downstream.r2", SIZE.name))
    assert judged_row(case("downstream.r2", SIZE.name), Threshold(0.05), read).outcome == "fail"
    gained = downstream.gain(run, constant, reference, case("downstream.r2_gain", SIZE.name))
    assert judged_row(case("downstream.r2_gain", SIZE.name), Threshold(0.0), gained).outcome == "fail"
    mean = downstream.macro_auroc(run, constant, case("downstream.macro_auroc", "three"))
    assert judged_row(case("downstream.macro_auroc", "three"), Threshold(0.76), mean).outcome == "fail"
