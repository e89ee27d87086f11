"""PTB-XL's superclasses and subclasses of SCP-ECG statements (Wagner et al. 2020, Scientific Data 7:154).

A class holds the diagnostic statements that ``scp_statements.csv`` counts to it: of the data folder where it is there,
else of ``labels/scp_classes.csv``, which is an extract of release 1.0.3 (CC BY 4.0).

Some names are both. `class_key` decides: a superclass (``MI``, ``HYP``, ``STTC``, ``CD``, ``NORM``) before a statement,
a statement (``IMI``) before a subclass. ``superclass:STTC`` and ``subclass:IMI`` say which is meant.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.label_table import table_rows
from pytest_ecgfm.cohorts.tables import read_table
from pytest_ecgfm.errors import EcgfmError

TABLE = "scp_statements.csv"
"""The table of a data folder."""

LEVELS = ("superclass", "subclass")
"""What a class can be, in the order of preference; as ``scp_statements.csv`` has them: class and subclass."""

Classes = Mapping[str, tuple[str, ...]]


def _classes(rows: Iterable[tuple[str, str, str]]) -> Classes:
    """Return the statements of each class, by ``superclass:NAME`` and ``subclass:NAME``."""
    out: dict[str, tuple[str, ...]] = {}
    for code, *names in rows:
        for level, name in zip(LEVELS, names, strict=True):
            if name:
                out[f"{level}:{name}"] = (*out.get(f"{level}:{name}", ()), code)
    return out


@lru_cache
def packaged_classes() -> Classes:
    """Return the classes of release 1.0.3."""
    rows = table_rows("scp_classes.csv", ("code", "superclass", "subclass", "source"))
    return _classes((row["code"], row["superclass"], row["subclass"]) for row in rows)


def classes_of(folder: Folder) -> Classes:
    """Return the classes that a data folder's own table states, or those of the package where it has none.

    Raises
    ------
    EcgfmError
        If the table is malformed.
    """
    path = folder.root / TABLE
    if not path.is_file():
        return packaged_classes()
    rows = read_table(folder, path, ("", "diagnostic_class", "diagnostic_subclass"))
    found = _classes(zip(rows[""], rows["diagnostic_class"], rows["diagnostic_subclass"], strict=True))
    if not found:
        raise EcgfmError(f"{path}: no statement has a diagnostic_class.")
    return found


def class_key(name: str, codes: Collection[str]) -> str | None:
    """Return the class that a name stands for, or None where it stands for a statement or nothing.

    Parameters
    ----------
    name : str
        Such as ``"MI"``, ``"STTC"`` or ``"subclass:IMI"``.
    codes : collection of str
        Statements of the vocabulary.
    """
    known = packaged_classes()
    if name in known:
        return name
    if f"superclass:{name}" in known:
        return f"superclass:{name}"
    return f"subclass:{name}" if name not in codes and f"subclass:{name}" in known else None
