"""A Dask cluster of real processes: a scheduler, and workers that may be killed."""

import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.kills import Place, assert_same
from pytest_ecgfm.embeddings import embed_cohort
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.fold_probes import Prepared, fit_fold, prepared
from pytest_ecgfm.evaluations.splits import Labelled, make_split, seeds_for
from pytest_ecgfm.measurements import probe_grid
from pytest_ecgfm.measurements.probe_grid import fit_anywhere
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.run.settings import Options, dask_address
from tests.memory_cohort import MemoryCohort, encoder_of, means
from tests.test_embeddings import Doubled

cluster = pytest.importorskip("pytest_ecgfm.embeddings.cluster", reason="needs the extra dask", exc_type=ImportError)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """A scheduler's address, and its two workers."""
    folder = tmp_path_factory.mktemp("dask")
    started = []

    def start(*arguments):
        # An empty folder: what workers need comes to them, or is installed.
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    note = folder / "scheduler.json"
    start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(note))

    def worker():
        return start("worker", "--scheduler-file", str(note), "--nthreads", "1", "--no-nanny", "--no-dashboard")

    workers = [worker(), worker()]
    from distributed import Client

    until = time.monotonic() + 60
    while not note.is_file() and time.monotonic() < until:
        time.sleep(0.1)
    with Client(scheduler_file=str(note), set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        address = client.scheduler.address
    yield address, workers, worker
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def client(scheduler):
    found = cluster.Cluster(scheduler[0])
    yield found
    found.close()


def gathered(client, encoder, cohort, **options):
    stretches = [range(begin, min(begin + 16, len(cohort))) for begin in range(0, len(cohort), 16)]
    return np.concatenate(list(client.embed_stretches(encoder, cohort, stretches, batch_size=8, **options)))


def test_workers_embed_what_one_process_embeds(client):
    cohort, seen = MemoryCohort(), []
    found = gathered(client, encoder_of(means), cohort, progress=lambda *at: seen.append(at))
    np.testing.assert_array_equal(found, embed_cohort(encoder_of(means), cohort, batch_size=8))
    assert seen == [(16, 40), (32, 40), (40, 40)]
    # A torch module of a file that is not installed where the workers run.
    module = Doubled()
    expected = embed_cohort(encoder_of(module), cohort, batch_size=8)
    np.testing.assert_allclose(gathered(client, encoder_of(module), cohort), expected, atol=1e-6)


def test_workers_fit_the_probes_that_one_process_fits(client, rng):
    embeddings = rng.standard_normal((120, 6)).astype(np.float32)
    known = np.arange(120) % 7 != 0
    targets = embeddings[known, 0] + rng.standard_normal(known.sum()) > 0
    patients = np.arange(known.sum()) // 2
    split = make_split(targets, patients.astype(str))
    labels = {"AF": Labelled(known, targets, patients, split)}
    asked = [("AF", "logistic", number, fraction, 1) for number in range(5) for fraction in (0.2, 1.0)]
    data = Prepared(embeddings[known], targets, patients, {})
    for (_, kind, number, fraction, seed), result in zip(
        asked, client.fit_probes(embeddings, labels, asked), strict=True
    ):
        (there, rows), (here, same) = result(), fit_fold(kind, data, split.folds[number], fraction, seed)
        np.testing.assert_array_equal(rows, same)
        assert there.C == here.C
        np.testing.assert_allclose(there.coefficients, here.coefficients, rtol=1e-9, atol=1e-12)


@pytest.fixture
def noise(rng):
    """An embedding with two labels, as a run knows them."""
    embeddings = rng.standard_normal((400, 48)).astype(np.float32)
    labelled = {}
    for number, name in enumerate(("AF", "CD")):
        known = np.arange(400) % (7 + number) != 0
        targets = embeddings[known, number] + rng.standard_normal(known.sum()) > 0
        patients = (np.arange(known.sum()) // 2).astype(str)
        labelled[name] = Labelled(known, targets, patients, make_split(targets, patients))
    return embeddings, labelled


def run_on(client, embeddings, labelled):
    """Two labels at two fractions."""
    kept = {}
    cases = [Case("downstream.auroc", "m", "c", label, fraction) for label in labelled for fraction in (0.1, 1.0)]
    settings = SimpleNamespace(
        profile=SimpleNamespace(grid=SimpleNamespace(probe="logistic")),
        seeds=None,
        planned=lambda: dict.fromkeys(cases),
    )
    return SimpleNamespace(
        cluster=client,
        settings=settings,
        once=lambda key, make: kept[key] if key in kept else kept.setdefault(key, make()),
        labelled=lambda cohort, label: labelled[label],
        embeddings=lambda encoder, cohort: embeddings,
    )


def fits(run, embeddings, labelled, fractions=(0.1, 1.0)):
    """Return the coefficients of all probes of a run's grid."""
    encoder, cohort = SimpleNamespace(card=SimpleNamespace(name="m")), SimpleNamespace(name="c")
    found = {}
    for label, one in labelled.items():
        data = prepared(embeddings[one.known], one.targets, one.patients)
        fit = fit_anywhere(run, encoder, cohort, label)
        for number, fold in enumerate(one.split.folds):
            for fraction in fractions:
                for seed in seeds_for(fraction):
                    probe, rows = fit("logistic", data, fold, fraction, seed)
                    found[label, number, fraction, seed] = np.append(probe.coefficients, rows.size)
    return found


def assert_alike(found, expected):
    assert found.keys() == expected.keys() and len(found) >= 12
    for key, values in found.items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-6, atol=1e-9, err_msg=str(key))


def test_the_grid_of_a_run_is_fitted_on_the_cluster(client, noise, monkeypatch):
    embeddings, labelled = noise
    expected = fits(SimpleNamespace(cluster=None), embeddings, labelled)
    here = []
    monkeypatch.setattr(probe_grid, "fit_fold", lambda *given: here.append(given[3]) or fit_fold(*given))
    run = run_on(client, embeddings, labelled)
    assert_alike(fits(run, embeddings, labelled), expected)
    assert not here
    # What the grid does not hold is fitted where pytest runs.
    fits(run, embeddings, labelled, fractions=(0.5,))
    assert set(here) == {0.5}


def test_work_that_brings_down_every_worker_ends_in_an_error():
    def deadly(x):
        os._exit(1)

    own = cluster.Cluster("local:1")
    try:
        with pytest.raises(EcgfmError, match="--ecgfm-dask: the same task made several workers crash"):
            gathered(own, encoder_of(deadly), MemoryCohort())
    finally:
        own.close()


class Task:
    """What Dask gives for work that was sent: one that waits for a worker, or one that is marked as failed."""

    def __init__(self, error=None):
        self.status = "error" if error else "pending"
        self._error = error or TimeoutError()

    def result(self, timeout):
        raise self._error


def test_the_last_worker_may_go_with_another_piece_of_the_work():
    own = object.__new__(cluster.Cluster)
    own._client = SimpleNamespace(nthreads=dict)
    failed = Task(cluster.KilledWorker("embed", SimpleNamespace(address="w"), 3))
    with pytest.raises(EcgfmError, match="the same task made several workers crash"):
        own._result(Task(), [Task(), failed])


def test_what_goes_wrong_on_a_worker_is_named_here(client):
    def bad(x):
        return np.full((len(x), 3), np.nan)

    with pytest.raises(EcgfmError, match=r"cohort memory: model 'm': the embedding of record r\d+ is not finite"):
        gathered(client, encoder_of(bad), MemoryCohort())


def test_what_cannot_be_sent_is_a_clear_error(client):
    lock = threading.Lock()

    def locked(x):
        with lock:
            return means(x)

    with pytest.raises(EcgfmError, match="model 'm': cannot be sent to the workers"):
        gathered(client, encoder_of(locked), MemoryCohort())


def test_a_scheduler_that_does_not_answer_is_a_clear_error():
    with pytest.raises(EcgfmError, match=r"--ecgfm-dask=tcp://127\.0\.0\.1:1: no scheduler answers"):
        cluster.Cluster("tcp://127.0.0.1:1", timeout=0.5)


@pytest.mark.parametrize(
    ("given", "processes", "message"),
    [
        ("lokal", None, r"--ecgfm-dask=lokal: should be local, local:N, tcp://host:port or tls://host:port\.$"),
        ("local:0", None, "--ecgfm-dask=local:0: should be local"),
        ("tcp://here", None, "--ecgfm-dask=tcp://here: should be local"),
        ("local:2", 2, "--ecgfm-dask=local:2 and -n: .* give one of the two"),
    ],
)
def test_bad_addresses_are_usage_errors(given, processes, message):
    options = {"ecgfm_dask": given, "numprocesses": processes}
    config = SimpleNamespace(getoption=lambda name, default=None: options.get(name, default), getini=lambda name: "")
    with pytest.raises(EcgfmError, match=message):
        dask_address(Options(config), config)


def test_a_worker_is_killed_and_the_run_ends_in_the_same_cube(undisturbed, scheduler, tmp_path, shared_cache):
    address, workers, another = scheduler
    place = Place(tmp_path, "downstream", options=(f"--ecgfm-dask={address}",))
    place.share(shared_cache)
    stop = threading.Event()

    def kill():
        while not place.chunks() and not stop.wait(0.01):
            pass
        workers[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        cube = place.finish()
    finally:
        stop.set()
        killer.join()
    assert workers[0].wait() != 0 and workers[1].poll() is None
    assert_same(cube, undisturbed)
    workers[0] = another()


def test_a_worker_is_killed_while_probes_are_fitted(client, scheduler, noise):
    embeddings, labelled = noise
    expected = fits(SimpleNamespace(cluster=None), embeddings, labelled)
    _, workers, another = scheduler
    client._client.wait_for_workers(2, timeout=60)
    run = run_on(client, embeddings, labelled)
    threading.Timer(0.2, workers[1].kill).start()
    assert_alike(fits(run, embeddings, labelled), expected)
    assert workers[1].wait(timeout=10) != 0
    workers[1] = another()


def test_a_cluster_of_ones_own():
    own = cluster.Cluster("local:1")
    try:
        found = gathered(own, encoder_of(means), MemoryCohort())
    finally:
        own.close()
    np.testing.assert_array_equal(found, embed_cohort(encoder_of(means), MemoryCohort(), batch_size=8))
