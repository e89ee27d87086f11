"""How numbers, shares and outcomes are written on the page. Everything that comes from outside is escaped."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from markupsafe import Markup, escape

from pytest_ecgfm.results.rounded import chosen, rounded

OUTCOMES = ("fail", "error", "inconclusive", "pass", "insufficient")
"""From what needs attention most to what needs it least; a fail that does not block comes after one that does."""

SIGNS = {"pass": "✓", "fail": "✕", "inconclusive": "?", "insufficient": "–", "error": "⚠", "incomplete": "!"}
"""Beside colour and word: outcomes are told apart without either."""

MEANINGS = {
    "pass": "meets its threshold",
    "fail": "does not meet its threshold, or the model itself failed",
    "inconclusive": "could not be decided: the interval contains the threshold",
    "insufficient": "was not judged: too few records, or nothing to measure",
    "error": "could not be measured, through no fault of the model: the run is incomplete",
}


class Triple(NamedTuple):
    """A value with its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float


def text_of(value: float, bound: float = math.nan) -> str:
    """Write a number for reading: three decimals, fewer for large numbers, more only beside a tiny bound."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 1000:
        written = f"{value:.0f}"
    elif size >= 100:
        written = f"{value:.1f}"
    else:
        written = rounded(value, bound)
    return written.replace("-", "−")


def bound_text(value: float) -> str:
    """Write a bound in as few digits as tell it."""
    return chosen(value).replace("-", "−")


def number(value: float, text: str | None = None) -> Markup:
    """Write a number that carries its unrounded value, for scripts and for tests."""
    if math.isnan(value):
        return Markup('<span class="none" title="not evaluated">–</span>')
    return Markup('<data value="{}">{}</data>').format(repr(float(value)), text_of(value) if text is None else text)


def interval(low: float, high: float, bound: float = math.nan) -> Markup:
    """Write an interval in brackets; nothing where there is none."""
    if math.isnan(low) or math.isnan(high):
        return Markup("")
    return Markup('<span class="ci">[{}, {}]</span>').format(
        number(low, text_of(low, bound)), number(high, text_of(high, bound))
    )


def with_interval(value: float, low: float, high: float, bound: float = math.nan) -> Markup:
    """Write a value, and its interval where it has a sampling error, so that both can be told from a bound."""
    written = number(value, text_of(value, bound))
    if math.isnan(value) or low == high == value:
        return written
    return Markup("{} {}").format(written, interval(low, high, bound))


def plain(value: float, low: float, high: float, bound: float = math.nan) -> str:
    """Write a value and its interval as text, for tips and descriptions."""
    if math.isnan(value):
        return "not evaluated"
    if math.isnan(low) or math.isnan(high) or low == high == value:
        return text_of(value, bound)
    return f"{text_of(value, bound)} ({text_of(low, bound)} to {text_of(high, bound)})"


def percent(share: float) -> str:
    """Write a share of the training patients."""
    return "" if math.isnan(share) else f"{100 * share:g} %"


def bound(sense: str, threshold: float) -> str:
    """Write what a check demands, in words."""
    if math.isnan(threshold):
        return ""
    return f"{'at most' if sense == 'maximum' else 'at least'} {bound_text(threshold)}"


def chip(outcome: str, words: str = "") -> Markup:
    """Show an outcome: a sign, a word and a colour."""
    known = outcome if outcome in SIGNS else "none"
    return Markup('<span class="chip {}"><span class="sign" aria-hidden="true">{}</span>{}</span>').format(
        known, SIGNS.get(outcome, ""), words or outcome
    )


def listed(words: Iterable[str], last: str = "and") -> str:
    """Write several things as one would say them."""
    given = list(words)
    if len(given) < 2:
        return "".join(given)
    return f"{', '.join(given[:-1])} {last} {given[-1]}"


def plain_name(name: str) -> str:
    """Write a name that code uses as people would."""
    return name.replace("_", " ")


def attributes(given: Mapping[str, object]) -> Markup:
    """Write attributes of an element; underscores in names become hyphens, and None leaves one out."""
    # By f-strings, each value escaped: a page has a hundred thousand of them, and Markup's own formatting is slow.
    return Markup(
        "".join(
            f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
            for name, value in given.items()
            if value is not None
        )
    )


def element(name: str, *inside: object, **given: object) -> Markup:
    """Build an element; what is inside is escaped unless it is markup."""
    content = "".join(escape(one) for one in inside)
    return Markup(f"<{name}{attributes(given)}>{content}</{name}>")
