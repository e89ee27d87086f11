"""Probes of shuffled labels: one fold's, with its patients apart, whatever the labels were."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_ecgfm.evaluations.fold_probes import fold_probes
from pytest_ecgfm.evaluations.splits import Labelled, make_split
from pytest_ecgfm.measurements import record_probes as module
from pytest_ecgfm.measurements.record_probes import shuffled_probe


@pytest.fixture
def asked(rng):
    """A run whose cohort is cross-validated: 60 records, the label unknown in every sixth."""
    embeddings = rng.normal(size=(60, 4)).astype(np.float32)
    known = np.arange(60) % 6 > 0
    targets, patients = rng.random(known.sum()) < 0.4, np.arange(known.sum()).astype(str)
    split = make_split(targets, patients)
    assert split.kind == "cv"
    labelled = Labelled(known, targets, patients, split)
    run = SimpleNamespace(labelled=lambda cohort, label: labelled, embeddings=lambda encoder, cohort: embeddings)
    return run, labelled, embeddings[known]


def test_first_folds_probe_of_shuffled_labels(asked):
    run, labelled, embeddings = asked
    for shuffle in (1, 2):
        shuffled = np.random.default_rng([shuffle, 17]).permutation(labelled.targets)
        first = fold_probes(embeddings, shuffled, labelled.patients, labelled.split)[0].probe
        found = shuffled_probe(run, None, None, "AF", shuffle)
        np.testing.assert_array_equal(found, first.coefficients / first.scale)


def test_no_other_fold_is_fitted(asked, monkeypatch):
    run, _, _ = asked
    seen = []

    def counted(embeddings, targets, patients, split):
        seen.append(split.folds)
        return fold_probes(embeddings, targets, patients, split)

    monkeypatch.setattr(module, "fold_probes", counted)
    assert shuffled_probe(run, None, None, "AF", 1) is not None
    assert [len(folds) for folds in seen] == [1]


def test_a_rare_class_has_none(asked):
    run, labelled, _ = asked
    run.labelled = lambda cohort, label: replace(labelled, split=None)
    assert shuffled_probe(run, None, None, "AF", 1) is None
