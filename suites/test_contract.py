"""Is it an encoder at all? The preconditions of every other suite (docs/method.md#contract)."""

import pytest

from pytest_ecgfm.evaluations import contract
from pytest_ecgfm.evaluations.differences import Finding
from pytest_ecgfm.evaluations.hard_records import generated, hard_records
from pytest_ecgfm.measurements.contract import unchanged
from pytest_ecgfm.signals.records import LEADS

pytestmark = pytest.mark.ecgfm_contract


@pytest.mark.ecgfm_check("contract.repeatable")
def test_repeatable(ecgfm_encoder, ecgfm_sample, ecgfm_gate):
    """Two passes agree."""
    ecgfm_gate(contract.repeatable(ecgfm_encoder.embed_batch, ecgfm_sample))


@pytest.mark.ecgfm_check("contract.batch")
def test_batch(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """A record's embedding does not depend on the others of its batch, in batches as large as the run's."""
    sample = ecgfm_run.sample(ecgfm_case.cohort, ecgfm_run.settings.batch_size)
    ecgfm_gate(contract.batch_independent(ecgfm_encoder.embed_batch, sample))


@pytest.mark.ecgfm_check("contract.frozen")
def test_frozen(ecgfm_encoder, ecgfm_sample, ecgfm_gate):
    """Parameters and buffers are the same afterwards."""
    before = ecgfm_encoder.weights()
    ecgfm_encoder.embed_batch(ecgfm_sample)
    after = ecgfm_encoder.weights()
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    ecgfm_gate(Finding(len(changed), ", ".join(changed[:5])))


@pytest.mark.ecgfm_check("contract.lead_order")
def test_lead_order(ecgfm_encoder, ecgfm_sample, ecgfm_gate):
    """Leads are read by name, not by position."""
    ecgfm_gate(contract.lead_order(ecgfm_encoder.embed_batch, ecgfm_sample))


@pytest.mark.ecgfm_check("contract.declared_leads")
def test_declared_leads(ecgfm_encoder, ecgfm_sample, ecgfm_gate):
    """The declared leads are the ones that are read."""
    ecgfm_gate(contract.declared_leads(ecgfm_encoder.embed_batch, ecgfm_sample, ecgfm_encoder.card.leads))


@pytest.mark.ecgfm_check("contract.declared_seconds")
def test_declared_seconds(ecgfm_encoder, ecgfm_sample, ecgfm_gate):
    """All of the record that the card keeps is read."""
    card = ecgfm_encoder.card
    ecgfm_gate(contract.declared_seconds(ecgfm_encoder.embed_batch, ecgfm_sample, card.seconds, card.crop))


@pytest.mark.ecgfm_check("contract.hard_records")
def test_hard_records(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_sample, ecgfm_gate):
    """Flat, clipped, short and broken records are embedded, or refused by name; no two records get one embedding."""
    ordinary = ecgfm_run.sample(ecgfm_case.cohort, ecgfm_run.settings.batch_size)
    ecgfm_gate(hard_records(ecgfm_encoder.embed_batch, ecgfm_sample, ecgfm_encoder.prepared, ordinary))


@pytest.mark.ecgfm_check("contract.generated")
def test_generated(ecgfm_encoder, ecgfm_gate):
    """So are generated ones, of any rate, amplitude, lead order and batch."""
    ecgfm_gate(generated(ecgfm_encoder.embed_batch, LEADS))


@pytest.mark.ecgfm_check("contract.memory")
def test_memory(ecgfm_encoder, ecgfm_gate):
    """Nothing of a record stays in memory."""
    ecgfm_gate(contract.memory(ecgfm_encoder.embed_batch, LEADS))


@pytest.mark.ecgfm_check("contract.unchanged")
def test_unchanged(ecgfm_case, ecgfm_encoder, ecgfm_run, ecgfm_gate):
    """At the end of the run, an encoder says of a record what it said at the beginning."""
    ecgfm_gate(unchanged(ecgfm_run, ecgfm_encoder, ecgfm_case))
