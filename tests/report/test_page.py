import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from pytest_ecgfm.checks import Case, Threshold
from pytest_ecgfm.cli import main
from pytest_ecgfm.cube import build_cube, write_cube
from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.report.page import NAME, render
from pytest_ecgfm.rows import Cell, Measured, judged_row
from pytest_ecgfm.verdict import decide


def make_run(folder, encoder="m", reason="", seed=0):
    rng = np.random.default_rng(seed)
    rows = []

    def add(case, threshold, measured):
        rows.append(judged_row(case, threshold, measured))

    for fraction in (0.1, 1.0):
        value = float(rng.uniform(0.6, 0.9))
        at = {"encoder": encoder, "cohort": "a", "label": "AF", "probe": "logistic", "fraction": fraction}
        found = {"auroc_mean": value, "auroc_mean_low": value - 0.05, "auroc_mean_high": value + 0.05}
        cells = (Cell("downstream", at, found),)
        case = Case("downstream.auroc", encoder, "a", "AF", fraction)
        add(case, Threshold(0.5, reason=reason), Measured(value, value - 0.05, value + 0.05, 60, 90, "cv", cells))
    at = {"encoder": encoder, "source": "b", "target": "a", "label": "AF"}
    cells = (Cell("transfer", at, {"auroc": 0.7123456, "drop": 0.0234567}),)
    case = Case("transfer.drop", encoder, "a", "AF", source="b")
    add(case, Threshold(0.1, "maximum"), Measured(0.0234567, -0.01, 0.05, cells=cells))
    for lead, share in (("I", 0.25), ("V1", 0.75)):
        at = {"encoder": encoder, "cohort": "a", "label": "AF", "fraction": 1.0, "baseline": "zero", "lead": lead}
        cells = (Cell("relevance", at, {"relevance": share, "relevance_low": 0.1, "relevance_high": 0.9}),)
        case = Case("relevance.concentration" if lead == "I" else "relevance.baselines", encoder, "a", "AF")
        add(case, Threshold(2.0, "maximum"), Measured(share, 0.1, 0.9, cells=cells))
    at = {"encoder": encoder, "cohort": "a", "perturbation": "gain", "severity": 0.9}
    case = Case("stability.displacement", encoder, "a", perturbation="gain@0.9")
    cells = (Cell("stability", at, {"displacement": 0.6}),)
    add(case, Threshold(0.5, "maximum"), Measured(0.6, 0.6, 0.6, cells=cells))
    (folder / "arrays").mkdir(parents=True)
    points = xr.Dataset(
        {
            "umap": (("record", "axis"), rng.normal(size=(20, 2))),
            "cohort": (("record",), np.array(["a"] * 20)),
            "labels": (("record", "label"), (rng.random((20, 1)) < 0.4).astype(np.float32)),
        },
        {"record": [f"a/<{i}>" for i in range(20)], "axis": ["x", "y"], "label": ["AF"]},
        {"group": f"map/{encoder.replace('/', '')}", "trustworthiness": 0.9, "procrustes_agreement": 0.8},
    )
    points.to_netcdf(folder / "arrays" / "map.nc", engine="h5netcdf")
    case = Case("separability.trustworthiness", encoder)
    add(case, Threshold(0.8), Measured(0.9, 0.9, 0.9, arrays=("arrays/map.nc",)))
    about = {"encoders": json.dumps({encoder: {"exposure": {"a": "seen"}}}), "cohorts": json.dumps({"a": {}})}
    write_cube(build_cube(rows, folder / "arrays", {"run_id": "x", **about}), folder / "cube.nc")
    verdict = decide(rows, [], models=[encoder])
    (folder / "verdict.json").write_text(json.dumps({**verdict.to_json(), "summary": f"{encoder} was tested."}))
    return folder, rows


class Page(HTMLParser):
    """Elements, attributes, and the unrounded values of numbers."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.values = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "data":
            self.values.append(float(dict(attrs)["value"]))


def test_every_number_is_the_cubes(tmp_path):
    folder, rows = make_run(tmp_path / "run")
    text = render(load(folder))
    values = Page(text).values
    for row in rows:
        assert row.value in values, row.check
    assert 0.7123456 in values
    assert set(np.round(values, 12)) <= {
        round(float(x), 12) for row in rows for x in (row.value, row.low, row.high)
    } | {0.7123456, 0.8, 0.9}
    for row in rows[:2]:
        assert f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" in text  # the tip of a point
    assert "V1: 0.750 (0.100 to 0.900)" in text
    assert "a (seen)" in text


def test_a_fail_and_its_reason_are_on_top(tmp_path):
    folder, _ = make_run(tmp_path / "run")
    text = render(load(folder))
    assert re.search(r'<div class="banner fail">.*stability\.displacement\[a,gain@0\.9\] = 0\.6', text, re.S)
    assert text.count("<section ") >= 7


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"onload="x'])
def test_what_comes_from_outside_is_escaped(tmp_path, name):
    folder, _ = make_run(tmp_path / "run", encoder=name, reason="<img src=x onerror=y>")
    text = render(load(folder))
    page = Page(text)
    assert page.tags.count("script") == 1 and "img" not in page.tags
    assert not any(key.startswith("on") for key, _ in page.attributes)


def test_nothing_leaves_the_page(tmp_path):
    folder, _ = make_run(tmp_path / "run")
    text = render(load(folder))
    assert not re.search(r"https?://|@import|url\(", text)
    assert "default-src 'none'" in text
    linked = [value for key, value in Page(text).attributes if key in ("src", "href")]
    assert linked and all(value.startswith("#") for value in linked)


def test_the_command_draws_an_earlier_run_again(tmp_path, capsys):
    folder, _ = make_run(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / NAME)
    assert (folder / NAME).read_text() == render(load(folder))
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "no cube.nc" in capsys.readouterr().err


def test_names_keep_their_length_whatever_came_first(tmp_path):
    for number, cohort in enumerate(("x", "a-much-longer-name")):
        one = xr.Dataset({"v": (("cohort",), [1.0])}, {"cohort": [cohort]}, {"group": "examples"})
        (tmp_path / "arrays").mkdir(exist_ok=True)
        one.to_netcdf(tmp_path / "arrays" / f"{number}.nc", engine="h5netcdf")
    rows = [
        judged_row(Case("stability.retest", "m", c), Threshold(1), Measured(1, 1, 1, arrays=(f"arrays/{i}.nc",)))
        for i, c in enumerate(("x", "y"))
    ]
    tree = build_cube(rows, tmp_path / "arrays", {})
    assert sorted(tree["examples"]["cohort"].values.tolist()) == ["a-much-longer-name", "x"]
