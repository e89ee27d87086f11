"""Torch modules as people have them run, or say in one line what to do."""

import functools
import io
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from pytest_ecgfm.encoders.modules import held_modules
from pytest_ecgfm.errors import EcgfmError, MachineLacks, NotAnEmbedding, is_models_fault
from pytest_ecgfm.signals.records import LEADS, RecordBatch
from tests.memory_cohort import encoder_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*quantize")


class Mean(nn.Module):
    """Drops out in train mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(12, 8)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.layer(x.abs().mean(-1)))


class NoReturn(Mean):
    """Returns itself from nothing."""

    def train(self, mode=True):
        super().train(mode)

    def to(self, *args, **kwargs):
        super().to(*args, **kwargs)

    def requires_grad_(self, requires_grad=True):
        super().requires_grad_(requires_grad)


class TrainingLoop(Mean):
    """Calls its training loop `train`."""

    def train(self, loader, epochs):
        raise AssertionError("trained")


class NoMode(Mean):
    """Forgets its parts."""

    def train(self, mode=True):
        return self


def loaded(module):
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def traced():
    return torch.jit.trace(Mean().eval(), torch.zeros(2, 12, 500))


def exported(**shapes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(Mean().eval(), (torch.zeros(2, 12, 500),), **shapes).module()


RUN = {
    "plain": Mean,
    "returns nothing": NoReturn,
    "train is a training loop": TrainingLoop,
    "train forgets its parts": NoMode,
    "scripted": lambda: torch.jit.script(Mean()),
    "scripted and loaded": lambda: loaded(torch.jit.script(Mean())),
    "traced and loaded": lambda: loaded(traced()),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(Mean().eval())),
    "exported": lambda: exported(dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)),
    "compiled": lambda: torch.compile(Mean(), backend="eager"),
    "data parallel": lambda: nn.DataParallel(Mean()),
    "quantized": lambda: torch.ao.quantization.quantize_dynamic(Mean().eval(), {nn.Linear}),
    "symbolically traced": lambda: torch.fx.symbolic_trace(Mean()),
}


@pytest.fixture(scope="module")
def batch():
    signals = np.random.default_rng(0).normal(size=(5, 12, 500)).astype(np.float32)
    return RecordBatch(signals, LEADS, 100.0, tuple(f"r{number}" for number in range(5)))


@pytest.mark.parametrize("how", RUN)
def test_it_runs_in_eval_mode_without_gradients(how, batch):
    encoder = encoder_of(RUN[how]())
    first = encoder.embed_batch(batch)
    expected = encoder_of(Mean()).embed_batch(batch)
    np.testing.assert_allclose(first, expected, atol=2e-2 if how == "quantized" else 1e-6)
    np.testing.assert_array_equal(encoder.embed_batch(batch), first)
    np.testing.assert_allclose(encoder.embed_batch(batch.rows([3])), first[3:4], atol=1e-6)
    assert not any(parameter.requires_grad for parameter in encoder.module.parameters())
    before = encoder.weights()
    assert encoder.weights() == before
    assert isinstance(encoder.weights_sha256, str)


class Offloaded(Mean):
    """Refuses to move, as modules that others spread over devices do."""

    def to(self, *_, **__):
        raise RuntimeError("You can't move a model that has some modules offloaded to cpu or disk.\nMore.")

    def __init__(self):
        super().__init__()
        self.register_buffer("elsewhere", torch.zeros(1), persistent=False)


SAID = {
    "lazy": (
        lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(8)),
        r"parameter 1\.weight has no values before the first",
    ),
    "lazy statistics": (lambda: nn.Sequential(nn.LazyBatchNorm1d()), "has no values before the first pass"),
    "meta": (lambda: Mean().to("meta"), r"parameter layer\.weight is on the meta device .*load its weights"),
    "a class": (lambda: Mean, "is the class Mean: its fixture should return an instance"),
    "weights": (lambda: Mean().state_dict(), "OrderedDict of 2 entries: build the network and load these weights"),
    "a program": (
        lambda: torch.export.export(Mean().eval(), (torch.zeros(2, 12, 500),)),
        r"is an ExportedProgram: return its module\(\)",
    ),
    "a number": (lambda: 3, "is a int, but should be a torch.nn.Module"),
}


@pytest.mark.parametrize("how", SAID)
def test_what_cannot_run_says_what_to_do(how):
    make, says = SAID[how]
    with pytest.raises(EcgfmError, match=says) as caught:
        encoder_of(make())
    assert str(caught.value).startswith("model 'm'")
    assert "\n" not in str(caught.value)


def test_a_lazy_module_that_has_run_is_a_module(batch):
    module = nn.Sequential(nn.Flatten(), nn.LazyLinear(8))
    module(torch.zeros(1, 12, 500))
    assert encoder_of(module).embed_batch(batch).shape == (5, 8)


def test_a_module_that_cannot_be_moved(monkeypatch):
    from pytest_ecgfm.encoders import modules

    monkeypatch.setattr(modules, "_is_on", lambda *_: False)
    with pytest.raises(EcgfmError, match=r"cannot be moved to cpu \(RuntimeError: You can't .*disk\.\)\. Put it there"):
        encoder_of(Offloaded())
    with pytest.raises(EcgfmError, match=r"parameter layer\.weight does not move to cpu"):
        encoder_of(Mean())


def test_an_export_for_one_size_of_batch_says_how_to_export(batch):
    encoder = encoder_of(exported())
    assert encoder.embed_batch(batch.rows([0, 1])).shape == (2, 8)
    with pytest.raises(NotAnEmbedding, match=r"only inputs like the one .*Guard failed.*dynamic_shapes") as caught:
        encoder.embed_batch(batch)
    assert caught.value.again


def test_a_compiler_that_is_not_there_is_not_the_models_fault(batch):
    def backend(graph, inputs):
        raise RuntimeError("No working C++ compiler found")

    encoder = encoder_of(torch.compile(Mean(), backend=backend))
    with pytest.raises(MachineLacks, match=r"torch\.compile does not work here .*give the module as it was") as caught:
        encoder.embed_batch(batch)
    assert not is_models_fault(caught.value, "m")
    assert "\n" not in str(caught.value)


def test_what_a_model_raises_is_its_own(batch):
    def broken(x):
        raise AssertionError("Guard failed: mine")

    with pytest.raises(AssertionError, match="mine"):
        encoder_of(broken).embed_batch(batch)


NETWORK = Mean()


def by_global(x):
    return NETWORK(x)


class Holder:
    """Keeps networks in attributes, one of them in a list."""

    def __init__(self):
        self.net, self.others = Mean(), [Mean()]

    def embed(self, x):
        return self.net(x)


def closing_over(net):
    return lambda x: net(x)


HELD = {
    "closure": (lambda: closing_over(Mean()), {"net"}),
    "global": (lambda: by_global, {"NETWORK"}),
    "attributes": (Holder, {"net", "others[0]"}),
    "bound method": (lambda: Holder().embed, {"net", "others[0]"}),
    "partial": (lambda: functools.partial(lambda net, x: net(x), Mean()), {"argument 0"}),
    "default": (lambda: lambda x, net=Mean(): net(x), {"default 0"}),  # noqa: B008
    "none": (lambda: lambda x: x, set()),
}


@pytest.mark.parametrize("how", HELD)
def test_modules_that_a_function_holds_are_found(how):
    make, names = HELD[how]
    assert set(held_modules(make())) == names


def test_a_closure_whose_network_drifts_is_seen(batch):
    net = Mean().eval()

    def drifting(x):
        with torch.no_grad():
            net.layer.bias += 1e-3
        return net(x)

    encoder = encoder_of(drifting)
    before = encoder.weights()
    assert set(before) == {"net.layer.bias", "net.layer.weight"}
    encoder.embed_batch(batch)
    after = encoder.weights()
    assert {name for name in before if before[name] != after[name]} == {"net.layer.bias"}
