"""HeartLang against vectors of the official implementation, its tokenizer included."""

from argparse import Namespace
from functools import cache

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import heartlang as fixtures
from scipy.signal import resample

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import heartlang
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.heartlang import BEAT, HeartLang, filtered, find_beats, sentence, windows
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS
from tests.encoders.changed_files import CHANGES, batch_of, refuses, without_disk
from tests.encoders.golden.cut import head

DECLARATION = declared_in(fixtures)["heartlang"][2]
CARD = parse_card("heartlang", DECLARATION.fields, where=DECLARATION.where)
load = without_disk(heartlang, HeartLang.load)


@pytest.fixture(scope="module")
def vectors(golden):
    return golden("heartlang").arrays


@pytest.fixture(scope="module")
def weights(golden):
    return cache(golden("heartlang").weights)()


@pytest.fixture(scope="module")
def used(weights):
    return {key: value for key, value in weights.items() if not key.startswith(("mask_token", "lm_head."))}


@pytest.fixture(scope="module")
def model(weights, tmp_path_factory):
    # As the official training writes it, from the disk: its options are a namespace.
    path = tmp_path_factory.mktemp("heartlang") / "checkpoint-200.pth"
    torch.save({"model": weights, "optimizer": {}, "epoch": 200, "args": Namespace(lr=1e-4), "scaler": {}}, path)
    return HeartLang.load(path)


def test_the_tokenizer_is_the_official_one(vectors):
    signals = filtered(vectors["x_mv"], 500)
    np.testing.assert_allclose(head(signals[:2], vectors["x_filt"]), vectors["x_filt"], rtol=0, atol=1e-6)
    for signal, expected in zip(signals, vectors["qrs_inds"], strict=True):
        assert find_beats(signal[0]) == [place for place in expected if place >= 0]
    found = HeartLang.sentences(signals, tuple("abcd")[: len(signals)])
    np.testing.assert_allclose(found[..., :BEAT], vectors["x_in"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found[..., BEAT], vectors["in_chans"])
    np.testing.assert_array_equal(found[..., BEAT + 1], vectors["in_times"])


def test_embeddings_are_the_official_ones_in_any_order_of_leads(vectors, model, rng):
    np.testing.assert_allclose(model.embed(batch_of(vectors["x_mv"])), vectors["embedding"], rtol=0, atol=2e-5)
    order, encoder = rng.permutation(12), Encoder(CARD, model)
    for row in range(len(vectors["x_mv"])):
        alone = encoder.embed(vectors["x_mv"][row : row + 1, order], sampling_rate=500, leads=[LEADS[i] for i in order])
        np.testing.assert_allclose(alone[0], vectors["embedding"][row], rtol=0, atol=2e-5)


def test_400_hz_gives_the_same(vectors, model):
    # Fourier resampling to 100 Hz needs nothing that 400 Hz do not hold.
    slower = resample(vectors["x_mv"].astype(np.float64), 4000, axis=-1)
    np.testing.assert_allclose(model.embed(batch_of(slower, 400.0)), vectors["embedding"], rtol=0, atol=1e-4)


def test_the_network_is_the_official_one(vectors, model):
    nothing = model.forward(np.zeros((1, 256, BEAT + 2), np.float32))
    np.testing.assert_allclose(nothing, vectors["embedding_no_qrs"], rtol=0, atol=2e-5)
    with torch.inference_mode():
        words = model.module.words(torch.from_numpy(vectors["x_in"][:1]))[0]
    np.testing.assert_allclose(words[vectors["token_embed_index"]], vectors["token_embed"], rtol=0, atol=2e-5)


def test_a_beat_reaches_halfway_to_its_neighbours():
    assert windows([100, 180, 400], 1000) == [(52, 140, 0), (132, 228, 0), (352, 448, 0)]


def test_beats_at_the_edges_and_a_single_one():
    assert windows([10], 1000) == [(0, 96, 38)]
    assert windows([990], 1000) == [(942, 1000, 0)]
    assert windows([20, 60], 1000) == [(0, 40, 28), (40, 108, 28)]


def test_a_sentence_has_lead_after_lead_and_ends_where_256_tokens_are_full():
    signals = np.arange(12)[:, None] + np.ones((12, 1000))
    found = sentence(signals, list(range(50, 950, 40)))
    assert found.shape == (256, 98)
    beats = len(range(50, 950, 40))
    np.testing.assert_array_equal(found[:, BEAT], (np.arange(256) // beats + 1))
    assert found[beats - 1, BEAT + 1] == 10 and found[0, BEAT + 1] == 1
    assert not sentence(signals, [50])[12:].any()


def test_records_without_beats_or_numbers_are_refused_by_name(vectors, model):
    signals = vectors["x_mv"].copy()
    signals[0, 0] = 0.1
    with pytest.raises(EcgfmError, match="record r0: no beat found in lead I"):
        model.embed(batch_of(signals))
    signals[1, 7, 9] = np.nan
    with pytest.raises(EcgfmError, match="record r1: has samples"):
        model.embed(batch_of(signals))
    with pytest.raises(EcgfmError, match="1 s or more"):
        model.embed(batch_of(vectors["x_mv"][..., :499]))


def test_longer_records_are_cut_before_anything_else(vectors, model, rng):
    longer = np.concatenate([vectors["x_mv"][:1], rng.normal(size=(1, 12, 3500))], axis=-1)
    np.testing.assert_allclose(model.embed(batch_of(longer)), vectors["embedding"][:1], rtol=0, atol=2e-5)
    assert np.isfinite(model.embed(batch_of(vectors["x_mv"][:, :, :2500]))).all()


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_refused(change, used):
    refuses(lambda state: load({"model": state}), used, used, change)


def test_tensors_are_found_where_the_official_loader_looks(used):
    for content in ({"model": used}, {"module": used}, used):
        assert all(torch.equal(value, used[key]) for key, value in load(content).module.state_dict().items())


def test_a_fine_tuned_model_and_the_codebook_are_refused(used):
    tuned = {f"backbone.{key}": value for key, value in used.items()} | {"mlp_head.weight": torch.zeros(5, 768)}
    codebook = {f"encoder.{key}": value for key, value in used.items()}
    for state in (tuned, codebook):
        with pytest.raises(EcgfmError, match="139 missing"):
            load({"model": state})
