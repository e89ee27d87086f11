"""Stability: how far perturbed records move in the embedding (docs/method.md#stability)."""

import pytest

from pytest_ecgfm import measurements

pytestmark = pytest.mark.ecgfm_stability


@pytest.mark.ecgfm_check("stability.effective_rank")
def test_effective_rank(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """The embedding has not collapsed: constants would be perfectly stable."""
    ecgfm_gate(measurements.stability.effective_rank(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("stability.displacement")
def test_displacement(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Perturbed records stay near, seen from the distance between patients."""
    ecgfm_gate(measurements.stability.displacement(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("stability.retrieval")
def test_retrieval(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """A perturbed record's nearest record is its clean twin."""
    ecgfm_gate(measurements.stability.retrieval(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("stability.auroc_drop")
def test_auroc_drop(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Probes of clean records still read perturbed ones."""
    ecgfm_gate(measurements.stability.auroc_drop(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("stability.noticed")
def test_noticed(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """A change that makes a different ECG, such as swapped arm electrodes, moves the record."""
    ecgfm_gate(measurements.stability.displacement(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("stability.retest")
def test_retest(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """The halves of a record lie near each other."""
    ecgfm_gate(measurements.stability.retest(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("stability.precision")
def test_precision(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Half the precision gives nearly the same embedding."""
    ecgfm_gate(measurements.stability.precision(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("stability.history")
def test_history(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """What was embedded before changes nothing."""
    ecgfm_gate(measurements.history.history(ecgfm_run, ecgfm_encoder, ecgfm_case))
