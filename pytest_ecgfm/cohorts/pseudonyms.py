"""Pseudonyms: names of records and patients that say nothing, for results that leave the hospital."""

import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from copy import copy
from functools import partial
from pathlib import Path

from pytest_ecgfm.cards.bounded_files import read_bounded
from pytest_ecgfm.cards.whole_files import whole
from pytest_ecgfm.cohorts.base import Cohort, StatedCodes
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import Recording

KEY_FILE = "pseudonyms.key"
"""In the cache's folder: whoever has it, and the names, can tell whose a pseudonym is."""

WITHHELD = "names are withheld (--ecgfm-pseudonyms); `ecgfm cohorts` says more"

_BYTES = 32


def pseudonym_key(folder: Path) -> bytes:
    """Return the secret behind all pseudonyms of a cache's folder; the first run makes it.

    Raises
    ------
    EcgfmError
        If it can be neither read nor made, or is damaged.
    """
    from filelock import FileLock

    path = folder / KEY_FILE
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if not path.exists():
                    _make(path)
        key = bytes.fromhex(read_bounded(path, 4 * _BYTES).decode("ascii"))
    except OSError as error:
        raise EcgfmError(f"--ecgfm-pseudonyms: the key {path}: {error.strerror or error}.") from None
    except (ValueError, EcgfmError):
        key = b""
    if len(key) != _BYTES:
        raise EcgfmError(
            f"--ecgfm-pseudonyms: the key {path} should be {2 * _BYTES} hexadecimal digits: remove it, and the next "
            "run makes another one, with other pseudonyms."
        )
    return key


def _make(path: Path) -> None:
    # Nobody but the owner reads it, whatever the umask says.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with whole(path) as temporary, os.fdopen(os.open(temporary, flags, 0o600), "w") as handle:
        handle.write(secrets.token_hex(_BYTES))


def pseudonym(key: bytes, kind: str, cohort: str, name: str) -> str:
    """Return what stands for a name: the same for one key, and without the key no way back, nor a way to try names.

    Examples
    --------
    >>> pseudonym(bytes(32), "record", "mine", "Smith-1961")
    'record-172d313c35f74635'
    """
    told = "\0".join((kind, cohort, name)).encode("utf-8", "surrogatepass")
    return f"{kind}-{hmac.new(key, told, 'sha256').hexdigest()[:16]}"


def pseudonymous(cohort: Cohort, key: bytes) -> Cohort:
    """Return a cohort whose records and patients have pseudonyms for names.

    Content, order and labels are the same, and so is the digest of the signals. What cannot be read is named by its
    pseudonym; the reason, which names files, is withheld.

    Parameters
    ----------
    cohort : Cohort
        Not changed.
    key : bytes
        As `pseudonym_key` returns it.
    """
    names = {str(one): pseudonym(key, "record", cohort.name, str(one)) for one in cohort.records}
    true = {shown: one for one, shown in names.items()}
    if len(true) < len(names):
        raise EcgfmError(f"--ecgfm-pseudonyms: two records of cohort {cohort.name} have one pseudonym.")
    other = copy(cohort)
    for kept in ("digest", "leads"):
        vars(other).pop(kept, None)
    for frame in ("table", "labels", "columns"):
        setattr(other, frame, getattr(cohort, frame).rename(index=names))
    other.table["patient"] = [pseudonym(key, "patient", cohort.name, str(one)) for one in cohort.patients]
    if cohort.codes is not None:
        other.codes = _renamed(cohort.codes, names)
    if hasattr(cohort, "excluded"):
        vars(other)["excluded"] = withheld(cohort.excluded, cohort.name, key)
    vars(other).update(_read=partial(_read, cohort, true), _content_digest=partial(_content_digest, cohort, true))
    return other


def withheld(excluded: Mapping[str, str], cohort: str, key: bytes) -> dict[str, str]:
    """Return which records are left out, by pseudonyms, and no reason: it would name a file."""
    return {pseudonym(key, "record", cohort, name): WITHHELD for name in excluded}


def _renamed(codes: StatedCodes, names: Mapping[str, str]) -> StatedCodes:
    source = codes.source
    if not isinstance(source, str):
        source = {names[name]: one for name, one in source.items() if name in names}
    sure, doubtful = (
        {names[name]: found for name, found in held.items() if name in names} for held in (codes.sure, codes.doubtful)
    )
    return StatedCodes(codes.vocabulary, sure, doubtful, source, codes.classes)


def _read(cohort: Cohort, true: Mapping[str, str], record: str) -> Recording:
    try:
        return cohort.read(true[record])
    except Exception as error:
        # Whatever it is: its text names a file, and a folder may be called after a patient.
        raise EcgfmError(
            f"cohort {cohort.name}: {record} cannot be read ({type(error).__name__}); {WITHHELD}."
        ) from None


def _content_digest(cohort: Cohort, true: Mapping[str, str], records: Sequence[str]) -> str:
    return cohort._content_digest([true[record] for record in records])
