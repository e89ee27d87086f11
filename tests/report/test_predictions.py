"""The table of every tested record."""

import csv

import numpy as np
import pytest
import xarray as xr

from pytest_ecgfm.report.predictions import COLUMNS, write_predictions


def scores(records=("a/r1", "a/r2", "b/r1"), encoders=("m",), labels=("AF", "quantity:EF")):
    count = len(records)
    score = np.linspace(-1, 1, len(encoders) * len(labels) * count, dtype=np.float32)
    score = score.reshape(len(encoders), len(labels), count)
    score[0, 0, 1] = np.nan
    target = np.array([[1, np.nan, 0], [55.5, 60.0, 40.25]], np.float32)[: len(labels), :count]
    data = {
        "score": (("encoder", "label", "record"), score),
        "target": (("label", "record"), target),
        "cohort": (("record",), np.array([one.partition("/")[0] for one in records])),
        "patient": (("record",), np.array([f"p{number}" for number in range(count)])),
        "fold": (("record",), np.arange(count, dtype=np.int32) - 1),
    }
    held = xr.Dataset(data, {"encoder": list(encoders), "label": list(labels), "record": list(records)})
    return xr.DataTree.from_dict({"/scores": held}), score


def read(path):
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.reader(handle))


def test_every_tested_record_has_a_row_and_an_untested_one_has_none(tmp_path):
    tree, score = scores()
    assert write_predictions(tree, tmp_path / "p.csv")
    head, *rows = read(tmp_path / "p.csv")
    assert tuple(head) == COLUMNS
    assert [row[:7] for row in rows] == [
        ["m", "a", "r1", "p0", "-1", "AF", "1"],
        ["m", "b", "r1", "p2", "1", "AF", "0"],
        ["m", "a", "r1", "p0", "-1", "quantity:EF", "55.5"],
        ["m", "a", "r2", "p1", "0", "quantity:EF", "60.0"],
        ["m", "b", "r1", "p2", "1", "quantity:EF", "40.25"],
    ]
    # The cube's own single precision, to the last digit.
    assert [np.float32(row[7]) for row in rows] == score[np.isfinite(score)].tolist()


def test_no_name_is_a_formula_and_none_breaks_a_row(tmp_path):
    tree, _ = scores(('=1+1/"r,1"\n', "+x/@y", "b/-2"), encoders=("=cmd",))
    write_predictions(tree, tmp_path / "p.csv")
    head, *rows = read(tmp_path / "p.csv")
    assert all(len(row) == len(head) for row in rows) and len(rows) == 5
    assert {row[0] for row in rows} == {"'=cmd"}
    assert {row[1] for row in rows} == {"'=1+1", "'+x", "b"}
    assert {row[2] for row in rows} == {'"r,1"\\n', "'@y", "'-2"}


def test_a_run_without_scores_has_no_table(tmp_path):
    assert not write_predictions(xr.DataTree(), tmp_path / "p.csv")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OSError):
        write_predictions(scores()[0], tmp_path / "gone" / "p.csv")
