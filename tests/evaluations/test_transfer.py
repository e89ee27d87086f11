import math

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pytest_ecgfm.evaluations.downstream import evaluate
from pytest_ecgfm.evaluations.logistic import C_GRID
from pytest_ecgfm.evaluations.probes import fit_probe
from pytest_ecgfm.evaluations.splits import Fold, Split, make_split
from pytest_ecgfm.evaluations.statistics import mean_auroc_difference
from pytest_ecgfm.evaluations.transfer import METRICS, Source, fit_source, transfer
from tests.evaluations.by_pairs import smoothed

D = 8


def planted(seed, n=800, share=0.3, strength=2.0, sign=1.0, shift=0.0, per_patient=1):
    """Cohorts of different seeds share the direction of the label, unless `sign` turns it round."""
    rng = np.random.default_rng(seed)
    direction = np.random.default_rng(99).normal(size=D)
    direction *= sign * strength / np.linalg.norm(direction)
    patients = np.array([f"p{i // per_patient}" for i in range(n)])
    targets = rng.random(n) < share
    embeddings = rng.normal(size=(n, D)) + shift + targets[:, None] * direction
    return embeddings.astype(np.float32), targets, patients


def source(seed, minimum=1, **kwargs):
    embeddings, targets, patients = planted(seed, **kwargs)
    return Source(embeddings, targets, patients, make_split(targets, patients, minimum_test_positives=minimum))


def own(target, fraction=1.0, seeds=(0,)):
    return evaluate(target.embeddings, target.targets, target.patients, target.split, fraction, seeds)


def by_hand(sources):
    """The protocol's probe as anyone would write it with scikit-learn."""
    train, held = (
        tuple(
            np.concatenate([array[getattr(one.split.folds[0], part)] for one in sources for array in [pick(one)]])
            for pick in (lambda one: one.embeddings.astype(float), lambda one: one.targets)
        )
        for part in ("train", "validation")
    )
    models = []
    for C in C_GRID:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=10_000, tol=1e-8)).fit(*train)
        models.append((smoothed(held[1], model.decision_function(held[0])), model))
    return max(models, key=lambda pair: round(pair[0], 10))[1]


@pytest.mark.parametrize("count", [1, 2])
def test_a_probe_of_the_source_scored_on_the_target_equals_scikit_learn_by_hand(count):
    sources = [source(seed, shift=seed) for seed in range(1, count + 1)]
    target = source(10)
    probe, model = fit_source(sources), by_hand(sources)
    assert probe.C == model[-1].C
    mine = own(target)
    found = transfer(probe, target.embeddings, mine)
    test = target.split.folds[0].test
    foreign = model.decision_function(target.embeddings[test].astype(float))
    assert found.auroc.value == pytest.approx(roc_auc_score(target.targets[test], foreign), abs=0.002)
    assert found.drop.value == pytest.approx(mine.auroc[0] - found.auroc.value, abs=1e-12)
    expected = mean_auroc_difference(
        mine.scores, probe.scores(target.embeddings[test]), target.targets[test], target.patients[test]
    )
    assert found.drop == expected
    assert found.auroc.low < found.auroc.value < found.auroc.high


def test_cross_validated_targets_are_ranked_within_their_folds():
    foreign, target = source(1, shift=1.0), source(2, minimum=10**6, n=300)
    assert target.split.kind == "cv"
    probe, mine = fit_source([foreign]), own(target)
    # Tell the folds apart, as probes of different folds would: only ranks within fold are free of it.
    moved = target.embeddings.copy()
    raw = probe.scores(target.embeddings)
    ranked = np.zeros(300)
    for f, fold in enumerate(target.split.folds):
        moved[fold.test] += 10 * f
        ranked[fold.test] = (rankdata(raw[fold.test]) - 0.5) / fold.test.size
    found = transfer(probe, target.embeddings, mine)
    assert found.auroc.value == pytest.approx(roc_auc_score(target.targets, ranked), abs=1e-12)
    assert found.auroc.value != pytest.approx(roc_auc_score(target.targets, raw), abs=1e-6)
    assert transfer(probe, moved, mine).auroc.value == pytest.approx(found.auroc.value, abs=1e-12)


def test_ranks_of_folds_of_different_sizes_share_a_scale():
    # Midranks over the fold's size lie in (0, 1), symmetric about one half, however few records a fold tests.
    one, rows = source(5, n=206), np.arange(206)
    parts = np.split(rows, [3, 6, 106])
    folds = tuple(Fold(np.setdiff1d(rows, part), rows[:0], part) for part in parts)
    target = Source(one.embeddings, one.targets, one.patients, Split("cv", folds))
    probe = fit_source([source(6)])
    raw = probe.scores(target.embeddings)
    ranked = np.concatenate([(rankdata(raw[part]) - 0.5) / part.size for part in parts])
    found = transfer(probe, target.embeddings, own(target))
    assert found.auroc.value == pytest.approx(roc_auc_score(target.targets, ranked), abs=1e-12)


def test_holdout_targets_are_not_ranked_nor_are_other_records_scored():
    target, probe = source(3), fit_source([source(4)])
    mine = own(target)
    before = transfer(probe, target.embeddings, mine)
    spoilt = target.embeddings.copy()
    untested = np.setdiff1d(np.arange(len(spoilt)), mine.tested)
    spoilt[untested] = 1e6
    assert transfer(probe, spoilt, mine) == before
    spoilt[mine.tested[target.targets[mine.tested]]] -= 1e6
    assert transfer(probe, spoilt, mine) != before


@pytest.mark.parametrize("minimum", [1, 10**6])
def test_nothing_is_lost_between_cohorts_of_the_same_distribution(minimum):
    drops, held = [], []
    for seed in range(4):
        foreign, target = source(20 + seed), source(30 + seed, minimum=minimum)
        found = transfer(fit_source([foreign]), target.embeddings, own(target)).drop
        drops.append(found.value)
        held.append(found.low <= 0 <= found.high)
    # Both probes are near the optimum: what differs is a percent or so of AUROC.
    assert np.abs(drops).max() < 0.03
    assert sum(held) >= 2  # 5 % of misses at most, and the source's own noise: fewer than half of four


@pytest.mark.parametrize("minimum", [1, 10**6])
def test_all_is_lost_where_the_label_points_the_other_way(minimum):
    target = source(41, minimum=minimum)
    mine = own(target)
    found = transfer(fit_source([source(40, sign=-1.0)]), target.embeddings, mine)
    best = 0.921  # Phi(2 / sqrt(2))
    assert found.auroc.value == pytest.approx(1 - best, abs=0.04)
    assert found.drop.low > 0.7


def test_a_source_of_noise_is_worth_chance():
    target = source(43)
    found = transfer(fit_source([source(42, strength=0.0)]), target.embeddings, own(target))
    reversed_ = transfer(fit_source([source(42, strength=0.0), source(44)]), target.embeddings, own(target))
    assert found.drop.low > 0
    assert reversed_.auroc.value > found.auroc.value


def test_the_target_as_its_own_source_loses_exactly_nothing():
    target = source(50)
    found = transfer(fit_source([target]), target.embeddings, own(target))
    assert (found.drop.value, found.drop.low, found.drop.high) == (0.0, 0.0, 0.0)
    assert found.auroc == own(target).estimate


def test_several_seeds_of_the_target_count_by_their_mean():
    target, probe = source(51), fit_source([source(52)])
    mine = own(target, 0.1, (0, 1, 2))
    found = transfer(probe, target.embeddings, mine)
    assert found.drop.value == pytest.approx(mine.auroc.mean() - found.auroc.value, abs=1e-12)
    alone = transfer(probe, target.embeddings, own(target, 0.1, (1,)))
    assert alone.auroc == found.auroc
    assert alone.drop.value != found.drop.value


def test_only_the_first_folds_training_and_validation_parts_are_used():
    one = source(60, minimum=10**6, n=400)
    fold = one.split.folds[0]
    probe = fit_source([one])
    again = fit_source([Source(one.embeddings, one.targets, one.patients, Split("holdout", (fold,)))])
    spoilt, flipped = one.embeddings.copy(), one.targets.copy()
    spoilt[fold.test] = 1e6
    flipped[fold.test] = ~flipped[fold.test]
    without = fit_source([Source(spoilt, flipped, one.patients, one.split)])
    for other in (again, without):
        np.testing.assert_array_equal(other.coefficients, probe.coefficients)
        assert (other.C, other.intercept) == (probe.C, probe.intercept)
    np.testing.assert_allclose(probe.mean, one.embeddings[fold.train].astype(float).mean(axis=0), rtol=1e-12)
    second = fit_source([Source(one.embeddings, one.targets, one.patients, Split("cv", one.split.folds[1:]))])
    assert (second.coefficients != probe.coefficients).any()


def test_one_scale_for_all_sources():
    sources = [source(61, shift=0.0), source(62, shift=50.0, n=500)]
    probe = fit_source(sources)
    train = np.concatenate([one.embeddings[one.split.folds[0].train] for one in sources]).astype(float)
    np.testing.assert_allclose(probe.mean, train.mean(axis=0))
    np.testing.assert_allclose(probe.scale, train.std(axis=0))
    turned = fit_source(sources[::-1])
    np.testing.assert_allclose(turned.coefficients, probe.coefficients, atol=1e-6)


def test_patients_of_different_cohorts_are_different_even_where_their_names_agree():
    # Without a validation part, C is chosen by inner folds of the training patients.
    def small(seed):
        embeddings, targets, patients = planted(seed, n=90, strength=0.8, per_patient=3)
        rows = np.arange(90)
        return Source(embeddings, targets, patients, Split("holdout", (Fold(rows, rows[:0], rows[:0]),)))

    chosen, merged = [], []
    for seed in range(20):
        sources = [small(seed), small(seed + 1000)]
        rows = np.concatenate([one.embeddings for one in sources])
        targets = np.concatenate([one.targets for one in sources])
        none = (rows[:0], targets[:0])
        apart = np.concatenate([[f"{number} {name}" for name in one.patients] for number, one in enumerate(sources)])
        together = np.concatenate([one.patients for one in sources])
        chosen.append((fit_source(sources).C, fit_probe("logistic", rows, targets, apart, *none).C))
        merged.append(fit_probe("logistic", rows, targets, together, *none).C)
    assert all(found == expected for found, expected in chosen)
    assert [found for found, _ in chosen] != merged  # the names do decide something here


@pytest.mark.parametrize("value", [False, True])
def test_no_probe_where_the_training_records_lack_a_class(value):
    embeddings, targets, patients = planted(70, n=60)
    rows = np.arange(60)
    split = Split("holdout", (Fold(rows[:40], rows[40:50], rows[50:]),))
    targets[:40] = value
    targets[40:] = ~np.bool_(value)
    lacking = Source(embeddings, targets, patients, split)
    assert fit_source([lacking]) is None
    assert fit_source([lacking, source(71)]) is not None


def test_a_target_of_one_class_is_undefined():
    target = source(72)
    none = np.zeros_like(target.targets)
    mine = evaluate(target.embeddings, none, target.patients, target.split, 1.0)
    found = transfer(fit_source([source(73)]), target.embeddings, mine)
    assert math.isnan(found.auroc.value) and math.isnan(found.drop.value)


def test_values_are_the_cubes_variables():
    target = source(80, per_patient=2)
    found = transfer(fit_source([source(81)]), target.embeddings, own(target))
    values = found.values()
    assert set(values) == set(METRICS)
    assert [values[f"drop{suffix}"] for suffix in ("", "_low", "_high")] == [
        found.drop.value,
        found.drop.low,
        found.drop.high,
    ]
    assert (values["auroc"], values["auroc_low"], values["auroc_high"]) == (
        found.auroc.value,
        found.auroc.low,
        found.auroc.high,
    )
    for name, attributes in METRICS.items():
        low, high = attributes["range"]
        assert low <= values[name] <= high
        assert attributes["higher_is_better"] == name.startswith("auroc")
