"""Metrics of pairs of cohorts are kept with the embeddings: they are computed once for what they are of."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.embeddings import EmbeddingCache
from pytest_ecgfm.evaluations.clusters import Space
from pytest_ecgfm.evaluations.separability import adjusted_metrics
from pytest_ecgfm.measurements import pair_metrics
from pytest_ecgfm.measurements.pair_metrics import Pair


class Cohort:
    name, digest = "synthetic-europe", "records"
    table = pd.DataFrame({"age": [50.0], "sex": ["female"]})


@pytest.fixture
def pair(rng):
    cohorts = np.repeat(["a", "b"], [20, 25])
    return Pair(rng.normal(size=(45, 3)), cohorts, np.array([f"p{i // 2}" for i in range(45)]), True, 40)


@pytest.fixture
def computed(monkeypatch, tmp_path):
    """Ask for metrics in a new process, as it were; count how often they are computed."""
    asked = []

    def counted(space, *more):
        asked.append(space)
        return adjusted_metrics(space, *more)

    monkeypatch.setattr(pair_metrics.evaluation, "adjusted_metrics", counted)

    def compute(*pairs, fingerprint="weights"):
        cache = EmbeddingCache(tmp_path, "run")
        encoder = SimpleNamespace(card=SimpleNamespace(name="mine"), fingerprint=fingerprint)
        run = SimpleNamespace(
            settings=SimpleNamespace(cohorts=("synthetic-europe",)),
            cohort=lambda name: Cohort(),
            derived=lambda encoder, cohort, part, make: cache.get(
                encoder, cohort, lambda missing: [make(lambda done, total: None)], part=part
            ),
        )
        return pair_metrics.pair_metrics(run, encoder, "AF", pairs)

    return compute, asked


def test_found_again_as_they_were_computed(computed, pair):
    compute, asked = computed
    few = Pair(np.zeros((6, 2)), np.repeat(["a", "b"], 3), np.arange(6).astype(str), False, 40)
    first, again = compute(pair, few), compute(pair, few)
    assert len(asked) == 2
    expected = adjusted_metrics(Space(pair.features, most=40), pair.cohorts, pair.patients)
    for found in (first, again):
        assert list(found[0]) == list(expected)
        for name, one in found[0].items():
            np.testing.assert_array_equal(list(one.values().values()), list(expected[name].values().values()))
        # Fewer than 12 records: undefined stays undefined.
        assert np.isnan([one.value for one in found[1].values()]).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda pair: {"features": pair.features + np.eye(45, 3)},
        lambda pair: {"features": pair.features.astype(np.float32)},
        lambda pair: {"cohorts": pair.cohorts[::-1]},
        lambda pair: {"patients": np.arange(45).astype(str)},
        lambda pair: {"scale": False},
        lambda pair: {"most": 30},
    ],
)
def test_whatever_they_depend_on_makes_others(computed, pair, change):
    compute, asked = computed
    compute(pair)
    compute(replace(pair, **change(pair)))
    assert len(asked) == 2


def test_another_encoder_has_its_own(computed, pair):
    compute, asked = computed
    compute(pair)
    compute(pair, fingerprint="others")
    assert len(asked) == 2 and compute() == []
