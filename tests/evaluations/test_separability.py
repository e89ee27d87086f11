import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from sklearn.preprocessing import StandardScaler

from pytest_ecgfm.evaluations import separability
from pytest_ecgfm.evaluations.clusters import METRICS as PAPER
from pytest_ecgfm.evaluations.clusters import Space, cluster_metrics
from pytest_ecgfm.evaluations.separability import (
    METRICS,
    PERMUTATIONS,
    Adjusted,
    adjusted_metrics,
    neighbours_elsewhere,
)
from tests.evaluations.separability_data import planted, tolerated

GEOMETRIC = tuple(name for name in PAPER if not name.startswith(("spectral", "gmm")))


FALLS = ("davies_bouldin", "intra_class_dispersion")
"""Metrics of which less is more separated."""


pytestmark = pytest.mark.usefixtures("one_thread")


DRAWS = 9


@pytest.fixture(scope="module")
def on_noise(noise):
    """The adjusted metrics of random groups, for each count of positives."""
    who = np.arange(1000)
    return {
        positives: [
            adjusted_metrics(noise, np.random.default_rng([positives, i]).permutation(1000) < positives, who, seed=i)
            for i in range(DRAWS)
        ]
        for positives in (500, 200, 50, 10)
    }


@pytest.mark.parametrize("name", PAPER)
def test_intervals_on_noise_hold_zero_at_every_prevalence(on_noise, name):
    # A new draw is (1 + 1/40) of the null's variance away from the mean of 40, in units of an SD with 39 degrees of
    # freedom. The shares of pairs have heavier tails than that (a chi-squared with one degree of freedom: 7 %).
    nominal = max(2 * student.sf(1.96 / math.sqrt(1 + 1 / PERMUTATIONS), PERMUTATIONS - 1), 0.07)
    assert nominal == 0.07
    found = [one[name] for draws in on_noise.values() for one in draws]
    misses = sum(not one.low <= 0 <= one.high for one in found)
    assert all(one.low < one.adjusted < one.high and one.null_sd > 0 for one in found)
    assert misses <= tolerated(len(found), nominal)
    # And the mean over draws is near 0, at each prevalence, in units of its own error.
    for draws in on_noise.values():
        scores = [(one[name].value - one[name].null_mean) / one[name].null_sd for one in draws]
        assert abs(np.mean(scores)) < 4.5 / math.sqrt(DRAWS)


def test_the_paper_exact_share_on_noise_is_no_share_of_structure(on_noise):
    for positives, draws in on_noise.items():
        p = positives / 1000
        value = np.mean([one["knn_agreement"].value for one in draws])
        assert value == pytest.approx(p**2 + (1 - p) ** 2, abs=0.01)
        assert np.mean([one["knn_agreement"].null_mean for one in draws]) == pytest.approx(value, abs=0.01)
    assert np.mean([one["knn_agreement"].value for one in on_noise[50]]) == pytest.approx(0.905, abs=0.01)


def test_adjusted_metrics_recover_the_order_of_planted_distances():
    distances = (0.0, 1.5, 3.0, 6.0, 15.0)
    found = [adjusted_metrics(Space(rows), groups, who) for rows, groups, who in (planted(1, x) for x in distances)]
    for name in PAPER:
        values = np.array([one[name].adjusted for one in found]) * (-1 if name in FALLS else 1)
        assert (np.diff(values[:4]) > -0.02).all() and values[4] > values[1] > values[0] - 0.02, (name, values)
        assert abs(values[4]) > abs(values[0])
        assert not found[4][name].low <= 0 <= found[4][name].high, name
    assert found[4]["knn_agreement"].adjusted == 1.0
    assert found[4]["spectral_ari"].adjusted == pytest.approx(1.0, abs=0.05)


def test_adjusted_is_the_value_less_the_mean_of_the_permutations():
    rows, groups, who = planted(2, 2.0)
    space = Space(rows)
    found = adjusted_metrics(space, groups, who, permutations=7, seed=3)
    value = cluster_metrics(rows, groups)
    null = [cluster_metrics(rows, one) for one in separability._permuted(groups, np.zeros(200), who, 7, 3)]
    for name, one in found.items():
        each = [metrics[name] for metrics in null]
        assert one.value == pytest.approx(value[name], rel=1e-9)
        assert one.null_mean == pytest.approx(np.mean(each), rel=1e-9, abs=1e-12)
        assert one.null_sd == pytest.approx(np.std(each, ddof=1), rel=1e-6)
        scale = 1 - one.null_mean if name == "knn_agreement" else 1
        assert one.adjusted == pytest.approx((one.value - one.null_mean) / scale)
        assert (one.low <= 0 <= one.high) == (abs(one.value - one.null_mean) <= 1.96 * one.null_sd)
    assert set(found) == set(PAPER)
    assert list(adjusted_metrics(space, groups, who, names=["silhouette"])) == ["silhouette"]


_LIMITS = {
    **dict.fromkeys(("silhouette", "spectral_ari", "spectral_ami", "gmm_ari", "gmm_ami"), (-1, 1)),
    "knn_agreement": (0, 1),
}


@given(st.integers(0, 10**6), st.sampled_from([0.0, 1.0, 5.0, 100.0]), st.integers(8, 40), st.floats(0.15, 0.5))
@settings(deadline=None, max_examples=25)
def test_intervals_stay_within_the_limits_of_their_metrics(seed, distance, n, share):
    rows, groups, who = planted(seed, distance, n=n, d=3, share=share)
    for name, one in adjusted_metrics(Space(rows), groups, who, permutations=8, seed=seed).items():
        scale = 1 - one.null_mean if name == "knn_agreement" and one.null_mean < 1 else 1
        low, high = (limit * scale + one.null_mean for limit in (one.low, one.high))
        least, most = _LIMITS.get(name, (0, np.inf))
        assert np.isnan([low, high]).all() or least - 1e-12 <= low <= one.value + 1e-12
        assert np.isnan([low, high]).all() or one.value - 1e-12 <= high <= most + 1e-12


@given(st.integers(0, 10**6), st.floats(0, 4))
@settings(deadline=None, max_examples=10)
def test_adjusted_metrics_depend_neither_on_the_order_of_records_nor_on_the_names_of_groups(seed, distance):
    rows, groups, who = planted(seed, distance, n=40, d=3)
    order = np.random.default_rng(seed).permutation(40)
    found = adjusted_metrics(Space(rows), groups, who, names=GEOMETRIC, permutations=5)
    others = (
        adjusted_metrics(Space(rows), ~groups, who, names=GEOMETRIC, permutations=5),
        adjusted_metrics(Space(rows), np.where(groups, "x", "a"), who, names=GEOMETRIC, permutations=5),
        adjusted_metrics(Space(rows[order]), groups[order], who[order], names=GEOMETRIC, permutations=5),
    )
    for other in others:
        for name in GEOMETRIC:
            expected = list(found[name].values().values())
            assert list(other[name].values().values()) == pytest.approx(expected, rel=1e-6, abs=1e-8), name


def test_more_than_two_groups_or_one_are_undefined():
    rows, _, who = planted(3, 0.0, n=30)
    for groups in (np.zeros(30), np.arange(30) % 3):
        found = adjusted_metrics(Space(rows), groups, who, names=GEOMETRIC, permutations=3)
        assert all(math.isnan(number) for one in found.values() for number in one.values().values())


def test_groups_that_cohorts_explain_are_no_structure_within_cohorts():
    # The embedding knows the cohort alone, and the label is common in one of them.
    rng = np.random.default_rng(4)
    cohorts = np.arange(400) < 200
    rows = rng.normal(size=(400, 6)) + 3 * cohorts[:, None]
    groups = rng.random(400) < np.where(cohorts, 0.7, 0.1)
    who = np.arange(400)
    plain = adjusted_metrics(Space(rows), groups, who, names=GEOMETRIC)
    within = adjusted_metrics(Space(rows), groups, who, strata=cohorts, names=GEOMETRIC)
    for name in ("silhouette", "knn_agreement", "centroid_separation"):
        assert plain[name].low > 5 * plain[name].null_sd
        z = (within[name].value - within[name].null_mean) / within[name].null_sd
        assert abs(z) < 4
        assert within[name].value == plain[name].value


@given(st.integers(0, 10**6), st.integers(1, 6), st.booleans())
@settings(deadline=None, max_examples=40)
def test_permutations_keep_patients_together_and_stay_within_strata(seed, per_patient, stratified):
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(30), rng.integers(1, per_patient + 1, size=30))
    shuffle = rng.permutation(patients.size)
    groups = (rng.random(30) < 0.4)[patients][shuffle]
    strata = (np.arange(30) % (3 if stratified else 1))[patients][shuffle]
    who = np.array([f"p{i}" for i in patients])[shuffle]
    drawn = separability._permuted(groups, strata, who, 5, seed)
    assert len(drawn) == 5
    first = np.unique(who, return_index=True)[1]
    for one in drawn:
        for name in np.unique(who):
            assert np.unique(one[who == name]).size == 1
        for stratum in np.unique(strata):
            inside = first[strata[first] == stratum]
            assert one[inside].sum() == groups[inside].sum()
    again = separability._permuted(groups, strata, who, 5, seed)
    np.testing.assert_array_equal(drawn, again)
    if 3 < groups[first].sum() < 27 and not stratified:
        assert any((one != groups).any() for one in drawn)


def test_patients_of_both_groups_are_permuted_record_by_record():
    groups, who, strata = np.arange(60) % 3 == 0, np.arange(60) // 6, np.arange(60) < 30
    for one in separability._permuted(groups, strata, who, 5, 0):
        assert (one[:30].sum(), one[30:].sum()) == (10, 10)
        assert (one != groups).any()


def test_records_of_a_patient_that_resemble_each_other_are_no_structure():
    # Groups are random, but those of a patient are the same, and so are its records, nearly.
    rng = np.random.default_rng(5)
    who = np.repeat(np.arange(60), 5)
    rows = rng.normal(size=(60, 8))[who] + 0.05 * rng.normal(size=(300, 8))
    groups = (rng.permutation(60) < 20)[who]
    names = ("silhouette", "knn_agreement", "centroid_separation", "calinski_harabasz")
    whole = adjusted_metrics(Space(rows), groups, who, names=names)
    apart = adjusted_metrics(Space(rows), groups, np.arange(300), names=names)
    for name in names:
        assert abs(whole[name].value - whole[name].null_mean) < 4 * whole[name].null_sd
        assert whole[name].null_sd > 1.5 * apart[name].null_sd or name == "knn_agreement"
    assert apart["knn_agreement"].low > 0.2


def test_dimensions_chosen_on_the_records_they_are_scored_on_find_structure_in_noise():
    same, other = [], []
    for seed in range(8):
        rng = np.random.default_rng([6, seed])
        rows, groups = rng.normal(size=(400, 200)), rng.permutation(400) < 80
        train = rng.permutation(400) < 200

        def chosen(use, rows=rows, groups=groups):
            z = StandardScaler().fit_transform(rows[use])
            apart = np.abs(z[groups[use]].mean(axis=0) - z[~groups[use]].mean(axis=0))
            return np.argsort(-apart)[:20]

        def score(dimensions, rows=rows, groups=groups, test=~train):
            space = Space(rows[test][:, dimensions])
            return adjusted_metrics(space, groups[test], np.arange(test.sum()), names=["centroid_separation"])

        same.append(score(chosen(~train))["centroid_separation"])
        other.append(score(chosen(train))["centroid_separation"])
    assert all(one.low > 0 for one in same)
    assert sum(not one.low <= 0 <= one.high for one in other) <= tolerated(8, 0.07)
    assert abs(np.mean([one.adjusted for one in other])) < 0.2 * np.mean([one.adjusted for one in same])


def test_values_are_variables_of_the_cube():
    values = Adjusted(1.0, 2.0, 3.0, 4.0, 5.0, 6.0).values()
    assert list(values.values()) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert set(values) < set(METRICS)
    assert all("long_name" in attributes and attributes["units"] == "1" for attributes in METRICS.values())


def test_one_patient_of_both_groups_leaves_the_others_whole():
    rng = np.random.default_rng(11)
    who = np.repeat(np.arange(60), 5)
    groups = (rng.permutation(60) < 20)[who]
    groups[0] = ~groups[0]
    for one in separability._permuted(groups, np.zeros(300), who, 5, 0):
        assert all(np.unique(one[who == name]).size == 1 for name in range(1, 60))
        assert (one != groups).any()


def test_a_permutation_that_leaves_a_group_too_small_counts_for_nothing():
    rng = np.random.default_rng(13)
    who = np.concatenate([np.zeros(5, int), np.arange(1, 36)])
    found = adjusted_metrics(Space(rng.normal(size=(40, 4))), who == 0, who, names=["silhouette"], permutations=60)
    assert math.isfinite(found["silhouette"].value) and math.isfinite(found["silhouette"].null_mean)


def test_nothing_to_look_at_is_undefined():
    assert math.isnan(separability.robustness_index(np.empty((0, 3)), [], [], []).value)
    assert neighbours_elsewhere(np.empty((0, 3)), np.empty((0, 3)), np.empty(0), np.empty(0)).shape == (0, 10)
    only = separability.many_metrics(
        Space(np.random.default_rng(0).normal(size=(40, 3))), [np.arange(40) < 9], ["gmm_ami"]
    )
    assert list(only[0]) == ["gmm_ami"] and math.isfinite(only[0]["gmm_ami"])


@pytest.mark.parametrize("odd", [0, 1, 4])
def test_one_odd_record_sets_all_of_its_patients_records_free(odd):
    who = np.repeat(np.arange(20), 5)
    groups = (np.arange(20) < 10)[who]
    groups[odd] = False
    drawn = separability._permuted(groups, np.zeros(100), who, 20, 0)
    assert any(0 < one[:5].sum() < 4 for one in drawn)
    assert all(np.unique(one[who == name]).size == 1 for one in drawn for name in range(1, 20))
    # Five records and nineteen patients change places.
    assert {one[:5].sum() + one[5::5].sum() for one in drawn} == {groups[:5].sum() + groups[5::5].sum()}


def test_two_permutations_have_a_spread_and_one_has_none():
    two = separability._adjusted("silhouette", 0.5, np.array([0.1, 0.3, np.nan]))
    assert (two.null_mean, two.null_sd) == (pytest.approx(0.2), pytest.approx(math.sqrt(0.02)))
    one = separability._adjusted("silhouette", 0.5, np.array([0.1]))
    assert one.adjusted == pytest.approx(0.4) and math.isnan(one.null_sd) and math.isnan(one.low)
