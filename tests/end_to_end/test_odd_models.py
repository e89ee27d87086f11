"""Models and cohorts as people have them end in a verdict about the model: modules of odd kinds, and few leads."""

import json

import pytest

from pytest_ecgfm.results.checks import CHECKS

pytestmark = pytest.mark.slow

CONTRACT = sum(kind.suite == "contract" for kind in CHECKS.values())

CONFTEST = """
import io
import numpy as np
import pandas as pd
import torch
from torch import nn
from pytest_ecgfm import ecg_cohort, ecg_model


@ecg_cohort(sampling_rate=250, leads="I")
def watch():
    signals = np.random.default_rng(0).normal(0, 0.1, (60, 1, 2500)).astype("float32")
    return signals, pd.DataFrame({"AF": np.arange(60) % 3 == 0})


@ecg_cohort(sampling_rate=250, leads="III aVL")
def limbs():
    signals = np.random.default_rng(1).normal(0, 0.1, (60, 2, 2500)).astype("float32")
    return signals, pd.DataFrame({"AF": np.arange(60) % 3 == 0})


class Spread(nn.Module):
    def __init__(self, leads):
        super().__init__()
        self.layer = nn.Linear(leads, 8)
        torch.manual_seed(0)

    def forward(self, x):
        return self.layer(x.abs().mean(-1))


class NoReturn(Spread):
    def train(self, mode=True):
        super().train(mode)


def card(leads):
    return ecg_model(sampling_rate=100, leads=leads, pretrained_on=[])


@card("I")
def one_lead():
    return nn.Sequential(nn.Conv1d(1, 16, 25, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten())


@card("aVL III")
def two_limbs():
    return nn.Sequential(nn.Conv1d(2, 16, 25, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten())


@card("I")
def loaded():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(Spread(1).eval(), torch.zeros(2, 1, 1000)), buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


@card("I")
def exported():
    shapes = {"x": {0: torch.export.Dim.DYNAMIC}}
    return torch.export.export(Spread(1).eval(), (torch.zeros(2, 1, 1000),), dynamic_shapes=shapes).module()


@card("I")
def no_return():
    return NoReturn(1)


@card("I")
def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8))


@card("I")
def fields():
    return lambda x: {"last_hidden_state": x[:, :, :100].transpose(1, 2), "pooler_output": x.mean(-1)}
"""


@pytest.fixture
def people(user):
    user.makeconftest(CONFTEST)
    return user


def rows_of(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("model, cohort", [("one_lead", "watch"), ("two_limbs", "limbs")])
def test_few_leads_are_no_error_in_any_suite(people, run_folder, model, cohort):
    suites = "contract,downstream,stability,relevance,separability"
    options = f"--ecgfm={model}", f"--ecgfm-cohorts={cohort}", f"--ecgfm-suites={suites}", "--ecgfm-labels=AF"
    result = people.runpytest_subprocess(*options)
    rows = rows_of(run_folder())
    assert {row["suite"] for row in rows} == set(suites.split(","))
    assert not [row for row in rows if row["outcome"] == "error"]
    assert all(row["outcome"] == "pass" for row in rows if row["suite"] == "contract")
    missing = [row["reason"] for row in rows if row["suite"] == "relevance" and row["outcome"] == "insufficient"]
    assert sum(reason.startswith("not applicable: ") for reason in missing) >= 5
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize("model", ["loaded", "exported", "no_return"])
def test_modules_of_odd_kinds_run_to_a_verdict(people, run_folder, model):
    people.runpytest_subprocess(
        f"--ecgfm={model}", "--ecgfm-cohorts=watch", "--ecgfm-suites=contract", "--ecgfm-profile=smoke"
    )
    rows = rows_of(run_folder())
    assert len(rows) == CONTRACT and {row["outcome"] for row in rows} == {"pass"}, rows


@pytest.mark.parametrize(
    "model, says, again",
    [
        ("lazy", "no values before the first pass (a lazy module): run it once", "has no values, as said before"),
        ("fields", "such as pooler_output or the mean of last_hidden_state", "returned a dict, as said before"),
    ],
)
def test_what_holds_for_every_record_is_said_once(people, run_folder, model, says, again):
    result = people.runpytest_subprocess(
        f"--ecgfm={model}", "--ecgfm-cohorts=watch", "--ecgfm-suites=contract", "--ecgfm-profile=smoke"
    )
    rows = rows_of(run_folder())
    assert len(rows) == CONTRACT and {row["outcome"] for row in rows} == {"fail"}
    assert sum(says in row["reason"] for row in rows) == 1
    assert sum(again in row["reason"] for row in rows) == CONTRACT - 1
    failures = result.stdout.str().partition("conformance")[0]
    assert failures.count(says) == 1
    assert "Traceback" not in result.stdout.str()
