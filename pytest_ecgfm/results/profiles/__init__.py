"""Profiles: the grid, the checks and their thresholds. Loading and validation."""

from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pytest_ecgfm.cards import NO_TRUTH_VALUE, first_problem
from pytest_ecgfm.cards.toml_files import parse_toml, read_toml
from pytest_ecgfm.cohorts.base import LABELS
from pytest_ecgfm.cohorts.endpoints import Definition, of_code
from pytest_ecgfm.cohorts.quantities import AGE, QuantityDefinition, spelt
from pytest_ecgfm.cohorts.targets import Definitions, SetDefinition, canonical
from pytest_ecgfm.errors import EcgfmError, unknown_name
from pytest_ecgfm.evaluations.probe_kinds import PROBES
from pytest_ecgfm.results.checks import CHECKS, COORDINATES, SPACES, Case, Threshold, suites
from pytest_ecgfm.results.profiles.grid import Fraction, Grid, OperatingPoint, Strict
from pytest_ecgfm.results.rounded import chosen
from pytest_ecgfm.signals.perturbations import VARIANTS

Bound = Annotated[float, NO_TRUTH_VALUE, Field(allow_inf_nan=False)]

_MOST_PARENTS = 8


class Rule(Strict):
    """One ``[[check]]`` entry: a threshold, and the cells that it applies to (all, if a selector is left out)."""

    name: str
    minimum: Bound | None = None
    maximum: Bound | None = None
    cohorts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    fractions: tuple[Fraction, ...] = ()
    references: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    perturbations: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ()
    tier: Literal["blocking", "advisory"] = "blocking"
    decide: Literal["interval", "point"] = "interval"
    inconclusive: Literal["allow", "block"] | None = None
    no_change: Bound | None = None
    reason: str = ""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.minimum is None) == (self.maximum is None):
            raise ValueError("should have either a minimum or a maximum")
        return self

    @property
    def bound(self) -> float:
        """The minimum or the maximum."""
        return float(self.maximum if self.minimum is None else self.minimum)  # type: ignore[arg-type]

    def holds_for(self, case: Case) -> bool:
        """Say whether this entry applies to `case`."""
        return (
            self.name == case.check
            and (not self.cohorts or case.cohort in self.cohorts)
            and (not self.labels or case.label in self.labels)
            and (not self.fractions or any(abs((case.fraction or 0) - f) < 1e-9 for f in self.fractions))
            and (not self.references or case.reference in self.references)
            and (not self.sources or case.source in self.sources)
            and (not self.perturbations or case.perturbation in self.perturbations)
            and (not self.spaces or case.space in self.spaces)
        )


class Asked(Strict):
    """What a finished run was asked for (``run.toml``), so that it can be repeated.

    `probe_code` is the digest of the file that declared the probe: scores of a probe that changed are not compared.
    `profile_digest` is that of the profile before options, `asked_digest` that of this one: it tells whether somebody
    edited the file. `narrowed` has the options that left something out; a run that is repeated stays narrowed.
    """

    models: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    data: str = ""
    cohorts: tuple[str, ...] = ()
    limit: Annotated[int, NO_TRUTH_VALUE, Field(ge=1, le=1_000_000_000)] | None = None
    skip_bad_records: bool = False
    pseudonyms: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    baselines: tuple[str, ...] = ()
    probe_code: str = ""
    profile_digest: str = ""
    asked_digest: str = ""
    narrowed: dict[str, str] = Field(default_factory=dict)


class Profile(Strict):
    """A validated profile.

    Attributes
    ----------
    name : str
        For reports.
    grid : Grid
        What is evaluated; command-line options narrow it.
    inconclusive : {"allow", "block"}
        Whether an inconclusive blocking check blocks.
    base : str
        Shipped profile that this one comes from; a threshold that is looser than the one there needs a reason.
    check : tuple of Rule
        If several entries apply to a cell, the last one decides. A cell without an entry is not evaluated.
    label : dict of str to Definition
        Labels of your own, by name.
    quantity : dict of str to QuantityDefinition
        What is to be known of quantities, by name.
    set : dict of str to SetDefinition
        Named sets of labels, over which the AUROC is averaged.
    run : Asked
        Only in ``run.toml``.
    """

    name: str
    grid: Grid = Grid()
    inconclusive: Literal["allow", "block"] = "allow"
    base: str = "default"
    check: tuple[Rule, ...]
    label: dict[str, Definition] = Field(default_factory=dict)
    quantity: dict[str, QuantityDefinition] = Field(default_factory=dict)
    set: dict[str, SetDefinition] = Field(default_factory=dict)
    run: Asked = Asked()

    @property
    def definitions(self) -> Definitions:
        """What it defines."""
        return Definitions(label=self.label, quantity=self.quantity, set=self.set)

    def with_definitions(self, further: Definitions) -> "Profile":
        """Return the profile with further definitions; they go before its own."""
        both = self.definitions.and_those_of(further)
        return self.model_copy(update={"label": both.label, "quantity": both.quantity, "set": both.set})

    def threshold(self, case: Case) -> Threshold | None:
        """Return the profile's threshold for a cell, or else the one that the check declares, or None."""
        for rule in reversed(self.check):
            if rule.holds_for(case):
                sense: Literal["minimum", "maximum"] = "maximum" if rule.minimum is None else "minimum"
                undecided = rule.inconclusive or self.inconclusive
                return Threshold(rule.bound, sense, rule.tier, rule.decide, rule.reason, undecided, rule.no_change)
        return CHECKS[case.check].default


_MODELS = (Profile, Rule, Grid, OperatingPoint, Asked, Definition, QuantityDefinition, SetDefinition)
_KEYS = ("extends", *(key for model in _MODELS for key in model.model_fields))


def shipped() -> dict[str, Path]:
    """Profiles that come with the package, by name."""
    folder = Path(str(resources.files(__package__)))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def require_reasons(profile: Profile, cases: Iterable[Case]) -> None:
    """Refuse thresholds that are looser than the shipped profile's and do not say why.

    Raises
    ------
    EcgfmError
        Which cell, both thresholds, and what would be valid.
    """
    base = _shipped_profile(profile.base)
    for case in cases:
        mine, shipped_one = profile.threshold(case), base.threshold(case)
        if mine is None or shipped_one is None or not mine.looser_than(shipped_one):
            continue
        # The shipped reason speaks of the shipped bound: carried over, it explains nothing.
        if not mine.reason.strip() or mine.reason == shipped_one.reason:
            raise EcgfmError(
                f"profile {profile.name}: {case.name}: {mine.words()} is looser than {shipped_one.words()} of profile "
                f'{base.name}; say why in its [[check]] entry: reason = "...".'
            )


def idle(profile: Profile, cases: Iterable[Case]) -> list[str]:
    """Name the entries of a user's own that hold for none of some cells."""
    shipped_ones, all_cases = _shipped_profile(profile.base).check, list(cases)
    return [
        f"[[check]] {rule.name} ({_selection(rule)})"
        for rule in profile.check
        if rule not in shipped_ones and not any(rule.holds_for(case) for case in all_cases)
    ]


def _selection(rule: Rule) -> str:
    where = {f"{name}s": getattr(rule, f"{name}s", ()) for name in COORDINATES}
    texts = [f"{name} {', '.join(map(str, values))}" for name, values in where.items() if values]
    return "; ".join([*texts, f"{'maximum' if rule.minimum is None else 'minimum'} {chosen(rule.bound)}"])


def demanded(profile: Profile, case: Case) -> Threshold:
    """Return what a profile demands of a cell, or else what profile ``default`` does.

    For what is judged only where another quantity reaches its threshold: a profile need not judge that one, too.
    """
    threshold = profile.threshold(case) or _shipped_profile("default").threshold(case)
    if threshold is None:
        raise EcgfmError(f"profile default has no threshold for {case.name}.")
    return threshold


@cache
def _shipped_profile(name: str) -> Profile:
    return load_profile(name)


def load_profile(name: str, *, labels: Iterable[str] = ()) -> Profile:
    """Load a shipped profile by name, or a TOML file by path.

    Parameters
    ----------
    name : str
        Name, or path that ends in ``.toml``.
    labels : iterable of str
        Labels of one's own that are known from elsewhere; its thresholds may name them.

    Raises
    ------
    EcgfmError
        One line: file, key, value, what would be valid.
    """
    known = shipped()
    if name in known:
        path = known[name]
    elif name.endswith(".toml"):
        path = Path(name).expanduser()
    else:
        raise unknown_name("profile", name, [*known, "PATH.toml"], where="--ecgfm-profile")
    raw = _read(path, ())
    try:
        profile = Profile.model_validate(raw)
    except ValidationError as error:
        raise EcgfmError(f"profile {path.name}: {first_problem(error, _KEYS)}") from None
    _check_names(profile, path.name, labels)
    return profile


def held_profile(text: str, where: str) -> Profile:
    """Read the profile that a finished run keeps; its names were checked when the run began.

    Raises
    ------
    EcgfmError
        If it is no profile; the message begins with `where`.
    """
    try:
        return Profile.model_validate(parse_toml(text, where))
    except ValidationError as error:
        raise EcgfmError(f"{where}: {first_problem(error, _KEYS)}") from None


def names_models(path: str) -> bool:
    """Say whether a profile in a file names models itself, as ``run.toml`` does.

    Nothing else of it is looked at: it may speak of checks, perturbations and probes that others declare, and these are
    known only when a run begins.

    Raises
    ------
    EcgfmError
        If the file cannot be read.
    """
    run = _read(Path(path).expanduser(), ()).get("run", {})
    # What is no table is refused when the run begins.
    return bool(run.get("models")) if isinstance(run, dict) else True


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Read a TOML file and what it extends: tables are merged key by key, ``[[check]]`` entries are appended."""
    raw = read_toml(path, "profile", known=f" Shipped profiles: {', '.join(shipped())}.")
    if path.resolve() in above:
        raise EcgfmError(f"profile {path.name}: extends itself.")
    if len(above) > _MOST_PARENTS:
        raise EcgfmError(f"profile {path.name}: the chain of extends has more than {_MOST_PARENTS} profiles.")
    raw.setdefault("name", path.stem)
    parent = raw.pop("extends", None)
    known = shipped()
    if path in known.values():
        raw["base"] = path.stem
    if parent is None:
        return raw
    if not isinstance(parent, str) or (parent not in known and not parent.endswith(".toml")):
        raise unknown_name("profile", str(parent), [*known, "PATH.toml"], where=f"profile {path.name}: extends")
    base = _read(known.get(parent, path.parent / parent), (*above, path.resolve()))
    merged = {**base, **raw, **({"base": base["base"]} if "base" in base and "base" not in raw else {})}
    for table in ("grid", "run", "label", "quantity", "set"):
        if isinstance(base.get(table), dict) and isinstance(raw.get(table), dict):
            merged[table] = {**base[table], **raw[table]}
    if isinstance(base.get("check"), list) and isinstance(raw.get("check", []), list):
        merged["check"] = [*base["check"], *raw.get("check", [])]
    return merged


def _check_names(profile: Profile, file: str, labels: Iterable[str]) -> None:
    where = f"profile {file}"
    if profile.base not in shipped():
        raise unknown_name("profile", profile.base, shipped(), where=f"{where}: base")
    for suite in profile.grid.suites:
        if suite not in suites():
            raise unknown_name("suite", suite, suites(), where=f"{where}: grid.suites")
    if profile.grid.probe not in PROBES:
        raise unknown_name("probe", profile.grid.probe, PROBES, where=f"{where}: grid.probe")
    profile.definitions.require_valid(where)
    # A name of the grid may be that of a column: whether it is, is found once the cohorts are known.
    asked = (*(spelt(one) or one for one in labels), *(canonical(one, where) for one in profile.grid.labels))
    members = (canonical(one, where) for each in profile.set.values() for one in each.labels)
    valid = dict.fromkeys((*LABELS, *profile.definitions.names, *asked, *members))
    for label in (label for rule in profile.check for label in rule.labels):
        written = canonical(label, where)
        if written != label:
            raise EcgfmError(f"{where}: check.labels: write {label!r} as {written!r}, the name that the checks have.")
        if label not in valid and label != AGE.name and of_code(label, where=where) is None:
            raise unknown_name("label", label, valid, where=where)
    for number, rule in enumerate(profile.check):
        if rule.name not in CHECKS:
            raise unknown_name("check", rule.name, CHECKS, where=f"{where}: check.name")
        low, high = CHECKS[rule.name].limits
        if not low <= rule.bound <= high:
            key = f"check.{number}.{'maximum' if rule.minimum is None else 'minimum'}"
            raise EcgfmError(f"{where}: {key} = {chosen(rule.bound)}, but {rule.name} is between {low:g} and {high:g}.")
        if rule.no_change is not None and not low <= rule.no_change <= high:
            key = f"check.{number}.no_change = {chosen(rule.no_change)}"
            raise EcgfmError(f"{where}: {key}, but {rule.name} is between {low:g} and {high:g}.")
        for kind, known in (("perturbation", tuple(VARIANTS)), ("space", SPACES)):
            for name in getattr(rule, f"{kind}s"):
                if name not in known:
                    raise unknown_name(kind, name, known, where=f"{where}: check {rule.name}")
        for selector in (f"{name}s" for name in COORDINATES if name != "baseline"):
            if getattr(rule, selector) and selector[:-1] not in CHECKS[rule.name].cells:
                has = ", ".join(CHECKS[rule.name].cells) or "nothing"
                raise EcgfmError(
                    f"{where}: check {rule.name}: {selector} select nothing; it is evaluated for each {has}."
                )
    if not profile.check:
        raise EcgfmError(f"{where}: no [[check]] entry, so nothing would be judged.")
