"""ST-MEM against vectors of the official implementation."""

import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import st_mem as fixtures
from scipy.signal import resample

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.st_mem import STMEM, backbone, crop_starts, preprocess
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, RecordBatch
from tests.encoders.golden.cut import head

DECLARATION = declared_in(fixtures)["st_mem"][2]
CARD = parse_card("st_mem", DECLARATION.fields, where=DECLARATION.where)
ROWS = [0, -1]  # Two of the records keep the run short; in the last of all four one lead is flat.


def batch_of(signals, sampling_rate=250.0):
    return RecordBatch(signals.astype(np.float32), LEADS, sampling_rate, tuple(map(str, range(len(signals)))))


def alone(weights):
    """The layout of the encoder's own file."""
    return {"epoch": 800, "model": weights, "config": {"model": {"num_leads": 12}}}


def whole(vectors, weights):
    """The layout of the whole autoencoder's file, which holds the patch embedding twice."""
    names = {"epoch": 800, "config": {"model_name": "st_mem_vit_base"}, "scaler": {"scale": 65536.0}}
    model = {}
    for entry in vectors.manifest["full_checkpoint"]["state_dict_full"]:
        own = weights.get(entry["key"].removeprefix("encoder."))
        model[entry["key"]] = torch.zeros(()).expand(entry["shape"]) if own is None else own
    return {**names, "model": model, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "params": [0]}]}}


@pytest.fixture(scope="module")
def vectors(golden):
    return golden("st_mem")


@pytest.fixture(scope="module")
def weights(vectors):
    return vectors.weights()


@pytest.fixture(scope="module")
def encoder(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("st_mem") / "st_mem_vit_base_encoder.pth"
    torch.save(alone(weights), path)
    try:
        return DECLARATION.function(lambda name: {"st_mem": path}[name])
    finally:
        path.unlink()


@pytest.fixture(scope="module")
def crops(vectors, encoder):
    return encoder.embed_crops(batch_of(vectors.arrays["x_mv"][ROWS]))


def test_declaring_it_needs_no_torch():
    code = "import sys, pytest_ecgfm.fixtures.st_mem; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


def test_card():
    assert CARD.leads == LEADS
    assert CARD.exposure("chapman-ningbo") == CARD.exposure("code-15") == "seen"
    assert CARD.exposure("ptb-xl") == CARD.exposure("cpsc-2018") == CARD.exposure("georgia") == "unseen"


def test_preprocessing_is_the_official_one(vectors):
    found = preprocess(vectors.arrays["x_mv"], 250.0)
    np.testing.assert_allclose(
        head(found[:, [0, 2]], vectors.arrays["x_in"]), vectors.arrays["x_in"], rtol=0, atol=1e-6
    )


def test_resampling_is_the_official_one(vectors):
    found = preprocess(vectors.arrays["x_mv_500hz"], 500.0)
    np.testing.assert_allclose(found[0, :, :, :64], vectors.arrays["x_in_500hz_head"], rtol=0, atol=1e-6)


def test_embedding_of_each_crop_is_the_official_one(vectors, crops):
    assert crops.dtype == np.float32
    np.testing.assert_allclose(crops, vectors.arrays["embedding_crops"][ROWS], rtol=0, atol=1e-5)


def test_embedding_is_the_official_one(vectors, encoder):
    # Alone here, in a batch above.
    found = encoder.embed(batch_of(vectors.arrays["x_mv"][:1]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, vectors.arrays["embedding"][:1], rtol=0, atol=1e-5)


def test_shorter_windows_are_the_official_ones(vectors, encoder):
    found = encoder.forward(vectors.arrays["x_mv"][:, :, :600])
    np.testing.assert_allclose(found, vectors.arrays["embedding_ai4health_600"], rtol=0, atol=1e-5)


def test_frozen(encoder):
    assert not encoder.module.training
    assert not any(parameter.requires_grad for parameter in encoder.module.parameters())


def test_rows_do_not_depend_on_the_batch(vectors, encoder, crops):
    found = encoder.forward(preprocess(vectors.arrays["x_mv"][-1:], 250.0)[0, 1:2])
    np.testing.assert_allclose(found, crops[1, 1:2], rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def short(vectors):
    return vectors.arrays["x_mv"][:1, :, :600]


@pytest.fixture(scope="module")
def embedded_short(encoder, short):
    return encoder.embed(batch_of(short))


@pytest.mark.parametrize("rate", [400, 500])
def test_the_rate_of_the_record_does_not_matter(encoder, short, embedded_short, rate):
    other = resample(short.astype(np.float64), 600 * rate // 250, axis=-1)
    np.testing.assert_allclose(encoder.embed(batch_of(other, rate)), embedded_short, rtol=0, atol=1e-4)


def test_leads_are_found_by_name(encoder, short, embedded_short):
    order = list(np.random.default_rng(5).permutation(12))
    leads = [LEADS[row] for row in order]
    found = Encoder(CARD, encoder).embed(short[:, order], sampling_rate=250, leads=leads)
    np.testing.assert_allclose(found, embedded_short, rtol=0, atol=1e-6)


def test_other_weights_give_another_embedding(vectors, crops):
    module = backbone(alone(vectors.weights("#other")), path=Path("other.pth"))
    found = STMEM(module).forward(preprocess(vectors.arrays["x_mv"][:1], 250.0)[0, :1])
    assert np.isfinite(found).all()
    assert np.abs(found - crops[0, :1]).max() > 0.1


def test_the_whole_autoencoder_gives_the_same_encoder(vectors, weights, encoder):
    module = backbone(whole(vectors, weights), path=Path("st_mem_vit_base_full.pth"))
    found, expected = module.state_dict(), encoder.module.state_dict()
    assert found.keys() == expected.keys() == weights.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


@pytest.mark.parametrize("layout", ["alone", "whole"])
@pytest.mark.parametrize("how", ["dropped", "renamed", "reshaped"])
@pytest.mark.parametrize("pick", range(8))
def test_one_wrong_key_is_an_error(vectors, weights, pick, how, layout):
    checkpoint = alone(dict(weights)) if layout == "alone" else whole(vectors, weights)
    model = checkpoint["model"]
    key = {"alone": "", "whole": "encoder."}[layout] + random.Random(pick).choice(sorted(weights))
    value = model.pop(key)
    model |= {"dropped": {}, "renamed": {f"{key}_old": value}, "reshaped": {key: value[None]}}[how]
    with pytest.raises(EcgfmError, match=re.escape(key)):
        backbone(checkpoint, path=Path("broken.pth"))


@pytest.mark.parametrize(
    ("samples", "starts"),
    [
        (2500, [0, 125, 250]),
        (2501, [0, 125, 250]),
        (2253, [0, 1, 2, 3]),
        (2252, [0, 1, 2]),
        (2251, [0]),
        (2250, [0]),
        (1000, [0]),
        (15000, [0, 6375, 12750]),
    ],
)
def test_crops_are_spread_over_the_record(samples, starts):
    assert list(crop_starts(samples)) == starts


@pytest.mark.parametrize(("samples", "kept"), [(2251, 2250), (2249, 2175), (250, 225)])
def test_shorter_records_give_one_crop_of_whole_patches(rng, samples, kept):
    signals = rng.normal(0, 0.3, (2, 12, samples)).astype(np.float32)
    found = preprocess(signals, 250.0)
    assert found.shape == (2, 1, 12, kept)
    np.testing.assert_allclose(found.mean(axis=(-2, -1)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=(-2, -1)), 1, atol=1e-5)


def test_less_than_a_second_is_an_error(rng):
    with pytest.raises(EcgfmError, match="should last 1 s or more"):
        preprocess(rng.normal(0, 0.3, (2, 12, 249)).astype(np.float32), 250.0)


def test_a_constant_record_gives_zeros():
    assert not preprocess(np.full((1, 12, 2500), 0.3, np.float32), 250.0).any()
