from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cohorts.harmonise import harmonise
from pytest_ecgfm.cohorts.mimic_iv_ecg import MimicIvEcg, parse_report, parse_statement
from pytest_ecgfm.cohorts.synthetic.population import MODELLED
from pytest_ecgfm.errors import EcgfmError

LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
PATH = "files/p1000/p10000032/s40689238/40689238"


@pytest.fixture
def make(tmp_path: Path, write_record, limb_leads) -> Callable[..., Path]:
    def write(path: str = PATH, subject: str = "10000032", study: str = "40689238", reports: str | None = None) -> Path:
        second = "files/p1000/p10000764/s42497714/42497714"
        (tmp_path / "record_list.csv").write_text(
            "subject_id,study_id,file_name,ecg_time,path\n"
            f"{subject},{study},40689238,2180-07-23 08:44:00,{path}\n"
            f"10000764,42497714,42497714,2180-07-23 08:44:00,{second}\n"
        )
        (tmp_path / "machine_measurements.csv").write_text(
            "subject_id,study_id,cart_id,ecg_time,report_0,report_1,report_2,rr_interval\n"
            + (
                reports
                or "10000032,40689238,1,x,Sinus bradycardia,Left bundle branch block,Abnormal ECG,900\n"
                "10000764,42497714,1,x,Sinus rhythm.,Normal ECG,,900\n"
            )
        )
        for each in (PATH, second):
            file = tmp_path / each
            # Stored in the order of this release, with aVF before aVL.
            stored = limb_leads(1, 5000)[:, [0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]]
            write_record(file.parent, file.name, stored, gain="200.0(0)/mV", leads=LEADS)
        return tmp_path

    return write


def test_written(make, limb_leads) -> None:
    cohort = MimicIvEcg(make())
    assert cohort.records.tolist() == ["40689238", "42497714"] and cohort.has_patients
    assert cohort.patients.tolist() == ["10000032", "10000764"]
    labels = cohort.labels[list(MODELLED)]
    assert labels.loc["40689238"].to_dict() == {
        "CD": True, "AF": False, "SB": True, "STach": False, "NORM": False, "LBBB": True, "RBBB": False, "1AVB": False,
    }  # fmt: skip
    assert labels.loc["42497714"].to_dict() == {label: label == "NORM" for label in labels}
    assert "machine statements" in cohort.label_notes["AF"]
    recording = cohort.read("40689238")
    assert recording.leads[4:6] == ("aVF", "aVL")
    np.testing.assert_array_equal(recording.signals[4], (limb_leads(1, 5000)[:, 5] / 200).astype(np.float32))


def labels_of(*statements: str) -> tuple[set[str], set[str]]:
    sure, doubtful = parse_report(list(statements))
    row = harmonise({"r": sure}, "mimic_iv_ecg", source="mimic-iv-ecg", doubtful={"r": doubtful}).labels.loc["r"]
    row = row[list(MODELLED)]
    return set(row.index[row.fillna(False)]), set(row.index[row.isna()])


@pytest.mark.parametrize(
    ("statements", "true", "unknown"),
    [
        (["Sinus rhythm", "Normal ECG"], {"NORM"}, set()),
        (["Sinus rhythm.", "Borderline ECG"], set(), {"NORM"}),
        (["Sinus rhythm", "Otherwise normal ECG"], set(), {"NORM"}),
        (["Sinus rhythm"], set(), {"NORM"}),
        (["Sinus tachycardia", "Normal ECG except for rate"], {"STach"}, {"NORM"}),
        (["Atrial fibrillation with rapid ventricular response", "Abnormal ECG"], {"AF"}, set()),
        (["Atrial fibrillation with PVCs or aberrant ventricular conduction", "Abnormal ECG"], {"AF"}, set()),
        (["Probable atrial fibrillation", "Abnormal ECG"], set(), {"AF"}),
        (["Atrial fibrillation or flutter", "Abnormal ECG"], set(), {"AF"}),
        (["Atrial flutter", "Abnormal ECG"], set(), set()),
        (["Incomplete RBBB", "Abnormal ECG"], {"CD"}, set()),
        (["RBBB with left anterior fascicular block", "Abnormal ECG"], {"CD", "RBBB"}, set()),
        (["Sinus rhythm with 1st degree A-V block", "Abnormal ECG"], {"CD", "1AVB"}, set()),
        (["Sinus rhythm with borderline 1st degree A-V block", "Abnormal ECG"], set(), {"CD", "1AVB"}),
        (["Prolonged PR interval", "Left bundle branch block", "Abnormal ECG"], {"CD", "LBBB"}, {"1AVB"}),
        (["IV conduction defect", "Abnormal ECG"], {"CD"}, set()),
        (["Sinus tachycardia with PACs", "Possible left atrial abnormality", "Abnormal ECG"], {"STach"}, set()),
        (["Ventricular tachycardia", "Abnormal ECG"], set(), set()),
    ],
)
def test_statements(statements: list[str], true: set[str], unknown: set[str]) -> None:
    assert labels_of(*statements) == (true, unknown)


def test_not_analysed_is_unknown() -> None:
    every = {"CD", "AF", "SB", "STach", "NORM", "LBBB", "RBBB", "1AVB"}
    assert labels_of("Pacemaker rhythm - no further analysis") == (set(), every)
    assert labels_of() == (set(), every)


def test_longest_phrase_counts() -> None:
    assert parse_statement("Incomplete left bundle branch block") == ({"incomplete left bundle branch block"}, set())
    assert parse_statement("ABNORMAL ECG") == ({"abnormal ecg"}, set())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": "42497714"}, r"record_list\.csv: record '42497714': study_id occurs in more than one row"),
        ({"subject": "x"}, r"record_list\.csv: record '40689238': subject_id 'x'"),
        ({"path": "../x"}, r"record_list\.csv: record '40689238': path: '\.\./x\.hea' is not a file name"),
        ({"path": "files/x"}, r"1 of 2 records that were checked are missing: record '40689238' \(files/x\)"),
        ({"reports": "10000032,40689238,1,x,Sinus rhythm,,,900\n"}, "no row for 1 of 2 records: 42497714"),
    ],
)
def test_malformed(make, changes: dict[str, str], message: str) -> None:
    with pytest.raises(EcgfmError, match=message):
        MimicIvEcg(make(**changes))


def test_path_out_of_the_folder_is_refused_when_read(make, tmp_path: Path) -> None:
    cohort = MimicIvEcg(make())
    cohort._headers["40689238"] = tmp_path / "../40689238.hea"
    with pytest.raises(EcgfmError, match="leads out of the cohort's folder"):
        cohort.read("40689238")


FINDINGS = ("atrial fibrillation", "Left bundle branch block", "RBBB", "Sinus tachycardia", "1st degree A-V block")
NOT_ASSERTED = (
    *("? {}", "{}?", "possible {}", "Probable {}", "rule out {}", "R/O {}", "cannot exclude {}", "Cannot rule out {}"),
    *("{} cannot be excluded", "{}, possible", "{} (possible)", "{} - cannot exclude", "{} no longer present"),
    *("{} is no longer present", "{}, no longer seen", "{}: no longer evident", "no {}", "No evidence of {}"),
    *("without {}", "{} has resolved", "{} resolved", "{} absent", "{} not present", "{} is not seen"),
    *("sinus rhythm has replaced {}", "{} has been replaced by sinus rhythm", "previously {}", "Previous {}"),
    *("history of {}", "{} is suspected", "suspected {}", "may represent {}", "consider {}", "{} versus artifact"),
    *("suggests {}", "{} was present", "Questionable {}", "negative for {}", "{} ruled out", "prior {}"),
)
ASSERTED = (
    *("{}", "{}.", "{} with PVCs", "{} - age undetermined infarct", "{}, possible left atrial enlargement"),
    *(
        "{} has replaced sinus rhythm",
        "Sinus rhythm, {}",
        "{}, P waves not seen",
        "{}, inferior infarct - age uncertain",
    ),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(FINDINGS), st.sampled_from(NOT_ASSERTED), st.sampled_from([str, str.upper, str.capitalize]))
def test_what_a_statement_does_not_assert_is_unknown(finding: str, frame: str, case: Callable[[str], str]) -> None:
    true, _ = labels_of(case(frame.format(finding)), "Sinus rhythm", "Abnormal ECG")
    assert not true


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(FINDINGS), st.sampled_from(ASSERTED))
def test_what_a_statement_asserts_is_true(finding: str, frame: str) -> None:
    assert labels_of(frame.format(finding), "Abnormal ECG") == labels_of(finding, "Abnormal ECG")


@pytest.mark.parametrize("side", ["RBBB", "LBBB", "right bundle branch block", "Left bundle branch block"])
@pytest.mark.parametrize(
    "frame", ["{}, incomplete", "{} (incomplete)", "{} - incomplete", "Partial {}", "incomplete {}"]
)
def test_incomplete_blocks_are_conduction_disturbances_only(side: str, frame: str) -> None:
    assert labels_of(frame.format(side), "Abnormal ECG") == ({"CD"}, set())


def test_an_incomplete_block_beside_a_complete_one() -> None:
    assert labels_of("LBBB, incomplete RBBB", "Abnormal ECG") == ({"CD", "LBBB"}, set())
    assert labels_of("LBBB and RBBB, both incomplete", "Abnormal ECG") == (set(), {"CD", "LBBB", "RBBB"})


WORDS = st.text(st.characters(codec="ascii", categories=("Ll", "Lu", "Nd", "Zs")), min_size=1, max_size=40)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.one_of(WORDS, st.just("All 12 leads are missing")), min_size=1, max_size=4))
def test_a_report_of_which_nothing_is_known_says_nothing(statements: list[str]) -> None:
    statements = [one for one in statements if not any(parse_statement(one))] or ["All 12 leads are missing"]
    sure, doubtful = parse_report(statements)
    found = harmonise({"r": sure}, "mimic_iv_ecg", source="mimic-iv-ecg", doubtful={"r": doubtful})
    assert found.labels.loc["r"].isna().all()
    assert sum(found.unmapped.values()) == len(set(statements))


def test_unknown_reports_are_counted(make) -> None:
    rows = "10000032,40689238,1,x,All 12 leads are missing,,,900\n10000764,42497714,1,x,Sinus rhythm.,Normal ECG,,900\n"
    cohort = MimicIvEcg(make(reports=rows))
    assert cohort.labels.loc["40689238"].isna().all()
    assert cohort.unmapped == {"All 12 leads are missing": 1}
    assert labels_of("Some finding", "Abnormal ECG") == (set(), set(MODELLED))


def test_paced() -> None:
    every = set(MODELLED)
    for text in (
        "Ventricular-paced rhythm",
        "Electronic atrial pacemaker",
        "A-V dual-paced complexes",
        "Atrial pacing",
    ):
        assert labels_of(text, "Abnormal ECG") == (set(), every)
    assert labels_of("Wandering atrial pacemaker", "Abnormal ECG") == (set(), set())
    assert labels_of("Ventricular-paced complexes", "Atrial fibrillation", "Abnormal ECG")[0] == {"AF"}
