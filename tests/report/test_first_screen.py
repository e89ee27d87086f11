"""What stands above the sections: released or not, why, for whom not, the worst cells, groups, and what changed."""

import re
from dataclasses import replace
from html import unescape

import pandas as pd
import pytest

from pytest_ecgfm.report.banner import blocking, for_whom_not, released, rests_on
from pytest_ecgfm.report.glance import margins, worst
from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.report.page import render


@pytest.fixture(scope="module")
def run(made):
    return load(made[0])


@pytest.fixture(scope="module")
def top(page):
    """Text of what stands above the list of sections."""
    return words(page.partition("<header>")[2].partition("<nav")[0])


def words(markup):
    return " ".join(unescape(re.sub("<[^>]+>", " ", markup)).split())


def told(run, outcome, cohorts=("ptb-xl",), narrowed=None, failing=0, complete=False):
    """The same run with another verdict, on other cohorts."""
    encoders = {"one": {"outcome": outcome, "counts": {"blocking_fail": failing}}}
    identity = {"profile": "default", "profile_digest": "01234567", "narrowed": narrowed or {}}
    other = replace(run, verdict={"outcome": outcome, "encoders": encoders, "identity": identity, "complete": complete})
    other.__dict__["cohorts"] = cohorts
    return other


@pytest.mark.parametrize(
    ("given", "begins"),
    [
        ({"outcome": "pass"}, "Released: "),
        ({"outcome": "pass", "narrowed": {"-k": "1 check"}}, "Not released by this run: it left out a part"),
        (
            {"outcome": "pass", "cohorts": ("synthetic-asia", "synthetic-europe")},
            "Not released by this run: it passes on synth",
        ),
        ({"outcome": "pass", "cohorts": ("ptb-xl", "synthetic-europe")}, "Released: "),
        ({"outcome": "fail", "failing": 1}, "Not released: 1 blocking check fails."),
        ({"outcome": "fail", "failing": 2}, "Not released: 2 blocking checks fail."),
        ({"outcome": "incomplete", "narrowed": {"-k": "1 check"}}, "Not released: the run is incomplete."),
        ({"outcome": "incomplete", "complete": True}, "Not released: too little could be measured to decide."),
    ],
)
def test_the_first_sentence_says_whether_the_model_is_released(run, given, begins):
    assert released(told(run, **given)).startswith(begins)


def test_the_worst_five_are_those_that_block_the_worst_of_each_kind_first(run, made, top):
    blocks = {(row.encoder, row.check): row for row in made[1] if row.blocks}
    assert len(blocking(run)) == len(blocks) > 5

    def short(row):
        return (row.value - row.threshold) * (-1 if row.sense == "maximum" else 1) / ((row.high - row.low) / 2)

    by_kind = {}
    for row in sorted(blocks.values(), key=short):
        by_kind.setdefault(row.check.partition("[")[0], []).append(short(row))
    firsts = sorted(shorts[0] for shorts in by_kind.values())
    assert len(firsts) >= 2 and len(worst(run)) == 5
    # The worst of each kind, then the second of any.
    found = worst(run, len(firsts) + 1)
    assert len(found) == len(firsts) + 1 and list(found.index) == list(dict.fromkeys(found.index))
    mine = [blocks[key] for key in zip(found["encoder"], found["check"], strict=True)]
    assert [short(one) for one in mine][: len(firsts)] == pytest.approx(firsts)
    assert short(mine[len(firsts)]) == pytest.approx(min(shorts[1] for shorts in by_kind.values() if shorts[1:]))
    first = mine[0]
    assert f"at least {first.threshold:g}" in top or f"at most {first.threshold:g}" in top
    assert f"{first.value:.3f} [ {first.low:.3f} , {first.high:.3f} ]" in top
    assert f"−{abs(short(first) * (first.high - first.low) / 2):.3f}" in top


def test_what_passes_exactly_is_no_close_call_and_what_fails_exactly_is_the_worst(run):
    about = {"encoder": "one", "kind": "contract.frozen", "sense": "maximum", "tier": "blocking", "reason": ""}
    about |= {"cohort": "", "label": "", "threshold": 0.0}
    rows = [
        {**about, "check": "exact pass", "outcome": "pass", "value": 0.0, "low": 0.0, "high": 0.0},
        {**about, "check": "pass", "outcome": "pass", "value": -0.2, "low": -0.3, "high": -0.1},
        {**about, "check": "close pass", "outcome": "pass", "value": -0.11, "low": -0.21, "high": -0.01},
        {**about, "check": "undecided", "outcome": "inconclusive", "value": 0.0, "low": -0.1, "high": 0.1},
        {**about, "check": "fail", "outcome": "fail", "value": 9.0, "low": 8.0, "high": 10.0},
        {**about, "check": "exact fail", "outcome": "fail", "value": 1.0, "low": 1.0, "high": 1.0},
        {**about, "check": "small", "outcome": "insufficient", "value": 9.0, "low": 8.0, "high": 10.0},
    ]
    other = replace(run, verdict={"outcome": "fail", "encoders": {"one": {}}, "reasons": ["one: fail = 9, but"]})
    other.__dict__["checks"] = pd.DataFrame(rows)
    assert worst(other)["check"].tolist() == ["fail", "exact fail", "undecided", "close pass", "pass"]
    assert margins(pd.DataFrame(rows)).tolist() == [-row["value"] for row in rows]


def test_for_whom_not_names_cells_groups_and_what_is_not_known(run):
    first, below, small = for_whom_not(run)
    assert first == "Blocking checks fail in georgia (CD and AF) and ptb-xl (CD and AF)."
    assert below.startswith("Shown to have a lower AUROC than all other patients: sex F (one, CD, georgia), ")
    assert below.endswith(" and 5 more.")
    # Of four groups in each cell, one is too small.
    assert small == "Not known: 8 of 32 groups of patients are too small to judge."
    silent = replace(run, tree=run.tree.copy(deep=False))
    del silent.tree["subgroups"]
    assert "Groups of patients were not compared in this run." in for_whom_not(silent)


def test_a_label_that_no_blocking_check_of_downstream_decided_is_not_known(run):
    part = {"basis": {"labels": {"CD": {"downstream": ["georgia"]}, "AF": {"downstream": [], "relevance": ["ptb-xl"]}}}}
    identity = {"suites": ["downstream", "relevance"]}
    other = replace(run, verdict={"outcome": "pass", "encoders": {"one": part, "two": part}, "identity": identity})
    why = "no blocking check of downstream decided in any cohort."
    words = f"Not known: how well AF (one) and AF (two) are recognised: {why}"
    assert words in for_whom_not(other)
    identity["suites"] = ["relevance"]
    assert not any("recognised" in line for line in for_whom_not(replace(other, verdict=dict(other.verdict))))


def test_it_rests_on_what_was_decided_and_says_what_was_seen(run):
    lines = rests_on(run)
    assert "one: seen in pretraining, so no proof of generalization: ptb-xl." in lines
    assert any(line.startswith("one: CD: downstream") and "in both cohorts" in line for line in lines)


def test_groups_and_changes_are_told_in_a_few_lines(run, top):
    held = run.tree["subgroups"]
    lowest, widest = float(held["auroc"].min()), float(held["gap"].max())
    assert f"Lowest AUROC: {lowest:.3f} [" in top
    assert f"Widest gap to all other patients: {widest:.3f} [" in top and "↓ below the rest" in top
    assert "8 of 24 groups are shown to be below the rest; 8 more are too small to judge." in top
    mine = run.checks[run.checks["kind"] == "downstream.auroc_change"]
    assert f"spring: of {len(mine)} cells " in top
    assert f"Largest loss of AUROC: −{abs(mine['value'].min()):.3f} [" in top


def test_a_run_without_groups_and_without_a_baseline_says_so(run):
    other = replace(run, tree=run.tree.copy(deep=False))
    del other.tree["subgroups"]
    checks = run.checks[~run.checks["kind"].isin(["downstream.auroc_change", "subgroups.worst"])]
    other.__dict__["checks"] = checks.reset_index(drop=True)
    text = words(render(other).partition("<nav")[0])
    assert "They were not compared in this run." in text
    assert "No earlier run was compared (--ecgfm-baseline)." in text
