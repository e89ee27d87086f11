"""The one exception for input that users can mend."""

from collections.abc import Iterable
from difflib import get_close_matches


class EcgfmError(Exception):
    """Bad input: the message says what is wrong, where (file, record, field), and what would be valid."""


class NotApplicable(EcgfmError):
    """Something cannot be done with these records, and nobody is to blame."""


class NotAnEmbedding(EcgfmError):
    """What a model returned is no embedding: the model is at fault, not the record."""


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
