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
import importlib
import io
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = {
    "verdict": ("pytest_ecgfm.verdict", (), ("tests/test_checks_and_verdict.py", "tests/test_boundaries.py")),
    "checks": (
        "pytest_ecgfm.checks",
        ("judge", "looser_than", "applicable_tier", "enough", "cells"),
        ("tests/test_checks_and_verdict.py", "tests/test_boundaries.py"),
    ),
    "rows": (
        "pytest_ecgfm.rows",
        ("judged_row", "blocks", "expected_to_fail", "failed_row"),
        ("tests/test_checks_and_verdict.py", "tests/test_boundaries.py"),
    ),
    "statistics": ("pytest_ecgfm.statistics", (), ("tests/test_statistics.py", "tests/test_boundaries.py")),
    "variance": ("pytest_ecgfm.variance", (), ("tests/test_statistics.py", "tests/test_boundaries.py")),
    "splits": ("pytest_ecgfm.evaluations.splits", (), ("tests/evaluations/test_splits.py", "tests/test_boundaries.py")),
    "geometry": (
        "pytest_ecgfm.evaluations.geometry",
        (),
        ("tests/evaluations/test_geometry.py", "tests/test_boundaries.py"),
    ),
    "shapley": ("pytest_ecgfm.evaluations.shapley", (), ("tests/evaluations/test_shapley.py",)),
    "features": ("pytest_ecgfm.evaluations.features", (), ("tests/evaluations/test_features.py",)),
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
    "pytest_ecgfm.cube",
    "pytest_ecgfm.cohorts",
)
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


def survives(module: str, source: str, tests: tuple[str, ...], seconds: int) -> bool:
    """Try one mutant in a fork; what takes too long counts as noticed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    signal.alarm(seconds)
    status = 1
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with contextlib.suppress(Exception), quiet[0], quiet[1]:
        place = importlib.import_module(module)
        # Classes keep their identity, and functions that others imported get the new code.
        before = dict(vars(place))
        exec(compile(source, str(place.__file__), "exec"), vars(place))  # our own source, changed
        for name, old in before.items():
            new = vars(place)[name]
            if hasattr(old, "__code__") and hasattr(new, "__code__") and getattr(old, "__module__", "") == module:
                old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
                vars(place)[name] = old
            elif isinstance(old, type) and old.__module__ == module:
                for key, value in list(vars(new).items()):
                    if hasattr(value, "__code__") or isinstance(value, property):
                        setattr(old, key, value)
                vars(place)[name] = old
        status = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-o", "filterwarnings=", "-m", "not slow", *tests])
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
    for name in IMPORTED:
        importlib.import_module(name)
    for target in options.targets:
        module, functions, tests = TARGETS[target]
        tests = tuple(one for one in tests if Path(one).exists())
        source = Path(importlib.import_module(module).__file__).read_text(encoding="utf-8")
        if not survives(module, source, tests, options.seconds):
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
            if survives(module, changed_source, tests, options.seconds):
                print(f"  {target}, {where}", flush=True)
            else:
                noticed += 1
        print(f"{target}: {noticed} of {tried} tried noticed; {total} there are", flush=True)


if __name__ == "__main__":
    main()
