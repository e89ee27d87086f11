"""Transfer of a quantity: against scikit-learn and scipy by hand, and what it has to see."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pytest_ecgfm.evaluations.quantities import evaluate_quantity
from pytest_ecgfm.evaluations.quantity_transfer import METRICS, transfer_quantity
from pytest_ecgfm.evaluations.splits import Fold, Split, make_split
from pytest_ecgfm.evaluations.transfer import Source, fit_source

D = 8


def source(seed, n=500, sign=1.0, shift=0.0, minimum=1, per_patient=1):
    """Cohorts of different seeds share the direction of the quantity, unless `sign` turns it round."""
    rng = np.random.default_rng(seed)
    direction = np.random.default_rng(99).normal(size=D)
    direction *= sign / np.linalg.norm(direction)
    values = rng.normal(60, 10, n)
    embeddings = rng.normal(size=(n, D)) + 1.5 * (values[:, None] - 60) / 10 * direction + shift * direction
    patients = np.array([f"p{i // per_patient}" for i in range(n)])
    split = make_split(values, patients, minimum_test_positives=minimum)
    return Source(embeddings.astype(np.float32), values, patients, split)


def own(target, fraction=1.0, seeds=(0,)):
    return evaluate_quantity(target.embeddings, target.targets, target.patients, target.split, fraction, seeds)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("minimum", [1, 10**6])
def test_a_probe_of_the_source_equals_scikit_learn_and_scipy_by_hand(count, minimum):
    sources = [source(seed, shift=seed) for seed in range(1, count + 1)]
    target = source(10, minimum=minimum, per_patient=2)
    probe, mine = fit_source(sources), own(target)
    train = [one.split.folds[0].train for one in sources]
    rows = np.concatenate([one.embeddings[part].astype(float) for one, part in zip(sources, train, strict=True)])
    values = np.concatenate([one.targets[part] for one, part in zip(sources, train, strict=True)])
    model = make_pipeline(StandardScaler(), Ridge(alpha=1 / probe.C)).fit(rows, values)
    predicted = model.predict(target.embeddings[mine.tested].astype(float))
    truth = target.targets[mine.tested]
    found = transfer_quantity(probe, target.embeddings, mine)
    assert found.r2.value == pytest.approx(r2_score(truth, predicted))
    assert found.mae.value == pytest.approx(mean_absolute_error(truth, predicted))
    assert found.spearman.value == pytest.approx(spearmanr(truth, predicted).statistic)
    assert found.r2_drop.value == pytest.approx(r2_score(truth, mine.scores[0]) - found.r2.value)
    ranks = spearmanr(truth, mine.scores[0]).statistic
    assert found.spearman_drop.value == pytest.approx(ranks - found.spearman.value)
    for one in (found.r2, found.mae, found.spearman, found.r2_drop, found.spearman_drop):
        assert one.low < one.value < one.high


def test_intervals_are_those_of_resampled_patients():
    target, probe = source(11, per_patient=2, minimum=10**6), fit_source([source(12, shift=1.0)])
    mine = own(target)
    found = transfer_quantity(probe, target.embeddings, mine)
    predicted = probe.scores(target.embeddings)
    names, codes = np.unique(target.patients, return_inverse=True)
    rng, drops, ranks = np.random.default_rng(3), [], []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(codes == one) for one in rng.integers(0, names.size, names.size)])
        truth = target.targets[rows]
        drops.append(r2_score(truth, mine.scores[0][rows]) - r2_score(truth, predicted[rows]))
        here, there = (spearmanr(truth, one[rows]).statistic for one in (mine.scores[0], predicted))
        ranks.append(here - there)
    for one, resampled in ((found.r2_drop, drops), (found.spearman_drop, ranks)):
        assert (one.high - one.low) / (2 * 1.96) == pytest.approx(np.std(resampled), rel=0.1)


def test_nothing_is_lost_between_cohorts_of_the_same_distribution():
    drops = [
        transfer_quantity(fit_source([source(20 + seed)]), target.embeddings, own(target)).spearman_drop.value
        for seed in range(4)
        for target in [source(30 + seed, minimum=10**6)]
    ]
    assert np.abs(drops).max() < 0.05


def test_all_is_lost_where_the_quantity_points_the_other_way():
    target = source(41)
    found = transfer_quantity(fit_source([source(40, sign=-1.0)]), target.embeddings, own(target))
    assert found.r2.high < 0 and found.spearman.high < -0.5
    assert found.r2_drop.low > 1 and found.spearman_drop.low > 1


def test_a_shift_of_the_embedding_costs_r2_and_error_and_no_ranks():
    target, moved = source(51), source(51, shift=3.0)
    probe = fit_source([source(50)])
    here, there = (transfer_quantity(probe, one.embeddings, own(one)) for one in (target, moved))
    assert there.r2_drop.low > 1 > 0.1 > here.r2_drop.value and there.mae.low > 2 * here.mae.high
    assert there.spearman_drop.value == pytest.approx(here.spearman_drop.value, abs=1e-6)


def test_a_target_as_its_own_source_loses_nothing_and_untested_records_are_not_read():
    target = source(60)
    mine = own(target)
    found = transfer_quantity(fit_source([target]), target.embeddings, mine)
    for one in (found.r2_drop, found.spearman_drop):
        assert one.value == one.low == one.high == 0
    spoilt = target.embeddings.copy()
    spoilt[np.setdiff1d(np.arange(len(spoilt)), mine.tested)] = 1e6
    assert transfer_quantity(fit_source([target]), spoilt, mine) == found


def test_no_probe_where_all_training_records_hold_one_value():
    one, rows = source(70, n=60), np.arange(60)
    split = Split("holdout", (Fold(rows[:40], rows[40:50], rows[50:]),))
    values = np.where(rows < 40, 55.0, one.targets)
    assert fit_source([Source(one.embeddings, values, one.patients, split)]) is None


def test_values_are_the_cubes_variables():
    found = transfer_quantity(fit_source([source(81)]), (target := source(80)).embeddings, own(target))
    values = found.values()
    assert set(values) == set(METRICS) and all(map(math.isfinite, values.values()))
    assert [values[f"r2_drop{end}"] for end in ("", "_low", "_high")] == [
        found.r2_drop.value,
        found.r2_drop.low,
        found.r2_drop.high,
    ]
    assert METRICS["mae"]["units"] == "units of the quantity"
