"""`evaluate`, for notebooks: the same checks as a pytest run, in this process."""

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsClassifier

import pytest_ecgfm
from pytest_ecgfm import Measured, ecg_check, ecg_model, ecg_perturbation, ecg_probe
from pytest_ecgfm.cards import CohortCard
from pytest_ecgfm.cohorts.own import own_cohort
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.probe_kinds import PROBES
from pytest_ecgfm.results.checks import CHECKS
from pytest_ecgfm.signals.perturbations import PERTURBATIONS, VARIANTS

pytestmark = pytest.mark.slow

CARD = {"sampling_rate": 100, "pretrained_on": [], "input": "array"}


def spread(signals):
    return np.concatenate([signals.std(-1), np.ptp(signals, axis=-1)], axis=1)


@pytest.fixture(scope="module")
def hospital():
    rng = np.random.default_rng(0)
    targets = np.arange(300) % 3 == 0
    signals = rng.normal(size=(300, 12, 1000)) * np.where(targets, 1.5, 1.0)[:, None, None]
    table = pd.DataFrame({"AF": targets, "patient": np.arange(300).astype(str)})
    return own_cohort(CohortCard(name="hospital", sampling_rate=100), (signals.astype(np.float32), table), where="here")


def evaluated(model, hospital, folder, **more):
    asked = {"cohorts": [hospital], "labels": ["AF"], "suites": ["contract", "downstream"], "fractions": [1.0]}
    return pytest_ecgfm.evaluate(model, references=["none"], cache=folder / "cache", **{**asked, **more})


@pytest.fixture(scope="module")
def result(hospital, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    return evaluated(spread, hospital, folder, card={**CARD, "name": "spread"}, out=folder / "run")


def test_a_model_of_ones_own_on_a_cohort_of_ones_own_gets_a_verdict(result):
    assert result.verdict.outcome == "pass" and result.verdict.complete, result.verdict.reasons
    assert set(result.checks["suite"]) == {"contract", "downstream"}
    (auroc,) = result.checks.loc[result.checks["check"] == "downstream.auroc[hospital,AF,1]", "value"]
    held = result.cube["downstream/auroc"].sel(encoder="spread", cohort="hospital", label="AF").squeeze()
    assert float(held) == auroc > 0.99
    assert (result.folder / "generalization.html").is_file() and (result.folder / "verdict.json").is_file()


def test_what_a_notebook_shows(result):
    assert repr(result).startswith("<Result pass: ")
    shown = result._repr_html_()
    assert "<b>PASS</b>" in shown and "contract.batch[hospital]" in shown
    assert set(result.figures()) == {"auroc-hospital"}


def test_the_last_check_looks_back_on_all_others(result):
    assert result.checks["check"].iloc[-1] == "contract.unchanged[hospital]"


def test_a_model_that_fails_is_a_failed_model_and_its_own_exceptions_too(hospital, tmp_path):
    def breaks(signals):
        raise RuntimeError("no such <layer>")

    found = evaluated(breaks, hospital, tmp_path, card=CARD)
    assert found.verdict.outcome == "fail"
    assert "no such <layer>" in " ".join(found.checks["reason"])
    assert "no such &lt;layer&gt;" in found._repr_html_()


def test_a_decorated_model_brings_its_card(hospital, tmp_path):
    @ecg_model(**CARD)
    def decorated():
        return spread

    found = evaluated(decorated, hospital, tmp_path, suites=["downstream"])
    assert set(found.checks["encoder"]) == {"decorated"} and found.verdict.outcome == "pass"


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        (spread, {}, "needs its card"),
        ("handcraftd", {}, "Did you mean 'handcrafted'"),
        (spread, {"card": {**CARD, "rate": 1}}, "evaluate: card of 'model': unknown field 'rate'"),
        (spread, {"card": CARD, "labels": ["AFF"]}, "Did you mean 'AF'"),
        (spread, {"card": CARD, "suites": ["downstrem"]}, "Did you mean 'downstream'"),
        (spread, {"card": CARD, "fractions": [2.0]}, "--ecgfm-fractions"),
    ],
)
def test_an_argument_that_is_not_valid_is_one_line(hospital, tmp_path, model, more, message):
    with pytest.raises(EcgfmError, match=message) as caught:
        evaluated(model, hospital, tmp_path, **more)
    assert "\n" not in str(caught.value)


def test_a_model_that_asks_for_other_fixtures_needs_a_pytest_run(hospital, tmp_path):
    @ecg_model(**CARD)
    def needy(tmp_path_factory):
        return spread

    with pytest.raises(EcgfmError, match="asks for other fixtures, which only a pytest run has"):
        evaluated(needy, hospital, tmp_path)


@ecg_check("size.dimensions", title="Dimensions of the embedding", cells=(), maximum=8, reason="what our index holds")
def dimensions(run, encoder, case):
    return Measured.exact(run.embeddings(encoder, run.cohort("hospital")).shape[1])


@ecg_perturbation("mine.offset", parameter="offset of every lead", units="mV", severities=(0.5,))
def offset(batch, severity, generator):
    return batch.signals + severity


@ecg_probe("mine.nearest")
def nearest(seed):
    return KNeighborsClassifier(5)


OWN = """
name = "own"
[grid]
suites = ["size", "stability", "downstream"]
probe = "mine.nearest"
[[check]]
name = "stability.displacement"
perturbations = ["mine.offset@0.5mV"]
maximum = 0.1
reason = "the spread of a signal has no offset"
[[check]]
name = "downstream.auroc"
minimum = 0.9
reason = "the signals differ by half"
"""


def test_checks_perturbations_and_probes_of_ones_own_are_judged_as_in_a_pytest_run(hospital, tmp_path):
    tables = [dict(table) for table in (CHECKS, PERTURBATIONS, VARIANTS, PROBES)]
    profile = tmp_path / "own.toml"
    profile.write_text(OWN, encoding="utf-8")
    more = {"suites": None, "profile": profile, "card": {**CARD, "name": "spread"}, "out": tmp_path / "run"}
    result = evaluated(spread, hospital, tmp_path, declared=[dimensions, offset, nearest], **more)
    values = result.checks.set_index("check")["value"]
    # 24 dimensions are more than 8: a check of one's own blocks.
    assert values["size.dimensions"] == 24 and result.verdict.outcome == "fail"
    assert values["stability.displacement[hospital,mine.offset@0.5mV]"] < 1e-3
    assert values["downstream.auroc[hospital,AF,1]"] > 0.9
    assert tables == [CHECKS, PERTURBATIONS, VARIANTS, PROBES]


def test_what_declares_nothing_is_refused(hospital, tmp_path):
    with pytest.raises(EcgfmError, match=r"declared has .*spread.* which declares nothing"):
        evaluated(spread, hospital, tmp_path, card=CARD, declared=[spread])
