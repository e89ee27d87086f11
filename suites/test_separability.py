"""Separability: labels should form clusters, cohorts should not (docs/method.md#separability)."""

import pytest

from pytest_ecgfm import measurements

pytestmark = pytest.mark.ecgfm_separability


@pytest.mark.ecgfm_check("separability.neighbours")
def test_neighbours(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """A record's neighbours share its label more often than chance."""
    ecgfm_gate(measurements.separability.neighbours(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("separability.robustness")
def test_robustness(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Neighbours share the label rather than the cohort."""
    ecgfm_gate(measurements.separability.robustness(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("separability.cohort_auroc")
def test_cohort_auroc(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Cohorts can hardly be told apart."""
    ecgfm_gate(measurements.separability.cohort_auroc(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("separability.trustworthiness")
def test_trustworthiness(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Neighbours on the map are neighbours in the embedding."""
    ecgfm_gate(measurements.separability.trustworthiness(ecgfm_run, ecgfm_encoder, ecgfm_case))
