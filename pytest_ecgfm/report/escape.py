"""Names, reasons and texts of exceptions are data: one function for each place in which they are shown."""

import re
import unicodedata

from pytest_ecgfm.errors import utf8

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{one: f"\\{one}" for one in "&%$#_{}"},
}


def terminal(text: str) -> str:
    """Return one line without control characters, direction marks or surrogates: each is shown as its escape."""
    return "".join(one if _harmless(one) else _shown(one) for one in utf8(text))


def markdown(text: str) -> str:
    """Return one line that is no markup, no link, no fence and no command of GitHub's."""
    plain = " ".join(terminal(" ".join(text.split())).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", plain)
    # A line that begins with two colons is a command to a runner; one that begins with a sign is a list or a rule.
    return re.sub(r"^(::|[-+=]|\d+[.)])", lambda found: f"&#{ord(found[0][0])};{found[0][1:]}", plain)


def latex(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(_LATEX.get(one, one) for one in terminal(text))


def csv_cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    plain = terminal(text)
    return f"'{plain}" if text.startswith(_FORMULA) or plain.lstrip().startswith(_FORMULA) else plain


def _harmless(one: str) -> bool:
    return one == " " or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _shown(one: str) -> str:
    return {"\n": r"\n", "\t": r"\t", "\r": r"\r"}.get(one) or (
        f"\\x{ord(one):02x}" if ord(one) < 256 else one.encode("ascii", "backslashreplace").decode()
    )
