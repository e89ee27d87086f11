"""The page's tables: outcomes by cohort and label, all checks, provenance."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from pytest_ecgfm.checks import CHECKS
from pytest_ecgfm.report.loaded import Loaded
from pytest_ecgfm.report.words import OUTCOMES, bound, chip, element, plain_name, with_interval


def table(heads: Sequence[object], rows: Sequence[Sequence[object]], caption: str) -> Markup:
    """Build a table; the first cell of a row is its head."""
    head = element("tr", *(element("th", one, scope="col") for one in heads))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", one, class_="n") for one in row[1:]))
        for row in rows
    ]
    whole = element("table", element("thead", head), element("tbody", *body), aria_label=caption)
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def matrix(run: Loaded) -> Markup:
    """Build the matrix of cohorts and labels by suites; each cell filters the table of checks."""
    checks = run.checks
    body: list[Markup] = []
    for encoder in run.models:
        mine = checks[checks["encoder"] == encoder]
        rows = []
        for (cohort, label), part in mine.groupby(["cohort", "label"], sort=False):
            cells = []
            for suite in run.suites:
                here = part[part["suite"] == suite]
                cells.append(_matrix_cell(here, encoder, str(cohort), str(label), suite) if len(here) else "")
            rows.append([f"{cohort or 'all cohorts'}{f', {label}' if label else ''}", *cells])
        body += [element("h3", encoder), table(["", *run.suites], rows, f"outcomes of {encoder}")]
    return Markup("").join(body)


def _matrix_cell(part: pd.DataFrame, encoder: str, cohort: str, label: str, suite: str) -> Markup:
    counts = part["outcome"].value_counts()
    words = [
        chip(word, f"{counts[word]}{' advisory' if _advisory(part, word) else ''}")
        for word in OUTCOMES
        if counts.get(word, 0)
    ]
    picked = json.dumps({"encoder": encoder, "cohort": cohort, "label": label, "suite": suite})
    told = ", ".join(f"{counts[word]} {word}" for word in OUTCOMES if counts.get(word, 0))
    return element(
        "button",
        *[part for word in words for part in (word, " ")],
        type="button",
        data_pick=picked,
        aria_label=f"{suite}, {cohort} {label}: {told}; show these checks",
    )


def _advisory(part: pd.DataFrame, word: str) -> bool:
    return word == "fail" and bool((part.loc[part["outcome"] == word, "tier"] == "advisory").all())


def checks(run: Loaded) -> Markup:
    """Tabulate every check, with filters."""
    frame = run.checks
    fields = {
        "encoder": run.models,
        "suite": run.suites,
        "cohort": run.cohorts,
        "label": run.labels,
        "outcome": OUTCOMES,
    }
    controls = [
        element(
            "label",
            name,
            element(
                "select",
                element("option", "all", value=""),
                *(element("option", one) for one in known),
                data_field=name,
            ),
        )
        for name, known in fields.items()
    ]
    controls.append(element("label", "words", element("input", id="words", type="search")))
    controls.append(element("button", "show all", type="button", id="all", class_="plain"))
    controls.append(element("span", id="told", role="status"))
    heads = ("check", "encoder", "value", "demanded", "tier", "outcome", "reason")
    head = element("tr", *(element("th", element("button", one, type="button"), scope="col") for one in heads))
    rows = [_check_row(row) for row in frame.to_dict("records")]
    whole = element("table", element("thead", head), element("tbody", *rows), id="checks", aria_label="all checks")
    return Markup("").join(
        [
            element("div", *controls, class_="controls"),
            element("div", whole, class_="scroll", tabindex="0", role="region", aria_label="all checks"),
        ]
    )


def _check_row(row: Mapping[Any, Any]) -> Markup:
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    title = CHECKS[str(row["kind"])].title if row["kind"] in CHECKS else ""
    why = element("span", f" {row['why']}", class_="soft") if row["why"] else ""
    cells = [
        element("td", element("span", str(row["check"]), data_tip=title or None)),
        element("td", str(row["encoder"])),
        element("td", with_interval(value, low, high), class_="n"),
        element("td", bound(str(row["sense"]), float(row["threshold"]))),
        element("td", str(row["tier"])),
        element("td", chip(str(row["outcome"]))),
        element("td", str(row["reason"]), element("br"), why),
    ]
    named = {f"data_{name}": str(row[name]) for name in ("encoder", "suite", "cohort", "label", "outcome")}
    return element("tr", *cells, **named)


def provenance(run: Loaded) -> Markup:
    """Say what the numbers come from, and how to get them again."""
    about = run.tree.attrs
    rows: list[list[object]] = [
        [plain_name(name), str(about.get(name, ""))]
        for name in ("run_id", "started", "finished", "platform", "device", "git_commit", "plugin_version")
    ]
    rows += [[f"weights of {name}", str(note.get("weights_sha256", ""))] for name, note in run.encoder_notes.items()]
    rows += [
        [f"records of {name}", f"{note.get('records', '')}, digest {note.get('digest', '')}"]
        for name, note in run.cohort_notes.items()
    ]
    rows += [[name, str(version)] for name, version in run.packages.items()]
    again = "pytest --ecgfm-profile=run.toml"
    profile = element("details", element("summary", "profile"), element("pre", str(about.get("profile", ""))))
    return Markup("").join(
        [table(["", ""], rows, "provenance"), element("p", "To repeat it: ", element("code", again)), profile]
    )
