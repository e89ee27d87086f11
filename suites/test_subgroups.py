"""Subgroups: whether the probe that serves everybody serves each group of patients (docs/method.md#subgroups)."""

import pytest

from pytest_ecgfm import measurements

pytestmark = pytest.mark.ecgfm_subgroups


@pytest.mark.ecgfm_check("subgroups.worst")
def test_worst_group(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """AUROC in the group of patients where it is lowest."""
    ecgfm_gate(measurements.subgroups.worst(ecgfm_run, ecgfm_encoder, ecgfm_case))


@pytest.mark.ecgfm_check("subgroups.gap")
def test_gap_of_groups(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """No group's AUROC lies far below that of all others."""
    ecgfm_gate(measurements.subgroups.gap(ecgfm_run, ecgfm_encoder, ecgfm_case))
