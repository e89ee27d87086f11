"""One more built-in label, in a scratch copy of the tables."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doc_blocks import ROOT

NINTH = """
from pytest_ecgfm.cohorts import LABELS, load_cohort
from pytest_ecgfm.cohorts.synthetic import SPECS
from pytest_ecgfm.cohorts.harmonise import VOCABULARIES, harmonise
from pytest_ecgfm.evaluations.relevance import PRIORS
from pytest_ecgfm.results.profiles import load_profile
print("LVH" in LABELS, PRIORS.get("LVH"))
for source, vocabulary, codes in (
    ("ptb-xl", "scp_ecg", ("LVH", "NORM")), ("georgia", "snomed_ct", ("164873001", "426783006")),
    ("somebody's own", "snomed_ct", ("164873001", "426783006")), ("sph", "aha", ("142", "1")),
):
    found = harmonise({one: [one] for one in codes}, vocabulary, source=source)
    print(*(str(one) for one in found.labels.get("LVH", ())))
import hashlib, pandas
total = hashlib.sha256()
for name in SPECS:
    cohort = load_cohort(name)
    old = [one for one in cohort.labels if one != "LVH"]
    total.update(pandas.util.hash_pandas_object(cohort.labels[old].astype(str)).to_numpy().tobytes())
    total.update(pandas.util.hash_pandas_object(cohort.table.astype(str)).to_numpy().tobytes())
    print(cohort.labels.get("LVH", pandas.Series(dtype="boolean")).notna().sum())
print(total.hexdigest())
"""


def _scratch(folder):
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    script = f"import sys; sys.path.insert(0, {str(folder)!r})\nimport pytest_ecgfm\n"
    script += f"assert pytest_ecgfm.__file__.startswith({str(folder)!r}), pytest_ecgfm.__file__\n" + NINTH
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_ninth_built_in_label_is_one_row_and_its_rows_in_vocabularies(tmp_path):
    shutil.copytree(ROOT / "pytest_ecgfm", tmp_path / "pytest_ecgfm", ignore=shutil.ignore_patterns("__pycache__"))
    before = _scratch(tmp_path)
    tables = tmp_path / "pytest_ecgfm" / "cohorts" / "labels"
    _append(tables / "labels.csv", "LVH,left ventricular hypertrophy,I V1 V5 V6,")
    _append(tables / "scp_ecg.csv", "LVH,left ventricular hypertrophy,LVH,true,,a test,")
    _append(tables / "snomed_ct.csv", "164873001,left ventricular hypertrophy,LVH,true,,a test,")
    _append(tables / "vocabulary.csv", "ptb-xl,LVH,yes,")
    after = _scratch(tmp_path)
    assert after[0] == "True ('I', 'V1', 'V5', 'V6')" and before[0] == "False None"
    # Known where a row says so; where none does, unknown and never false.
    assert after[1:5] == ["True False", "<NA> <NA>", "True False", "<NA> <NA>"]
    assert after[5:9] == ["0"] * 4
    assert after[9] == before[9], "the synthetic cohorts changed"


def _append(path: Path, line: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").rstrip("\n") + f"\n{line}\n", encoding="utf-8")
