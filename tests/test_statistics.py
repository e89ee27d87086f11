import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm, t
from sklearn.metrics import roc_auc_score

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations import statistics
from pytest_ecgfm.evaluations.statistics import (
    auroc,
    aurocs,
    delong_interval,
    mean_auroc,
    p_value,
    placements,
    variance,
)
from tests.planted_scores import binormal, brute_placements, mean_placements, satterthwaite


def brute_variance(scores, targets):
    """DeLong's variance in O(mn)."""
    positive, negative = brute_placements(scores, targets)
    return positive.var(ddof=1) / positive.size + negative.var(ddof=1) / negative.size


tied_samples = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({target for _, target in rows}) == 2
)


@given(tied_samples)
def test_auroc_is_scikit_learns_with_ties(sample):
    scores, targets = np.array([s for s, _ in sample], float), np.array([t for _, t in sample])
    assert auroc(scores, targets) == pytest.approx(roc_auc_score(targets, scores), abs=1e-12)
    found = placements(scores, targets)
    for ours, brute in zip(found, brute_placements(scores, targets), strict=True):
        np.testing.assert_allclose(ours[0], brute, atol=1e-12)
        assert ours.mean() == pytest.approx(auroc(scores, targets), abs=1e-12)


@given(tied_samples)
def test_auroc_sees_only_order_and_swaps_with_the_label(sample):
    scores, targets = np.array([s for s, _ in sample], float), np.array([t for _, t in sample])
    assert auroc(np.exp(scores) + 3, targets) == auroc(scores, targets)
    assert auroc(scores, ~targets) == pytest.approx(1 - auroc(scores, targets), abs=1e-12)
    assert auroc(-scores, targets) == pytest.approx(1 - auroc(scores, targets), abs=1e-12)


@given(tied_samples, st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_interval_holds_its_point_and_stays_in_range(sample, repeats):
    scores, targets = np.array([s for s, _ in sample], float), np.array([t for _, t in sample])
    patients = np.array([f"p{i // (repeats + 1)}" for i in range(len(scores))])
    found = mean_auroc(scores, targets, patients, resamples=100)
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1


def test_auroc_without_both_classes_or_with_nan_scores_is_nan():
    assert math.isnan(auroc([1.0, 2.0], [True, True]))
    assert math.isnan(auroc([], np.empty(0, bool)))
    assert np.isnan(aurocs([[1.0, np.nan], [1.0, 2.0]], [False, True])).tolist() == [True, False]
    found = mean_auroc([0.1, np.nan, 0.3], [False, True, True])
    assert all(math.isnan(x) for x in (found.value, found.low, found.high, found.standard_error))
    assert math.isnan(p_value(found, 0.5))


def test_shapes_that_disagree_are_refused():
    with pytest.raises(EcgfmError, match=r"scores.shape=\(3,\)"):
        auroc([1.0, 2.0, 3.0], [True, False])
    with pytest.raises(EcgfmError, match=r"patients.shape=\(1,\)"):
        mean_auroc([1.0, 2.0], [True, False], ["a"])
    with pytest.raises(EcgfmError, match="both classes"):
        placements([1.0, 2.0], [True, True])


def test_standard_error_is_delongs():
    scores, targets = binormal(np.random.default_rng(1), 0.8, 30, 70)
    scores = np.round(scores, 1)  # ties
    found = mean_auroc(scores, targets)
    assert found.standard_error == pytest.approx(math.sqrt(brute_variance(scores[0], targets)), rel=1e-9)
    assert math.isnan(found.sd_seeds)
    half = 1.959964 * found.standard_error / (found.value * (1 - found.value))
    centre = math.log(found.value / (1 - found.value))
    assert found.low == pytest.approx(1 / (1 + math.exp(half - centre)), rel=1e-6)
    assert found.high == pytest.approx(1 / (1 + math.exp(-half - centre)), rel=1e-6)


def test_mean_over_seeds_holds_both_variances():
    rng = np.random.default_rng(2)
    signal, targets = binormal(rng, 0.85, 60, 140)
    scores = signal + 0.5 * rng.normal(size=(4, targets.size))
    each, found = statistics.auroc_estimates(scores, targets)
    areas = [roc_auc_score(targets, row) for row in scores]
    parts = [np.array(part).mean(axis=0) for part in zip(*(brute_placements(r, targets) for r in scores), strict=True)]
    test_variance = sum(part.var(ddof=1) / part.size for part in parts)
    assert found.value == pytest.approx(np.mean(areas))
    assert found.sd_seeds == pytest.approx(np.std(areas, ddof=1))
    assert found.standard_error**2 == pytest.approx(test_variance + np.var(areas, ddof=1) / 4)
    assert [one.value for one in each] == pytest.approx(areas)
    assert each[1].standard_error == pytest.approx(math.sqrt(brute_variance(scores[1], targets)))


def test_bootstrap_equals_resampling_by_hand():
    rng = np.random.default_rng(3)
    scores, targets = binormal(rng, 0.8, 20, 40)
    scores = np.round(scores, 1)
    patients = np.array([f"p{i % 25}" for i in range(60)])
    clusters = variance.sample_design(targets, patients).clusters
    counts = next(variance.multiplicities(25, 200, 60, 5))
    drawn = variance.bootstrap_aurocs(scores, targets, clusters, variance.multiplicities(25, 200, 60, 5))[0]
    assert (counts.sum(axis=0) == 25).all()
    for b in range(0, 200, 20):
        weights = counts[clusters, b]
        assert drawn[b] == pytest.approx(roc_auc_score(targets, scores[0], sample_weight=weights), abs=1e-6)


@pytest.mark.parametrize("cells", [1 << 22, 400 * 64])
def test_every_patient_is_drawn_once_on_average_in_every_resample_asked_for(cells, monkeypatch):
    monkeypatch.setattr(variance, "_CELLS", cells)
    counts = np.concatenate(list(variance.multiplicities(20, 1000, 400, 3)), axis=1)
    assert counts.shape == (20, 1000)
    assert (counts.sum(axis=0) == 20).all()
    np.testing.assert_allclose(counts.mean(axis=1), 1, atol=0.15)


@pytest.mark.parametrize("ties", ["all", "none", "some"])
def test_a_resample_in_which_all_are_drawn_once_has_the_auroc_of_the_records(ties):
    targets, clusters = np.arange(8) % 2 == 0, np.arange(8) // 2
    scores = {"all": np.zeros(8), "none": np.arange(8.0) % 5, "some": np.arange(8.0) // 3}[ties]
    found = variance.bootstrap_aurocs(scores[None], targets, clusters, [np.ones((4, 3), np.float32)])
    np.testing.assert_allclose(found, roc_auc_score(targets, scores))


def test_two_patients_with_the_label_vary_as_their_resamples_do():
    rng = np.random.default_rng(14)
    targets, patients = np.arange(60) < 4, np.arange(60) // 2
    scores = rng.normal(size=(2, 60)) + targets
    draws = variance.multiplicities(30, 300, 60, 7)
    drawn = variance.bootstrap_aurocs(scores, targets, patients, draws).mean(axis=0)
    # Where no positive was drawn, there is no AUROC.
    assert 0 < np.isnan(drawn).sum() < 100
    seeds = aurocs(scores, targets).var(ddof=1) / 2
    found = mean_auroc(scores, targets, patients, resamples=300, seed=7)
    assert found.standard_error**2 == pytest.approx(np.nanvar(drawn, ddof=1) + seeds, rel=1e-9)


def test_two_records_with_the_label_vary_as_delong_says():
    scores, targets = binormal(np.random.default_rng(15), 0.8, 2, 50)
    assert mean_auroc(scores, targets).standard_error ** 2 == pytest.approx(brute_variance(scores[0], targets))
    swapped = mean_auroc(-scores, ~targets)
    assert swapped.standard_error**2 == pytest.approx(brute_variance(scores[0], targets))
    assert swapped.pairs == 2


@pytest.mark.parametrize("repeats", [1, 2])
def test_one_patient_with_the_label_leaves_the_largest_variance_that_the_range_allows(repeats):
    rng = np.random.default_rng(16)
    targets, patients = np.arange(60) < repeats, np.arange(60) // repeats
    a, b = rng.normal(size=(2, 2, 60)) + targets
    # Of a single record, the negatives' part is known; of repeated ones, all is taken at its largest.
    negatives = mean_placements(a, targets)[1].var(ddof=1) / 59 if repeats == 1 else 0.0
    areas = aurocs(a, targets)
    found = mean_auroc(a, targets, patients)
    wanted = areas.mean() * (1 - areas.mean()) + negatives + areas.var(ddof=1) / 2
    assert found.standard_error**2 == pytest.approx(wanted)
    if repeats == 2:
        differences = areas - aurocs(b, targets)
        found = statistics.mean_auroc_difference(a, b, targets, patients)
        wanted = 1 - differences.mean() ** 2 + differences.var(ddof=1) / 2
        assert found.standard_error**2 == pytest.approx(wanted)


def test_independent_pairs_take_two_patients_each():
    def pairs(targets, patients):
        return variance.sample_design(np.array(targets, bool), patients).pairs

    assert pairs([1, 1, 1, 0, 0], None) == 2
    assert pairs([1, 0, 0], list("abc")) == 1
    assert pairs([1, 0] * 5, list("aabbccddee")) == 2
    assert pairs([1, 1, 0, 0, 0, 0], list("aabbcd")) == 1
    assert pairs([], []) == 0


def test_bootstrap_agrees_with_delong_where_patients_hardly_repeat():
    scores, targets = binormal(np.random.default_rng(4), 0.8, 100, 300)
    patients = [f"p{max(i, 1)}" for i in range(400)]  # one pair of records
    alone, clustered = mean_auroc(scores, targets), mean_auroc(scores, targets, patients, resamples=4000)
    assert clustered.standard_error == pytest.approx(alone.standard_error, rel=0.05)
    assert mean_auroc(scores, targets, np.arange(400)) == alone


def test_bootstrap_in_chunks_draws_patients_evenly(monkeypatch):
    scores, targets = binormal(np.random.default_rng(4), 0.8, 100, 300)
    patients = np.arange(400) // 2
    whole = mean_auroc(scores, targets, patients)
    monkeypatch.setattr(variance, "_CELLS", 400 * 64)
    chunked = mean_auroc(scores, targets, patients)
    assert chunked.standard_error == pytest.approx(whole.standard_error, rel=0.1)


@pytest.mark.parametrize("area", [0.70, 0.80, 0.90])
@pytest.mark.parametrize(("positives", "negatives"), [(50, 450), (60, 100)])
def test_interval_covers_the_planted_auroc(area, positives, negatives):
    rng = np.random.default_rng(int(area * 100) + positives)
    scores, targets = binormal(rng, area, positives, negatives, rows=4000)
    found = placements(scores, targets)
    values = aurocs(scores, targets)
    variances = sum(part.var(axis=1, ddof=1) / part.shape[1] for part in found)
    limits = [delong_interval(a, v, pairs=positives) for a, v in zip(values, variances, strict=True)]
    covered = np.mean([low <= area <= high for low, high in limits])
    assert 0.92 <= covered <= 0.98


def test_clustered_interval_covers_where_delong_does_not():
    rng = np.random.default_rng(6)
    patients = np.repeat(np.arange(120), 5)
    targets = patients < 50
    shift = math.sqrt(2) * norm.ppf(0.8)
    covered = {True: 0, False: 0}
    for _ in range(300):
        scores = math.sqrt(0.8) * rng.normal(size=120)[patients] + math.sqrt(0.2) * rng.normal(size=600)
        scores = scores + shift * targets
        for clustered in covered:
            found = mean_auroc(scores, targets, patients if clustered else None, resamples=300)
            covered[clustered] += found.low <= 0.8 <= found.high
    assert 0.91 <= covered[True] / 300 <= 0.98
    assert covered[False] / 300 < 0.8


def test_interval_over_seeds_covers_where_seeds_differ():
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(500):
        signal, targets = binormal(rng, 0.8, 100, 200)
        # Each seed adds an effect of its own: the true mean lies at the mid shift.
        shift = 0.4 * rng.normal(size=(3, 1))
        found = mean_auroc(signal + shift * targets + 1e-9, targets)
        covered += found.low <= norm.cdf(norm.ppf(0.8) / math.sqrt(1 + 0.08)) <= found.high
    assert 0.92 <= covered / 500 <= 0.99


def test_perfect_separation_is_not_certain():
    targets = np.arange(100) < 20
    found = mean_auroc(targets.astype(float), targets)
    assert (found.value, found.high, found.standard_error) == (1.0, 1.0, 0.0)
    assert found.low == pytest.approx(0.025 ** (1 / 20))
    assert p_value(found, found.low) == pytest.approx(0.025)
    opposite = mean_auroc(-targets.astype(float), targets)
    assert (opposite.low, opposite.high) == (0.0, pytest.approx(1 - found.low))
    assert p_value(opposite, 0.5) == 1.0
    assert p_value(opposite, 0.5, "less") == pytest.approx(0.5**20)
    # 20 records of 4 patients are 4 independent units.
    clustered = mean_auroc(targets.astype(float), targets, np.arange(100) // 5)
    assert clustered.low == pytest.approx(0.025 ** (1 / 4))


def test_perfect_separation_happens_as_rarely_as_its_limit_says():
    rng = np.random.default_rng(8)
    limit = 0.025 ** (1 / 10)
    scores, targets = binormal(rng, limit, 10, 10, rows=4000)
    assert (aurocs(scores, targets) == 1).mean() <= 0.025


def test_one_positive_gives_a_wide_interval():
    targets = np.arange(200) < 1
    scores = np.random.default_rng(0).normal(size=200) + 2 * targets
    found = mean_auroc(scores, targets)
    assert found.high - found.low > 0.5
    clustered = mean_auroc(scores, np.arange(200) < 2, np.arange(200) // 2)
    assert clustered.standard_error == pytest.approx(math.sqrt(clustered.value * (1 - clustered.value)))


def test_constant_scores_are_exactly_chance():
    targets = np.arange(60) < 20
    for patients in (None, np.arange(60) // 2):
        found = mean_auroc(np.zeros((3, 60)), targets, patients)
        assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
        assert p_value(found, 0.5) == 1.0


def test_few_seeds_widen_the_interval_by_students_quantile():
    rng = np.random.default_rng(12)
    signal, targets = binormal(rng, 0.8, 50, 150)
    scores = signal + 1.5 * rng.normal(size=(4, 200))
    found = mean_auroc(scores, targets)
    test_variance = sum(part.var(ddof=1) / part.size for part in mean_placements(scores, targets))
    freedom = satterthwaite(test_variance, (aurocs(scores, targets).var(ddof=1) / 4, 4))
    assert found.degrees_of_freedom == pytest.approx(freedom)
    half = t.ppf(0.975, freedom) * found.standard_error / (found.value * (1 - found.value))
    assert found.low == pytest.approx(expit(logit(found.value) - half))
