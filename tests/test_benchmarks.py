"""The comparison of benchmarks with those of the last time."""

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runner():
    return load("run")


def test_runs_that_were_kept_go_on_with_their_medians(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    lines = [("now", "smoke, warm", 3.0), ("before", "smoke, warm", 6.0), ("now", "smoke, cold", 9.0)]
    lines += [("now", "smoke, warm", cpu) for cpu in (1.0, 2.0)]
    kept = (json.dumps({"version": version, "run": run, "cpu": cpu, "wall": 0}) for version, run, cpu in lines)
    (tmp_path / "seconds.jsonl").write_text("\n".join(kept) + "\n")
    found = load("runs").medians(tmp_path)
    assert found == {"now": {"smoke, cold": 9.0, "smoke, warm": 2.0}, "before": {"smoke, warm": 6.0}}


def kept(ratio, arguments=("--records=1",)):
    return {"shapley": {"arguments": list(arguments), "ratios": {"peer": ratio}}}


@pytest.mark.parametrize(("now", "lines"), [(5.0, 0), (4.1, 0), (3.9, 1), (float("nan"), 1)])
def test_a_ratio_may_lose_a_fifth_and_no_more(runner, now, lines):
    assert len(runner.worse(kept(now), kept(5.0), ["shapley"])) == lines


@pytest.mark.parametrize(
    ("first", "later", "lines", "runs"),
    [
        (5.0, [], 0, 0),
        (3.0, [5.0, 3.5, 4.5, 5.0], 0, 4),
        (3.0, [3.5, 5.0, 3.9, 5.0], 1, 4),
        (float("nan"), [5.0] * 4, 1, 4),
    ],
)
def test_what_looks_worse_is_measured_again_and_the_median_decides(runner, first, later, lines, runs):
    times = iter(later)
    now = kept(first)
    assert len(runner.confirmed(now, kept(5.0), ["shapley"], lambda name: kept(next(times))[name])) == lines
    assert len(later) - len(list(times)) == runs


def test_other_sizes_are_not_measured_again(runner):
    other = kept(1.0, ("--records=2",))
    lines = runner.confirmed(other, kept(5.0), ["shapley"], lambda name: pytest.fail("measured again"))
    assert "the last time with" in lines[0]


def test_other_sizes_and_lost_peers_are_not_compared_in_silence(runner):
    assert "the last time with" in runner.worse(kept(9.0, ("--records=2",)), kept(5.0), ["shapley"])[0]
    now = kept(9.0)
    now["shapley"]["ratios"] = {}
    assert runner.worse(now, kept(5.0), ["shapley"]) == ["shapley: no ratio to peer"]


def test_a_benchmark_that_is_new_has_nothing_to_lose(runner):
    assert runner.worse(kept(0.1), {}, ["shapley"]) == []


def test_what_was_kept_is_of_todays_sizes(runner):
    last = json.loads((FOLDER / "last.json").read_text(encoding="utf-8"))
    assert set(last) == set(runner.BENCHMARKS)
    for name, one in last.items():
        assert one["arguments"] == list(runner.BENCHMARKS[name].quick)
        assert one["ratios"] and all(ratio > 0 for ratio in one["ratios"].values())


def test_what_is_mutated_and_what_should_notice_are_there():
    spec = importlib.util.spec_from_file_location("benchmarks_mutants", FOLDER / "mutants.py")
    mutants = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutants)
    for module, _, tests in mutants.TARGETS.values():
        assert importlib.util.find_spec(module), module
        assert all((FOLDER.parent / name).is_file() for name in tests), tests


def test_growth_is_one_where_time_is_linear(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    sizes = load("large")
    measured = [
        {
            "records": records,
            "cpu": seconds,
            "suites": {"downstream": seconds - 1, sizes.REST: 1.0},
            "checks": {"downstream.auroc": seconds - 1},
        }
        for records, seconds in ((2000, 21.0), (1000, 11.0))
    ]
    (tmp_path / "kept.json").write_text(json.dumps(measured))
    monkeypatch.setattr("sys.argv", ["large.py", "--records", "--keep", str(tmp_path / "kept.json")])
    sizes.main()
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| | 1,000, CPU s | 2,000, CPU s | growth to 2,000 |"
    assert rows == [
        "| all | 11.0 | 21.0 | 0.95 |",
        "| downstream | 10.0 | 20.0 | 1.00 |",
        "| start, outputs | 1.0 | 1.0 | 0.50 |",
        "| `downstream.auroc` | 10.0 | 20.0 | 1.00 |",
    ]
