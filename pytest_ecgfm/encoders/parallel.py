"""An encoder of plain Python on several cores."""

import os
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from pytest_ecgfm.signals.records import FloatArray, RecordBatch

_LEAST = 4  # records a process: fewer are done before they have been handed over


class Embeds(Protocol):
    """What an encoder with preprocessing of its own offers."""

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records."""


class InProcesses:
    """Embeds the records of a batch in several processes; the embeddings are the same as in one.

    Code that is bound by the interpreter gains nothing from threads. torch models do, and have no use for this.

    Parameters
    ----------
    model : Embeds
        A row of its embedding must depend on that record only. It is sent to each process.
    """

    def __init__(self, model: Embeds) -> None:
        self.model = model

    @cached_property
    def processes(self) -> int:
        """Cores of this process: those of the machine, shared among the workers of pytest-xdist."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))

    def __getattr__(self, name: str) -> Any:
        # Not reached for what is set above; `model` itself is absent while a process unpacks its copy.
        if name == "model":
            raise AttributeError(name)
        return getattr(self.model, name)

    def embed(self, batch: RecordBatch) -> FloatArray:
        """Embed records; see the model's own method."""
        parts = min(self.processes, len(batch) // _LEAST)
        if parts < 2:
            return self.model.embed(batch)
        # Not `joblib.Parallel`, which looks for results every 10 ms only: that is as long as some batches take.
        from joblib.externals.loky import get_reusable_executor

        rows = np.array_split(np.arange(len(batch)), parts)
        executor = get_reusable_executor(max_workers=self.processes)
        others = [executor.submit(self.model.embed, batch.rows(part.tolist())) for part in rows]
        return np.concatenate([one.result() for one in others])
