"""Downstream performance: what a linear probe reads from the frozen embedding (docs/method.md#downstream)."""

import pytest

from pytest_ecgfm import measurements

pytestmark = pytest.mark.ecgfm_downstream


@pytest.mark.ecgfm_check("downstream.auroc")
def test_auroc(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """AUROC of the probe at one share of the training patients."""
    ecgfm_gate(measurements.downstream.over_seeds(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("downstream.auroc_gain")
def test_auroc_gain(ecgfm_case, ecgfm_encoder, ecgfm_reference, ecgfm_run, ecgfm_gate):
    """AUROC minus that of a reference encoder, paired on the same records."""
    ecgfm_gate(measurements.downstream.gain(ecgfm_run, ecgfm_encoder, ecgfm_reference, ecgfm_case))


@pytest.mark.ecgfm_check("downstream.auroc_change")
def test_auroc_change(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """AUROC is not worse than that of an earlier run, paired on the same records."""
    ecgfm_gate(measurements.downstream.change_since(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("downstream.macro_auroc")
def test_macro_auroc(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Mean AUROC over a named set of labels, its rare labels left out and named."""
    ecgfm_gate(measurements.downstream.macro_auroc(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("downstream.r2")
def test_r2(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """R2 of a ridge probe of a quantity at one share of the training patients."""
    ecgfm_gate(measurements.downstream.over_seeds(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("downstream.r2_gain")
def test_r2_gain(ecgfm_case, ecgfm_encoder, ecgfm_reference, ecgfm_run, ecgfm_gate):
    """R2 minus that of a reference encoder, paired on the same records."""
    ecgfm_gate(measurements.downstream.gain(ecgfm_run, ecgfm_encoder, ecgfm_reference, ecgfm_case))


@pytest.mark.ecgfm_check("downstream.r2_change")
def test_r2_change(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """R2 is not worse than that of an earlier run, paired on the same records."""
    ecgfm_gate(measurements.downstream.change_since(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("downstream.sensitivity")
def test_sensitivity(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """Sensitivity at a threshold that was chosen on the training patients alone."""
    ecgfm_gate(measurements.operating.sensitivity(ecgfm_run, ecgfm_encoder, ecgfm_case))
