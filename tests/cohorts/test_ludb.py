import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_ecgfm.cohorts.ludb import DIAGNOSES, Ludb, parse_statements
from pytest_ecgfm.cohorts.quality import quality
from pytest_ecgfm.cohorts.synthetic.population import MODELLED
from pytest_ecgfm.errors import EcgfmError

LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")


@pytest.fixture
def make(tmp_path: Path, write_record, limb_leads) -> Callable[..., Path]:
    """Write a LUDB of two records; `steps` are the stored numbers a microvolt, `gains` what the header says of them."""

    def write(
        steps: np.ndarray | float = 1.0, gains: np.ndarray | float = 1000.0, rate: int = 500, **change: str
    ) -> Path:
        first = {
            "ID": "1",
            "Sex": "F\n",
            "Age": "51\n",
            **dict.fromkeys(DIAGNOSES, ""),
            "Rhythms": "Sinus bradycardia\n",
            "Electric axis of the heart": "Electric axis of the heart: left axis deviation\n",
        }
        second = {
            **first,
            "ID": "2",
            "Sex": "M",
            "Age": ">89\n",
            "Rhythms": "Sinus rhythm",
            "Electric axis of the heart": "Electric axis of the heart: normal",
        }
        with (tmp_path / "ludb.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, first)
            table.writeheader()
            table.writerows([{**first, **change}, second])
        for name in ("1", "2"):
            stored = np.rint(limb_leads(int(name), 5000) * np.broadcast_to(steps, 12)).astype(np.int16)
            path = write_record(tmp_path / "data", name, stored, rate=rate, leads=LEADS)
            head, *lines = path.read_text().splitlines()
            written = np.broadcast_to(gains, 12)
            lines = [line.replace("1000(0)", f"{g:.6f}(0)") for line, g in zip(lines, written, strict=True)]
            path.write_text("\n".join([head, *lines]))
        return tmp_path

    return write


def test_written(make) -> None:
    cohort = Ludb(make(**{"Conduction abnormalities": "I degree AV block\nComplete right bundle branch block\n"}))
    labels = cohort.labels[list(MODELLED)]
    assert labels.loc["1"].to_dict() == {
        "CD": True, "AF": False, "SB": True, "STach": False, "NORM": False, "LBBB": False, "RBBB": True, "1AVB": True,
    }  # fmt: skip
    assert labels.loc["2"].to_dict() == {label: label == "NORM" for label in labels}
    assert cohort.table["age"].tolist() == [51, 90] and cohort.table["sex"].tolist() == ["F", "M"]
    assert cohort.read("1").leads[:4] == ("I", "II", "III", "aVR")
    assert not cohort.unmapped and not cohort.has_patients


def test_statement_of_no_table_leaves_labels_open(make) -> None:
    cohort = Ludb(make(**{"Other states": "Something new"}))
    assert cohort.unmapped == {"something new": 1}
    assert cohort.labels.loc["1"].isna().to_dict() == {label: label != "SB" for label in cohort.labels}


PER_LEAD = np.linspace(0.4, 3.0, 12)


@pytest.mark.parametrize(
    ("steps", "gains"),
    [(1.0, 1000.0), (PER_LEAD, 1000 * PER_LEAD), (1.0, 1000 * np.r_[PER_LEAD[:5], 1, 1, 1, PER_LEAD[8:]])],
    ids=["one gain", "a gain for each lead", "wrong gains over a common one"],
)
def test_limb_leads_obey_einthoven(make, limb_leads, steps: object, gains: object) -> None:
    recording = Ludb(make(steps=steps, gains=gains)).read("1")
    measured = quality(recording)
    assert measured["einthoven"] < 0.05 and measured["goldberger"] < 0.05
    truth = limb_leads(1, 5000).T / 1000
    scale = recording.signals[1].std() / truth[1].std()
    np.testing.assert_allclose(recording.signals / scale, truth, atol=0.01)
    assert scale == pytest.approx(1000 / np.median(gains) if np.isscalar(steps) else 1, rel=0.01)


def test_gains_that_nothing_explains(make) -> None:
    root = make(steps=PER_LEAD, gains=1000 * PER_LEAD[::-1])
    with pytest.raises(EcgfmError, match=r"1\.hea: record '1': the limb leads contradict each other"):
        Ludb(root).read("1")


def test_another_rate(make) -> None:
    with pytest.raises(EcgfmError, match=r"1\.hea: record '1': 250 Hz"):
        Ludb(make(rate=250)).read("1")


def test_statements() -> None:
    assert parse_statements("Rhythm: Sinus  rhythm.\n\n I degree AV block \n") == ["sinus rhythm", "i degree av block"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ID": "x"}, "record 'x': ID 'x'"),
        ({"ID": "2"}, "record '2': ID occurs in more than one row"),
        ({"ID": "3"}, "2 of 4 files are missing: data.3.hea, data.3.dat"),
        ({"Age": "old"}, "record '1': Age 'old'"),
        ({"Sex": "D"}, "record '1': Sex 'D'"),
    ],
)
def test_malformed_table(make, change: dict[str, str], message: str) -> None:
    with pytest.raises(EcgfmError, match=rf"ludb\.csv: .*{message}"):
        Ludb(make(**change))
