"""Probes of shuffled labels: one is enough to know chance, and it is the one that all folds' would begin with."""

from dataclasses import replace

import numpy as np

from pytest_ecgfm.evaluations.fold_probes import fold_probes
from pytest_ecgfm.measurements.record_probes import record_probes
from tests.held_runs import HeldRun, settings_of
from tests.memory_cohort import MemoryCohort, encoder_of, means


def test_shuffled_labels_have_the_first_folds_probe_and_no_other(tmp_path):
    cohort = MemoryCohort(n=120)
    settings = replace(settings_of("m", {"memory": cohort}, tmp_path), cohorts=("memory",))
    run, encoder = HeldRun(settings, tmp_path / "run", {"memory": cohort}), encoder_of(means, version="1")
    labelled = run.labelled(cohort, "AF")
    assert labelled.split.kind == "cv"
    targets = np.random.default_rng([2, 17]).permutation(labelled.targets)
    every = fold_probes(run.embeddings(encoder, cohort), targets, labelled.patients, labelled.split)
    found = record_probes(run, encoder, cohort, "AF", shuffle=2)
    assert found.weights.shape == (1, 12) and len(every) == 5
    np.testing.assert_array_equal(found.weights[0], every[0].probe.coefficients / every[0].probe.scale)
