"""ECGFM-KED against golden vectors of the authors' code, and what it refuses."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import ecgfm_ked as fixtures
from safetensors.torch import save_file

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import ecgfm_ked
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.ecgfm_ked import ECGFMKED, preprocess
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, RecordBatch
from tests.encoders.golden.cut import head


def batch_of(signals, rate=500.0):
    return RecordBatch(signals, LEADS, rate, tuple(str(row) for row in range(len(signals))))


def saved(path, state):
    others = {"model": {"decoder.weight": torch.zeros(2)}, "text_encoder": {"a": torch.zeros(1)}}
    optimiser = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]}
    torch.save({**others, "ecg_model": state, "optimizer": optimiser, "epoch": 3}, path)
    return path


def empty(source):
    """Tensors by official key: shapes alone decide whether a file fits, and large weights take long to draw."""
    entries = source.manifest["state_dict"]
    return {
        entry["key"]: torch.zeros((), dtype=getattr(torch, entry["dtype"])).expand(entry["shape"]) for entry in entries
    }


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("ecgfm_ked").arrays


@pytest.fixture(scope="module")
def model(golden, tmp_path_factory):
    path = tmp_path_factory.mktemp("ked") / "best_valid_all_increase_with_augment_epoch_3.pt"
    return ECGFMKED.load(saved(path, golden("ecgfm_ked").weights()))


def test_golden(arrays, model):
    np.testing.assert_allclose(head(preprocess(arrays["x_mv"], 500), arrays["x_in"]), arrays["x_in"], rtol=0, atol=1e-5)
    found = model.embed(batch_of(arrays["x_mv"]))
    assert found.dtype == np.float32 and found.shape == arrays["embedding"].shape
    np.testing.assert_allclose(found, arrays["embedding"], rtol=0, atol=2e-5)


def test_maps_agree_before_they_are_averaged(arrays, model):
    with torch.inference_mode():
        inputs = torch.from_numpy(preprocess(arrays["x_mv"], 500))
        stem = model.module[:4](inputs)
        stage = model.module[4](stem)
        whole = model.module(inputs)
    assert tuple(whole.shape[1:]) == tuple(arrays["feature_map_shape"][1:])
    np.testing.assert_allclose(stem[0, :16, :32], arrays["stem"], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(stage[0, :32, :32], arrays["stage1"], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(whole[0, :64], arrays["feature_map"], rtol=1e-4, atol=5e-5)


def test_other_lengths_agree(arrays, model):
    found = model.forward(arrays["x_mv"]).mean(axis=-1)
    np.testing.assert_allclose(found, arrays["embedding_ai4health_5000"], rtol=0, atol=2e-5)


def test_other_weights_give_other_embeddings(arrays, golden, tmp_path):
    other = ECGFMKED.load(saved(tmp_path / "other.pt", golden("ecgfm_ked").weights("#other")))
    found = other.embed(batch_of(arrays["x_mv"]))
    assert np.isfinite(found).all()
    assert np.abs(found - arrays["embedding"]).max() > 0.1


@pytest.mark.parametrize("change", ["dropped", "renamed", "reshaped", "untied"])
def test_a_changed_file_is_refused(change, golden, monkeypatch, tmp_path):
    state = empty(golden("ecgfm_ked"))
    keys = sorted(key for key in state if change != "untied" or (".convs." in key and key.endswith("weight")))
    for key in random.Random(5).sample(keys, 8):
        changed = {other: value for other, value in state.items() if other != key}
        if change == "renamed":
            changed[f"ecg_model.{key}"] = state[key]
        elif change == "reshaped":
            changed[key] = state[key][..., None]
        elif change == "untied":
            changed[key] = state[key] + 1
        monkeypatch.setattr(ecgfm_ked, "read_checkpoint", lambda path, changed=changed: {"ecg_model": changed})
        with pytest.raises(EcgfmError, match=key.replace(".", r"\.")):
            ECGFMKED.load(tmp_path)


def test_a_converted_file_is_read(golden, arrays, tmp_path):
    save_file(golden("ecgfm_ked").weights(), tmp_path / "converted.safetensors")
    found = ECGFMKED.load(tmp_path / "converted.safetensors").embed(batch_of(arrays["x_mv"][:1]))
    np.testing.assert_allclose(found, arrays["embedding"][:1], rtol=0, atol=2e-5)


def test_weights_at_the_top_level_are_refused(golden, monkeypatch, tmp_path):
    # A reader that looks for these keys finds none in the published file, and goes on with random weights.
    flat = {f"ecg_model.{key}": value for key, value in empty(golden("ecgfm_ked")).items()}
    monkeypatch.setattr(ecgfm_ked, "read_checkpoint", lambda path: flat)
    with pytest.raises(EcgfmError, match="no entry 'ecg_model'"):
        ECGFMKED.load(tmp_path)


def test_frozen_and_independent_of_the_batch(arrays, model):
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    whole = model.embed(batch_of(arrays["x_mv"]))
    rows = [model.embed(batch_of(arrays["x_mv"][row : row + 1]))[0] for row in range(len(whole))]
    np.testing.assert_allclose(rows, whole, rtol=0, atol=2e-5)


def test_rates_agree(arrays, model):
    reference = model.embed(batch_of(arrays["x_mv"]))
    for rate in (250.0, 400.0):
        found = model.embed(batch_of(resample(arrays["x_mv"], 500, rate), rate))
        cosine = (found * reference).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(reference, axis=1)
        assert found.shape == reference.shape and cosine.min() > 0.98
    native = preprocess(arrays["x_mv"], 500)
    np.testing.assert_array_equal(preprocess(native, 100), native)


def test_lengths(arrays, model):
    short = preprocess(arrays["x_mv"][..., :3000], 500)
    assert short.shape == (len(arrays["x_mv"]), 12, 1000) and np.abs(short[..., :600]).max() > 0.1
    np.testing.assert_array_equal(short[..., 600:], 0)
    native = preprocess(arrays["x_mv"], 500)
    long = np.concatenate([native, native[..., :77]], axis=-1)
    np.testing.assert_array_equal(preprocess(long, 100), native)
    with pytest.raises(EcgfmError, match="1 s or more"):
        model.embed(batch_of(arrays["x_mv"][..., :499]))


def test_a_lead_without_numbers_is_read_as_zeros(arrays):
    signals = arrays["x_mv"].copy()
    signals[0, 3, 10] = np.nan
    found, whole = preprocess(signals, 500), preprocess(arrays["x_mv"], 500)
    np.testing.assert_array_equal(found[0, 3], 0)
    np.testing.assert_allclose(np.delete(found[0], 3, axis=0), np.delete(whole[0], 3, axis=0), atol=1e-5)


def test_leads_go_by_name(arrays, model, rng):
    card = parse_card("ecgfm_ked", declared_in(fixtures)["ecgfm_ked"][2].fields, where="here")
    assert card.exposure("mimic-iv-ecg") == "seen" and card.exposure("ptb-xl") == "unseen"
    encoder = Encoder(card, model)
    order = rng.permutation(12)
    found = encoder.embed(arrays["x_mv"][:, order], sampling_rate=500, leads=[LEADS[row] for row in order])
    np.testing.assert_allclose(found, model.embed(batch_of(arrays["x_mv"])), rtol=0, atol=1e-6)
    assert encoder.fingerprint is not None
    with pytest.raises(EcgfmError, match="'V6' is needed"):
        encoder.embed(arrays["x_mv"][:, :11], sampling_rate=500, leads=LEADS[:11])


def test_declaring_is_light():
    code = "import sys, pytest_ecgfm.fixtures.ecgfm_ked; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]
