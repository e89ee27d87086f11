"""Transfer: how well a probe of one cohort works in another (docs/method.md#transfer)."""

import pytest

from pytest_ecgfm import measurements

pytestmark = pytest.mark.ecgfm_transfer


@pytest.mark.ecgfm_check("transfer.drop")
def test_drop(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """AUROC of the cohort's own probe minus that of a probe of other cohorts, paired on the same records."""
    ecgfm_gate(measurements.transfer.drop(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("transfer.spearman_drop")
def test_spearman_drop(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Rank correlation of the cohort's own probe of a quantity minus that of a probe of other cohorts, paired."""
    ecgfm_gate(measurements.transfer.spearman_drop(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("transfer.sensitivity")
def test_sensitivity_abroad(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Sensitivity of a probe of other cohorts, at a threshold that was chosen there."""
    ecgfm_gate(measurements.operating.sensitivity_abroad(ecgfm_run, ecgfm_encoder, ecgfm_case))
