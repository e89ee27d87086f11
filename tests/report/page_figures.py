"""The figures of a page, as a reader finds them: title, names of the axes, and how to read it."""

from html.parser import HTMLParser
from typing import NamedTuple


class Shown(NamedTuple):
    """One figure: `chart` says whether it is drawn, and not a table."""

    title: str
    x: str
    y: str
    how: str
    chart: bool


class Figures(HTMLParser):
    """Reads them; a sentence that several share is the name of their group."""

    def __init__(self, text):
        super().__init__()
        self.found, self.outside = [], 0
        self._groups, self._into = [], None
        self._now = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        classes = (about.get("class") or "").split()
        if tag == "div":
            self._groups.append(about.get("aria-label", "") if "figures" in classes else None)
        if tag == "figure":
            shared = next((one for one in reversed(self._groups) if one is not None), "")
            self._now = {"title": "", "x": "", "y": "", "how": shared, "chart": False}
        elif tag == "svg" and "chart" in classes:
            if self._now is None:
                self.outside += 1
            else:
                self._now["chart"] = True
        elif self._now is not None:
            if tag == "figcaption":
                self._into = "title"
            elif tag == "text" and "axis" in classes:
                self._into = "x" if "x" in classes else "y"
            elif tag == "p" and "how" in classes:
                self._into, self._now["how"] = "how", ""

    def handle_endtag(self, tag):
        if tag == "div":
            self._groups.pop()
        if tag == "figure":
            self.found.append(Shown(**self._now))
            self._now = None
        if tag in ("figcaption", "text", "p"):
            self._into = None

    def handle_data(self, data):
        if self._now is not None and self._into:
            self._now[self._into] += data


def is_sentence(text):
    """One sentence: a capital, a verb's worth of words, one full stop at its end."""
    return len(text.split()) > 8 and text[0].isupper() and text.endswith(".") and ". " not in text
