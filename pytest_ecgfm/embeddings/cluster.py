"""Work on a Dask cluster: stretches of a cohort's records go out and embeddings come back, then probes.

Imported only where a cluster was asked for. The processes of a cluster pickle to each other, as Dask always does:
whoever reaches the scheduler can run code on it and on its workers (docs/scale.md).
"""

import inspect
import os
import sysconfig
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import cloudpickle
from distributed import Client, LocalCluster, WorkerPlugin, get_worker
from distributed.scheduler import KilledWorker

from pytest_ecgfm.cards.identity import digest
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.embeddings import Progress, embed_stretches
from pytest_ecgfm.encoders.base import Encoder, require_device
from pytest_ecgfm.encoders.parallel import InProcesses
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.fold_probes import Fitted, Prepared, fit_fold, prepared
from pytest_ecgfm.evaluations.splits import Labelled, Split
from pytest_ecgfm.signals.records import FloatArray

_PATIENCE = 300
"""Seconds without a single worker after which nobody waits any longer."""


class Held(WorkerPlugin):
    """What many tasks need, on every worker: also on one that comes later, or again."""

    def __init__(self, packed: bytes, code: str) -> None:
        self._packed = packed
        self._code = code
        self._lock = Lock()
        self._made: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_packed": self._packed, "_code": self._code}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_packed"], state["_code"])  # type: ignore[misc]

    def made(self) -> Any:
        """Unpack it, once a worker."""
        with self._lock:
            if self._made is None:
                where = f"worker {get_worker().address}"
                if _code() != self._code:
                    raise EcgfmError(f"{where}: has another version of pytest-ecgfm; install the same one everywhere.")
                try:
                    # No file: what this run's own process packed, over a connection on which Dask unpickles anyway.
                    make, parts = cloudpickle.loads(self._packed)
                except Exception as error:  # whatever a model needs to be put together, and lacks there
                    raise EcgfmError(
                        f"{where}: cannot unpack the model ({type(error).__name__}: {error}); what it imports has to "
                        "be installed there too."
                    ) from None
                self._made = make(*parts)
            return self._made


def _held(name: str) -> Any:
    plugin: Any = get_worker().plugins[name]
    return plugin.made()


def _encoder_and_cohort(card: Any, model: Any, device: str, precision: Any, cohort: Cohort) -> tuple[Encoder, Cohort]:
    return Encoder(card, model, device=require_device(device), precision=precision), cohort


def _embed(name: str, begin: int, stop: int, batch_size: int) -> FloatArray:
    """Embed a stretch of records; runs on a worker."""
    encoder, cohort = _held(name)
    (values,) = embed_stretches(encoder, cohort, [range(begin, stop)], batch_size=batch_size)
    return values


def _cells(embeddings: FloatArray, labels: dict[str, Labelled]) -> dict[str, tuple[Prepared, Split | None]]:
    return {
        name: (prepared(embeddings[one.known], one.targets, one.patients), one.split) for name, one in labels.items()
    }


def _fit(name: str, label: str, kind: str, number: int, fraction: float, seed: int) -> Fitted:
    """Fit the probe of one fold; runs on a worker."""
    data, split = _held(name)[label]
    return fit_fold(kind, data, split.folds[number], fraction, seed)


class Cluster:
    """A Dask cluster, one's own or somebody else's.

    Parameters
    ----------
    address : str
        ``local``, ``local:N`` (N processes on this machine), or a scheduler's ``tcp://host:port`` or ``tls://host:port``.
    device : str
        Where torch modules run on the workers; ``"auto"`` is chosen by each of them.
    timeout : float
        Seconds to wait for the scheduler.

    Raises
    ------
    EcgfmError
        If no scheduler answers.
    """

    def __init__(self, address: str, *, device: str = "auto", timeout: float = 20) -> None:
        self.device = device
        kind, _, count = address.partition(":")
        self._own: LocalCluster | None = None
        if kind == "local":
            self._own = LocalCluster(
                n_workers=int(count) if count else os.cpu_count(),
                threads_per_worker=1,
                # Any free port, seen from this machine only: the usual one may be another cluster's.
                dashboard_address="127.0.0.1:0",
            )
        try:
            # Typed as anything: Dask annotates its classes in parts only.
            self._client: Any = Client(self._own or address, timeout=timeout, set_as_default=False)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise EcgfmError(f"--ecgfm-dask={address}: no scheduler answers: {reason}.") from None
        self._held: set[str] = set()

    def close(self) -> None:
        """Take leave; a cluster of one's own ends."""
        for name in self._held:
            self._client.unregister_worker_plugin(name)
        self._client.close()
        if self._own is not None:
            self._own.close()

    def embed_stretches(
        self,
        encoder: Encoder,
        cohort: Cohort,
        stretches: list[range],
        *,
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> Iterator[FloatArray]:
        """Embed stretches of a cohort's records on the workers; see `pytest_ecgfm.embeddings.embed_stretches`.

        What a worker that dies was at work on is done again by another one.
        """
        name = self._send(_packed(encoder, cohort, self.device))
        waiting: deque[tuple[range, Any]] = deque()
        coming = iter(stretches)
        total, done = sum(map(len, stretches)), 0
        try:
            while True:
                # Enough for every thread to have something to do next; what is done waits in the workers' memory.
                most = 3 * max(1, sum(self._client.nthreads().values()))
                while len(waiting) < most and (one := next(coming, None)) is not None:
                    waiting.append(
                        (one, self._client.submit(_embed, name, one.start, one.stop, batch_size, pure=False))
                    )
                if not waiting:
                    return
                one, future = waiting.popleft()
                values = self._result(future, [other for _, other in waiting])
                done += len(one)
                if progress is not None:
                    progress(done, total)
                yield values
        finally:
            for _, future in waiting:
                future.cancel()

    def fit_probes(
        self, embeddings: FloatArray, labels: dict[str, Labelled], asked: Iterable[tuple[str, str, int, float, int]]
    ) -> Iterator[Callable[[], Fitted]]:
        """Fit the probes of a cohort's folds on the workers; each comes where it is called for.

        Parameters
        ----------
        embeddings : ndarray of float32, shape (records, d)
        labels : dict of str to Labelled
            Each with a split.
        asked : iterable of (label, kind, number of the fold, fraction, seed)
            The first are begun first.
        """
        name = self._send(cloudpickle.dumps((_cells, (embeddings, labels))))
        for one in asked:
            yield partial(self._result, self._client.submit(_fit, name, *one, pure=False))

    def _result(self, future: Any, others: Sequence[Any] = ()) -> Any:
        idle = 0
        while True:
            try:
                values = future.result(timeout=10)
            except TimeoutError:
                if self._client.nthreads():
                    idle = 0
                    continue
                # The last worker may have gone with another piece of the work, while this one waits for a next worker.
                future = next((one for one in (future, *others) if one.status == "error"), future)
                idle += 10
                if idle >= _PATIENCE and future.status != "error":
                    raise EcgfmError(f"--ecgfm-dask: there was no worker for {_PATIENCE} seconds.") from None
            except EcgfmError:
                raise
            except KilledWorker as error:
                raise EcgfmError(f"--ecgfm-dask: the same task made several workers crash: {error}") from None
            else:
                return values

    def _send(self, packed: bytes) -> str:
        """Put something on every worker, once."""
        name = f"ecgfm-{digest([packed])[:24]}"
        if name not in self._held:
            self._client.register_plugin(Held(packed, _code()), name=name)
            self._held.add(name)
        return name


def _packed(encoder: Encoder, cohort: Cohort, device: str) -> bytes:
    # A worker is one of several processes already.
    model = encoder.model.model if isinstance(encoder.model, InProcesses) else encoder.model
    own = [module for module in _modules(model, cohort) if _is_loose(module)]
    module = encoder.module
    try:
        if module is not None:
            module.to("cpu")
        for one in own:
            cloudpickle.register_pickle_by_value(one)
        parts = encoder.card, model, device, encoder.precision, cohort
        packed: bytes = cloudpickle.dumps((_encoder_and_cohort, parts))
    except Exception as error:  # whatever an object says that cannot be pickled
        raise EcgfmError(
            f"model {encoder.card.name!r}: cannot be sent to the workers of --ecgfm-dask "
            f"({type(error).__name__}: {error}); a torch.nn.Module or a function without open files can."
        ) from None
    finally:
        for one in own:
            cloudpickle.unregister_pickle_by_value(one)
        if module is not None:
            module.to(encoder.device)
    return packed


def _modules(model: Any, cohort: Cohort) -> set[ModuleType]:
    """Return the Python modules that define a model and a cohort."""
    parts = [model, cohort, *(model.modules() if callable(getattr(model, "modules", None)) else ())]
    kinds = {kind for part in parts for kind in type(part).__mro__}
    found = [inspect.getmodule(one) for one in (model, *kinds)]
    return {one for one in found if one is not None}


def _is_loose(module: ModuleType) -> bool:
    """Tell whether a module is a file that is not installed, such as a conftest: workers cannot import it."""
    path = getattr(module, "__file__", None)
    if path is None or module.__name__.partition(".")[0] == "pytest_ecgfm":
        return False
    installed = [
        Path(place).resolve() for name in ("stdlib", "purelib", "platlib") if (place := sysconfig.get_path(name))
    ]
    return not any(Path(path).resolve().is_relative_to(place) for place in installed)


@cache
def _code() -> str:
    """Digest of the code of this package."""
    return digest(path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py")))
