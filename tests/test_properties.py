"""What must not change a number does not: the order of records, names, units, rotations, how parts are put together."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import special_ortho_group
from threadpoolctl import threadpool_limits

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.encoders import preprocessing
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations import geometry, relevance, separability, splits, stability, statistics
from pytest_ecgfm.evaluations.downstream import evaluate
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.cube import build_cube
from pytest_ecgfm.results.rows import Cell, Measured, judged_row
from pytest_ecgfm.signals.records import LEADS, RecordBatch

seeds = st.integers(0, 2**32 - 1)
some = settings(deadline=None, derandomize=True, database=None, max_examples=12)
few = settings(some, max_examples=2)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with threadpool_limits(1):
        yield


def records(seed, n=60, d=5, repeats=2):
    """Embeddings, labels and patients, two records each or one."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 3 == 0
    patients = np.array([f"p{number // repeats:03d}" for number in range(n)])
    return rng, rng.normal(size=(n, d)) + targets[:, None], targets, patients


def moved(rng, rows):
    """The same points turned around, scaled and shifted."""
    d = rows.shape[-1]
    turn = special_ortho_group(d, seed=int(rng.integers(1 << 31))).rvs()
    return rng.uniform(0.1, 10) * rows @ turn + rng.normal(size=d)


# Statistics


@some
@given(seeds, st.sampled_from([1, 2]), st.integers(1, 3))
def test_an_auroc_and_its_interval_see_order_only(seed, repeats, k):
    rng, rows, targets, patients = records(seed, repeats=repeats)
    scores = np.round(rows[:, :k].T, 1)
    found = statistics.mean_auroc(scores, targets, patients)
    stretched = statistics.mean_auroc(np.exp(scores), targets, patients)
    assert stretched == found
    swapped = statistics.mean_auroc(-scores, ~targets, patients)
    np.testing.assert_allclose(
        [swapped.value, swapped.low, swapped.high], [found.value, found.low, found.high], atol=1e-9
    )
    renamed = statistics.mean_auroc(scores, targets, np.char.add("other ", patients))
    assert renamed == found
    if repeats == 1:
        order = rng.permutation(len(targets))
        mixed = statistics.mean_auroc(scores[:, order], targets[order], patients[order])
        np.testing.assert_allclose(
            [mixed.value, mixed.low, mixed.high], [found.value, found.low, found.high], atol=1e-9
        )


@some
@given(seeds, st.sampled_from([1, 2]))
def test_a_difference_turns_its_sign_with_its_sides(seed, repeats):
    _, rows, targets, patients = records(seed, repeats=repeats)
    there = statistics.mean_auroc_difference(rows[:, 0], rows[:, 1], targets, patients)
    back = statistics.mean_auroc_difference(rows[:, 1], rows[:, 0], targets, patients)
    np.testing.assert_allclose([back.value, back.low, back.high], [-there.value, -there.high, -there.low], atol=1e-12)


# Evaluations


@few
@given(seeds)
def test_a_probe_does_not_mind_units_nor_the_order_of_records_and_dimensions(seed):
    rng, rows, targets, patients = records(seed, n=120)
    split = splits.make_split(targets, patients)
    found = evaluate(rows, targets, patients, split, 0.5, (0, 1))
    units = rows * rng.uniform(0.01, 100, rows.shape[1]) + rng.normal(size=rows.shape[1])
    other = evaluate(units[:, rng.permutation(rows.shape[1])], targets, patients, split, 0.5, (0, 1))
    np.testing.assert_allclose(other.scores, found.scores, atol=1e-3)
    assert other.estimate.value == pytest.approx(found.estimate.value, abs=1e-9)
    order = rng.permutation(len(rows))
    mixed_split = splits.make_split(targets[order], patients[order])
    mixed = evaluate(rows[order], targets[order], patients[order], mixed_split, 0.5, (0, 1))
    assert mixed.estimate.value == pytest.approx(found.estimate.value, abs=1e-9)


@some
@given(seeds)
def test_stability_does_not_mind_rotation_scale_and_shift(seed):
    rng, rows, _, patients = records(seed)
    chosen = rng.permutation(len(rows))[:20]
    perturbed = rows[chosen] + 0.3 * rng.normal(size=(20, rows.shape[1]))
    found = stability.stability(stability.reference(rows, patients), chosen, perturbed, resamples=20)
    both = moved(rng, np.concatenate([rows, perturbed]))
    other = stability.stability(stability.reference(both[:60], patients), chosen, both[60:], resamples=20)
    for name, value in found.values().items():
        assert other.values()[name] == pytest.approx(value, abs=1e-9), name


@some
@given(seeds)
def test_ranks_and_dimensions_do_not_mind_rotation_scale_shift_and_order(seed):
    rng, rows, _, _ = records(seed)
    for measure in (geometry.effective_rank, geometry.intrinsic_dimension):
        assert measure(moved(rng, rows)[rng.permutation(len(rows))]) == pytest.approx(measure(rows), rel=1e-6)


@some
@given(seeds)
def test_neighbours_agree_alike_whichever_class_is_called_positive(seed):
    _, rows, targets, patients = records(seed)
    near = separability.neighbours_elsewhere(rows, rows, patients, patients)
    found = separability.balanced_agreement(near, targets, targets, patients)
    other = separability.balanced_agreement(near, ~targets, ~targets, patients)
    # Both are judged against the same permutations of records.
    assert other.value == pytest.approx(found.value) and other.adjusted == pytest.approx(found.adjusted)


@few
@given(seeds)
def test_cohorts_separate_alike_whatever_their_names_and_units(seed):
    rng, rows, targets, patients = records(seed, n=120)
    homes = np.where(rng.random(120) < 0.5, "a", "b")
    renamed = np.where(homes == "a", "x", "y")
    patients = np.char.add(homes, patients)
    units = rows * rng.uniform(0.01, 100, rows.shape[1]) + rng.normal(size=rows.shape[1])
    for found, other in (
        (
            separability.robustness_index(rows, targets, homes, patients),
            separability.robustness_index(units, targets, renamed, patients),
        ),
        (separability.cohort_auroc(rows, homes, patients), separability.cohort_auroc(units, renamed, patients)),
    ):
        assert other.value == pytest.approx(found.value, abs=1e-6, nan_ok=True)


@some
@given(seeds)
def test_profiles_of_leads_follow_the_leads_and_not_the_units_of_the_logit(seed):
    rng = np.random.default_rng(seed)
    phi, patients = rng.normal(size=(10, 8)), np.array([f"p{number // 2}" for number in range(10)])
    order, scale = rng.permutation(8), rng.uniform(0.1, 10) * rng.choice([-1, 1])
    found = relevance.lead_profile(phi, patients)
    other = relevance.lead_profile(scale * phi[:, order], patients)
    np.testing.assert_allclose(other.share, found.share[order], atol=1e-12)
    np.testing.assert_allclose(other.low, found.low[order], atol=1e-12)
    assert found.share.sum() == pytest.approx(1) and other.entropy == pytest.approx(found.entropy)
    top = relevance.concentration(scale * phi[:, order], patients)
    np.testing.assert_allclose(top, relevance.concentration(phi, patients), atol=1e-12)
    chance = rng.normal(size=(3, 10, 8))
    signs = rng.uniform(0.1, 10, (3, 1, 1)) * rng.choice([-1, 1], (3, 1, 1))
    np.testing.assert_allclose(
        relevance.shuffled_agreement(scale * phi, signs * chance, patients),
        relevance.shuffled_agreement(phi, chance, patients),
        atol=1e-9,
    )
    two = [phi, rng.normal(size=(10, 8))]
    there = relevance.cohort_agreement(two, [patients, patients])
    assert relevance.cohort_agreement(two[::-1], [patients, patients]).value == pytest.approx(there.value)


# Splits


@some
@given(seeds, seeds, st.sampled_from([0.01, 0.1, 0.5, 1.0]))
def test_parts_depend_on_patients_and_not_on_the_order_of_records(seed, chosen, fraction):
    rng, _, targets, patients = records(seed)
    order = rng.permutation(len(targets))
    part = splits.patient_folds(targets, patients, 5, chosen)
    np.testing.assert_array_equal(splits.patient_folds(targets[order], patients[order], 5, chosen), part[order])
    everybody = np.arange(len(targets))
    subset = splits.nested_subset(everybody, targets, patients, fraction, chosen)
    again = splits.nested_subset(everybody, targets[order], patients[order], fraction, chosen)
    assert sorted(order[again]) == subset.tolist()


# Preprocessing


def batch(seed, samples=600, rate=120.0, leads=LEADS):
    """Smooth records: nothing above a tenth of the rate."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / rate
    waves = [np.sin(2 * np.pi * f * time + rng.uniform(0, 6, (3, len(leads), 1))) for f in (0.7, 3.1, 9.0)]
    return RecordBatch(sum(waves).astype(np.float32), tuple(leads), rate, ("a", "b", "c"))


@some
@given(seeds, st.permutations(LEADS), st.permutations(LEADS))
def test_a_model_gets_its_leads_in_its_order_whatever_the_record_has(seed, stored, wanted):
    card = parse_card("m", {"leads": wanted, "sampling_rate": 90, "seconds": 4, "normalize": "zscore"}, where="")
    given_ = batch(seed)
    mixed = replace(given_, signals=given_.signals[:, [LEADS.index(lead) for lead in stored]], leads=tuple(stored))
    np.testing.assert_array_equal(
        preprocessing.prepare(mixed, card).signals, preprocessing.prepare(given_, card).signals
    )


@some
@given(seeds, st.sampled_from([(120.0, 240.0), (120.0, 500.0), (100.0, 257.0), (500.0, 360.0)]))
def test_resampling_there_and_back_keeps_what_both_rates_can_hold(seed, rates):
    low, high = rates
    signals = batch(seed, rate=low, samples=round(5 * low)).signals
    back = preprocessing.resample(preprocessing.resample(signals, low, high), high, low)[..., : signals.shape[-1]]
    inner = slice(round(low / 2), round(4.5 * low))
    assert np.abs(back - signals)[..., inner].max() < 0.02 * np.abs(signals).max()


@some
@given(seeds, st.floats(0.01, 100), st.floats(-5, 5), st.sampled_from(["zscore-per-lead", "zscore", "minmax"]))
def test_scaling_takes_out_gain_and_offset_and_does_it_once(seed, gain, offset, how):
    signals = batch(seed).signals
    found = preprocessing.normalise(signals, how)
    np.testing.assert_allclose(
        preprocessing.normalise(np.float32(gain) * signals + np.float32(offset), how), found, atol=2e-3
    )
    np.testing.assert_allclose(preprocessing.normalise(found, how), found, atol=1e-5)


@some
@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from(["start", "center"]))
def test_a_length_is_reached_once(have, wanted, crop):
    signals = np.arange(1, have + 1, dtype=np.float32).reshape(1, 1, have)
    found = preprocessing.fit_length(signals, wanted, crop)
    assert found.shape[-1] == wanted
    assert np.count_nonzero(found) == min(have, wanted)
    np.testing.assert_array_equal(preprocessing.fit_length(found, wanted, crop), found)


# The cube


def rows_of(seed, count=8):
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        case = Case("downstream.auroc", f"m{number % 2}", f"c{number}", "AF", 1.0)
        at = {"encoder": case.encoder, "cohort": case.cohort, "label": "AF", "probe": "logistic", "fraction": 1.0}
        cells = [
            Cell("downstream", {**at, "seed": k}, {"auroc": rng.random(), "brier": rng.random()}) for k in range(2)
        ]
        shared = {**at, "encoder": "reference", "cohort": "shared"}
        cells.append(Cell("downstream", shared, {"auroc_mean": float(np.float32(seed % 97))}))
        rows.append(judged_row(case, Threshold(0.7), Measured(0.8, 0.7, 0.9, 60, 60, cells=tuple(cells))))
    return rows


@some
@given(seeds, st.permutations(range(8)))
def test_a_cube_does_not_depend_on_the_order_of_rows(tmp_path_factory, seed, order):
    rows, folder = rows_of(seed), tmp_path_factory.getbasetemp()
    xr.testing.assert_identical(build_cube(rows, folder, {}), build_cube([rows[i] for i in order], folder, {}))


@some
@given(seeds, st.integers(1, 7))
def test_a_cube_of_all_rows_is_the_cubes_of_parts_together(tmp_path_factory, seed, at):
    rows, folder = rows_of(seed), tmp_path_factory.getbasetemp()
    whole = build_cube(rows, folder, {})
    parts = [build_cube(some_rows, folder, {}) for some_rows in (rows[:at], rows[at:])]
    for group, dimensions in (("downstream", None), ("checks", ["check"])):
        together = xr.merge(
            [part[group].to_dataset() for part in parts], join="outer", compat="no_conflicts", combine_attrs="identical"
        )
        found = whole[group].to_dataset()
        xr.testing.assert_identical(found, together.transpose(*(dimensions or found.dims)).sel(found.coords))


@some
@given(seeds, st.integers(0, 7))
def test_nothing_is_counted_twice(tmp_path_factory, seed, which):
    rows = rows_of(seed)
    with pytest.raises(EcgfmError, match="two results"):
        build_cube([*rows, rows[which]], tmp_path_factory.getbasetemp(), {"encoders": json.dumps({})})
