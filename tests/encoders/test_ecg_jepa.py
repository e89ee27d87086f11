"""ECG-JEPA (Kim) against vectors of the official implementation."""

import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import ecg_jepa as fixtures
from scipy.signal import resample

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.ecg_jepa import ECGJEPA, LEADS, attention_mask, backbone, preprocess
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS as STANDARD
from pytest_ecgfm.signals.records import RecordBatch
from tests.encoders.golden.cut import head

ROWS = [STANDARD.index(lead) for lead in LEADS]
DECLARATION = declared_in(fixtures)["ecg_jepa"][2]
CARD = parse_card("ecg_jepa", DECLARATION.fields, where=DECLARATION.where)


@pytest.fixture(scope="module")
def vectors(golden):
    return golden("ecg_jepa_kim")


@pytest.fixture(scope="module")
def weights(vectors):
    return vectors.weights()


@pytest.fixture(scope="module")
def encoder(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("ecg_jepa") / "multiblock_epoch100.pth"
    torch.save({"encoder": weights, "epoch": 100}, path)
    try:
        return DECLARATION.function(lambda name: {"ecg_jepa": path}[name])
    finally:
        path.unlink()


@pytest.fixture(scope="module")
def signals(vectors):
    return vectors.arrays["x_mv"][:, ROWS]


@pytest.fixture(scope="module")
def embedded(encoder, signals):
    return encoder.embed(batch_of(signals))


def batch_of(signals, sampling_rate=500.0, leads=LEADS):
    return RecordBatch(signals.astype(np.float32), tuple(leads), sampling_rate, tuple(map(str, range(len(signals)))))


def test_declaring_it_needs_no_torch():
    code = "import sys, pytest_ecgfm.fixtures.ecg_jepa; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


def test_card():
    assert CARD.leads == LEADS
    assert CARD.exposure("chapman-ningbo") == CARD.exposure("code-15") == "seen"
    assert CARD.exposure("ptb-xl") == CARD.exposure("georgia") == CARD.exposure("mimic-iv-ecg") == "unseen"


def test_preprocessing_is_the_official_one(vectors, signals):
    np.testing.assert_allclose(
        head(preprocess(signals, 500.0), vectors.arrays["x_in"]), vectors.arrays["x_in"], rtol=0, atol=1e-6
    )


def test_embedding_is_the_official_one(vectors, embedded):
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, vectors.arrays["embedding"], rtol=0, atol=5e-6)


def test_frozen(encoder):
    assert not encoder.module.training
    assert not any(parameter.requires_grad for parameter in encoder.module.parameters())


def test_rows_do_not_depend_on_the_batch(encoder, signals, embedded):
    np.testing.assert_allclose(encoder.embed(batch_of(signals[1:2])), embedded[1:2], rtol=0, atol=1e-6)


def at_rate(signals, rate):
    return resample(signals[:1].astype(np.float64), 10 * rate, axis=-1).astype(np.float32)


@pytest.mark.parametrize("rate", [250, 360, 400, 1000])
def test_the_rate_of_the_record_does_not_matter(vectors, signals, rate):
    found = preprocess(at_rate(signals, rate), rate)
    np.testing.assert_allclose(head(found, vectors.arrays["x_in"]), vectors.arrays["x_in"][:1], rtol=0, atol=1e-6)


def test_a_record_at_another_rate_has_the_same_embedding(encoder, signals, embedded):
    found = encoder.embed(batch_of(at_rate(signals, 400), 400.0))
    np.testing.assert_allclose(found, embedded[:1], rtol=0, atol=2e-5)


def test_leads_are_found_by_name(vectors, encoder):
    order = list(np.random.default_rng(5).permutation(12))
    signal = vectors.arrays["x_mv"][:1, order]
    found = Encoder(CARD, encoder).embed(signal, sampling_rate=500, leads=[STANDARD[row] for row in order])
    np.testing.assert_allclose(found, vectors.arrays["embedding"][:1], rtol=0, atol=5e-6)


def test_other_weights_give_another_embedding(vectors, signals):
    module = backbone({"encoder": vectors.weights("#other"), "epoch": 1}, path=Path("other.pth"))
    found = ECGJEPA(module).embed(batch_of(signals[:1]))
    assert np.isfinite(found).all()
    assert np.abs(found - vectors.arrays["embedding"][:1]).max() > 0.1


@pytest.mark.parametrize("how", ["dropped", "renamed", "reshaped"])
@pytest.mark.parametrize("pick", range(8))
def test_one_wrong_key_is_an_error(weights, pick, how):
    key = random.Random(pick).choice(sorted(weights))
    broken = dict(weights)
    value = broken.pop(key)
    broken |= {"dropped": {}, "renamed": {f"{key}_old": value}, "reshaped": {key: value[None]}}[how]
    with pytest.raises(EcgfmError, match=re.escape(key)):
        backbone({"encoder": broken, "epoch": 100}, path=Path("broken.pth"))


def test_another_layout_is_an_error(weights):
    with pytest.raises(EcgfmError, match="no entry 'encoder'"):
        backbone(weights, path=Path("bare.pth"))


def test_longer_records_give_their_first_ten_seconds(signals):
    longer = np.concatenate([signals, signals], axis=-1)
    np.testing.assert_array_equal(preprocess(longer, 500.0), preprocess(signals, 500.0))


def test_shorter_records_are_padded_with_zeros(signals):
    found = preprocess(signals[..., :3001], 500.0)
    assert found.shape == (len(signals), 8, 2500)
    assert not found[..., 1500:].any()
    np.testing.assert_array_equal(
        found[..., :1500], resample(signals[..., :3001].astype(float), 1500, axis=-1).astype("f4")
    )


def test_less_than_a_second_is_an_error(signals):
    with pytest.raises(EcgfmError, match="should last 1 s or more"):
        preprocess(signals[..., :499], 500.0)


def test_attention_stays_within_a_lead_or_a_moment():
    allowed = attention_mask() == 0
    assert allowed.shape == (400, 400)
    assert (allowed.sum(dim=1) == 50 + 8 - 1).all()
    assert allowed[0, 49]
    assert allowed[0, 350]
    assert not allowed[0, 51]
