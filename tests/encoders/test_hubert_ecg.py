"""HuBERT-ECG against golden vectors of the authors' code, and what it refuses."""

import random
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import hubert_ecg as fixtures
from safetensors.torch import save_file

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import hubert_ecg
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.hubert_ecg import SIZES, HubertECG, preprocess
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, RecordBatch

ALL = ["small", "base", pytest.param("large", marks=pytest.mark.slow)]
CHANGES = ["dropped", "renamed", "reshaped"]
POSITIONS = "encoder.pos_conv_embed.conv"
HEADS = ("final_proj.", "label_embedding.", "masked_spec_embed")


def batch_of(signals, rate=500.0):
    return RecordBatch(signals, LEADS, rate, tuple(str(row) for row in range(len(signals))))


def empty(source):
    """Tensors by official key: shapes alone decide whether a file fits, and large weights take long to draw."""
    entries = source.manifest["tensors"]
    return {
        entry["key"]: torch.zeros((), dtype=getattr(torch, entry["dtype"])).expand(entry["shape"]) for entry in entries
    }


@pytest.fixture(scope="module")
def load(golden, tmp_path_factory):
    """A callable, size and salt to the model loaded from a folder in the official layout."""

    @cache
    def loaded(size, salt=""):
        folder = tmp_path_factory.mktemp(size)
        path = folder / "model.safetensors"
        save_file(golden(f"hubert_ecg_{size}").weights(salt), path)
        try:
            return HubertECG.load(folder, size=size)
        finally:
            path.unlink()

    return loaded


@pytest.mark.parametrize("size", ALL)
def test_golden(size, golden, load):
    arrays = golden(f"hubert_ecg_{size}").arrays
    np.testing.assert_allclose(preprocess(arrays["x_mv"], 500), arrays["x_in"], rtol=0, atol=1e-5)
    found = load(size).embed(batch_of(arrays["x_mv"]))
    assert found.dtype == np.float32 and found.shape == (len(arrays["x_mv"]), SIZES[size].width)
    np.testing.assert_allclose(found, arrays["embedding"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", ALL)
def test_tokens_agree_before_they_are_averaged(size, golden, load):
    arrays, network = golden(f"hubert_ecg_{size}").arrays, load(size).module
    with torch.inference_mode():
        features = network.feature_extractor(torch.from_numpy(arrays["x_in"][:1, None]))
        hidden = network.encoder(network.feature_projection(features.transpose(1, 2)))
    np.testing.assert_allclose(features[0, :64], arrays["feat_r0_c64"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(hidden[0], arrays["last_hidden_r0"], rtol=0, atol=5e-5)


@pytest.mark.parametrize("spelling", [("weight_g", "weight_v"), ()])
def test_both_spellings_and_both_files(spelling, golden, tmp_path):
    source = golden("hubert_ecg_small")
    state = source.weights()
    for row, old in enumerate(spelling):
        state[f"{POSITIONS}.{old}"] = state.pop(f"{POSITIONS}.parametrizations.weight.original{row}")
    path = tmp_path / "hubert_ecg_small.pt"
    torch.save({"model_state_dict": state, "pretraining_vocab_sizes": [500]}, path)
    found = HubertECG.load(path, size="small").embed(batch_of(source.arrays["x_mv"][:2]))
    np.testing.assert_allclose(found, source.arrays["embedding"][:2], rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", ["small", *(pytest.param(size, marks=pytest.mark.slow) for size in ("base", "large"))])
def test_other_weights_give_other_embeddings(size, golden, load):
    arrays = golden(f"hubert_ecg_{size}").arrays
    found = load(size, "#other").embed(batch_of(arrays["x_mv"][:2]))
    assert np.isfinite(found).all()
    assert np.abs(found - arrays["embedding"][:2]).max() > 0.1


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", ALL)
def test_a_changed_file_is_refused(size, change, golden, monkeypatch, tmp_path):
    state = empty(golden(f"hubert_ecg_{size}"))
    backbone = sorted(key for key in state if not key.startswith(HEADS))
    for key in [*random.Random(5).sample(backbone, 8), f"{POSITIONS}.parametrizations.weight.original0"]:
        changed = {other: value for other, value in state.items() if other != key}
        if change == "renamed":
            changed[f"hubert_ecg.{key}"] = state[key]
        elif change == "reshaped":
            changed[key] = state[key][..., None]
        monkeypatch.setattr(hubert_ecg, "read_checkpoint", lambda path, changed=changed: changed)
        with pytest.raises(EcgfmError, match=key.replace(".", r"\.")):
            HubertECG.load(tmp_path, size=size)


def test_the_wrong_file_is_refused(golden, monkeypatch, tmp_path):
    state = empty(golden("hubert_ecg_small"))
    monkeypatch.setattr(hubert_ecg, "read_checkpoint", lambda path: state)
    with pytest.raises(EcgfmError, match="missing"):
        HubertECG.load(tmp_path, size="base")
    with pytest.raises(EcgfmError, match="Did you mean 'small'"):
        HubertECG.load(tmp_path, size="smal")
    fine_tuned = {f"hubert_ecg.{key}": value for key, value in state.items()}
    monkeypatch.setattr(hubert_ecg, "read_checkpoint", lambda path: {"model_state_dict": fine_tuned})
    with pytest.raises(EcgfmError, match=r"unexpected \(hubert_ecg\."):
        HubertECG.load(tmp_path, size="small")


@pytest.mark.parametrize("size", ALL)
def test_frozen_and_independent_of_the_batch(size, golden, load):
    model, signals = load(size), golden(f"hubert_ecg_{size}").arrays["x_mv"]
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    whole = model.embed(batch_of(signals))
    last = len(signals) - 1
    rows = [model.embed(batch_of(signals[row : row + 1]))[0] for row in (0, last)]
    np.testing.assert_allclose(rows, whole[[0, last]], rtol=0, atol=2e-6)


def test_rates_agree(golden, load):
    signals, model = golden("hubert_ecg_small").arrays["x_mv"][:2], load("small")
    reference = model.embed(batch_of(signals))
    for rate in (250.0, 400.0):
        found = model.embed(batch_of(resample(signals, 500, rate), rate))
        cosine = (found * reference).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(reference, axis=1)
        assert found.shape == reference.shape and cosine.min() > 0.98
    with pytest.raises(EcgfmError, match="more than 94 Hz"):
        model.embed(batch_of(signals, 94.0))


def test_lengths(golden):
    signals = golden("hubert_ecg_small").arrays["x_mv"]
    whole = preprocess(signals, 500)
    # What comes after 5 s matters for the scale of a lead alone.
    quiet = np.concatenate([signals, 0 * signals + signals[..., -1:]], axis=-1)
    assert preprocess(quiet, 500).shape == whole.shape
    assert np.abs(preprocess(quiet, 500) - whole).max() < 0.05
    short = preprocess(signals[..., :1500], 500).reshape(len(signals), 12, 500)
    assert np.abs(short[..., 320:480]).max() < 5e-3 < 0.5 < np.abs(short[..., :300]).max()
    with pytest.raises(EcgfmError, match="1 s or more"):
        preprocess(signals[..., :499], 500)


def test_gain_does_not_matter_and_flat_leads_are_finite(golden, load):
    signals = golden("hubert_ecg_small").arrays["x_mv"][:1]
    np.testing.assert_allclose(preprocess(3 * signals, 500), preprocess(signals, 500), atol=1e-5)
    assert np.isfinite(load("small").embed(batch_of(np.zeros_like(signals)))).all()


def test_leads_go_by_name(golden, load, rng):
    card = parse_card("hubert_ecg_small", declared_in(fixtures)["hubert_ecg_small"][2].fields, where="here")
    model = Encoder(card, load("small"))
    signals = golden("hubert_ecg_small").arrays["x_mv"][:2]
    order = rng.permutation(12)
    found = model.embed(signals[:, order], sampling_rate=500, leads=[LEADS[row] for row in order])
    np.testing.assert_allclose(found, load("small").embed(batch_of(signals)), rtol=0, atol=1e-6)
    assert model.fingerprint is not None
    with pytest.raises(EcgfmError, match="'V6' is needed"):
        model.embed(signals[:, :11], sampling_rate=500, leads=LEADS[:11])


@pytest.mark.parametrize("size", SIZES)
def test_cards(size):
    name = f"hubert_ecg_{size}"
    card = parse_card(name, declared_in(fixtures)[name][2].fields, where="here")
    assert card.dimensions == SIZES[size].width
    # The named sources hold fewer records than the authors count, so nothing can be called unseen.
    assert card.exposure("ptb-xl") == card.exposure("ludb") == "unknown"


def test_declaring_is_light():
    code = "import sys, pytest_ecgfm.fixtures.hubert_ecg; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]
