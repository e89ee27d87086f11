"""The cache of embeddings: resumed, shared, damaged, full, and never foreign."""

import errno
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pytest_ecgfm.embeddings import EmbeddingCache, Part, embed_cohort, embed_stretches
from pytest_ecgfm.errors import EcgfmError, NotAnEmbedding
from tests.memory_cohort import MemoryCohort, encoder_of, means


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
    encoder, part = encoder_of(means, version="1"), Part("doubled", "doubled r0..r39", 40, ())
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


def test_a_few_records_are_found_without_reading_or_making_the_rest(tmp_path):
    cache, cohort = EmbeddingCache(tmp_path, "a"), MemoryCohort()
    encoder = encoder_of(means, version="1")
    assert cache.kept(encoder, cohort, [0, 1]) is None
    served(cache, cohort, fail_after=1)
    found = cache.kept(encoder, cohort, [3, 0])
    expected = embed_cohort(encoder, cohort)
    np.testing.assert_allclose(found, expected[[3, 0]], atol=1e-6)
    assert cache.kept(encoder, cohort, [3, 39]) is None
    for path in sorted(cache.folder.rglob("*.npz")):
        path.write_text("damaged")
    assert cache.kept(encoder, cohort, [3, 0]) is None
    assert not list(tmp_path.rglob("*.tmp"))


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
