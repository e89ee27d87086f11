"""A patient in two parts of a published split: refused when the cohort is made, with the patient's name."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ecgfm.cards import parse_cohort_card
from pytest_ecgfm.cohorts.own import own_cohort
from pytest_ecgfm.errors import EcgfmError

FOLDS = ("train", "validation", "test")


def made(patients, folds):
    table = pd.DataFrame({"AF": [0, 1] * (len(folds) // 2) + [0] * (len(folds) % 2), "fold": folds})
    table["patient"] = pd.Series(patients, dtype=object)
    signals = np.zeros((len(folds), 1, 10), np.float32)
    card = parse_cohort_card("tiny", {"sampling_rate": 100, "leads": "I"}, where="conftest.py:1")
    return own_cohort(card, (signals, table), where="conftest.py:1")


def test_the_patient_and_its_folds_are_named():
    with pytest.raises(
        EcgfmError, match=r"cohort tiny: fold: patient 7 is in train \(record 0\) and in test \(record 3"
    ):
        made([7, 1, 2, 7], ["train", "train", "validation", "test"])
    with pytest.raises(EcgfmError, match="patient 7 is in train"):
        made([7, 1, 2, "7"], ["train", "train", "validation", "test"])
    with pytest.raises(EcgfmError, match=r"patient 7 .* and 1 more patients"):
        made([7, 1, 2, 7.0, 1], ["train", "train", "validation", "test", "validation"])


def test_an_unknown_patient_is_named_by_its_record():
    with pytest.raises(EcgfmError, match="patient"):
        made([1, 2, 3, np.nan], ["train", "train", "validation", "test"])


@given(st.data())
def test_any_table_is_refused_if_and_only_if_a_patient_is_in_two_parts(data):
    number = data.draw(st.integers(3, 12))
    identifier = st.integers(1, 6)
    patients = [
        data.draw(st.sampled_from([int, str, float]))(one)
        for one in data.draw(st.lists(identifier, min_size=number, max_size=number))
    ]
    folds = [*FOLDS, *data.draw(st.lists(st.sampled_from(FOLDS), min_size=number - 3, max_size=number - 3))]
    parts = pd.Series(folds).groupby([int(float(one)) for one in patients]).nunique()
    # A column of floats alone is read as whole numbers, one of mixed types value by value: the same patients.
    if (parts > 1).any():
        with pytest.raises(EcgfmError, match="a split must be by patient"):
            made(patients, folds)
    else:
        assert made(patients, folds).split is not None
