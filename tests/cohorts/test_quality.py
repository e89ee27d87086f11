from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.cohorts.challenge import Challenge
from pytest_ecgfm.cohorts.code15 import Code15
from pytest_ecgfm.cohorts.ptb_xl import PtbXl
from pytest_ecgfm.cohorts.quality import padding_of, quality, quality_table
from pytest_ecgfm.signals.records import LEADS, Recording


@pytest.fixture
def sound(limb_leads) -> Recording:
    return Recording((limb_leads(3, 2000) / 1000).T.astype(np.float32).copy(), LEADS, 500.0)


def test_a_sound_record(sound: Recording) -> None:
    measured = quality(sound)
    assert measured["einthoven"] < 0.01 and measured["goldberger"] < 0.01
    assert {name: value for name, value in measured.items() if name not in ("einthoven", "goldberger")} == {
        "padding_start": 0,
        "padding_end": 0,
        "flat_leads": (),
        "nan_samples": 0,
        "clipped_leads": (),
        "missing_leads": (),
    }


def test_padding_flat_leads_and_nan(sound: Recording) -> None:
    sound.signals[8] = 0.25
    sound.signals[:, :30] = 0
    sound.signals[:, -7:] = 0
    sound.signals[9, 100:140] = np.nan
    measured = quality(sound)
    assert (measured["padding_start"], measured["padding_end"]) == (30, 7)
    assert measured["flat_leads"] == ("V3",)
    assert measured["nan_samples"] == 40
    assert measured["clipped_leads"] == ()


@pytest.mark.parametrize("sign", [1, -1])
def test_clipping(sound: Recording, sign: int) -> None:
    sound.signals[7] = np.clip(sign * 2 * np.sin(np.arange(2000) / 50), -5, 1.5)
    assert quality(sound)["clipped_leads"] == ("V2",)
    sound.signals[7] = sign * 2 * np.sin(np.arange(2000) / 50)
    assert quality(sound)["clipped_leads"] == ()


def test_missing_leads(sound: Recording) -> None:
    part = Recording(sound.signals[[0, 1, 6]], ("I", "II", "V1"), 500.0)
    measured = quality(part)
    assert measured["missing_leads"] == ("III", "aVR", "aVL", "aVF", "V2", "V3", "V4", "V5", "V6")
    assert np.isnan(measured["einthoven"]) and np.isnan(measured["goldberger"])


@pytest.mark.parametrize(("swap", "broken"), [((0, 1), "einthoven"), ((3, 5), "goldberger")])
def test_swapped_leads_break_the_relations(sound: Recording, swap: tuple[int, int], broken: str) -> None:
    sound.signals[list(swap)] = sound.signals[list(reversed(swap))]
    assert quality(sound)[broken] > 0.5


def test_everything_zero_or_nan() -> None:
    for value in (0.0, np.nan):
        measured = quality(Recording(np.full((12, 100), value, np.float32), LEADS, 500.0))
        assert measured["flat_leads"] == LEADS and np.isnan(measured["einthoven"])
    assert padding_of(np.zeros((2, 5), np.float32)) == (5, 0)


def test_published_records_have_sound_limb_leads(data_root: Path) -> None:
    cohort = PtbXl(data_root / "ptb-xl", sampling_rate=100)
    cohort.table = cohort.table.iloc[::5]
    table = quality_table(cohort)
    assert table.index.tolist() == cohort.records.tolist()
    assert table["einthoven"].max() < 0.02 and table["goldberger"].max() < 0.05
    assert (table[["flat_leads", "missing_leads"]] == "").all().all()
    assert table["nan_samples"].sum() == 0


def test_known_faults_of_the_challenge(data_root: Path) -> None:
    training = data_root / "challenge-2021/training"
    ningbo = quality_table(Challenge([training / "ningbo"]))
    published = pd.read_csv(data_root / "challenge-2021/qa.csv").set_index("record")
    flat = ningbo["flat_leads"].str.split().str.len()
    assert (flat == published.loc[ningbo.index, "flat_leads"]).all()
    assert flat[flat > 0].index.tolist() == ["JS11438", "JS20004", "JS20008", "JS45542", "JS45544", "JS45551"]
    assert ningbo["einthoven"].max() < 0.05
    odd = quality(Challenge([training / "cpsc_2018"]).read("A1388"))
    assert odd["einthoven"] > 0.5 and odd["goldberger"] > 0.5


def test_padding_that_reading_leaves_out_is_counted(data_root: Path) -> None:
    table = quality_table(Code15(data_root / "code-15-hdf5"))
    published = pd.read_csv(data_root / "code-15-hdf5/qa.csv", dtype={"exam_id": str}).set_index("exam_id")
    stored = 4096 - published["dur_s"] * 400
    assert (table["padding_start"] + table["padding_end"] - stored[table.index]).abs().max() <= 4
    assert set(table["padding_start"]) == {0, 581}
