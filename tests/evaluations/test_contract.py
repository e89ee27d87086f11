"""Each check of the contract passes an honest encoder, and fails the one that is broken in its way, and only that."""

import re

import numpy as np
import pytest
import torch

from pytest_ecgfm.cohorts.synthetic import load_embedded
from pytest_ecgfm.evaluations import contract
from pytest_ecgfm.evaluations.hard_records import generated, hard_records
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.results.checks import judge
from pytest_ecgfm.results.profiles import load_profile
from pytest_ecgfm.signals.records import LEADS, RecordBatch
from tests.broken_models import small_networks
from tests.memory_cohort import encoder_of

DECLARED = {
    "repeatable": small_networks.Random,
    "batch": small_networks.BatchCoupled,
    "frozen": small_networks.Drifting,
    "frozen, in a buffer that is not saved": small_networks.HiddenDrift,
    "declared_leads": small_networks.OneLead,
}


def frozen(encoder, batch):
    before = encoder.weights()
    encoder.embed_batch(batch)
    return Measured.exact(sum(before[name] != value for name, value in encoder.weights().items()))


def outcomes(encoder, batch, leads=LEADS):
    embed = encoder.embed_batch
    found = {
        "frozen": frozen(encoder, batch),
        "repeatable": contract.repeatable(embed, batch),
        "batch": contract.batch_independent(embed, batch),
        "lead_order": contract.lead_order(embed, batch),
        "declared_leads": contract.declared_leads(embed, batch, encoder.card.leads),
        "declared_seconds": contract.declared_seconds(embed, batch, encoder.card.seconds, encoder.card.crop),
        "hard_records": hard_records(embed, batch, encoder.prepared),
        "generated": generated(embed, leads, examples=15),
    }
    bounds = {rule.name: rule for rule in load_profile("default").check}
    from pytest_ecgfm.results.checks import Threshold

    out = {}
    for name, finding in found.items():
        rule = bounds[f"contract.{name}"]
        sense = "minimum" if rule.maximum is None else "maximum"
        bound = rule.minimum if rule.maximum is None else rule.maximum
        out[name] = judge(finding.value, finding.value, finding.value, Threshold(bound, sense))[0]
    return out, found


def test_an_honest_encoder_passes_everything(sample):
    found, findings = outcomes(encoder_of(small_networks.Plain()), sample)
    assert set(found.values()) == {"pass"}, findings


@pytest.mark.parametrize("how", DECLARED)
def test_a_broken_encoder_fails_its_check(sample, how):
    found, findings = outcomes(encoder_of(DECLARED[how]()), sample)
    name = how.partition(",")[0]
    failed = {check for check, outcome in found.items() if outcome == "fail"}
    # What is random, or coupled to its batch, is so for every way of asking.
    also = {
        "repeatable": {"batch", "lead_order", "declared_leads", "generated"},
        "batch": {"generated"},
    }.get(name, set())
    assert name in failed, findings
    assert failed <= {name} | also, findings


def test_an_encoder_that_breaks_on_flat_leads(sample):
    found, findings = outcomes(encoder_of(small_networks.Fragile()), sample)
    assert {check for check, outcome in found.items() if outcome == "fail"} == {"hard_records", "generated"}
    assert "flat: ZeroDivisionError: flat lead" in findings["hard_records"].note
    broken = findings["hard_records"].note.count("ZeroDivisionError")
    assert findings["hard_records"].value == pytest.approx(1 - broken / 10)
    assert re.match(r"[123] x \d{3,5} samples at \d{3,4} Hz: ZeroDivisionError", findings["generated"].note)


def test_an_embedding_that_is_no_number_is_no_refusal(sample):
    found, findings = outcomes(encoder_of(small_networks.NotANumber()), sample)
    assert {check for check, outcome in found.items() if outcome == "fail"} == {"hard_records", "generated"}
    assert "flat: model 'm': the embedding of record r2 (flat) is not finite" in findings["hard_records"].note


def test_an_encoder_that_writes_into_its_input(sample):
    before = sample.signals.copy()
    # The card asks for what the sample is, so nothing is resampled or cropped.
    found, findings = outcomes(encoder_of(small_networks.Overwriting(), seconds=10), sample)
    assert set(found.values()) == {"pass"}, findings
    np.testing.assert_array_equal(sample.signals, before)


def test_one_record_will_do(sample):
    found, findings = outcomes(encoder_of(small_networks.Plain()), sample.rows([0]))
    assert set(found.values()) == {"pass"}, findings


def test_an_encoder_that_reads_leads_by_position(sample):
    model = small_networks.ByPosition()
    found = contract.lead_order(model.embed, sample)
    assert found.value > 0.1
    assert found.note.startswith("record r")


@pytest.mark.parametrize(
    "read",
    [
        lambda name: float(name[-1]),
        lambda name: float(name.startswith("r")),
    ],
    ids=["digits", "prefix of the cohort"],
)
def test_an_encoder_that_reads_identifiers(sample, read):
    def embed(batch):
        rows = np.concatenate([batch.signals.std(-1), np.array([[read(name)] for name in batch.records])], axis=1)
        return rows.astype(np.float32)

    found = contract.batch_independent(embed, sample)
    assert found.value > 0.02
    assert found.note.endswith("under another identifier")


def test_what_depends_on_the_batch_is_not_said_to_read_identifiers(sample):
    found = contract.batch_independent(encoder_of(small_networks.BatchCoupled()).embed_batch, sample)
    assert found.value > 0.02
    assert "identifier" not in found.note


def test_a_lead_that_is_read_and_not_declared(sample):
    embed = encoder_of(small_networks.Plain()).embed_batch
    found = contract.declared_leads(embed, sample, LEADS[:11])
    assert found.value == pytest.approx(11 / 12)
    assert found.note == "V6 is read, but not declared"


@pytest.mark.parametrize("seconds, crop, unread", [(5, "start", ""), (6, "center", ""), (10, "start", "5 to 7.5 s")])
def test_seconds_that_are_kept_and_not_read(sample, seconds, crop, unread):
    first = 200 if crop == "center" else 0

    def embed(batch):
        window = batch.signals[..., first : first + 100 * min(seconds, 6)]
        return window[..., : 500 if seconds == 10 else None].std(-1)

    found = contract.declared_seconds(embed, sample, seconds, crop)
    assert found.value == (1.0 if not unread else 0.5)
    assert unread in found.note
    assert contract.declared_seconds(embed, sample.rows([0]), seconds, crop).value == found.value


def test_records_shorter_than_what_the_card_declares_are_not_asked(sample):
    found = contract.declared_seconds(lambda batch: batch.signals.mean(axis=2), sample, 1000.0)
    assert np.isnan(found.value) and found.missing.startswith("not applicable: the records last ")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_lead_is_taken_from_the_record_before_or_backwards(sample, count):
    seen = []

    def embed(batch):
        seen.append(batch.signals)
        return batch.signals.mean(axis=-1)

    batch = sample.rows(range(count))
    contract.declared_leads(embed, batch, LEADS)
    clean, *changed = seen
    assert len(changed) == 12
    for number, signals in enumerate(changed):
        wanted = np.roll(clean[:, number], 1, axis=0) if count > 1 else clean[:, number, ::-1]
        np.testing.assert_array_equal(signals[:, number], wanted)
        np.testing.assert_array_equal(np.delete(signals, number, 1), np.delete(clean, number, 1))


def test_a_difference_is_seen_from_the_distance_between_records(sample):
    rows = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]], np.float32)
    moved = rows + np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.0], [0.0, 0.0]], np.float32)
    answers = iter([rows, moved, rows, rows])
    batch = sample.rows(range(4))
    # z-scores are 2 a unit, and the median of the six distances is 2: four sides of 2, two diagonals of 2.8.
    found = contract.repeatable(lambda _: next(answers), batch)
    assert found.value == pytest.approx(0.5) and found.note == "record r1"
    assert contract.repeatable(lambda _: next(answers), batch) == Measured.exact(0.0)


def test_a_batch_that_is_looked_at_where_it_is_large_is_found(sample):
    many = RecordBatch(
        np.tile(sample.signals, (4, 1, 1)) * np.linspace(1, 2, 24)[:, None, None],
        LEADS,
        100.0,
        tuple(map(str, range(24))),
    )

    def embed(batch):
        rows = batch.signals.mean(axis=-1)
        return rows - rows.mean(axis=0) if len(batch) >= 12 else rows

    assert contract.batch_independent(embed, many.rows(range(6))).value == 0.0
    assert contract.batch_independent(embed, many).value > 0.02


@pytest.mark.parametrize("leads", [("I",), ("II", "V1"), ("I", "II", "V2")])
def test_few_leads_will_do(sample, leads):
    rows = [LEADS.index(lead) for lead in leads]
    batch = RecordBatch(sample.signals[:, rows], leads, 100.0, sample.records)
    encoder = encoder_of(lambda x: torch.cat([x.mean(-1), x.std(-1), x.amax(-1)], dim=1), leads=" ".join(leads))
    found, findings = outcomes(encoder, batch, leads)
    assert set(found.values()) == {"pass"}, findings


def test_the_embedded_cohorts_records_will_do():
    cohort = load_embedded("synthetic-europe")
    batch = next(cohort.batches(4, list(cohort.records[:4])))
    found, findings = outcomes(encoder_of(small_networks.Plain()), batch)
    assert set(found.values()) == {"pass"}, findings
