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
from pytest_ecgfm.settings import Options, dask_address
from tests.test_embeddings import Doubled, MemoryCohort, encoder_of, means

cluster = pytest.importorskip("pytest_ecgfm.cluster", reason="needs the extra dask", exc_type=ImportError)

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
    another()


def test_a_cluster_of_ones_own():
    own = cluster.Cluster("local:1")
    try:
        found = gathered(own, encoder_of(means), MemoryCohort())
    finally:
        own.close()
    np.testing.assert_array_equal(found, embed_cohort(encoder_of(means), MemoryCohort(), batch_size=8))
