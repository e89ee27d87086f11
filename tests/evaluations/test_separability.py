import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from scipy.stats import t as student
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pytest_ecgfm.evaluations import separability
from pytest_ecgfm.evaluations.bootstrap import resampled
from pytest_ecgfm.evaluations.clusters import METRICS as PAPER
from pytest_ecgfm.evaluations.clusters import Space, cluster_metrics, many_metrics
from pytest_ecgfm.evaluations.separability import (
    METRICS,
    PERMUTATIONS,
    Adjusted,
    adjusted_metrics,
    balanced_agreement,
    cohort_auroc,
    neighbours_elsewhere,
    robustness_index,
)

GEOMETRIC = tuple(name for name in PAPER if not name.startswith(("spectral", "gmm")))
FALLS = ("davies_bouldin", "intra_class_dispersion")
"""Metrics of which less is more separated."""


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # Small matrices: threads that wait for a busy core cost more than the work.
    with threadpool_limits(1):
        yield


def planted(seed, distance, n=200, d=8, share=0.3):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(n) < share * n
    direction = rng.normal(size=d)
    direction *= distance / np.linalg.norm(direction)
    return rng.normal(size=(n, d)) + groups[:, None] * direction, groups, np.array([f"p{i}" for i in range(n)])


def agreement(rows, groups, patients, **kwargs):
    features = Space(rows).features
    near = neighbours_elsewhere(features, features, patients, patients)
    return balanced_agreement(near, groups, groups, patients, **kwargs)


@pytest.fixture(scope="module")
def noise():
    return Space(np.random.default_rng(0).normal(size=(1000, 32)))


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


def tolerated(trials, nominal, chance=1e-4):
    """Return how many misses are plausible: the binomial quantile that is passed with a probability of `chance`."""
    return int(binom.ppf(1 - chance, trials, nominal))


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
        assert one.high - one.adjusted == pytest.approx(1.96 * one.null_sd / scale)
        assert one.adjusted - one.low == pytest.approx(1.96 * one.null_sd / scale)
    assert set(found) == set(PAPER)
    assert list(adjusted_metrics(space, groups, who, names=["silhouette"])) == ["silhouette"]


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


def by_hand_each(near, targets, pool):
    """The agreement of each record with its neighbours, which count by one over the prevalence of their class."""
    share = np.mean(pool)
    found = []
    for row, label in zip(near, targets, strict=True):
        weights = [1 / (share if pool[one] else 1 - share) for one in row if one >= 0]
        same = [w for w, one in zip(weights, (o for o in row if o >= 0), strict=True) if pool[one] == label]
        found.append(sum(same) / sum(weights))
    return np.array(found)


def by_hand(near, targets, pool):
    """The class-balanced agreement, record by record."""
    each = by_hand_each(near, targets, pool)
    return (each[targets].mean() + each[~targets].mean()) / 2


def test_balanced_agreement_equals_the_definition():
    rng = np.random.default_rng(7)
    pool, targets = rng.random(90) < 0.2, rng.random(50) < 0.4
    near = np.array([rng.choice(90, 10, replace=False) for _ in range(50)])
    near[::4, 7:] = -1
    found = balanced_agreement(near, targets, pool, np.arange(50))
    assert found.value == pytest.approx(by_hand(near, targets, pool), rel=1e-12)
    assert found.adjusted == pytest.approx((found.value - found.null_mean) / (1 - found.null_mean))
    assert found.null_mean == pytest.approx(0.5, abs=0.02)
    turned = balanced_agreement(near, ~targets, ~pool, np.arange(50))
    assert list(turned.values().values()) == pytest.approx(list(found.values().values()), rel=1e-9)
    assert balanced_agreement(near, targets, pool, np.arange(50)) == found
    # Other patients, other resamples; the estimate is the same.
    few = balanced_agreement(near, targets, pool, np.arange(50) // 5)
    assert few.value == found.value and few.low != found.low


@pytest.mark.parametrize("positives", [500, 200, 50, 10])
def test_balanced_agreement_on_noise_is_nothing_at_every_prevalence(noise, positives):
    who = np.arange(1000).astype(str)
    near = neighbours_elsewhere(noise.features, noise.features, who, who)
    draws = [np.random.default_rng([8, positives, i]).permutation(1000) < positives for i in range(24)]
    found = [balanced_agreement(near, groups, groups, who, permutations=10) for groups in draws]
    values = np.array([one.adjusted for one in found])
    assert abs(values.mean()) < 4 * values.std(ddof=1) / math.sqrt(24) + 0.01
    assert abs(values.mean()) < 0.08
    assert all(one.low <= one.adjusted <= one.high for one in found)
    # Noise is hardly ever called separated.
    assert sum(one.low > 0 for one in found) <= tolerated(24, 0.05)


@pytest.mark.parametrize("positives", [300, 120, 30])
def test_intervals_of_balanced_agreement_hold_zero_on_noise(noise, positives):
    # Neighbours come from other records than those that are judged, half each.
    who = np.arange(1000).astype(str)
    near = neighbours_elsewhere(noise.features[:600], noise.features[600:], who[:600], who[600:])
    misses = 0
    for i in range(40):
        rng = np.random.default_rng([9, positives, i])
        groups, pool = rng.permutation(600) < positives, rng.permutation(400) < positives * 2 / 3
        found = balanced_agreement(near, groups, pool, who[:600], permutations=10)
        misses += not found.low <= 0 <= found.high
    assert misses <= tolerated(40, 0.07)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_balanced_agreement_of_separated_groups_is_whole_and_grows_with_distance(share):
    # Records that are all of a group's neighbours are 10, so a group of 5 % has 20 of 400.
    values = [agreement(*planted(10, distance, n=400, share=share)).adjusted for distance in (0.0, 2.0, 4.0, 20.0)]
    assert values[0] < values[1] < values[2] < values[3] + 1e-12
    assert values[3] == pytest.approx(1.0, abs=1e-9)
    assert abs(values[0]) < 0.2


def test_balanced_agreement_is_undefined_where_a_class_is_missing():
    near = np.array([[1, 2], [0, 2], [0, 1]])
    some, none, who = np.array([True, False, False]), np.zeros(3, bool), np.arange(3)
    for targets, pool in ((none, some), (~none, some), (some, none), (some, ~none), (some, none[:0])):
        found = balanced_agreement(near, targets, pool, who)
        assert all(math.isnan(value) for value in found.values().values())


def encoding(seed, label, cohort, n=400, d=6):
    """Records of two cohorts, moved by their label on half the dimensions, by their cohort on the others."""
    rng = np.random.default_rng(seed)
    homes = np.where(np.arange(n) < n // 2, "a", "b")
    targets = rng.random(n) < 0.4
    rows = rng.normal(size=(n, d))
    rows[:, ::2] += label * targets[:, None]
    rows[:, 1::2] += cohort * (homes == "b")[:, None]
    return rows, targets, homes, np.arange(n).astype(str)


def test_robustness_is_whole_for_labels_none_for_cohorts_and_half_for_neither():
    label, cohort = robustness_index(*encoding(12, 40.0, 0.0)), robustness_index(*encoding(13, 0.0, 40.0))
    assert label.value > 0.99 and label.low > 0.98
    assert cohort.value < 0.01 and cohort.high < 0.02
    for strength in (0.0, 2.0):
        neither = robustness_index(*encoding(14, strength, strength))
        assert neither.value == pytest.approx(0.5, abs=0.07)
        assert neither.low < 0.5 < neither.high or abs(neither.value - 0.5) < 0.03
    assert robustness_index(*encoding(15, 3.0, 1.0)).low > 0.5 > robustness_index(*encoding(15, 1.0, 3.0)).high


def test_robustness_grows_with_the_label_and_falls_with_the_cohort():
    values = [robustness_index(*encoding(16, *pair)).value for pair in ((1, 4), (2, 3), (3, 2), (4, 1))]
    assert (np.diff(values) > 0).all()


def test_robustness_equals_the_definition_where_all_records_are_in_the_sample():
    rng = np.random.default_rng(17)
    homes, targets = np.repeat(["a", "b", "c"], 40), np.tile(np.arange(40) < 20, 3)
    rows = rng.normal(size=(120, 3)) + targets[:, None] + 1.5 * (homes == "b")[:, None]
    who = np.array([f"p{i // 2}" for i in range(120)])
    z = StandardScaler().fit_transform(rows)
    wanted = unwanted = 0
    for i in range(120):
        strange = np.flatnonzero(who != who[i])
        near = strange[np.argsort(np.linalg.norm(z[strange] - z[i], axis=1))][:10]
        wanted += np.sum((targets[near] == targets[i]) & (homes[near] != homes[i]))
        unwanted += np.sum((targets[near] != targets[i]) & (homes[near] == homes[i]))
    found = robustness_index(rows, targets, homes, who)
    assert found.value == pytest.approx(wanted / (wanted + unwanted), abs=1e-12)
    assert found.low < found.value < found.high
    assert robustness_index(rows, targets, homes, who) == found
    assert robustness_index(rows * 5 + 3, targets, homes, who).value == pytest.approx(found.value, abs=1e-9)
    renamed = robustness_index(rows, ~targets, np.where(homes == "a", "z", homes), who)
    assert renamed.value == pytest.approx(found.value, abs=1e-12)


def test_robustness_samples_as_many_of_each_class_and_cohort():
    # Without balance, the common class and the large cohort would decide.
    rng = np.random.default_rng(18)
    homes = np.repeat(["a", "b"], [900, 100])
    targets = rng.random(1000) < np.where(homes == "a", 0.1, 0.5)
    found = robustness_index(rng.normal(size=(1000, 4)), targets, homes, np.arange(1000), most=50)
    assert found.value == pytest.approx(0.5, abs=0.1)
    rows, targets, homes, who = encoding(18, 1.0, 1.0)
    few, many = (robustness_index(rows, targets, homes, who, most=most) for most in (10, 60))
    assert few.high - few.low > 1.5 * (many.high - many.low)


@pytest.mark.parametrize("case", ["one cohort", "few positives", "no negatives"])
def test_robustness_is_undefined_without_enough_of_each(case):
    rows, targets, homes, who = encoding(19, 1.0, 1.0, n=80)
    if case == "one cohort":
        homes = np.repeat("a", 80)
    elif case == "few positives":
        targets = np.isin(np.arange(80), [0, 1, 2, 3, *range(50, 60)])
    else:
        targets = targets | (homes == "b")
    assert all(math.isnan(value) for value in robustness_index(rows, targets, homes, who))


def test_cohorts_are_told_apart_where_the_embedding_knows_them_alone():
    noise = [cohort_auroc(*(encoding(seed, 3.0, 0.0)[i] for i in (0, 2, 3))) for seed in range(20, 25)]
    assert np.mean([one.value for one in noise]) == pytest.approx(0.5, abs=0.06)
    assert sum(not one.low <= 0.5 <= one.high for one in noise) <= tolerated(5, 0.05)
    known = cohort_auroc(*(encoding(25, 0.0, 12.0)[i] for i in (0, 2, 3)))
    assert known.value > 0.999 and known.low > 0.97
    some = cohort_auroc(*(encoding(26, 0.0, 1.0)[i] for i in (0, 2, 3)))
    assert some.value == pytest.approx(0.89, abs=0.05)  # Phi(sqrt(3) / sqrt(2))
    assert some.low < some.value < some.high


def test_cohort_auroc_is_the_mean_over_pairs():
    rng = np.random.default_rng(27)
    homes = np.repeat(["a", "b", "c"], 150)
    rows = rng.normal(size=(450, 4))
    rows[homes == "c", 0] += 12.0
    found = cohort_auroc(rows, homes, np.arange(450))
    assert found.value == pytest.approx((0.5 + 1 + 1) / 3, abs=0.04)
    assert cohort_auroc(rows, homes, np.arange(450)) == found
    # Patients of different cohorts are different even where their names agree.
    assert cohort_auroc(rows, homes, np.tile(np.arange(150), 3)).value == pytest.approx(found.value, abs=0.06)


def test_cohort_auroc_does_not_recognise_patients():
    # Each patient has a place of its own and ten records: only what cohorts share counts.
    rng = np.random.default_rng(28)
    who = np.repeat(np.arange(60), 10)
    rows = 5 * rng.normal(size=(60, 20))[who] + 0.1 * rng.normal(size=(600, 20))
    homes = np.where(who % 2 == 0, "a", "b")
    assert cohort_auroc(rows, homes, who).low < 0.5
    assert cohort_auroc(rows, homes, np.arange(600)).low > 0.65


def test_cohort_auroc_is_undefined_for_one_cohort_or_small_ones():
    rng = np.random.default_rng(29)
    rows = rng.normal(size=(60, 3))
    for homes in (np.repeat("a", 60), np.repeat(["a", "b"], [51, 9])):
        assert all(math.isnan(value) for value in cohort_auroc(rows, homes, np.arange(60)))
    # A pair that is too small is left out of the mean.
    homes = np.repeat(["a", "b", "c"], [30, 25, 5])
    pair = cohort_auroc(rows, homes, np.arange(60))
    assert math.isfinite(pair.value)


def test_values_are_variables_of_the_cube():
    values = Adjusted(1.0, 2.0, 3.0, 4.0, 5.0, 6.0).values()
    assert list(values.values()) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert set(values) < set(METRICS)
    assert all("long_name" in attributes and attributes["units"] == "1" for attributes in METRICS.values())


def test_the_share_of_agreeing_neighbours_alone_is_rescaled(noise):
    groups = np.arange(1000) < 50
    (plain,) = many_metrics(noise, [groups], ["knn_agreement"])
    found = adjusted_metrics(noise, groups, np.arange(1000), names=["knn_agreement", "silhouette"], permutations=20)
    assert found["knn_agreement"].value == plain["knn_agreement"]
    halves = {name: (one.high - one.low) / 2 / one.null_sd for name, one in found.items()}
    assert halves["silhouette"] == pytest.approx(1.96)
    assert halves["knn_agreement"] == pytest.approx(1.96 / (1 - found["knn_agreement"].null_mean))


def test_one_patient_of_both_groups_leaves_the_others_whole():
    rng = np.random.default_rng(11)
    who = np.repeat(np.arange(60), 5)
    groups = (rng.permutation(60) < 20)[who]
    groups[0] = ~groups[0]
    for one in separability._permuted(groups, np.zeros(300), who, 5, 0):
        assert all(np.unique(one[who == name]).size == 1 for name in range(1, 60))
        assert (one != groups).any()


def test_records_without_neighbours_lean_to_no_class():
    near = np.concatenate([np.full((8, 2), -1), np.tile([[0, 1]], (8, 1))])
    targets = np.array([False] * 8 + [True] * 4 + [False] * 4)
    pool = np.array([True, False])
    assert balanced_agreement(near, targets, pool, np.arange(16)).value == pytest.approx(0.5)


@pytest.mark.parametrize("positives", [500, 50, 10])
def test_intervals_hold_zero_where_records_are_their_own_pool(noise, positives):
    who = np.arange(1000).astype(str)
    near = neighbours_elsewhere(noise.features, noise.features, who, who)
    misses = 0
    for i in range(40):
        groups = np.random.default_rng([12, positives, i]).permutation(1000) < positives
        found = balanced_agreement(near, groups, groups, who, places=np.arange(1000))
        misses += not found.low <= 0 <= found.high
    assert misses <= tolerated(40, 0.05)


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


def test_few_others_leave_places_without_a_neighbour():
    rows = np.random.default_rng(14).normal(size=(6, 3))
    near = neighbours_elsewhere(rows, rows, np.arange(6), np.arange(6))
    assert near.shape == (6, 10)
    assert (near[:, :5] >= 0).all() and (near[:, 5:] == -1).all()


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


def test_a_share_that_chance_makes_whole_is_not_rescaled():
    found = separability._adjusted("knn_agreement", 1.0, np.ones(3))
    assert list(found.values().values()) == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    found = separability._adjusted("knn_agreement", 0.75, np.array([0.5, 0.5]))
    assert found.adjusted == found.low == found.high == 0.5


@pytest.mark.parametrize("places", [None, np.arange(60)])
@pytest.mark.parametrize(("repeats", "patients", "shift"), [(2, 15, 0.0), (2, 2, 0.0), (2, 15, 2.0), (1, 3, 0.0)])
def test_interval_of_balanced_agreement_is_the_wider_of_resamples_and_permutations(places, repeats, patients, shift):
    rng = np.random.default_rng(30)
    who = np.arange(60) // repeats
    groups = (rng.permutation(60 // repeats) < patients)[who]
    rows = rng.normal(size=(60, 3)) + shift * groups[:, None]
    near = neighbours_elsewhere(rows, rows, who, who, 3)
    found = balanced_agreement(near, groups, groups, who, places=places, permutations=9, seed=2)
    null = [
        by_hand(near, one, one if places is not None else groups)
        for one in separability._permuted(groups, np.zeros(60), who, 9, 2)
    ]
    assert found.null_mean == pytest.approx(np.mean(null))
    assert found.null_sd == pytest.approx(np.std(null, ddof=1))
    each, weights = by_hand_each(near, groups, groups), resampled(who, 400, 2)
    with np.errstate(invalid="ignore"):
        draws = sum((weights * side) @ each / (weights * side).sum(axis=1) / 2 for side in (groups, ~groups))
    low, high = np.nanquantile(draws, (0.025, 0.975))
    half, scale = 1.96 * found.null_sd, 1 - found.null_mean
    assert found.low == pytest.approx((min(low, found.value - half) - found.null_mean) / scale)
    assert found.high == pytest.approx((max(high, found.value + half) - found.null_mean) / scale)


def test_row_zero_of_the_pool_is_a_neighbour_like_others():
    near, targets = np.zeros((6, 1), int), np.arange(6) < 2
    assert balanced_agreement(near, targets, np.array([True, False]), np.arange(6)).value == pytest.approx(0.5)


def test_robustness_is_undefined_where_all_neighbours_are_alike_in_both_ways():
    rows, targets, homes, who = encoding(31, 300.0, 300.0)
    assert all(math.isnan(value) for value in robustness_index(rows, targets, homes, who))


def test_five_records_of_each_class_and_cohort_are_enough_for_robustness():
    rng = np.random.default_rng(32)
    homes, targets = np.repeat(["a", "b"], 10), np.tile(np.arange(10) < 5, 2)
    rows, who = rng.normal(size=(20, 3)), np.arange(20)
    assert math.isfinite(robustness_index(rows, targets, homes, who).value)
    assert math.isnan(robustness_index(rows[1:], targets[1:], homes[1:], who[1:]).value)


def test_ten_records_of_five_patients_are_enough_to_tell_cohorts_apart():
    rng = np.random.default_rng(33)
    rows, homes, who = rng.normal(size=(20, 2)), np.repeat(["a", "b"], 10), np.arange(20) // 2
    assert math.isfinite(cohort_auroc(rows, homes, who).value)
    assert math.isnan(cohort_auroc(rows[1:], homes[1:], who[1:]).value)
    four = np.where(who == 4, 3, who)
    assert math.isnan(cohort_auroc(rows, homes, four).value)


def test_scores_of_cohorts_are_ranks_within_folds_by_probes_that_saw_neither_fold(monkeypatch):
    rng = np.random.default_rng(34)
    rows, targets, who = rng.normal(size=(103, 3)), np.arange(103) % 2 == 0, np.arange(103)
    seen, fit = [], separability.fit_probe

    def looked_at(kind, train, labels, patients, held, held_labels):
        seen.append((set(patients.tolist()), held))
        return fit(kind, train, labels, patients, held, held_labels)

    monkeypatch.setattr(separability, "fit_probe", looked_at)
    scores = separability._cross_validated(rows, targets, who, 5)
    folds = separability.patient_folds(targets, who, 5, 5)
    assert len(seen) == 5
    for fold, (train, held) in enumerate(seen):
        size = (folds == fold).sum()
        np.testing.assert_allclose(np.sort(scores[folds == fold]), (np.arange(size) + 0.5) / size)
        validation = (fold + 1) % 5
        np.testing.assert_array_equal(held, rows[folds == validation])
        assert train == set(np.flatnonzero((folds != fold) & (folds != validation)).tolist())


def test_a_class_that_is_drawn_once_is_drawn():
    np.testing.assert_array_equal(separability._positive(np.array([0.0, 1.0, 2.0])), [np.nan, 1.0, 2.0])
