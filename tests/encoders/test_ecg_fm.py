"""ECG-FM against golden vectors of the authors' code, and what it refuses."""

import random
import subprocess
import sys
from argparse import Namespace
from functools import cache

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import ecg_fm as fixtures

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import ecg_fm
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.convert import convert
from pytest_ecgfm.encoders.ecg_fm import ECGFM, HEADS, preprocess
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, RecordBatch
from tests.encoders.golden.cut import head

SPELLING = {
    "conv_pos.pos_conv.0.weight_g": "conv_pos.pos_conv.0.parametrizations.weight.original0",
    "conv_pos.pos_conv.0.weight_v": "conv_pos.pos_conv.0.parametrizations.weight.original1",
}


def batch_of(signals, rate=500.0):
    return RecordBatch(signals, LEADS, rate, tuple(str(row) for row in range(len(signals))))


def official(state, **extras):
    """A checkpoint as the trainer of fairseq writes it."""
    beside = {"args": None, "criterion": {}, "optimizer_history": [{"num_updates": 3}], "extra_state": {"epoch": 1}}
    return {**beside, "cfg": {"model": {"encoder_layers": 12}}, "model": state, **extras}


@pytest.fixture(scope="module")
def weights(golden):
    return cache(golden("ecg_fm").weights)


@pytest.fixture(scope="module")
def load(weights, tmp_path_factory):
    @cache
    def loaded(salt=""):
        path = tmp_path_factory.mktemp("ecg_fm") / "official.pt"
        torch.save(official(weights(salt)), path)
        try:
            return ECGFM.load(path)
        finally:
            path.unlink()

    return loaded


@pytest.fixture(scope="module")
def embeddings(golden, load):
    return load().embed(batch_of(golden("ecg_fm").arrays["x_mv"]))


def test_input_agrees_with_the_original(golden):
    arrays = golden("ecg_fm").arrays
    np.testing.assert_allclose(head(preprocess(arrays["x_mv"], 500), arrays["x_in"]), arrays["x_in"], rtol=0, atol=1e-5)
    stretched = preprocess(arrays["x_mv_400hz"], 400)
    assert stretched.shape == (1, arrays["n_segments_400hz"], 12, 2500)
    np.testing.assert_allclose(stretched[0, ..., :64], arrays["x_in_400hz_head"], rtol=0, atol=1e-5)


def test_embedding_agrees_with_the_original(golden, embeddings):
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, golden("ecg_fm").arrays["embedding"], rtol=0, atol=1e-5)


def test_activations_agree_with_the_original(golden, load):
    arrays = golden("ecg_fm").arrays
    with torch.inference_mode():
        first = torch.from_numpy(preprocess(arrays["x_mv"][:1], 500)[:, 0])
        tokens = load().module.tokens(first)[0]
        np.testing.assert_allclose(load().module.project(first)[0, :8], arrays["tokens_proj"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(tokens[:8], arrays["final_tokens"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(tokens.mean(dim=0), arrays["embedding_seg"][0, 0], rtol=0, atol=1e-5)


def test_any_length_goes_through_the_module(golden, load):
    arrays = golden("ecg_fm").arrays
    whole = np.concatenate(list(preprocess(arrays["x_mv"][1:2], 500)[0]), axis=-1)[None]
    np.testing.assert_allclose(load().forward(whole)[0], arrays["embedding_10s"][1], rtol=0, atol=1e-5)


def test_other_weights_give_other_embeddings(golden, load):
    # 5 s: one segment.
    signals = batch_of(golden("ecg_fm").arrays["x_mv"][:1, :, :2500])
    found = load("#other").embed(signals)
    assert np.isfinite(found).all()
    assert np.abs(found - load().embed(signals)).max() > 0.1


def test_both_spellings(weights, load, monkeypatch, tmp_path):
    state = weights()
    renamed = {SPELLING.get(key, key): value for key, value in state.items()}
    assert set(renamed) - set(state) == set(SPELLING.values())
    monkeypatch.setattr(ecg_fm, "read_checkpoint", lambda path: official(renamed))
    found = ECGFM.load(tmp_path).module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in load().module.state_dict().items())


@pytest.mark.slow
def test_a_file_with_a_configuration_is_refused_until_it_is_converted(weights, load, tmp_path):
    source, target = tmp_path / "official.pt", tmp_path / "official.safetensors"
    torch.save(official(weights(), cfg=Namespace(model=tmp_path)), source)
    try:
        with pytest.raises(EcgfmError, match=r"ecgfm convert official\.pt official\.safetensors --trust"):
            ECGFM.load(source)
        convert(source, target, trust=True)
        found = ECGFM.load(target).module.state_dict()
        assert all(torch.equal(found[key], value) for key, value in load().module.state_dict().items())
    finally:
        source.unlink()
        target.unlink(missing_ok=True)


@pytest.mark.parametrize("change", ["dropped", "renamed", "reshaped"])
def test_a_changed_file_is_refused(change, weights, monkeypatch, tmp_path):
    state = weights()
    backbone = sorted(key for key in state if key.split(".")[0] not in {head.split(".")[0] for head in HEADS})
    for key in random.Random(5).sample(backbone, 8):
        changed = {other: value for other, value in state.items() if other != key}
        if change == "renamed":
            changed[f"module.{key}"] = state[key]
        elif change == "reshaped":
            changed[key] = state[key][..., None]
        monkeypatch.setattr(ecg_fm, "read_checkpoint", lambda path, changed=changed: official(changed))
        with pytest.raises(EcgfmError, match=key.replace(".", r"\.")):
            ECGFM.load(tmp_path)


def test_heads_may_be_absent_and_nothing_else_may_be_there(weights, monkeypatch, tmp_path):
    state = weights()
    bare = {key: value for key, value in state.items() if key.split(".")[0] not in ("mask_emb", "quantizer")}
    monkeypatch.setattr(ecg_fm, "read_checkpoint", lambda path: official(bare))
    assert ECGFM.load(tmp_path).module.post_extract_proj.weight.shape == (768, 256)
    finetuned = {f"encoder.{key}": value for key, value in bare.items()} | {"proj.weight": torch.zeros(17, 768)}
    monkeypatch.setattr(ecg_fm, "read_checkpoint", lambda path: official(finetuned))
    with pytest.raises(EcgfmError, match=r"missing .*unexpected"):
        ECGFM.load(tmp_path)
    monkeypatch.setattr(ecg_fm, "read_checkpoint", lambda path: {"weights": state})
    with pytest.raises(EcgfmError, match="no entry 'model'"):
        ECGFM.load(tmp_path)


def test_frozen_and_independent_of_the_batch(golden, load, embeddings):
    module, signals = load().module, golden("ecg_fm").arrays["x_mv"]
    assert not module.training and not any(parameter.requires_grad for parameter in module.parameters())
    for row in (0, len(signals) - 1):
        alone = load().embed(batch_of(signals[row : row + 1]))[0]
        np.testing.assert_allclose(alone, embeddings[row], rtol=0, atol=5e-6)


@pytest.mark.parametrize("rate", [250.0, 400.0])
def test_rates(rate, golden, load, embeddings):
    found = load().embed(batch_of(resample(golden("ecg_fm").arrays["x_mv"][:1], 500, rate), rate))
    assert found.shape == (1, 768) and np.isfinite(found).all()
    assert np.corrcoef(found[0], embeddings[0])[0, 1] > 0.98


def test_lengths():
    rng = np.random.default_rng(3)
    signals = rng.normal(size=(2, 12, 9000)).astype(np.float32)
    assert preprocess(signals, 500).shape == (2, 3, 12, 2500)
    short = preprocess(signals[..., :1999], 500)
    assert short.shape == (2, 1, 12, 1999)
    np.testing.assert_allclose(short.std(axis=-1), 1, atol=1e-5)
    assert preprocess(signals[..., :1000], 250).shape == (2, 1, 12, 2000)
    with pytest.raises(EcgfmError, match="1 s or more"):
        preprocess(signals[..., :499], 500)


def test_scaled_over_the_whole_record_and_flat_leads_are_zero():
    signals = np.full((1, 12, 5000), 0.2, np.float32)
    signals[0, 1] = np.where(np.arange(5000) < 2500, 0, 2)
    found = preprocess(signals, 500)
    np.testing.assert_allclose(found[0, :, 1], [[-1] * 2500, [1] * 2500], atol=1e-6)
    assert np.abs(np.delete(found, 1, axis=2)).max() < 1e-6


@pytest.mark.parametrize("rate", [100.0, 257.0, 360.0, 1000.0])
def test_linear_interpolation_keeps_the_ends_in_place(rate):
    rng = np.random.default_rng(4)
    signals = rng.normal(size=(1, 12, 3001))
    found = ecg_fm.stretch(signals, rate)
    want = int(3001 * 500 / rate)
    expected = [np.interp(np.arange(want), np.linspace(0, want - 1, 3001), lead) for lead in signals[0]]
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-9)


def test_leads_go_by_name(golden, load, embeddings, rng):
    card = parse_card("ecg_fm", declared_in(fixtures)["ecg_fm"][2].fields, where="here")
    encoder, order = Encoder(card, load()), rng.permutation(12)
    signals = golden("ecg_fm").arrays["x_mv"][:1, order]
    found = encoder.embed(signals, sampling_rate=500, leads=[LEADS[row] for row in order])
    np.testing.assert_allclose(found, embeddings[:1], rtol=0, atol=5e-6)
    assert encoder.fingerprint is not None and encoder.weights_sha256
    with pytest.raises(EcgfmError, match="'V6' is needed"):
        encoder.embed(signals[:, :11], sampling_rate=500, leads=LEADS[:11])


def test_declaring_is_light():
    code = "import sys, pytest_ecgfm.fixtures.ecg_fm; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


def test_the_fixture_asks_for_its_file(tmp_path):
    asked = []
    with pytest.raises(EcgfmError, match=r"none\.pt: no such file"):
        declared_in(fixtures)["ecg_fm"][2].function(lambda name: asked.append(name) or tmp_path / "none.pt")
    assert asked == ["ecg_fm"]
