import threading
import time

import numpy as np
import pytest
import torch

from pytest_ecgfm.cohorts.base import LABELS
from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.embeddings import embed_cohort
from pytest_ecgfm.encoders.base import choose_device
from pytest_ecgfm.encoders.frozen import Frozen
from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS
from tests.memory_cohort import MemoryCohort, encoder_of, means


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_rows_are_in_the_cohorts_order_whatever_the_batch(batch_size):
    cohort = MemoryCohort()
    seen = []
    out = embed_cohort(encoder_of(means), cohort, batch_size=batch_size, progress=lambda *at: seen.append(at))
    expected = np.stack([cohort.signals[record][:, :500].mean(axis=-1) for record in cohort.records])
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert seen[-1] == (40, 40)


def test_a_batch_holds_records_of_one_length_and_few_are_kept_waiting():
    cohort = MemoryCohort(n=30)
    batches = list(cohort.batches(4))
    assert sorted(record for batch in batches for record in batch.records) == sorted(cohort.records)
    assert {batch.signals.shape[-1] for batch in batches} == {500, 700}
    assert max(len(batch) for batch in batches) == 4


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: x, r"embedding.shape=\(64, 12, 500\), but should be \(64, dimensions\)"),
        (lambda x: x.mean(dim=(0, 2)), r"embedding.shape=\(12,\)"),
        (lambda x: "text", "returned a str, but should return an array"),
        (lambda x: np.zeros((len(x), 0)), r"embedding.shape=\(64, 0\)"),
        (lambda x: np.where(np.arange(len(x)) == 3, np.nan, 1.0)[:, None], "the embedding of record r3 is not finite"),
    ],
)
def test_what_is_no_embedding_is_an_error_that_names_cohort_and_model(model, message):
    cohort = MemoryCohort(n=100)
    cohort.signals = {name: signal[:, :500] for name, signal in cohort.signals.items()}
    with pytest.raises(EcgfmError, match=r"^cohort memory: .*model 'm': .*" + message):
        embed_cohort(encoder_of(model), cohort)


@pytest.mark.parametrize("concurrent", [False, True])
def test_only_a_model_that_says_so_is_called_from_several_threads(concurrent):
    class Model:
        def __init__(self):
            self.concurrent, self.inside, self.most, self.threads = concurrent, 0, 0, set()
            self.lock, self.met = threading.Lock(), threading.Barrier(2)

        def embed(self, batch):
            self.threads.add(threading.current_thread())
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            if concurrent:
                self.met.wait(30)  # goes on only when another thread is here too
            with self.lock:
                self.inside -= 1
            return batch.signals.mean(axis=-1)

    model, cohort = Model(), MemoryCohort(n=32)
    encoder = encoder_of(model, input="records")
    batches = list(cohort.batches(4, list(cohort.records)[:32]))
    if len(batches) % 2:
        batches = batches[:-1]
    found = list(encoder.embed_batches(batches))
    assert [batch.records for batch, _ in found] == [batch.records for batch in batches]
    for batch, values in found:
        np.testing.assert_allclose(values, batch.signals[..., :500].mean(axis=-1), atol=1e-6)
    assert model.most == (2 if concurrent else 1)
    assert (threading.main_thread() in model.threads) is not concurrent
    assert len(model.threads) == (2 if concurrent else 1)


def test_a_frozen_module_computes_one_batch_at_a_time():
    class Watched(torch.nn.Module):
        inside = most = 0

        def forward(self, x):
            Watched.inside += 1
            Watched.most = max(Watched.most, Watched.inside)
            time.sleep(0.02)
            Watched.inside -= 1
            return x.mean(-1)

    model = Frozen(Watched())
    model.embed = lambda batch: model.forward(batch.signals)
    encoder = encoder_of(model, input="records")
    found = list(encoder.embed_batches(MemoryCohort(n=24).batches(4)))
    assert len(found) > 4 and Watched.most == 1


def test_dimensions_must_stay_the_same():
    encoder = encoder_of(lambda x: np.ones((len(x), len(x))))
    with pytest.raises(EcgfmError, match="dimensions, but should be"):
        embed_cohort(encoder, MemoryCohort(), batch_size=7)
    with pytest.raises(EcgfmError, match="12 dimensions, but should be 3"):
        embed_cohort(encoder_of(means, dimensions=3), MemoryCohort())


def test_what_is_no_model_is_an_error():
    with pytest.raises(EcgfmError, match=r"model 'm' is a int, but should be a torch.nn.Module, a callable"):
        encoder_of(3)


class Doubled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(12, 5)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.layer(x.mean(-1)))


def test_a_torch_module_is_frozen_and_in_eval_mode():
    module = Doubled().train()
    encoder = encoder_of(module)
    signal = np.random.default_rng(0).normal(size=(4, 12, 500)).astype(np.float32)
    first = encoder.embed(signal, sampling_rate=100, leads=LEADS)
    np.testing.assert_array_equal(first, encoder.embed(signal, sampling_rate=100, leads=LEADS))
    assert not any(parameter.requires_grad for parameter in module.parameters())
    with torch.no_grad():
        expected = module.layer(torch.from_numpy(signal).mean(-1)).numpy()
    np.testing.assert_allclose(first, expected, atol=1e-6)


def test_an_object_with_embed_and_the_kinds_of_input():
    class Thing:
        def embed(self, batch):
            return batch.mean(-1)

    signal = np.random.default_rng(0).normal(size=(4, 12, 500)).astype(np.float32)
    for kind in ("tensor", "array"):
        out = encoder_of(Thing(), input=kind).embed(signal, sampling_rate=100, leads=LEADS)
        np.testing.assert_allclose(out, signal.mean(-1), atol=1e-6)


def test_a_cohort_a_batch_and_an_array_come_to_the_same():
    encoder, memory_cohort = encoder_of(means), MemoryCohort(n=300)
    wanted = embed_cohort(encoder, memory_cohort)
    np.testing.assert_array_equal(encoder.embed(memory_cohort), wanted)
    (batch,) = memory_cohort.batches(2, memory_cohort.records[1:3])
    np.testing.assert_array_equal(encoder.embed(batch), wanted[1:3])
    found = encoder.embed(batch.signals, sampling_rate=batch.sampling_rate, leads=batch.leads)
    np.testing.assert_array_equal(found, wanted[1:3])
    with pytest.raises(EcgfmError, match=r"an array needs sampling_rate=\.\.\. in Hz"):
        encoder.embed(batch.signals)
    for given in (batch, memory_cohort):
        with pytest.raises(EcgfmError, match="knows its sampling rate and leads"):
            encoder.embed(given, sampling_rate=100)


def test_a_cohort_says_what_it_is(monkeypatch):
    assert repr(MemoryCohort()) == "<Cohort 'memory' (Europe): 40 records, 12 leads, 100 Hz>"
    patients = [f"p{i % 7}" for i in range(40)]
    broken = MemoryCohort(patients=patients)
    broken.signals.clear()
    monkeypatch.setattr(MemoryCohort, "_read", lambda self, record: (_ for _ in ()).throw(EcgfmError("no file")))
    assert repr(broken) == "<Cohort 'memory' (Europe): 40 records, 7 patients, 100 Hz>"


def test_an_encoder_says_what_it_is():
    encoder = encoder_of(lambda batch: batch.mean(-1), input="array", seconds=None, leads="I II", units="uV")
    text = "reads leads I, II, 100 Hz, records of any length, uV>"
    assert repr(encoder) == f"<Encoder 'm': a number of dimensions not known yet; {text}"
    encoder.embed(np.zeros((1, 2, 100)), sampling_rate=100, leads="I II")
    assert repr(encoder) == f"<Encoder 'm': 2 dimensions; {text}"


def test_fingerprints_tell_weights_cards_and_versions_apart():
    torch.manual_seed(0)
    module = Doubled()
    same = Doubled()
    same.load_state_dict(module.state_dict())
    other = Doubled()
    first = encoder_of(module, version="1").fingerprint
    assert first == encoder_of(same, version="1").fingerprint
    assert first != encoder_of(other, version="1").fingerprint
    assert first != encoder_of(same, version="2").fingerprint
    assert first != encoder_of(same, version="1", normalize="zscore").fingerprint
    assert encoder_of(module).fingerprint is None
    assert load_encoder("demographics").fingerprint is not None


def test_a_limit_takes_whole_patients_and_keeps_the_labels_shares():
    cohort = MemoryCohort(n=400, patients=[f"p{i // 2}" for i in range(400)])
    part = limited(cohort, 200, seed=1)
    assert 190 <= len(part) <= 200
    assert (part.patients.value_counts() == 2).all()
    for label in LABELS:
        assert float(part.labels[label].mean()) == pytest.approx(float(cohort.labels[label].mean()), abs=0.06)
    assert list(part.records) == list(limited(cohort, 200, seed=1).records)
    assert list(part.records) != list(limited(cohort, 200, seed=2).records)
    assert part.digest != cohort.digest
    assert limited(cohort, 1000) is cohort
    assert len(cohort) == 400


def test_devices():
    assert choose_device("cpu") == "cpu"
    with pytest.raises(EcgfmError, match="not a device"):
        choose_device("cpu:1")
    with pytest.raises(EcgfmError, match=r"this machine has \d+ cuda device"):
        choose_device("cuda:99")


def test_an_unknown_encoder_offers_the_nearest():
    with pytest.raises(EcgfmError, match="Did you mean 'demographics'"):
        load_encoder("demografics")
