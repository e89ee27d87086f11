"""What the page's sections are put together from: tables, legends, captions, numbers behind figures."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from pytest_ecgfm.report import charts
from pytest_ecgfm.report.words import element

NOTHING = Markup("")


def table(heads: Sequence[object], rows: Sequence[Sequence[object]], caption: str) -> Markup:
    """Build a table of numbers; the first cell of a row is its head."""
    return stacked(heads, rows, caption, kind="n")


def stacked(heads: Sequence[object], rows: Sequence[Sequence[object]], caption: str, kind: str | None = None) -> Markup:
    """Build a table whose rows become blocks where the page is narrow: each cell then says which column it is.

    Roles are written out, as a browser drops those of a table that is no longer shown as one.
    """
    names = (
        element("th", one, scope="col", role="columnheader") if one else element("td", role="cell") for one in heads
    )
    head = element("tr", *names, role="row")
    told = [column_name(one) for one in heads]
    body = [
        element(
            "tr",
            element("th", row[0], scope="row", role="rowheader"),
            *(cell(one, name, class_=kind) for name, one in zip(told[1:], row[1:], strict=True)),
            role="row",
        )
        for row in rows
    ]
    # Of a table of names and values, no column has a name.
    top = element("thead", head, role="rowgroup") if any(told) else NOTHING
    parts = top, element("tbody", *body, role="rowgroup")
    return scrolled(element("table", *parts, class_="stack", role="table", aria_label=caption), caption)


def column_name(head: object) -> str:
    """Return the words of a column's head."""
    return head.striptags() if isinstance(head, Markup) else str(head)


def cell(inside: object, column: str, **given: object) -> Markup:
    """Build a cell that knows the name of its column; one that is empty needs none."""
    return element("td", inside, role="cell", data_head=column if inside and column else None, **given)


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


def figure(caption: object, drawing: Markup, how: str = "") -> Markup:
    """Put a title over a drawing, and below the title how to read it, unless the figures beside it share that."""
    read = element("p", how, class_="how") if how else NOTHING
    return element("figure", element("figcaption", caption), read, drawing)


def wide(drawing: Markup) -> Markup:
    """Let a drawing with a row a name scroll where there is no room: made smaller, nobody could read the names."""
    return element("div", drawing, class_="scroll rows", tabindex="0", role="region", aria_label="chart, scrolls")


def figures(parts: Sequence[Markup], how: str, *, again: bool = False) -> Markup:
    """Lay figures of one kind out side by side; one sentence says how all of them are read.

    Where it stands above other figures of the kind, it is not shown `again`. A screen reader hears it everywhere, as it
    is the name of the group.
    """
    if not parts:
        return NOTHING
    shown = NOTHING if again else element("p", how, class_="how")
    return shown + element("div", *parts, class_="figures", role="group", aria_label=how)
