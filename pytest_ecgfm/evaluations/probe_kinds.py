"""The kinds of probe, by name: the package's own, and those that others declare. Imports nothing that fits one."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_ecgfm.errors import EcgfmError

Make = Callable[[int, int], Any]
"""Takes the seed and the number of training records, and returns an unfitted scikit-learn classifier."""


@dataclass(frozen=True)
class ProbeKind:
    """One row of the table of probes.

    Attributes
    ----------
    name : str
        What a profile calls it.
    make : callable or None
        See `Make`; None for the logistic probe, which is fitted here.
    anywhere : bool
        Whether a worker of a cluster can fit it, too.
    where : str
        File and line where somebody else declared it; empty for the package's own.
    code : str
        Digest of its file, where somebody else declared it.
    """

    name: str
    make: Make | None = None
    anywhere: bool = False
    where: str = ""
    code: str = ""


def _neighbours(seed: int, count: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier  # imported here, as most runs ask for none

    return KNeighborsClassifier(n_neighbors=min(10, count))


def _network(seed: int, count: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(hidden_layer_sizes=(64,), alpha=1e-2, max_iter=200, random_state=seed)


PROBES = {
    one.name: one
    for one in (
        ProbeKind("logistic", anywhere=True),
        # Fitted neighbours are as large as their records: not sent over a network.
        ProbeKind("knn", _neighbours),
        ProbeKind("mlp", _network, anywhere=True),
    )
}
"""Kinds of probe of labels; ``logistic`` by default, another one where a profile names it."""

RIDGE = "ridge"
"""The probe of quantities, which no profile chooses: there is no other."""

_DECLARED = re.compile(r"[a-z][a-z0-9_]{0,39}\.[a-z][a-z0-9_]{0,79}")


def register_probe(one: ProbeKind) -> None:
    """Add a probe that somebody else declares.

    Raises
    ------
    EcgfmError
        If the name has no namespace, or is taken.
    """
    if not _DECLARED.fullmatch(one.name):
        raise EcgfmError(
            f"{one.where}: probe {one.name!r}: the name should be a namespace of your own, a dot, and the probe, in "
            "small letters, digits and underscores, such as 'mine.svm'."
        )
    if one.name in PROBES:
        raise EcgfmError(f"{one.where}: a probe named {one.name!r} is already declared by {PROBES[one.name].where}.")
    PROBES[one.name] = one


def forget_declared_probes() -> None:
    """Remove the probes that others declared: they belong to one pytest run."""
    for name in [name for name, one in PROBES.items() if one.where]:
        del PROBES[name]
