"""Cards: what an encoder, a cohort or a check declares about itself. Validated here, and nowhere else."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from pytest_ecgfm.cards.facts import Continent, Facts
from pytest_ecgfm.cards.parity import Digests, Parity
from pytest_ecgfm.cards.statement import TITLES, Statement
from pytest_ecgfm.errors import EcgfmError, nearest, unknown_name
from pytest_ecgfm.signals.records import LEADS, canonical_leads

_SHOWN = 200

COHORTS = {
    "ptb-xl": "Europe",
    "chapman-ningbo": "Asia",
    "georgia": "North America",
    "code-15": "South America",
    "cpsc-2018": "Asia",
    "cpsc-extra": "Asia",
    "ptb": "Europe",
    "incart": "Europe",
    "code-test": "South America",
    "code": "South America",
    "sph": "Asia",
    "ludb": "Europe",
    "mimic-iv-ecg": "North America",
    "brugada-huca": "Europe",
    "heedb": "North America",
    "cardiosoft": "Europe",
    "uk-biobank": "Europe",
    "synthetic-europe": "Europe",
    "synthetic-asia": "Asia",
    "synthetic-north-america": "North America",
    "synthetic-south-america": "South America",
}
"""Cohort names that a card may list under ``pretrained_on``, with their continents."""


def _lead_names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, str | list | tuple) or not all(isinstance(lead, str) for lead in value):
        raise ValueError("should be lead names, as a list or separated by blanks")
    return canonical_leads(value)


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


NO_TRUTH_VALUE = BeforeValidator(_no_truth_value)
"""For numbers: pydantic reads true as 1."""


def _names(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


Leads = Annotated[tuple[str, ...], BeforeValidator(_lead_names)]
Seconds = Annotated[float, NO_TRUTH_VALUE, Field(ge=0.1, le=3600, allow_inf_nan=False)]
SamplingRate = Annotated[float, NO_TRUTH_VALUE, Field(ge=10, le=10_000, allow_inf_nan=False)]


class ModelCard(Statement):
    """What an encoder reads, what it was trained on, and (`pytest_ecgfm.cards.statement.Statement`) what it is for.

    Attributes
    ----------
    name : str
        The name given to ``--ecgfm``.
    sampling_rate : float
        In Hz; records are resampled to it.
    seconds : float or None
        Length of the input, at most an hour. Longer records are cropped, shorter ones are padded with zeros at the end.
        None: the whole record, of any length.
    crop : {"start", "center"}
        Which part of a longer record is read.
    leads : tuple of str
        The leads, in the order in which the encoder takes them.
    any_leads : bool
        Whether a record that lacks some of `leads` is read nevertheless. A missing row is then filled with the first
        finite lead of the record, or with zeros. For encoders that need a rhythm, not a certain lead.
    units : {"mV", "uV"}
        Of the input.
    normalize : {"none", "zscore-per-lead", "zscore", "minmax"}
        Applied to each record after resampling and cropping.
    input : {"tensor", "array", "records"}
        What the encoder is called with: a float32 torch tensor or numpy array ``(batch, leads, samples)``, or a
        `pytest_ecgfm.signals.records.RecordBatch` (signals with identifiers, ages and sexes).
    preprocessing : {"card", "model"}
        Who resamples, crops and scales: this package, as the card says; or the model, because it has published rules of
        its own. In the second case it gets records as stored (mV, the card's leads), and the other fields only describe
        it.
    dimensions : int or None
        Width of the embedding, if known; another width is an error.
    pretrained_on : tuple of str or None
        Cohorts seen in pretraining. An empty list means none of them; None means unknown.
    possibly_pretrained_on : tuple of str
        Cohorts that were perhaps seen in pretraining.
    checkpoint : str
        File or folder of the weights, as its authors call it; empty for a model without weights.
    source : str
        Where the checkpoint is published, such as ``hf://owner/repo``. ``package://PACKAGE/FILE#sha256=DIGEST`` is a
        file of an installed package; it is read if ``--ecgfm-checkpoint`` names no other.
    published_sha256 : dict of str to str
        SHA-256 of the checkpoint's file, to who published it. Any other file is said to be not verified.
    parity : Parity or None
        What the adapter was compared with (`pytest_ecgfm.cards.parity.Parity`).
    traps : tuple of str
        What users of the model trip over, each in a sentence that says where it is from.
    expected_failures : dict
        From the name of a check, with its cell, to a reason. Such a check does not block if it fails; if it passes
        after all, this counts as a failure.
    version : str
        Change it whenever the same weights would give another embedding. If an encoder has neither weights nor a
        version, its embeddings are not kept between runs.
    description, licence, citation : str
        For people.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", str_strip_whitespace=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$", max_length=80)]
    sampling_rate: SamplingRate = 500.0
    seconds: Seconds | None = 10.0
    crop: Literal["start", "center"] = "start"
    leads: Leads = LEADS
    any_leads: bool = False
    units: Literal["mV", "uV"] = "mV"
    normalize: Literal["none", "zscore-per-lead", "zscore", "minmax"] = "none"
    input: Literal["tensor", "array", "records"] = "tensor"
    preprocessing: Literal["card", "model"] = "card"
    dimensions: Annotated[int, NO_TRUTH_VALUE, Field(gt=0, le=10_000_000)] | None = None
    pretrained_on: tuple[str, ...] | None = None
    possibly_pretrained_on: tuple[str, ...] = ()
    checkpoint: str = ""
    source: str = ""
    published_sha256: Digests = Field(default_factory=dict)
    parity: Parity | None = None
    traps: tuple[str, ...] = ()
    expected_failures: dict[str, str] = Field(default_factory=dict)
    version: str = ""
    description: str = ""
    licence: str = ""
    citation: str = ""

    @field_validator("pretrained_on", "possibly_pretrained_on", mode="before")
    @classmethod
    def _as_names(cls, value: Any) -> Any:
        return _names(value)

    @field_validator("pretrained_on", "possibly_pretrained_on")
    @classmethod
    def _cohorts(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            if name not in COHORTS:
                raise unknown_name("cohort", name, COHORTS)
        return value

    def identity(self) -> dict[str, Any]:
        """Return the fields that belong to what an embedding depends on: not what was verified of it, or expected."""
        told = {"expected_failures", "published_sha256", "parity", "traps"}
        return self.model_dump(mode="json", exclude=told | set(TITLES))

    @property
    def statement(self) -> Statement:
        """The part that says what the model is for."""
        return Statement(**{name: getattr(self, name) for name in TITLES})

    def exposure(self, cohort: str) -> Literal["seen", "unseen", "unknown"]:
        """Say whether the encoder saw `cohort` in pretraining."""
        if cohort in self.possibly_pretrained_on or self.pretrained_on is None:
            return "unknown"
        return "seen" if cohort in self.pretrained_on else "unseen"


class CohortCard(Facts):
    """What an `@ecg_cohort` fixture declares about the signals that it returns, and of where they come from.

    Attributes
    ----------
    name : str
        What ``--ecgfm-cohorts`` calls it.
    sampling_rate : float
        In Hz.
    leads : tuple of str
        One for each row of a record's signals.
    units : {"mV", "uV"}
        Of the signals.
    continent : str
        Where it was recorded; may be empty.
    labels : tuple of str
        Columns of its table that are labels in each run that names no labels.
    country, years, devices, licence, label_origin, source : str
        As in `pytest_ecgfm.cards.facts.Facts`.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", str_strip_whitespace=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=80)]
    sampling_rate: SamplingRate
    leads: Leads = LEADS
    units: Literal["mV", "uV"] = "mV"
    continent: Continent = ""
    labels: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()


_CheckCell = Literal["source", "cohort", "label", "fraction", "perturbation", "space"]
_Bound = Annotated[float, Field(allow_inf_nan=False)]
_DECLARED_CHECK = r"^[a-z][a-z0-9_]{0,39}\.[a-z][a-z0-9_]{0,79}$"


class CheckCard(BaseModel):
    """What ``@ecg_check`` declares about a check of your own.

    Attributes
    ----------
    name : str
        A suite of your own, a dot, and the check: ``"fairness.sex_gap"``.
    title : str
        What is compared, in a few words.
    cells : tuple of str
        What it is evaluated for, in addition to the encoder. minimum, maximum : float or None
        The threshold, unless a profile gives another one. Give one of the two.
    reason : str
        Why this threshold.
    tier : {"blocking", "advisory"}
        Whether a failure sets the exit status.
    decide : {"interval", "point"}
        Whether the whole interval has to reach the threshold, or only the value.
    limits : tuple of float
        Smallest and largest value that the quantity can take.
    units : str
        Of the quantity.
    variables : dict of str to str
        Variables that the check writes to the cube, each with what it is.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", str_strip_whitespace=True)

    name: Annotated[str, Field(pattern=_DECLARED_CHECK)]
    title: Annotated[str, Field(min_length=1, max_length=200)]
    cells: tuple[_CheckCell, ...] = ("cohort",)
    minimum: _Bound | None = None
    maximum: _Bound | None = None
    reason: Annotated[str, Field(min_length=1, max_length=400)]
    tier: Literal["blocking", "advisory"] = "blocking"
    decide: Literal["interval", "point"] = "interval"
    limits: tuple[float, float] = (-math.inf, math.inf)
    units: Annotated[str, Field(max_length=40)] = "1"
    variables: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], str] = {}

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.minimum is None) == (self.maximum is None):
            raise ValueError("should have either a minimum or a maximum")
        if not self.limits[0] <= self.bound <= self.limits[1]:
            raise ValueError(
                f"its threshold {self.bound:g} is outside its limits {self.limits[0]:g}, {self.limits[1]:g}"
            )
        return self

    @property
    def bound(self) -> float:
        """The minimum or the maximum."""
        return float(self.maximum if self.minimum is None else self.minimum)  # type: ignore[arg-type]


_Severity = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class PerturbationCard(BaseModel):
    """What ``@ecg_perturbation`` declares about a perturbation of your own.

    Attributes
    ----------
    name : str
        A namespace of your own, a dot, and the perturbation: ``"mine.tremor"``.
    parameter, units : str
        What the severity says, and in which unit.
    severities : tuple of float
        From mild to severe.
    imitates, source : str
        What it stands for, and where its range comes from.
    expected : {"invariant", "noticed"}
        Whether a good encoder should ignore the change, or should notice it.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", str_strip_whitespace=True)

    name: Annotated[str, Field(pattern=_DECLARED_CHECK)]
    parameter: Annotated[str, Field(min_length=1, max_length=200)]
    units: Annotated[str, Field(pattern=r"^[A-Za-z0-9/%]{1,12}$")] = "1"
    severities: Annotated[tuple[_Severity, ...], Field(min_length=1, max_length=20)]
    imitates: Annotated[str, Field(max_length=400)] = ""
    source: Annotated[str, Field(max_length=400)] = ""
    expected: Literal["invariant", "noticed"] = "invariant"


Card = TypeVar("Card", ModelCard, CohortCard, CheckCard, PerturbationCard)


def parse_card(name: str, fields: Mapping[str, Any], *, where: str) -> ModelCard:
    """Validate the fields of a model card.

    Parameters
    ----------
    name : str
        The encoder's name.
    fields : mapping
        As written in ``@ecg_model(...)`` or in a TOML file.
    where : str
        File (and line) of the card, for the message.

    Raises
    ------
    EcgfmError
        One line: which field, what is wrong, the nearest valid name.
    """
    return _parse(ModelCard, name, fields, where)


def parse_cohort_card(name: str, fields: Mapping[str, Any], *, where: str) -> CohortCard:
    """Validate the fields of ``@ecg_cohort(...)``; as `parse_card`."""
    return _parse(CohortCard, name, fields, where)


def parse_check_card(name: str, fields: Mapping[str, Any], *, where: str) -> CheckCard:
    """Validate the arguments of ``@ecg_check(...)``; as `parse_card`."""
    return _parse(CheckCard, name, fields, where)


def parse_perturbation_card(name: str, fields: Mapping[str, Any], *, where: str) -> PerturbationCard:
    """Validate the arguments of ``@ecg_perturbation(...)``; as `parse_card`."""
    return _parse(PerturbationCard, name, fields, where)


def _parse(kind: type[Card], name: str, fields: Mapping[str, Any], where: str) -> Card:
    for key in fields:
        if key not in kind.model_fields:
            raise unknown_name("field", key, kind.model_fields, where=f"{where}: card of {name!r}")
    try:
        return kind.model_validate({"name": name, **fields})
    except ValidationError as error:
        raise EcgfmError(f"{where}: card of {name!r}: {first_problem(error)}") from None
    except EcgfmError as error:
        raise EcgfmError(f"{where}: card of {name!r}: {error}") from None


def first_problem(error: ValidationError, keys: Sequence[str] = ()) -> str:
    """Say in one line what pydantic found first: field, value, what would be valid; the nearest of some keys."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{field}: no such key.{nearest(str(problem['loc'][-1]), keys)}"
    if problem["type"] == "missing":
        return f"{field}: is missing."
    message = re.sub(r"^Value error, ", "", problem["msg"])
    if not field:
        return f"{message}."
    try:
        given = repr(problem["input"])
    except ValueError:  # Python writes no whole number of more than 4300 digits
        given = "a number of very many digits"
    return f"{field} = {given if len(given) <= _SHOWN else given[:_SHOWN] + '...'}: {message}."
