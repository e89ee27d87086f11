"""Checks that a package or a conftest declares with `@ecg_check` (docs/checks.md)."""

import pytest


@pytest.mark.ecgfm_check("*")
def test_declared(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_declared, ecgfm_gate):
    """What its own title says."""
    ecgfm_gate(ecgfm_declared(ecgfm_run, ecgfm_encoder, ecgfm_case))
