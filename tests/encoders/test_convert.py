"""Conversion: no code runs without consent, no file is overwritten, no tensor changes."""

import hashlib
import sys
from types import ModuleType

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from pytest_ecgfm.encoders.checkpoints import descend, read_checkpoint
from pytest_ecgfm.encoders.convert import convert
from pytest_ecgfm.errors import EcgfmError


class Marks:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(3, dtype=torch.float16)}


def saved(tmp_path, content, **options):
    torch.save(content, tmp_path / "in.ckpt", **options)
    return tmp_path / "in.ckpt"


def test_refused_without_trust(tmp_path):
    source = saved(tmp_path, {"state_dict": TENSORS, "hook": Marks(tmp_path / "marker")})
    with pytest.raises(EcgfmError, match=r"in\.ckpt: opening it runs any code .*--trust"):
        convert(source, tmp_path / "out.safetensors", trust=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ckpt"]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_converted_with_trust(tmp_path):
    source, target = (
        saved(tmp_path, {"state_dict": TENSORS, "hook": Marks(tmp_path / "marker")}),
        tmp_path / "o.safetensors",
    )
    said = convert(source, target, trust=True)
    assert (tmp_path / "marker").exists()
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert digest in said and "2 tensors of its entry 'state_dict'" in said
    with safe_open(target, "pt") as file:
        assert file.metadata() == {"source": "in.ckpt", "source_sha256": digest, "entry": "state_dict"}
    found = descend(read_checkpoint(target), ("state_dict",), path=target)
    assert set(found) == set(TENSORS)
    assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype for key, value in TENSORS.items())
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("entry", ["", "state_dict", "model", "model_state_dict"])
def test_entries(tmp_path, entry):
    content = {"epoch": 2, entry: TENSORS, "optimizer": {"x": torch.zeros(9)}} if entry else {"epoch": 2, **TENSORS}
    convert(saved(tmp_path, content), tmp_path / "out.safetensors", trust=True)
    assert set(load_file(tmp_path / "out.safetensors")) == set(TENSORS)


def test_shared_and_strided_tensors(tmp_path):
    wide = torch.arange(12.0).reshape(3, 4)
    content = {"a": wide, "b": wide, "c": wide.t(), "d": wide[:, 1:3], "e": torch.nn.Parameter(wide)}
    convert(saved(tmp_path, content), tmp_path / "out.safetensors", trust=True)
    found = load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(found[key], value) for key, value in content.items())


def test_whole_modules(tmp_path):
    net = torch.nn.Linear(2, 3)
    convert(saved(tmp_path, {"model": net}), tmp_path / "out.safetensors", trust=True)
    assert torch.equal(load_file(tmp_path / "out.safetensors")["weight"], net.weight)


@pytest.mark.parametrize("zipped", [True, False])
def test_classes_that_are_not_installed(tmp_path, monkeypatch, zipped):
    module = ModuleType("a_training_framework")
    for base in (dict, list, object):
        kind = type(f"Config{base.__name__}", (base,), {"__module__": module.__name__})
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    plain = module.Configobject()
    plain.rate = 240
    extras = {"a": module.Configdict(x=1), "b": module.Configlist([1, 2]), "c": plain}
    source = saved(tmp_path, {"state_dict": TENSORS, **extras}, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, module.__name__)
    convert(source, tmp_path / "out.safetensors", trust=True)
    assert set(load_file(tmp_path / "out.safetensors")) == set(TENSORS)


def test_nothing_is_overwritten(tmp_path):
    target = tmp_path / "out.safetensors"
    target.write_text("mine")
    with pytest.raises(EcgfmError, match=r"out\.safetensors: exists already"):
        convert(saved(tmp_path, TENSORS), target, trust=True)
    assert target.read_text() == "mine"


def test_what_cannot_be_converted(tmp_path):
    target = tmp_path / "out.safetensors"
    with pytest.raises(EcgfmError, match=r"none\.pt: no such file"):
        convert(tmp_path / "none.pt", target, trust=True)
    with pytest.raises(EcgfmError, match=r"out\.pt: should end in \.safetensors"):
        convert(tmp_path / "none.pt", tmp_path / "out.pt", trust=True)
    with pytest.raises(EcgfmError, match="holds a list"):
        convert(saved(tmp_path, [1]), target, trust=True)
    with pytest.raises(EcgfmError, match="no tensors at the top or in ecg_model, state_dict, model"):
        convert(saved(tmp_path, {"state_dict": {}}), target, trust=True)
    with pytest.raises(EcgfmError, match=r"nowhere/out\.safetensors: cannot be written"):
        convert(saved(tmp_path, TENSORS), tmp_path / "nowhere" / "out.safetensors", trust=True)
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(EcgfmError, match=r"text\.pt: cannot be opened \(UnpicklingError"):
        convert(tmp_path / "text.pt", target, trust=True)
    assert not target.exists()
