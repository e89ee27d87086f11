import errno
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.embeddings import EmbeddingCache, Part, embed_cohort, embed_stretches
from pytest_ecgfm.encoders.base import Encoder, choose_device
from pytest_ecgfm.encoders.frozen import Frozen
from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.errors import EcgfmError, NotAnEmbedding
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


@pytest.mark.parametrize("concurrent", [False, True])
def test_only_a_model_that_says_so_is_called_from_several_threads(concurrent):
    class Model:
        def __init__(self):
            self.concurrent, self.inside, self.most, self.threads = concurrent, 0, 0, set()
            self.lock, self.met = threading.Lock(), threading.Barrier(2)

        def embed(self, batch):
            self.threads.add(threading.current_thread())
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            if concurrent:
                self.met.wait(30)  # goes on only when another thread is here too
            with self.lock:
                self.inside -= 1
            return batch.signals.mean(axis=-1)

    model, cohort = Model(), MemoryCohort(n=32)
    encoder = encoder_of(model, input="records")
    batches = list(cohort.batches(4, list(cohort.records)[:32]))
    if len(batches) % 2:
        batches = batches[:-1]
    found = list(encoder.embed_batches(batches))
    assert [batch.records for batch, _ in found] == [batch.records for batch in batches]
    for batch, values in found:
        np.testing.assert_allclose(values, batch.signals[..., :500].mean(axis=-1), atol=1e-6)
    assert model.most == (2 if concurrent else 1)
    assert (threading.main_thread() in model.threads) is not concurrent
    assert len(model.threads) == (2 if concurrent else 1)


def test_a_frozen_module_computes_one_batch_at_a_time():
    class Watched(torch.nn.Module):
        inside = most = 0

        def forward(self, x):
            Watched.inside += 1
            Watched.most = max(Watched.most, Watched.inside)
            time.sleep(0.02)
            Watched.inside -= 1
            return x.mean(-1)

    model = Frozen(Watched())
    model.embed = lambda batch: model.forward(batch.signals)
    encoder = encoder_of(model, input="records")
    found = list(encoder.embed_batches(MemoryCohort(n=24).batches(4)))
    assert len(found) > 4 and Watched.most == 1


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


def served(cache, cohort, *, version="1", length=16, part=None, model=means, fail_after=None):
    """What the cache gives, and how many records were embedded for it."""
    encoder, made = encoder_of(model, version=version), []

    def make(missing):
        for one, values in zip(missing, embed_stretches(encoder, cohort, missing, batch_size=8), strict=True):
            if fail_after is not None and len(made) == fail_after:
                raise KeyboardInterrupt
            made.append(len(one))
            yield values

    try:
        found = cache.get(encoder, cohort, make, length=length, part=part)
    except KeyboardInterrupt:
        found = None
    return found, sum(made)


def test_the_cache_serves_what_it_was_given_and_nothing_foreign(tmp_path):
    cache = EmbeddingCache(tmp_path, "a")
    first, made = served(cache, MemoryCohort())
    assert made == 40
    np.testing.assert_allclose(first, embed_cohort(encoder_of(means), MemoryCohort()), atol=1e-6)
    again, made = served(cache, MemoryCohort())
    np.testing.assert_array_equal(again, first)
    assert made == 0
    other, made = served(cache, MemoryCohort(salt=1))
    assert made == 40 and not np.array_equal(other, first)
    assert served(cache, MemoryCohort(), version="2")[1] == 40
    assert served(cache, MemoryCohort(n=20))[1] == 20
    # A model that cannot be told from another is kept for its run only.
    assert [served(EmbeddingCache(tmp_path, run), MemoryCohort(), version="")[1] for run in "aab"] == [40, 0, 40]


def test_a_part_is_kept_beside_its_cohort(tmp_path):
    cache, cohort = EmbeddingCache(tmp_path, "a"), MemoryCohort()
    encoder, part = encoder_of(means, version="1"), Part("doubled", "doubled r0..r39", 40)
    whole, _ = served(cache, cohort)
    made = []

    def make(missing):
        made.append(missing)
        yield np.float64(2.0) * whole[:, None]

    for _ in range(2):
        found = cache.get(encoder, cohort, make, part=part)
        np.testing.assert_array_equal(found, 2.0 * whole[:, None].astype(np.float64))
    assert found.dtype == np.float64 and made == [[range(40)]]
    assert served(cache, cohort)[1] == 0


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_stopped_run_goes_on_where_it_was_and_reads_only_what_is_missing(tmp_path, stop):
    undisturbed, _ = served(EmbeddingCache(tmp_path / "other", "a"), MemoryCohort())
    cache, cohort = EmbeddingCache(tmp_path, "a"), MemoryCohort()
    assert served(cache, cohort, fail_after=stop) == (None, stop * 16)
    assert cohort.digest  # reads every record
    asked = []
    read = cohort._read
    cohort._read = lambda record: asked.append(record) or read(record)
    found, made = served(cache, cohort)
    assert found.tobytes() == undisturbed.tobytes()
    assert made == 40 - stop * 16
    assert sorted(asked) == sorted(cohort.records[stop * 16 :])


def test_other_batches_serve_and_complete_what_there_is(tmp_path):
    cache, cohort = EmbeddingCache(tmp_path, "a"), MemoryCohort()
    served(cache, cohort, fail_after=1)
    found, made = served(cache, cohort, length=7)
    np.testing.assert_allclose(found, embed_cohort(encoder_of(means), cohort), atol=1e-6)
    assert made == 24
    assert served(cache, cohort, length=1000)[1] == 0


def chunks_of(cache):
    return sorted(cache.folder.rglob("*.npz"))


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "text", "other", "foreign"])
def test_only_what_is_damaged_is_made_again(tmp_path, damage):
    cache, cohort = EmbeddingCache(tmp_path, "a"), MemoryCohort()
    first, _ = served(cache, cohort)
    paths = chunks_of(cache)
    content = bytearray(paths[1].read_bytes())
    if damage == "truncate":
        paths[1].write_bytes(content[:-8])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        paths[1].write_bytes(content)
    elif damage == "delete":
        paths[1].unlink()
    elif damage == "text":
        paths[1].write_text("not an array")
    elif damage == "other":
        paths[1].write_bytes(paths[0].read_bytes())
    else:
        served(cache, MemoryCohort(salt=1))
        (theirs,) = (path for path in chunks_of(cache) if path.name == paths[1].name and path != paths[1])
        paths[1].write_bytes(theirs.read_bytes())
    left = paths[1].with_name(paths[1].name + ".0123.tmp")
    left.write_bytes(content[:100])
    again, made = served(cache, cohort)
    assert made == 16
    np.testing.assert_array_equal(again, first)
    assert not left.exists()
    assert served(cache, cohort)[1] == 0


def test_ages_are_part_of_the_caches_key(tmp_path):
    cohort, cache, made = MemoryCohort(), EmbeddingCache(tmp_path, "a"), []
    for age in (50.0, 50.0, 60.0):
        cohort.table["age"] = age
        made.append(served(cache, cohort)[1])
    assert made == [40, 0, 40]


def test_a_models_own_error_is_not_the_caches(tmp_path):
    def make(missing):
        raise FileNotFoundError("vocabulary.txt")

    with pytest.raises(FileNotFoundError, match=r"vocabulary\.txt"):
        EmbeddingCache(tmp_path, "a").get(encoder_of(means, version="1"), MemoryCohort(), make)


def test_another_width_under_the_same_version_is_an_error(tmp_path):
    cache, cohort = EmbeddingCache(tmp_path, "a"), MemoryCohort()
    served(cache, cohort, fail_after=1)
    with pytest.raises(NotAnEmbedding, match=r"shape=\(16, 24\), but the cache .* \(40, 12\) of the same version"):
        served(cache, cohort, model=lambda x: np.concatenate([means(x), means(x)], axis=1))


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "embeddings").write_text("a file where a folder should be")
    with pytest.raises(EcgfmError, match=r"cannot write the cache folder .*--ecgfm-cache names another one"):
        served(EmbeddingCache(tmp_path, "a"), MemoryCohort())


def test_a_full_disk_is_a_clear_error_and_what_was_written_stays(tmp_path, monkeypatch):
    cache, cohort = EmbeddingCache(tmp_path, "a"), MemoryCohort()
    savez, calls = np.savez, []

    def full(handle, **arrays):
        calls.append(1)
        if len(calls) == 2:
            handle.write(b"half a chunk")
            raise OSError(errno.ENOSPC, "No space left on device")
        savez(handle, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(EcgfmError, match="No space left on device"):
        served(cache, cohort)
    assert [path.name for path in cache.folder.rglob("*") if path.suffix in (".npz", ".tmp")] == [
        "000000000-000000016.npz"
    ]
    assert served(cache, cohort)[1] == 24


def test_a_read_only_cache_serves_what_is_complete(tmp_path, monkeypatch):
    cache, cohort = EmbeddingCache(tmp_path, "a"), MemoryCohort()
    first, _ = served(cache, cohort)

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    np.testing.assert_array_equal(served(cache, cohort)[0], first)
    chunks_of(cache)[0].unlink()
    with pytest.raises(EcgfmError, match="Read-only file system"):
        served(cache, cohort)


def test_a_cache_that_is_deleted_meanwhile_is_made_again(tmp_path):
    cache, cohort = EmbeddingCache(tmp_path / "cache", "a"), MemoryCohort()
    encoder = encoder_of(means, version="1")

    def make(missing):
        for number, values in enumerate(embed_stretches(encoder, cohort, missing)):
            if number == 2:
                shutil.rmtree(cache.folder)
            yield values

    found = cache.get(encoder, cohort, make, length=16)
    np.testing.assert_allclose(found, embed_cohort(encoder, cohort), atol=1e-6)
    again, made = served(cache, cohort)
    np.testing.assert_allclose(again, found, atol=1e-6)
    assert made == 32


def test_two_processes_do_not_make_the_same(tmp_path):
    # Threads with a cache of their own each: the lock is the file's, not the object's.
    started, made, cohort = threading.Event(), [], MemoryCohort()

    def work():
        started.set()
        found, count = served(EmbeddingCache(tmp_path, "a"), cohort)
        made.append(count)
        return found

    slow = EmbeddingCache(tmp_path, "a")
    chunks = slow.chunks(
        encoder_of(means, version="1"),
        cohort,
        lambda missing: embed_stretches(encoder_of(means), cohort, missing, batch_size=8),
        length=16,
    )
    next(chunks)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(work)
        started.wait()
        time.sleep(0.2)
        assert not other.done()
        list(chunks)
        np.testing.assert_allclose(other.result(60), embed_cohort(encoder_of(means), cohort), atol=1e-6)
    assert made == [0]


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
