"""What a run asks of its cohorts: labels, quantities, and named sets of labels; and the file that defines them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_ecgfm.cards import first_problem
from pytest_ecgfm.cards.toml_files import read_toml
from pytest_ecgfm.cohorts.base import LABELS
from pytest_ecgfm.cohorts.endpoints import Definition, Endpoint, chosen_labels, defined, of_code, require_name
from pytest_ecgfm.cohorts.quantities import PREFIX, Quantity, QuantityDefinition, defined_quantity, quantity_of, spelt
from pytest_ecgfm.errors import EcgfmError


class SetDefinition(BaseModel):
    """``[set.NAME]`` of a profile or of a file of labels, as written."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", str_strip_whitespace=True)

    meaning: str = Field("", max_length=200)
    labels: tuple[str, ...] = Field(min_length=2)


class Definitions(BaseModel):
    """The tables ``[label.NAME]``, ``[quantity.NAME]`` and ``[set.NAME]``, by name."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    label: dict[str, Definition] = {}
    quantity: dict[str, QuantityDefinition] = {}
    set: dict[str, SetDefinition] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """What each is asked for by."""
        return (*self.label, *(f"{PREFIX}{name}" for name in self.quantity), *self.set)

    def require_valid(self, where: str) -> None:
        """Refuse what could not be asked for.

        Raises
        ------
        EcgfmError
            One line: label, quantity or set, key, and the nearest valid name.
        """
        for name, label in self.label.items():
            defined(name, label, where=where)
        for name, quantity in self.quantity.items():
            defined_quantity(name, quantity, where=where)
        for name in self.set:
            _members(name, self, where=where)

    def and_those_of(self, other: "Definitions") -> "Definitions":
        """Return the definitions of both; those of `other` go before."""
        return Definitions(
            label={**self.label, **other.label},
            quantity={**self.quantity, **other.quantity},
            set={**self.set, **other.set},
        )


def read_targets(path: Path) -> Definitions:
    """Read the definitions of a TOML file; they are valid.

    Raises
    ------
    EcgfmError
        One line: file, label, quantity or set, key, and the nearest valid name.
    """
    raw = read_toml(path, "file of labels")
    where = f"file of labels {path.name}"
    try:
        found = Definitions.model_validate(raw)
    except ValidationError as error:
        models = (Definitions, Definition, QuantityDefinition, SetDefinition)
        keys = tuple(key for model in models for key in model.model_fields)
        raise EcgfmError(f"{where}: {first_problem(error, keys)}") from None
    if not found.names:
        raise EcgfmError(f"{where}: label: is missing; a file has a table [label.NAME], [quantity.NAME] or [set.NAME].")
    found.require_valid(where)
    return found


@dataclass(frozen=True)
class Targets:
    """What a run asks for.

    Attributes
    ----------
    labels : tuple of str
        Built-in ones first, in their order.
    endpoints : mapping of str to Endpoint
        What those of one's own are.
    quantities : mapping of str to Quantity
        By name, such as ``quantity:EF``.
    sets : mapping of str to tuple of str
        Members of each named set; all are among `labels`.
    """

    labels: tuple[str, ...] = ()
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def chosen_targets(names: Iterable[str], definitions: Definitions, *, where: str) -> Targets:
    """Return what names ask for. A name is a quantity, else a set, else a label (`endpoints.chosen_labels`).

    Raises
    ------
    EcgfmError
        If a definition is malformed, or a code is unknown.
    """
    labels: list[str] = []
    quantities: dict[str, Quantity] = {}
    sets: dict[str, tuple[str, ...]] = {}
    for name in names:
        if spelt(name):
            one = quantity_of(spelt(name), definitions.quantity, where=where)
            quantities[one.name] = one
        elif name in definitions.set:
            sets[name] = _members(name, definitions, where=where)
            labels += sets[name]
        else:
            labels.append(name)
    chosen, endpoints = chosen_labels(labels, definitions.label, where=where)
    return Targets(chosen, endpoints, quantities, sets)


def _members(name: str, definitions: Definitions, *, where: str) -> tuple[str, ...]:
    """Return the labels of a set, each once, by the names that checks have.

    Raises
    ------
    EcgfmError
        If the set's name is taken, a member is a quantity or a set, or fewer than two labels are left.
    """
    place = f"{where}: set.{name}"
    require_name(name, where=where)
    if name in LABELS or name in definitions.label or spelt(name) or of_code_or_none(name):
        raise EcgfmError(f"{place}: a label or a quantity has this name; choose another.")
    members = definitions.set[name].labels
    for one in members:
        if spelt(one) or one in definitions.set:
            raise EcgfmError(f"{place}.labels: {one!r} is not a label; a set may contain only labels.")
    found = chosen_labels(members, definitions.label, where=place)[0]
    if len(found) < 2:
        raise EcgfmError(f"{place}.labels: should name at least two labels.")
    return found


def of_code_or_none(name: str) -> Endpoint | None:
    """Return the label of a code; None where the name is no code's, or that of a code that there is not."""
    try:
        return of_code(name, where="")
    except EcgfmError:
        return None


def canonical(name: str, where: str) -> str:
    """Return the one name of a label or quantity: that of a code or of a quantity, however it was spelt.

    Raises
    ------
    EcgfmError
        If it begins with a vocabulary's name, which has no such code.
    """
    if quantity := spelt(name):
        return quantity
    code = of_code(name, where=where)
    return name if code is None else code.name


def asked_targets(text: str, file: Path | None) -> Targets:
    """Return what names ask for, which commas separate, and all that a file defines.

    Raises
    ------
    EcgfmError
        If the file is malformed, or a code is unknown.
    """
    definitions = read_targets(file) if file else Definitions()
    names = [*definitions.names, *(part.strip() for part in text.split(",") if part.strip())]
    return chosen_targets(names, definitions, where="--labels")
