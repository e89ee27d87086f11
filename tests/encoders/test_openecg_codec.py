"""The codec of openecg against vectors of the official code: with its own weights, and with synthetic ones."""

import hashlib
import random
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_ecgfm.fixtures import openecg_codec as fixtures
from scipy.signal import resample_poly

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import openecg_codec
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.openecg_codec import Backbone, OpenECGCodec, preprocess
from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.encoders.vit import sine_table
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, RecordBatch

DECLARATIONS = {name: found[2] for name, found in declared_in(fixtures).items()}
CARDS = {name: parse_card(name, found.fields, where=found.where) for name, found in DECLARATIONS.items()}
CARD = CARDS["openecg_codec"]


def batch_of(signals, rate=500.0, leads=LEADS):
    return RecordBatch(signals.astype(np.float32), leads, rate, tuple(f"r{row}" for row in range(len(signals))))


@pytest.fixture(scope="module")
def vectors(golden):
    return golden("openecg_codec").arrays


@pytest.fixture(scope="module")
def weights(golden):
    """All tensors of the official file, drawn by the published rule; the table of positions is what it is."""
    found = golden("openecg_codec")
    state = found.weights() | {"pos_enc": sine_table(512, 128)[None]}
    assert {key: list(value.shape) for key, value in state.items()} == {
        entry["key"]: entry["shape"] for entry in found.manifest["state_dict"]
    }
    return state


def official(state):
    return {"model_state": state, "model_config": {"d_model": 128}, "epoch": 6, "seed": 0, "codec_version": "v6"}


@pytest.fixture(scope="module")
def synthetic(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("openecg") / "codec.pt"
    torch.save(official(weights), path)
    return DECLARATIONS["openecg_codec"].function(lambda name: {"openecg_codec": path}[name])


@pytest.fixture(scope="module")
def trained():
    if find_spec("openecg") is None:
        pytest.skip("package openecg, which holds the trained weights, is not installed: pip install '.[openecg]'")
    return load_encoder("openecg_codec", device="cpu").model


@pytest.fixture(scope="module", params=["synthetic", "trained"])
def codec(request):
    """A codec, and what its keys end in among the vectors."""
    return request.getfixturevalue(request.param), "_synthetic" if request.param == "synthetic" else ""


def test_declaring_it_needs_neither_torch_nor_openecg():
    code = "import sys, pytest_ecgfm.fixtures.openecg_codec; print('torch' in sys.modules, 'openecg' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_cards():
    assert CARD.leads == ("II",)
    assert {CARD.exposure(name) for name in ("ptb-xl", "ludb", "incart")} == {"seen"}
    assert CARD.exposure("chapman-ningbo") == "unknown"
    assert {CARD.exposure(name) for name in ("cpsc-2018", "georgia", "code-15", "code-test")} == {"unseen"}
    assert {CARDS["openecg_random"].exposure(name) for name in ("ptb-xl", "chapman-ningbo")} == {"unseen"}
    assert "Apache-2.0" in CARD.licence and "no medical device" in CARD.licence


def test_inputs_are_the_official_ones(vectors):
    np.testing.assert_array_equal(preprocess(vectors["x_mv"][:, 1], 500), vectors["x_in"])
    np.testing.assert_array_equal(preprocess(vectors["x_short_mv"][:, 1], 500), vectors["x_short_in"])


def test_embeddings_are_the_official_ones(vectors, codec):
    model, suffix = codec
    found = model.embed(batch_of(vectors["x_mv"]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, vectors[f"embedding{suffix}"], rtol=0, atol=2e-5)
    # One by one, and shorter than 10 s.
    for row in range(len(vectors["x_mv"])):
        alone = model.embed(batch_of(vectors["x_mv"][row : row + 1]))
        np.testing.assert_allclose(alone, vectors[f"embedding{suffix}"][row : row + 1], rtol=0, atol=2e-5)
    found = model.embed(batch_of(vectors["x_short_mv"]))
    np.testing.assert_allclose(found, vectors[f"embedding_short{suffix}"], rtol=0, atol=2e-5)


def test_activations_are_the_official_ones(vectors, codec):
    model, suffix = codec
    inputs = torch.from_numpy(vectors["x_in"])
    with torch.inference_mode():
        lower = model.module.lower(inputs)
        tokens = model.module.tokens(inputs)
    np.testing.assert_allclose(lower[:2, :8], vectors[f"lower3{suffix}"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(tokens[:, ::50], vectors[f"tokens{suffix}"], rtol=0, atol=5e-5)


def test_the_table_of_positions_is_the_official_one(trained):
    # Sines differ in their last bits between processors.
    torch.testing.assert_close(trained.module.pos_enc[0], sine_table(512, 128), rtol=0, atol=1e-4)


def test_many_records_go_a_few_at_a_time(vectors, codec):
    model, suffix = codec
    found = model.embed(batch_of(np.tile(vectors["x_mv"], (5, 1, 1))))
    np.testing.assert_allclose(found, np.tile(vectors[f"embedding{suffix}"], (5, 1)), rtol=0, atol=2e-5)


def test_lead_ii_is_found_by_name(vectors, codec, rng):
    model, suffix = codec
    encoder, order = Encoder(CARD, model), rng.permutation(12)
    names = [LEADS[row] for row in order]
    found = encoder.embed(vectors["x_mv"][:, order], sampling_rate=500, leads=names)
    np.testing.assert_allclose(found, vectors[f"embedding{suffix}"], rtol=0, atol=2e-5)
    alone = encoder.embed(vectors["x_mv"][:, 1:2], sampling_rate=500, leads=["II"])
    np.testing.assert_allclose(alone, vectors[f"embedding{suffix}"], rtol=0, atol=2e-5)
    with pytest.raises(EcgfmError, match="'II' is needed"):
        encoder.embed(vectors["x_mv"][:, :1], sampling_rate=500, leads=["I"])


def test_records_at_400_hz_are_brought_to_500(vectors, codec):
    model, _ = codec
    slower = resample_poly(vectors["x_mv"][:2].astype(np.float64), 4, 5, axis=-1).astype(np.float32)
    # The same way to 500 Hz, outside of the adapter.
    first = slower[..., :1]
    again = resample_poly(slower - first, 5, 4, axis=-1) + first
    found, expected = model.embed(batch_of(slower, 400.0)), model.embed(batch_of(again))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    original = model.embed(batch_of(vectors["x_mv"][:2]))
    assert np.linalg.norm(found - original) < 0.2 * np.linalg.norm(original)


def test_of_a_longer_record_the_first_ten_seconds_are_read(vectors, codec, rng):
    model, suffix = codec
    longer = np.concatenate([vectors["x_mv"], rng.normal(size=(len(vectors["x_mv"]), 12, 1234))], axis=-1)
    np.testing.assert_allclose(model.embed(batch_of(longer)), vectors[f"embedding{suffix}"], rtol=0, atol=2e-5)


@given(samples=st.integers(500, 6000), rate=st.sampled_from([100.0, 257.0, 400.0, 500.0, 1000.0]))
@settings(max_examples=30, deadline=None)
def test_inputs_are_whole_tokens_of_ranks_whatever_the_length(samples, rate):
    signals = np.random.default_rng(samples).normal(size=(2, samples)).astype(np.float32)
    if samples < rate:
        with pytest.raises(EcgfmError, match="1 s or more"):
            preprocess(signals, rate)
        return
    found = preprocess(signals, rate)
    length = min(5000, int(np.ceil(samples * 500 / rate)) // 10 * 10)
    assert found.shape == (2, length) and found.dtype == np.float32
    assert found.min() == -1 and found.max() == 1
    # An increasing map leaves ranks as they are (a power of two, so that rounding makes no ties).
    if rate == 500:
        np.testing.assert_array_equal(preprocess(4 * signals, rate), found)


def test_flat_and_tied_samples():
    assert not preprocess(np.full((1, 5000), 0.25, np.float32), 400).any()
    tied = np.array([[0, 1, 1, 2]] * 1).repeat(250, axis=1)
    np.testing.assert_array_equal(np.unique(preprocess(tied, 500)), np.float32([-1 + 249 / 999, 0, 1 - 249 / 999]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused_by_name(value, vectors, synthetic):
    signals = vectors["x_mv"].copy()
    signals[1, 1, 77] = value
    for embed in (synthetic.embed, Encoder(CARD, synthetic).embed_batch):
        with pytest.raises(EcgfmError, match="record r1"):
            embed(batch_of(signals))


@pytest.mark.parametrize("change", ["dropped", "renamed", "reshaped", "added"])
def test_a_changed_file_is_refused(change, weights, monkeypatch, tmp_path):
    heads = ("head", "beat_sample", "rhythm_sample", "refine")
    for key in random.Random(3).sample(sorted(key for key in weights if not key.startswith(heads)), 8):
        changed = {other: value for other, value in weights.items() if other != key or change == "added"}
        other = key
        if change in ("renamed", "added"):
            other = f"module.{key}"
            changed[other] = weights[key]
        elif change == "reshaped":
            changed[key] = weights[key][..., None]
        monkeypatch.setattr(openecg_codec, "read_checkpoint", lambda path, changed=changed: official(changed))
        with pytest.raises(EcgfmError, match=re.escape(other)):
            OpenECGCodec.load(tmp_path)
    monkeypatch.setattr(openecg_codec, "read_checkpoint", lambda path: weights)
    with pytest.raises(EcgfmError, match="no entry 'model_state'"):
        OpenECGCodec.load(tmp_path)


def test_a_file_of_ones_own(weights, synthetic, vectors, tmp_path):
    path = tmp_path / "codec.pt"
    torch.save(official(weights), path)
    encoder = load_encoder("openecg_codec", checkpoint=path, device="cpu")
    batch = batch_of(vectors["x_mv"][:1])
    np.testing.assert_array_equal(encoder.embed_batch(batch), synthetic.embed(batch))


def test_trained_weights_are_those_of_the_card(trained):
    file = Path(find_spec("openecg").submodule_search_locations[0], "models", CARD.checkpoint)
    assert CARD.source.endswith(hashlib.sha256(file.read_bytes()).hexdigest())
    assert not trained.module.training
    assert not any(parameter.requires_grad for parameter in trained.module.parameters())


def test_the_package_is_not_imported(trained):
    code = (
        "import sys; from pytest_ecgfm import load_encoder; load_encoder('openecg_codec', device='cpu');"
        "print('openecg' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


def test_every_tensor_of_the_control_is_drawn_anew_by_its_seed(weights):
    state = torch.get_rng_state()
    first, again, second = (OpenECGCodec.redrawn(seed).module.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert set(first) == set(Backbone().state_dict()) <= set(weights)
    drawn = {key for key in first if not torch.equal(first[key], second[key])}
    # What layers start with is constant for norms and for the biases of attention; the table is no weight.
    constant = {key for key in first if "norm" in key or key.endswith(("in_proj_bias", "out_proj.bias"))}
    assert drawn == set(first) - constant - {"pos_enc"}
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], weights[key]) for key in set(first) - {"pos_enc"})
    assert torch.equal(first["pos_enc"], weights["pos_enc"])


def test_the_control_is_no_other_than_its_seed_says():
    control = load_encoder("openecg_random", device="cpu")
    assert control.weights_sha256 == Encoder(control.card, OpenECGCodec.redrawn(0)).weights_sha256
    assert control.weights_sha256 != Encoder(control.card, OpenECGCodec.redrawn(1)).weights_sha256
