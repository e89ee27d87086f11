"""Files from strangers: damaged at random, and hostile on purpose."""

import json
import os
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cards import ModelCard
from pytest_ecgfm.encoders.checkpoints import read_checkpoint
from pytest_ecgfm.encoders.exported import read_card_file
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.results.baseline import Baseline
from pytest_ecgfm.results.checks import CHECKS
from pytest_ecgfm.results.cube_files import SCHEMA_VERSION, open_run
from pytest_ecgfm.results.profiles import Asked, Grid, Profile, Rule, load_profile
from pytest_ecgfm.results.rows import Row, parse_row
from tests.fuzz.seeds import a_cube, a_row, seeds
from tests.fuzz.targets import TARGETS

# What a library says about a broken file is its own business.
pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = settings(
    deadline=None, max_examples=60, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
SLOW = settings(QUICK, max_examples=12)
SEEDS = seeds()


@st.composite
def damaged(draw, seed):
    """A sound file with a few bytes or stretches changed, left out, repeated, or cut off."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        length = draw(st.sampled_from([1, 1, 1, 8, 64]))
        what = draw(st.sampled_from(["change", "leave out", "repeat", "cut"]))
        if what == "change":
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif what == "leave out":
            del data[at : at + length]
        elif what == "repeat":
            data[at:at] = data[at : at + length]
        elif draw(st.booleans()):
            del data[at:]
    return bytes(data)


def feed(target, data):
    with TemporaryDirectory() as place:
        TARGETS[target](data, Path(place), **({"cube": SEEDS["cube"]} if target == "verdict" else {}))


@pytest.mark.parametrize("target", TARGETS)
def test_sound_files_are_read(target):
    feed(target, SEEDS[target])


@pytest.mark.parametrize("target", ["card", "profile", "row", "safetensors", "checkpoint", "exported", "vectors"])
def test_damaged_files_are_errors_in_one_line(target):
    @QUICK
    @given(st.one_of(damaged(SEEDS[target]), st.binary(max_size=200)))
    def run(data):
        feed(target, data)

    run()


@pytest.mark.parametrize("target", ["cube", "baseline", "verdict"])
def test_damaged_runs_are_errors_in_one_line(target):
    @SLOW
    @given(st.one_of(damaged(SEEDS[target]), st.binary(max_size=200)))
    def run(data):
        feed(target, data)

    run()


plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from([*CHECKS, "default", "AF", "logistic", "minimum", 1e999, 10**400]),
)


def tables(keys, *, nothing=False):
    """Documents of any shape, with keys that mean something."""
    leaf = plain if nothing else plain.filter(lambda value: value is not None)
    values = st.recursive(
        leaf,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(keys), inner, max_size=4)),
        max_leaves=12,
    )
    return st.dictionaries(st.sampled_from(keys), values, max_size=6)


PROFILE = [*Profile.model_fields, *Grid.model_fields, *Rule.model_fields, *Asked.model_fields, "extends"]


@QUICK
@given(tables(PROFILE))
def test_any_toml_is_a_profile_or_an_error(document):
    feed("profile", tomli_w.dumps(document).encode("utf-8", "surrogatepass"))


@QUICK
@given(tables([*ModelCard.model_fields, "file"]))
def test_any_toml_is_a_card_or_an_error(document):
    feed("card", tomli_w.dumps({"file": "model.onnx", **document}).encode("utf-8", "surrogatepass"))


@QUICK
@given(tables([*Row.__dataclass_fields__, "group", "coordinates", "values"], nothing=True), st.booleans())
def test_any_json_is_a_row_or_an_error(document, whole):
    sound = json.loads(SEEDS["row"]) if whole else {}
    feed("row", json.dumps({**sound, **document}).encode())


DEEP = 100_000


@pytest.mark.parametrize(
    ("target", "data"),
    [
        ("row", b"[" * DEEP),
        ("row", b'{"a":' * DEEP),
        ("row", b"9" * DEEP),
        ("verdict", b"[" * DEEP),
        ("verdict", b'{"outcome": "pass", "encoders": ' + b"[" * DEEP),
        ("card", b"file = " + b"[" * DEEP),
        ("card", b"sampling_rate = " + b"9" * DEEP),
        ("profile", b"check = " + b"[" * DEEP),
        ("profile", b"a" + b".a" * DEEP + b" = 1"),
        ("profile", b'extends = "\\u0000.toml"'),
        ("card", b'file = "\\u0000"'),
        ("card", b'file = "' + b"a" * 5000 + b'"'),
        ("profile", b'extends = "' + b"a" * 5000 + b'.toml"'),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:12].decode(),
)
def test_depth_and_size_are_errors(target, data):
    feed(target, data)


def test_what_is_too_large_is_not_read(tmp_path):
    for name, read in (("a.toml", load_profile), ("b.toml", lambda path: read_card_file(Path(path)))):
        with (tmp_path / name).open("wb") as handle:
            handle.truncate(1 << 40)
        with pytest.raises(EcgfmError, match="larger than"):
            read(str(tmp_path / name))


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (self.place,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_runs_nothing(tmp_path, zipped):
    place = tmp_path / "was-here"
    if zipped:
        torch.save({"model": Payload(str(place))}, tmp_path / "model.pt")
    else:
        (tmp_path / "model.pt").write_bytes(pickle.dumps({"model": Payload(str(place))}))
    with pytest.raises(EcgfmError, match="cannot be opened safely"):
        read_checkpoint(tmp_path / "model.pt")
    assert not place.exists()


def test_a_card_does_not_leave_its_folder(tmp_path):
    outside = tmp_path / "outside.onnx"
    outside.write_bytes(b"x")
    home = tmp_path / "home"
    home.mkdir()
    (home / "link.onnx").symlink_to(outside)
    (home / "link").symlink_to(tmp_path)
    for file in ("../outside.onnx", str(outside), "link.onnx", "link/outside.onnx"):
        (home / "card.toml").write_text(f"file = {json.dumps(file)}\n")
        with pytest.raises(EcgfmError, match="is outside the card's folder"):
            read_card_file(home / "card.toml")


def vast_cube(path):
    """A file of a few kilobytes that says it holds a petabyte."""
    path.write_bytes(a_cube())
    with h5py.File(path, "a") as held:
        del held["scores"]["score"]
        size = 1 << 25
        held["scores"].create_dataset("vast", shape=(size, size), dtype="f4", chunks=(1 << 10, 1 << 10))
    return path


@pytest.mark.parametrize("read", [load, open_run, Baseline])
def test_a_cube_that_would_fill_memory_is_refused(tmp_path, read):
    vast_cube(tmp_path / "cube.nc")
    (tmp_path / "verdict.json").write_bytes(SEEDS["verdict"])
    with pytest.raises(EcgfmError, match=r"cube\.nc"):
        read(tmp_path)


@pytest.mark.parametrize("version", ["one", [1, 2], np.nan, np.inf])
def test_a_cube_of_a_strange_version_is_refused(tmp_path, version):
    (tmp_path / "cube.nc").write_bytes(a_cube())
    with h5py.File(tmp_path / "cube.nc", "a") as held:
        held.attrs["schema_version"] = version
    with pytest.raises(EcgfmError, match=f"this release reads {SCHEMA_VERSION}"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder", 3),
        ("check", ["x"]),
        ("label", None),
        ("value", "much"),
        ("value", [1.0]),
        ("counts", []),
        ("counts", {"n_test": "many"}),
        ("cells", {}),
        ("cells", [[]]),
        ("cells", [{"group": 1, "coordinates": {}, "values": {}}]),
        ("cells", [{"group": "downstream", "coordinates": {"encoder": []}, "values": {}}]),
        ("arrays", "x"),
        ("strict", "yes"),
        ("members", 10**12),
        ("members", 0),
        ("members", True),
        ("outcome", ["pass"]),
    ],
)
def test_a_row_with_a_strange_field_is_refused(field, value):
    line = json.dumps({**json.loads(a_row().to_json()), field: value})
    with pytest.raises(EcgfmError, match="not a row of a run"):
        parse_row(line)
