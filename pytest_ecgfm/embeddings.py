"""Records to embeddings: streamed, batched, cached on disk."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from pytest_ecgfm import coalitions, cohorts, electrodes, perturbations
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.encoders.base import Encoder, digest
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations import shapley
from pytest_ecgfm.records import FloatArray

Progress = Callable[[int, int], None]


def embed_cohort(
    encoder: Encoder, cohort: Cohort, *, batch_size: int = 64, progress: Progress | None = None
) -> FloatArray:
    """Embed every record of a cohort.

    Parameters
    ----------
    encoder : Encoder
        What embeds.
    cohort : Cohort
        Streamed; its signals are never in memory as a whole.
    batch_size : int
        Records a batch.
    progress : callable, optional
        Called with the number of records done and the number of all.

    Returns
    -------
    ndarray of float32, shape (records, dimensions)
        In the order of ``cohort.records``.

    Raises
    ------
    EcgfmError
        If a record cannot be read or embedded; the message names cohort and record.
    """
    row = {record: number for number, record in enumerate(cohort.records)}
    out: FloatArray | None = None
    done = 0
    try:
        for batch, part in encoder.embed_batches(cohort.batches(batch_size)):
            if out is None:
                out = np.full((len(row), part.shape[1]), np.nan, np.float32)
            out[[row[record] for record in batch.records]] = part
            done += len(batch)
            if progress is not None:
                progress(done, len(row))
    except EcgfmError as error:
        raise EcgfmError(f"cohort {cohort.name}: {error}") from None
    if out is None:
        raise EcgfmError(f"cohort {cohort.name}: no records.")
    return out


@dataclass(frozen=True)
class Part:
    """What is derived from a cohort before it is embedded, such as perturbed records.

    Attributes
    ----------
    title : str
        For the progress display, and part of the file's name.
    identity : str
        Everything that makes it this part and no other; part of the key.
    records : int
        Rows of the array.
    """

    title: str
    identity: str
    records: int


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
        self.folder = folder / "embeddings"
        self.run_id = run_id

    def get(
        self, encoder: Encoder, cohort: Cohort, make: Callable[[], npt.NDArray[Any]], part: Part | None = None
    ) -> npt.NDArray[Any]:
        """Return the cached embeddings, or make and keep them; two processes never make the same ones.

        Of the whole cohort, or of what `part` says.

        Raises
        ------
        EcgfmError
            If the folder cannot be written.
        """
        identity = encoder.fingerprint or f"{self.run_id} {encoder.card.name}"
        # Some encoders read age and sex; what a reader makes of the stored bytes may change with a release.
        about = cohort.table[["age", "sex"]].to_csv()
        parts = [identity, cohort.digest, about, _readers()]
        if part is not None:
            parts += [part.identity, _derivations()]
        key = digest(text.encode() for text in parts)[:32]
        path = self.folder / f"{encoder.card.name}-{cohort.name}-{key}.npy"
        rows = len(cohort) if part is None else part.records
        with self._writable():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{path}.lock")
            lock.acquire()
        try:
            found = _load(path, key, rows)
            if found is None:
                found = make()
                with self._writable():
                    _store(path, key, found)
        finally:
            lock.release()
        return found

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EcgfmError(f"cannot write the cache folder {self.folder}: {error.strerror}.") from error


@cache
def _readers() -> str:
    """Digest of the code that reads cohorts."""
    return digest(path.read_bytes() for path in sorted(Path(cohorts.__file__).parent.glob("*.py")))


@cache
def _derivations() -> str:
    """Digest of the code that chooses and changes records before they are embedded."""
    folder = Path(__file__).parent
    chosen = [folder / "measurements" / f"{name}.py" for name in ("chosen", "relevance", "stability")]
    changed = [Path(str(module.__file__)) for module in (coalitions, electrodes, perturbations, shapley)]
    return digest(path.read_bytes() for path in (*chosen, *changed))


def _load(path: Path, key: str, records: int) -> npt.NDArray[Any] | None:
    try:
        note: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    intact = (
        note.get("key") == key
        and array.dtype in (np.float32, np.float64)
        and array.shape[:1] == (records,)
        and digest([array.tobytes()]) == note.get("sha256")
    )
    return array if intact else None


def _store(path: Path, key: str, array: npt.NDArray[Any]) -> None:
    # A temporary name of its own, then a rename: a killed run leaves no half-written file under the final name.
    stem = f"{path.name}.{uuid4().hex}.tmp"
    with (path.parent / stem).open("wb") as handle:
        np.save(handle, array, allow_pickle=False)
    (path.parent / stem).replace(path)
    note = path.parent / f"{stem}.json"
    note.write_text(json.dumps({"key": key, "sha256": digest([array.tobytes()])}), encoding="utf-8")
    note.replace(path.with_suffix(".json"))
