"""MELP against vectors of the official implementation."""

from functools import cache

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import melp as fixtures
from scipy.signal import resample

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import melp
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.melp import MELP, preprocess
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.leads import select_leads
from pytest_ecgfm.signals.records import LEADS
from tests.encoders.changed_files import CHANGES, batch_of, refuses, without_disk
from tests.encoders.golden.cut import COMMITTED, head, restored

DECLARATION = declared_in(fixtures)["melp"][2]
CARD = parse_card("melp", DECLARATION.fields, where=DECLARATION.where)
UNUSED = ("quantizer", "project_q", "final_proj", "mask_emb", "logit_scale", ".bn.", "caption", "proj_contrast")
load = without_disk(melp, MELP.load)


@pytest.fixture(scope="module")
def vectors(golden):
    return golden("melp").arrays


@pytest.fixture(scope="module")
def weights(golden):
    return cache(golden("melp").weights)


@pytest.fixture(scope="module")
def used(weights):
    return {key: value for key, value in weights().items() if not any(part in key for part in UNUSED)}


@pytest.fixture(scope="module")
def model(weights):
    return load(weights())


def test_the_card_says_where_it_was_trained():
    assert CARD.exposure("mimic-iv-ecg") == "seen" and CARD.exposure("ptb-xl") == "unseen"
    assert CARD.leads == melp.LEADS and CARD.dimensions == 256


def test_input_is_the_official_one(vectors):
    signals = select_leads(vectors["x_mv"], LEADS, melp.LEADS)
    found = preprocess(signals, 500)
    np.testing.assert_allclose(head(found[0], vectors["x_in_row0"]), vectors["x_in_row0"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(head(found, vectors["x_in_head"]), vectors["x_in_head"], rtol=0, atol=1e-6)
    short = preprocess(signals[..., :2500], 500)
    np.testing.assert_allclose(short[..., 2436:2564], vectors["x_in_cpsc_head"], rtol=0, atol=1e-6)


def test_embeddings_are_the_official_ones_in_any_order_of_leads(vectors, model, rng):
    np.testing.assert_allclose(model.embed(batch_of(vectors["x_mv"])), vectors["embedding"], rtol=0, atol=2e-5)
    order, encoder = rng.permutation(12), Encoder(CARD, model)
    for row in range(len(vectors["x_mv"])):
        alone = encoder.embed(vectors["x_mv"][row : row + 1, order], sampling_rate=500, leads=[LEADS[i] for i in order])
        np.testing.assert_allclose(alone[0], vectors["embedding"][row], rtol=0, atol=2e-5)


def test_short_records_are_padded_as_officially(vectors, model):
    found = model.embed(batch_of(vectors["x_mv"][..., :2500]))
    np.testing.assert_allclose(found, vectors["embedding_cpsc"], rtol=0, atol=2e-5)
    with pytest.raises(EcgfmError, match="1 s or more"):
        model.embed(batch_of(vectors["x_mv"][..., :499]))


def test_activations_are_the_official_ones(vectors, model, weights):
    signals = torch.from_numpy(preprocess(select_leads(vectors["x_mv"][:1], LEADS, melp.LEADS), 500))
    with torch.inference_mode():
        backbone = model.module.ecg_encoder
        projected, tokens = backbone.project(signals)[0], backbone.tokens(signals)
        pool = model.module.attn_pool_contrast(tokens)
    np.testing.assert_allclose(projected[:8], vectors["tokens_proj"], rtol=0, atol=5e-5)
    np.testing.assert_allclose(tokens[0, [0, 1, 2, 3, 155, 156, 310, 311]], vectors["features"], rtol=0, atol=5e-5)
    np.testing.assert_allclose(pool[0], vectors["pool"], rtol=0, atol=5e-5)
    # The official vectors of beats are projected to the space of reports, which the embedding is not.
    beats = model.module.ln_contrast(pool)[0] @ weights()["ecg_encoder.proj_contrast"]
    np.testing.assert_allclose(beats, vectors["beat"], rtol=0, atol=5e-5)


def test_input_at_400_hz_is_the_official_one(model):
    # The official loader of CODE-test, on a record of 10 s: the whole vectors have none at this rate.
    with np.load(COMMITTED / "melp" / "at_400_hz.npz", allow_pickle=False) as arrays:
        found = restored(arrays)
    signals = select_leads(found["x_mv"], LEADS, melp.LEADS)
    expected = found["x_in_every_25th"]
    np.testing.assert_allclose(preprocess(signals, 400)[..., ::25], expected, rtol=0, atol=1e-6)
    longer = np.concatenate([found["x_mv"], found["x_mv"][..., :96]], axis=-1)
    np.testing.assert_array_equal(model.embed(batch_of(longer, 400.0)), model.embed(batch_of(found["x_mv"], 400.0)))


@pytest.mark.parametrize("rate", [250, 400, 1000])
def test_other_rates_are_near(rate, vectors, model):
    other = resample(vectors["x_mv"].astype(np.float64), 10 * rate, axis=-1)
    found = model.embed(batch_of(other, float(rate)))
    norms = np.linalg.norm(vectors["embedding"], axis=-1)
    assert (np.linalg.norm(found - vectors["embedding"], axis=-1) / norms).max() < 0.05


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_refused(change, used):
    # Of the two spellings of weight normalisation, an error names the one of our own.
    refuses(load, used, [key for key in used if "parametrizations" not in key], change)


def test_what_the_embedding_does_not_need_may_be_absent_or_of_the_whole_training(used, model, vectors):
    beside = {"lm_model.x": torch.zeros(2), "proj_t.0.weight": torch.zeros(2), "logit_scale": torch.zeros(())}
    record = batch_of(vectors["x_mv"][:1])
    for state, suffix in ((used, ".safetensors"), ({"state_dict": used | beside, "epoch": 3}, ".ckpt")):
        np.testing.assert_array_equal(load(state, suffix).embed(record), model.embed(record))


def test_another_training_is_refused(used):
    # The official code's own default has 12 queries; so has a public file that is not the published one.
    other = used | {"ecg_encoder.attn_pool_contrast.query": torch.zeros(12, 256)}
    with pytest.raises(EcgfmError, match=r"query \(12, 256\) instead of \(14, 256\)"):
        load(other)


def test_bfloat16_of_the_file_becomes_float32(used):
    found = load({key: value.bfloat16() for key, value in used.items()})
    assert {parameter.dtype for parameter in found.module.parameters()} == {torch.float32}
