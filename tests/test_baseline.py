from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.probe_kinds import RIDGE
from pytest_ecgfm.evaluations.statistics import mean_auroc_difference
from pytest_ecgfm.report.compare import differences
from pytest_ecgfm.results.baseline import Baseline, Scores, change, load_baselines
from pytest_ecgfm.results.cube_files import SCHEMA_VERSION


def scores(rng, n=300, quality=1.0, seed=0):
    targets = np.random.default_rng(seed).random(n) < 0.3
    names = np.array([f"r{i:03d}" for i in range(n)])
    return Scores(names, names, quality * targets + rng.normal(size=n), targets.astype(float))


def write_run(folder, held, encoder="one", schema=SCHEMA_VERSION, label="AF"):
    record = np.array([f"a/{name}" for name in held.records])
    data = xr.Dataset(
        {
            "score": (("encoder", "label", "record"), held.scores[None, None].astype(np.float32)),
            "target": (("label", "record"), held.targets[None].astype(np.float32)),
            "cohort": (("record",), np.full(len(record), "a")),
            "patient": (("record",), held.patients),
        },
        {"encoder": [encoder], "label": [label], "record": record},
    )
    tree = xr.DataTree.from_dict({"/scores": data})
    tree.attrs["schema_version"] = schema
    folder.mkdir(parents=True)
    tree.to_netcdf(folder / "cube.nc", engine="h5netcdf")
    return folder


def test_a_change_is_the_paired_difference_whatever_the_order(rng):
    then, now = scores(rng), scores(rng, quality=2.0)
    wanted = mean_auroc_difference(now.scores, then.scores, now.targets > 0.5, now.patients)
    order = rng.permutation(300)
    shuffled = Scores(then.records[order], then.patients[order], then.scores[order], then.targets[order])
    assert change(now, shuffled, "x") == wanted
    assert wanted.value > 0.05 and wanted.low > 0
    assert change(now, now, "x").value == 0.0


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            lambda s: Scores(s.records[1:], s.patients[1:], s.scores[1:], s.targets[1:]),
            "1 records are gone, such as r000",
        ),
        (lambda s: Scores(s.records, s.patients, s.scores, 1 - s.targets), "300 labels differ, such as that of r000"),
        (lambda s: Scores(s.records, np.roll(s.patients, 1), s.scores, s.targets), "300 patients differ"),
    ],
)
def test_a_stale_baseline_says_what_differs(rng, part, message):
    then = scores(rng)
    with pytest.raises(EcgfmError, match=f"baseline old is stale: {message}"):
        change(part(then), then, "old")


def test_scores_come_back_from_the_cube(tmp_path, rng):
    held = scores(rng)
    baseline = Baseline(write_run(tmp_path / "old,run[1]", held))
    assert baseline.name == "old-run-1-"
    found = baseline.scores("another name", "a", "AF", renamed=True)
    with pytest.raises(EcgfmError, match="it tests one, but not another name"):
        baseline.scores("another name", "a", "AF")
    np.testing.assert_array_equal(found.records, held.records)
    np.testing.assert_allclose(found.scores, held.scores, rtol=1e-6)
    np.testing.assert_array_equal(found.targets, held.targets)
    with pytest.raises(EcgfmError, match="no label CD, but AF"):
        baseline.scores("one", "a", "CD")
    with pytest.raises(EcgfmError, match="no scores of AF in b"):
        baseline.scores("one", "b", "AF")


def test_names_are_told_apart_and_other_schemas_refused(tmp_path, rng):
    runs = [write_run(tmp_path / where / "run", scores(rng)) for where in ("x", "y")]
    assert list(load_baselines(runs)) == ["run", "run#2"]
    with pytest.raises(EcgfmError, match="schema version 99"):
        Baseline(write_run(tmp_path / "new", scores(rng), schema=99))
    with pytest.raises(EcgfmError, match="no cube"):
        Baseline(tmp_path)


def test_a_baseline_of_another_kind_of_probe_is_stale(rng, tmp_path):
    old = Baseline(write_run(tmp_path / "old", scores(rng)))
    assert old.probe == "logistic"
    with pytest.raises(EcgfmError, match="baseline old is stale: its probes are logistic, but this run's are knn"):
        old.scores("one", "a", "AF", probe="knn")
    tree = xr.open_datatree(tmp_path / "old" / "cube.nc", engine="h5netcdf").load()
    tree.attrs["profile"] = '[grid]\nprobe = "mlp"\n'
    tree.close()
    (tmp_path / "new").mkdir()
    tree.to_netcdf(tmp_path / "new" / "cube.nc", engine="h5netcdf")
    new = Baseline(tmp_path / "new")
    assert new.scores("one", "a", "AF", probe="mlp").records.size == 300
    with pytest.raises(EcgfmError, match="its probes are mlp, but this run's are logistic"):
        new.scores("one", "a", "AF")


@pytest.mark.parametrize("probe", ["logistic", "mine.declared_elsewhere"])
def test_a_quantity_has_a_probe_of_its_own_whatever_that_of_labels_was(rng, tmp_path, probe):
    held = with_probe(tmp_path, "old", probe, "abc" if probe != "logistic" else "", rng, label="quantity:EF")
    found = Baseline(held.path).scores("one", "a", "quantity:EF", probe=RIDGE)
    assert found.quantity and found.records.size == 300


def with_probe(folder, name, probe, code, rng, label="AF"):
    path = write_run(folder / name, scores(rng), label=label)
    with xr.open_datatree(path / "cube.nc", engine="h5netcdf") as held:
        tree = held.load()
    tree.attrs["profile"] = f'[grid]\nprobe = "{probe}"\n[run]\nprobe_code = "{code}"\n'
    tree.to_netcdf(path / "cube.nc", engine="h5netcdf")
    return SimpleNamespace(path=path, tree=tree, cohorts=("a",), targets=("AF",))


@pytest.mark.parametrize("probe", ["knn", "mine.declared_elsewhere"])
def test_runs_of_any_probe_are_compared_and_never_with_another_one(rng, tmp_path, probe):
    first, second = (with_probe(tmp_path, name, probe, "abc", rng) for name in ("first", "second"))
    (one,) = differences(first, second, "one", "one")
    assert one.records == 300 and np.isfinite(one.found.value)
    for name, kind, code in (("kind", "logistic", ""), ("code", probe, "abd")):
        (one,) = differences(with_probe(tmp_path, name, kind, code, rng), second, "one", "one")
        assert one.found is None and "stale" in one.problem
