"""How the plugin is found, collected and left alone: one test for each trap that was seen happening."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import SMALL

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def check_names(folder):
    return [json.loads(line)["check"] for line in (folder / "rows.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("fresh")
def test_runs_from_an_empty_folder_without_paths(user, run_folder):
    user.runpytest_subprocess("--ecgfm=spread", *SMALL)
    assert check_names(run_folder()) == [
        "downstream.auroc[synthetic-europe,AF,0.1]",
        "downstream.auroc[synthetic-europe,AF,1]",
        "downstream.auroc_gain[synthetic-europe,AF,1,vs-demographics]",
        "downstream.sensitivity[synthetic-europe,AF]",
    ]


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("target", ["pytest_ecgfm.suites", "pytest_ecgfm.suites.test_downstream"])
def test_pyargs(user, run_folder, target):
    user.runpytest_subprocess("--ecgfm=spread", "--pyargs", target, *SMALL)
    assert len(check_names(run_folder())) == 4


def test_suites_without_a_model_are_an_error(user):
    result = user.runpytest_subprocess("--pyargs", "pytest_ecgfm.suites")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*the suites need a model: add --ecgfm=NAME*"])


@pytest.mark.usefixtures("fresh")
def test_a_users_collection_options_do_not_reach_the_suites(user, run_folder):
    user.makeini(
        """
        [pytest]
        testpaths = checks
        python_files = check_*.py
        python_functions = check_*
        addopts = --strict-markers --strict-config --import-mode=importlib
        filterwarnings = error
        norecursedirs = *
        collect_ignore_glob_unused =
        """.replace("collect_ignore_glob_unused =", "")
    )
    user.mkdir("checks").joinpath("check_own.py").write_text("def check_one(): assert True\n")
    user.runpytest_subprocess("--ecgfm=spread", *SMALL)
    assert len(check_names(run_folder())) == 4


def test_a_users_ignore_rules_do_not_reach_the_suites(user, run_folder):
    with (user.path / "conftest.py").open("a") as handle:
        handle.write('\ncollect_ignore_glob = ["*"]\n')
    user.runpytest_subprocess("--ecgfm=spread", *SMALL)
    assert len(check_names(run_folder())) == 4


def test_a_users_own_suites_folder_does_not_clash(user, run_folder):
    folder = user.mkdir("suites")
    folder.joinpath("__init__.py").touch()
    folder.joinpath("test_downstream.py").write_text("def test_auroc(): assert 1 + 1 == 2\n")
    both = user.runpytest_subprocess("--ecgfm=spread", "--pyargs", "pytest_ecgfm.suites", "suites", *SMALL)
    assert both.parseoutcomes()["passed"] >= 1
    assert len(check_names(run_folder())) == 4
    alone = user.runpytest_subprocess("suites")
    alone.assert_outcomes(passed=1)


@pytest.mark.usefixtures("fresh")
def test_a_users_own_tests_are_left_alone_without_the_option(user):
    user.makeconftest("")
    user.makepyfile(
        """
        import sys

        def test_nothing_heavy_is_imported():
            heavy = {"torch", "xarray", "numpy", "pandas", "pydantic", "sklearn"} & set(sys.modules)
            assert not heavy

        class TestPlain:
            def test_one(self):
                assert sys.path
        """
    )
    result = user.runpytest_subprocess()
    result.assert_outcomes(passed=2)
    assert not [line for line in result.outlines if "ecgfm" in line and not line.startswith("plugins:")]
    assert not (user.path / "ecgfm-results").exists()


@pytest.mark.parametrize("place", ["tests/conftest.py", "my_models.py"])
def test_a_model_is_visible_wherever_it_is_declared(user, run_folder, place):
    source = (user.path / "conftest.py").read_text()
    (user.path / "conftest.py").unlink()
    (user.path / place).parent.mkdir(exist_ok=True)
    (user.path / place).write_text(source)
    extra = ("-p", "my_models") if place == "my_models.py" else ()
    user.syspathinsert()
    user.runpytest_subprocess("--ecgfm=spread", *extra, *SMALL)
    assert len(check_names(run_folder())) == 4


def test_a_model_named_twice_is_evaluated_once(user, run_folder):
    user.runpytest_subprocess("--ecgfm=spread", "--ecgfm=spread,spread", *SMALL)
    assert len(check_names(run_folder())) == 4


def test_two_declarations_of_one_name_are_an_error(user):
    user.mkdir("tests").joinpath("conftest.py").write_text((user.path / "conftest.py").read_text())
    result = user.runpytest_subprocess("--ecgfm=spread", *SMALL)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: two models are named 'spread': conftest.py:* and conftest.py:*"])


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("without", ["html", "xdist"])
def test_other_plugins_are_optional(user, run_folder, without):
    user.runpytest_subprocess("--ecgfm=spread", "-p", f"no:{without}", *SMALL)
    assert len(check_names(run_folder())) == 4
    assert (run_folder() / "report.html").exists() == (without != "html")


def test_collect_only_lists_and_writes_nothing(user):
    result = user.runpytest_subprocess("--ecgfm=spread", "--collect-only", "-q", *SMALL)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*test_downstream.py::test_auroc?spread-synthetic-europe-AF-0.1?"])
    assert not (user.path / "ecgfm-results").exists()


def test_a_path_of_ones_own_measures_nothing_and_says_so(user):
    user.makepyfile("def test_own(): assert True")
    result = user.runpytest_subprocess("--ecgfm=spread", "test_a_path_of_ones_own_measures_nothing_and_says_so.py")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*no suite was collected*", "verdict: INCOMPLETE"])


def test_a_model_named_in_an_ini_file_does_not_gate_ones_own_tests(user):
    user.makeini("[pytest]\necgfm = spread\n")
    user.makepyfile("def test_own(): assert True")
    result = user.runpytest_subprocess("test_a_model_named_in_an_ini_file_does_not_gate_ones_own_tests.py")
    assert result.ret == 0
    assert not (user.path / "ecgfm-results").exists() or not any((user.path / "ecgfm-results").iterdir())


def test_importing_the_plugin_is_light():
    code = (
        "import sys, pytest; before = set(sys.modules); import pytest_ecgfm.plugin;"
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('pytest_ecgfm')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="session")
def wheel_python(tmp_path_factory):
    """Make a virtual environment that holds the wheel, and sees this environment's libraries."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    wanted = ("pytest_ecgfm", "suites", "fixtures", "pyproject.toml", "README.md", "LICENSE")
    source.mkdir()
    for name in wanted:
        (source / name).symlink_to(ROOT / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile", "--target", where, str(wheel)],
        check=True,
        capture_output=True,
    )
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    Path(where, "libraries.pth").write_text("\n".join(libraries) + "\n")
    return python


def test_the_wheel_behaves_like_the_editable_install(user, run_folder, remove_results, wheel_python):
    def ids(python):
        done = subprocess.run(
            [python, "-m", "pytest", "--ecgfm=spread", *SMALL], cwd=user.path, capture_output=True, text=True
        )
        found = check_names(run_folder())
        verdict = json.loads((run_folder() / "verdict.json").read_text())
        remove_results()
        return done.returncode, found, verdict["encoders"]

    where = subprocess.run(
        [wheel_python, "-c", "import pytest_ecgfm.suites as s; print(s.__file__)"],
        cwd=user.path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(ROOT) not in where.stdout
    assert ids(wheel_python) == ids(sys.executable)


@pytest.mark.parametrize("installed", ["wheel", "editable"])
@pytest.mark.parametrize("start", ["pytest", "python -m pytest"])
def test_a_run_in_a_clone(tmp_path, wheel_python, installed, start):
    """`python -m pytest` puts the clone before what is installed; `pytest` does not."""
    for name in ("pytest_ecgfm", "suites", "fixtures", "tests", "pyproject.toml", "conftest.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    python = wheel_python if installed == "wheel" else sys.executable
    begin = (
        "import sys; sys.path[:] = [one for one in sys.path if one]; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    command = [python, "-m", "pytest"] if start.startswith("python") else [python, "-c", begin]
    out = tmp_path / "out"
    environment = {name: value for name, value in os.environ.items() if name != "ECGFM_DATA"}
    command += ["--ecgfm=random_conv", *SMALL, f"--ecgfm-out={out}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    # On a slow machine there is a line of progress.
    told = done.stdout + done.stderr
    assert "INTERNALERROR" not in told and "Traceback" not in told and "Warning" not in told, told
    assert (out / "verdict.json").is_file()
