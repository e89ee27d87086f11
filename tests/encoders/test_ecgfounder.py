"""ECGFounder against golden vectors of the authors' code, and what it refuses."""

import random
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import ecgfounder as fixtures
from safetensors.torch import save_file
from scipy.signal import medfilt

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import ecgfounder
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.ecgfounder import ECGFounder, preprocess
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, RecordBatch
from tests.encoders.golden.cut import head

NAMES = ["ecgfounder", "ecgfounder_1lead"]
CHANGES = ["dropped", "renamed", "reshaped"]


def leads_of(name):
    return LEADS if name == "ecgfounder" else ("I",)


def batch_of(signals, leads, rate=500.0):
    return RecordBatch(signals, tuple(leads), rate, tuple(str(row) for row in range(len(signals))))


def empty(source):
    """Tensors by official key: shapes alone decide whether a file fits, and large weights take long to draw."""
    entries = source.manifest["tensors"]
    return {
        entry["key"]: torch.zeros((), dtype=getattr(torch, entry["dtype"])).expand(entry["shape"]) for entry in entries
    }


@pytest.fixture(scope="module")
def load(golden, tmp_path_factory):
    """A callable, name and salt to the model loaded from a file in the official layout."""

    @cache
    def loaded(name, salt=""):
        path = tmp_path_factory.mktemp(name) / "official.pth"
        extras = {"epoch": 7, "step": 12, "val_auroc": np.float64(0.9), "scheduler": {"gamma": 0.1}}
        torch.save({**extras, "state_dict": golden(name).weights(salt)}, path)
        try:
            return ECGFounder.load(path, leads=leads_of(name))
        finally:
            path.unlink()

    return loaded


def encoder(name, model):
    return Encoder(parse_card(name, declared_in(fixtures)[name][2].fields, where="here"), model)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name, golden, load):
    arrays = golden(name).arrays
    np.testing.assert_allclose(head(preprocess(arrays["x_mv"], 500), arrays["x_in"]), arrays["x_in"], rtol=0, atol=1e-5)
    found = load(name).embed(batch_of(arrays["x_mv"], leads_of(name)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, arrays["embedding"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_odd_lengths_are_padded_as_in_the_original(name, golden, load):
    arrays = golden(name).arrays
    for samples in (1250, 4999):
        found = load(name).forward(preprocess(arrays["x_mv"], 500)[..., :samples])
        np.testing.assert_allclose(found, arrays[f"embedding_first{samples}"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_other_weights_give_other_embeddings(name, golden, load):
    arrays = golden(name).arrays
    found = load(name, "#other").embed(batch_of(arrays["x_mv"][:2], leads_of(name)))
    assert np.isfinite(found).all()
    assert np.abs(found - arrays["embedding"][:2]).max() > 0.1


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_changed_file_is_refused(name, change, golden, monkeypatch, tmp_path):
    state = empty(golden(name))
    backbone = sorted(key for key in state if not key.startswith("dense."))
    for key in random.Random(5).sample(backbone, 8):
        changed = {other: value for other, value in state.items() if other != key}
        if change == "renamed":
            changed[f"module.{key}"] = state[key]
        elif change == "reshaped":
            changed[key] = state[key][..., None]
        monkeypatch.setattr(ecgfounder, "read_checkpoint", lambda path, changed=changed: {"state_dict": changed})
        with pytest.raises(EcgfmError, match=key.replace(".", r"\.")):
            ECGFounder.load(tmp_path, leads=leads_of(name))


def test_a_converted_file_is_read(golden, tmp_path):
    source = golden("ecgfounder_1lead")
    save_file(source.weights(), tmp_path / "converted.safetensors")
    model = ECGFounder.load(tmp_path / "converted.safetensors", leads=("I",))
    found = model.embed(batch_of(source.arrays["x_mv"][:1], ("I",)))
    np.testing.assert_allclose(found, source.arrays["embedding"][:1], rtol=0, atol=2e-5)


def test_the_wrong_file_is_refused(golden, monkeypatch, tmp_path):
    monkeypatch.setattr(ecgfounder, "read_checkpoint", lambda path: {"state_dict": empty(golden("ecgfounder"))})
    with pytest.raises(EcgfmError, match=r"first_conv\.conv\.weight \(64, 12, 16\) instead of \(64, 1, 16\)"):
        ECGFounder.load(tmp_path, leads=("I",))
    monkeypatch.setattr(ecgfounder, "read_checkpoint", lambda path: empty(golden("ecgfounder")))
    with pytest.raises(EcgfmError, match="no entry 'state_dict'"):
        ECGFounder.load(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_frozen_and_independent_of_the_batch(name, golden, load):
    model, signals = load(name), golden(name).arrays["x_mv"]
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    whole = model.embed(batch_of(signals, leads_of(name)))
    rows = [model.embed(batch_of(signals[row : row + 1], leads_of(name)))[0] for row in range(len(signals))]
    np.testing.assert_allclose(rows, whole, rtol=0, atol=5e-6)


@pytest.mark.parametrize("name", NAMES)
def test_rates_agree(name, golden, load):
    signals, leads = golden(name).arrays["x_mv"][:2], leads_of(name)
    reference = load(name).embed(batch_of(signals, leads))
    for rate in (250.0, 400.0):
        found = load(name).embed(batch_of(resample(signals, 500, rate), leads, rate))
        cosine = (found * reference).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(reference, axis=1)
        assert found.shape == reference.shape and cosine.min() > 0.98


def test_lengths(golden, load):
    signals, model = golden("ecgfounder").arrays["x_mv"], load("ecgfounder")
    # 20 s and a bit: the mean of two windows, each as if it were a record; the bit is not read.
    long = np.concatenate([signals[:1], signals[1:2], signals[:1, :, :900]], axis=-1)
    parts = model.embed(batch_of(signals[:2], LEADS))
    np.testing.assert_allclose(model.embed(batch_of(long, LEADS))[0], parts.mean(axis=0), rtol=0, atol=5e-6)
    short = preprocess(signals[..., :3000], 500)
    assert short.shape == signals.shape
    np.testing.assert_array_equal(short[..., 3000:], 0)
    np.testing.assert_allclose(short[..., :3000].std(axis=(1, 2)), 1, atol=1e-4)
    with pytest.raises(EcgfmError, match="1 s or more"):
        model.embed(batch_of(signals[..., :499], LEADS))


@pytest.mark.parametrize("samples", [500, 1234, 5000])
def test_the_running_median_is_that_of_the_authors(samples, rng):
    wide = rng.normal(size=(2, 12, samples)).cumsum(axis=-1)
    np.testing.assert_array_equal(ecgfounder._running_median(wide), np.apply_along_axis(medfilt, -1, wide, 201))


def test_flat_records_are_finite(load):
    assert np.isfinite(load("ecgfounder").embed(batch_of(np.zeros((1, 12, 5000), np.float32), LEADS))).all()


@pytest.mark.parametrize("name", NAMES)
def test_leads_go_by_name(name, golden, load, rng):
    model = encoder(name, load(name))
    wide = golden("ecgfounder").arrays["x_mv"][:2]
    order = rng.permutation(12)
    direct = load(name).embed(batch_of(wide[:, :1] if name == "ecgfounder_1lead" else wide, leads_of(name)))
    found = model.embed(wide[:, order], sampling_rate=500, leads=[LEADS[row] for row in order])
    np.testing.assert_allclose(found, direct, rtol=0, atol=1e-6)
    assert model.fingerprint is not None
    if name == "ecgfounder":
        with pytest.raises(EcgfmError, match="'V6' is needed"):
            model.embed(wide[:, :11], sampling_rate=500, leads=LEADS[:11])


def test_declaring_is_light():
    code = "import sys, pytest_ecgfm.fixtures.ecgfounder; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]
