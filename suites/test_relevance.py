"""Relevance: which leads and dimensions carry a label, and whether that means anything (docs/method.md#relevance)."""

import pytest

from pytest_ecgfm import measurements

pytestmark = pytest.mark.ecgfm_relevance


@pytest.mark.ecgfm_check("relevance.efficiency")
def test_efficiency(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Shapley values sum to the change of the logit."""
    ecgfm_gate(measurements.relevance.efficiency(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("relevance.shuffled_labels")
def test_shuffled_labels(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Relevance depends on what the labels are."""
    ecgfm_gate(measurements.relevance.shuffled_labels(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("relevance.baselines")
def test_baselines(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Relevance does not depend on what stands in for a lead."""
    ecgfm_gate(measurements.relevance.baselines(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("relevance.cohorts")
def test_cohorts(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """A label is read from the same leads everywhere."""
    ecgfm_gate(measurements.relevance.cohorts(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("relevance.concentration")
def test_concentration(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """No single lead is a shortcut."""
    ecgfm_gate(measurements.relevance.concentration(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("relevance.deletion")
def test_deletion(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Removing the most relevant leads hurts more than removing random ones."""
    ecgfm_gate(measurements.relevance.deletion(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("relevance.prior")
def test_prior(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Relevance lies in the leads where cardiologists look."""
    ecgfm_gate(measurements.relevance.prior(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("relevance.selected_auroc")
def test_selected_auroc(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """A tenth of the dimensions, chosen on training records, still carries the label."""
    ecgfm_gate(measurements.features.selected_auroc(ecgfm_run, ecgfm_encoder, ecgfm_case))
