"""The pytest plugin's entry point: options, and nothing else until ``--ecgfm`` is given.

Every pytest run of an environment imports this module, so it imports only pytest and the standard library.
"""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_ecgfm.session.collect import SuiteModule

SUITES_FOLDER = "pytest_ecgfm.suites"

# Helpers that assert are rewritten in wheels and editable installs alike; an editable install lists no files.
pytest.register_assert_rewrite("pytest_ecgfm.suites")

OPTIONS = {
    "": ("NAME", "encoder to test: the name of a model fixture; repeatable, comma-separated"),
    "checkpoint": ("NAME=PATH", "weights of a built-in model: a file, a folder, or hf://owner/repo[@revision]/file"),
    "data": ("DIR", "folder that contains cohorts as published; default $ECGFM_DATA, else the embedded cohorts"),
    "cohorts": ("NAMES", "only these cohorts; default: all in the folder"),
    "labels": (
        "NAMES",
        "only these labels (columns and codes, too), quantities (age, quantity:EF) and sets; default from the profile",
    ),
    "labels_file": (
        "FILE",
        "TOML file that defines labels, quantities and sets: [label.NAME], [quantity.NAME], [set.NAME]",
    ),
    "fractions": ("LIST", "only these shares of the training patients, such as 0.01,0.1,1 or 1%%,10%%,100%%"),
    "seeds": ("N", "at most N seeds for each fraction; default 10 up to 1 %%, 5 up to 10 %%, 3 above, 1 at 100 %%"),
    "suites": ("NAMES", "only these suites"),
    "profile": ("NAME", "thresholds and grid: a shipped profile, or PATH.toml; default: default"),
    "reference": ("NAME", "reference encoders to beat, or none; repeatable; default from the profile"),
    "baseline": ("RUN", "an earlier run's folder or cube: AUROC must not be worse on the same records; repeatable"),
    "out": ("DIR", "folder for the results; default ecgfm-results/<UTC time>-<run id>"),
    "cache": ("DIR", "folder for embeddings and prepared cohorts; default $ECGFM_CACHE, else the user's cache folder"),
    "device": ("NAME", "auto, cpu, cuda, cuda:N or mps; default auto"),
    "batch_size": ("N", "records in a batch, or auto; default auto"),
    "precision": ("TYPE", "float32 or bfloat16; default float32"),
    "dask": (
        "ADDRESS",
        "embed and fit probes on a Dask cluster: local, local:N, or a scheduler's tcp:// or tls:// address",
    ),
    "timeout": (
        "SECONDS",
        "longest time that the model may take for one batch; if it takes longer, the run ends and is incomplete",
    ),
    "limit": ("N", "at most N records of each cohort, for a dry run: whole patients, in the same shares of labels"),
}
"""Option (without the prefix) to placeholder and help."""

SWITCHES = {
    "skip_bad_records": "leave out records that cannot be read, and count them, instead of stopping",
    "pseudonyms": "replace the names of records and patients by pseudonyms in all that a run writes and prints",
}
"""Option without a value (without the prefix) to help."""

REPEATABLE = ("", "checkpoint", "cohorts", "labels", "fractions", "suites", "reference", "baseline")

MARKERS = {
    "ecgfm_contract": "preconditions: repeatable, independent of the batch, frozen, honest about its leads",
    "ecgfm_downstream": "AUROC of probes on frozen embeddings, at each share of the training patients",
    "ecgfm_subgroups": "how well the one probe for all works in each group of patients",
    "ecgfm_transfer": "how well a probe of one cohort works in another",
    "ecgfm_stability": "how far perturbed records move in the embedding",
    "ecgfm_relevance": "which leads and dimensions carry a label: Shapley values, and whether they make sense",
    "ecgfm_separability": "clusters, neighbours and UMAP: labels should separate, cohorts should not",
    "ecgfm_advisory": "checks that do not set the exit status",
    "ecgfm_check(name)": "the check that a suite's test evaluates",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare each option, and the ini key of the same name."""
    group = parser.getgroup("ecgfm", "conformance of ECG foundation models")
    for name, (placeholder, text) in OPTIONS.items():
        flag = f"--ecgfm-{name.replace('_', '-')}" if name else "--ecgfm"
        key = f"ecgfm_{name}" if name else "ecgfm"
        action = "append" if name in REPEATABLE else "store"
        group.addoption(flag, dest=key, action=action, default=None, metavar=placeholder, help=text)
        parser.addini(key, text.replace("%%", "%"), default="")
    for name, text in SWITCHES.items():
        flag = f"--ecgfm-{name.replace('_', '-')}"
        group.addoption(flag, dest=f"ecgfm_{name}", action="store_true", default=False, help=text)
        parser.addini(f"ecgfm_{name}", text, type="bool")
    group.addoption(
        "--ecgfm-list",
        dest="ecgfm_list",
        action="store_true",
        default=False,
        help="list models, cohorts, labels with counts, profiles and checks; run nothing",
    )


def _asked_for(config: pytest.Config) -> bool:
    if config.getoption("ecgfm") is not None or config.getoption("ecgfm_list"):
        return True
    if config.getini("ecgfm"):
        # Named in an ini file, and paths of one's own on the command line: an ordinary run of other tests.
        own = config.args_source is pytest.Config.ArgsSource.ARGS
        return not own or any("pytest_ecgfm" in argument for argument in config.args)
    # `--ecgfm-profile=run.toml` repeats a run, model and all.
    profile = config.getoption("ecgfm_profile")
    if not profile or not str(profile).endswith(".toml"):
        return False
    from pytest_ecgfm.errors import EcgfmError
    from pytest_ecgfm.report.escape import terminal
    from pytest_ecgfm.results.profiles import names_models

    try:
        return names_models(profile)
    except EcgfmError as error:
        raise pytest.UsageError(terminal(str(error))) from None


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register markers and, if a model was named, everything else."""
    for name, text in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {text}")
    if _asked_for(config):
        from pytest_ecgfm.session.lasting import forget, lasting

        forget()
        with lasting():
            from pytest_ecgfm.session.activate import activate

            activate(config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect in a run of ours without searching for garbage."""
    plugins = session.config.pluginmanager
    if not (plugins.has_plugin("ecgfm-session") or plugins.has_plugin("ecgfm-listing")):
        return (yield)
    from pytest_ecgfm.session.lasting import lasting

    with lasting():
        return (yield)


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the suites' folder in our own way, so that a user's ``python_files`` and the like do not reach it."""
    if path.name == "suites" and (path / "test_downstream.py").is_file():
        from pytest_ecgfm.session.collect import collect_directory

        return collect_directory(path, parent)
    return None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> "SuiteModule | None":
    """Collect one suite given by name (``--pyargs pytest_ecgfm.suites.test_downstream``)."""
    if module_path.parent.name == "suites" and module_path.name.startswith("test_"):
        from pytest_ecgfm.session.collect import collect_module

        return collect_module(module_path, parent)
    return None
