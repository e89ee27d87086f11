"""What each model's card says of its use, and what it leaves open: beside the verdict, before every section."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from pytest_ecgfm.cards.statement import TITLES, left_open, stated
from pytest_ecgfm.report.layout import NOTHING
from pytest_ecgfm.report.loaded import Loaded
from pytest_ecgfm.report.words import element, listed


def model_cards(run: Loaded) -> Markup:
    """Show the cards of the models under test; nothing of a run that did not write them down."""
    parts = []
    for encoder in run.models:
        card = run.encoder_notes.get(encoder, {}).get("card")
        if isinstance(card, Mapping):
            parts.append(_card(encoder, card))
    return element("div", *parts, class_="cards") if parts else NOTHING


def _card(encoder: str, card: Mapping[str, Any]) -> Markup:
    said, open_ = stated(card), left_open(card)
    use = " ".join(said["intended_use"]) or "not stated"
    missing = f" Its card leaves open: {listed(open_)}." if open_ else ""
    # Outside of what is folded away, as that is not printed.
    line = element("p", element("strong", f"Intended use of {encoder}: "), use, element("span", missing, class_="open"))
    pairs = [(TITLES[name], _told(words)) for name, words in said.items()]
    for name in ("description", "version", "licence", "citation"):
        if isinstance(card.get(name), str) and card[name]:
            pairs.append((name, element("dd", card[name])))
    told = [one for name, words in pairs for one in (element("dt", name), words)]
    return Markup("").join(
        [line, element("details", element("summary", f"The card of {encoder}"), element("dl", *told, class_="card"))]
    )


def _told(words: tuple[str, ...]) -> Markup:
    return Markup("").join(element("dd", one) for one in words or ("left open",))
