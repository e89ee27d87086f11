"""The untrained convolutional encoder."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.encoders.random_conv import DIMENSIONS, LEADS, SAMPLING_RATE, RandomConv
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import RecordBatch


def batch_of(signals, leads=LEADS):
    return RecordBatch(signals, tuple(leads), SAMPLING_RATE, tuple(str(row) for row in range(len(signals))))


@pytest.fixture
def signals(rng):
    return rng.normal(0, 0.3, (4, 12, 1000)).astype(np.float32)


def weights(encoder):
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in encoder.module.state_dict().values())).hexdigest()


def test_import_is_light():
    code = "import sys, pytest_ecgfm.encoders.random_conv; print('torch' in sys.modules, 'scipy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_weights_are_the_seed_alone():
    assert weights(RandomConv()) == weights(RandomConv())
    assert weights(RandomConv()) != weights(RandomConv(seed=1))


def test_global_random_state_is_untouched(signals):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before, legacy = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    RandomConv().embed(batch_of(signals))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(legacy, np.random.get_state()[1])  # noqa: NPY002


def test_frozen(signals):
    encoder = RandomConv()
    before = weights(encoder)
    encoder.embed(batch_of(signals))
    assert weights(encoder) == before
    assert not encoder.module.training
    assert not any(parameter.requires_grad for parameter in encoder.module.parameters())


@pytest.mark.parametrize("count", [1, 3, 8, 9, 21])
def test_rows_do_not_depend_on_the_batch(rng, count):
    encoder = RandomConv()
    signals = rng.normal(0, 0.3, (count, 12, 1000)).astype(np.float32)
    whole = encoder.embed(batch_of(signals))
    assert whole.shape == (count, DIMENSIONS) and whole.dtype == np.float32
    alone = np.concatenate([encoder.embed(batch_of(signals[row : row + 1])) for row in range(count)])
    np.testing.assert_array_equal(alone, whole)
    np.testing.assert_array_equal(encoder.embed(batch_of(signals[::-1]))[::-1], whole)


def test_rows_are_those_of_the_module(signals):
    encoder = RandomConv()
    centred = signals.astype(np.float64) - np.median(signals, axis=-1, keepdims=True)
    scaled = centred / np.sqrt(np.mean(centred**2, axis=(1, 2), keepdims=True))
    maps = encoder.module.double()(torch.from_numpy(np.clip(scaled, -10, 10))).numpy()
    expected = np.concatenate([maps.mean(axis=-1), maps.max(axis=-1)], axis=1)
    np.testing.assert_allclose(RandomConv().embed(batch_of(signals)), expected, atol=2e-5)


def test_torch_keeps_its_threads(signals):
    before = torch.get_num_threads()
    RandomConv().embed(batch_of(signals))
    assert torch.get_num_threads() == before


def test_two_instances_agree(signals):
    np.testing.assert_array_equal(RandomConv().embed(batch_of(signals)), RandomConv().embed(batch_of(signals)))


def test_leads_go_by_name(signals, rng):
    order = rng.permutation(12)
    shuffled = batch_of(signals[:, order], [LEADS[i] for i in order])
    np.testing.assert_array_equal(RandomConv().embed(shuffled), RandomConv().embed(batch_of(signals)))


def test_every_lead_counts(signals):
    encoder = RandomConv()
    whole = encoder.embed(batch_of(signals))
    for lead in range(12):
        masked = signals.copy()
        masked[:, lead] = 0
        assert np.abs(encoder.embed(batch_of(masked)) - whole).max() > 1e-2


def test_gain_and_offset_do_not_matter(signals):
    encoder = RandomConv()
    whole = encoder.embed(batch_of(signals))
    np.testing.assert_allclose(encoder.embed(batch_of(4 * signals)), whole, atol=1e-4)
    offset = np.linspace(-1, 1, 12, dtype=np.float32)[:, None]
    np.testing.assert_allclose(encoder.embed(batch_of(signals + offset)), whole, atol=1e-4)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(samples=st.integers(100, 6000), kind=st.sampled_from(["flat", "constant", "spiky", "noise", "huge"]))
def test_finite_at_any_length(samples, kind):
    rng = np.random.default_rng(samples)
    signals = np.zeros((1, 12, samples), np.float32)
    if kind == "constant":
        signals += 2.5
    elif kind == "spiky":
        signals[0, 3, rng.integers(0, samples, 3)] = 16.0
    elif kind != "flat":
        signals += rng.normal(0, 1e4 if kind == "huge" else 1.0, signals.shape).astype(np.float32)
    row = RandomConv().embed(batch_of(signals))
    assert row.shape == (1, DIMENSIONS) and np.isfinite(row).all() and np.abs(row).max() < 100


def test_refuses_what_it_cannot_read(signals):
    with pytest.raises(EcgfmError, match="should last 1 s or more"):
        RandomConv().embed(batch_of(signals[..., :99]))
    with pytest.raises(EcgfmError, match="lacks lead 'V6'"):
        RandomConv().embed(batch_of(signals[:, :11], LEADS[:11]))
