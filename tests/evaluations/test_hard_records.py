"""Hard and generated records are what they are called, and what is said of them is judged."""

import re

import numpy as np
import pytest
from hypothesis import Phase, given, settings

from pytest_ecgfm.errors import NotAnEmbedding
from pytest_ecgfm.evaluations import hard_records as hard
from pytest_ecgfm.evaluations.hard_records import generated, hard_records
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.signals.records import LEADS, RecordBatch
from tests.broken_models import small_networks
from tests.memory_cohort import encoder_of


def test_one_answer_for_several_records_as_they_are():
    rng = np.random.default_rng(4)
    signals = rng.normal(size=(40, 12, 1000)).astype(np.float32)
    signals[20] = signals[21]  # a record that is there twice may be embedded twice alike
    many = RecordBatch(signals, LEADS, 100.0, tuple(f"r{i}" for i in range(40)))
    encoder = encoder_of(small_networks.Plain(), seconds=10)

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
    encoder = encoder_of(small_networks.Plain())
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
    encoder = encoder_of(small_networks.Plain(), normalize="zscore-per-lead")
    assert hard_records(encoder.embed_batch, sample, encoder.prepared) == Measured.exact(1.0)
    assert hard_records(lambda batch: np.ones((len(batch), 3), np.float32), sample, lambda batch: batch).value == 1.0


def test_the_note_tells_of_the_first_batch_that_was_wrong():
    asked = []

    def embed(batch):
        asked.append(batch)
        raise ValueError(f"no. {len(asked)}")

    found = generated(embed, LEADS, examples=5)
    assert found.value == 0.0 and len(asked) > 1 and found.note.endswith("ValueError: no. 1")
