"""What the page's sections are put together from: tables, legends, captions, numbers behind figures."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from pytest_ecgfm.report import charts
from pytest_ecgfm.report.words import element

NOTHING = Markup("")


def table(heads: Sequence[object], rows: Sequence[Sequence[object]], caption: str) -> Markup:
    """Build a table; the first cell of a row is its head."""
    head = element("tr", *(element("th", one, scope="col") if one else element("td") for one in heads))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", one, class_="n") for one in row[1:]))
        for row in rows
    ]
    return scrolled(element("table", element("thead", head), element("tbody", *body), aria_label=caption), caption)


def stacked(heads: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> Markup:
    """Build a table whose rows become blocks where the page is narrow: each cell then says which column it is.

    Roles are written out, as a browser drops those of a table that is no longer shown as one.
    """
    names = (
        element("th", one, scope="col", role="columnheader") if one else element("td", role="cell") for one in heads
    )
    head = element("tr", *names, role="row")
    body = [
        element(
            "tr",
            element("th", row[0], scope="row", role="rowheader"),
            *(element("td", one, role="cell", data_head=name) for name, one in zip(heads[1:], row[1:], strict=True)),
            role="row",
        )
        for row in rows
    ]
    parts = element("thead", head, role="rowgroup"), element("tbody", *body, role="rowgroup")
    return scrolled(element("table", *parts, class_="stack", role="table", aria_label=caption), caption)


def scrolled(whole: Markup, caption: str) -> Markup:
    """Let a wide table scroll by itself, also by keyboard."""
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=f"{caption}, scrolls")


def behind(heads: Sequence[object], rows: Sequence[Sequence[object]], caption: str) -> Markup:
    """Fold away the numbers that figures show: for those who cannot see or point at them, and to copy."""
    if not rows:
        return NOTHING
    return element("details", element("summary", f"Numbers: {caption}"), table(heads, rows, caption))


def legend(names: Mapping[str, str]) -> Markup:
    """Say which mark is whose."""
    items = [
        element(
            "span",
            element("svg", charts.symbol(style, 7, 7), width="14", height="14", aria_hidden="true"),
            f" {name}",
        )
        for name, style in names.items()
    ]
    return element("div", *items, class_="legend")


def figure(caption: object, drawing: Markup) -> Markup:
    """Put a caption over a drawing."""
    return element("figure", element("figcaption", caption), drawing)


def wide(drawing: Markup) -> Markup:
    """Let a drawing with a row a name scroll where there is no room: made smaller, nobody could read the names."""
    return element("div", drawing, class_="scroll rows", tabindex="0", role="region", aria_label="chart, scrolls")


def figures(parts: Sequence[Markup]) -> Markup:
    """Lay figures out side by side."""
    return element("div", *parts, class_="figures") if parts else NOTHING
