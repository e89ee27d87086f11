import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pytest_ecgfm.cli import main
from pytest_ecgfm.embeddings.store import ArrayStore, cache_folder, entries, gaps, remove
from pytest_ecgfm.errors import EcgfmError

ROWS, CHUNK = 23, 5


def truth(key):
    return np.random.default_rng(list(key.encode())).normal(size=(ROWS, 3)).astype(np.float32)


def store_of(folder, key="k1", rows=ROWS, encoder="m"):
    return ArrayStore(folder, f"{encoder}-c", key, rows, {"encoder": encoder, "cohort": "c", "part": ""})


def rows_of(store):
    return {begin + number: row for begin, values in store.read() for number, row in enumerate(values)}


@given(
    st.integers(0, 60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=5),
    st.integers(1, 25),
)
def test_gaps_are_what_is_missing_in_stretches_of_the_grid(rows, pieces, length):
    held, at = [], 0
    for skip, size in pieces:
        if at + skip + size <= rows:
            held.append(range(at + skip, at + skip + size))
            at += skip + size
    found = gaps(rows, held, length)
    assert all(0 < len(one) <= length for one in found)
    assert sorted(row for one in (*found, *held) for row in one) == list(range(rows))
    # No stretch crosses a line of the grid: what was embedded together is embedded together again.
    assert all(one.start // length == (one.stop - 1) // length for one in found)


class Store(RuleBasedStateMachine):
    """Whatever happens to the files, no row that is served is another one's."""

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp())
        self.stores = {key: store_of(self.folder, key) for key in ("k1", "k2")}

    def teardown(self):
        shutil.rmtree(self.folder)

    def files(self):
        return sorted(self.folder.rglob("*.npz"))

    @rule(key=st.sampled_from(["k1", "k2"]), begin=st.integers(0, ROWS - 1), size=st.integers(1, 2 * CHUNK))
    def put(self, key, begin, size):
        values = truth(key)[begin : begin + size]
        self.stores[key].write(begin, values)
        at = self.stores[key].folder / f"{begin:09d}-{begin + len(values):09d}.npz"
        assert at.is_file()

    @rule(key=st.sampled_from(["k1", "k2"]), begin=st.integers(0, ROWS - CHUNK), share=st.floats(0, 1))
    def killed_while_writing(self, key, begin, share):
        """As a killed process leaves it: part of the bytes, under the temporary name."""
        store = self.stores[key]
        store.folder.mkdir(parents=True, exist_ok=True)
        other = store_of(self.folder / "elsewhere", key)
        other.write(begin, truth(key)[begin : begin + CHUNK])
        (path,) = other.folder.glob("*.npz")
        content = path.read_bytes()
        (store.folder / f"{path.name}.feed.tmp").write_bytes(content[: int(share * len(content))])
        shutil.rmtree(self.folder / "elsewhere")

    @rule(pick=st.integers(0), position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def flip(self, pick, position, bit):
        if files := self.files():
            path = files[pick % len(files)]
            content = bytearray(path.read_bytes())
            if content:
                content[int(position * len(content))] ^= 1 << bit
                path.write_bytes(content)

    @rule(pick=st.integers(0), share=st.floats(0, 1, exclude_max=True))
    def truncate(self, pick, share):
        if files := self.files():
            path = files[pick % len(files)]
            content = path.read_bytes()
            path.write_bytes(content[: int(share * len(content))])

    @rule(one=st.integers(0), other=st.integers(0))
    def take_anothers_place(self, one, other):
        if files := self.files():
            source, target = files[one % len(files)], files[other % len(files)]
            if source != target:
                target.write_bytes(source.read_bytes())

    @rule(pick=st.integers(0))
    def delete(self, pick):
        if files := self.files():
            files[pick % len(files)].unlink()

    @rule(key=st.sampled_from(["k1", "k2"]))
    def delete_all(self, key):
        shutil.rmtree(self.stores[key].folder, ignore_errors=True)

    @rule(key=st.sampled_from(["k1", "k2"]))
    def complete(self, key):
        """What a run does: tidy, read, and write what is missing; then all is there."""
        store = self.stores[key]
        store.tidy()
        held = [range(begin, begin + len(values)) for begin, values in store.read()]
        for one in gaps(ROWS, held, CHUNK):
            store.write(one.start, truth(key)[one.start : one.stop])
        assert sorted(rows_of(store)) == list(range(ROWS))
        assert not list(store.folder.glob("*.tmp"))

    @invariant()
    def every_row_is_the_right_one(self):
        for key, store in getattr(self, "stores", {}).items():
            expected = truth(key)
            for row, values in rows_of(store).items():
                np.testing.assert_array_equal(values, expected[row])


Store.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestStore = Store.TestCase


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path):
    store, expected = store_of(tmp_path), truth("k1")[:2]
    store.write(0, expected)
    (path,) = store.folder.glob("*.npz")
    content = path.read_bytes()
    refused = 0
    for position in range(0, len(content), 3):
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        found = list(store.read())
        refused += not found
        for begin, values in found:
            assert begin == 0
            np.testing.assert_array_equal(values, expected)
    assert refused > len(content) // 6


def test_a_chunk_is_never_half_written(tmp_path):
    """The system itself refuses to write on, as on a full disk."""
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from pytest_ecgfm.embeddings.store import ArrayStore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = ArrayStore(Path(sys.argv[1]), 'm-c', 'k1', 2000, {})\n"
        "store.write(0, np.ones((10, 3), np.float32))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    store.write(10, np.ones((1990, 3), np.float32))\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == os.strerror(errno.EFBIG)
    store = ArrayStore(tmp_path, "m-c", "k1", 2000, {})
    assert [(begin, len(values)) for begin, values in store.read()] == [(0, 10)]
    assert sorted(path.name for path in store.folder.iterdir()) == ["000000000-000000010.npz", "about.json"]


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("ECGFM_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("ECGFM_CACHE")
    assert cache_folder().name == "pytest-ecgfm"


@pytest.fixture
def cache(tmp_path):
    """Two encoders: one complete, one that is half there and was last used forty days ago."""
    store_of(tmp_path, "k1", encoder="new").write(0, truth("k1"))
    old = store_of(tmp_path, "k2", encoder="old")
    old.write(0, truth("k2")[:10])
    then = time.time() - 40 * 86400
    for path in old.folder.iterdir():
        os.utime(path, (then, then))
    return tmp_path


def test_the_cache_is_listed(cache, capsys):
    found = {one.encoder: one for one in entries(cache)}
    assert {name: (one.held, one.rows) for name, one in found.items()} == {"new": (23, 23), "old": (10, 23)}
    assert found["new"].size == sum(path.stat().st_size for path in found["new"].folder.iterdir())
    assert main(["cache", "--dir", str(cache)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["encoder", "cohort", "part", "records", "MB", "used"]
    assert lines[1].split()[:3] == ["new", "c", "23"]
    assert lines[2].split()[:5] == ["old", "c", "10", "of", "23"] and lines[2].endswith("40 days ago")
    assert lines[3].startswith("2 embeddings, ") and lines[3].endswith(f" in {cache}")
    assert main(["cache", "--dir", str(cache), "--json", "--encoder", "old"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["encoder"], one["held"], one["rows"]) == ("old", 10, 23)


@pytest.mark.parametrize("choice", [["--older-than", "30"], ["--encoder", "old"]])
def test_the_cache_is_pruned(cache, capsys, choice):
    assert main(["cache", "--dir", str(cache), "--prune", "--yes", *choice]) == 0
    assert "removed 1 embedding" in capsys.readouterr().out
    assert [one.encoder for one in entries(cache)] == ["new"]
    assert [path.name for path in (cache / "embeddings").iterdir()] == ["new-c-k1"]


def test_pruning_asks_first(cache, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["cache", "--dir", str(cache), "--prune"]) == 2
    assert "give --yes" in capsys.readouterr().err
    assert len(entries(cache)) == 2


def test_pruning_leaves_alone_what_is_in_use(cache, capsys):
    with store_of(cache, "k1", encoder="new").lock:
        assert main(["cache", "--dir", str(cache), "--prune", "--yes"]) == 0
    captured = capsys.readouterr()
    assert "removed 1 embedding" in captured.out
    assert "new, c: in use by a run, not removed" in captured.err
    assert [one.encoder for one in entries(cache)] == ["new"]


def test_damaged_descriptions_and_strange_files_are_listed_all_the_same(cache, capsys):
    (cache / "embeddings" / "old-c-k2" / "about.json").write_text("[1")
    (cache / "embeddings" / "stray").mkdir()
    (cache / "embeddings" / "stray" / "x-y.npz").write_text("")
    assert [one.encoder for one in entries(cache)] == ["new", "old-c-k2", "stray"]
    assert main(["cache", "--dir", str(cache / "nothing")]) == 0
    assert capsys.readouterr().out.startswith("0 embeddings")
    (cache / "file").mkdir()
    (cache / "file" / "embeddings").write_text("")
    with pytest.raises(EcgfmError, match="cannot read the cache folder"):
        entries(cache / "file")
    assert main(["cache", "--dir", str(cache), "--older-than", "-1"]) == 2
    assert "--older-than=-1" in capsys.readouterr().err


def test_what_vanished_meanwhile_is_removed(cache):
    (one, _) = entries(cache)
    shutil.rmtree(one.folder)
    assert remove(one) == ""


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.readlink()
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }


NAMES = st.one_of(
    st.sampled_from(
        ["about.json", "000000000-000000010.npz", "data.csv", "notes", "x.tmp", "about.json.tmp", ".hidden"]
    ),
    st.from_regex(r"[a-z0-9.]{1,12}", fullmatch=True).filter(lambda name: name not in (".", "..")),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9]{1,6}(-c-k1)?", fullmatch=True),
        st.dictionaries(NAMES, st.sampled_from(["file", "folder", "link", "link to a folder"]), max_size=3),
        max_size=4,
    )
)
def test_pruning_leaves_what_the_store_did_not_make(strange):
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "outside" / "deep").mkdir(parents=True)
        (root / "outside" / "precious.npz").write_bytes(b"precious")
        cache = root / "cache"
        store = store_of(cache, "k9", encoder="mine")
        store.write(0, truth("k9"))
        for name, files in strange.items():
            folder = cache / "embeddings" / name
            folder.mkdir(parents=True, exist_ok=True)
            for file, kind in files.items():
                if kind == "file":
                    (folder / file).write_text("{}")
                elif kind == "folder":
                    (folder / file).mkdir()
                else:
                    target = root / "outside" / ("deep" if kind.endswith("folder") else "precious.npz")
                    (folder / file).symlink_to(target)
        before = {name: held for name, held in snapshot(root).items() if "mine-" not in name}
        assert main(["cache", "--dir", str(cache), "--prune", "--yes"]) == 0
        after = {name: held for name, held in snapshot(root).items() if not name.endswith(".lock")}
        assert after == before
        assert not store.folder.exists()


def test_pruning_never_follows_links_and_says_what_it_leaves(cache, capsys, tmp_path):
    (elsewhere := tmp_path / "elsewhere").mkdir()
    shutil.copytree(cache / "embeddings" / "new-c-k1", elsewhere / "linked-c-k1")
    (cache / "embeddings" / "linked-c-k1").symlink_to(elsewhere / "linked-c-k1")
    (cache / "embeddings" / "photos").mkdir()
    (cache / "embeddings" / "photos" / "a.npz").write_text("mine")
    (cache / "embeddings" / "old-c-k2" / "letter.txt").write_text("mine")
    assert main(["cache", "--dir", str(cache), "--prune", "--yes"]) == 0
    captured = capsys.readouterr()
    assert "removed 1 embedding" in captured.out
    assert "it is a link, not removed" in captured.err
    assert "photos: not made by ecgfm" in captured.err
    assert "old, c: 1 files or folders in it were not made by ecgfm, not removed" in captured.err
    assert len(list((elsewhere / "linked-c-k1").iterdir())) > 1
    assert (cache / "embeddings" / "old-c-k2" / "letter.txt").read_text() == "mine"


def test_a_linked_folder_of_embeddings_is_left_alone(cache, capsys, tmp_path):
    (other := tmp_path / "other").mkdir()
    (other / "embeddings").symlink_to(cache / "embeddings")
    assert main(["cache", "--dir", str(other), "--prune", "--yes"]) == 0
    assert "removed 0 embeddings" in capsys.readouterr().out
    assert len(entries(cache)) == 2
