"""Downstream performance: what a linear probe reads from the frozen embedding (docs/method.md#downstream)."""

import pytest

from pytest_ecgfm import measurements

pytestmark = pytest.mark.ecgfm_downstream


@pytest.mark.ecgfm_check("downstream.auroc")
def test_auroc(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """AUROC of the probe at one share of the training patients."""
    ecgfm_gate(measurements.downstream.auroc(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("downstream.auroc_gain")
def test_auroc_gain(ecgfm_case, ecgfm_encoder, ecgfm_reference, ecgfm_run, ecgfm_gate):
    """AUROC minus that of a reference encoder, paired on the same records."""
    ecgfm_gate(measurements.downstream.auroc_gain(ecgfm_run, ecgfm_encoder, ecgfm_reference, ecgfm_case))


@pytest.mark.ecgfm_check("downstream.auroc_change")
def test_auroc_change(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """AUROC is not worse than that of an earlier run, paired on the same records."""
    ecgfm_gate(measurements.downstream.auroc_change(ecgfm_run, ecgfm_encoder, ecgfm_case))
