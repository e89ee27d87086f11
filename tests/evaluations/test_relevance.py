import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, spearmanr
from sklearn.metrics import roc_auc_score

from pytest_ecgfm.evaluations.relevance import (
    METRICS,
    PRIORS,
    UNIFORM,
    background_agreement,
    cohort_agreement,
    concentration,
    deletion,
    lead_profile,
    mean_agreement,
    prior_agreement,
    rank_agreement,
    shuffled_agreement,
    shuffled_percentile,
)
from pytest_ecgfm.evaluations.statistics.bootstrap import RESAMPLES, resampled
from pytest_ecgfm.signals.coalitions import INDEPENDENT
from tests.evaluations.intervals import holds


def people(n, per_patient=1):
    return np.array([f"p{i // per_patient}" for i in range(n)])


def planted(rng, sizes, n=300):
    """Signed values whose sizes are those of the players."""
    return rng.normal(size=(n, len(sizes))) * np.asarray(sizes)


def test_profile_has_its_top_share_at_the_planted_leads(rng):
    sizes = np.full(8, 0.1)
    sizes[[2, 5]] = [3.0, 1.0]
    phi = planted(rng, sizes)
    found = lead_profile(phi, people(300))
    absolute = np.abs(phi).mean(axis=0)
    np.testing.assert_allclose(found.share, absolute / absolute.sum())
    assert found.share.sum() == pytest.approx(1)
    assert np.argsort(-found.share)[:2].tolist() == [2, 5]
    np.testing.assert_allclose(found.share, sizes / sizes.sum(), atol=0.03)
    assert (found.low <= found.share).all() and (found.share <= found.high).all()
    assert found.high[5] < found.low[2] and found.low.min() > 0
    assert found.entropy == pytest.approx(entropy(found.share) / math.log(8))


def test_profile_of_seeds_is_that_of_the_mean_of_absolute_values(rng):
    phi = planted(rng, [1, 2, 3], n=60)
    # Values of opposite sign do not cancel.
    found = lead_profile(np.stack([phi, -phi, 3 * phi]), people(60))
    np.testing.assert_allclose(found.share, lead_profile(phi, people(60)).share)
    other = planted(rng, [3, 1, 1], n=60)
    wanted = (np.abs(phi) + np.abs(other)).sum(axis=0)
    np.testing.assert_allclose(lead_profile([phi, other], people(60)).share, wanted / wanted.sum())


def test_profile_of_nothing_is_undefined_and_of_one_lead_has_no_entropy(rng):
    nothing = lead_profile(np.zeros((20, 4)), people(20))
    assert np.isnan(np.concatenate([nothing.share, nothing.low, nothing.high])).all()
    assert math.isnan(nothing.entropy)
    assert math.isnan(lead_profile(np.ones((20, 1)), people(20)).entropy)
    assert lead_profile(np.ones((20, 4)), people(20)).entropy == pytest.approx(1)
    assert lead_profile(np.eye(4)[np.zeros(20, int)], people(20)).entropy == pytest.approx(0)


def test_intervals_are_of_patients_not_of_records(rng):
    phi = planted(rng, [1, 2, 1, 1], n=100)
    single = lead_profile(phi, people(100), resamples=2000)
    repeated = lead_profile(phi.repeat(4, axis=0), people(400, 4), resamples=2000)
    np.testing.assert_allclose(repeated.high - repeated.low, single.high - single.low, rtol=0.1)
    careless = lead_profile(phi.repeat(4, axis=0), people(400), resamples=2000)
    np.testing.assert_allclose(careless.high - careless.low, (single.high - single.low) / 2, rtol=0.15)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=12))
def test_rank_agreement_is_scipys_with_ties(pairs):
    a, b = (np.array(x, float) for x in zip(*pairs, strict=True))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert math.isnan(rank_agreement(a, b))
    else:
        assert rank_agreement(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_rank_agreement_needs_four_known_shares():
    assert math.isnan(rank_agreement([1, 2, 3], [1, 2, 3]))
    assert math.isnan(rank_agreement([1, 2, 3, np.nan], [1, 2, 3, 4]))
    assert rank_agreement([1, 2, 3, 4], [10, 20, 300, 4000]) == pytest.approx(1)
    assert rank_agreement([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)


def test_mean_agreement_is_over_the_pairs_that_have_one():
    up, down, flat = [1, 2, 3, 4], [4, 3, 2, 1], [1, 1, 1, 1]
    assert mean_agreement([up, up, down]) == pytest.approx(-1 / 3)
    assert mean_agreement([up, flat, up]) == pytest.approx(1)
    assert math.isnan(mean_agreement([up, flat])) and math.isnan(mean_agreement([up]))


def test_background_agreement_is_the_cosine_of_shares(rng):
    a, b = planted(rng, [1, 2, 3, 4]), planted(rng, [4, 2, 3, 1])
    x, y = (np.abs(one).mean(axis=0) for one in (a, b))
    found = background_agreement(a, b, people(300))
    assert found.value == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert holds(found) and found.low < found.high
    assert background_agreement(a, 5 * a, people(300)) == pytest.approx((1, 1, 1))
    apart = background_agreement(np.eye(4)[np.zeros(50, int)], np.eye(4)[np.ones(50, int)], people(50))
    assert apart == pytest.approx((0, 0, 0))
    assert math.isnan(background_agreement(np.zeros((300, 4)), a, people(300)).value)


def test_cohort_agreement_is_the_mean_cosine_over_pairs(rng):
    phis = [planted(rng, sizes, n) for sizes, n in (([1, 2, 3, 4], 200), ([4, 2, 3, 1], 150), ([1, 1, 1, 1], 90))]
    patients = [people(len(one), 2) for one in phis]
    x = np.stack([np.abs(one).mean(axis=0) for one in phis])
    cosines = (x @ x.T) / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(x, axis=1))
    found = cohort_agreement(phis, patients)
    assert found.value == pytest.approx(cosines[np.triu_indices(3, 1)].mean())
    assert holds(found) and found.low < found.high
    # Records resampled in each cohort by themselves: two halves of one cohort agree, but not perfectly.
    halves = cohort_agreement([phis[0][:100], phis[0][100:]], [people(100), people(100)])
    assert 0.97 < halves.value < 1 and halves.low < halves.value
    assert math.isnan(cohort_agreement(phis[:1], patients[:1]).value)


def test_interval_of_cohort_agreement_is_that_of_the_mean_over_pairs(rng):
    phis = [planted(rng, sizes, n=30) for sizes in ([1, 2, 3], [3, 2, 1], [1, 5, 1])]
    patients = [people(30, per_patient) for per_patient in (1, 2, 3)]
    draws = []
    for number, (phi, names) in enumerate(zip(phis, patients, strict=True)):
        totals = resampled(names, RESAMPLES, 4 + number) @ np.abs(phi)
        draws.append(totals / np.linalg.norm(totals, axis=1, keepdims=True))
    each = np.mean([(a * b).sum(axis=1) for a, b in combinations(draws, 2)], axis=0)
    found = cohort_agreement(phis, patients, seed=4)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(each, (0.025, 0.975))))
    assert holds(found)


def test_concentration_is_near_1_for_one_lead_and_low_for_many(rng):
    shortcut = concentration(planted(rng, [5.0, 0.01, 0.01, 0.01]), people(300))
    assert shortcut.value > 0.99 and shortcut.low > 0.98
    even = concentration(planted(rng, np.ones(8)), people(300))
    assert 1 / 8 <= even.value < 0.15 and holds(even)
    phi = planted(rng, [1, 2, 3])
    assert concentration(phi, people(300)).value == lead_profile(phi, people(300)).share.max()
    assert math.isnan(concentration(np.zeros((10, 3)), people(10)).value)


def test_shuffled_agreement_is_1_where_labels_do_not_matter(rng):
    phi = planted(rng, [1, 2, 3, 4])
    scales = np.array([0.1, -1.0, 30.0])[:, None, None]
    assert shuffled_agreement(phi, scales * phi, people(300)) == pytest.approx((1, 1, 1))
    near = shuffled_agreement(phi, phi + 0.05 * rng.normal(size=(5, 300, 4)), people(300))
    assert 0.99 < near.low <= near.value <= 1


def test_shuffled_agreement_is_the_mean_absolute_cosine(rng):
    phi, shuffled = planted(rng, [1, 2, 3, 4]), rng.normal(size=(6, 300, 4)) * [1, 2, 3, 4]
    wanted = [abs((one * phi).sum()) / math.sqrt((one**2).sum() * (phi**2).sum()) for one in shuffled + 0.2 * phi]
    found = shuffled_agreement(phi, shuffled + 0.2 * phi, people(300, 3))
    assert found.value == pytest.approx(np.mean(wanted)) and holds(found)
    # Unrelated signs agree little, though the mean absolute values are the same.
    alone = shuffled_agreement(phi, shuffled, people(300))
    assert alone.high < 0.2
    assert rank_agreement(np.abs(phi).mean(axis=0), np.abs(shuffled[0]).mean(axis=0)) == pytest.approx(1)


def test_shuffled_percentile_tells_a_real_profile_from_those_of_chance(rng):
    chance = rng.normal(size=(20, 200, 4)) * rng.uniform(0.8, 1.2, size=(20, 1, 4))
    assert shuffled_percentile(planted(rng, [8, 1, 1, 1], 200), chance) == 1
    # At the centre of all the others, nearer than any.
    assert shuffled_percentile(np.abs(chance).mean(axis=0), chance) == 0
    assert math.isnan(shuffled_percentile(np.zeros((200, 4)), chance))
    assert math.isnan(shuffled_percentile(chance[0], np.zeros((3, 200, 4))))


@pytest.mark.parametrize("first, wanted", [(2 / 3 - 0.2, 0.0), (0.95, 2 / 3), (0.0, 1.0)])
def test_shuffled_percentile_sees_each_chance_profile_from_the_others(first, wanted):
    # Distances from the mean of the two others: 1, 1/2 and 1/2. The mean of all is (2/3, 1/3).
    chance = np.array([[[1.0, 0.0]], [[0.5, 0.5]], [[0.5, 0.5]]])
    assert shuffled_percentile([[first, 1 - first]], chance) == pytest.approx(wanted)


def test_shuffled_percentile_of_shuffled_labels_is_anywhere(rng):
    found = []
    for _ in range(80):
        draws = rng.normal(size=(15, 60, 4)) * rng.uniform(0.7, 1.3, size=(15, 1, 4))
        found.append(shuffled_percentile(draws[0], draws[1:]))
    assert 0.38 < np.mean(found) < 0.62
    assert np.quantile(found, 0.1) < 0.25 and np.quantile(found, 0.9) > 0.75


def removal(rng, n=300):
    """Scores that are sums of leads, of which the first matters most; removed in order, and in random orders."""
    targets = rng.random(n) < 0.4
    leads = rng.normal(size=(5, n)) + np.array([2.0, 1.0, 0.3, 0.0, 0.0])[:, None] * targets

    def scores(order):
        return np.stack([leads[list(order[step:])].sum(axis=0) for step in range(1, 5)])

    return targets, scores(range(5)), np.stack([scores(rng.permutation(5)) for _ in range(20)]), scores([4, 3, 2, 1, 0])


def test_deletion_is_positive_when_the_most_relevant_goes_first(rng):
    targets, relevant, random, reverse = removal(rng)
    found = deletion(relevant, random, targets, people(300))
    np.testing.assert_allclose(found.relevant, [roc_auc_score(targets, one) for one in relevant])
    each = [[roc_auc_score(targets, one) for one in order] for order in random]
    np.testing.assert_allclose(found.random, np.mean(each, axis=0))
    assert found.extra_loss.value == pytest.approx((found.random - found.relevant).mean())
    assert 0.05 < found.extra_loss.low < found.extra_loss.value < found.extra_loss.high
    assert (found.positives, found.negatives) == (targets.sum(), (~targets).sum())
    assert found.extra_loss == deletion(relevant, random, targets, people(300)).extra_loss
    # The least relevant first: relevance that knows the opposite of what matters.
    assert deletion(reverse, random, targets, people(300)).extra_loss.high < 0


def test_deletion_of_leads_in_a_random_order_loses_nothing(rng):
    targets, _, random, _ = removal(rng)
    found = deletion(random.mean(axis=0), np.stack([random.mean(axis=0)] * 2), targets, people(300))
    assert found.extra_loss == pytest.approx((0, 0, 0), abs=1e-12)


@pytest.mark.parametrize("label", PRIORS)
def test_prior_agreement_in_closed_form(label):
    inside = np.array([name in PRIORS[label] for name in INDEPENDENT])
    k, n = inside.sum(), len(INDEPENDENT)
    assert k == len(PRIORS[label])
    patients = people(40)

    def of(shares):
        return prior_agreement(np.tile(shares, (40, 1)), INDEPENDENT, label, patients)

    # All leads alike: 1. All of it inside: n / k. None: 0. Twice as much a lead inside as outside: between.
    assert of(np.ones(n)) == pytest.approx((1, 1, 1))
    assert of(inside * -0.3) == pytest.approx((n / k,) * 3)
    assert of(~inside * 1.0) == pytest.approx((0, 0, 0))
    assert of(1.0 + inside).value == pytest.approx(2 * k / (n + k) * n / k)


@pytest.mark.parametrize("label", UNIFORM)
def test_prior_agreement_of_labels_of_rate_is_the_entropy(rng, label):
    patients = people(50)
    assert prior_agreement(np.ones((50, 8)), INDEPENDENT, label, patients) == pytest.approx((1, 1, 1))
    one = np.eye(8)[np.full(50, 3)]
    assert prior_agreement(one, INDEPENDENT, label, patients) == pytest.approx((0, 0, 0))
    phi = planted(rng, np.arange(1, 9), n=50)
    found = prior_agreement(phi, INDEPENDENT, label, patients)
    assert found.value == pytest.approx(entropy(np.abs(phi).mean(axis=0)) / math.log(8)) and holds(found)
    assert found.value == pytest.approx(lead_profile(phi, patients).entropy)


@pytest.mark.parametrize(
    "label, names",
    [("MI", INDEPENDENT), ("AF", ("V1",)), ("AF", ("II", "V1")), ("AF", ("V3", "V4")), ("LBBB", ("V2", "V3", "V4"))],
)
def test_prior_agreement_is_undefined_where_there_is_nothing_to_tell(rng, label, names):
    found = prior_agreement(planted(rng, np.ones(len(names))), names, label, people(300))
    assert all(math.isnan(x) for x in found)


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_intervals_hold_their_values(seed, per_patient):
    rng = np.random.default_rng(seed)
    phi, other, patients = planted(rng, rng.random(8), 24), planted(rng, rng.random(8), 24), people(24, per_patient)
    shuffled = rng.normal(size=(3, 24, 8))
    for found in (
        background_agreement(phi, other, patients),
        cohort_agreement([phi, other], [patients, patients]),
        concentration(phi, patients),
        shuffled_agreement(phi, shuffled, patients),
        prior_agreement(phi, INDEPENDENT, "AF", patients),
    ):
        assert holds(found)
    profile = lead_profile(phi, patients)
    assert ((profile.low <= profile.share) & (profile.share <= profile.high)).all()


def test_priors_are_players_and_metrics_are_described():
    assert all(set(leads) < set(INDEPENDENT) for leads in PRIORS.values())
    assert not set(PRIORS) & set(UNIFORM)
    assert all({"long_name", "units", "range", "reference"} <= about.keys() for about in METRICS.values())


def test_prior_of_rate_is_undefined_without_any_relevance(rng):
    patients = people(20)
    leads = ("I", "II", "V1", "V2")
    assert math.isnan(prior_agreement(np.zeros((20, 4)), leads, "SB", patients).value)
    one = np.zeros((20, 4))
    one[3] = 1.0
    assert prior_agreement(one, leads, "SB", patients) == pytest.approx((1.0, 1.0, 1.0))


def test_one_shuffle_has_no_percentile(rng):
    assert math.isnan(shuffled_percentile(rng.normal(size=(5, 4)), rng.normal(size=(1, 5, 4))))


def test_neither_profile_nor_agreement_minds_the_size_of_values(rng):
    phi, shuffled, patients = planted(rng, [1, 2, 3], n=60), rng.normal(size=(3, 60, 3)), people(60)
    for size in (1e-6, 1e6):
        np.testing.assert_allclose(lead_profile(size * phi, patients).share, lead_profile(phi, patients).share)
        found = shuffled_agreement(size * phi, size * shuffled, patients)
        assert found == pytest.approx(shuffled_agreement(phi, shuffled, patients))


def test_two_players_have_an_entropy_and_a_place_to_look():
    phi, patients = np.tile([3.0, -1.0], (10, 1)), people(10)
    assert lead_profile(phi, patients).entropy == pytest.approx(entropy([0.75, 0.25]) / math.log(2))
    assert prior_agreement(phi, ("II", "V4"), "AF", patients) == pytest.approx((1.5, 1.5, 1.5))
    assert prior_agreement(phi, ("II", "V4"), "SB", patients).value == pytest.approx(entropy([0.75, 0.25], base=2))


def test_two_shuffles_have_a_percentile_and_a_tie_is_not_nearer():
    # Each shuffled profile lies 1 from the other; the real one 1 from their mean, or 1/2.
    chance = np.array([[[0.75, 0.25]], [[0.25, 0.75]]])
    assert shuffled_percentile([[1.0, 0.0]], chance) == 0.0
    assert shuffled_percentile([[0.75, 0.25]], chance) == 0.0
    assert shuffled_percentile([[1.0, 0.0]], chance / 2 + 0.25) == 1.0
