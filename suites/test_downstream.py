"""Downstream performance: what a linear probe reads from the frozen embedding (docs/method.md#downstream)."""

import pytest

pytestmark = pytest.mark.ecgfm_downstream


@pytest.mark.ecgfm_check("downstream.auroc")
def test_auroc(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """AUROC of the probe at one share of the training patients."""
    found = ecgfm_run.downstream(ecgfm_encoder, ecgfm_case)
    ecgfm_gate(found.auroc())


@pytest.mark.ecgfm_check("downstream.auroc_gain")
def test_auroc_gain(ecgfm_case, ecgfm_encoder, ecgfm_reference, ecgfm_run, ecgfm_gate):
    """AUROC minus that of a reference encoder, paired on the same records."""
    found = ecgfm_run.downstream(ecgfm_encoder, ecgfm_case)
    ecgfm_gate(found.minus(ecgfm_run.downstream(ecgfm_reference, ecgfm_case)))
