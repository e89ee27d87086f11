"""``provenance.json``: with what, on what and by which command a run was made. It renders the cube's attributes."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_ecgfm.errors import utf8
from pytest_ecgfm.results.identity import Identity

PROVENANCE = "provenance.json"
"""Name of the file in the run's folder."""

_HIDDEN = "***"
_SECRET = re.compile(r"(?i)(token|secret|passw|credential|api[-_]?key|auth)")
_WHOSE = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class ModelProvenance(BaseModel):
    """What one encoder was made from."""

    model_config = ConfigDict(defer_build=True, extra="ignore")

    version: str = Field(default="", description="as its card says")
    card_sha256: str = Field(description="of the card's fields, as JSON with sorted keys")
    weights_sha256: str = Field(default="", description="of the weights in memory; empty for an encoder without")
    checkpoint_sha256: str = Field(default="", description="of the checkpoint's file")


class ProvenanceFile(BaseModel):
    """The content of ``provenance.json``."""

    model_config = ConfigDict(defer_build=True, extra="ignore")

    version: Literal[1] = Field(alias="schema")
    run_id: str
    started: str = Field(description="UTC, ISO 8601")
    finished: str = Field(description="UTC, ISO 8601: when the results were written")
    command: tuple[str, ...] = Field(description="as typed; what may be a secret is hidden")
    python: str
    platform: str
    device: str
    plugin_version: str
    packages: dict[str, str]
    git_commit: str = Field(description="of the working folder; empty where it is no repository")
    profile_digest: str = Field(description="SHA-256 of the profile, before options")
    asked_digest: str = Field(description="SHA-256 of what was asked for, after options")
    models: dict[str, ModelProvenance]
    cohorts: dict[str, str] = Field(description="cohort to the SHA-256 of its records")
    files: dict[str, str] = Field(description="SHA-256 of the files of the run that hold results")


def told_command(arguments: Sequence[str]) -> list[str]:
    """Return a command as it may be kept: paths as they were given, as in ``run.toml``, and no secret.

    >>> told_command(["pytest", "--ecgfm-dask=tls://me:word@host:8786", "--api-token", "x", "--hub-token=y"])
    ['pytest', '--ecgfm-dask=tls://***@host:8786', '--api-token', '***', '--hub-token=***']
    """
    out: list[str] = []
    follows = False
    for one in arguments:
        name, sign, _ = one.partition("=")
        secret = bool(_SECRET.search(name)) and name.startswith("-")
        if follows and not one.startswith("-"):
            out.append(_HIDDEN)
        elif secret and sign:
            out.append(f"{name}={_HIDDEN}")
        else:
            out.append(_WHOSE.sub(_HIDDEN, one))
        follows = secret and not sign
    # A path may hold bytes that are no text.
    return list(utf8(out))


def provenance(about: Mapping[str, Any], identity: Identity, files: Mapping[str, str]) -> ProvenanceFile:
    """Render what a run's cube says of it.

    Parameters
    ----------
    about : mapping
        Attributes of the cube.
    identity : Identity
        For the digests of the profile and of what was asked.
    files : mapping of str to str
        SHA-256 of the files that were written.

    Raises
    ------
    ValueError
        If attributes of a damaged cube are not what they should be.
    """
    encoders, cohorts = (json.loads(str(about.get(name, "{}"))) for name in ("encoders", "cohorts"))
    models = {name: _model(one) for name, one in sorted(encoders.items())}
    plain = ("run_id", "started", "finished", "python", "platform", "device", "plugin_version", "git_commit")
    return ProvenanceFile.model_validate(
        {
            "schema": 1,
            **{name: str(about.get(name, "")) for name in plain},
            "command": json.loads(str(about.get("command", "[]"))),
            "packages": json.loads(str(about.get("packages", "{}"))),
            "profile_digest": identity.profile_digest,
            "asked_digest": identity.asked_digest,
            "models": models,
            "cohorts": {name: str(one.get("digest", "")) for name, one in sorted(cohorts.items())},
            "files": dict(sorted(files.items())),
        }
    )


def _model(one: Mapping[str, Any]) -> dict[str, Any]:
    card = one.get("card", {})
    written = json.dumps(card, sort_keys=True, ensure_ascii=True, allow_nan=False)
    digests = {name: one.get(name, "") for name in ("weights_sha256", "checkpoint_sha256")}
    return {"version": card.get("version", ""), "card_sha256": hashlib.sha256(written.encode()).hexdigest(), **digests}
