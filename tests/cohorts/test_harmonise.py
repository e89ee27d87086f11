import ast
import csv
from importlib.resources import files
from pathlib import Path

import pytest

from pytest_ecgfm import cohorts
from pytest_ecgfm.cohorts import challenge
from pytest_ecgfm.cohorts.harmonise import VOCABULARIES, expressible, harmonise, vocabulary
from pytest_ecgfm.cohorts.synthetic.population import MODELLED
from pytest_ecgfm.errors import EcgfmError


def labels_of(codes: list[str], name: str, source: str = "", doubtful: tuple[str, ...] = ()) -> dict[str, bool | None]:
    row = harmonise({"r": codes}, name, source=source, doubtful={"r": doubtful}).labels.loc["r"]
    return {label: None if row.isna()[label] else bool(row[label]) for label in MODELLED}


def true(codes: list[str], name: str, source: str = "") -> set[str]:
    return {label for label, value in labels_of(codes, name, source).items() if value}


def unknown(codes: list[str], name: str, source: str = "", doubtful: tuple[str, ...] = ()) -> set[str]:
    return {label for label, value in labels_of(codes, name, source, doubtful).items() if value is None}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_row_has_a_source_and_a_block_is_a_conduction_disturbance(name: str) -> None:
    rules = [rule for group in vocabulary(name).rules.values() for rule in group]
    assert all(rule.source and rule.name and rule.code for rule in rules)
    assert {rule.label for rule in rules if rule.rule in ("true", "sole")} >= set(MODELLED)
    for rule in rules:
        if rule.rule == "true" and rule.label in ("LBBB", "RBBB", "1AVB"):
            assert ("CD", "true") in {(r.label, r.rule) for r in vocabulary(name).rules[rule.code]}, rule


def test_every_published_source_says_which_labels_it_knows() -> None:
    """Without a row, a source is taken to express every label: what nobody annotated would be read as false."""
    named = {
        keyword.value.value
        for path in Path(cohorts.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "harmonise"
        for keyword in node.keywords
        if keyword.arg == "source" and isinstance(keyword.value, ast.Constant)
    }
    assert {"code-15", "mimic-iv-ecg"} <= named
    text = files("pytest_ecgfm.cohorts.labels").joinpath("vocabulary.csv").read_text(encoding="utf-8")
    stated = {row["source"] for row in csv.DictReader(text.splitlines())}
    assert sorted((named | {one.vocabulary for one in challenge.SOURCES.values()}) - stated) == []


def test_vocabulary_table_is_complete() -> None:
    text = files("pytest_ecgfm.cohorts.labels").joinpath("vocabulary.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    sources = {row["source"] for row in rows}
    stated = [(row["source"], row["label"]) for row in rows]
    # A further label may be left out: it is unknown where no row knows it.
    assert set(stated) >= {(source, label) for source in sources for label in MODELLED}
    assert len(stated) == len(set(stated))
    assert {row["known"] for row in rows} == {"yes", "no", "derived"}
    assert all(bool(row["note"]) == (row["known"] != "yes") for row in rows)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["NORM", "SR"], {"NORM"}),
        (["NORM", "SBRAD"], {"NORM", "SB"}),
        (["CLBBB"], {"LBBB", "CD"}),
        (["CRBBB", "LAFB", "AFIB"], {"RBBB", "CD", "AF"}),
        (["IRBBB"], {"CD"}),
        (["ILBBB"], {"CD"}),
        (["WPW"], {"CD"}),
        (["1AVB", "STACH"], {"1AVB", "CD", "STach"}),
        (["AFLT"], set()),
        (["IMI", "SR"], set()),
    ],
)
def test_scp_ecg(codes: list[str], expected: set[str]) -> None:
    assert true(codes, "scp_ecg") == expected
    assert unknown(codes, "scp_ecg") == set()


def test_long_pr_is_not_called_a_block() -> None:
    assert unknown(["LPR"], "scp_ecg") == {"1AVB", "CD"}
    assert unknown(["LPR", "CLBBB"], "scp_ecg") == {"1AVB"}
    assert unknown(["LPR", "1AVB"], "scp_ecg") == set()


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["426783006"], {"NORM"}),
        (["426783006", "59118001"], {"RBBB", "CD"}),
        (["426783006", "164934002"], set()),
        (["164909002"], {"LBBB", "CD"}),
        (["733534002"], {"LBBB", "CD"}),
        (["713427006"], {"RBBB", "CD"}),
        (["713426002"], {"CD"}),
        (["6374002"], {"CD"}),
        (["270492004", "427084000"], {"1AVB", "CD", "STach"}),
        (["282825002"], {"AF"}),
        (["426177001"], {"SB"}),
    ],
)
def test_snomed_ct(codes: list[str], expected: set[str]) -> None:
    assert true(codes, "snomed_ct", "georgia") == expected


@pytest.mark.parametrize(
    ("codes", "source", "expected"),
    [
        (["164890007"], "georgia", set()),
        (["164890007"], "ningbo", {"AF"}),
        (["164890007", "164889003"], "ningbo", set()),
        (["6374002"], "georgia", {"LBBB", "RBBB"}),
        (["6374002", "164909002"], "georgia", {"RBBB"}),
        (["426627000"], "georgia", {"SB"}),
        (["426627000", "426177001"], "georgia", set()),
        (["426177001"], "georgia", {"NORM"}),
        (["426177001", "164934002"], "georgia", set()),
        (["426783006"], "cpsc_2018", {"SB", "STach"}),
        ([], "georgia", set(MODELLED)),
    ],
)
def test_snomed_ct_unknown(codes: list[str], source: str, expected: set[str]) -> None:
    found = unknown(codes, "snomed_ct", source)
    assert found == expected


def test_a_code_of_no_table_leaves_open_what_no_other_code_decides() -> None:
    assert labels_of(["999999999", "164909002"], "snomed_ct") == {
        label: True if label in ("LBBB", "CD") else None for label in MODELLED
    }
    found = harmonise({"a": ["999999999"], "b": ["999999999", "1"], "c": ["426783006"]}, "snomed_ct", source="x")
    assert found.unmapped == {"999999999": 2, "1": 1}


def test_aha() -> None:
    assert true(["1"], "aha") == {"NORM"}
    assert true(["106"], "aha") == {"RBBB", "CD"}
    assert true(["82"], "aha") == {"1AVB", "CD"}
    assert true(["22", "23"], "aha") == {"SB"}
    assert unknown(["22", "23"], "aha") == {"NORM"}
    assert unknown(["4"], "aha") == set(MODELLED)
    assert vocabulary("aha").doubtful == {"302", "312", "315"}


def test_code() -> None:
    assert true(["LBBB"], "code", "code-15") == {"LBBB", "CD"}
    assert true(["ST"], "code", "code-15") == {"STach"}
    found = harmonise({"r": ["AF"]}, "code", source="code-15")
    assert "1dAVb" in found.notes["CD"]
    assert unknown(["AF"], "code", "code-test") == {"NORM"}


def test_doubtful_statements_make_no_label_true() -> None:
    assert unknown(["SR"], "scp_ecg", doubtful=("CLBBB",)) == {"LBBB", "CD"}
    assert labels_of(["CLBBB"], "scp_ecg", doubtful=("CLBBB",))["LBBB"] is True
    assert unknown(["426783006"], "snomed_ct", doubtful=("164934002",)) == {"NORM"}


def test_sources_may_differ_by_record() -> None:
    codes = {"a": ["164890007"], "b": ["164890007"]}
    found = harmonise(codes, "snomed_ct", source={"a": "ningbo", "b": "chapman_shaoxing"})
    assert found.labels["AF"].isna().tolist() == [True, False]
    assert found.notes["AF"].startswith("ningbo: ")
    assert not found.notes["NORM"].startswith("ningbo: ")


def test_unknown_vocabulary() -> None:
    with pytest.raises(EcgfmError, match=r"unknown vocabulary 'snomed'. Did you mean 'snomed_ct'"):
        harmonise({}, "snomed", source="")


def test_sources_without_rows_express_what_their_vocabulary_has() -> None:
    for name in VOCABULARIES:
        found = expressible("somebody's own", name)
        assert {found[label][0] for label in MODELLED} == {"yes"}


PACED = [
    *(("scp_ecg", code) for code in ("PACE",)),
    *(("snomed_ct", code) for code in ("10370003", "251266004", "251268003")),
    *(("aha", str(code)) for code in range(180, 191)),
    *(("ludb", code) for code in ("biventricular pacing", "unipolar atrial pacing", "p-synchrony")),
    *(("mimic_iv_ecg", code) for code in ("paced", "pacemaker", "pacing")),
]


@pytest.mark.parametrize(("name", "code"), PACED)
def test_pacing_leaves_every_label_open_in_every_vocabulary(name: str, code: str) -> None:
    assert unknown([code], name) == set(MODELLED)
    others = [one for one, rules in vocabulary(name).rules.items() if any(rule.rule == "none" for rule in rules)]
    for other in others[:20]:
        assert true([code, other], name) == set()
        assert unknown([code, other], name) >= set(MODELLED) - {"NORM"}
    block = next(
        code for code, rules in vocabulary(name).rules.items() if ("LBBB", "true") in {(r.label, r.rule) for r in rules}
    )
    assert true([code, block], name) == {"LBBB", "CD"}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_code_of_an_artificial_pacemaker_follows_the_rule(name: str) -> None:
    own = ("wandering", "shifting", "ectopic atrial pacemaker", "subsidiary")
    for code, rules in vocabulary(name).rules.items():
        if any(word in rules[0].name for word in ("paced", "pacing", "pacemaker")) and not any(
            w in rules[0].name for w in own
        ):
            assert {(rule.label, rule.rule) for rule in rules} == {(label, "unknown") for label in MODELLED}, code
