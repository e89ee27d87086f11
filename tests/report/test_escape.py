"""Names are data, wherever they are shown."""

import ast
import csv
import io
import json
import re
import tempfile
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cli import main
from pytest_ecgfm.report.escape import csv_cell, json_text, latex, markdown, terminal
from pytest_ecgfm.report.junit import properties_of
from pytest_ecgfm.report.tables import WRITERS, Table

NAMES = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(
    [
        "\x1b]0;pwn\x07\x1b[2Jx\nverdict: PASS",
        "::error file=x::y",
        "```",
        "=cmd|x",
        "\\input{/etc/passwd}",
        "\udcff",
        "\u202e",
        "##[add-mask]AUROC",
        "x##vso[task.complete]",
        "  ::add-mask::AUROC",
        "\uff1dcmd|x",
        "[2cm]",
        "\ufffe",
        "\U000e0041",
        "](http://x)![y](z)",
        "\x9b2J",
    ]
)
ROOT = Path(__file__).parents[2]


def is_inert(text):
    """No control character, and nothing that GitHub's or Azure's runners take for a command."""
    assert not any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") for one in text)
    assert not re.search(r"^\s*::|##\w*\[", text)
    return True


@given(NAMES)
def test_one_line_without_control_characters(name):
    for shown in (terminal(name), markdown(name), latex(name), csv_cell(name)):
        assert not any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") for one in shown)
        assert len(shown.splitlines()) <= 1
        shown.encode("utf-8")


@given(NAMES)
def test_no_command_to_what_runs_a_job(name):
    assert is_inert(terminal(name)) and is_inert(terminal(f"a cohort ##{name}"))
    assert terminal(terminal(name)) == terminal(name)


@given(st.recursive(NAMES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)))
def test_json_stays_json(value):
    shown = json_text(value)
    assert all(is_inert(line) for line in shown.split("\n"))
    assert json.loads(shown) == json.loads(json.dumps(value))


@given(NAMES)
def test_a_spreadsheet_sees_text(name):
    shown = unicodedata.normalize("NFKC", csv_cell(name).lstrip())
    assert not shown.startswith(("=", "+", "-", "@"))


@given(NAMES)
def test_no_command_and_no_markup(name):
    shown = markdown(name)
    assert not shown.startswith("::")
    assert "```" not in shown and "<" not in shown and ">" not in shown


@given(NAMES)
def test_latex_prints_it(name):
    shown = latex(name)
    for command in ("\\textbackslash{}", "\\textasciitilde{}", "\\textasciicircum{}"):
        shown = shown.replace(command, "")
    for one in "&%$#_{}":
        shown = shown.replace(f"\\{one}", "")
    # A bracket or a star after a line's end is an argument of the line break.
    shown = shown.replace("{[}", "").replace("{*}", "")
    assert not set(shown) & set("\\&%$#_{}~^[*")


def test_what_people_name_things_stays_readable():
    for name in ("ptb-xl", "Klinikum Nürnberg", "心電図", "AF 1 %", "random_conv", "## 2", "a::b"):
        assert terminal(name) == name
    assert markdown("random_conv") == "random_conv" and markdown("_x_") == r"\_x\_"


@settings(deadline=None)
@given(NAMES, NAMES)
def test_tables_hold_names_and_nothing_else(row, column):
    table = Table("t", f"{row}: AUROC", pd.DataFrame([[0.5]], index=[row], columns=[column]))
    held = list(csv.reader(io.StringIO(WRITERS["csv"][1](table))))
    assert [len(line) for line in held] == [2, 2] and held[1][1] == "0.5"
    drawn = WRITERS["markdown"][1](table).splitlines()
    assert len(drawn) == 5 and all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3 for line in drawn[2:])
    assert latex(row) in WRITERS["latex"][1](table) and latex(column) in WRITERS["latex"][1](table)


@given(NAMES)
def test_junit_is_xml_whatever_a_reason_says(name):
    row = SimpleNamespace(
        check=name, outcome="fail", tier="blocking", reason=name, value=0.5, low=0, high=1, threshold=1
    )
    element = ET.Element("property", dict(properties_of(row)))
    assert ET.fromstring(ET.tostring(element)).get("reason") == terminal(name)


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1, max_size=12) | st.sampled_from(
    ["\x1b[2J", "=cmd|x", "::error::x", "##[group]x", "\x9b", "\U000e0041", "@SUM(1)", "\u2028"]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CELLS, CELLS)
def test_what_a_cohort_is_called_moves_no_cursor(capsys, patient, column):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "=\x1b[2J\x9b\U000e0041##[group]"
        folder.mkdir()
        np.zeros((500, 2), "<i2").tofile(folder / "a.dat")
        lines = [f"a.dat 16 1000(0)/mV 16 0 0 0 0 {lead}" for lead in ("II", "V1")]
        (folder / "a.hea").write_text("\n".join(["a 2 100 500", *lines, ""]))
        with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows([["record", "patient", "AF", f"x{column}"], ["a", patient, "1", "0"]])
        for shape in ((), ("--records",), ("--json",)):
            status = main(["cohorts", place, "--quick", *shape])
            said = capsys.readouterr()
            assert all(is_inert(line) for line in said.out.split("\n") + said.err.split("\n"))
            if status == 0 and shape == ("--records",):
                held = list(csv.DictReader(io.StringIO(said.out)))
                assert len(held) == 1 and held[0]["patient"] == csv_cell(patient.strip())
            if shape == ("--json",):
                json.loads(said.out)


def test_whatever_is_printed_passes_through_one_function():
    for path in (ROOT / "pytest_ecgfm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if name == "tqdm":
                given = [one.value for one in node.keywords if one.arg == "desc"]
            elif name.endswith((".write_line", ".UsageError")) or name in (
                "print",
                "sys.stdout.write",
                "sys.stderr.write",
            ):
                given = node.args
            else:
                continue
            text = " ".join(map(ast.unparse, given))
            ours = all(isinstance(one, ast.Constant) for one in given) or "verdict.outcome.upper()" in text
            ours = ours or path.name == "gate.py"  # a folder's name, and a word of ours
            assert ours or "terminal" in text or "json_text(" in text, f"{path.relative_to(ROOT)}:{node.lineno}"
