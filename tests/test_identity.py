"""What a change of the code does to the keys of cached embeddings."""

import json
import os
import shutil
from pathlib import Path

import pytest

from pytest_ecgfm.cards.identity import closure, code_digest
from tests.forked import Forked

PACKAGE = Path(__file__).parents[1] / "pytest_ecgfm"

# Prints the keys of what `handcrafted` makes of a synthetic cohort, of perturbed records, of leads, and of the map.
KEYS = """
import json
from pathlib import Path
from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.embeddings import EmbeddingCache, Part
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.handcrafted import Handcrafted
from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.measurements import explained, separability, stability
from pytest_ecgfm.run.run import Run

card = parse_card("handcrafted", {"input": "records", "version": "1"}, where="test")
encoder, cohort = Encoder(card, Handcrafted()), load_cohort("synthetic-europe")
vars(cohort)["digest"] = "the same records"
cache, keys = EmbeddingCache(Path("unused"), "run"), {}
keys["cohort"] = cache._store(encoder, cohort, None).key
parts = {"perturbed": stability.MODULES, "leads": explained.MODULES, "map": separability.MAP_MODULES}
for name, modules in parts.items():
    keys[name] = cache._store(encoder, cohort, Part(name, name, 1, modules)).key
print(json.dumps(keys))
"""


def keys_of(folder):
    said, errors = folder / "said", folder / "errors"
    status = Forked(("-c", KEYS), folder, dict(os.environ), (said, errors)).wait()
    assert status == 0, errors.read_text(encoding="utf-8")
    return json.loads(said.read_text(encoding="utf-8").splitlines()[-1])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    shutil.copytree(PACKAGE, folder / "pytest_ecgfm", ignore=shutil.ignore_patterns("__pycache__"))
    return folder, keys_of(folder)


@pytest.fixture
def changed(original, tmp_path):
    """Give a function that changes files of the package, and says which keys are new."""

    def change(files, edit):
        folder, keys = original
        shutil.copytree(folder / "pytest_ecgfm", tmp_path / "pytest_ecgfm", dirs_exist_ok=True)
        for file in files:
            path = tmp_path / "pytest_ecgfm" / file
            path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")
        found = keys_of(tmp_path)
        return {name for name in keys if found[name] != keys[name]}

    return change


def with_code(text):
    return text + "\n\n_ADDED = 1\n"


def with_comments(text):
    first, _, rest = text.partition('"""\n')
    return f'{first} It is said otherwise here."""\n# A comment.\n{rest}\n\n# Another one.\n'


ALL = {"cohort", "perturbed", "leads", "map"}


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("RECORDS", ALL),
        ("SYNTHETIC", ALL),
        ("encoders/beats.py", ALL),
        ("PREPROCESSING", ALL),
        ("PERTURBATIONS", {"perturbed"}),
        ("ELECTRODES", {"perturbed"}),
        ("COALITIONS", {"leads"}),
        ("evaluations/shapley.py", {"leads"}),
        ("evaluations/umap_map.py", {"map"}),
        ("measurements/chosen.py", {"perturbed", "leads"}),
    ],
)
def test_code_changes_the_keys_of_what_it_makes_and_of_nothing_else(changed, file, keys):
    assert changed([PLACES.get(file, file)], with_code) == keys


PLACES = {
    "RECORDS": "signals/records.py",
    "SYNTHETIC": "cohorts/synthetic/signal.py",
    "PREPROCESSING": "encoders/preprocessing.py",
    "PERTURBATIONS": "signals/perturbations.py",
    "ELECTRODES": "signals/electrodes.py",
    "COALITIONS": "signals/coalitions.py",
}


def test_comments_docstrings_and_layout_change_no_key(changed):
    files = [*PLACES.values(), "encoders/beats.py", "measurements/chosen.py", "evaluations/shapley.py"]
    assert changed(files, with_comments) == set()


def test_code_that_takes_no_part_changes_no_key(changed):
    files = ["cohorts/fetch.py", "cohorts/ptb_xl.py", "encoders/ecg_fm.py", "report/page.py"]
    assert changed(files, with_code) == set()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a few modules in the place of ours."""
    from pytest_ecgfm.cards import identity

    def make(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(identity, "_FOLDER", tmp_path)
        for kept in (identity.closure, identity._path, identity._imported, identity._own_code):
            kept.cache_clear()

    yield make
    for kept in (identity.closure, identity._path, identity._imported, identity._own_code):
        kept.cache_clear()


def test_a_module_that_moves_keeps_its_identity(package):
    package(a="from pytest_ecgfm.zzb import x\n\ny = x + 1\n", zzb="x = 1\n")
    before = code_digest("pytest_ecgfm.a")
    package(a="from pytest_ecgfm.room.zzc import x\n\ny = x + 1\n", room__zzc="x = 1\n")
    assert code_digest("pytest_ecgfm.a") == before
    package(a="from .room.zzc import x\n\ny = x + 1\n")
    assert code_digest("pytest_ecgfm.a") == before
    package(room__zzc="x = 2\n")
    assert code_digest("pytest_ecgfm.a") != before


@pytest.mark.parametrize(
    "text",
    [
        "from pytest_ecgfm import zzb\n",
        "from pytest_ecgfm.zzb import x\n",
        "import pytest_ecgfm.zzb\n",
        "def late():\n    from pytest_ecgfm.zzb import x\n    return x\n",
        "from . import zzb\n",
        "from .zzb import x as y\n",
        "if True:\n    from pytest_ecgfm.zzb import x\n",
        "try:\n    from pytest_ecgfm.zzb import x\nexcept ImportError:\n    x = None\n",
        "from pytest_ecgfm.zzc import y\n",
    ],
)
def test_every_way_to_import_is_followed(package, text):
    package(zza=text, zzb="x = 1\n", zzc="from pytest_ecgfm.zzb import x as y\n")
    assert "pytest_ecgfm.zzb" in closure("pytest_ecgfm.zza")
    before = code_digest("pytest_ecgfm.zza")
    package(zzb="x = 2\n")
    assert code_digest("pytest_ecgfm.zza") != before


def test_what_is_imported_for_names_alone_does_not_count(package):
    package(
        zza="from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from pytest_ecgfm.zzb import x\n", zzb="x = 1\n"
    )
    assert closure("pytest_ecgfm.zza") == {"pytest_ecgfm.zza"}


def test_other_packages_are_no_part_of_it_and_a_missing_module_is_an_error():
    assert closure("numpy", "json") == frozenset()
    with pytest.raises(ValueError, match=r"no module pytest_ecgfm\.nowhere"):
        code_digest("pytest_ecgfm.nowhere")
