"""What is known of where a cohort comes from: the part of a cohort's card that no table holds."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from pytest_ecgfm.cards.statement import one_paragraph, readable
from pytest_ecgfm.errors import EcgfmError

Continent = Literal["", "Africa", "Asia", "Europe", "North America", "Oceania", "South America"]
_Text = Annotated[str, BeforeValidator(one_paragraph), StringConstraints(max_length=400), AfterValidator(readable)]


class Facts(BaseModel):
    """Where a cohort comes from. A field stays empty where nothing is published, or stated.

    Attributes
    ----------
    country : str
        Where it was recorded.
    years : str
        When, such as ``"2008 to 2019"``.
    devices : str
        By which electrocardiographs.
    licence : str
        Of the data.
    label_origin : str
        Who, or what, made the labels.
    source : str
        Where these facts are published.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", str_strip_whitespace=True)

    country: _Text = ""
    years: _Text = ""
    devices: _Text = ""
    licence: _Text = ""
    label_origin: _Text = ""
    source: _Text = ""


class FolderFacts(Facts):
    """What ``cohort.toml`` states of a folder of one's own: `Facts`, and the continent."""

    continent: Continent = ""


def parse_facts(fields: Mapping[str, Any], *, where: str) -> FolderFacts:
    """Validate what ``cohort.toml`` states.

    Raises
    ------
    EcgfmError
        One line: `where`, which field, what would be valid.
    """
    from pytest_ecgfm.cards import first_problem

    try:
        return FolderFacts.model_validate(fields)
    except ValidationError as error:
        raise EcgfmError(f"{where}: {first_problem(error, tuple(FolderFacts.model_fields))}") from None
