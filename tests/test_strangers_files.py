"""Files of strangers reach only themselves, and take no more time or memory than what they are for."""

import json
import os
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cards import parse_card, parse_cohort_card
from pytest_ecgfm.cards.toml_files import parse_toml, read_toml
from pytest_ecgfm.encoders.exported import read_card_file
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.results import cube_files
from pytest_ecgfm.results.cube_files import open_run
from pytest_ecgfm.results.profiles import load_profile
from tests.report.runs import write_run

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("written") / "run")[0]


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    """A run of one's own, to spoil."""
    return Path(shutil.copytree(written, tmp_path / "run"))


def refused(run: Path, message: str) -> None:
    begin = time.monotonic()
    with pytest.raises(EcgfmError, match=message) as caught:
        open_run(run)
    assert len(str(caught.value).splitlines()) == 1 and "SECRET" not in str(caught.value)
    assert time.monotonic() - begin < 10


def external_link(file: h5py.File, other: Path) -> None:
    file["elsewhere"] = h5py.ExternalLink(str(other), "/secret")


def external_link_in_a_group(file: h5py.File, other: Path) -> None:
    next(one for one in file.values() if isinstance(one, h5py.Group))["x"] = h5py.ExternalLink(str(other), "/secret")


def soft_link(file: h5py.File, other: Path) -> None:
    file["elsewhere"] = h5py.SoftLink("/nowhere")


def external_storage(file: h5py.File, other: Path) -> None:
    file.create_dataset("note", (6,), "u1", external=[(str(other), 0, 6)])


def virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((1,), "i8")
    layout[:] = h5py.VirtualSource(str(other), "secret", (1,))
    file.create_virtual_dataset("note", layout)


def huge_scale(file: h5py.File, other: Path) -> None:
    file.create_dataset("record", (10**11,), "i8", chunks=(1000,)).make_scale("record")


def huge_chunk(file: h5py.File, other: Path) -> None:
    file.create_dataset("note", (1,), "f8", maxshape=(None,), chunks=((1 << 29) - 1,))


def huge_fill(file: h5py.File, other: Path) -> None:
    file.create_dataset("note", (40_000, 40_000), "f8", chunks=(100, 100), fillvalue=1)


def many(file: h5py.File, other: Path) -> None:
    group = file.create_group("many")
    for number in range(2100):
        group.create_group(str(number))


def deep(file: h5py.File, other: Path) -> None:
    file.create_group("/".join("a" * 300))


def holds_itself(file: h5py.File, other: Path) -> None:
    file["again"] = file["/"]


def many_attributes(file: h5py.File, other: Path) -> None:
    for number in range(1100):
        file.attrs[f"a{number}"] = 1


HOSTILE = [
    (external_link, "'elsewhere' is a link to elsewhere"),
    (external_link_in_a_group, "'x' is a link to elsewhere"),
    (soft_link, "'elsewhere' is a link to elsewhere"),
    (external_storage, "'note' is stored in another file"),
    (virtual, "'note' is stored in another file"),
    (huge_scale, "bytes of memory"),
    (huge_chunk, "bytes of memory"),
    (huge_fill, "bytes of memory"),
    (many, "more than 2,000 data sets"),
    (deep, "groups in more than 6 levels"),
    (holds_itself, "groups in more than 6 levels|more than 2,000 data sets"),
    (many_attributes, "more than 1,000 attributes"),
]


@pytest.mark.parametrize(("spoil", "message"), HOSTILE, ids=lambda one: getattr(one, "__name__", ""))
def test_cubes_that_reach_out_or_are_too_large(run: Path, tmp_path: Path, spoil, message: str) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.frombuffer(b"SECRET", np.uint8)
    open_run(run).close()
    with h5py.File(run / "cube.nc", "a") as file:
        spoil(file, tmp_path / "other.h5")
    refused(run, message)


def test_texts_that_stand_at_many_places(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(run / "cube.nc", "a") as file:
        texts = np.array(["x" * 10_000] * 300, object)
        file.create_dataset("note", data=texts, dtype=h5py.string_dtype()).make_scale("note")
    open_run(run).close()
    with h5py.File(run / "cube.nc") as file:
        # A block is one text here: reading ends with the one that passes the limit.
        monkeypatch.setattr(cube_files, "_BLOCK_BYTES", 1)
        assert cube_files._text_bytes(file["note"], 1000, 10**9) == 3_000_000
        assert cube_files._text_bytes(file["note"], 1000, 25_000) == 30_000
    monkeypatch.setattr(cube_files, "_BLOCK_BYTES", 10**9)
    monkeypatch.setattr(cube_files, "_MAXIMUM_TEXTS", 290)
    refused(run, "holds 300 texts")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 6), max_size=4), st.integers(1, 40))
def test_blocks_of_an_array_are_the_whole_array(shape: list[int], block: int) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape)
    parts = [array[one] for one in cube_files._blocks(tuple(shape), block)]
    assert sorted(int(one) for part in parts for one in np.ravel(part)) == list(range(array.size))
    assert all(np.size(part) <= max(block, 1) for part in parts)


@needs_pipes
@pytest.mark.parametrize("kind", ["pipe", "link", "device", "socket"])
def test_what_could_wait_for_ever_is_refused_at_once(tmp_path: Path, run: Path, kind: str) -> None:
    def put(path: Path) -> Path:
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            import socket

            with socket.socket(socket.AF_UNIX) as made:
                os.chdir(path.parent)
                made.bind(path.name)
        else:
            target = Path("/dev/zero")
            if kind == "link":
                target = path.with_name("pipe")
                target.unlink(missing_ok=True)
                os.mkfifo(target)
            path.symlink_to(target)
        return path

    here = Path.cwd()
    begin = time.monotonic()
    try:
        with pytest.raises(EcgfmError, match=r"profile .*: not a regular file"):
            load_profile(str(put(tmp_path / "profile.toml")))
        with pytest.raises(EcgfmError, match=r"card .*: not a regular file"):
            read_card_file(put(tmp_path / "card.toml"))
        put(run / "verdict.json")
        with pytest.raises(EcgfmError, match=r"verdict\.json cannot be read \(not a regular file"):
            load(run)
        put(run / "cube.nc")
        with pytest.raises(EcgfmError, match="no cube"):
            open_run(run)
    finally:
        os.chdir(here)
    assert time.monotonic() - begin < 10


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="no /proc")
def test_files_that_hide_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_ecgfm.cards.toml_files._MAXIMUM_BYTES", 100)
    with pytest.raises(EcgfmError, match="larger than 100 bytes"):
        read_toml(Path("/proc/self/maps"), "profile")


def test_deep_and_long_texts(run: Path, tmp_path: Path) -> None:
    (run / "verdict.json").write_text("[" * 200_000)
    with pytest.raises(EcgfmError, match=r"verdict\.json cannot be read"):
        load(run)
    for text in ("a = " + "[" * 100_000, "a" + ".a" * 2000 + " = 1", "a = " + "1" * 5000, "a = 1\n" * 400_000):
        with pytest.raises(EcgfmError, match="baseline x: "):
            parse_toml(text, "baseline x")


@pytest.mark.parametrize("length", [9, 50, 2000])
def test_chains_of_profiles_end(tmp_path: Path, length: int) -> None:
    for number in range(length):
        (tmp_path / f"p{number}.toml").write_text(f'extends = "p{number + 1}.toml"\n')
    (tmp_path / f"p{length}.toml").write_text('extends = "smoke"\n')
    with pytest.raises(EcgfmError, match="the chain of extends has more than 8 profiles"):
        load_profile(str(tmp_path / "p0.toml"))


def test_short_chains_and_cycles(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"p{number}.toml").write_text(f'extends = "p{number + 1}.toml"\n')
    (tmp_path / "p5.toml").write_text('extends = "smoke"\n')
    assert load_profile(str(tmp_path / "p0.toml")).check
    (tmp_path / "p5.toml").write_text('extends = "p2.toml"\n')
    with pytest.raises(EcgfmError, match="extends itself"):
        load_profile(str(tmp_path / "p0.toml"))


STRANGE = st.one_of(
    st.booleans(),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e-300, 1e9, 1e300, -1, 0, 10**400, -(10**5000)]),
    st.floats(min_value=3601),
    st.integers(min_value=10_001),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(STRANGE, st.sampled_from(["seconds", "sampling_rate", "dimensions"]))
def test_strange_numbers_in_cards_are_refused_by_field(value: object, field: str) -> None:
    if field == "dimensions" and isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 10_000_000:
        return
    if field == "dimensions" and isinstance(value, float) and value.is_integer() and 0 < value <= 10_000_000:
        return
    if field == "sampling_rate" and not isinstance(value, bool) and 10 <= value <= 10_000:
        return
    with pytest.raises(EcgfmError, match=rf"card of 'm': {field} = .*: ") as caught:
        parse_card("m", {field: value}, where="card.toml")
    assert len(str(caught.value)) < 500
    if field == "sampling_rate":
        with pytest.raises(EcgfmError, match="card of 'm': sampling_rate = "):
            parse_cohort_card("m", {field: value}, where="conftest.py")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.sampled_from(["nan", "inf", "-inf", "true", "false", "1e300", "-1e9", "1" + "0" * 400]),
    st.sampled_from(["minimum", "maximum", "no_change"]),
)
def test_strange_thresholds_are_refused_by_field(value: str, key: str) -> None:
    import tempfile

    bound = "minimum = 0.5\n" if key == "no_change" else ""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "p.toml"
        path.write_text(f'extends = "smoke"\n[[check]]\nname = "downstream.auroc"\n{bound}{key} = {value}\n')
        with pytest.raises(EcgfmError, match=rf"profile p\.toml: check\.\d+\.{key} = ") as caught:
            load_profile(str(path))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("key", ["seeds", "stability_records", "explained_records", "mapped_records"])
@pytest.mark.parametrize("value", ["true", "1e9", "nan", "inf", "-1", "9" * 400])
def test_strange_numbers_in_a_grid(tmp_path: Path, key: str, value: str) -> None:
    (tmp_path / "p.toml").write_text(f'extends = "smoke"\n[grid]\n{key} = {value}\n')
    with pytest.raises(EcgfmError, match=rf"grid\.{key} = "):
        load_profile(str(tmp_path / "p.toml"))


def test_fractions_are_no_truth_values(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('extends = "smoke"\n[grid]\nfractions = [true]\n')
    with pytest.raises(EcgfmError, match=r"grid\.fractions\.0 = True: should be a number, not true or false"):
        load_profile(str(tmp_path / "p.toml"))


def test_verdicts_are_objects(run: Path) -> None:
    (run / "verdict.json").write_text(json.dumps([1]))
    with pytest.raises(EcgfmError, match="holds no outcome"):
        load(run)
