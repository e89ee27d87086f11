"""MERL against golden vectors of the authors' code, and what it refuses."""

import random
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import merl as fixtures

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import merl
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.merl import LEADS, MERL, preprocess
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS as STANDARD
from pytest_ecgfm.signals.records import RecordBatch
from tests.encoders.golden.cut import head

DIMENSIONS = {"resnet18": 512, "vit_tiny": 192}
CHANGES = ["dropped", "renamed", "reshaped"]


def batch_of(signals, rate=500.0, leads=STANDARD):
    return RecordBatch(signals, tuple(leads), rate, tuple(str(row) for row in range(len(signals))))


def native(signals):
    return select_leads(signals, STANDARD, LEADS)


def empty(source):
    """Tensors by official key: shapes alone decide whether a file fits, and large weights take long to draw."""
    entries = source.manifest["state_dict"]
    return {
        entry["key"]: torch.zeros((), dtype=getattr(torch, entry["dtype"])).expand(entry["shape"]) for entry in entries
    }


@pytest.fixture(scope="module")
def load(golden, tmp_path_factory):
    """A callable, network and salt to the model loaded from a file in the official layout."""

    @cache
    def loaded(network, salt=""):
        path = tmp_path_factory.mktemp(network) / "best_encoder.pth"
        torch.save(golden(f"merl_{network}").weights(salt), path)
        return MERL.load(path, network=network)

    return loaded


@pytest.mark.parametrize("network", DIMENSIONS)
def test_golden(network, golden, load):
    arrays = golden(f"merl_{network}").arrays
    inputs = preprocess(native(arrays["x_mv"]), 500)
    np.testing.assert_allclose(head(inputs[0], arrays["x_in_row0"]), arrays["x_in_row0"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(head(inputs, arrays["x_in_head"]), arrays["x_in_head"], rtol=0, atol=1e-5)
    found = load(network).embed(batch_of(arrays["x_mv"]))
    assert found.dtype == np.float32 and found.shape == (len(arrays["x_mv"]), DIMENSIONS[network])
    np.testing.assert_allclose(found, arrays["embedding"], rtol=0, atol=2e-5)


def test_layers_agree(golden, load):
    arrays = golden("merl_resnet18").arrays
    seen = {}
    module = load("resnet18").module
    hooks = [
        getattr(module, name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
        for name in ("layer1", "layer4")
    ]
    load("resnet18").embed(batch_of(arrays["x_mv"]))
    for hook in hooks:
        hook.remove()
    assert tuple(seen["layer4"].shape[1:]) == tuple(arrays["layer4_shape"][1:])
    np.testing.assert_allclose(seen["layer1"][0, :16, :32], arrays["layer1"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(seen["layer4"][0, :64, :32], arrays["layer4"], rtol=0, atol=2e-5)


def test_other_lengths_agree(golden, load):
    arrays = golden("merl_resnet18").arrays
    found = load("resnet18").forward(arrays["x_mv"][..., :1250])
    np.testing.assert_allclose(found, arrays["embedding_ai4health_1250"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("network", DIMENSIONS)
def test_the_file_of_the_whole_model(network, golden, load, tmp_path):
    source = golden(f"merl_{network}")
    state = {f"ecg_encoder.{key}": value for key, value in source.weights().items()}
    for entry in source.manifest["full_checkpoint"]["ecg_heads"]:
        state[entry["key"]] = torch.zeros(entry["shape"])
    state["lm_model.encoder.layer.0.output.dense.weight"] = torch.zeros(2, 2)
    path = tmp_path / "best_ckpt.pth"
    torch.save(state, path)
    found = MERL.load(path, network=network).embed(batch_of(source.arrays["x_mv"]))
    np.testing.assert_array_equal(found, load(network).embed(batch_of(source.arrays["x_mv"])))
    torch.save(state | {"proj_x.weight": torch.zeros(1)}, path)
    with pytest.raises(EcgfmError, match=r"1 unexpected \(proj_x\.weight\)"):
        MERL.load(path, network=network)


@pytest.mark.parametrize("network", DIMENSIONS)
def test_other_weights_give_other_embeddings(network, golden, load):
    arrays = golden(f"merl_{network}").arrays
    found = load(network, "#other").embed(batch_of(arrays["x_mv"]))
    assert np.isfinite(found).all()
    assert np.abs(found - arrays["embedding"]).max() > 0.1


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("network", DIMENSIONS)
def test_a_changed_file_is_refused(network, change, golden, monkeypatch, tmp_path):
    state = empty(golden(f"merl_{network}"))
    backbone = sorted(key for key in state if not key.startswith("linear."))
    for key in random.Random(5).sample(backbone, 8):
        changed = {other: value for other, value in state.items() if other != key}
        if change == "renamed":
            changed[f"module.{key}"] = state[key]
        elif change == "reshaped":
            changed[key] = state[key][..., None]
        monkeypatch.setattr(merl, "read_checkpoint", lambda path, changed=changed: changed)
        with pytest.raises(EcgfmError, match=key.replace(".", r"\.")):
            MERL.load(tmp_path, network=network)


def test_the_wrong_network_is_refused(golden, monkeypatch, tmp_path):
    monkeypatch.setattr(merl, "read_checkpoint", lambda path: empty(golden("merl_resnet18")))
    with pytest.raises(EcgfmError, match="148 missing"):
        MERL.load(tmp_path, network="vit_tiny")
    with pytest.raises(EcgfmError, match="Did you mean 'resnet18'"):
        MERL.load(tmp_path, network="resnet")


@pytest.mark.parametrize("network", DIMENSIONS)
def test_frozen_and_independent_of_the_batch(network, golden, load):
    model, signals = load(network), golden(f"merl_{network}").arrays["x_mv"]
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    whole = model.embed(batch_of(signals))
    rows = [model.embed(batch_of(signals[row : row + 1]))[0] for row in range(len(signals))]
    np.testing.assert_allclose(rows, whole, rtol=0, atol=5e-6)


@pytest.mark.parametrize("network", DIMENSIONS)
def test_rates_agree(network, golden, load):
    signals, model = golden(f"merl_{network}").arrays["x_mv"][:2], load(network)
    reference = model.embed(batch_of(signals))
    for rate in (250.0, 400.0):
        found = model.embed(batch_of(resample(signals, 500, rate), rate))
        cosine = (found * reference).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(reference, axis=1)
        assert found.shape == reference.shape and cosine.min() > 0.98


def test_lengths(golden, load):
    signals = golden("merl_vit_tiny").arrays["x_mv"]
    inputs = preprocess(signals[..., :2500], 500)
    # Padded before scaling: the padding is where 0 mV lies between the extremes.
    low, high = (getattr(signals[..., :2500], end)(axis=(1, 2)) for end in ("min", "max"))
    np.testing.assert_allclose(inputs[:, 5, 4000], -low / (high - low), atol=1e-6)
    long = np.concatenate([signals, 9 * signals[..., :100]], axis=-1)
    np.testing.assert_array_equal(preprocess(long, 500), preprocess(signals, 500))
    assert np.isfinite(load("vit_tiny").embed(batch_of(np.zeros((1, 12, 800), np.float32)))).all()
    with pytest.raises(EcgfmError, match="1 s or more"):
        preprocess(signals[..., :499], 500)


@pytest.mark.parametrize("network", DIMENSIONS)
def test_leads_go_by_name(network, golden, load, rng):
    name = f"merl_{network}"
    card = parse_card(name, declared_in(fixtures)[name][2].fields, where="here")
    assert card.leads == LEADS and card.dimensions == DIMENSIONS[network]
    assert card.exposure("mimic-iv-ecg") == "seen" and card.exposure("ptb-xl") == "unseen"
    model = Encoder(card, load(network))
    signals = golden(name).arrays["x_mv"]
    order = rng.permutation(12)
    found = model.embed(signals[:, order], sampling_rate=500, leads=[STANDARD[row] for row in order])
    np.testing.assert_allclose(found, golden(name).arrays["embedding"], rtol=0, atol=2e-5)
    # The leads that the authors swap do matter.
    swapped = load(network).embed(batch_of(signals, leads=LEADS))
    assert np.abs(swapped - found).max() > 1e-2
    assert model.fingerprint is not None
    with pytest.raises(EcgfmError, match="'V6' is needed"):
        model.embed(signals[:, :11], sampling_rate=500, leads=STANDARD[:11])


def test_declaring_is_light():
    code = "import sys, pytest_ecgfm.fixtures.merl; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]
