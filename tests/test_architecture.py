"""Data flows one way: a module imports only from stages before its own."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

STAGES = [
    {"errors", "identity"},
    {"records", "variance", "store", "bounded_files", "toml_files", "cube_files", "workers", "watch", "gate"},
    {"statistics", "cards"},
    {"cohorts"},
    {"preprocessing", "perturbations", "electrodes", "coalitions"},
    {"checks", "models"},
    {"profiles"},
    {"encoders"},
    {"embeddings", "evaluations"},
    {"progress", "rows", "cluster"},
    {"results", "basis"},
    {"cube", "verdict"},
    {"baseline"},
    {"settings"},
    {"run", "beforehand"},
    {"measurements"},
    {"report", "outputs", "collect", "declared", "distribution", "known_labels"},
    {"ending"},
    {"listing", "session", "in_process"},
    {"plugin", "cli"},
]
ORDER = {name: number for number, names in enumerate(STAGES) for name in names}
MODULES = sorted(path for path in (ROOT / "pytest_ecgfm").rglob("*.py") if path.parent.name != "pytest_ecgfm")
MODULES += sorted(path for path in (ROOT / "pytest_ecgfm").glob("*.py") if path.stem != "__init__")


def stage(path):
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
    own = stage(path)
    assert own in ORDER, f"{path.name} has no place in STAGES"
    # `plugin` and `session` hand over to each other: the light half imports the heavy one when a model is named.
    back = {name for name in imported(path) if ORDER[name] > ORDER[own]}
    assert not back, f"{path.name} imports from a later stage: {sorted(back)}"


@pytest.mark.parametrize("path", sorted((ROOT / "pytest_ecgfm" / "evaluations").glob("*.py")), ids=lambda p: p.name)
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
    from pytest_ecgfm.checks import CHECKS

    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "suites").glob("test_*.py"))
    for name, kind in CHECKS.items():
        assert f'ecgfm_check("{name}")' in text
        assert (ROOT / "suites" / f"test_{kind.suite}.py").is_file()


def test_checks_link_to_definitions_that_exist():
    from pytest_ecgfm.checks import CHECKS

    for kind in CHECKS.values():
        file, _, anchor = kind.definition.partition("#")
        assert f'<a id="{anchor}"></a>' in (ROOT / file).read_text(encoding="utf-8")


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
