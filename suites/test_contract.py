"""Is it an encoder at all? The preconditions of every other suite (docs/method.md#contract)."""

import pytest

from pytest_ecgfm import measurements

pytestmark = pytest.mark.ecgfm_contract


@pytest.mark.ecgfm_check("contract.repeatable")
def test_repeatable(ecgfm_encoder, ecgfm_sample, ecgfm_gate):
    """Two passes agree."""
    ecgfm_gate(measurements.contract.repeatable(ecgfm_encoder, ecgfm_sample))


@pytest.mark.ecgfm_check("contract.batch")
def test_batch(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """A record's embedding does not depend on the others of its batch, in batches as large as the run's."""
    sample = ecgfm_run.sample(ecgfm_case.cohort, ecgfm_run.settings.batch_size)
    ecgfm_gate(measurements.contract.batch_independent(ecgfm_encoder, sample))


@pytest.mark.ecgfm_check("contract.frozen")
def test_frozen(ecgfm_encoder, ecgfm_sample, ecgfm_gate):
    """Parameters and buffers are the same afterwards."""
    ecgfm_gate(measurements.contract.frozen(ecgfm_encoder, ecgfm_sample))


@pytest.mark.ecgfm_check("contract.lead_order")
def test_lead_order(ecgfm_encoder, ecgfm_sample, ecgfm_gate):
    """Leads are read by name, not by position."""
    ecgfm_gate(measurements.contract.lead_order(ecgfm_encoder, ecgfm_sample))


@pytest.mark.ecgfm_check("contract.declared_leads")
def test_declared_leads(ecgfm_encoder, ecgfm_sample, ecgfm_gate):
    """The declared leads are the ones that are read."""
    ecgfm_gate(measurements.contract.declared_leads(ecgfm_encoder, ecgfm_sample))


@pytest.mark.ecgfm_check("contract.declared_seconds")
def test_declared_seconds(ecgfm_encoder, ecgfm_sample, ecgfm_gate):
    """All of the record that the card keeps is read."""
    ecgfm_gate(measurements.contract.declared_seconds(ecgfm_encoder, ecgfm_sample))


@pytest.mark.ecgfm_check("contract.hard_records")
def test_hard_records(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_sample, ecgfm_gate):
    """Flat, clipped, short and broken records are embedded, or refused by name; no two records get one embedding."""
    ordinary = ecgfm_run.sample(ecgfm_case.cohort, ecgfm_run.settings.batch_size)
    ecgfm_gate(measurements.contract.unusual(ecgfm_encoder, ecgfm_sample, ordinary))


@pytest.mark.ecgfm_check("contract.generated")
def test_generated(ecgfm_encoder, ecgfm_gate):
    """So are generated ones, of any rate, amplitude, lead order and batch."""
    ecgfm_gate(measurements.contract.generated(ecgfm_encoder))


@pytest.mark.ecgfm_check("contract.memory")
def test_memory(ecgfm_encoder, ecgfm_gate):
    """Nothing of a record stays in memory."""
    ecgfm_gate(measurements.contract.memory(ecgfm_encoder))


@pytest.mark.ecgfm_check("contract.unchanged")
def test_unchanged(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """At the end of the run, an encoder says of a record what it said at the beginning."""
    ecgfm_gate(measurements.contract.unchanged(ecgfm_run, ecgfm_encoder, ecgfm_case))
