import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from pytest_ecgfm.evaluations import mixtures


def mixture_labels(features, seed):
    return mixtures.mixture_labels(features, seed, lambda: features @ features.T)


def theirs(features, seed=42):
    return GaussianMixture(2, n_init=10, random_state=seed).fit(features)


def made(records, dimensions, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((records, dimensions)) * rng.uniform(0.2, 3, dimensions)
    rows[: records // 3, :4] += shift
    return rows


@pytest.fixture
def short_ways(monkeypatch):
    """Count how often the short way leads to an answer."""
    taken = []
    original = mixtures._certain_labels

    def counted(*given):
        labels = original(*given)
        taken.append(labels is not None)
        return labels

    monkeypatch.setattr(mixtures, "_certain_labels", counted)
    return taken


@pytest.mark.parametrize("shift", [0.0, 3.0])
@pytest.mark.parametrize(("records", "dimensions"), [(40, 200), (70, 40), (100, 80)])
def test_with_few_records_the_short_way_gives_scikit_learns_labels(records, dimensions, shift, short_ways):
    features = made(records, dimensions, shift)
    assert np.array_equal(mixture_labels(features, 42), theirs(features).predict(features))
    assert short_ways == [True]


@pytest.mark.parametrize(("records", "dimensions"), [(300, 2), (120, 20)])
def test_where_records_are_not_certain_scikit_learn_decides(records, dimensions, short_ways):
    features = made(records, dimensions)
    assert np.array_equal(mixture_labels(features, 7), theirs(features, 7).predict(features))
    assert short_ways == [False]


def test_repeated_records_and_constant_dimensions():
    features = np.repeat(made(20, 60, 2.0), 2, axis=0)
    features[:, 5] = 0
    assert np.array_equal(mixture_labels(features, 42), theirs(features).predict(features))


@pytest.mark.parametrize("sizes", [(12, 18), (10, 45), (50, 5)])
def test_likelihood_is_that_of_the_fitted_mixture(sizes):
    # With 40 dimensions, one of the sides has more records than these in two of the three cases.
    rng = np.random.default_rng(3)
    features = rng.standard_normal((sum(sizes), 40))
    features[: sizes[0], 0] += 100
    found = mixtures._likelihood_if_certain(features, features @ features.T, np.repeat([0, 1], sizes))
    model = GaussianMixture(2, random_state=0).fit(features)
    assert np.array_equal(np.sort(np.bincount(model.predict(features))), np.sort(sizes))
    assert found / len(features) == pytest.approx(model.score(features), rel=1e-6)


def test_a_record_between_the_components_is_not_certain():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((60, 3))
    labels = KMeans(2, n_init=1, random_state=0).fit(features).labels_
    assert mixtures._likelihood_if_certain(features, features @ features.T, labels) is None


def test_a_side_of_two_records_has_a_likelihood_and_one_of_one_has_none():
    rng = np.random.default_rng(4)
    features = rng.standard_normal((30, 40))
    features[:2, 0] += 1000
    gram = features @ features.T
    found = mixtures._likelihood_if_certain(features, gram, (np.arange(30) < 2).astype(int))
    model = GaussianMixture(2, random_state=0).fit(features)
    assert found / 30 == pytest.approx(model.score(features), rel=1e-6)
    assert mixtures._likelihood_if_certain(features, gram, (np.arange(30) < 1).astype(int)) is None


@pytest.mark.parametrize(("count", "dimensions"), [(30, 6), (6, 10), (10, 10)])
def test_components_are_those_of_the_covariance(count, dimensions):
    rng = np.random.default_rng(5)
    own = rng.standard_normal((count, dimensions)) + 2
    # The others lie in what the members span, where the ridge does not hide how far they are.
    others = rng.dirichlet(np.ones(count), 7) @ own + 0.5 * (own[:7] - own.mean(axis=0))[rng.integers(0, 6, 7)]
    features = np.concatenate([own, others])
    covariance = np.cov(own.T, bias=True) + 1e-6 * np.eye(dimensions)
    distances = np.einsum(
        "ij,ij->i", (features - own.mean(axis=0)) @ np.linalg.inv(covariance), features - own.mean(axis=0)
    )
    wanted = np.linalg.slogdet(covariance)[1], distances[:count].sum(), distances[count:].min()
    members, rest = np.arange(count), np.arange(count, count + 7)
    if count <= dimensions:
        found = mixtures._by_products(features @ features.T, members, rest, dimensions)
        assert found == pytest.approx(wanted, rel=1e-4)
    if count >= dimensions:
        assert mixtures._by_covariance(features, members, rest) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(("odds", "certain"), [(50.0, True), (49.9, False), (np.nan, False)])
def test_records_are_certain_of_log_odds_of_fifty(side, odds, certain, monkeypatch):
    labels = np.repeat([0, 1], [4, 6])
    sizes = (4, 6)
    # Farthest members are as far as there are members; the nearest record of the other side, far enough, or just.
    constants, totals = (-3.0, 5.0), (12.0, 30.0)
    needed = [2 * (50.0 - constants[1 - one] + 0.5 * sizes[1 - one] + constants[one]) for one in (0, 1)]
    needed[side] += 2 * (odds - 50.0)
    fitted = iter([mixtures._Component(constants[one], totals[one], needed[one]) for one in (0, 1)])
    monkeypatch.setattr(mixtures, "_component", lambda *arguments: next(fitted))
    found = mixtures._likelihood_if_certain(np.zeros((10, 2)), np.zeros((10, 10)), labels)
    assert found == (4 * -3.0 - 6.0 + 6 * 5.0 - 15.0 if certain else None)
