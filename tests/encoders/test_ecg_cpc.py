"""ECG-CPC against golden vectors of the authors' code, and what it refuses."""

import random
import subprocess
import sys
from functools import cache
from types import ModuleType

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import ecg_cpc as fixtures

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import ecg_cpc
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.convert import convert
from pytest_ecgfm.encoders.ecg_cpc import ECGCPC, preprocess
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, RecordBatch
from tests.encoders.golden.cut import head

POSITIONS = [0, 1, 2, 150, 299]
HEAD = "ts_encoder.head_ssl.proj.0.weight"


def batch_of(signals, rate=240.0):
    return RecordBatch(signals, LEADS, rate, tuple(str(row) for row in range(len(signals))))


def weights(golden, salt=""):
    """The backbone's tensors, with the stored frequencies, and the head of pretraining."""
    found = golden("ecg_cpc")
    state = found.weights(salt)
    for layer in range(4):
        for name in ("omega", "z"):
            key = f"ts_encoder.predictor.predictor.s4_layers.{layer}.kernel.kernel.{name}"
            state[key] = torch.from_numpy(found.arrays[name])
    assert set(state) == {entry["key"] for entry in found.manifest["state_dict"]}
    return state | {HEAD: torch.ones(3, 512)}


def official(state, **extras):
    """A checkpoint as Lightning writes it, without the configuration."""
    return {"epoch": 3, "global_step": 1000, "state_dict": state, "lr_schedulers": [], "callbacks": {}, **extras}


@pytest.fixture(scope="module")
def load(golden, tmp_path_factory):
    @cache
    def loaded(salt=""):
        path = tmp_path_factory.mktemp("ecg_cpc") / "official.ckpt"
        torch.save(official(weights(golden, salt)), path)
        return ECGCPC.load(path)

    return loaded


@pytest.fixture(scope="module")
def embeddings(golden, load):
    return load().embed(batch_of(golden("ecg_cpc").arrays["x_mv"]))


def test_input_agrees_with_the_original(golden):
    arrays = golden("ecg_cpc").arrays
    crops = preprocess(arrays["x_mv"], 240)
    assert crops.shape == (len(arrays["x_mv"]), 4, 12, 600) and crops.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate(list(crops.swapaxes(0, 1)), axis=-1), arrays["x_mv"])
    # Of the committed vectors two of the four crops.
    expected = arrays["x_in_500hz"]
    found = preprocess(arrays["x_mv_500hz"], 500)[0, : len(expected)]
    np.testing.assert_allclose(head(found, expected), expected, rtol=0, atol=1e-5)


def test_embedding_agrees_with_the_original(golden, load, embeddings):
    arrays = golden("ecg_cpc").arrays
    assert embeddings.dtype == np.float32 and embeddings.shape == arrays["embedding"].shape
    np.testing.assert_allclose(embeddings, arrays["embedding"], rtol=0, atol=1e-5)
    crops = preprocess(arrays["x_mv"][:1], 240)[0]
    np.testing.assert_allclose(load().forward(crops), arrays["embedding_crops"][0], rtol=0, atol=1e-5)


def test_activations_agree_with_the_original(golden, load):
    arrays = golden("ecg_cpc").arrays
    first = torch.from_numpy(preprocess(arrays["x_mv"][:1], 240)[0, :1])
    module = load().module
    predictor = module.predictor["predictor"]
    with torch.inference_mode():
        encoded = module.encoder(first)
        layer0 = predictor.norms[0]((predictor.s4_layers[0](encoded) + encoded).transpose(1, 2))
        kernel = predictor.s4_layers[0].kernel["kernel"]()
        tokens = module.tokens(first)
    assert kernel.shape == (512, 1200)
    np.testing.assert_allclose(kernel[:8, :300], arrays["kernel0"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(encoded[0].T[POSITIONS], arrays["encoder_tokens"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(layer0[0, POSITIONS], arrays["layer0"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(tokens[0, POSITIONS], arrays["tokens"], rtol=0, atol=1e-5)


def test_up_to_ten_seconds_go_through_the_module(golden, load):
    arrays = golden("ecg_cpc").arrays
    np.testing.assert_allclose(load().forward(arrays["x_mv"][:2]), arrays["embedding_10s"][:2], rtol=0, atol=1e-5)
    with pytest.raises(EcgfmError, match="1201 tokens, but its kernel has 1200"):
        load().forward(np.zeros((1, 12, 2401), np.float32))


def test_the_kernel_is_made_once_and_anew_for_other_weights(golden, load, monkeypatch, tmp_path):
    torch.save(official(weights(golden)), tmp_path / "official.ckpt")
    model = ECGCPC.load(tmp_path / "official.ckpt")
    signals = batch_of(golden("ecg_cpc").arrays["x_mv"][:1])
    made = []
    original = ecg_cpc.StateSpaceKernel.forward
    monkeypatch.setattr(ecg_cpc.StateSpaceKernel, "forward", lambda self: made.append(1) or original(self))
    before = [model.embed(signals) for _ in range(3)]
    assert len(made) == 4
    model.module.load_state_dict(load("#other").module.state_dict())
    assert np.abs(model.embed(signals) - before[0]).max() > 0.1
    assert len(made) == 8
    np.testing.assert_array_equal(model.embed(signals), load("#other").embed(signals))


def test_other_weights_give_other_embeddings(golden, load, embeddings):
    found = load("#other").embed(batch_of(golden("ecg_cpc").arrays["x_mv"]))
    assert np.isfinite(found).all()
    assert np.abs(found - embeddings).max() > 0.1


@pytest.mark.parametrize("change", ["dropped", "renamed", "reshaped"])
def test_a_changed_file_is_refused(change, golden, monkeypatch, tmp_path):
    state = weights(golden)
    for key in random.Random(5).sample(sorted(set(state) - {HEAD}), 8):
        changed = {other: value for other, value in state.items() if other != key}
        if change == "renamed":
            changed[key.replace("ts_encoder.", "encoder.")] = state[key]
        elif change == "reshaped":
            changed[key] = state[key][..., None]
        monkeypatch.setattr(ecg_cpc, "read_checkpoint", lambda path, changed=changed: official(changed))
        with pytest.raises(EcgfmError, match=key.replace(".", r"\.")):
            ECGCPC.load(tmp_path)


def test_stored_frequencies_are_needed_and_the_head_is_not(golden, monkeypatch, tmp_path):
    state = weights(golden)
    del state[HEAD]
    monkeypatch.setattr(ecg_cpc, "read_checkpoint", lambda path: official(state))
    assert len(ECGCPC.load(tmp_path).module.state_dict()) == 76
    state = {key: value for key, value in state.items() if not key.endswith("omega")}
    with pytest.raises(EcgfmError, match=r"4 missing .*kernel\.omega"):
        ECGCPC.load(tmp_path)
    monkeypatch.setattr(ecg_cpc, "read_checkpoint", lambda path: state)
    with pytest.raises(EcgfmError, match="no entry 'state_dict'"):
        ECGCPC.load(tmp_path)


def test_configuration_of_classes_that_are_not_installed(golden, load, monkeypatch, tmp_path):
    module = ModuleType("clinical_ts_config")
    module.ModelConfig = type("ModelConfig", (), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    source, target = tmp_path / "last.ckpt", tmp_path / "last.safetensors"
    torch.save(official(weights(golden), hyper_parameters={"model": module.ModelConfig()}), source)
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(EcgfmError, match=r"ecgfm convert last\.ckpt last\.safetensors --trust"):
        ECGCPC.load(source)
    convert(source, target, trust=True)
    found, wanted = ECGCPC.load(target).module.state_dict(), load().module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in wanted.items())


def test_frozen_and_independent_of_the_batch(golden, load, embeddings, monkeypatch):
    module, signals = load().module, golden("ecg_cpc").arrays["x_mv"]
    assert not module.training and not any(parameter.requires_grad for parameter in module.parameters())
    alone = [load().embed(batch_of(signals[row : row + 1]))[0] for row in range(len(signals))]
    np.testing.assert_allclose(alone, embeddings, rtol=0, atol=2e-6)
    monkeypatch.setattr(ecg_cpc, "_AT_ONCE", 3)
    np.testing.assert_allclose(load().embed(batch_of(signals[:2])), embeddings[:2], rtol=0, atol=2e-6)


@pytest.mark.parametrize("rate", [250.0, 400.0, 500.0])
def test_rates(rate, golden, load, embeddings):
    found = load().embed(batch_of(resample(golden("ecg_cpc").arrays["x_mv"][:2], 240, rate), rate))
    assert found.shape == (2, 512)
    assert min(np.corrcoef(row, other)[0, 1] for row, other in zip(found, embeddings[:2], strict=True)) > 0.98


def test_lengths(rng):
    signals = rng.normal(size=(2, 12, 6500)).astype(np.float32)
    assert preprocess(signals, 500).shape == (2, 5, 12, 600)
    assert preprocess(signals[..., :1249], 500).shape == (2, 1, 12, 599)
    assert preprocess(signals, 257).shape == (2, 10, 12, 599)
    with pytest.raises(EcgfmError, match="1 s or more"):
        preprocess(signals[..., :499], 500)
    # Crops come before resampling: none knows of its neighbours.
    changed = signals.copy()
    changed[..., 1250:] = 0
    np.testing.assert_array_equal(preprocess(changed, 500)[:, 0], preprocess(signals, 500)[:, 0])


def test_leads_go_by_name(golden, load, embeddings, rng):
    card = parse_card("ecg_cpc", declared_in(fixtures)["ecg_cpc"][2].fields, where="here")
    encoder, order = Encoder(card, load()), rng.permutation(12)
    signals = golden("ecg_cpc").arrays["x_mv"][:, order]
    found = encoder.embed(signals, sampling_rate=240, leads=[LEADS[row] for row in order])
    np.testing.assert_allclose(found, embeddings, rtol=0, atol=2e-6)
    assert encoder.fingerprint is not None and encoder.weights_sha256
    with pytest.raises(EcgfmError, match="'V6' is needed"):
        encoder.embed(signals[:, :11], sampling_rate=240, leads=LEADS[:11])


def test_declaring_is_light():
    code = "import sys, pytest_ecgfm.fixtures.ecg_cpc; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


def test_the_fixture_asks_for_its_file(tmp_path):
    asked = []
    with pytest.raises(EcgfmError, match=r"none\.ckpt: no such file"):
        declared_in(fixtures)["ecg_cpc"][2].function(lambda name: asked.append(name) or tmp_path / "none.ckpt")
    assert asked == ["ecg_cpc"]
