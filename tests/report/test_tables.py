import json

import numpy as np
import pytest
import xarray as xr

from pytest_ecgfm.cli import main
from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.report.tables import WRITERS, tables
from pytest_ecgfm.results.cube_files import SCHEMA_VERSION

COHORTS = ["a", "b", "a|b"]
METRICS = ["knn_agreement", "centroid_separation", "gmm_ari", "silhouette"]


def write_run(folder, encoder, seed=0, exposure="unseen"):
    rng = np.random.default_rng(seed)
    values = rng.random((1, 2, 3, 3, 3, 4))
    values[:, :, 0, 2] = np.nan  # labels within cohorts
    values[:, :, 1:, :2] = np.nan  # pairs of cohorts
    values[:, :, (0, 2), :, 0] = np.nan  # without a label: all records, in the embedding
    values[:, 1, 1, :, 0] = np.nan
    values[:, 0, 1, :, 1:] = np.nan
    dims = ("encoder", "space", "grouping", "cohort", "label", "metric")
    coords = {
        "encoder": [encoder],
        "space": ["embedding", "selected"],
        "grouping": ["label", "cohort", "cohort_label"],
        "cohort": COHORTS,
        "label": ["", "AF", "CD"],
        "metric": METRICS,
    }
    separability = xr.Dataset({"value": (dims, values), "adjusted": (dims, values / 2)}, coords)
    auroc = xr.Dataset(
        {"auroc_mean": (("encoder", "cohort", "label", "probe", "fraction"), rng.random((1, 2, 2, 1, 2)))},
        {"encoder": [encoder], "cohort": COHORTS[:2], "label": ["AF", "CD"], "probe": ["p"], "fraction": [0.05, 1.0]},
    )
    transfer = xr.Dataset(
        {"auroc": (("encoder", "source", "target", "label"), rng.random((1, 2, 2, 1)))},
        {"encoder": [encoder], "source": COHORTS[:2], "target": COHORTS[:2], "label": ["AF"]},
    )
    about = {encoder: {"exposure": {"a": exposure, "b": "seen"}}}
    tree = xr.DataTree.from_dict({"/separability": separability, "/downstream": auroc, "/transfer": transfer})
    tree.attrs = {"schema_version": SCHEMA_VERSION, "encoders": json.dumps(about)}
    folder.mkdir(parents=True)
    tree.to_netcdf(folder / "cube.nc", engine="h5netcdf")
    (folder / "verdict.json").write_text(json.dumps({"outcome": "pass", "encoders": {encoder: {}}}))
    return folder


def test_values_are_means_of_the_cubes(tmp_path):
    run = load(write_run(tmp_path / "run", "one"))
    found = {table.name: table.frame for table in tables([run])}
    values = run.group("separability")["value"].sel(encoder="one", space="embedding")
    labels = found["separability-label-embedding-value"]
    for label in ("AF", "CD"):
        by_hand = np.nanmean(values.sel(grouping="label", label=label, metric="gmm_ari").values)
        assert labels.loc["one", ("GMM ARI", label)] == pytest.approx(by_hand)
        assert found["separability-label-embedding-adjusted"].loc["one", ("GMM ARI", label)] == pytest.approx(
            by_hand / 2
        )
    pairs = values.sel(grouping="cohort_label", label="AF", metric="knn_agreement", cohort="a|b").item()
    assert found["separability-cohort_label-embedding-value"].loc["one", ("kNN@10", "AF")] == pytest.approx(pairs)
    every = run.group("separability")["value"].sel(encoder="one", grouping="cohort", cohort="a|b", metric="gmm_ari")
    frame = found["separability-cohort-embedding-value"]
    assert frame.loc["one", ("GMM ARI", "all labels")] == pytest.approx(every.sel(space="embedding", label="").item())
    assert list(frame.columns) == [(heading, "all labels") for heading in ("kNN@10", "centroid separation", "GMM ARI")]
    filtered = found["separability-cohort-selected-value"].loc["one", ("GMM ARI", "AF")]
    assert filtered == pytest.approx(every.sel(space="selected", label="AF").item())
    # CD comes first, as in the paper.
    assert [label for _, label in labels.columns][:2] == ["CD", "AF"]
    auroc = run.group("downstream")["auroc_mean"].sel(fraction=0.05).mean().item()
    assert found["auroc-by-fraction"].loc["one", "5 %"] == pytest.approx(auroc)
    moved = run.group("transfer")["auroc"].sel(encoder="one", source="b", target="a", label="AF").item()
    assert found["transfer-one-AF"].loc["b", "a (unseen)"] == pytest.approx(moved)
    assert "b (seen)" in found["transfer-one-AF"].columns


def test_titles_say_which_records_and_which_dimensions(tmp_path):
    titles = {table.name: table.title for table in tables([load(write_run(tmp_path / "run", "one"))])}
    assert len(set(titles.values())) == len(titles)
    assert "all records of each pair" in titles["separability-cohort-selected-value"]
    assert "SHAP-filtered" in titles["separability-cohort-selected-value"]
    assert "positives" in titles["separability-cohort_label-embedding-adjusted"]
    assert not any("as in the paper" in title for title in titles.values())


def test_an_encoder_of_several_runs_has_a_row_for_each(tmp_path):
    runs = [load(write_run(tmp_path / name, "one", seed)) for seed, name in enumerate(("first", "second"))]
    frame = next(table.frame for table in tables(runs) if table.name == "separability-label-embedding-value")
    assert list(frame.index) == ["one (first)", "one (second)"]
    assert frame.iloc[0].tolist() != frame.iloc[1].tolist()


def test_names_from_outside_are_escaped_in_every_format(tmp_path):
    (table,) = (
        t for t in tables([load(write_run(tmp_path / "r", "x|y_&%"))]) if t.name == "separability-label-embedding-value"
    )
    assert r"| x\|y\_&amp;% |" in WRITERS["markdown"][1](table)
    assert r"x|y\_\&\%" in WRITERS["latex"][1](table)
    header, line = WRITERS["csv"][1](table).splitlines()
    assert header.count(",") == line.count(",") == 6


def test_the_command_prints_and_writes(tmp_path, capsys):
    run = write_run(tmp_path / "run", "../x")
    assert main(["table", str(run), "--format", "csv", "--out", str(tmp_path / "tables")]) == 0
    assert "kNN@10 CD" in capsys.readouterr().out
    written = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert "separability-label-embedding-value.md" in written and "transfer-..-x-AF.tex" in written
    assert len(written) == 3 * (12 + 2)


def test_a_run_that_is_none_is_one_line(tmp_path, capsys):
    assert main(["table", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_sensitivity_is_tabulated_by_source_and_target_with_the_own_probe_on_the_diagonal(tmp_path):
    run = load(write_run(tmp_path / "run", "one"))
    assert not any(table.name.startswith("sensitivity") for table in tables([run]))
    values = np.array([[0.9, 0.7, np.nan], [0.6, 0.8, np.nan], [0.65, np.nan, np.nan]])
    run.tree["operating"] = xr.Dataset(
        {"sensitivity": (("encoder", "source", "target", "label"), values[None, :, :, None])},
        {"encoder": ["one"], "source": ["a", "b", "others"], "target": ["a", "b", "c"], "label": ["AF"]},
    )
    (found,) = (table.frame for table in tables([run]) if table.name == "sensitivity-one-AF")
    assert found.index.tolist() == ["a", "b", "others"] and found.columns.tolist() == ["a", "b"]
    assert found.loc["a", "b"] == 0.7 and found.loc["b", "b"] == 0.8
