"""What is known of an adapter and of its weights: compared with which code, on what, how closely; which file it is."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Parity(BaseModel):
    """What an adapter was compared with, and what was not compared.

    Attributes
    ----------
    code : str
        The official code that was run: repository and commit, or package and version.
    weights : {"synthetic", "published"}
        Weights drawn for the comparison by a rule, or those that the authors published.
    records : str
        On which records.
    tolerance : float
        Largest absolute difference of an embedding's number that the comparison allows.
    unverified : tuple of str
        What a user might take for compared, and is not.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", str_strip_whitespace=True)

    code: Annotated[str, Field(min_length=1, max_length=200)]
    weights: Literal["synthetic", "published"]
    records: Annotated[str, Field(min_length=1, max_length=200)]
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    unverified: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = ()

    def in_words(self) -> str:
        """Say it in one line.

        Examples
        --------
        >>> Parity(code="a/b@1", weights="synthetic", records="4 records", tolerance=1e-5).in_words()
        'embeddings equal those of a/b@1 within 1e-05 (synthetic weights; 4 records)'
        """
        done = (
            f"embeddings equal those of {self.code} within {self.tolerance:g} ({self.weights} weights; {self.records})"
        )
        return f"{done}; not verified: {', '.join(self.unverified)}" if self.unverified else done


ON_SYNTHETIC: Mapping[str, Any] = {"weights": "synthetic", "unverified": ("the published weights", "a GPU")}
"""Fields of `Parity` of an adapter whose published weights could not be had."""


THIRD_PARTY = "as a third party lists it, not confirmed by its authors"
"""Who published a digest."""

BENCHMARK = "The code of the benchmark arXiv 2509.25095 (AI4HealthUOL/ecg-fm-benchmarking, commit 6367295)"
ONE_LEAD = (
    "It reads one lead: what other leads show, such as a bundle branch block or the site of an infarct, it cannot see. "
    "Do not rank it against models of twelve leads without saying so."
)
NON_COMMERCIAL = "CC BY-NC 4.0 forbids commercial use: that includes deciding on the release of a commercial product."
"""What users of several models trip over."""


def _digests(value: dict[str, str]) -> dict[str, str]:
    for digest in value:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"{digest[:80]!r} should be a SHA-256 in 64 small hexadecimal digits")
    return value


Digests = Annotated[dict[str, str], AfterValidator(_digests)]
"""SHA-256 of a file, to who published it."""


def parity_in_words(parity: Parity | None) -> str:
    """Say what was verified of an adapter, or that nothing is stated."""
    return "not verified: its card states no comparison with official code" if parity is None else parity.in_words()


def weights_in_words(published: Mapping[str, str], found: str) -> str:
    """Say whether a checkpoint's file is one whose digest was published.

    Parameters
    ----------
    published : mapping of str to str
        SHA-256 to who published it, as a card lists them.
    found : str
        SHA-256 of the file that was read; empty where it is not known.
    """
    if found in published:
        return f"weights verified: SHA-256 {found}, {published[found]}"
    if not published:
        why = "no SHA-256 of them is published"
    elif found:
        why = "their SHA-256 is not among the published ones"
    else:
        why = "their file was not looked at"
    return f"weights not verified: {why}" + (f" ({found})" if found else "")


def told(note: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say of an encoder, as a cube tells of it, what is known of its adapter and its weights.

    Parameters
    ----------
    note : mapping
        An encoder's ``card`` and ``checkpoint_sha256``; from a file, so nothing is taken for granted.

    Returns
    -------
    list of (what, in words)
        Nothing for a model without a checkpoint, or of a run that did not write it down.
    """
    card = note.get("card")
    if not isinstance(card, Mapping) or not card.get("checkpoint") or "published_sha256" not in card:
        return []
    published = card["published_sha256"] if isinstance(card["published_sha256"], Mapping) else {}
    try:
        parity = None if card.get("parity") is None else Parity.model_validate(card["parity"])
    except ValueError:
        parity = None
    found = note.get("checkpoint_sha256")
    return [
        ("adapter", parity_in_words(parity)),
        ("checkpoint", weights_in_words({str(key): str(who) for key, who in published.items()}, str(found or ""))),
    ]
