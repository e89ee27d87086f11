"""Names, reasons and texts of exceptions are data: one function for each place in which they are shown."""

import json
import re
import unicodedata
from typing import Any

from pytest_ecgfm.errors import utf8

_FORMULA = ("=", "+", "-", "@")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{one: f"\\{one}" for one in "&%$#_{}"},
    # Both would belong to a line break before them.
    **{one: f"{{{one}}}" for one in "[*"},
}
_BEGINS_A_COMMAND = re.compile(r"^(\s*):(?=:)|##(?=\w*\[)")
"""How a line speaks to what runs a job: ``::error`` at its beginning, ``##[group]`` or ``##vso[...]`` anywhere."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u2064\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
"""Of the characters that `terminal` shows as escapes, all but ends of lines, tabs, and what joins letters in a word."""


def terminal(text: str) -> str:
    """Return one line that moves no cursor and is no command to what runs a job.

    Control characters, direction marks and surrogates are shown as their escapes.
    """
    return _BEGINS_A_COMMAND.sub(lambda found: r"\x23\x23" if found[0] == "##" else rf"{found[1]}\x3a", _visible(text))


def markdown(text: str) -> str:
    """Return one line that is no markup, no link, no fence and no command of GitHub's."""
    plain = " ".join(_visible(" ".join(text.split())).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore within a word marks nothing.
    plain = re.sub(r"([\\`*\[\]|~#!]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", plain)
    # A line that begins with two colons is a command to a runner; one that begins with a sign is a list or a rule.
    return re.sub(r"^(::|[-+=]|\d+[.)])", lambda found: f"&#{ord(found[0][0])};{found[0][1:]}", plain)


def table_cell(text: str) -> str:
    """Return a cell of a table of Markdown that is read in a terminal: a bar would end it."""
    return text.replace("|", "\\|")


def latex(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(_LATEX.get(one, one) for one in _visible(text))


def csv_cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    plain = terminal(text)
    # Some spreadsheets take the wide forms of the signs for the signs.
    first = unicodedata.normalize("NFKC", plain.lstrip()[:1])
    return f"'{plain}" if text[:1] in ("\t", "\r") or first.startswith(_FORMULA) else plain


def json_text(value: Any) -> str:
    """Return JSON that a terminal can show: what `terminal` shows as an escape is an escape of JSON's own."""
    lines = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).split("\n")
    shown = ["".join(one if _harmless(one) else _in_json(one) for one in line) for line in lines]
    # Two such signs are nothing but part of a text.
    return "\n".join(re.sub(r"##(?=\w*\[)", r"\\u0023\\u0023", line) for line in shown)


def yaml_value(value: Any) -> Any:
    """Return a value whose JSON every reader of YAML takes for the same: of texts, what they refuse is an escape."""
    if isinstance(value, dict):
        return {_visible(str(key)): yaml_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [yaml_value(one) for one in value]
    return _visible(value) if isinstance(value, str) else value


def page(text: str) -> str:
    """Return a whole page in which no name can turn the order of what follows: its marks are shown as escapes.

    Markup was escaped where names were put in.
    """
    return _UNSEEN.sub(lambda found: _shown(found[0]), text)


def _visible(text: str) -> str:
    return "".join(one if _harmless(one) else _shown(one) for one in utf8(text))


def _harmless(one: str) -> bool:
    if ord(one) & 0xFFFE == 0xFFFE:  # no character, and not allowed in XML
        return False
    return one == " " or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _in_json(one: str) -> str:
    halves = one.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{halves[at : at + 4]}" for at in range(0, len(halves), 4))


def _shown(one: str) -> str:
    return {"\n": r"\n", "\t": r"\t", "\r": r"\r"}.get(one) or (
        f"\\x{ord(one):02x}" if ord(one) < 256 else one.encode("ascii", "backslashreplace").decode()
    )
