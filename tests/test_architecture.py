"""Data flows one way: a module imports only from its own room, and from rooms below it."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = [
    "errors",
    "signals",
    "cards",
    "cohorts",
    "encoders",
    "evaluations",
    "embeddings",
    "results",
    "run",
    "measurements",
    "report",
    "session",
    "plugin cli",
]
"""The rooms of the package, from the ground up: each imports only from rooms below its own."""

ORDER = {name: number for number, names in enumerate(FLOORS) for name in names.split()}
MODULES = sorted(path for path in (ROOT / "pytest_ecgfm").rglob("*.py") if path.parent.name != "pytest_ecgfm")
MODULES += sorted(path for path in (ROOT / "pytest_ecgfm").glob("*.py") if path.stem != "__init__")
# What stands beside the package.
OTHERS = [ROOT / "conftest.py", *(ROOT / "docs").glob("*.py")]
OTHERS += [path for room in ("tests", "benchmarks", "suites", "fixtures") for path in (ROOT / room).rglob("*.py")]


def room(path):
    return path.relative_to(ROOT / "pytest_ecgfm").parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "pytest_ecgfm" and len(parts) > 1 and parts[1] in ORDER:
                yield parts[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = room(path)
    assert own in ORDER, f"{path.name} is in no room of FLOORS"
    back = {name for name in imported(path) if ORDER[name] > ORDER[own]}
    assert not back, f"{path.name} imports from a room above its own: {sorted(back)}"


@pytest.mark.parametrize("path", [*MODULES, *sorted(OTHERS)], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_longer_than_four_hundred_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_package_has_fourteen_rooms_and_contributing_names_each():
    others = ("__init__", "__pycache__", "py")
    rooms = {path.stem for path in (ROOT / "pytest_ecgfm").iterdir() if path.stem not in others}
    assert rooms == set(ORDER)
    assert len(rooms) <= 14
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in rooms:
        assert f"`{name}/`" in text or f"`{name}.py`" in text, f"CONTRIBUTING.md does not name {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "pytest_ecgfm" / "evaluations").rglob("*.py")), ids=lambda p: p.name)
def test_evaluations_know_no_pytest_and_no_files(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert not names & {"pytest", "pathlib", "os", "io", "json"}


def test_names_of_suite_tests_are_unique():
    names = [
        node.name
        for path in sorted((ROOT / "suites").glob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert names
    assert len(names) == len(set(names))


def test_every_check_has_a_suite_test():
    from pytest_ecgfm.results.checks import CHECKS

    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "suites").glob("test_*.py"))
    for name, kind in CHECKS.items():
        assert f'ecgfm_check("{name}")' in text
        assert (ROOT / "suites" / f"test_{kind.suite}.py").is_file()


def test_every_check_of_the_package_has_a_threshold_and_a_broken_encoder():
    """A check without an entry is never evaluated; one that nothing fails may pass everything."""
    from pytest_ecgfm.results.checks import CHECKS
    from pytest_ecgfm.results.profiles import load_profile
    from tests.broken_matrix import MATRIX

    ours = {name for name, kind in CHECKS.items() if not kind.where}
    assert sorted(ours - {rule.name for rule in load_profile("default").check}) == []
    assert sorted(ours - {name.partition("[")[0] for entry in MATRIX for name in entry.fails}) == []


def test_checks_link_to_definitions_that_exist():
    from pytest_ecgfm.results.checks import CHECKS

    for kind in CHECKS.values():
        file, _, anchor = kind.definition.partition("#")
        assert f'<a id="{anchor}"></a>' in (ROOT / file).read_text(encoding="utf-8")


USED = {
    "h5netcdf": 'engine="h5netcdf"',
    "pytest-html": 'hasplugin("html")',
    "scikit-learn": "from sklearn",
    "umap-learn": "from umap",
}
"""What stands in the code for a dependency that is not imported by its own name."""


def test_every_dependency_is_used_by_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "pytest_ecgfm").rglob("*.py"))
    names = [re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]]
    used = {name: USED.get(name, "") in text and name in USED for name in names}
    imported = {name: re.search(rf"^ *(import|from) {name.replace('-', '_')}\b", text, re.MULTILINE) for name in names}
    assert [name for name in names if not (used[name] or imported[name])] == []


def test_the_source_tree_does_not_hide_an_installed_package():
    # First on the path, it would: without suites and fixtures, which only the installed package holds.
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert "pythonpath" not in options


@pytest.mark.parametrize("module", ["pytest_ecgfm.fixtures.reference", "pytest_ecgfm.suites.test_downstream"])
def test_a_clone_that_hides_an_installed_package_works(tmp_path, module):
    """As `python -m pytest` in a clone with a wheel installed: the source tree comes first, and no finder helps."""
    for name in ("pytest_ecgfm", "fixtures", "suites"):
        (tmp_path / name).symlink_to(ROOT / name)
    code = (
        "import sys; sys.meta_path[:] = [one for one in sys.meta_path if 'editable' not in str(one)]; "
        f"sys.path.insert(0, {str(tmp_path)!r}); import importlib.util as u; print(u.find_spec({module!r}).origin)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.startswith(str(tmp_path))
