"""ECG-JEPA (Weimann) against vectors of the official implementation."""

import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import ecg_jepa_weimann as fixtures
from scipy.signal import resample

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.ecg_jepa_weimann import MEAN, STD, ECGJEPAWeimann, backbone, preprocess
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, RecordBatch

NAMES = {"vitb": "ecg_jepa_weimann", "vits": "ecg_jepa_weimann_vits"}
DECLARATIONS = {name: declaration for name, (_, _, declaration) in declared_in(fixtures).items()}
CARDS = {
    name: parse_card(name, declaration.fields, where=declaration.where) for name, declaration in DECLARATIONS.items()
}


def batch_of(signals, sampling_rate=500.0):
    return RecordBatch(signals.astype(np.float32), LEADS, sampling_rate, tuple(map(str, range(len(signals)))))


def full(weights):
    """The layout of a checkpoint during pretraining: all parts, optimizer and configuration."""
    online = {key.replace("target_encoder.", "encoder."): value for key, value in weights.items()}
    model = {**online, "predictor.mask_token": torch.zeros(1, 1, 8), **weights}
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    return {"model": model, "optimizer": optimizer, "config": {"depth": 12, "bias": False}, "step": 100000}


def minified(weights):
    return {"model": weights, "config": {"depth": 12, "bias": False}}


LAYOUTS = {"vitb": minified, "vits": full}


@pytest.fixture(scope="module", params=["vitb", "vits"])
def size(request):
    return request.param


@pytest.fixture(scope="module")
def vectors(golden, size):
    return golden(f"ecg_jepa_weimann_{size}")


@pytest.fixture(scope="module")
def weights(vectors):
    return vectors.weights()


@pytest.fixture(scope="module")
def encoder(size, weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("ecg_jepa_weimann") / "chkpt_100000.pt"
    torch.save(LAYOUTS[size](weights), path)
    try:
        return DECLARATIONS[NAMES[size]].function(lambda name: {NAMES[size]: path}[name])
    finally:
        path.unlink()


@pytest.fixture(scope="module")
def embedded(vectors, encoder):
    return encoder.embed(batch_of(vectors.arrays["x_mv"]))


def test_declaring_it_needs_no_torch():
    code = "import sys, pytest_ecgfm.fixtures.ecg_jepa_weimann; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


@pytest.mark.parametrize("name", NAMES.values())
def test_cards(name):
    assert CARDS[name].leads == LEADS
    assert CARDS[name].exposure("ptb-xl") == CARDS[name].exposure("mimic-iv-ecg") == "seen"
    assert CARDS[name].exposure("sph") == "unseen"


def test_preprocessing_is_the_official_one(vectors):
    np.testing.assert_array_equal(vectors.arrays["norm_mean"], np.float32(MEAN))
    np.testing.assert_array_equal(vectors.arrays["norm_std"], np.float32(STD))
    found = preprocess(vectors.arrays["x_mv"], 500.0)
    np.testing.assert_allclose(found, vectors.arrays["x_in"], rtol=0, atol=1e-6)


def test_embedding_is_the_official_one(vectors, embedded):
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, vectors.arrays["embedding"], rtol=0, atol=1e-5)


def test_register_and_shorter_windows_are_the_official_ones(vectors, encoder):
    with torch.inference_mode():
        tokens = encoder.module.tokens(torch.from_numpy(vectors.arrays["x_in"][:, :, :1250]))
    np.testing.assert_allclose(tokens[:, 0], vectors.arrays["embedding_crop1250_register"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(tokens[:, 1:].mean(1), vectors.arrays["embedding_crop1250"], rtol=0, atol=1e-5)


def test_frozen(encoder):
    assert not encoder.module.training
    assert not any(parameter.requires_grad for parameter in encoder.module.parameters())


def test_rows_do_not_depend_on_the_batch(vectors, encoder, embedded):
    found = encoder.embed(batch_of(vectors.arrays["x_mv"][2:3]))
    np.testing.assert_allclose(found, embedded[2:3], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [250, 400])
def test_the_rate_of_the_record_hardly_matters(vectors, encoder, embedded, rate):
    # What a lower rate cannot hold is gone from the native rate, too.
    other = resample(vectors.arrays["x_mv"][:1].astype(np.float64), 10 * rate, axis=-1)
    found = encoder.embed(batch_of(other, rate))
    same = encoder.embed(batch_of(resample(other, 5000, axis=-1)))
    np.testing.assert_allclose(found, same, rtol=0, atol=2e-5)
    others = np.abs(embedded[0] - embedded[1:]).max()
    assert np.abs(found - embedded[:1]).max() < others / 2


def test_leads_are_found_by_name(size, vectors, encoder, embedded):
    order = list(np.random.default_rng(5).permutation(12))
    model = Encoder(CARDS[NAMES[size]], encoder)
    leads = [LEADS[row] for row in order]
    found = model.embed(vectors.arrays["x_mv"][:1, order], sampling_rate=500, leads=leads)
    np.testing.assert_allclose(found, embedded[:1], rtol=0, atol=1e-6)


def test_other_weights_give_another_embedding(size, vectors, embedded):
    module = backbone(minified(vectors.weights("#other")), path=Path("other.pt"), size=size)
    found = ECGJEPAWeimann(module).forward(vectors.arrays["x_in"][:1])
    assert np.isfinite(found).all()
    assert np.abs(found - embedded[:1]).max() > 0.1


@pytest.mark.parametrize("how", ["dropped", "renamed", "reshaped"])
@pytest.mark.parametrize("pick", range(8))
def test_one_wrong_key_is_an_error(size, weights, pick, how):
    key = random.Random(pick).choice(sorted(weights))
    broken = dict(weights)
    value = broken.pop(key)
    broken |= {"dropped": {}, "renamed": {f"{key}_old": value}, "reshaped": {key: value[None]}}[how]
    with pytest.raises(EcgfmError, match=re.escape(key)):
        backbone(LAYOUTS[size](broken), path=Path("broken.pt"), size=size)


def test_another_size_is_an_error(size, weights):
    other = {"vitb": "vits", "vits": "vitb"}[size]
    with pytest.raises(EcgfmError, match="does not fit the model"):
        backbone(minified(weights), path=Path("chkpt.pt"), size=other)


def test_biases_of_older_layer_norms_are_read(golden):
    vectors = golden("ecg_jepa_weimann_vits")
    weights = vectors.weights()
    norms = [key for key in weights if "norm" in key]
    zeros = {key.replace(".weight", ".bias"): torch.zeros_like(weights[key]) for key in norms}
    halves = {key: value + 0.5 for key, value in zeros.items()}

    def embedding(biases):
        module = backbone(minified(weights | biases), path=Path("older.pt"), size="vits")
        return ECGJEPAWeimann(module).forward(vectors.arrays["x_in"][:1])

    np.testing.assert_allclose(embedding(zeros), vectors.arrays["embedding"][:1], rtol=0, atol=1e-5)
    assert np.abs(embedding(halves) - vectors.arrays["embedding"][:1]).max() > 0.1
    zeros.pop("target_encoder.blocks.3.norm2.bias")
    with pytest.raises(EcgfmError, match=r"1 missing \(target_encoder\.blocks\.3\.norm2\.bias\)"):
        embedding(zeros)


@pytest.mark.parametrize(("samples", "kept"), [(7000, 5000), (5000, 5000), (3030, 3025), (500, 500)])
def test_the_first_whole_patches_are_read(rng, samples, kept):
    signals = rng.normal(0, 0.3, (2, 12, samples)).astype(np.float32)
    found = preprocess(signals, 500.0)
    assert found.dtype == np.float32
    scaled = (signals - np.float32(MEAN)[:, None]) / np.float32(STD)[:, None]
    np.testing.assert_allclose(found, np.clip(scaled, -5, 5)[..., :kept], rtol=0, atol=1e-6)


def test_less_than_a_second_is_an_error(rng):
    with pytest.raises(EcgfmError, match="should last 1 s or more"):
        preprocess(rng.normal(0, 0.3, (2, 12, 499)).astype(np.float32), 500.0)
