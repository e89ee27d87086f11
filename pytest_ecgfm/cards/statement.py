"""What a model is for, and what it is not for: the part of a card that a page begins with."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from pytest_ecgfm.errors import utf8


def one_paragraph(value: Any) -> Any:
    """Take a text over several lines as one paragraph."""
    return " ".join(value.split()) if isinstance(value, str) else value


def readable(value: str) -> str:
    """Refuse a text that no file or terminal shows as it is."""
    if utf8(value) != value or any(ord(one) < 32 or ord(one) == 127 for one in value):
        raise ValueError("should be text without control characters")
    return value


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) and value.strip() else value


_Text = Annotated[str, BeforeValidator(one_paragraph), StringConstraints(max_length=2000), AfterValidator(readable)]
_Sentence = Annotated[
    str, BeforeValidator(one_paragraph), StringConstraints(min_length=1, max_length=600), AfterValidator(readable)
]
_Sentences = Annotated[tuple[_Sentence, ...], BeforeValidator(_several), Field(max_length=30)]


class Statement(BaseModel):
    """What whoever publishes a model states about its use. Each field may stay empty; the page then says so.

    Attributes
    ----------
    intended_use : str
        What the model is meant for, and by whom.
    population : str
        The people that it is meant for.
    excluded_uses : tuple of str
        What it must not be used for; one sentence each.
    limitations : tuple of str
        Where it is known to be wrong, or is not known to be right; one sentence each.
    training_data : str
        What it was trained on: sources, numbers, labels, time. `pretrained_on` names the cohorts.
    contact : str
        Who answers questions about it: an address, or a name.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    intended_use: _Text = ""
    population: _Text = ""
    excluded_uses: _Sentences = ()
    limitations: _Sentences = ()
    training_data: _Text = ""
    contact: _Text = ""


TITLES = {
    "intended_use": "intended use",
    "population": "population",
    "excluded_uses": "excluded uses",
    "limitations": "known limitations",
    "training_data": "training data",
    "contact": "contact",
}
"""Fields of a `Statement`, in the order in which they are shown, with what people call them."""


def stated(card: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return what a card says under each of `TITLES`, as sentences; nothing where it leaves it open.

    Parameters
    ----------
    card : mapping
        A card's fields, such as a cube tells them; from a file, so nothing is taken for granted. Traps are known
        limitations, and the cohorts of pretraining are training data.

    Examples
    --------
    >>> stated({"intended_use": "research", "pretrained_on": ["ptb-xl"]})["training_data"]
    ('cohorts seen in pretraining: ptb-xl',)
    """
    said = {name: _sentences(card.get(name)) for name in TITLES}
    said["limitations"] += _sentences(card.get("traps"))
    said["training_data"] += tuple(_seen(card))
    return said


def _sentences(value: Any) -> tuple[str, ...]:
    held = value if isinstance(value, list | tuple) else [value]
    return tuple(one for one in held if isinstance(one, str) and one)


def _seen(card: Mapping[str, Any]) -> list[str]:
    seen, perhaps = (card.get(name) for name in ("pretrained_on", "possibly_pretrained_on"))
    told = []
    if isinstance(seen, list | tuple):
        told.append(f"cohorts seen in pretraining: {', '.join(_sentences(seen)) or 'none'}")
    if _sentences(perhaps):
        told.append(f"cohorts perhaps seen in pretraining: {', '.join(_sentences(perhaps))}")
    return told


def left_open(card: Mapping[str, Any]) -> list[str]:
    """Name what a card leaves open.

    >>> left_open({"intended_use": "research", "traps": ["reads one lead"], "pretrained_on": []})
    ['population', 'excluded uses', 'contact']
    """
    return [TITLES[name] for name, words in stated(card).items() if not words]
