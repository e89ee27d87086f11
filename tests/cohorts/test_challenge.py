import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cohorts.challenge import SOURCES, Challenge, parse_comments
from pytest_ecgfm.cohorts.synthetic.population import MODELLED
from pytest_ecgfm.cohorts.wfdb_header import parse_header
from pytest_ecgfm.errors import EcgfmError

NORMAL = ("#Age: 71", "#Sex: Female", "#Dx: 426783006", "#Rx: Unknown")


@pytest.mark.parametrize("source", ["chapman_shaoxing", "cpsc_2018", "georgia", "ningbo"])
def test_published_counts(data_root: Path, source: str) -> None:
    """The labels of each record in the sample's qa.csv, whose sums are those of PROVENANCE.md."""
    cohort = Challenge([data_root / "challenge-2021/training" / source])
    published = pd.read_csv(data_root / "challenge-2021/qa.csv").set_index("record")
    published = published[published["db"] == source]
    assert set(cohort.records) == set(published.index)
    for label in ("CD", "LBBB", "RBBB", "AF", "SB", "STach", "1AVB"):
        expected = published.loc[list(cohort.records), label.replace("1AVB", "IAVB")].astype(bool)
        assert (cohort.labels[label].fillna(False) == expected).all(), label
    ages = pd.to_numeric(published.loc[list(cohort.records), "age"], errors="coerce")
    np.testing.assert_array_equal(cohort.table["age"], ages)
    assert (cohort.table["sex"] == published.loc[list(cohort.records), "sex"].str[0]).all()
    assert cohort.sampling_rate == 500 and not cohort.unmapped and not cohort.excluded


def test_chapman_and_ningbo_are_one_cohort(data_root: Path) -> None:
    training = data_root / "challenge-2021/training"
    cohort = Challenge([training / "chapman_shaoxing", training / "ningbo"])
    assert cohort.name == "chapman-ningbo" and cohort.continent == "Asia" and len(cohort) == 86
    assert not cohort.has_patients and (cohort.patients == cohort.records).all() and cohort.folds.isna().all()
    flutter = cohort.labels["AF"].isna()
    # Six records of flutter, and one that is paced.
    assert flutter.sum() == 7 and "flutter" in cohort.label_notes["AF"]
    assert sum(len(batch) for batch in cohort.batches(32)) == 86


def test_cpsc_2018_cannot_express_sinus_rates(data_root: Path) -> None:
    cohort = Challenge([data_root / "challenge-2021/training/cpsc_2018"])
    assert cohort.labels[["SB", "STach"]].isna().all().all()
    assert {"CD", "SB", "STach"} == set(cohort.label_notes) & set(MODELLED)
    lengths = {cohort.read(record).signals.shape[1] for record in cohort.records}
    assert min(lengths) == 10 * 500 and max(lengths) > 60 * 500


def test_flat_leads_and_broken_limb_leads_are_read_as_stored(data_root: Path) -> None:
    training = data_root / "challenge-2021/training"
    flat = Challenge([training / "ningbo"]).read("JS11438")
    assert [lead for lead, row in zip(flat.leads, flat.signals, strict=True) if not row.any()] == [
        "V1", "V2", "V3", "V4", "V5", "V6",
    ]  # fmt: skip
    odd = Challenge([training / "cpsc_2018"]).read("A1388").signals
    assert np.abs(odd[1] - odd[0] - odd[2]).max() > 0.5


@pytest.mark.parametrize("source", ["georgia", "cpsc_2018"])
def test_original_headers_are_refused_or_read_correctly(data_root: Path, tmp_path: Path, source: str) -> None:
    """Early headers of the challenge name records, gains or diagnoses in ways that the final release corrected."""
    final = Challenge([data_root / "challenge-2021/training" / source])
    files = {path.stem: path for path in (data_root / "challenge-2021/training" / source).rglob("*.mat")}
    read, refused = 0, 0
    originals = sorted((data_root / "challenge-2021/original_headers" / source).glob("*.hea"))
    assert originals
    for original in originals:
        folder = tmp_path / original.stem / "training" / source
        folder.mkdir(parents=True)
        shutil.copy(original, folder)
        shutil.copy(files[original.stem], folder)
        try:
            cohort = Challenge([folder])
        except EcgfmError as error:
            assert original.name in str(error) and f"record {original.stem!r}" in str(error)
            refused += 1
            continue
        np.testing.assert_array_equal(cohort.read(original.stem).signals, final.read(original.stem).signals)
        pd.testing.assert_frame_equal(cohort.labels, final.labels.loc[[original.stem]])
        read += 1
    assert read + refused == len(originals)
    assert (read > 30) == (source == "georgia") and refused


def test_withdrawn_gain_of_georgia(tmp_path: Path, write_record) -> None:
    folder = tmp_path / "training/georgia"
    write_record(folder / "g1", "E00001", suffix=".mat", gain="4880/mV", comments=NORMAL)
    with pytest.raises(EcgfmError, match=r"E00001\.hea: record 'E00001': gain 4880 is that of an early release"):
        Challenge([folder])


def test_blanks_and_spellings(tmp_path: Path, write_record) -> None:
    folder = tmp_path / "training/georgia"
    for name, comments in {
        "E1": ("# Age: NaN", "# Sex: M", "# Dx: 426177001, 59118001"),
        "E2": ("#Age: 300", "#Sex: Unknown", "#Dx: Unknown"),
        "E3": ("#Dx: 426783006",),
        "E4": ("#Age: -1", "#Sex: F", "#Dx: 426783006,426783006"),
    }.items():
        write_record(folder / "g1", name, suffix=".mat", comments=comments)
    cohort = Challenge([folder])
    assert cohort.table["sex"].tolist() == ["M", "", "", "F"]
    assert math.isnan(cohort.table.loc["E1", "age"]) and cohort.table.loc["E2", "age"] == 90
    assert cohort.labels.loc["E1"].sum() == 3 and cohort.labels.loc["E2"].isna().all()
    assert cohort.labels["NORM"].tolist()[2:] == [True, True]


def test_commonest_rate(tmp_path: Path, write_record) -> None:
    folder = tmp_path / "training/st_petersburg_incart"
    for name, rate in {"I1": 257, "I2": 257, "I3": 500}.items():
        write_record(folder / "g1", name, suffix=".mat", rate=rate, comments=NORMAL)
    cohort = Challenge([folder])
    assert (cohort.name, cohort.sampling_rate, cohort.read("I3").sampling_rate) == ("incart", 257, 500)
    assert cohort.labels["CD"].isna().all()


def test_own_folder_in_the_layout(tmp_path: Path, write_record) -> None:
    write_record(tmp_path / "training/My_Hospital", "a", comments=NORMAL)
    cohort = Challenge([tmp_path / "training/My_Hospital"])
    assert cohort.name == "my-hospital" and cohort.labels.loc["a", "NORM"]


@pytest.mark.parametrize(
    ("comments", "message"),
    [
        (("#Age: 71", "#Sex: Female"), "states no Dx"),
        (("#Dx: AF",), "Dx 'AF' is not a SNOMED CT code"),
        (("#Dx: 426783006,x",), "Dx 'x'"),
        (("#Dx: 426783006", "#Age: old"), "Age 'old'"),
        (("#Dx: 426783006", "#Age: 200"), "Age '200'"),
        (("#Dx: 426783006", "#Sex: 1"), "Sex '1'"),
    ],
)
def test_malformed_comments(tmp_path: Path, write_record, comments: tuple[str, ...], message: str) -> None:
    write_record(tmp_path / "training/georgia", "E1", suffix=".mat", comments=comments)
    with pytest.raises(EcgfmError, match=rf"E1\.hea: record 'E1': .*{message}"):
        Challenge([tmp_path / "training/georgia"])


def test_every_fault_is_counted(tmp_path: Path, write_record) -> None:
    folder = tmp_path / "training/georgia"
    for name in ("E1", "E2", "E3", "E4"):
        write_record(folder / "g1", name, suffix=".mat", comments=NORMAL)
    (folder / "g1/E1.mat").unlink()
    (folder / "g1/E3.hea").write_text("nonsense")
    with pytest.raises(EcgfmError, match=r"record 'E1': the signal file 'E1\.mat' is missing\. 1 more of 4"):
        Challenge([folder])


def test_record_in_two_groups(tmp_path: Path, write_record) -> None:
    for group in ("g1", "g2"):
        write_record(tmp_path / "training/georgia" / group, "E1", suffix=".mat", comments=NORMAL)
    with pytest.raises(EcgfmError, match=r"g2.E1\.hea: record 'E1' is also in .*g1.E1\.hea"):
        Challenge([tmp_path / "training/georgia"])


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(EcgfmError, match="no record"):
        Challenge([tmp_path])


def test_every_source_has_its_vocabulary() -> None:
    from pytest_ecgfm.cohorts.base import CONTINENTS
    from pytest_ecgfm.cohorts.harmonise import expressible

    for source in SOURCES.values():
        assert source.continent in CONTINENTS
        assert expressible(source.vocabulary, "snomed_ct")["NORM"][0] in ("derived", "no", "yes")
    assert expressible("ptb-xl-challenge", "snomed_ct")["NORM"][0] == "derived"


CODES = ("426783006", "164889003", "59118001", "270492004", "427084000", "426177001")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.sampled_from((*CODES, "Unknown", "NaN", "")), min_size=1, max_size=3), min_size=1, max_size=4)
)
def test_codes_of_all_diagnosis_lines_count(lines: list[list[str]]) -> None:
    text = "r 1 500 10\nr.mat 16+24 1000/mV 16 0 0 0 0 I\n#Age: 50\n#Sex: F\n"
    text += "".join(
        f"#{name}: {','.join(codes)}\n" for name, codes in zip(["Dx", "dx", "Dx ", "DX"], lines, strict=False)
    )
    header = parse_header(text.encode(), Path("r.hea"))
    assert set(parse_comments(header)[2]) == {code for codes in lines for code in codes} & set(CODES)


@pytest.mark.parametrize(("field", "one", "two"), [("Age", "50", "60"), ("Sex", "F", "M"), ("Age", "50", "50")])
def test_a_field_that_is_stated_twice(field: str, one: str, two: str) -> None:
    text = f"r 1 500 10\nr.mat 16+24 1000/mV 16 0 0 0 0 I\n#{field}: {one}\n#Dx: 426783006\n#{field.lower()}: {two}\n"
    with pytest.raises(EcgfmError, match=rf"record 'r': {field.lower()} is stated twice \('{one}' and '{two}'\)"):
        parse_comments(parse_header(text.encode(), Path("r.hea")))
