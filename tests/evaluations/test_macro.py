"""The mean AUROC over a set of labels: its value, and an interval by joint resampling, by an independent one."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.downstream import evaluate
from pytest_ecgfm.evaluations.macro import macro_auroc
from pytest_ecgfm.evaluations.splits import make_split


def results(rng, patients=60, records=240, seeds=(0,)):
    """Three labels of one severity, on overlapping records: the last is known for half of the patients only."""
    names = np.array([f"p{i % patients:02d}" for i in range(records)])
    severity = rng.normal(size=patients)[np.arange(records) % patients]
    found = []
    for number in range(3):
        rows = np.flatnonzero(np.arange(records) % patients < patients // 2) if number == 2 else np.arange(records)
        targets = (severity + 0.5 * rng.normal(size=records) > 0.3 + 0.2 * number)[rows]
        embeddings = (severity[:, None] + 1.5 * rng.normal(size=(records, 4))).astype(np.float32)[rows]
        split = make_split(targets, names[rows])
        found.append(evaluate(embeddings, targets, names[rows], split, 1.0, seeds))
    return found


def test_value_and_interval_are_those_of_patients_resampled_for_all_labels_at_once(rng):
    parts = results(rng)
    found = macro_auroc(parts, resamples=3000)
    assert found.value == pytest.approx(np.mean([roc_auc_score(one.targets, one.scores[0]) for one in parts]))
    names = np.unique(np.concatenate([one.patients for one in parts]))
    draws = []
    for _ in range(800):
        chosen = rng.choice(names, names.size)
        each = []
        for one in parts:
            rows = np.concatenate([np.flatnonzero(one.patients == name) for name in chosen])
            each.append(roc_auc_score(one.targets[rows], one.scores[0][rows]))
        draws.append(np.mean(each))
    assert found.standard_error == pytest.approx(np.std(draws, ddof=1), rel=0.1)
    half = 1.96 * found.standard_error / (found.value * (1 - found.value))
    limits = expit(logit(found.value) + half * np.array([-1, 1]))
    assert (found.low, found.high) == pytest.approx(tuple(limits), abs=1e-3)


def test_labels_that_share_their_patients_do_not_count_as_independent(rng):
    one = results(rng)[0]
    alone, twice = macro_auroc([one], resamples=500), macro_auroc([one, one], resamples=500)
    # A label beside itself adds nothing: its mean varies as it does itself.
    assert twice.value == alone.value and twice.standard_error == pytest.approx(alone.standard_error, rel=0.15)


def test_seeds_add_their_spread(rng):
    parts = results(rng, seeds=(0, 1, 2))
    noisy = [replace(one, scores=one.scores + 0.4 * rng.random(one.scores.shape)) for one in parts]
    found = macro_auroc(noisy)
    each = [np.mean([roc_auc_score(one.targets, one.scores[i]) for one in noisy]) for i in range(3)]
    assert found.sd_seeds == pytest.approx(np.std(each, ddof=1)) and found.value == pytest.approx(np.mean(each))


def test_what_cannot_be_averaged(rng):
    one = results(rng)[0]
    with pytest.raises(EcgfmError, match="same seeds"):
        macro_auroc([one, replace(one, seeds=(1,))])
    with pytest.raises(EcgfmError, match="one at least"):
        macro_auroc([])
    assert np.isnan(macro_auroc([one, replace(one, scores=np.full_like(one.scores, np.nan))]).low)
