"""`python -m MODULE` and `python -c CODE` in a process of its own, without the seconds that libraries take to import.

The standard library's fork server imports them once; each run is a fork of it that has nothing of ours, of pytest's
plugins or of another run. What such a run cannot show: an import that fails or takes too long, and an order that comes
from the seed of hashes, which all forks share. Tests of these ask for `fresh`.
"""

import atexit
import gc
import json
import multiprocessing

# pytester forgets what is imported in a test: another server would start in the next one.
import multiprocessing.popen_forkserver
import os
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path

# Not those that bring a plugin of pytest: pytest rewrites them when they are imported. What is missing is left out.
LIBRARIES = (
    "distributed",
    "filelock",
    "h5netcdf",
    "h5py",
    "jinja2",
    "joblib",
    "numpy",
    "pandas",
    "platformdirs",
    "pydantic.main",
    "pydantic.fields",
    "pytest",
    "requests",
    "scipy.ndimage",
    "scipy.signal",
    "scipy.stats",
    "sklearn.cluster",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.manifold",
    "sklearn.metrics",
    "sklearn.mixture",
    "sklearn.model_selection",
    "sklearn.neighbors",
    "sklearn.pipeline",
    "sympy",
    "tomli_w",
    "torch",
    "torch.export",
    "tqdm",
    "umap",
    "xarray",
)


@cache
def _server():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    return context


@cache
def _path():
    """What a new interpreter searches, but for the folder it is started in and `$PYTHONPATH`."""
    command = [sys.executable, "-I", "-c", "import json, sys; print(json.dumps(sys.path))"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _begin(command, folder, environment, path, files):
    gc.freeze()
    for number, file in enumerate(files, start=1):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    own = [one for one in environment.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.path[:] = [str(folder), *own, *path]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "benchmarks", "pytest_ecgfm")]:
        del sys.modules[name]
    option, what, *arguments = command
    sys.argv[:] = [what if option == "-m" else option, *arguments]
    try:
        if option == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(what, {"__name__": "__main__"})
    finally:
        # A forked process leaves these out.
        atexit._run_exitfuncs()


class Forked:
    """What `subprocess.Popen` gives, as far as pytester asks for it; output goes to two files."""

    stdin = None

    def __init__(self, command, folder, environment, files):
        self._process = _server().Process(target=_begin, args=(command, folder, environment, _path(), files))
        self._process.start()

    def wait(self):
        self._process.join()
        status = self._process.exitcode
        self._process.close()
        return status


def starter(pytester):
    """Return what takes the place of `pytester.popen`."""
    otherwise = pytester.popen

    def popen(command, **options):
        match command:
            case (sys.executable, "-mpytest", *arguments):
                asked = ("-m", "pytest", *arguments)
            case (sys.executable, "-m", *_):
                asked = command[1:]
            case _:
                return otherwise(command, **options)
        searched = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
        files = [options[name].name for name in ("stdout", "stderr")]
        return Forked(asked, Path.cwd(), {**os.environ, "PYTHONPATH": searched}, files)

    return popen
