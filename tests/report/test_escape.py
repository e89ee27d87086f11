"""Names are data, wherever they are shown."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pytest_ecgfm.report.escape import csv_cell, latex, markdown, terminal

NAMES = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(
    [
        "\x1b]0;pwn\x07\x1b[2Jx\nverdict: PASS",
        "::error file=x::y",
        "```",
        "=cmd|x",
        "\\input{/etc/passwd}",
        "\udcff",
        "\u202e",
    ]
)


@given(NAMES)
def test_one_line_without_control_characters(name):
    for shown in (terminal(name), markdown(name), latex(name), csv_cell(name)):
        assert not any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") for one in shown)
        assert len(shown.splitlines()) <= 1
        shown.encode("utf-8")


@given(NAMES)
def test_a_spreadsheet_sees_text(name):
    assert not csv_cell(name).lstrip().startswith(("=", "+", "-", "@"))


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
    assert not set(shown) & set("\\&%$#_{}~^")


def test_what_people_name_things_stays_readable():
    for name in ("ptb-xl", "Klinikum Nürnberg", "心電図", "AF 1 %"):
        assert terminal(name) == name
