import re
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from pytest_ecgfm.cli import main
from pytest_ecgfm.report.addresses import PAGE
from pytest_ecgfm.report.compare import outcomes as compared
from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.report.page import render
from pytest_ecgfm.report.sections import SECTIONS
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.cube import build_cube, write_cube
from pytest_ecgfm.results.rows import Measured, judged_row
from tests.report.runs import write_run


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


def numbers_of(tree):
    """Every number in a cube."""
    found = [node.to_dataset() for node in tree.subtree]
    arrays = [array.values.ravel() for dataset in found for array in dataset.data_vars.values()]
    numbers = [array[np.isfinite(array)] for array in arrays if array.dtype.kind in "fi"]
    numbers += [[value for value in dataset.attrs.values() if isinstance(value, float)] for dataset in found]
    return {float(one) for array in numbers for one in array}


def test_every_number_is_the_cubes(made, page):
    folder, rows = made
    page = Page(page)
    tree = load(folder).tree
    # Unrounded, as `data` elements carry them.
    assert set(page.values) <= numbers_of(tree)
    for row in rows:
        assert {row.value, row.low, row.high, row.threshold} <= set(page.values), row.check
    for group, variable in (
        ("downstream", "auroc_mean"),
        ("transfer", "auroc"),
        ("transfer", "drop_low"),
        ("operating", "sensitivity_low"),
        ("operating", "threshold"),
        ("subgroups", "auroc_high"),
        ("subgroups", "gap"),
        ("stability", "displacement"),
        ("relevance", "relevance_high"),
        ("separability", "value"),
    ):
        held = tree[group][variable].values
        assert set(held[np.isfinite(held)].tolist()) <= set(page.values), variable


def test_every_text_of_a_number_is_its_rounded_value(page):
    shown = re.findall(r'<data value="([^"]+)">([^<]*)</data>', page)
    assert len(shown) > 1000
    for value, words in shown:
        bound = re.fullmatch(r"at (?:most|least) (.*)", words)
        read = float((bound.group(1) if bound else words).replace("−", "-"))
        assert read == pytest.approx(float(value), abs=6e-4, rel=0.06 if abs(float(value)) < 1e-3 else 1e-9)


def test_every_point_of_a_figure_says_what_the_cube_holds(made, page):
    tree = load(made[0]).tree
    tips = {unescape(tip) for tip in re.findall(r'data-tip="([^"]*)"', page)}
    held = tree["downstream"]
    for encoder, fraction in (("one", 0.25), ("two", 1.0), ("random_conv", 0.05)):
        at = {"encoder": encoder, "cohort": "georgia", "label": "AF", "probe": "logistic", "fraction": fraction}
        value, low, high = (float(held[f"auroc_mean{end}"].sel(at)) for end in ("", "_low", "_high"))
        assert f"{encoder}, {100 * fraction:g} %: {value:.3f} ({low:.3f} to {high:.3f})" in tips
    at = {"encoder": "two", "cohort": "ptb-xl", "label": "CD", "fraction": 1.0, "baseline": "zero", "lead": "V2"}
    value, low, high = (float(tree["relevance"][f"relevance{end}"].sel(at)) for end in ("", "_low", "_high"))
    assert f"V2: {value:.3f} ({low:.3f} to {high:.3f})" in tips
    assert "aVL: not read" in tips
    records = tree["map/one"]["record"].values.tolist()
    assert all(any(tip.startswith(f"{record}: ") for tip in tips) for record in records)


def test_seen_cohorts_and_continents_are_marked(page):
    assert re.search(r'<span>ptb-xl</span><br><span class="exposure seen">Europe, seen</span>', page)
    assert re.search(r'<span>georgia</span><br><span class="exposure unseen">North America, unseen</span>', page)


def test_a_fail_and_its_reason_are_on_top_in_plain_words(made, page):
    text, rows = page, made[1]
    banner = re.search(r'<div class="banner fail">(.*?)<div class="glance">', text, re.S).group(1)
    words = unescape(re.sub("<[^>]+>", "", banner))
    blocking = [row for row in rows if row.blocks and row.encoder == "two" and "displacement" in row.check]
    many = sum(row.encoder == "two" and "displacement" in row.check for row in rows)
    assert f"between patients: {len(blocking)} of {many} checks block, the worst" in words
    worst = max(blocking, key=lambda row: row.value)
    assert f"{worst.value:.3f} ({worst.low:.3f} to {worst.high:.3f}); it has to be at most 0.3" in words
    (target,) = re.findall(rf'href="#(check:two:{re.escape(worst.check)})"', banner)
    assert f'id="{target}"' in text
    assert text.count("<section ") == len(SECTIONS)


def test_each_check_links_to_its_definition(made, page):
    page = Page(page)
    ids = {value for key, value in page.attributes if key == "id"}
    linked = {value[1:] for key, value in page.attributes if key == "href"}
    assert {f"definition:{row.check.partition('[')[0]}" for row in made[1]} <= linked
    assert linked <= ids
    assert len(ids) == sum(key == "id" for key, _ in page.attributes)


def test_a_large_run_is_below_8_mb(tmp_path):
    cohorts = ("ptb-xl", "georgia", "chapman-ningbo", "code-15")
    labels = ("NORM", "CD", "AF", "SB")
    fractions = (0.01, 0.05, 0.25, 1.0)
    folder, rows = write_run(tmp_path / "run", ("one", "two", "three"), cohorts, labels, fractions, records=12_000)
    assert len(rows) > 800
    text = render(load(folder))
    assert len(text.encode()) < 8e6
    assert "6000 of 12000 records are drawn" in text


def test_earlier_runs_are_compared_check_by_check(made, tmp_path):
    before, _ = write_run(tmp_path / "spring", seed=7)
    run = replace(load(made[0]), baselines=(load(before),))
    text = unescape(re.sub("<[^>]+>", "", render(run)))
    changed = compared(run.baselines[0], run, "one", "one")
    changed = changed[changed["outcome_before"] != changed["outcome_after"]]
    assert len(changed) and f"one: {len(changed)} of " in text
    assert "Checks since spring: verdict fail, then fail." in text
    # The run itself was held against `spring`; nothing else is computed for it.
    assert text.count("since spring") >= 1 and "No AUROC to compare" not in text
    other, _ = write_run(tmp_path / "autumn", ("three",))
    assert "The two runs have no encoder in common: three; one, two." in render(replace(run, baselines=(load(other),)))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"onload="x'])
def test_what_comes_from_outside_is_escaped(tmp_path, name):
    folder, _ = write_run(tmp_path / "run", (name,), (f"a{name}", "b"), (name, "AF"), why="<img src=x onerror=y>")
    text = render(load(folder))
    page = Page(text)
    assert page.tags.count("script") == 1 and "img" not in page.tags
    assert not any(key.startswith("on") for key, _ in page.attributes)


def test_nothing_leaves_the_page(page):
    text = page
    assert not re.search(r"https?://|@import|url\(", text)
    assert "default-src 'none'" in text
    linked = [value for key, value in Page(text).attributes if key in ("src", "href")]
    assert linked and all(value.startswith("#") for value in linked)


def test_the_command_draws_an_earlier_run_again(made, page, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(made[0], folder)
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / PAGE)
    assert (folder / PAGE).read_text() == page
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "no cube.nc" in capsys.readouterr().err


def test_names_keep_their_length_whatever_came_first(tmp_path):
    # In alphabetical order, in which names were cut to the length of the first when they were written.
    names = ["a", "bb", "c-much-longer-name"]
    for number, cohort in enumerate(names):
        signal = {"signal": (("cohort", "lead"), np.ones((1, 2))), "record": (("cohort",), np.array(["r1"]))}
        axes = {"cohort": [cohort], "lead": ["I", "II"]}
        one = xr.Dataset(signal, axes, {"group": "examples"})
        (tmp_path / "arrays").mkdir(exist_ok=True)
        one.to_netcdf(tmp_path / "arrays" / f"{number}.nc", engine="h5netcdf")
    rows = [
        judged_row(Case("stability.retest", "m", c), Threshold(1), Measured(1, 1, 1, arrays=(f"arrays/{i}.nc",)))
        for i, c in enumerate(names)
    ]
    tree = build_cube(rows, tmp_path / "arrays", {})
    write_cube(tree, tmp_path / "cube.nc")
    with xr.open_datatree(tmp_path / "cube.nc", engine="h5netcdf") as held:
        assert sorted(held["examples"]["cohort"].values.tolist()) == names


def test_sets_say_what_they_leave_out_and_quantities_have_their_units(page):
    sets, quantities = (re.search(rf'<section id="{name}".*?</section>', page, re.S) for name in ("sets", "quantities"))
    assert sets and quantities
    cells = [re.sub("<[^>]+>", "", one) for one in re.findall(r"<td.*?</td>", sets.group(0), re.S)]
    assert cells[-2:] == ["CD", "AF"]
    words = " ".join(unescape(re.sub("<[^>]+>", " ", quantities.group(0))).split())
    assert re.search(
        r"quantity:EF 100 % 0\.4\S* \[ ?0\.36\S* ?, 0\.44\S* ?\] 7\S* \[ ?6\.3\S* ?, 7\.7\S* ?\].* % 150", words
    )


def test_groups_of_patients_are_named_with_counts_and_what_is_wrong(page):
    found = re.search(r'<section id="subgroups".*?</section>', page, re.S).group(0)
    first = unescape(re.sub("<[^>]+>", " ", re.search(r"<table.*?</table>", found, re.S).group(0)))
    words = " ".join(first.split())
    for told in ("60 of 180 positive ↓ below the rest", "– insufficient 4 of 12 positive"):
        assert words.count(told) == 2, told
    assert "sex unknown 3 records 3 records" in words
    names = ["sex F", "sex M", "age below 40", "age 40 to 64", "sex unknown", "age unknown"]
    assert sorted(names, key=words.index) == names


def test_quantities_that_travel_say_from_where_and_what_they_lose(page):
    section = re.search(r'<section id="quantity-transfer".*?</section>', page, re.S)
    assert section
    words = " ".join(unescape(re.sub("<[^>]+>", " ", section.group(0))).split())
    found = re.search(r"one quantity:EF georgia ptb-xl seen ([\d. \[\],]+) %", words)
    assert found
    values = [float(one) for one in re.findall(r"[\d.]+", found[1])]
    assert values == pytest.approx(
        [factor * value for value in (0.5, 0.2, 0.3, 0.1, 8) for factor in (1, 0.9, 1.1)], abs=0.006
    )


def test_the_operating_point_is_a_table_and_a_figure_of_each_cohort_and_label(page):
    section = page.partition('id="operating"')[2].partition("<section")[0]
    for name in ("threshold", "sensitivity", "specificity", "PPV", "NPV", "slope", "intercept", "ICI"):
        assert f'data-head="{name}"' in section, name
    assert "georgia → ptb-xl, CD" in section and "Numbers: the same threshold in other cohorts" in section
    assert section.count('class="band s1"') == section.count('class="band s2"') == 8
    assert "predicted probability (0 to 1)</text>" in section and "observed share (0 to 1)</text>" in section
    assert 'aria-label="observed share of one: georgia, AF by predicted probability"' in section
    assert "0.010: 0.010 (0.000 to 0.060)" in section
    assert "on the dotted line the probabilities are right" in section
