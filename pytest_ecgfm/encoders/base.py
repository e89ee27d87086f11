"""An encoder: a frozen model behind its card."""

import inspect
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from pytest_ecgfm.cards import ModelCard
from pytest_ecgfm.cards.identity import code_digest, digest, file_digest
from pytest_ecgfm.encoders import preprocessing
from pytest_ecgfm.encoders.modules import explained, freeze, held_modules, is_torch_module, unusable
from pytest_ecgfm.encoders.returned import real_array
from pytest_ecgfm.encoders.streams import embed_cohort
from pytest_ecgfm.errors import EcgfmError, NotAnEmbedding, blaming, reworded
from pytest_ecgfm.signals.records import FloatArray, RecordBatch, canonical_leads, leads_in_words

DEVICES = "auto, cpu, cuda, cuda:N, mps"
PRECISIONS = ("float32", "bfloat16")


def choose_device(name: str) -> str:
    """Resolve ``"auto"`` to the fastest device present.

    Raises
    ------
    EcgfmError
        If the device is not there.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdigit())):
        raise EcgfmError(f"--ecgfm-device={name}: not a device. Valid: {DEVICES}.")
    if name == "cpu":
        return name
    # Only now: it takes seconds, and a misspelt device or the processor needs none of it.
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    count = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    if int(number or 0) >= count:
        raise EcgfmError(f"--ecgfm-device={name}: this machine has {count} {kind} device(s).")
    return name


def require_device(name: str) -> str:
    """Return a device as it was asked for, so that `Encoder` resolves ``"auto"``: for a torch model only.

    Raises
    ------
    EcgfmError
        If the device is not there.
    """
    return name if name == "auto" else choose_device(name)


@contextmanager
def _naming(batch: RecordBatch) -> Iterator[None]:
    """Name the records in errors that do not."""
    try:
        yield
    except EcgfmError as error:
        if any(record in str(error) for record in batch.records):
            raise
        others = f" and {len(batch) - 1} more of its length" if len(batch) > 1 else ""
        raise reworded(error, f"record {batch.records[0]}{others}: {error}") from None


class Encoder:
    """A frozen model that turns records into embeddings.

    Parameters
    ----------
    card : ModelCard
        What it reads.
    model : object
        A `torch.nn.Module`, a callable, or an object with ``embed(batch)``.
    device : str
        Where a torch module runs, as `choose_device` takes it.
    precision : {"float32", "bfloat16"}
        Autocast of a torch module; the embedding is float32 in both cases.
    """

    def __init__(self, card: ModelCard, model: Any, *, device: str = "cpu", precision: str = "float32") -> None:
        self.card = card
        self.model = model
        self._asked_device = device
        self.precision = precision
        self.checkpoint_sha256 = ""
        self._dimensions = card.dimensions
        self.watching: Callable[[str, Sequence[str]], AbstractContextManager[None]] = lambda *_: nullcontext()
        self._is_module = is_torch_module(model)
        where = f"model {card.name!r}"
        if self._is_module:
            freeze(model, self.device, where)
        elif self.module is not None and hasattr(model, "device"):
            # A model that does its own preprocessing keeps its torch module in `module`, and says where it runs.
            self.module.to(self.device)
            model.device = self.device
        elif what := unusable(model):
            raise EcgfmError(f"{where} {what}.")

    @cached_property
    def device(self) -> str:
        """Where the model runs. A model without torch runs on the processor, and torch is not imported."""
        if self._needs_torch or self._asked_device != "auto":
            return choose_device(self._asked_device)
        return "cpu"

    @property
    def _needs_torch(self) -> bool:
        return self.module is not None or self.card.input == "tensor"

    def embed(
        self, records: Any, *, sampling_rate: float | None = None, leads: str | Sequence[str] | None = None
    ) -> FloatArray:
        """Embed a cohort, a batch of records, or an array.

        Parameters
        ----------
        records : Cohort, RecordBatch, or array of shape (records, leads, samples)
            An array is in mV. A cohort is read in parts, so it need not fit into memory.
        sampling_rate : float, optional
            In Hz; only with an array.
        leads : str or sequence of str, optional
            Names of an array's rows, in any order; only with an array.

        Returns
        -------
        ndarray of float32, shape (records, dimensions)
            In the order of the records.

        Raises
        ------
        EcgfmError
            If the input cannot be read, or the model returns something other than finite embeddings.

        Examples
        --------
        >>> import numpy as np
        >>> from pytest_ecgfm import load_encoder
        >>> encoder = load_encoder("handcrafted")
        >>> leads = encoder.card.leads
        >>> encoder.embed(np.zeros((2, len(leads), 5000)), sampling_rate=500, leads=leads).shape[0]
        2
        """
        is_cohort = hasattr(records, "batches")
        if (is_cohort or isinstance(records, RecordBatch)) and (sampling_rate is not None or leads is not None):
            raise EcgfmError("a cohort or a batch knows its sampling rate and leads: give these only with an array.")
        if is_cohort:
            return embed_cohort(self, records)
        if isinstance(records, RecordBatch):
            return self.embed_batch(records)
        if sampling_rate is None or leads is None:
            raise EcgfmError("an array needs sampling_rate=... in Hz, and leads=..., the names of its rows.")
        array = np.asarray(records, dtype=np.float32)
        if array.ndim != 3:
            raise EcgfmError(f"records.shape={array.shape}, but should be (records, leads, samples).")
        names = tuple(str(row) for row in range(len(array)))
        return self.embed_batch(RecordBatch(array, canonical_leads(leads), float(sampling_rate), names))

    def __repr__(self) -> str:
        width = "a number of dimensions not known yet" if self._dimensions is None else f"{self._dimensions} dimensions"
        seconds = "records of any length" if self.card.seconds is None else f"{self.card.seconds:g} s"
        reads = f"{leads_in_words(self.card.leads)}, {self.card.sampling_rate:g} Hz, {seconds}, {self.card.units}"
        return f"<Encoder {self.card.name!r}: {width}; reads {reads}>"

    def embed_batch(self, batch: RecordBatch) -> FloatArray:
        """Embed a batch of records as stored (see `embed`); in halves, if the device has too little memory."""
        return self._embedded(batch, self._prepared(batch))

    def prepared(self, batch: RecordBatch) -> RecordBatch:
        """Prepare a batch as the card says; return what reaches the model.

        Raises
        ------
        EcgfmError
            If a record cannot be prepared; the message names it.
        """
        return self._prepared(batch)

    def embed_batches(self, batches: Iterable[RecordBatch]) -> Generator[tuple[RecordBatch, FloatArray], None, None]:
        """Embed batches one after the other; meanwhile the next one is read and prepared.

        If a model's attribute ``concurrent`` is true, it gets several batches at once, each in a thread. So it can
        preprocess one batch while it computes another.

        Parameters
        ----------
        batches : iterable of RecordBatch
            Consumed in another thread, one batch ahead.

        Yields
        ------
        RecordBatch, ndarray of float32
            Each batch unchanged, and its embedding; see `embed`.

        Raises
        ------
        EcgfmError
            If a record cannot be read or embedded.
        """
        coming = iter(batches)

        def following() -> tuple[RecordBatch, RecordBatch] | None:
            batch = next(coming, None)
            return None if batch is None else (batch, self._prepared(batch))

        at_once = self._at_once
        at_work: deque[tuple[RecordBatch, Callable[[], FloatArray]]] = deque()
        with (
            ThreadPoolExecutor(at_once, thread_name_prefix="ecgfm-embed") as others,
            ThreadPoolExecutor(1, thread_name_prefix="ecgfm-prepare") as ahead,
        ):
            waiting = ahead.submit(following)
            while (found := waiting.result()) is not None or at_work:
                if found is not None:
                    waiting = ahead.submit(following)
                    batch, prepared = found
                    embed = partial(self._embedded, batch, prepared)
                    # Any other model is called from this thread alone: it may hold what belongs to one.
                    at_work.append((batch, embed if at_once == 1 else others.submit(embed).result))
                if found is None or len(at_work) >= at_once:
                    batch, embedded = at_work.popleft()
                    yield batch, embedded()

    @property
    def _at_once(self) -> int:
        """Batches in the model's hands at once: one that says that it can may prepare one while it computes another."""
        if not getattr(self.model, "concurrent", False):
            return 1
        return 2 if self.device == "cpu" else max(2, min(8, os.cpu_count() or 1))

    def _prepared(self, batch: RecordBatch) -> RecordBatch:
        with _naming(batch):
            return preprocessing.prepare(batch, self.card)

    def _embedded(self, batch: RecordBatch, prepared: RecordBatch) -> FloatArray:
        try:
            with _naming(batch), blaming(self.card.name), self.watching(self.card.name, batch.records):
                return self._checked(self._asked(prepared), batch)
        except MemoryError as error:
            return self._in_halves(batch, error)
        except RuntimeError as error:
            # torch's out-of-memory error is a RuntimeError, and so is anything else that its kernels say.
            if type(error).__name__ != "OutOfMemoryError" and "out of memory" not in str(error).lower():
                raise
            return self._in_halves(batch, error)

    def _in_halves(self, batch: RecordBatch, error: Exception) -> FloatArray:
        if len(batch) == 1:
            raise EcgfmError(
                f"record {batch.records[0]}: not enough memory on {self.device} for a batch of one record."
            ) from error
        half = len(batch) // 2
        return np.concatenate(
            [self.embed_batch(batch.rows(range(half))), self.embed_batch(batch.rows(range(half, len(batch))))]
        )

    def _asked(self, batch: RecordBatch) -> Any:
        try:
            return self._run(batch)
        except Exception as error:
            if (line := explained(error, self.model, f"model {self.card.name!r}")) is not None:
                raise line from None
            raise

    def _run(self, batch: RecordBatch) -> Any:
        if self.card.input == "array":
            return self._callable(batch.signals)
        if self.card.input == "records" and self.module is None:
            return self.model.embed(batch)
        import torch

        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.precision != "float32":
                kind = self.device.partition(":")[0]
                stack.enter_context(torch.autocast(kind, dtype=getattr(torch, self.precision)))
            if self.card.input == "records":
                return self.model.embed(batch)
            return self._callable(torch.from_numpy(batch.signals).to(self.device if self._is_module else "cpu"))

    @property
    def _callable(self) -> Any:
        # A module's own __call__ comes first: many models have an `embed` of another meaning.
        return self.model if callable(self.model) else self.model.embed

    def _checked(self, out: Any, batch: RecordBatch) -> FloatArray:
        where = f"model {self.card.name!r}"
        array = real_array(out, where)
        if array.ndim != 2 or len(array) != len(batch) or array.shape[1] == 0:
            raise NotAnEmbedding(f"{where}: embedding.shape={array.shape}, but should be ({len(batch)}, dimensions).")
        if self._dimensions is not None and array.shape[1] != self._dimensions:
            raise NotAnEmbedding(f"{where}: {array.shape[1]} dimensions, but should be {self._dimensions}.")
        self._dimensions = array.shape[1]
        bad = ~np.isfinite(array).all(axis=1)
        if bad.any():
            record = batch.records[int(np.argmax(bad))]
            raise NotAnEmbedding(f"{where}: the embedding of record {record} is not finite.")
        return array

    @cached_property
    def fingerprint(self) -> str | None:
        """SHA-256 of weights, code, card and preprocessing; None if nothing distinguishes the model from another.

        A plain callable may depend on anything, so it has a fingerprint only if its card gives a ``version``.
        """
        if not self.card.version and not type(self.model).__module__.startswith("pytest_ecgfm."):
            return None
        bases = type(self.model).__mro__
        return digest(
            [
                json.dumps(self.card.identity(), sort_keys=True).encode(),
                self.precision.encode(),
                self.weights_sha256.encode(),
                code_digest(Encoder.__module__, *(base.__module__ for base in bases)).encode(),
                *_foreign_code(bases),
            ]
        )

    @property
    def module(self) -> Any:
        """The torch module behind the model, or None."""
        module = self.model if self._is_module else getattr(self.model, "module", None)
        return module if is_torch_module(module) else None

    def weights(self) -> dict[str, str]:
        """SHA-256 of each parameter and buffer, also in modules that functions or objects hold (`held_modules`)."""
        if self.module is not None:
            return tensor_digests(self.module)
        return {
            f"{name}.{tensor}": found
            for name, module in held_modules(self.model).items()
            for tensor, found in tensor_digests(module).items()
        }

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over parameters and buffers, or of an exported model's file; empty if the model has neither."""
        if self.module is not None:
            return weights_digest(self.module)
        return str(getattr(self.model, "sha256", ""))


def _foreign_code(bases: Iterable[type]) -> Iterator[bytes]:
    """Identify the files, outside this package, that define a model's class: edited code is another encoder."""
    for base in bases:
        path = Path(getattr(inspect.getmodule(base), "__file__", None) or "")
        if path.suffix == ".py" and base.__module__.partition(".")[0] not in ("pytest_ecgfm", "torch"):
            yield file_digest(path)


def weights_digest(module: Any) -> str:
    """SHA-256 over the names, shapes, types and values of a module's parameters and buffers."""
    return digest(f"{name} {found}".encode() for name, found in tensor_digests(module).items())


def tensor_digests(module: Any) -> dict[str, str]:
    """SHA-256 over shape, type and values of each of a module's parameters and buffers."""
    import torch

    found = {}
    # Not `state_dict`: it leaves out buffers that are not saved, and those drift like any other.
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        found[name] = digest([f"{tuple(tensor.shape)} {tensor.dtype}".encode(), values.tobytes()])
    return found
