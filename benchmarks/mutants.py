"""Change one thing in the code, and see whether the tests notice.

::

    python benchmarks/mutants.py --seed 0 --sample 60

Each mutant is tried in a fork of a process that has imported everything, as imports take longer than the tests: that is
why this is not left to a package that starts anew for each. Comparisons, arithmetic, `and` / `or`, `not`, numbers and
returned values are changed, one at a time; functions are named in `TARGETS`.
"""

import argparse
import ast
import contextlib
import copy
import gc
import importlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import Phase, settings

ROOT = Path(__file__).parents[1]
JUDGED = ("tests/test_checks.py", "tests/test_rows.py", "tests/test_verdict.py", "tests/test_boundaries.py")
TARGETS = {
    "verdict": ("pytest_ecgfm.results.verdict", (), JUDGED),
    "judging": ("pytest_ecgfm.results.judging", ("judge", "looser_than", "applicable_tier", "enough"), JUDGED),
    "checks": ("pytest_ecgfm.results.checks", ("cells",), JUDGED),
    "rows": ("pytest_ecgfm.results.rows", ("judged_row", "blocks", "expected_to_fail", "failed_row"), JUDGED),
    "statistics": (
        "pytest_ecgfm.evaluations.statistics",
        (),
        ("tests/test_statistics.py", "tests/test_statistics_differences.py", "tests/test_boundaries.py"),
    ),
    "variance": (
        "pytest_ecgfm.evaluations.statistics.variance",
        (),
        ("tests/test_statistics.py", "tests/test_statistics_differences.py", "tests/test_boundaries.py"),
    ),
} | {
    name: (
        f"pytest_ecgfm.evaluations.{name}",
        (),
        (
            *(f"tests/evaluations/test_{one}.py" for one in (name.rpartition(".")[2], *others)),
            "tests/test_boundaries.py",
        ),
    )
    # With the modules, if any, that test them too.
    for name, others in {
        "splits": (),
        "geometry": (),
        "agreement": (),
        "distances": (),
        "mixtures": (),
        "neighbours": (),
        "transfer": (),
        "fold_probes": (),
        "shapley": (),
        "features": (),
        "statistics.bootstrap": ("stability", "label_stability"),
        "statistics.smoothed": (),
        "logistic": ("probes",),
        "probes": (),
        "downstream": (),
        "stability": ("bootstrap",),
        "clusters": (),
        "separability": ("balanced_agreement", "robustness"),
        "relevance": (),
        "contract": ("contract_memory",),
        "umap_map": (),
    }.items()
}
# What the tests import, too, so that no fork has to.
IMPORTED = (
    "torch",
    "h5netcdf",
    "xarray",
    "hypothesis",
    "scipy.stats",
    "sklearn.metrics",
    "sklearn.neighbors",
    "wfdb",
    "shap",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "pytest_ecgfm.results.cube",
    "pytest_ecgfm.cohorts",
)
# Where numba compiles at the first call: the tests are run once before there are mutants.
COMPILED = ("umap_map",)
SWAPS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def changed(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what a node can be turned into."""
    new = copy.deepcopy(node)
    if isinstance(node, ast.Compare):
        for number, one in enumerate(node.ops):
            new = copy.deepcopy(node)
            new.ops[number] = SWAPS[type(one)]()
            yield "comparison", new
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        new.op = SWAPS[type(node.op)]()
        yield "operator", new
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", new.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        new.value = not node.value
        yield "boolean", new
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        new.value = node.value + 1
        yield "number", new
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        new.value = ast.Constant(None)
        yield "return", new


def mutants(source: str, functions: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield (place, source) of every mutant of the named functions; of all, where none is named."""
    tree = ast.parse(source)
    places = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and (not functions or function.name in functions):
            skipped = {id(one) for sub in (function.args, function.returns) if sub for one in ast.walk(sub)}
            for parent in ast.walk(function):
                for name, held in ast.iter_fields(parent):
                    for number, one in enumerate(held if isinstance(held, list) else [held]):
                        if isinstance(one, ast.AST) and id(one) not in skipped and id(parent) not in skipped:
                            places.append((parent, name, number if isinstance(held, list) else None, one))
    seen = set()
    for parent, name, number, one in places:
        if (id(parent), name, number) in seen:
            continue
        seen.add((id(parent), name, number))
        for kind, other in changed(one):
            where = f"line {one.lineno}: {kind}: {ast.unparse(one)[:70]} -> {ast.unparse(other)[:70]}"
            target = parent if number is None else getattr(parent, name)
            if number is None:
                setattr(target, name, other)
            else:
                target[number] = other
            yield where, ast.unparse(ast.fix_missing_locations(tree))
            if number is None:
                setattr(target, name, one)
            else:
                target[number] = one


class Order:
    """Runs the tests that took least first, so that most mutants are noticed at once.

    Parameters
    ----------
    kept : Path
        Where seconds by test are noted, of a run of all of them.
    """

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        self.known: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
        self.seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort by what is known."""
        items.sort(key=lambda item: self.known.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count setup and teardown, too."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        """Keep the first run's seconds."""
        if not self.known:
            self.kept.write_text(json.dumps(self.seconds))


def run(tests: tuple[str, ...], *options: str, plugins: list[object] | None = None) -> int:
    """Run the tests in this process, the same examples each time."""
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    # Modules were imported before pytest could rewrite their assertions; other warnings are errors, as ever.
    warned = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
    fixed = ("-q", "-x", "-p", "no:cacheprovider", *warned, "--hypothesis-seed=0", "-m", "not slow")
    with quiet[0], quiet[1]:
        return int(pytest.main([*fixed, *options, *tests], plugins=plugins))


def survives(module: str, source: str, tests: tuple[str, ...], seconds: int, order: Path) -> bool:
    """Try one mutant in a fork; what takes too long counts as noticed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    signal.alarm(seconds)
    status = 1
    with contextlib.suppress(Exception):
        place = importlib.import_module(module)
        # Classes keep their identity, and functions that others imported get the new code.
        before = dict(vars(place))
        exec(compile(source, str(place.__file__), "exec"), vars(place))  # our own source, changed
        for name, old in before.items():
            new = vars(place)[name]
            if hasattr(old, "__code__") and hasattr(new, "__code__") and getattr(old, "__module__", "") == module:
                old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
                # What a decorator made holds what it decorates.
                for cell, other in zip(old.__closure__ or (), new.__closure__ or (), strict=True):
                    cell.cell_contents = other.cell_contents
                vars(place)[name] = old
            elif isinstance(old, type) and old.__module__ == module:
                for key, value in list(vars(new).items()):
                    if hasattr(value, "__code__") or isinstance(value, property | cached_property):
                        setattr(old, key, value)
                vars(place)[name] = old
            elif not callable(old):
                vars(place)[name] = old
        status = run(tests, plugins=[Order(order)])
    os._exit(0 if status == 0 else 1)


def main() -> None:
    """Print every survivor, and how many of how many survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help=", ".join(TARGETS))
    parser.add_argument("--sample", type=int, help="so many mutants of each target, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=120, help="longest for one mutant")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="longest for one target; in random order")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.append(str(ROOT))
    # The layer of numba's that outlives a fork.
    os.environ["NUMBA_THREADING_LAYER"] = "workqueue"
    for name in IMPORTED:
        importlib.import_module(name)
    # A mutant is noticed or not: the smallest example does not matter, and those of others are not kept.
    settings.register_profile("mutants", database=None, phases=[Phase.explicit, Phase.generate])
    settings.load_profile("mutants")
    with tempfile.TemporaryDirectory() as kept:
        try_targets(options, Path(kept))


def try_targets(options: argparse.Namespace, kept: Path) -> None:
    """Try the mutants of one target after another."""
    for target in options.targets:
        module, functions, tests = TARGETS[target]
        tests = tuple(one for one in tests if Path(one).exists())
        source = Path(importlib.import_module(module).__file__).read_text(encoding="utf-8")
        # Here, so that no fork has to.
        run(tests, *(() if target in COMPILED else ("--collect-only",)))
        gc.freeze()
        order = kept / f"{target}.json"
        if not survives(module, source, tests, options.seconds, order):
            sys.exit(f"{target}: the tests fail without a mutant.")
        found = list(mutants(source, functions))
        total = len(found)
        if options.sample and options.sample < len(found):
            found = random.Random(options.seed).sample(found, options.sample)
        begun, noticed, tried = time.monotonic(), 0, 0
        random.Random(options.seed).shuffle(found)
        for where, changed_source in found:
            if time.monotonic() - begun > options.minutes * 60:
                break
            tried += 1
            if survives(module, changed_source, tests, options.seconds, order):
                print(f"  {target}, {where}", flush=True)
            else:
                noticed += 1
        print(f"{target}: {noticed} of {tried} tried noticed; {total} there are", flush=True)


if __name__ == "__main__":
    main()
