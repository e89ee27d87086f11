"""The page's tables: outcomes by cohort and label, all checks, provenance."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from pytest_ecgfm.cards.parity import told
from pytest_ecgfm.report.addresses import anchor
from pytest_ecgfm.report.layout import NOTHING, cell, scrolled, stacked, table
from pytest_ecgfm.report.loaded import Loaded, in_order
from pytest_ecgfm.report.words import OUTCOMES, bound, chip, element, listed, number, plain_name, with_interval
from pytest_ecgfm.results.basis import cohorts_in_words, every_cohort, nowhere_in_words
from pytest_ecgfm.results.checks import CHECKS


def matrix(run: Loaded) -> Markup:
    """Build the matrix of cohorts and labels by suites; each cell filters the table of checks."""
    checks = run.checks
    body: list[Markup] = [_encoders(run)] if len(run.models) > 1 else []
    for encoder in run.models:
        mine = checks[checks["encoder"] == encoder]
        rows = []
        parts = {(str(key[0]), str(key[1])): part for key, part in mine.groupby(["cohort", "label"])}
        for cohort, label in in_order(parts, product(("", *run.cohorts), ("", *run.targets))):
            part, cells = parts[cohort, label], []
            for suite in run.suites:
                here = part[part["suite"] == suite]
                cells.append(_matrix_cell(here, encoder, cohort or "-", label or "-", suite) if len(here) else "")
            rows.append([f"{cohort or 'all cohorts'}{f', {label}' if label else ''}", *cells])
        body += [element("h3", encoder), stacked(["", *run.suites], rows, f"outcomes of {encoder}")]
    return Markup("").join(body)


def basis(run: Loaded) -> Markup:
    """Tabulate the cohorts in which a blocking check decided, for each label and suite, as ``verdict.json`` says."""
    body: list[Markup] = []
    for encoder in run.models:
        told = run.verdict["encoders"][encoder].get("basis") or {}
        labels, suites = told.get("labels", {}), told.get("suites", {})
        if not suites:
            continue
        if nowhere := nowhere_in_words(told.get("gated_nowhere", {})):
            body.append(element("p", element("strong", f"{nowhere}.")))
        every = every_cohort(suites.values())

        def words(found: Sequence[str], every: Sequence[str] = every) -> str:
            return cohorts_in_words(found, every) or "nowhere"

        rows = [[label, *(words(by[suite]) if suite in by else "" for suite in suites)] for label, by in labels.items()]
        rows.append(["any check", *(words(found) for found in suites.values())])
        named = f" of {encoder}" if len(run.models) > 1 else ""
        if named:
            body.append(element("h3", encoder))
        body.append(stacked(["", *suites], rows, f"cohorts in which blocking checks{named} decided"))
    return Markup("").join(body)


def _encoders(run: Loaded) -> Markup:
    """Put several encoders side by side: outcomes of each suite."""
    rows: list[list[object]] = []
    for suite in run.suites:
        row: list[object] = [suite]
        for encoder in run.models:
            here = run.checks[(run.checks["encoder"] == encoder) & (run.checks["suite"] == suite)]
            row.append(_matrix_cell(here, encoder, "", "", suite) if len(here) else "")
        rows.append(row)
    verdicts = [str(run.verdict["encoders"][encoder].get("outcome", "")) for encoder in run.models]
    rows.append(["verdict", *(chip(one) for one in verdicts)])
    return stacked(["", *run.models], rows, "outcomes of the encoders by suite")


def _matrix_cell(part: pd.DataFrame, encoder: str, cohort: str, label: str, suite: str) -> Markup:
    counts = part["outcome"].value_counts()
    words = [
        chip(word, f"{counts[word]}{' advisory' if _advisory(part, word) else ''}")
        for word in OUTCOMES
        if counts.get(word, 0)
    ]
    picked = json.dumps({"encoder": encoder, "cohort": cohort, "label": label, "suite": suite})
    told = ", ".join(f"{counts[word]} {word}" for word in OUTCOMES if counts.get(word, 0))
    where = ", ".join(one for one in (encoder, suite, cohort, label) if one not in ("", "-"))
    return element(
        "button",
        *[part for word in words for part in (word, " ")],
        type="button",
        data_pick=picked,
        aria_label=f"{where}: {told}; show these checks",
    )


def _advisory(part: pd.DataFrame, word: str) -> bool:
    return word == "fail" and bool((part.loc[part["outcome"] == word, "tier"] == "advisory").all())


def checks(run: Loaded) -> Markup:
    """Tabulate every check, with filters; what needs attention comes first."""
    frame = run.checks
    advisory = (frame["outcome"] == "fail") & (frame["tier"] == "advisory")
    rank = np.where(advisory, 0.5, [OUTCOMES.index(one) for one in frame["outcome"]])
    frame = frame.iloc[np.argsort(rank, kind="stable")]
    fields = {
        "encoder": run.models,
        "suite": run.suites,
        "cohort": run.cohorts,
        "label": run.targets,
        "tier": ("blocking", "advisory"),
        "outcome": OUTCOMES,
    }
    controls = [
        element(
            "label",
            name,
            element(
                "select",
                element("option", "all", value=""),
                *([element("option", f"no {name}", value="-")] if name in ("cohort", "label") else []),
                *(element("option", one) for one in known),
                data_field=name,
            ),
        )
        for name, known in fields.items()
    ]
    controls.append(element("label", "words", element("input", id="words", type="search")))
    controls.append(element("button", "show all", type="button", id="all", class_="plain"))
    controls.append(element("span", id="told", role="status"))
    buttons = (
        element("th", element("button", one, type="button"), scope="col", role="columnheader") for one in _COLUMNS
    )
    head = element("thead", element("tr", *buttons, role="row"), role="rowgroup")
    body = element("tbody", *(_check_row(row) for row in frame.to_dict("records")), role="rowgroup")
    whole = element("table", head, body, id="checks", class_="stack sortable", role="table", aria_label="all checks")
    return Markup("").join(
        [
            element("div", *controls, class_="controls"),
            scrolled(whole, "all checks"),
        ]
    )


_COLUMNS = ("check", "encoder", "value", "threshold", "tier", "outcome", "reason")


def _check_row(row: Mapping[Any, Any]) -> Markup:
    value, low, high, threshold = (float(row[name]) for name in ("value", "low", "high", "threshold"))
    kind, check = str(row["kind"]), str(row["check"])
    name: object = check
    if kind in CHECKS:
        # Long names break at their cells, not within words.
        name = element("a", kind, href=f"#{_definition(kind)}", data_tip=CHECKS[kind].title)
        name = Markup("").join([name, Markup("<wbr>"), check.removeprefix(kind).replace(",", ", ")])
    why = element("span", Markup("<br>"), str(row["why"]), class_="soft") if row["why"] else ""
    demanded = number(threshold, bound(str(row["sense"]), threshold)) if math.isfinite(threshold) else ""
    found = with_interval(value, low, high, threshold)
    told = Markup("").join([str(row["reason"]), why]) if row["reason"] or why else ""
    inside = (name, str(row["encoder"]), found, demanded, str(row["tier"]), chip(str(row["outcome"])), told)
    kinds = ("check", None, "n", None, None, None, "reason")
    cells = [cell(one, column, class_=kind) for one, column, kind in zip(inside, _COLUMNS, kinds, strict=True)]
    named = {f"data_{name}": str(row[name]) for name in ("encoder", "suite", "cohort", "label", "tier", "outcome")}
    return element("tr", *cells, id=anchor(str(row["encoder"]), check), role="row", **named)


def _definition(kind: str) -> str:
    return f"definition:{kind}"


def definitions(run: Loaded) -> Markup:
    """Say what each kind of check in the run measures, over what, and where it is defined."""
    there = set(run.checks["kind"])
    parts: list[Markup] = []
    for kind in CHECKS.values():
        if kind.name not in there:
            continue
        cells = ["encoder", *kind.cells]
        where = kind.definition or f"declared in {kind.where}"
        words = f"{kind.title}. For each {listed(cells)}; {where}."
        parts += [element("dt", kind.name, id=_definition(kind.name)), element("dd", words)]
    return element("dl", *parts) if parts else NOTHING


def provenance(run: Loaded) -> Markup:
    """Say what the numbers come from, and how to get them again."""
    about = run.tree.attrs
    rows: list[list[object]] = [
        [plain_name(name), str(about.get(name, ""))]
        for name in ("run_id", "started", "finished", "platform", "device", "git_commit", "plugin_version")
    ]
    rows += [[f"weights of {name}", str(note.get("weights_sha256", ""))] for name, note in run.encoder_notes.items()]
    rows += [[f"{what} of {name}", words] for name, note in run.encoder_notes.items() for what, words in told(note)]
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
