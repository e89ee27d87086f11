"""What a verdict is about: what was asked for, of which weights and records, and whether options left a part of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from pytest_ecgfm.cards.statement import Statement
from pytest_ecgfm.results.profiles import Profile, load_profile, shipped

_OPEN = ConfigDict(defer_build=True, frozen=True, extra="ignore")
_SHORT = 8
_WORDS = {
    "pass": ("pass", "pass of a part"),
    "fail": ("fail", "fail of a part"),
    "incomplete": ("incomplete", "incomplete, of a part"),
}
_DECIDES = ("cohorts", "limit", "skip_bad_records", "precision", "probe_code", "narrowed")
"""Of what a finished run was asked for: what another run has to share, so that the two ask the same."""


_OPTIONS = ("grid", "run", "label", "quantity", "set")
"""Of a profile: what options change, or add to."""


class EncoderIdentity(BaseModel):
    """Which encoder was judged."""

    model_config = _OPEN

    weights_sha256: str = Field(default="", description="of its weights; empty for one that has none")
    version: str = Field(default="", description="as its card says")
    gated_nowhere: tuple[str, ...] = Field(
        default=(), description="labels and quantities that no blocking check decided"
    )
    statement: Statement = Field(default=Statement(), description="what its card says of its use")


class Identity(BaseModel):
    """What was asked for, made once for each run. Every output that speaks of it renders this object."""

    model_config = _OPEN

    plugin_version: str = ""
    profile: str = Field(default="", description="name of the profile")
    profile_digest: str = Field(
        default="", description="SHA-256 of the profile's content, before options; its name is no part of it"
    )
    shipped: bool = Field(default=False, description="whether the package ships the profile, unchanged")
    asked_digest: str = Field(
        default="",
        description="SHA-256 of thresholds, grid, cohorts and limits, after options: runs that share it ask the same",
    )
    suites: tuple[str, ...] = ()
    cohorts: dict[str, str] = Field(default={}, description="cohort to the digest of its records, where it was read")
    labels: tuple[str, ...] = Field(default=(), description="labels, quantities and named sets")
    fractions: tuple[float, ...] = Field(default=(), description="shares of the training patients")
    seeds: int | None = Field(default=None, description="most seeds a fraction; null: as many as the method says")
    references: tuple[str, ...] = Field(default=(), description="encoders that are compared with")
    limit: int | None = Field(default=None, description="most records a cohort")
    skip_bad_records: bool = False
    precision: str = "float32"
    narrowed: dict[str, str] = Field(
        default={}, description="option to what it left out; empty where the whole profile was evaluated"
    )
    encoders: dict[str, EncoderIdentity] = {}
    baselines: dict[str, str] = Field(default={}, description="baseline to the identity of its run")

    def headline(self, outcome: str) -> str:
        """Say outcome, profile and narrowing in one line, for the places where only one line is read.

        Examples
        --------
        >>> Identity(profile="default", profile_digest="0123456789", shipped=True).headline("pass")
        'pass: profile default (01234567, as shipped)'
        >>> mine = Identity(profile="mine", profile_digest="0123456789", narrowed={"-k": "1 check not evaluated"})
        >>> mine.headline("pass")
        'pass of a part: profile mine (01234567, not shipped), narrowed by -k'
        """
        return f"{self.word(outcome)}: {self.asked()}"

    def word(self, outcome: str) -> str:
        """Say the outcome, and whether it is one of a part only.

        >>> Identity(narrowed={"-k": "1 check not evaluated"}).word("pass")
        'pass of a part'
        """
        whole, part = _WORDS.get(outcome, (outcome, f"{outcome} of a part"))
        return part if self.narrowed else whole

    def asked(self) -> str:
        """Name the profile, and the options that narrowed the run."""
        if not self.profile:
            return "which profile is not known"
        kind = "as shipped" if self.shipped else "not shipped"
        told = f"profile {self.profile} ({self.profile_digest[:_SHORT]}, {kind})"
        return f"{told}, narrowed by {', '.join(self.narrowed)}" if self.narrowed else told

    def lines(self) -> list[tuple[str, str]]:
        """Return everything that was asked for, as pairs of a name and what it was."""
        if not self.profile:
            return []
        kind = "as shipped" if self.shipped else "one's own, or changed"
        pairs = [
            ("profile", f"{self.profile}, {kind}, SHA-256 {self.profile_digest}"),
            ("narrowed", "; ".join(f"{name}: {words}" for name, words in self.narrowed.items()) or "no"),
            ("suites", ", ".join(self.suites)),
            ("cohorts", ", ".join(self.cohorts)),
            ("labels", ", ".join(self.labels)),
            ("fractions", ", ".join(f"{100 * one:g} %" for one in self.fractions)),
            ("references", ", ".join(self.references) or "none"),
            ("baseline", ", ".join(f"{name} (run {run})" for name, run in self.baselines.items()) or "none"),
        ]
        for name, one in self.encoders.items():
            weights = f"weights SHA-256 {one.weights_sha256}" if one.weights_sha256 else "no weights"
            version = f"version {one.version}" if one.version else "no version"
            nowhere = f"labels not gated in any cohort: {', '.join(one.gated_nowhere) or 'none'}"
            pairs.append((name, f"{version} of the card, {weights}, {nowhere}"))
        return [*pairs, ("plugin", f"pytest-ecgfm {self.plugin_version}")]


def digest_of(profile: Profile) -> str:
    """Return the SHA-256 of what a profile demands: not of its name, nor of models, data and baselines."""
    held = profile.model_dump(mode="json", exclude={"name", "run"})
    held["run"] = {name: value for name, value in profile.run.model_dump(mode="json").items() if name in _DECIDES}
    return hashlib.sha256(json.dumps(held, sort_keys=True, allow_nan=False).encode()).hexdigest()


def profile_digest(profile: Profile) -> str:
    """Return the digest of a profile; of a finished run's ``run.toml``, that of the profile that the run had.

    A ``run.toml`` that was edited is a profile of its own.
    """
    asked, own = profile.run, digest_of(profile)
    return asked.profile_digest if asked.profile_digest and asked.asked_digest == own else own


def is_shipped(profile: Profile) -> bool:
    """Say whether a profile, or the one that a finished run had, is as the package ships it."""
    if profile.name not in shipped():
        return False
    ours = load_profile(profile.name)
    # Options change the grid, and never what is demanded: a file that only says that it is ours has other thresholds.
    alike = all(getattr(profile, name) == getattr(ours, name) for name in Profile.model_fields if name not in _OPTIONS)
    return alike and profile_digest(profile) == profile_digest(ours)


def left_out(wanted: Sequence[object], chosen: Sequence[object]) -> str:
    """Say which of several things were not chosen; nothing where all were.

    >>> left_out(["contract", "transfer"], ["contract"])
    'only contract; not transfer'
    """
    gone = [str(one) for one in wanted if one not in chosen]
    return f"only {', '.join(map(str, chosen))}; not {', '.join(gone)}" if gone else ""


def told_identity(verdict: Mapping[str, object]) -> Identity:
    """Read the identity that a ``verdict.json`` holds; one that is damaged, or of schema 1, says nothing."""
    held = verdict.get("identity")
    try:
        return Identity.model_validate(held) if isinstance(held, dict) else Identity()
    except ValueError:
        return Identity()
