"""Quantities from cohort to cohort in a run, heart rate that is measured, and what is refused before the run."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.cohorts.quantities import AGE, HEART_RATE, quantity_of
from pytest_ecgfm.encoders import heart_rate
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.measurements import transfer
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.cube import build_cube
from pytest_ecgfm.results.profiles import load_profile
from pytest_ecgfm.results.rows import judged_row
from pytest_ecgfm.session import known_labels
from tests.held_runs import HeldRun, settings_of
from tests.memory_cohort import MemoryCohort, encoder_of

SIZE = quantity_of("quantity:size", {}, where="")
MOST = Threshold(0.2, "maximum")


def cohort_of(name, salt, sign=1.0, n=240):
    """The mean of the first lead is the quantity, in its units; in a cohort where `sign` is -1, upside down."""
    made = MemoryCohort(n=n, salt=salt, patients=[f"{name}{i // 2}" for i in range(n)])
    made.name = name
    rng = np.random.default_rng(salt)
    sizes = rng.normal(0, 1, n)
    for size, record in zip(sizes, made.records, strict=True):
        made.signals[record][0] += np.float32(sign * size + rng.normal(0, 0.3))
    made.columns = pd.DataFrame({"size [mV]": [f"{10 + size:.4f}" for size in sizes]}, made.records)
    made.table["age"] = rng.uniform(20, 90, n)
    return made


@pytest.fixture
def cohorts():
    made = {"here": cohort_of("here", 1), "there": cohort_of("there", 2), "mirror": cohort_of("mirror", 3, sign=-1.0)}
    made["mirror"].columns = made["mirror"].columns.rename(columns={"size [mV]": "size"})
    return made


@pytest.fixture
def run(cohorts, tmp_path):
    quantities = {one.name: one for one in (SIZE, AGE, HEART_RATE)}
    settings = replace(settings_of("m", cohorts, tmp_path), labels=(), sets={}, quantities=quantities)
    return HeldRun(settings, tmp_path / "run", cohorts)


class Means:
    """Means of the leads, and the age that it was told."""

    def embed(self, batch):
        return np.c_[batch.signals.mean(axis=-1), np.nan_to_num(batch.ages, nan=0.0)]


def model(**fields):
    return encoder_of(Means(), input="records", preprocessing="model", version="1", pretrained_on=[], **fields)


def case(source, cohort, name=SIZE.name):
    return Case("transfer.spearman_drop", "m", cohort, name, source=source)


def test_what_travels_passes_and_what_is_upside_down_elsewhere_fails(run):
    here, mirrored = (transfer.spearman_drop(run, model(), case("here", target)) for target in ("there", "mirror"))
    kept, lost = (
        judged_row(case("here", target), MOST, found) for target, found in (("there", here), ("mirror", mirrored))
    )
    assert (kept.outcome, kept.tier, kept.counts) == ("pass", "blocking", {"n_test": 240}) and abs(here.value) < 0.1
    assert lost.outcome == "fail" and mirrored.low > 1 and mirrored.low < mirrored.value < mirrored.high
    assert "unseen; the foreign probe's R2 0." in kept.reason and "] mV; Spearman 0.9" in kept.reason
    told = {
        "cohorts": '{"there": {"units": {"quantity:size": "mV"}}}',
        "encoders": '{"m": {"exposure": {"there": "unseen"}}}',
    }
    held = build_cube([kept], run.folder / "arrays", told)["quantity_transfer"]
    assert (
        float(held["spearman_drop"].squeeze()) == here.value and held["mae"].attrs["units"] == "units of the quantity"
    )
    assert held["units"].values.tolist() == [["mV"]] and held["exposure"].values.tolist() == [["unseen"]]


def test_all_others_together_are_a_source_too(run):
    here, others = (transfer.spearman_drop(run, model(), case(one, "there")).value for one in ("here", "others"))
    assert -0.1 < here < 0.1 < others


def test_what_is_not_there_cannot_be_lost(run):
    blind = encoder_of(lambda x: np.ones((len(x), 3), np.float32), version="1", pretrained_on=[])
    found = transfer.spearman_drop(run, blind, case("here", "there"))
    row = judged_row(case("here", "there"), MOST, found)
    assert row.outcome == "insufficient" and "nothing to lose: R2 " in row.reason and "reach 0.05" in row.reason
    # Age is nothing but what the encoder was told, in either cohort.
    told = transfer.spearman_drop(run, model(), case("here", "there", AGE.name))
    assert "nothing to lose" in told.missing


def test_a_target_that_may_have_been_seen_and_a_small_source_are_advisory(run, cohorts):
    seen = encoder_of(Means(), input="records", preprocessing="model", version="1")
    assert "perhaps seen this cohort" in transfer.spearman_drop(run, seen, case("here", "there")).advisory
    cohorts["small"] = cohort_of("small", 4, n=60)
    run.settings = replace(run.settings, cohorts=tuple(cohorts))
    found = transfer.spearman_drop(run, model(), case("small", "there"))
    assert "the source has 3" in found.advisory and "training records of the quantity" in found.advisory
    cohorts["none"] = cohort_of("none", 5)
    cohorts["none"].columns = cohorts["none"].columns[[]]
    nothing = transfer.spearman_drop(run, model(), case("none", "there"))
    assert nothing.missing == "too few records of none state it for a probe"
    assert "too few records of none" in transfer.spearman_drop(run, model(), case("here", "none")).missing


def test_the_default_profile_judges_a_quantity_that_travels(run):
    threshold = load_profile("default").threshold(case("here", "there"))
    assert threshold.sense == "maximum" and threshold.tier == "blocking"


def test_heart_rate_is_measured_once_and_unknown_where_it_cannot_be(run, cohorts, monkeypatch):
    read = []

    def rate(recording):
        read.append(recording)
        return float("nan") if recording.signals.shape[1] > 600 else 60 + 10 * float(recording.signals[0].mean())

    monkeypatch.setattr(heart_rate, "heart_rate_of", rate)
    found = run.labelled(cohorts["here"], HEART_RATE.name)
    assert len(read) == 240 and (~found.known).sum() == 80 and found.targets.dtype == np.float64
    shorter = [name for name in cohorts["here"].records if cohorts["here"].signals[name].shape[1] < 600]
    assert found.targets[0] == pytest.approx(60 + 10 * cohorts["here"].signals[shorter[0]][0].mean(), abs=1e-5)
    run._made.clear()
    again = run.labelled(cohorts["here"], HEART_RATE.name)
    assert len(read) == 240 and np.array_equal(again.targets, found.targets)
    # A table that states it is believed.
    cohorts["there"].columns["heart_rate"] = "72"
    assert set(run.labelled(cohorts["there"], HEART_RATE.name).targets) == {72.0} and len(read) == 240


def test_rates_of_real_beats_are_those_of_the_record():
    time = np.arange(2500) / 250
    beats = np.exp(-(((time % 0.75) - 0.4) ** 2) / 0.0004)
    recording = SimpleNamespace(signals=np.tile(beats, (2, 1)).astype(np.float32), sampling_rate=250.0)
    assert heart_rate.heart_rate_of(recording) == pytest.approx(80, abs=1)
    assert np.isnan(heart_rate.heart_rate_of(SimpleNamespace(signals=recording.signals[:, :500], sampling_rate=250.0)))


def settings_for(**fields):
    made = SimpleNamespace(suites=("transfer",), quantities={SIZE.name: SIZE}, endpoints={}, skip_bad_records=False)
    made.__dict__.update(fields)
    return made


def test_units_that_differ_end_a_run_with_transfer_before_it_begins(cohorts):
    with pytest.raises(EcgfmError, match=r"quantity:size: units differ: here in mV, there in mV, mirror in none"):
        known_labels._require_one_scale(settings_for(), cohorts)
    known_labels._require_one_scale(settings_for(suites=("downstream",)), cohorts)


def test_a_column_is_sought_only_where_tables_have_columns(monkeypatch, tmp_path, cohorts):
    from pytest_ecgfm.cohorts import discovery

    there = {"mine": "folder", "huge": "mimic-iv-ecg", "ptb-xl": "ptb-xl"}
    opened = []

    def load(one, **_):
        opened.append(one.name)
        return cohorts["here"]

    found = {name: SimpleNamespace(name=name, layout=layout) for name, layout in there.items()}
    monkeypatch.setattr(discovery, "discover", lambda root: found)
    monkeypatch.setattr(discovery, "load_found", load)
    settings = settings_for(data=tmp_path, cohorts=("ptb-xl",))
    assert known_labels._elsewhere(SIZE.name, settings, {}) == ["mine"] == opened
    error = known_labels._unknown_quantity("quantity:sice", settings, {"ptb-xl": cohorts["here"]}, [])
    assert "Did you mean 'quantity:size'? Valid: quantity:age, quantity:size, quantity:heart_rate; and" in str(error)
