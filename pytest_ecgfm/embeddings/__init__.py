"""Records to embeddings: streamed, batched, cached on disk."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cards.identity import code_digest, digest
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.embeddings.store import ArrayStore, gaps
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.streams import Progress as Progress
from pytest_ecgfm.encoders.streams import assembled
from pytest_ecgfm.encoders.streams import chunk_rows as chunk_rows
from pytest_ecgfm.encoders.streams import embed_cohort as embed_cohort
from pytest_ecgfm.encoders.streams import embed_stretches as embed_stretches
from pytest_ecgfm.errors import EcgfmError, NotAnEmbedding
from pytest_ecgfm.signals.records import FloatArray

Make = Callable[[list[range]], Iterable[npt.NDArray[Any]]]


@dataclass(frozen=True)
class Part:
    """What is derived from a cohort before it is embedded, such as perturbed records.

    Attributes
    ----------
    title : str
        For the progress display, and what `ecgfm cache` calls it.
    identity : str
        Everything that makes it this part and no other; part of the key.
    records : int
        Rows of the array.
    modules : tuple of str
        Modules of this package that derive it; their code is part of the key.
    """

    title: str
    identity: str
    records: int
    modules: tuple[str, ...]


class EmbeddingCache:
    """Embeddings on disk, found again by what made them.

    The key holds the encoder's fingerprint, the digest of the cohort's records, their patients' ages and sexes, and the
    code that reads them, so that neither another model nor other data can be served. Encoders without a fingerprint
    are kept only for the run that made them.

    Parameters
    ----------
    folder : Path
        Made when first needed.
    run_id : str
        Part of the key of encoders without a fingerprint.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self.folder = folder
        self.run_id = run_id

    def get(
        self, encoder: Encoder, cohort: Cohort, make: Make, *, part: Part | None = None, length: int | None = None
    ) -> npt.NDArray[Any]:
        """Return the embeddings of a whole cohort, or of what `part` says, as one array; see `chunks`."""
        rows = len(cohort) if part is None else part.records
        return assembled(cohort, rows, self.chunks(encoder, cohort, make, part=part, length=length))

    def kept(self, encoder: Encoder, cohort: Cohort, rows: Sequence[int]) -> FloatArray | None:
        """Return some records' embeddings if all of them are on disk, shape (rows, dimensions); nothing is made."""
        found: dict[int, npt.NDArray[Any]] = {}
        for begin, values in self._store(encoder, cohort, None).read(rows):
            found |= {row: values[row - begin] for row in rows if begin <= row < begin + len(values)}
        return np.stack([found[row] for row in rows]) if found and all(row in found for row in rows) else None

    def chunks(
        self, encoder: Encoder, cohort: Cohort, make: Make, *, part: Part | None = None, length: int | None = None
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield what is on disk, then make and keep what is missing; two processes never make the same.

        Parameters
        ----------
        encoder, cohort
            What embeds, and whose records.
        make : callable
            Takes the rows that are missing, as stretches; yields the values of each, in that order.
        part : Part, optional
            What of the cohort; its records as they are by default.
        length : int, optional
            Rows that are made and kept together; all by default.

        Yields
        ------
        int, ndarray
            First row, and the values from there on. Only one chunk is in memory.

        Raises
        ------
        EcgfmError
            If something is missing and the folder cannot be written.
        """
        store = self._store(encoder, cohort, part)
        with self._locked(store) as trouble:
            held: list[range] = []
            shape: tuple[int, ...] | None = None
            for begin, values in store.read():
                held.append(range(begin, begin + len(values)))
                shape = values.shape[1:]
                yield begin, values
            missing = gaps(store.rows, held, length or max(store.rows, 1))
            if missing and trouble is not None:
                raise self._unwritable(trouble)
            if not missing:
                return
            for one, values in zip(missing, make(missing), strict=True):
                if shape is not None and values.shape[1:] != shape:
                    raise NotAnEmbedding(
                        f"model {encoder.card.name!r}: embedding.shape={values.shape}, but the cache {self.folder} "
                        f"holds {(store.rows, *shape)} of the same version: give the card another version."
                    )
                shape = values.shape[1:]
                try:
                    store.write(one.start, values)
                except OSError as error:
                    raise self._unwritable(error) from error
                yield one.start, values

    def _store(self, encoder: Encoder, cohort: Cohort, part: Part | None) -> ArrayStore:
        identity = encoder.fingerprint or f"{self.run_id} {encoder.card.name}"
        # Some encoders read age and sex; what a reader makes of the stored bytes may change with a release.
        about = cohort.table[["age", "sex"]].to_csv()
        parts = [identity, cohort.digest, about, code_digest(*(base.__module__ for base in type(cohort).__mro__))]
        if part is not None:
            parts += [part.identity, code_digest(*part.modules)]
        key = digest(text.encode() for text in parts)[:32]
        title = "" if part is None else part.title
        note = {"encoder": encoder.card.name, "cohort": cohort.name, "part": title}
        rows = len(cohort) if part is None else part.records
        return ArrayStore(self.folder, f"{encoder.card.name}-{cohort.name}", key, rows, note)

    @contextmanager
    def _locked(self, store: ArrayStore) -> Iterator[OSError | None]:
        """Wait for whoever is at work on an array; yields why it cannot be written, if so: it may be there already."""
        trouble = None
        try:
            store.folder.parent.mkdir(parents=True, exist_ok=True)
            store.lock.acquire()
            store.tidy()
        except OSError as error:
            trouble = error
        try:
            yield trouble
        finally:
            store.lock.release()

    def _unwritable(self, error: OSError) -> EcgfmError:
        reason = error.strerror or str(error)
        return EcgfmError(f"cannot write the cache folder {self.folder}: {reason}. --ecgfm-cache names another one.")
