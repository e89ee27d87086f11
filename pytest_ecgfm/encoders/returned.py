"""What a model returned: a real numeric array, or one line that says what it is instead."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from pytest_ecgfm.errors import NotAnEmbedding, first_line
from pytest_ecgfm.signals.records import FloatArray

_EMBEDDINGS = ("pooler_output", "embeddings", "embedding", "features", "image_embeds", "pooled_output")
_TOKENS = ("last_hidden_state", "hidden_states", "encoder_last_hidden_state")
_MOST_FIELDS = 8
_KINDS = {
    "b": "truth values: convert them to numbers",
    "c": "complex numbers: return their real and imaginary parts, or their size, as real numbers",
    "O": "Python objects: rows of different widths, or not numbers",
    "S": "bytes, not numbers",
    "U": "text, not numbers",
    "V": "fields or bits that are not numbers in numpy: convert them to float32",
    "M": "dates, not numbers",
    "m": "durations: convert them to numbers, in a unit of your choice",
}


def real_array(out: Any, where: str) -> FloatArray:
    """Return a copy of what a model returned, as float32; nothing is cast that would lose more than digits.

    Parameters
    ----------
    out : object
        A numpy array, a torch tensor, or what `numpy.asarray` makes a real numeric array of.
    where : str
        Which model, for the message.

    Returns
    -------
    ndarray of float32, any shape
        A copy: a model may write its next answer into the same memory.

    Raises
    ------
    NotAnEmbedding
        One line: what was returned, and what to return.
    """
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(out, torch.Tensor):
        out = _from_tensor(out, where, torch)
    elif fields := _fields(out):
        raise _structured(type(out).__name__, fields, where)
    elif callable(getattr(out, "toarray", None)) and not isinstance(out, np.ndarray):
        raise _no(where, f"a sparse {type(out).__name__}", "return its toarray()")
    elif isinstance(out, np.ma.MaskedArray):
        raise _no(where, "a masked array", "return numbers for all records, and no mask")
    try:
        array = np.asarray(out)
    except MemoryError:
        raise
    except Exception as error:
        first = first_line(error)
        text = f"returned a {type(out).__name__}, but should return an array ({first})"
        raise NotAnEmbedding(f"{where}: {text}.") from None
    if array.dtype.kind not in "fiu":
        if array.ndim == 0:
            raise NotAnEmbedding(f"{where}: returned a {type(out).__name__}, but should return an array.")
        what = _KINDS.get(array.dtype.kind, "not numbers")
        raise _no(where, f"an array of {array.dtype.name}", f"these are {what}")
    with np.errstate(over="ignore", invalid="ignore"):
        embedding = np.array(array, dtype=np.float32)
    lost = np.isinf(embedding) & np.isfinite(array)
    if lost.any():
        largest = float(np.abs(array[lost].astype(np.float64)).max())
        raise _no(where, f"values up to {largest:.3g}", "these are too large for float32: scale them")
    return embedding


def _no(where: str, what: str, advice: str) -> NotAnEmbedding:
    error = NotAnEmbedding(f"{where}: returned {what}, but should return real numbers: {advice}.")
    error.again = f"{where}: returned {what}, as said before."
    return error


def _from_tensor(out: Any, where: str, torch: Any) -> Any:
    """Return a dense tensor's values; other kinds would be cast in silence, or end in an error that tells nothing."""
    if out.is_meta:
        raise _no(where, "a tensor on the meta device", "it contains no values; load the weights first")
    if out.is_nested:
        raise _no(where, "a nested tensor", "return one row of the same width for each record")
    if out.layout != torch.strided:
        raise _no(where, "a sparse tensor", "return its to_dense()")
    if out.is_quantized:
        raise _no(where, "a quantized tensor", "return its dequantize()")
    if out.dtype == torch.float64 or not out.dtype.is_floating_point:
        return out.detach().resolve_conj().resolve_neg().cpu().numpy()
    return out.detach().float().cpu().numpy()


def _fields(out: Any) -> dict[str, Any]:
    """Return what a dictionary, a named or plain tuple, or a dataclass holds, by name; nothing of anything else."""
    if isinstance(out, Mapping):
        return {str(name): value for name, value in out.items()}
    if isinstance(out, tuple):
        names = getattr(out, "_fields", None) or [f"[{number}]" for number in range(len(out))]
        return dict(zip(map(str, names), out, strict=False))
    if dataclasses.is_dataclass(out) and not isinstance(out, type):
        return {field.name: getattr(out, field.name, None) for field in dataclasses.fields(out)}
    return {}


def _structured(kind: str, fields: dict[str, Any], where: str) -> NotAnEmbedding:
    """Say which fields there are, and which of them to return."""
    shapes = {name: tuple(getattr(value, "shape", ())) for name, value in fields.items() if value is not None}
    named = [f"{name} {shape}" if shape else name for name, shape in shapes.items()]
    more = f" and {len(named) - _MOST_FIELDS} more" if len(named) > _MOST_FIELDS else ""
    flat = [name for name, shape in shapes.items() if len(shape) == 2]
    chosen = next((name for name in (*_EMBEDDINGS, *flat) if name in flat), "")
    tokens = next((name for name in (*_TOKENS, *shapes) if len(shapes.get(name, ())) == 3), "")
    ways = [chosen] if chosen else []
    ways += [f"the mean of {tokens} over its tokens"] if tokens else []
    advice = f"return one of them, such as {' or '.join(ways)}" if ways else "return one of them"
    text = f"returned a {kind} with {', '.join(named[:_MOST_FIELDS]) or 'nothing in it'}{more}"
    error = NotAnEmbedding(f"{where}: {text}, but should return one array (records, dimensions): {advice}.")
    error.again = f"{where}: returned a {kind}, as said before."
    return error
