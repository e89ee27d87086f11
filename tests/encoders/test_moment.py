"""MOMENT against vectors of the official implementation."""

import random
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from pytest_ecgfm.fixtures import moment as fixtures
from safetensors.torch import save_file
from scipy.signal import resample_poly

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import declared_in
from pytest_ecgfm.encoders import moment
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.moment import Moment, preprocess, relative_buckets
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS, RecordBatch

DECLARATION = declared_in(fixtures)["moment_small"][2]
CARD = parse_card("moment_small", DECLARATION.fields, where=DECLARATION.where)
ABSENT = ("encoder.embed_tokens.weight", "patch_embedding.position_embedding.pe")


def batch_of(signals, rate=100.0):
    return RecordBatch(signals.astype(np.float32), LEADS, rate, tuple(map(str, range(len(signals)))))


@pytest.fixture(scope="module")
def vectors(golden):
    return golden("moment_small").arrays


@pytest.fixture(scope="module")
def weights(golden):
    """The official file without the table of words and the fixed table, which need not be there."""
    return {key: value for key, value in golden("moment_small").weights().items() if key not in ABSENT}


@pytest.fixture(scope="module")
def encoder(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("moment") / "model.safetensors"
    save_file(weights, path)
    try:
        # The folder, as the Hub's client leaves it.
        return DECLARATION.function(lambda name: {"moment_small": path.parent}[name])
    finally:
        path.unlink()


@pytest.fixture(scope="module")
def embeddings(vectors, encoder):
    return encoder.embed(batch_of(vectors["x_mv"]))


def test_declaring_it_needs_no_torch():
    code = "import sys, pytest_ecgfm.fixtures.moment; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


def test_card():
    assert CARD.leads == LEADS
    assert CARD.exposure("ptb-xl") == "unseen"


def test_preprocessing_is_the_official_one(vectors):
    # The official loader makes NaN of a flat lead, and the official model makes 0 of that.
    np.testing.assert_allclose(
        preprocess(vectors["x_mv"], 100), np.nan_to_num(vectors["x_in"], nan=0.0), rtol=0, atol=1e-6
    )


def test_embedding_is_the_official_one(vectors, encoder, embeddings):
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, vectors["embedding"], rtol=0, atol=1e-5)
    alone = [encoder.embed(batch_of(vectors["x_mv"][row : row + 1]))[0] for row in range(len(vectors["x_mv"]))]
    np.testing.assert_allclose(alone, vectors["embedding"], rtol=0, atol=1e-5)


def test_tokens_are_the_official_ones(vectors, encoder):
    with torch.inference_mode():
        tokens = encoder.module.tokens(torch.from_numpy(preprocess(vectors["x_mv"][:1], 100)))
    np.testing.assert_allclose(tokens[:, :2, :4], vectors["tokens"], rtol=0, atol=5e-5)
    concatenated = tokens.mean(dim=2).flatten(1)
    np.testing.assert_allclose(concatenated, vectors["embedding_concat"][:1], rtol=0, atol=2e-5)


def test_a_shorter_record_is_the_official_padded_and_masked_one(vectors, encoder):
    observed = vectors["short_mask"][0] > 0
    # Patches before the record are masked there, and absent here.
    assert not observed[: np.argmax(observed)].any() and observed[np.argmax(observed) :].all()
    found = encoder.forward(vectors["x_short_in"][..., observed])
    np.testing.assert_allclose(found, vectors["embedding_short"], rtol=0, atol=1e-5)
    assert preprocess(vectors["x_mv"][:1, :, :600], 100).shape[-1] == observed.sum()
    found = encoder.embed(batch_of(vectors["x_mv"][:1, :, :600]))
    np.testing.assert_allclose(found, vectors["embedding_short"], rtol=0, atol=1e-5)


def test_of_a_longer_record_ten_seconds_are_read(vectors, encoder, embeddings, rng):
    longer = np.concatenate([vectors["x_mv"][:1], rng.normal(size=(1, 12, 70))], axis=-1)
    np.testing.assert_allclose(encoder.embed(batch_of(longer)), embeddings[:1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("rate", "up"), [(400, 4), (500, 5)])
def test_other_rates_are_brought_to_100_hz(rate, up, vectors, encoder, embeddings):
    first = vectors["x_mv"][:1, :, :1]
    faster = resample_poly(vectors["x_mv"][:1] - first, up, 1, axis=-1) + first
    found = encoder.embed(batch_of(faster, float(rate)))
    assert np.linalg.norm(found - embeddings[:1]) < 0.1 * np.linalg.norm(embeddings[:1])


def test_leads_are_found_by_name_and_units_do_not_matter(vectors, encoder, embeddings, rng):
    order = rng.permutation(12)
    found = Encoder(CARD, encoder).embed(
        1000 * vectors["x_mv"][:1, order], sampling_rate=100, leads=[LEADS[row] for row in order]
    )
    np.testing.assert_allclose(found, embeddings[:1], rtol=0, atol=1e-5)


def test_lengths(rng):
    signals = rng.normal(size=(1, 2, 1000)).astype(np.float32)
    for samples in (100, 101, 257, 999, 1000):
        found = preprocess(signals[..., :samples], 100)
        assert found.shape[-1] % 8 == 0 and np.isfinite(found).all()
        # The last point lies in the record, and the next patch would not.
        assert (found.shape[-1] - 1) * 999 / 511 <= samples - 1 + 1e-6 < (found.shape[-1] + 7) * 999 / 511 + 1e-6 * 2
    with pytest.raises(EcgfmError, match="1 s or more"):
        preprocess(signals[..., :99], 100)


def test_distances_fall_into_buckets():
    found = relative_buckets(64)
    # 64 patches do not reach the farthest of the 32.
    assert sorted(set(found.flatten().tolist())) == [*range(14), *range(17, 30)]
    assert found[0, :9].tolist() == [0, 17, 18, 19, 20, 21, 22, 23, 24]
    assert found[63, 0] == 13 and found[16, 0] == 10


def test_frozen(encoder):
    assert not encoder.module.training
    assert not any(parameter.requires_grad for parameter in encoder.module.parameters())


def test_the_whole_official_layout_is_read(golden, weights, monkeypatch, tmp_path):
    entries = {entry["key"]: entry["shape"] for entry in golden("moment_small").manifest["state_dict"]}
    whole = weights | {key: torch.zeros(()).expand(entries[key]) for key in ABSENT}
    assert set(whole) == set(entries)
    monkeypatch.setattr(moment, "read_checkpoint", lambda path: whole)
    Moment.load(tmp_path)


@pytest.mark.parametrize("change", ["dropped", "renamed", "reshaped"])
def test_a_changed_file_is_refused(change, weights, monkeypatch, tmp_path):
    used = [key for key in weights if not key.startswith(("head", "patch_embedding.mask"))]
    for key in random.Random(4).sample(sorted(used), 6):
        changed = {other: value for other, value in weights.items() if other != key}
        if change == "renamed":
            changed[f"model.{key}"] = weights[key]
        elif change == "reshaped":
            changed[key] = weights[key][..., None]
        monkeypatch.setattr(moment, "read_checkpoint", lambda path, changed=changed: changed)
        with pytest.raises(EcgfmError, match=re.escape(key)):
            Moment.load(tmp_path)
