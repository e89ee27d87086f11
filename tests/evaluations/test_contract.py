"""Each check of the contract passes an honest encoder, and fails the one that is broken in its way, and only that."""

import re
import sys

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cohorts.synthetic import load_embedded
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.errors import NotAnEmbedding
from pytest_ecgfm.evaluations import contract
from pytest_ecgfm.evaluations import hard_records as hard
from pytest_ecgfm.evaluations.hard_records import generated, hard_records
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.results.checks import judge
from pytest_ecgfm.results.profiles import load_profile
from pytest_ecgfm.signals.records import LEADS, RecordBatch
from tests import broken_models

DECLARED = {
    "repeatable": broken_models.Random,
    "batch": broken_models.BatchCoupled,
    "frozen": broken_models.Drifting,
    "frozen, in a buffer that is not saved": broken_models.HiddenDrift,
    "declared_leads": broken_models.OneLead,
}


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(3)
    signals = rng.normal(size=(6, 12, 1000)).cumsum(-1).astype(np.float32) / 30
    return RecordBatch(signals, LEADS, 100.0, tuple(f"r{i}" for i in range(6)))


def encoder_of(model, **fields):
    return Encoder(parse_card("m", {"sampling_rate": 100, "seconds": 5, **fields}, where=""), model)


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
    found, findings = outcomes(encoder_of(broken_models.Plain()), sample)
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
    found, findings = outcomes(encoder_of(broken_models.Fragile()), sample)
    assert {check for check, outcome in found.items() if outcome == "fail"} == {"hard_records", "generated"}
    assert "flat: ZeroDivisionError: flat lead" in findings["hard_records"].note
    broken = findings["hard_records"].note.count("ZeroDivisionError")
    assert findings["hard_records"].value == pytest.approx(1 - broken / 10)
    assert re.match(r"[123] x \d{3,5} samples at \d{3,4} Hz: ZeroDivisionError", findings["generated"].note)


def test_an_embedding_that_is_no_number_is_no_refusal(sample):
    found, findings = outcomes(encoder_of(broken_models.NotANumber()), sample)
    assert {check for check, outcome in found.items() if outcome == "fail"} == {"hard_records", "generated"}
    assert "flat: model 'm': the embedding of record r2 (flat) is not finite" in findings["hard_records"].note


def test_an_encoder_that_writes_into_its_input(sample):
    before = sample.signals.copy()
    # The card asks for what the sample is, so nothing is resampled or cropped.
    found, findings = outcomes(encoder_of(broken_models.Overwriting(), seconds=10), sample)
    assert set(found.values()) == {"pass"}, findings
    np.testing.assert_array_equal(sample.signals, before)


def test_one_record_will_do(sample):
    found, findings = outcomes(encoder_of(broken_models.Plain()), sample.rows([0]))
    assert set(found.values()) == {"pass"}, findings


def test_an_encoder_that_reads_leads_by_position(sample):
    model = broken_models.ByPosition()
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
    found = contract.batch_independent(encoder_of(broken_models.BatchCoupled()).embed_batch, sample)
    assert found.value > 0.02
    assert "identifier" not in found.note


def test_a_lead_that_is_read_and_not_declared(sample):
    embed = encoder_of(broken_models.Plain()).embed_batch
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


def test_one_answer_for_several_records_as_they_are():
    rng = np.random.default_rng(4)
    signals = rng.normal(size=(40, 12, 1000)).astype(np.float32)
    signals[20] = signals[21]  # a record that is there twice may be embedded twice alike
    many = RecordBatch(signals, LEADS, 100.0, tuple(f"r{i}" for i in range(40)))
    encoder = encoder_of(broken_models.Plain(), seconds=10)

    def of_a_kind(batch):
        rows = encoder.embed_batch(batch)
        return np.where(rows[:, :1] > np.median(encoder.embed_batch(many)[:, 0]), np.float32(1), rows)

    def coinciding(batch):
        # Two records by chance.
        rows = encoder.embed_batch(batch)
        if len(rows) == len(many):
            rows[30] = rows[31]
        return rows

    for honest in (encoder.embed_batch, coinciding):
        assert hard_records(honest, many.rows(range(8)), encoder.prepared, many) == Measured.exact(1.0)
    found = hard_records(of_a_kind, many.rows(range(8)), encoder.prepared, many)
    assert found.value < 1
    assert re.search(r"as they are: different records get the same embedding: r\d+, r\d+, r\d+", found.note)


def test_a_refusal_that_names_the_record_is_clear(sample):
    encoder = encoder_of(broken_models.Plain())
    found = hard_records(encoder.embed_batch, sample, encoder.prepared)
    assert found == Measured.exact(1.0)


def test_generated_records_are_the_same_each_time():
    def seen():
        batches = []

        def embed(batch):
            batches.append((batch.signals.tobytes(), batch.leads, batch.sampling_rate))
            return np.ones((len(batch), 2), np.float32)

        generated(embed, LEADS, examples=10)
        return batches

    first = seen()
    assert first == seen()
    assert len({rate for _, _, rate in first}) > 2


def test_hard_records_are_what_they_are_called(sample):
    asked = {}

    def embed(batch):
        if "(" in batch.records[0]:
            asked[batch.records[0].partition("(")[2][:-1]] = batch.signals[0]
        return np.ones((1, 2), np.float32)

    hard_records(embed, sample.rows([0]), lambda batch: batch)
    one = sample.signals[0]
    assert not asked.pop("flat").any()
    assert (asked.pop("constant") == np.float32(0.3)).all()
    for name, lead, value in (("one flat lead", 0, 0.0), ("a missing lead", 1, np.nan)):
        changed = asked.pop(name)
        np.testing.assert_array_equal(changed[lead], value)
        np.testing.assert_array_equal(np.delete(changed, lead, 0), np.delete(one, lead, 0))
    np.testing.assert_array_equal(asked.pop("clipped"), one.clip(-0.1, 0.1).astype(np.float32))
    spikes = asked.pop("spikes of 16 mV")
    assert (spikes[:, ::100] == 16).all() and ((spikes != one).sum(axis=1) <= 10).all()
    np.testing.assert_allclose(asked.pop("offset of 50 mV") - one, 50, atol=1e-5)
    np.testing.assert_array_equal(asked.pop("one second"), one[:, :100])
    minute = asked.pop("a minute")
    assert minute.shape == (12, 6000)
    np.testing.assert_array_equal(minute[:, 5000:6000], one)
    missing = asked.pop("a missing sample")
    assert np.argwhere(np.isnan(missing)).tolist() == [[lead, 50] for lead in range(12)]
    assert not asked


def test_generated_records_vary_in_all_that_is_told():
    seen = {name: set() for name in ("rate", "seconds", "records", "size", "offset", "constant", "leads", "order")}

    @settings(derandomize=True, max_examples=150, deadline=None, database=None, phases=[Phase.generate])
    @given(hard._records(LEADS))
    def look(batch):
        seen["rate"].add(batch.sampling_rate)
        seen["seconds"].add(round(batch.signals.shape[-1] / batch.sampling_rate, 2))
        seen["records"].add(len(batch))
        seen["order"].add(batch.leads)
        first = batch.signals[0]
        constant = (first == first[:, :1]).all(axis=1) | np.isnan(first).all(axis=1)
        seen["constant"].update(str(value) for value in first[constant, 0])
        seen["leads"].update(np.flatnonzero(constant).tolist())
        if not constant.any():
            # What varies begins near the offset, and its largest part is the size.
            offset = float(5 * np.rint(np.median(first[:, 0]) / 5))
            seen["offset"].add(offset)
            seen["size"].add(float(f"{np.abs(batch.signals - offset).max():.3g}"))

    look()
    assert seen["rate"] == {100.0, 250.0, 257.0, 360.0, 400.0, 500.0, 1000.0}
    assert seen["seconds"] == {5.0, 7.3, 10.0, 10.24}
    assert seen["records"] == {1, 2, 3} and seen["leads"] == set(range(12))
    assert seen["size"] == {0.001, 0.1, 1.0, 10.0} and seen["offset"] == {-5.0, 0.0, 5.0}
    assert seen["constant"] == {"0.0", "1.0", "nan"} and len(seen["order"]) > 20


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


def zeros(batch):
    return np.where(np.abs(batch.signals).max() < 5, batch.signals.mean(axis=-1), 0.0)


def the_mean(batch):
    return np.where(np.abs(batch.signals).max() < 5, batch.signals.mean(axis=-1), 0.0) + 3.0


def nearly_zeros(batch):
    noise = np.random.default_rng(int(np.nansum(np.abs(batch.signals)))).normal(size=(len(batch), 12)) * 1e-9
    return zeros(batch) + noise


def an_unseen_place(batch):
    """As zeros, at a place that no other record has: one of the dimensions says that something is odd."""
    odd = np.abs(batch.signals).max() >= 5
    return np.concatenate([zeros(batch), np.full((len(batch), 1), float(odd))], axis=1)


@pytest.mark.parametrize("embed", [zeros, the_mean, nearly_zeros, an_unseen_place])
def test_one_embedding_for_all_that_is_disliked_is_none(sample, embed):
    found = hard_records(lambda batch: embed(batch).astype(np.float32), sample, lambda batch: batch)
    assert "spikes of 16 mV: two different records get the same embedding" in found.note
    assert "offset of 50 mV: two different records get the same embedding" in found.note
    assert found.value == pytest.approx(0.8)


def test_records_that_are_told_apart_are_asked_where_most_of_the_sample_are_one(sample):
    def embed(batch):
        known = [name in ("r4", "r1") or "(" in name for name in batch.records]
        return np.where(np.array(known)[:, None], zeros(batch), 7.0).astype(np.float32)

    found = hard_records(embed, sample, lambda batch: batch)
    assert "spikes of 16 mV: two different records get the same embedding" in found.note


def test_what_is_said_of_every_record_is_no_finding_about_one(sample):
    for ask in (
        lambda embed: hard_records(embed, sample, lambda batch: batch),
        lambda embed: generated(embed, LEADS, examples=3),
    ):
        with pytest.raises(NotAnEmbedding, match=r"returned a dict with pooler_output \(\d, 12\)"):
            ask(encoder_of(lambda x: {"pooler_output": x.mean(-1)}).embed_batch)


def test_what_is_no_signal_any_more_may_get_one_embedding(sample):
    # Flat and constant records are the same for an encoder that takes each lead by its own spread.
    encoder = encoder_of(broken_models.Plain(), normalize="zscore-per-lead")
    assert hard_records(encoder.embed_batch, sample, encoder.prepared) == Measured.exact(1.0)
    assert hard_records(lambda batch: np.ones((len(batch), 3), np.float32), sample, lambda batch: batch).value == 1.0


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
    found, findings = outcomes(encoder_of(broken_models.Plain()), batch)
    assert set(found.values()) == {"pass"}, findings


def test_the_note_tells_of_the_first_batch_that_was_wrong():
    asked = []

    def embed(batch):
        asked.append(batch)
        raise ValueError(f"no. {len(asked)}")

    found = generated(embed, LEADS, examples=5)
    assert found.value == 0.0 and len(asked) > 1 and found.note.endswith("ValueError: no. 1")


def test_what_is_made_once_but_late_is_no_leak():
    held, calls = [], []

    def embed(batch):
        calls.append(1)
        if len(calls) == 4:
            held.append(np.ones(10 * batch.signals.size))
        return batch.signals.mean(axis=-1)

    assert contract.memory(embed, LEADS).value == 0.0

    def leaking(batch):
        held.append(batch.signals[:, :1].copy())
        return embed(batch)

    assert contract.memory(leaking, LEADS).value == pytest.approx(1 / 12, abs=0.002)


@pytest.mark.parametrize("kept", ["nothing", "tensors", "arrays", "cycles", "once"])
def test_what_stays_in_memory_is_found(kept):
    held = []

    def model(x):
        if kept == "tensors":
            held.append(x[:, :1].clone())
        elif kept == "arrays":
            held.append(x[:, :1].numpy().copy())
        elif kept == "once" and not held:
            held.append(x.numpy().copy())
        elif kept == "cycles":
            # Nothing holds it but itself: the collector's work, and no leak.
            cycle = [x.numpy().copy()]
            cycle.append(cycle)
        return x.mean(-1)

    found = contract.memory(encoder_of(model, normalize="none").embed_batch, LEADS).value
    # One lead of twelve, at a fifth of the rate and half the length.
    wanted = 1 / 12 / 5 / 2 if kept in ("tensors", "arrays") else 0.0
    assert found == pytest.approx(wanted, abs=0.002) and found == round(found, 3)


def test_what_stays_in_memory_is_found_where_there_is_no_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    held = []

    def embed(batch):
        held.append(batch.signals[:, :6].copy())
        return np.ones((len(batch), 2), np.float32)

    assert contract.memory(embed, LEADS).value == pytest.approx(0.5, abs=0.002)


def test_tracing_that_somebody_else_began_goes_on():
    import tracemalloc

    tracemalloc.start()
    try:
        contract.memory(encoder_of(lambda x: x.mean(-1)).embed_batch, LEADS)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
