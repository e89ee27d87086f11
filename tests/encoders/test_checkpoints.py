"""Official files are opened without running anything, and nothing in them is left over or made up."""

import collections
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from safetensors.torch import save_file

from pytest_ecgfm.encoders.checkpoints import descend, load_backbone, read_checkpoint
from pytest_ecgfm.errors import EcgfmError


class Marks:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(2, 3, 4), dim=2)
        self.norm = torch.nn.BatchNorm1d(3)


@pytest.fixture
def state():
    torch.manual_seed(1)
    return {key: torch.rand(value.shape).to(value.dtype) for key, value in Net().state_dict().items()}


def saved(tmp_path, content, name="official.pth"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


NESTINGS = [(), ("state_dict",), ("model",), ("a", "b", "c")]


@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
@pytest.mark.parametrize("nesting", NESTINGS, ids=".".join)
def test_nestings(tmp_path, state, nesting, kind):
    content = kind(state)
    for key in reversed(nesting):
        content = {"epoch": 3, key: content}
    path = saved(tmp_path, content)
    found = descend(read_checkpoint(path), nesting, path=path)
    assert list(found) == list(state)
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_what_trainers_leave_beside_the_weights(tmp_path, state):
    extras = {
        "best": np.float64(0.5), "step": np.int64(7), "single": np.float32(0.25), "flag": np.bool_(True),
        "kind": np.dtype("float32"), "done": {1, 2}, "text": "x", "nothing": None, "pair": (1, [2.0]),
    }  # fmt: skip
    found = read_checkpoint(saved(tmp_path, extras | {"model": state}))
    assert {key: found[key] for key in extras} == extras


def test_the_old_format_of_torch(tmp_path, state):
    torch.save({"model": state}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert list(read_checkpoint(tmp_path / "old.pt")["model"]) == list(state)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(tmp_path, state, zipped):
    path, marker = tmp_path / "evil.pth", tmp_path / "marker"
    torch.save({"state_dict": state, "cfg": Marks(marker)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(EcgfmError, match=r"evil\.pth: cannot be opened safely .*ecgfm convert evil\.pth evil\.safe"):
        read_checkpoint(path)
    assert not marker.exists()


def test_types_that_are_not_inert_are_refused(tmp_path, state):
    path = saved(tmp_path, {"state_dict": state, "cfg": collections.Counter("ab"), "where": tmp_path})
    with pytest.raises(EcgfmError, match="cannot be opened safely") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"garbage\n", b"<!doctype html>"])
def test_what_is_no_checkpoint_is_called_that(tmp_path, content):
    (tmp_path / "page.pt").write_bytes(content)
    with pytest.raises(EcgfmError, match=r"page\.pt: cannot be read: torch\.save did not write it\.$"):
        read_checkpoint(tmp_path / "page.pt")


def test_torchs_advice_to_load_it_all_the_same_is_not_passed_on(tmp_path, state):
    path = saved(tmp_path, {"state_dict": state, "cfg": collections.Counter("ab"), "where": tmp_path})
    with pytest.raises(EcgfmError) as error:
        read_checkpoint(path)
    assert "weights_only" not in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_truncated(tmp_path, state, name, share):
    path = tmp_path / name
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(EcgfmError, match=re.escape(f"{path}: cannot be")):
        read_checkpoint(path)


def test_missing_and_not_a_dict(tmp_path):
    with pytest.raises(EcgfmError, match=r"none\.pth: no such file"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(EcgfmError, match=r"model\.safetensors: no such file"):
        read_checkpoint(tmp_path)
    with pytest.raises(EcgfmError, match="holds a list, but should contain tensors by key"):
        read_checkpoint(saved(tmp_path, [torch.zeros(1)]))


def test_safetensors_file_and_folder(tmp_path, state):
    save_file(state, tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        assert all(torch.equal(value, state[key]) for key, value in read_checkpoint(path).items())
    # It was nested once; safetensors cannot be.
    path = tmp_path / "model.safetensors"
    assert set(descend(read_checkpoint(path), ("state_dict",), path=path)) == set(state)


def test_descend_says_what_is_there(tmp_path):
    path = tmp_path / "official.pth"
    with pytest.raises(EcgfmError, match=r"official\.pth: no entry 'model'; it has epoch, net"):
        descend({"epoch": 1, "net": {}}, ("model",), path=path)
    with pytest.raises(EcgfmError, match="no entry 'b'; it has int"):
        descend({"a": 1}, ("a", "b"), path=path)
    with pytest.raises(EcgfmError, match="a is a int, not tensors by key"):
        descend({"a": 1}, ("a",), path=path)


def test_both_spellings_of_weight_norm(tmp_path, state):
    old = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for key, value in state.items()
    }
    assert set(old) != set(state)
    older = torch.nn.Module()
    older.conv = torch.nn.Conv1d(2, 3, 4)
    del older.conv.weight
    older.conv.register_parameter("weight_g", torch.nn.Parameter(torch.zeros(1, 1, 4)))
    older.conv.register_parameter("weight_v", torch.nn.Parameter(torch.zeros(3, 2, 4)))
    older.norm = torch.nn.BatchNorm1d(3)
    for given in (old, state):
        module = Net()
        load_backbone(module, given, path=tmp_path)
        assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
        load_backbone(older, given, path=tmp_path)
        assert all(torch.equal(value, old[key]) for key, value in older.state_dict().items())
    # Both at once: which one counts would depend on their order.
    with pytest.raises(EcgfmError, match=r"2 unexpected .*weight_[gv]"):
        load_backbone(Net(), state | old, path=tmp_path)


def test_prefix_and_heads(tmp_path, state):
    module = Net()
    given = {f"encoder.{key}": value for key, value in state.items()} | {"head.weight": torch.zeros(1)}
    load_backbone(module, given, path=tmp_path, prefix="encoder.", heads=["head.*"])
    assert torch.equal(module.conv.bias, state["conv.bias"])
    with pytest.raises(EcgfmError, match=r"1 unexpected \(head\.weight\)"):
        load_backbone(module, given, path=tmp_path, prefix="encoder.")
    # A key without the prefix is another tensor, whatever its name.
    stray = given | {"conv.bias": torch.zeros(3)}
    with pytest.raises(EcgfmError, match=r"1 unexpected \(conv\.bias\)"):
        load_backbone(module, stray, path=tmp_path, prefix="encoder.", heads=["head.*"])


def test_missing_unexpected_misshapen_are_listed(tmp_path, state):
    given = {f"norm2.{key}": value for key, value in state.items()} | state
    del given["conv.bias"]
    given["norm.weight"] = torch.zeros(5)
    module = Net()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(EcgfmError) as error:
        load_backbone(module, given, path=tmp_path / "x.pth")
    text = str(error.value)
    assert "x.pth: does not fit the model" in text
    assert "1 missing (conv.bias)" in text
    assert f"{len(state)} unexpected (norm2." in text
    assert "1 misshapen (norm.weight (5,) instead of (3,))" in text
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_entries_that_are_not_tensors_are_unexpected(tmp_path, state):
    with pytest.raises(EcgfmError, match=r"1 missing \(conv\.bias\); 1 unexpected \(conv\.bias\)"):
        load_backbone(Net(), state | {"conv.bias": [0.0, 0.0, 0.0]}, path=tmp_path)
    with pytest.raises(EcgfmError, match=r"1 unexpected \(7\)"):
        load_backbone(Net(), state | {7: torch.zeros(1)}, path=tmp_path, heads=["head.*"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(tmp_path, state, value):
    state["norm.running_var"][1] = value
    with pytest.raises(EcgfmError, match=r"not finite: norm\.running_var"):
        load_backbone(Net(), state, path=tmp_path)


def test_half_precision_is_widened_and_other_kinds_are_refused(tmp_path, state):
    module = Net()
    load_backbone(module, state | {"conv.bias": state["conv.bias"].half()}, path=tmp_path)
    assert module.conv.bias.dtype == torch.float32
    for wrong in (torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.complex64)):
        with pytest.raises(EcgfmError, match=r"1 misshapen \(conv\.bias (integer|complex) instead of float\)"):
            load_backbone(Net(), state | {"conv.bias": wrong}, path=tmp_path)


def test_torch_is_one_whose_weights_only_runs_no_code():
    """Before 2.6 a checkpoint could run code all the same (CVE-2025-32434)."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (bound,) = [Requirement(one) for one in project["dependencies"] if Requirement(one).name == "torch"]
    assert not bound.specifier.contains("2.5.1") and bound.specifier.contains("2.6.0")
