import json

import numpy as np
import pytest
import xarray as xr

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.cube import build_cube, write_cube
from pytest_ecgfm.results.cube_files import SCHEMA_VERSION, open_run
from pytest_ecgfm.results.rows import Cell, Measured, judged_row


def cell(seed=None, *, cohort="a", fraction=0.1, **values):
    at = {"encoder": "m", "cohort": cohort, "label": "AF", "probe": "logistic", "fraction": fraction}
    return Cell("downstream", at if seed is None else {**at, "seed": seed}, values)


def row(case, cells=(), arrays=()):
    return judged_row(case, Threshold(0.7), Measured(0.8, 0.7, 0.9, cells=tuple(cells), arrays=arrays))


FIRST = Case("downstream.auroc", "m", "a", "AF", 0.1)
SECOND = Case("downstream.auroc", "m", "b", "AF", 1.0)


def test_cells_are_laid_out_by_coordinates_whatever_their_order(tmp_path):
    one = row(FIRST, [cell(0, auroc=0.5), cell(1, auroc=0.75), cell(auroc_mean=0.625)])
    two = row(SECOND, [cell(0, cohort="b", fraction=1.0, auroc=1.0)])
    trees = [build_cube(rows, tmp_path, {"run_id": "x"}) for rows in ([one, two], [two, one])]
    xr.testing.assert_identical(*trees)
    data = trees[0]["downstream"].to_dataset().squeeze(["encoder", "label", "probe"])
    assert data["auroc"].dims == ("cohort", "fraction", "seed")
    assert data["auroc_mean"].dims == ("cohort", "fraction")
    assert data["auroc"].sel(cohort="a", fraction=0.1).values.tolist() == [0.5, 0.75]
    assert data["auroc"].sel(cohort="b", fraction=1.0, seed=0) == 1.0
    assert data["auroc"].count() == 3
    assert np.isnan(data["auroc_mean"].sel(cohort="b", fraction=1.0))


def test_the_file_opens_with_xarray_alone_and_describes_itself(tmp_path):
    np.savez(
        tmp_path / "s.npz", record=["1", "2"], patient=["p", "q"], fold=[-1, 3], score=[0.25, 0.5], target=[0.0, 1.0]
    )
    tree = build_cube([row(FIRST, [cell(0, auroc=0.5)], ("arrays/s.npz",)), row(SECOND)], tmp_path, {"run_id": "x"})
    write_cube(tree, tmp_path / "cube.nc")
    again = xr.open_datatree(tmp_path / "cube.nc", engine="h5netcdf").load()
    assert again.attrs["schema_version"] == SCHEMA_VERSION
    for group in ("downstream", "scores", "checks"):
        for name, variable in again[group].data_vars.items():
            assert variable.attrs["long_name"], name
            assert variable.attrs["units"], name
    assert again["downstream"]["auroc"].attrs["higher_is_better"] == 1
    assert "DeLong" in again["downstream"]["auroc"].attrs["reference"]
    assert again["scores"]["score"].sel(encoder="m", label="AF", record="a/2") == 0.5
    assert again["scores"]["fold"].values.tolist() == [-1, 3]
    assert again["checks"]["outcome"].values.tolist() == ["pass", "pass"]
    again.close()
    assert open_run(tmp_path)["checks"].sizes["check"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {"cube.nc", "s.npz"}


def test_two_rows_of_one_name_are_an_error(tmp_path):
    with pytest.raises(EcgfmError, match=r"two results for downstream.auroc\[a,AF,0.1\] of m"):
        build_cube([row(FIRST), row(FIRST)], tmp_path, {})


def test_cells_that_disagree_are_an_error_and_equal_ones_are_not(tmp_path):
    build_cube([row(FIRST, [cell(0, auroc=0.5)]), row(SECOND, [cell(0, auroc=0.5)])], tmp_path, {})
    with pytest.raises(EcgfmError, match=r"two results for auroc at .*: 0\.5 and 0\.75"):
        build_cube([row(FIRST, [cell(0, auroc=0.5)]), row(SECOND, [cell(0, auroc=0.75)])], tmp_path, {})


def test_a_run_that_is_none(tmp_path):
    with pytest.raises(EcgfmError, match=r"no cube\.nc there"):
        open_run(tmp_path)
    (tmp_path / "cube.nc").write_bytes(b"not a cube")
    with pytest.raises(EcgfmError, match=r"cube\.nc cannot be read"):
        open_run(tmp_path)
    write_cube(xr.DataTree.from_dict({"/": xr.Dataset(attrs={"schema_version": 99})}), tmp_path / "cube.nc")
    with pytest.raises(EcgfmError, match="schema version 99, but this release reads 1"):
        open_run(tmp_path)


def test_transfer_says_what_was_seen_in_pretraining(tmp_path):
    case = Case("transfer.drop", "m", "b", "AF", source="a")
    found = Cell("transfer", {"encoder": "m", "source": "a", "target": "b", "label": "AF"}, {"drop": 0.1})
    for exposure, wanted in (({"b": "seen"}, "seen"), ({}, "unknown")):
        about = {"encoders": json.dumps({"m": {"exposure": exposure}})}
        tree = build_cube([row(case, [found])], tmp_path, about)
        assert tree["transfer"]["exposure"].sel(encoder="m", target="b").item() == wanted
