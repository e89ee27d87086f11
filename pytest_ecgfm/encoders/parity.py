"""``ecgfm parity``: an adapter against embeddings that the official code made, on the reader's own machine.

The file is an ``.npz`` of numbers and text, without pickled objects:

- ``signals``, shape (records, leads, samples), in mV;
- ``leads``, the names of their rows;
- ``sampling_rate``, in Hz;
- ``embedding``, shape (records, dimensions): what the official code returns for them;
- ``tolerance``, the largest absolute difference allowed (default 1e-4).
"""

import inspect
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError, first_line, unknown_name
from pytest_ecgfm.signals.records import canonical_leads

if TYPE_CHECKING:
    from pytest_ecgfm.cards.declarations import Declaration
    from pytest_ecgfm.encoders.base import Encoder

TOLERANCE = 1e-4
NAMES = ("signals", "leads", "sampling_rate", "embedding", "tolerance")

_MOST_BYTES = 4_000_000_000
_IN_FILE = ".py::"


@dataclass(frozen=True)
class Vectors:
    """Records, and what the official code makes of them.

    Attributes
    ----------
    signals : ndarray of float32, shape (records, leads, samples)
        In mV.
    leads : tuple of str
        One a row of `signals`.
    sampling_rate : float
        In Hz.
    embedding : ndarray of float64, shape (records, dimensions)
        Official.
    tolerance : float
        Largest absolute difference allowed.
    """

    signals: npt.NDArray[np.float32]
    leads: tuple[str, ...]
    sampling_rate: float
    embedding: npt.NDArray[np.float64]
    tolerance: float


def read_vectors(path: Path) -> Vectors:
    """Read a file of official embeddings; see the module for its format.

    Raises
    ------
    EcgfmError
        One line: which entry, what is wrong, what it should be.
    """
    held = _read_npz(path)
    for name in held:
        if name not in NAMES:
            raise unknown_name("entry", name, NAMES, where=str(path))
    for name in NAMES[:-1]:
        if name not in held:
            raise EcgfmError(f"{path}: has no entry {name!r}; it should have {', '.join(NAMES)}.")
    signals, embedding = _numbers(held, "signals", 3, path), _numbers(held, "embedding", 2, path)
    names = held["leads"]
    if names.dtype.kind != "U" or names.ndim != 1:
        raise EcgfmError(
            f"{path}: leads should be text of shape (leads,), but is {names.dtype} of shape {names.shape}."
        )
    leads = canonical_leads(names.tolist(), where=str(path))
    if signals.shape[1] != len(leads) or len(signals) != len(embedding) or not signals.size or not embedding.size:
        raise EcgfmError(
            f"{path}: signals of shape {signals.shape}, {len(leads)} leads and embedding of shape {embedding.shape}, "
            "but should be (records, leads, samples), as many leads, and (records, dimensions)."
        )
    rate = float(_numbers(held, "sampling_rate", 0, path))
    tolerance = float(_numbers(held, "tolerance", 0, path)) if "tolerance" in held else TOLERANCE
    if not rate > 0 or not tolerance > 0:
        raise EcgfmError(f"{path}: sampling_rate = {rate:g} and tolerance = {tolerance:g} should be above 0.")
    return Vectors(signals.astype(np.float32), leads, rate, embedding, tolerance)


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as file:
            size = sum(entry.file_size for entry in file.infolist())
        if size > _MOST_BYTES:
            raise EcgfmError(f"{path}: holds {size / 1e9:.0f} GB; at most {_MOST_BYTES / 1e9:.0f} are read.")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise EcgfmError(f"{path}: no such file.") from None
    except EcgfmError:
        raise
    except Exception as error:
        # What zipfile, zlib and numpy raise of a damaged file has no common type.
        first = first_line(error)
        raise EcgfmError(f"{path}: no .npz of numbers and text ({type(error).__name__}: {first[:200]}).") from None


def _numbers(held: dict[str, npt.NDArray[Any]], name: str, axes: int, path: Path) -> npt.NDArray[np.float64]:
    found = held[name]
    if found.dtype.kind not in "fiu" or found.ndim != axes:
        raise EcgfmError(f"{path}: {name} should be numbers with {axes} axes, but is {found.dtype} of {found.shape}.")
    if not np.isfinite(found).all():
        raise EcgfmError(f"{path}: {name} holds numbers that are not finite.")
    return found.astype(np.float64)


def differences(encoder: "Encoder", vectors: Vectors) -> dict[str, npt.NDArray[np.float64]]:
    """Embed records in a batch, one by one, and with their leads the other way round; subtract what is official.

    Returns
    -------
    dict of str to ndarray, shape (records, dimensions)
        By how the records were given.

    Raises
    ------
    EcgfmError
        If a record cannot be embedded, or the embedding has another number of dimensions.
    """
    back = vectors.leads[::-1]

    def embed(rows: slice, leads: Sequence[str]) -> npt.NDArray[np.float64]:
        signals = vectors.signals[rows] if leads is vectors.leads else vectors.signals[rows, ::-1]
        found = encoder.embed(signals, sampling_rate=vectors.sampling_rate, leads=leads).astype(np.float64)
        if found.shape[1] != vectors.embedding.shape[1]:
            raise EcgfmError(
                f"model {encoder.card.name!r} gives {found.shape[1]} dimensions, but the official embedding has "
                f"{vectors.embedding.shape[1]}: another layer, or another pooling."
            )
        return found

    records = range(len(vectors.signals))
    alone = [embed(slice(row, row + 1), vectors.leads) for row in records]
    return {
        "in one batch": embed(slice(None), vectors.leads) - vectors.embedding,
        "one by one": np.concatenate(alone) - vectors.embedding,
        "with leads in another order": embed(slice(None), back) - vectors.embedding,
    }


def load_named(model: str, checkpoint: str | None, device: str) -> "Encoder":
    """Load a built-in model, one of a card, or one that a Python file declares.

    Parameters
    ----------
    model : str
        A name; a card, ``model.toml``; or ``FILE.py::NAME``, of which the file is run.
    checkpoint : str or None
        Path or address of its weights.
    device : str
        See `pytest_ecgfm.encoders.base.choose_device`.

    Raises
    ------
    EcgfmError
        If there is no such model, or its weights are missing or do not fit.
    """
    from pytest_ecgfm.encoders.base import Encoder, require_device
    from pytest_ecgfm.encoders.registry import load_declared, load_encoder

    if model.endswith(".toml"):
        from pytest_ecgfm.encoders.exported import OnnxModel, read_card_file

        if checkpoint is not None:
            raise EcgfmError(f"--checkpoint={checkpoint}: {model} names its own file.")
        card, file = read_card_file(Path(model))
        return Encoder(card, OnnxModel(file), device=require_device(device))
    if _IN_FILE in model:
        return load_declared(_declared(model), checkpoint=checkpoint, device=device)
    return load_encoder(model, checkpoint=checkpoint, device=device)


def _declared(model: str) -> "Declaration":
    from pytest_ecgfm.cards.declarations import declared_in

    text, _, name = model.rpartition("::")
    path = Path(text)
    spec = spec_from_file_location("ecgfm_parity_models", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise EcgfmError(f"{model}: {path}: no such Python file.")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        # The file is not ours: whatever it raises, it cannot be used.
        first = first_line(error)
        raise EcgfmError(f"{path}: cannot be run ({type(error).__name__}: {first[:200]}).") from None
    found = {known: declaration for known, (_, _, declaration) in declared_in(module).items()}
    if name not in found:
        raise unknown_name("model", name, found, where=text)
    others = set(inspect.signature(found[name].function).parameters) - {"ecgfm_checkpoint"}
    if others:
        raise EcgfmError(
            f"{model}: its fixture asks for {', '.join(sorted(others))}, which only a pytest run can give."
        )
    return found[name]
