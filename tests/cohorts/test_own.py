import hashlib

import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.cards import CohortCard, parse_cohort_card
from pytest_ecgfm.cards.declarations import COHORT, declared_in, ecg_cohort
from pytest_ecgfm.cohorts.base import LABELS
from pytest_ecgfm.cohorts.folder import FolderCohort
from pytest_ecgfm.cohorts.own import own_cohort
from pytest_ecgfm.errors import EcgfmError

CARD = CohortCard(name="my_hospital", sampling_rate=250, leads="V1 I", units="uV", continent="Asia")
SIGNALS = np.arange(3 * 2 * 4, dtype=np.int16).reshape(3, 2, 4)
TABLE = pd.DataFrame(
    {"AF": [1, 0, None], "CD": [True, False, pd.NA], "patient": [7, 7, 8], "age": [50, np.nan, 61.5], "x": [1, 2, 3]},
    index=["a", "b", "c"],
)


def make(signals=SIGNALS, table=TABLE, card=CARD):
    return own_cohort(card, (signals, table), where="conftest.py:3")


def test_signals_are_in_millivolts_under_the_cards_leads():
    cohort = make()
    read = cohort.read("b")
    assert (read.leads, read.sampling_rate, cohort.continent) == (("V1", "I"), 250, "Asia")
    assert read.signals.dtype == np.float32
    np.testing.assert_allclose(read.signals, [[0.008, 0.009, 0.010, 0.011], [0.012, 0.013, 0.014, 0.015]], rtol=1e-6)


def test_the_table_is_read_as_labels_csv_is(tmp_path, write_record):
    for name in TABLE.index:
        write_record(tmp_path, name)
    TABLE.rename_axis("record").replace({True: 1, False: 0}).to_csv(tmp_path / "labels.csv")
    cohort, file = make(), FolderCohort(tmp_path)
    pd.testing.assert_frame_equal(cohort.labels, file.labels)
    pd.testing.assert_frame_equal(cohort.table, file.table)
    assert cohort.labels["AF"].isna().tolist() == [False, False, True] and cohort.labels["SB"].isna().all()
    assert cohort.has_patients and cohort.patients.tolist() == ["7", "7", "8"]
    assert set(cohort.label_notes) == set(LABELS) - {"AF", "CD"}


def test_records_can_be_a_column_and_signals_a_function_or_a_list():
    table = TABLE.rename_axis("record").reset_index()
    rows = dict(zip(TABLE.index, SIGNALS, strict=True))
    expected = make()
    for cohort in (make(rows.get, table), make(list(SIGNALS), table)):
        assert cohort.records.tolist() == ["a", "b", "c"]
        np.testing.assert_array_equal(cohort.read("c").signals, expected.read("c").signals)
        assert cohort.digest == expected.digest


def test_the_digest_tells_content_apart():
    digests = {make().digest, make(SIGNALS + 1).digest, make(card=CARD.model_copy(update={"units": "mV"})).digest}
    digests.add(make(card=CARD.model_copy(update={"leads": ("I", "V1")})).digest)
    assert len(digests) == 4
    assert all(len(one) == len(hashlib.sha256().hexdigest()) for one in digests)


@pytest.mark.parametrize(
    ("signals", "table", "message"),
    [
        (SIGNALS[:2], TABLE, "2 signals, but the table has 3 records"),
        ({"a": 1}, TABLE, "signals of type dict should be an array"),
        (SIGNALS, TABLE[["age"]], "no column is a label. Valid: CD, AF"),
        (SIGNALS, TABLE.set_axis(["a", "a", "c"]), "record 'a': record occurs in more than one row"),
        (SIGNALS, TABLE.assign(AF=[1, 2, 0]), "record 'b': AF '2' should be one of"),
        (SIGNALS, TABLE.assign(age=-1), "record 'a': age '-1' should be a number"),
        (SIGNALS, TABLE.assign(fold=[1, 1, 2]), "fold has 2 values"),
        (SIGNALS, TABLE.assign(patient=["p", None, "q"]), "record 'b': patient '' should be an identifier"),
        (SIGNALS[:0], TABLE[:0], "no record"),
        (SIGNALS, pd.concat([TABLE, TABLE[["AF"]]], axis=1), "the column 'AF' occurs twice"),
    ],
)
def test_malformed(signals, table, message):
    with pytest.raises(EcgfmError, match=rf"^conftest\.py:3: cohort my_hospital: {message}"):
        make(signals, table)


def test_what_a_fixture_returns_must_be_a_pair():
    with pytest.raises(EcgfmError, match=r"the fixture returned ndarray, but should return \(signals, table\)"):
        own_cohort(CARD, SIGNALS, where="conftest.py:3")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda record: SIGNALS[0, 0], r"signals\.shape=\(4,\), but should be \(2 leads, samples\)"),
        (lambda record: SIGNALS[0].T, r"signals\.shape=\(4, 2\), but should be \(2 leads, samples\)"),
        (lambda record: np.zeros((2, 0)), r"signals\.shape=\(2, 0\)"),
        (lambda record: {}[record], r"signals cannot be read \(KeyError: 'b'\)"),
        (lambda record: "text", r"signals cannot be read \(ValueError"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(function, message):
    with pytest.raises(EcgfmError, match=rf"cohort my_hospital: record 'b': {message}"):
        make(function).read("b")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"sampling_rate: is missing\."),
        ({"sampling_rate": 0}, "sampling_rate = 0"),
        ({"sampling_rate": 250, "lead": "I"}, "unknown field 'lead'. Did you mean 'leads'"),
        ({"sampling_rate": 250, "leads": "I X"}, "unknown lead 'X'"),
        ({"sampling_rate": 250, "continent": "Asien"}, "continent = 'Asien'.*'Asia'"),
        ({"sampling_rate": 250, "units": "V"}, "units = 'V'"),
    ],
)
def test_malformed_card(fields, message):
    with pytest.raises(EcgfmError, match=rf"^here: card of 'mine': {message}"):
        parse_cohort_card("mine", fields, where="here")


@pytest.mark.parametrize("name", ["a,b", "../x", "", "a b", "-a"])
def test_malformed_name(name):
    with pytest.raises(EcgfmError, match="name = "):
        parse_cohort_card(name, {"sampling_rate": 250}, where="here")


def test_the_decorator_makes_a_fixture():
    class Namespace:
        @ecg_cohort(name="mine", sampling_rate=250)
        def anything():
            return SIGNALS, TABLE

    ((name, (_, _, declaration)),) = declared_in(Namespace, COHORT).items()
    assert (name, declaration.fields) == ("mine", {"sampling_rate": 250})
    assert declaration.where.startswith("test_own.py:")
    assert not declared_in(Namespace)
