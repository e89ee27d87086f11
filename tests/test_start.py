"""What is not needed is not imported: a misspelt option is told at once, and lists are printed at once."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = {"torch", "sklearn", "scipy", "xarray", "umap", "shap", "matplotlib", "numba", "h5py", "wfdb", "dask", "pandas"}

CALLS = {
    "no option": ["pytest"],
    "misspelt model": ["pytest", "--ecgfm=handcraftd"],
    "misspelt option": ["pytest", "--ecgfm-profil=smoke"],
    "unknown label": ["pytest", "--ecgfm=handcrafted", "--ecgfm-labels=AFF"],
    "unknown cohort": ["pytest", "--ecgfm=handcrafted", "--ecgfm-cohorts=synthetic-europ"],
    "unknown profile": ["pytest", "--ecgfm=handcrafted", "--ecgfm-profile=smok"],
    "unknown device": ["pytest", "--ecgfm=handcrafted", "--ecgfm-device=gpu"],
    "collect": ["pytest", "--ecgfm=handcrafted", "--collect-only"],
    "help": ["ecgfm", "--help"],
    "compare": ["ecgfm", "compare", "--help"],
    "cache": ["ecgfm", "cache", "--dir=."],
    "list": ["pytest", "--ecgfm-list"],
}

SCRIPT = """
import json, sys
from contextlib import redirect_stdout
heavy, calls = json.loads(sys.argv[1])
found = {}
for name, (program, *arguments) in calls.items():
    with redirect_stdout(sys.stderr):
        try:
            if program == "pytest":
                import pytest
                status = int(pytest.main([*arguments, "-p", "no:cacheprovider"]))
            else:
                from pytest_ecgfm.cli import main
                status = main(arguments)
        except SystemExit as end:
            status = end.code
    found[name] = [status, sorted(set(heavy) & set(sys.modules))]
print(json.dumps(found))
"""


def run(script, *arguments, folder):
    """Return what a process of its own prints, as JSON: this one has imported everything."""
    command = [sys.executable, "-c", script, *arguments]
    # What reads recordings imports what they need.
    environment = {name: value for name, value in os.environ.items() if name != "ECGFM_DATA"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    (folder / "test_nothing.py").write_text("def test_nothing(): pass\n")
    return run(SCRIPT, json.dumps([sorted(HEAVY), CALLS]), folder=folder)


@pytest.mark.parametrize("name", CALLS)
def test_nothing_heavy_is_imported_before_it_is_needed(started, name):
    status, heavy = started[name]
    assert heavy == []
    assert status == (4 if "unknown" in name or "misspelt" in name else 0)


EMBED = """
import json, sys
import numpy as np
from pytest_ecgfm import load_encoder
signal = np.sin(np.linspace(0, 60, 2500, dtype=np.float32))[None, None].repeat(12, axis=1)
leads = "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6".split()
encoder = load_encoder("demographics")
found = encoder.embed(signal, sampling_rate=250, leads=leads)
print(json.dumps([list(found.shape), encoder.device, "torch" in sys.modules]))
"""


def test_an_encoder_without_torch_does_not_import_it(tmp_path):
    shape, device, torch = run(EMBED, folder=tmp_path)
    assert shape[0] == 1
    assert (device, torch) == ("cpu", False)
