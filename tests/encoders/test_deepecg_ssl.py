"""DeepECG-SSL against vectors of the official implementation."""

from functools import cache

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import deepecg_ssl as fixtures

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import ecg_fm
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.deepecg_ssl import DeepECGSSL, preprocess
from pytest_ecgfm.encoders.ecg_fm import HEADS
from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS
from tests.encoders.changed_files import CHANGES, batch_of, refuses, without_disk
from tests.encoders.golden.cut import head

DECLARATION = declared_in(fixtures)["deepecg_ssl"][2]
CARD = parse_card("deepecg_ssl", DECLARATION.fields, where=DECLARATION.where)
load = without_disk(ecg_fm, DeepECGSSL.load)


@pytest.fixture(scope="module")
def vectors(golden):
    return golden("deepecg_ssl").arrays


@pytest.fixture(scope="module")
def weights(golden):
    return cache(golden("deepecg_ssl").weights)()


@pytest.fixture(scope="module")
def model(weights):
    return load({"model": weights, "cfg": {"model": {"encoder_layers": 12}}})


def test_the_card_calls_no_cohort_unseen():
    assert {CARD.exposure(name) for name in ("ptb-xl", "mimic-iv-ecg", "code-15", "sph")} == {"unknown"}
    assert CARD.leads == LEADS and CARD.dimensions == 768 and CARD.sampling_rate == 250


def test_input_is_the_official_one(vectors):
    found = preprocess(vectors["x_mv"], 500)
    assert found.shape == (2, 12, 2500)
    np.testing.assert_allclose(head(found, vectors["x_in"]), vectors["x_in"], rtol=0, atol=1e-6)


def test_embeddings_are_the_official_ones_in_any_order_of_leads(vectors, model, rng):
    found = model.embed(batch_of(vectors["x_mv"]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, vectors["embedding"], rtol=0, atol=2e-5)
    order, encoder = rng.permutation(12), Encoder(CARD, model)
    for row in range(2):
        alone = encoder.embed(vectors["x_mv"][row : row + 1, order], sampling_rate=500, leads=[LEADS[i] for i in order])
        np.testing.assert_allclose(alone[0], vectors["embedding"][row], rtol=0, atol=2e-5)


def test_activations_and_shorter_records_are_the_official_ones(vectors, model):
    signals = torch.from_numpy(preprocess(vectors["x_mv"][:1], 500))
    with torch.inference_mode():
        projected, tokens = model.module.project(signals)[0], model.module.tokens(signals)[0]
    np.testing.assert_allclose(projected[:2], vectors["tokens_proj"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(tokens[[0, 77, 155]], vectors["tokens"], rtol=0, atol=5e-5)
    short = model.embed(batch_of(vectors["x_mv"][..., :2500]))
    np.testing.assert_allclose(short, vectors["embedding_first1250"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("rate", [250, 1000])
def test_other_multiples_of_250_hz_are_read_alike(rate, vectors, model):
    signals = vectors["x_mv"][..., ::2] if rate == 250 else np.repeat(vectors["x_mv"], 2, axis=-1)
    np.testing.assert_allclose(model.embed(batch_of(signals, rate)), vectors["embedding"], rtol=0, atol=2e-5)


def test_400_hz_is_what_its_samples_at_250_hz_give(vectors, model):
    # The official pipeline would read these samples as if they were at 250 Hz: there is no official embedding.
    slower = resample(vectors["x_mv"], 500, 400)
    found = model.embed(batch_of(slower, 400))
    np.testing.assert_allclose(found, model.embed(batch_of(resample(slower, 400, 250), 250)), rtol=0, atol=2e-5)
    expected = vectors["embedding"]
    assert (np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)).max() < 0.05


def test_lengths(vectors):
    longer = np.concatenate([vectors["x_mv"]] * 3, axis=-1)
    np.testing.assert_array_equal(preprocess(longer, 500), preprocess(vectors["x_mv"], 500))
    assert preprocess(longer[..., :4001], 500).shape[-1] == 2001
    with pytest.raises(EcgfmError, match="1 s or more"):
        preprocess(longer[..., :499], 500)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_refused(change, weights):
    used = [key for key in weights if not key.startswith(tuple(name.removesuffix(".*") for name in HEADS))]
    refuses(lambda state: load({"model": state}), weights, used, change)


def test_a_fine_tuned_file_is_refused(weights):
    tuned = {f"encoder.{key}": value for key, value in weights.items()} | {"proj.weight": torch.zeros(77, 768)}
    with pytest.raises(EcgfmError, match="unexpected"):
        load({"model": tuned})
    with pytest.raises(EcgfmError, match="no entry 'model'"):
        load(weights)


def test_heads_of_pretraining_may_be_absent(weights, model):
    used = {key: value for key, value in weights.items() if key in model.module.state_dict()}
    assert len(used) < len(weights)
    for key, value in load({"model": used}).module.state_dict().items():
        assert torch.equal(value, weights[key])
