"""R2, error and order of a quantity within groups: against scikit-learn and scipy on the group's records alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.quantities import QuantityResult
from pytest_ecgfm.evaluations.quantity_groups import METRICS, quantity_groups
from pytest_ecgfm.evaluations.statistics.regression import agreements


def read(targets, scores):
    count = targets.size
    patients = np.array([f"p{one}" for one in range(count)])
    return QuantityResult(
        split="cv",
        fraction=1.0,
        seeds=(0,),
        agreement=agreements(scores, targets, patients),
        alpha=np.ones(1),
        n_train=np.array([count]),
        tested=np.arange(count),
        targets=targets,
        patients=patients,
        fold=np.zeros(count, dtype=np.intp),
        scores=scores[None, :],
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(["a", "b", ""]), min_size=50, max_size=80))
def test_each_group_as_libraries_say_of_its_records_alone(seed, names):
    rng = np.random.default_rng(seed)
    targets = rng.normal(50, 10, len(names))
    scores = targets + rng.normal(0, 5, len(names))
    names = np.array(names)
    found = quantity_groups(read(targets, scores), {"site": names}, least=20)
    assert [one.name for one in found] == sorted(set(names) - {""})
    for one in found:
        mine = names == one.name
        assert one.records == mine.sum()
        if one.records < 20:
            assert all(np.isnan(interval.value) for interval in one.found.values())
            continue
        assert one.found["r2"].value == pytest.approx(r2_score(targets[mine], scores[mine]))
        assert one.found["mae"].value == pytest.approx(mean_absolute_error(targets[mine], scores[mine]))
        assert one.found["spearman"].value == pytest.approx(spearmanr(targets[mine], scores[mine])[0])
        assert all(interval.low <= interval.value <= interval.high for interval in one.found.values())


def test_a_group_that_is_read_worse_has_the_larger_error():
    rng = np.random.default_rng(0)
    targets = rng.normal(60, 10, 300)
    old = np.arange(300) < 100
    scores = targets + rng.normal(0, np.where(old, 15, 3))
    young, elder = quantity_groups(read(targets, scores), {"age": np.where(old, "old", "below")}, least=20)
    assert (young.name, elder.name) == ("below", "old")
    assert elder.found["r2"].high < young.found["r2"].low and elder.found["mae"].low > young.found["mae"].high


def test_a_column_of_other_records_is_an_error():
    targets = np.arange(30.0)
    with pytest.raises(EcgfmError, match="column 'site' has 29 records, but 30 were tested"):
        quantity_groups(read(targets, targets), {"site": np.array(["a"] * 29)}, least=20)


def test_each_variable_is_described():
    assert {"r2", "mae", "spearman", "judged", "n_test"} <= set(METRICS)
