"""What users write in their tables: one rule for unknown values, and for words, in every column."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ecgfm.cards import CohortCard
from pytest_ecgfm.cohorts.own import own_cohort
from pytest_ecgfm.cohorts.stated import read_stated
from pytest_ecgfm.errors import EcgfmError

UNKNOWN = ("", "nan", "NaN", "NAN", "None", "none", "NA", "na", "<NA>", "null", "NULL", "N/A", "NaT", "unknown")
TRUE, FALSE = ("1", "1.0", "true", "True", "TRUE", "yes", "Yes"), ("0", "0.0", "false", "False", "FALSE", "no", "NO")
TRAIN, VALID, TEST = ("train", "Train", "training"), ("val", "valid", "Validation", "VAL"), ("test", "Test", "testing")


def stated(**columns: list[str]):
    return read_stated(
        pd.DataFrame(columns, dtype=object).set_axis([f"r{n}" for n in range(len(columns["AF"]))]), Path("t")
    )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.sampled_from(UNKNOWN), st.sampled_from(TRUE), st.sampled_from(FALSE)), min_size=1))
def test_labels(values: list[str]) -> None:
    expected = [None if one in UNKNOWN else one in TRUE for one in values]
    assert [None if pd.isna(one) else bool(one) for one in stated(AF=values).labels["AF"]] == expected


@pytest.mark.parametrize("word", UNKNOWN)
def test_one_rule_for_unknown_values(word: str) -> None:
    with pytest.raises(EcgfmError, match="record 'r1': patient '' should be an identifier"):
        stated(AF=["1", "0", "1"], patient=["5", word, "6"])
    with pytest.raises(EcgfmError, match="record 'r1': fold '' should be a number"):
        stated(AF=["1", "0", "1"], fold=["1", word, "2"])
    found = stated(AF=["1", word, "0"], age=["50", word, "60"], sex=["M", word, "f"])
    assert found.labels["AF"].isna().tolist() == [False, True, False]
    assert found.table["age"].isna().tolist() == [False, True, False]
    assert found.table["sex"].tolist() == ["M", "", "F"]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sampled_from(TRAIN), st.sampled_from(VALID), st.sampled_from(TEST))
def test_names_of_folds(train: str, valid: str, test: str) -> None:
    found = stated(AF=["1", "0", "1"], fold=[train, valid, test])
    assert found.table["fold"].tolist() == [1, 2, 3]
    assert found.split is not None and found.split.train == (1,) and found.split.test == (3,)


@pytest.mark.parametrize(("column", "value"), [("AF", "Maybe"), ("sex", "Femme"), ("fold", "Holdout"), ("age", "old")])
def test_other_words_are_named_as_they_stand(column: str, value: str) -> None:
    columns = {"AF": ["1", "0", "1"], column: ["1", value, "1"] if column != "sex" else ["M", value, "F"]}
    with pytest.raises(EcgfmError, match=f"record 'r1': {column} '{value}' should be"):
        stated(**columns)


@pytest.mark.parametrize("kind", ["array", "list", "rows", "callable"])
@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), dtype=st.sampled_from([np.float32, np.float64, np.int16]))
def test_masked_samples_are_nan(kind: str, seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-500, 500, (2, 12, 50)).astype(dtype)
    signals = np.ma.masked_array(values, rng.random(values.shape) < 0.2)
    held = {
        "array": signals,
        "list": list(signals),
        "rows": [list(record) for record in signals],
        "callable": lambda record: signals[int(record)],
    }[kind]
    table = pd.DataFrame({"AF": [1, 0]})
    cohort = own_cohort(CohortCard(name="mine", sampling_rate=500), (held, table), where="conftest.py")
    for row in range(2):
        read = cohort.read(str(row)).signals
        np.testing.assert_array_equal(np.isnan(read), signals.mask[row])
        np.testing.assert_array_equal(read[~signals.mask[row]], values[row][~signals.mask[row]].astype(np.float32))
