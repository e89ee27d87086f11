"""Which records embeddings are z-scored by."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.evaluations.splits import Labelled, make_split
from pytest_ecgfm.measurements.chosen import training_rows


class Cohort(list):
    def __init__(self, patients):
        super().__init__(range(len(patients)))
        self.patients = pd.Series(patients)


def run_of(*splits):
    count = splits[0][0].size
    known = np.ones(count, bool)
    held = {
        str(number): Labelled(known, targets, np.arange(count).astype(str), split)
        for number, (targets, split) in enumerate(splits)
    }
    return SimpleNamespace(settings=SimpleNamespace(labels=tuple(held)), labelled=lambda _, label: held[label])


@pytest.fixture
def targets(rng):
    return rng.random(800) < 0.4


def test_the_first_split_with_a_training_part_says_which(targets):
    patients = np.arange(800).astype(str)
    holdout, folds = make_split(targets, patients), make_split(targets, patients, minimum_test_positives=800)
    assert (holdout.kind, folds.kind) == ("holdout", "cv")
    tested = holdout.folds[0].test
    rows, note = training_rows(run_of((targets, folds), (targets, holdout)), Cohort(patients), tested[:60])
    np.testing.assert_array_equal(rows, holdout.folds[0].train)
    assert not note
    rows, note = training_rows(run_of((targets, folds), (targets, None)), Cohort(patients), tested[:60])
    np.testing.assert_array_equal(rows, np.setdiff1d(np.arange(800), tested[:60]))
    assert not note


def test_patients_that_are_tested_are_left_out_with_all_their_records(targets):
    patients = (np.arange(800) // 2).astype(str)
    rows, _ = training_rows(run_of((targets, None)), Cohort(patients), np.array([10, 700]))
    assert sorted(set(range(800)) - set(rows.tolist())) == [10, 11, 700, 701]


def test_few_training_records_mean_all_and_a_note(targets):
    rows, note = training_rows(run_of((targets[:100], None)), Cohort(np.arange(100).astype(str)), np.arange(60))
    np.testing.assert_array_equal(rows, np.arange(100))
    assert "all 100 records" in note
