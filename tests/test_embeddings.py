import json

import numpy as np
import pandas as pd
import pytest
import torch

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.embeddings import EmbeddingCache, embed_cohort
from pytest_ecgfm.encoders.base import Encoder, choose_device
from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.records import LEADS, Recording


class MemoryCohort(Cohort):
    """Records of two lengths, in memory."""

    def __init__(self, n=40, *, salt=0, patients=None):
        rng = np.random.default_rng(salt)
        index = pd.Index([f"r{i}" for i in range(n)], dtype=str)
        self.signals = {
            name: rng.normal(size=(12, 500 if i % 3 else 700)).astype(np.float32) for i, name in enumerate(index)
        }
        labels = pd.DataFrame({label: rng.random(n) < 0.25 for label in LABELS}, index=index).astype("boolean")
        table = pd.DataFrame(
            {"patient": patients or list(index), "age": 50.0, "sex": "F", "fold": pd.array([pd.NA] * n, "Int64")},
            index=index,
        )
        super().__init__(
            "memory", continent="Europe", table=table, labels=labels, sampling_rate=100, has_patients=bool(patients)
        )

    def _read(self, record):
        return Recording(self.signals[record], LEADS, 100.0)

    def _content_digest(self, records):
        import hashlib

        return hashlib.sha256(b"".join(self.signals[r].tobytes() for r in records)).hexdigest()


def encoder_of(model, **fields):
    return Encoder(parse_card("m", {"sampling_rate": 100, "seconds": 5, **fields}, where=""), model)


def means(x):
    return x.mean(dim=-1)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_rows_are_in_the_cohorts_order_whatever_the_batch(batch_size):
    cohort = MemoryCohort()
    seen = []
    out = embed_cohort(encoder_of(means), cohort, batch_size=batch_size, progress=lambda *at: seen.append(at))
    expected = np.stack([cohort.signals[record][:, :500].mean(axis=-1) for record in cohort.records])
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert seen[-1] == (40, 40)


def test_a_batch_holds_records_of_one_length_and_few_are_kept_waiting():
    cohort = MemoryCohort(n=30)
    batches = list(cohort.batches(4))
    assert sorted(record for batch in batches for record in batch.records) == sorted(cohort.records)
    assert {batch.signals.shape[-1] for batch in batches} == {500, 700}
    assert max(len(batch) for batch in batches) == 4


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: x, r"embedding.shape=\(64, 12, 500\), but should be \(64, dimensions\)"),
        (lambda x: x.mean(dim=(0, 2)), r"embedding.shape=\(12,\)"),
        (lambda x: "text", "returned a str, but should return an array"),
        (lambda x: np.zeros((len(x), 0)), r"embedding.shape=\(64, 0\)"),
        (lambda x: np.where(np.arange(len(x)) == 3, np.nan, 1.0)[:, None], "the embedding of record r3 is not finite"),
    ],
)
def test_what_is_no_embedding_is_an_error_that_names_cohort_and_model(model, message):
    cohort = MemoryCohort(n=100)
    cohort.signals = {name: signal[:, :500] for name, signal in cohort.signals.items()}
    with pytest.raises(EcgfmError, match=r"^cohort memory: .*model 'm': .*" + message):
        embed_cohort(encoder_of(model), cohort)


def test_dimensions_must_stay_the_same():
    encoder = encoder_of(lambda x: np.ones((len(x), len(x))))
    with pytest.raises(EcgfmError, match="dimensions, but should be"):
        embed_cohort(encoder, MemoryCohort(), batch_size=7)
    with pytest.raises(EcgfmError, match="12 dimensions, but should be 3"):
        embed_cohort(encoder_of(means, dimensions=3), MemoryCohort())


def test_what_is_no_model_is_an_error():
    with pytest.raises(EcgfmError, match=r"model 'm' is a int, but should be a torch.nn.Module, a callable"):
        encoder_of(3)


class Doubled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(12, 5)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.layer(x.mean(-1)))


def test_a_torch_module_is_frozen_and_in_eval_mode():
    module = Doubled().train()
    encoder = encoder_of(module)
    signal = np.random.default_rng(0).normal(size=(4, 12, 500)).astype(np.float32)
    first = encoder.embed(signal, sampling_rate=100, leads=LEADS)
    np.testing.assert_array_equal(first, encoder.embed(signal, sampling_rate=100, leads=LEADS))
    assert not any(parameter.requires_grad for parameter in module.parameters())
    with torch.no_grad():
        expected = module.layer(torch.from_numpy(signal).mean(-1)).numpy()
    np.testing.assert_allclose(first, expected, atol=1e-6)


def test_an_object_with_embed_and_the_kinds_of_input():
    class Thing:
        def embed(self, batch):
            return batch.mean(-1)

    signal = np.random.default_rng(0).normal(size=(4, 12, 500)).astype(np.float32)
    for kind in ("tensor", "array"):
        out = encoder_of(Thing(), input=kind).embed(signal, sampling_rate=100, leads=LEADS)
        np.testing.assert_allclose(out, signal.mean(-1), atol=1e-6)


def test_fingerprints_tell_weights_cards_and_versions_apart():
    torch.manual_seed(0)
    module = Doubled()
    same = Doubled()
    same.load_state_dict(module.state_dict())
    other = Doubled()
    first = encoder_of(module, version="1").fingerprint
    assert first == encoder_of(same, version="1").fingerprint
    assert first != encoder_of(other, version="1").fingerprint
    assert first != encoder_of(same, version="2").fingerprint
    assert first != encoder_of(same, version="1", normalize="zscore").fingerprint
    assert encoder_of(module).fingerprint is None
    assert load_encoder("demographics").fingerprint is not None


def test_the_cache_serves_what_it_was_given_and_nothing_foreign(tmp_path):
    calls = []

    def get(cohort, version="1", run="a"):
        encoder = encoder_of(means, version=version)

        def make():
            calls.append(version)
            return embed_cohort(encoder, cohort)

        return EmbeddingCache(tmp_path, run).get(encoder, cohort, make)

    first = get(MemoryCohort())
    np.testing.assert_array_equal(get(MemoryCohort()), first)
    assert len(calls) == 1
    assert not np.array_equal(get(MemoryCohort(salt=1)), first)
    get(MemoryCohort(), version="2")
    get(MemoryCohort(n=20))
    assert len(calls) == 4
    # A model that cannot be told from another is kept for its run only.
    get(MemoryCohort(), version="", run="a")
    get(MemoryCohort(), version="", run="a")
    get(MemoryCohort(), version="", run="b")
    assert len(calls) == 6


@pytest.mark.parametrize("damage", ["truncate", "flip", "note", "foreign"])
def test_a_damaged_cache_is_made_again(tmp_path, damage):
    cohort, encoder = MemoryCohort(), encoder_of(means, version="1")
    cache = EmbeddingCache(tmp_path, "a")
    first = cache.get(encoder, cohort, lambda: embed_cohort(encoder, cohort))
    (path,) = cache.folder.glob("*.npy")
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[:-8])
    elif damage == "flip":
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "note":
        path.with_suffix(".json").write_text("{")
    else:
        note = json.loads(path.with_suffix(".json").read_text())
        path.with_suffix(".json").write_text(json.dumps({**note, "key": "0" * 32}))
    made = []
    again = cache.get(encoder, cohort, lambda: made.append(1) or embed_cohort(encoder, cohort))
    assert made
    np.testing.assert_array_equal(again, first)
    assert not list(cache.folder.glob("*.tmp*"))


def test_ages_are_part_of_the_caches_key(tmp_path):
    cohort, encoder = MemoryCohort(), encoder_of(means, version="1")
    cache, made = EmbeddingCache(tmp_path, "a"), []
    for age in (50.0, 50.0, 60.0):
        cohort.table["age"] = age
        cache.get(encoder, cohort, lambda: made.append(1) or embed_cohort(encoder, cohort))
    assert len(made) == 2


def test_a_models_own_error_is_not_the_caches(tmp_path):
    def make():
        raise FileNotFoundError("vocabulary.txt")

    with pytest.raises(FileNotFoundError, match=r"vocabulary\.txt"):
        EmbeddingCache(tmp_path, "a").get(encoder_of(means, version="1"), MemoryCohort(), make)


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "embeddings").write_text("a file where a folder should be")
    cohort, encoder = MemoryCohort(), encoder_of(means, version="1")
    with pytest.raises(EcgfmError, match="cannot write the cache folder"):
        EmbeddingCache(tmp_path, "a").get(encoder, cohort, lambda: embed_cohort(encoder, cohort))


def test_a_limit_takes_whole_patients_and_keeps_the_labels_shares():
    cohort = MemoryCohort(n=400, patients=[f"p{i // 2}" for i in range(400)])
    part = limited(cohort, 200, seed=1)
    assert 190 <= len(part) <= 200
    assert (part.patients.value_counts() == 2).all()
    for label in LABELS:
        assert float(part.labels[label].mean()) == pytest.approx(float(cohort.labels[label].mean()), abs=0.06)
    assert list(part.records) == list(limited(cohort, 200, seed=1).records)
    assert list(part.records) != list(limited(cohort, 200, seed=2).records)
    assert part.digest != cohort.digest
    assert limited(cohort, 1000) is cohort
    assert len(cohort) == 400


def test_devices():
    assert choose_device("cpu") == "cpu"
    with pytest.raises(EcgfmError, match="not a device"):
        choose_device("cpu:1")
    with pytest.raises(EcgfmError, match=r"this machine has \d+ cuda device"):
        choose_device("cuda:99")


def test_an_unknown_encoder_offers_the_nearest():
    with pytest.raises(EcgfmError, match="Did you mean 'demographics'"):
        load_encoder("demografics")
