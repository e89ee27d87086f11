"""D-BETA against vectors of the official implementation."""

from functools import cache

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import d_beta as fixtures

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import d_beta
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.d_beta import DBETA, preprocess
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS
from tests.encoders.changed_files import CHANGES, batch_of, refuses, without_disk

CARDS = {
    name: parse_card(name, found.fields, where=found.where) for name, (_, _, found) in declared_in(fixtures).items()
}
EXPECTED = {"mimic": "embedding_mimic_order", "standard": "embedding"}
load = without_disk(d_beta, DBETA.load)


@pytest.fixture(scope="module")
def vectors(golden):
    return golden("d_beta").arrays


@pytest.fixture(scope="module")
def weights(golden):
    return cache(golden("d_beta").weights)()


@pytest.fixture(scope="module")
def models(weights):
    return {order: load({"model": weights}, order=order) for order in EXPECTED}


def test_the_cards_say_what_the_licence_forbids_and_which_order_is_read():
    assert {card.name: card.leads for card in CARDS.values()} == {
        "d_beta": d_beta.ORDERS["mimic"],
        "d_beta_standard_order": LEADS,
    }
    for card in CARDS.values():
        assert "no commercial use" in card.licence
        assert card.exposure("mimic-iv-ecg") == "seen" and card.exposure("code-test") == "unseen"


@pytest.mark.parametrize("order", EXPECTED)
def test_embeddings_are_the_official_ones_in_any_order_of_leads(order, vectors, models, rng):
    expected = vectors[EXPECTED[order]]
    np.testing.assert_allclose(models[order].embed(batch_of(vectors["x_mv"])), expected, rtol=0, atol=2e-5)
    shuffled = rng.permutation(12)
    encoder = Encoder(CARDS["d_beta" if order == "mimic" else "d_beta_standard_order"], models[order])
    for row in range(len(expected)):
        alone = encoder.embed(
            vectors["x_mv"][row : row + 1, shuffled], sampling_rate=500, leads=[LEADS[i] for i in shuffled]
        )
        np.testing.assert_allclose(alone[0], expected[row], rtol=0, atol=2e-5)


def test_400_hz_is_the_official_one(vectors, models):
    signals = vectors["x_mv_400hz"]
    np.testing.assert_allclose(preprocess(signals, 400)[..., :64], vectors["x_in_400hz_head"], rtol=0, atol=1e-5)
    found = models["standard"].embed(batch_of(signals, 400.0))
    np.testing.assert_allclose(found, vectors["embedding_400hz"], rtol=0, atol=2e-5)


def test_the_network_is_the_official_one_at_any_length(vectors, models):
    model = models["standard"]
    found = model.forward(vectors["x_mv"][..., :2500])
    np.testing.assert_allclose(found, vectors["embedding_first2500"], rtol=0, atol=2e-5)
    with torch.inference_mode():
        signals = torch.from_numpy(vectors["x_mv"])
        np.testing.assert_allclose(model.module.class_token(signals), vectors["proj_cls"], rtol=0, atol=5e-5)


def test_records_have_the_length_of_pretraining(vectors, models):
    signals = vectors["x_mv"]
    assert preprocess(signals[..., :4000], 500).shape == signals.shape
    assert not preprocess(signals[..., :4000], 500)[..., 4000:].any()
    assert preprocess(signals, 250).shape == signals.shape
    with pytest.raises(EcgfmError, match="1 s or more"):
        models["mimic"].embed(batch_of(signals[..., :499]))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_refused_where_the_official_loader_takes_random_weights(change, weights):
    refuses(lambda state: load({"model": state}), weights, weights, change)


def test_all_weights_come_from_the_file(weights, models):
    found = models["mimic"].module.state_dict()
    assert set(found) == set(weights)
    assert all(torch.equal(found[key], value) for key, value in weights.items())
    assert not any(module.training for module in models["mimic"].module.modules())


def test_a_file_may_hold_the_whole_model_and_a_prefix(weights, golden):
    others = golden("d_beta").manifest["full_checkpoint"]
    beside = {entry["key"]: torch.zeros(()) for entry in (*others["ignored"], *others["optional_extra"])}
    assert len(weights) + len(others["ignored"]) == others["n_tensors"]
    whole = load({"model": weights | beside})
    prefixed = load({f"net.{key}": value for key, value in (weights | beside).items()}, suffix=".safetensors")
    for found in (whole, prefixed):
        assert all(torch.equal(value, weights[key]) for key, value in found.module.state_dict().items())
    with pytest.raises(EcgfmError, match="148 missing"):
        load({"model": beside})


def test_an_unknown_order_is_refused(weights):
    with pytest.raises(EcgfmError, match="standard"):
        load({"model": weights}, order="standart")
