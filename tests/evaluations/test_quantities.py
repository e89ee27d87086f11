"""Quantities: the ridge probe, R2, error and rank correlation, and their intervals, by other implementations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr, t
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.preprocessing import StandardScaler

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.downstream import evaluate
from pytest_ecgfm.evaluations.probes import PENALTIES, fit_probe
from pytest_ecgfm.evaluations.quantities import evaluate_quantity, paired_r2
from pytest_ecgfm.evaluations.splits import make_split, nested_subset, strata
from pytest_ecgfm.evaluations.statistics.regression import agreement_difference, agreements

NONE = (np.empty((0, 5)), np.empty(0))


def data(rng, n=300, d=5, noise=1.0, patients=100, offset=60.0):
    embeddings = rng.normal(size=(n, d)).astype(np.float32)
    values = offset + 10 * (embeddings[:, 0] + noise * rng.normal(size=n))
    return embeddings, values, np.array([f"p{i % patients:03d}" for i in range(n)])


# The three agreements


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(2, 40), st.booleans())
def test_agreements_are_those_of_scikit_learn_and_scipy(seed, n, tied):
    rng = np.random.default_rng(seed)
    values, predictions = 1e4 + rng.normal(size=n), 1e4 + rng.normal(size=(2, n))
    if tied:
        values, predictions = values.round(), predictions.round()
    found = agreements(predictions, values, resamples=5)
    for i, row in enumerate(predictions):
        assert found["mae"].each[i] == pytest.approx(mean_absolute_error(values, row))
        if np.ptp(values):
            assert found["r2"].each[i] == pytest.approx(r2_score(values, row), rel=1e-9)
        if np.ptp(values) and np.ptp(row):
            assert found["spearman"].each[i] == pytest.approx(spearmanr(values, row).statistic)


def slow(name, predictions, values):
    if name == "r2":
        return r2_score(values, predictions)
    if name == "mae":
        return mean_absolute_error(values, predictions)
    return np.corrcoef(rankdata(predictions), rankdata(values))[0, 1]


THERE = {"r2": lambda x: math.log(1 - x), "mae": math.log, "spearman": math.atanh}
BACK = {"r2": lambda y: 1 - math.exp(y), "mae": math.exp, "spearman": math.tanh}


@pytest.mark.parametrize("name", ["r2", "mae", "spearman"])
def test_intervals_are_those_of_an_independent_bootstrap(rng, name):
    _, values, patients = data(rng, n=120, patients=40)
    predictions = values + rng.normal(0, 12, (3, 120))
    found = agreements(predictions, values, patients, resamples=4000)[name].mean
    names, draws = np.unique(patients), []
    for _ in range(1500):
        rows = np.concatenate([np.flatnonzero(patients == one) for one in rng.choice(names, names.size)])
        draws.append(np.mean([slow(name, row[rows], values[rows]) for row in predictions]))
    each = np.array([slow(name, row, values) for row in predictions])
    assert found.value == pytest.approx(each.mean())
    # On the scale of the interval; the spread between seeds adds by the slope of that scale.
    slope = (THERE[name](each.mean() + 1e-6) - THERE[name](each.mean() - 1e-6)) / 2e-6
    test, seeds = np.var([THERE[name](one) for one in draws], ddof=1), slope**2 * each.var(ddof=1) / 3
    half = t.ppf(0.975, (test + seeds) ** 2 / (seeds**2 / 2)) * math.sqrt(test + seeds)
    limits = sorted(BACK[name](THERE[name](each.mean()) + side * half) for side in (-1, 1))
    assert (found.low, found.high) == pytest.approx(tuple(limits), abs=0.06 * (limits[1] - limits[0]))


def test_the_interval_of_a_difference_is_paired(rng):
    _, values, patients = data(rng, n=160, patients=80)
    first = values + rng.normal(0, 10, (2, 160))
    second = first + rng.normal(0, 2, (2, 160))
    found = agreement_difference("r2", first, second, values, patients, resamples=4000)
    each = [r2_score(values, a) - r2_score(values, b) for a, b in zip(first, second, strict=True)]
    names, draws = np.unique(patients), []
    for _ in range(1500):
        rows = np.concatenate([np.flatnonzero(patients == one) for one in rng.choice(names, names.size)])
        pairs = zip(first, second, strict=True)
        draws.append(np.mean([r2_score(values[rows], a[rows]) - r2_score(values[rows], b[rows]) for a, b in pairs]))
    test, seeds = np.var(draws, ddof=1), np.var(each, ddof=1) / 2
    half = t.ppf(0.975, (test + seeds) ** 2 / seeds**2) * math.sqrt(test + seeds)
    assert found.value == pytest.approx(np.mean(each))
    assert found.high - found.value == pytest.approx(half, rel=0.06)
    other = agreement_difference("r2", first, second[:1], values, patients)
    assert other.low < other.value < other.high


def test_what_is_equal_differs_by_nothing_and_what_is_perfect_has_no_width(rng):
    _, values, patients = data(rng, n=40, patients=20)
    guess = values + rng.normal(size=40)
    assert agreement_difference("r2", guess, guess, values, patients) == (0, 0, 0)
    perfect = agreements(values, values, patients)
    assert perfect["r2"].mean == (1, 1, 1) and perfect["mae"].mean == (0, 0, 0)
    assert perfect["spearman"].mean.value == pytest.approx(1)


def test_without_spread_nothing_is_claimed(rng):
    found = agreements(rng.normal(size=9), np.full(9, 7.0))
    assert math.isnan(found["r2"].mean.value) and math.isnan(found["spearman"].mean.low)
    found = agreements(np.full(9, 7.0), rng.normal(size=9))
    assert found["r2"].mean.value <= 0 and math.isnan(found["spearman"].mean.value)
    assert math.isnan(agreement_difference("r2", np.ones(5), np.zeros(5), np.ones(5)).value)
    with pytest.raises(EcgfmError, match=r"predictions\.shape"):
        agreements(np.ones(3), np.ones(4))


def test_order_and_units_do_not_matter(rng):
    _, values, patients = data(rng, n=80, patients=40)
    guess = values + rng.normal(0, 5, 80)
    plain, scaled = agreements(guess, values, patients), agreements(guess * 1e-3, values * 1e-3, patients)
    assert scaled["r2"].mean == pytest.approx(plain["r2"].mean)
    assert scaled["mae"].mean == pytest.approx([1e-3 * one for one in plain["mae"].mean])
    assert scaled["spearman"].mean == pytest.approx(plain["spearman"].mean)


# The probe


def test_the_ridge_probe_is_that_of_scikit_learn(rng):
    embeddings, values, patients = data(rng)
    probe = fit_probe("ridge", embeddings, values, patients, *NONE)
    scaler = StandardScaler().fit(embeddings)
    alpha = 1 / probe.C
    assert alpha in [pytest.approx(one) for one in PENALTIES]
    expected = Ridge(alpha=alpha, solver="svd").fit(scaler.transform(embeddings).astype(float), values)
    new = rng.normal(size=(7, 5))
    np.testing.assert_allclose(probe.scores(new), expected.predict(scaler.transform(new)), rtol=1e-6)


def test_the_penalty_is_chosen_on_the_training_patients_alone_and_keeps_patients_whole(rng):
    embeddings, values, _ = data(rng, n=120)
    held = rng.normal(size=(50, 5)), rng.normal(size=50)
    patients = np.arange(120).astype(str)
    without, with_held = (fit_probe("ridge", embeddings, values, patients, *one) for one in (NONE, held))
    np.testing.assert_array_equal(without.coefficients, with_held.coefficients)
    # Each patient's records are copies, and share a value: noise can be learned by heart.
    wide = np.repeat(rng.normal(size=(20, 60)), 6, axis=0) + 0.01 * rng.normal(size=(120, 60))
    noise = np.repeat(rng.normal(size=20), 6)
    apart = fit_probe("ridge", wide, noise, patients, *NONE)
    whole = fit_probe("ridge", wide, noise, np.repeat(np.arange(20), 6).astype(str), *NONE)
    assert whole.C < apart.C
    assert np.linalg.norm(whole.coefficients) < 0.5 * np.linalg.norm(apart.coefficients)


def test_one_value_or_one_patient_leaves_the_mean(rng):
    embeddings = rng.normal(size=(6, 5))
    constant = fit_probe("ridge", embeddings, np.full(6, 3.0), np.arange(6).astype(str), *NONE)
    np.testing.assert_array_equal(constant.scores(embeddings), 3.0)
    alone = fit_probe("ridge", embeddings, np.arange(6.0), np.repeat("a", 6), *NONE)
    assert pytest.approx(PENALTIES[-1]) == 1 / alone.C


# The evaluation


@pytest.mark.parametrize("minimum", [10, 10_000])
def test_a_quantity_is_evaluated_on_the_splits_of_labels(rng, minimum):
    embeddings, values, patients = data(rng, n=600, patients=300)
    split = make_split(values, patients, minimum_test_positives=minimum)
    found = evaluate_quantity(embeddings, values, patients, split, 0.25)
    assert found.seeds == (0, 1, 2) and found.scores.shape == (3, found.targets.size)
    # The truth has R2 = 1 / 2 and an error of 10 times that of a normal distribution.
    assert found.estimate.value == pytest.approx(0.5, abs=0.12)
    assert found.agreement["mae"].mean.value == pytest.approx(8, abs=1)
    label = evaluate(embeddings, strata(values), patients, split, 0.25)
    np.testing.assert_array_equal(found.tested, label.tested)
    np.testing.assert_array_equal(found.fold, label.fold)
    dataset = found.to_dataset()
    assert dataset["r2"].dims == ("seed",) and float(dataset["r2_mean"]) == found.estimate.value


def test_noise_reads_nothing(rng):
    embeddings, values, patients = data(rng, n=400)
    shuffled = rng.normal(size=(400, 50)).astype(np.float32)
    split = make_split(values, patients)
    found = evaluate_quantity(shuffled, values, patients, split, 1.0)
    assert -0.1 < found.estimate.value < 0.05 and found.estimate.low < 0
    good = evaluate_quantity(embeddings, values, patients, split, 1.0)
    gain = paired_r2(good, found)
    assert 0.3 < gain.low < gain.value < gain.high
    with pytest.raises(EcgfmError, match="same tested records"):
        paired_r2(good, evaluate_quantity(embeddings, values + 1, patients, split, 1.0))


def test_tested_values_are_never_looked_at(rng):
    embeddings, values, patients = data(rng, n=600, patients=600)
    split = make_split(values, patients, minimum_test_positives=10)
    changed = values.copy()
    changed[split.folds[0].test] = rng.permutation(changed[split.folds[0].test]) * 3
    for fraction in (0.1, 1.0):
        one, two = (evaluate_quantity(embeddings, held, patients, split, fraction) for held in (values, changed))
        np.testing.assert_array_equal(one.scores, two.scores)


def test_a_value_that_is_not_finite_is_refused(rng):
    embeddings, values, patients = data(rng, n=60)
    split = make_split(values, patients)
    values[5] = np.nan
    with pytest.raises(EcgfmError, match="value of row 5 is not finite"):
        evaluate_quantity(embeddings, values, patients, split, 1.0)
    with pytest.raises(EcgfmError, match="no seed"):
        evaluate_quantity(embeddings, np.ones(60), patients, split, 1.0, ())


# Strata


@pytest.mark.parametrize(
    ("values", "upper"),
    [
        ([1.0, 2, 3, 4], 2),
        ([1.0, 2, 3, 4, 5], 2),
        ([0.0, 0, 0, 0, 9], 1),
        ([0.0, 9, 9, 9, 9], 4),
        ([5.0, 5, 5], 0),
        ([], 0),
    ],
)
def test_strata_of_a_quantity(values, upper):
    found = strata(np.array(values, float))
    assert found.sum() in (upper, len(values) if len(set(values)) == 1 else upper)


def test_strata_of_a_label_are_the_label_and_subsets_of_a_quantity_hold_both():
    flags = np.array([True, False, False])
    np.testing.assert_array_equal(strata(flags), flags)
    values = np.arange(100.0)
    rows = nested_subset(np.arange(100), values, np.arange(100).astype(str), 0.01)
    assert strata(values)[rows].sum() == 1 and rows.size == 2
