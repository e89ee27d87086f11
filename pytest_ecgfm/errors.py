"""The one exception for input that users can mend."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, TypeVar

Raised = TypeVar("Raised", bound=Exception)

_MODEL = "_ecgfm_model"
"""Attribute of an exception: the name of the encoder that raised it."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class EcgfmError(Exception):
    """Bad input: the message says what is wrong, where (file, record, field), and what would be valid.

    Attributes
    ----------
    again : str
        Of what holds for a model whatever the record: what to say where the message was given before.
    """

    again = ""


class NotApplicable(EcgfmError):
    """Something cannot be done with these records, and nobody is to blame."""


class NotAnEmbedding(EcgfmError):
    """What a model returned is no embedding: the model is at fault, not the record."""


class MachineLacks(EcgfmError):
    """Something that a model needs is not on this machine, and nobody is to blame."""


class StaleBaseline(EcgfmError):
    """An earlier run cannot be compared with: a gate that rests on it fails."""


def blame(error: Raised, model: str) -> Raised:
    """Note whose exception this is, unless that is known, or the machine is at fault: a package or room is missing."""
    machine = isinstance(error, ImportError | MachineLacks) or (isinstance(error, OSError) and error.errno in _NO_ROOM)
    if not machine and not hasattr(error, _MODEL):
        setattr(error, _MODEL, model)
    return error


@contextmanager
def blaming(model: str) -> Iterator[None]:
    """Note that whatever is raised here is an exception of this encoder."""
    try:
        yield
    except Exception as error:
        blame(error, model)
        raise


def reworded(error: EcgfmError, text: str) -> EcgfmError:
    """Return an error of the same kind and the same origin with another message."""
    other = type(error)(text)
    vars(other).update(vars(error))
    return other


def once_in_full(error: BaseException, said: set[str]) -> BaseException:
    """Return an error, or what it says where it was said before; `said` is added to.

    What holds for a model whatever the record would else be said by each check, and hide what else there is.
    """
    again = error.again if isinstance(error, EcgfmError) else ""
    if again in said and isinstance(error, EcgfmError):
        return reworded(error, again)
    said |= {again} - {""}
    return error


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says; libraries may say pages.

    >>> first_line(ValueError(f"too long{chr(10)}at line 7")), first_line(ValueError())
    ('too long', '')
    """
    return (str(error).strip().splitlines() or [""])[0]


def utf8(value: Any) -> Any:
    """Return a text that every file can hold; also of whatever is inside a dictionary or a list.

    Names of files, and so of records, and texts of exceptions may hold bytes that are no UTF-8, and NUL, which no cube
    holds: they become escapes.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
    if isinstance(value, dict):
        return {utf8(key): utf8(one) for key, one in value.items()}
    return [utf8(one) for one in value] if isinstance(value, list | tuple) else value


def is_models_fault(error: BaseException, encoder: str) -> bool:
    """Say whether an encoder fails for this; otherwise something could not be measured.

    Decided by where it was raised, never by its words: in the encoder's own code, or of what the encoder returned.
    Whatever cohorts, the machine, or another encoder (a reference) raise is no failure of this one.
    """
    if isinstance(error, StaleBaseline):
        return True
    by = getattr(error, _MODEL, None)
    return by == encoder if by is not None else isinstance(error, NotAnEmbedding)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return " Did you mean ...?" with the valid name that is most like `name`; "" where none is."""
    names = list(valid)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    if not near:
        # In other capitals: "afib" is like "AF".
        folded = {one.casefold(): one for one in reversed(names)}
        near = [folded[one] for one in get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)]
    return f" Did you mean {near[0]!r}?" if near else ""


def unknown_name(kind: str, name: str, valid: Iterable[str], *, where: str = "") -> EcgfmError:
    """Build the error for a name that is not in a closed set.

    Parameters
    ----------
    kind : str
        What the name should have been, such as ``"label"``.
    name : str
        What was given.
    valid : iterable of str
        The names that would have been accepted.
    where : str, optional
        The option, file or field that held the name.

    Returns
    -------
    EcgfmError
        Ready to raise; offers the nearest valid name and lists the rest.
    """
    names = sorted(valid)
    hint = nearest(name, names)
    place = f"{where}: " if where else ""
    return EcgfmError(f"{place}unknown {kind} {name!r}.{hint} Valid: {', '.join(names) or '(none)'}.")
