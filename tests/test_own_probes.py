"""Probes that others declare: one door, held to their word, on the splits and seeds of any other probe."""

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from pytest_ecgfm import ecg_probe
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.downstream import evaluate
from pytest_ecgfm.evaluations.probe_kinds import PROBES, ProbeKind, forget_declared_probes, register_probe
from pytest_ecgfm.evaluations.probes import fit_probe
from pytest_ecgfm.evaluations.splits import make_split
from pytest_ecgfm.results.baseline import Baseline
from pytest_ecgfm.results.profiles import load_profile, names_models
from pytest_ecgfm.session.declared import register_declared
from tests.test_baseline import scores, write_run


def declare(function, name="mine.svm"):
    module = ModuleType("theirs")
    module.probe = ecg_probe(name)(function)
    register_declared(SimpleNamespace(pluginmanager=SimpleNamespace(get_plugins=lambda: [module])))


def svm(seed):
    return SVC(random_state=seed)


@pytest.fixture(autouse=True)
def forgotten():
    yield
    forget_declared_probes()


@pytest.fixture
def circle(rng):
    """Records of two classes that no line tells apart."""
    embeddings = rng.normal(size=(400, 2)).astype(np.float32)
    return embeddings, np.linalg.norm(embeddings, axis=1) > 1.2, np.arange(400).astype(str)


def fit(embeddings, targets, patients, seed=0):
    return fit_probe("mine.svm", embeddings, targets, patients, embeddings[:0], [], seed=seed)


def test_a_declared_probe_is_one_of_the_table_until_its_run_ends():
    ours = dict(PROBES)
    declare(svm)
    one = PROBES["mine.svm"]
    assert one.where.startswith("test_own_probes.py:") and len(one.code) == 64 and not one.anywhere
    forget_declared_probes()
    assert ours == PROBES


def test_it_sees_the_splits_and_seeds_of_any_other_probe(circle):
    seeds = []
    declare(lambda seed: seeds.append(seed) or SVC(random_state=seed))
    split = make_split(circle[1], circle[2], None)
    theirs = evaluate(*circle, split, 0.5, (0, 1), probe="mine.svm")
    ours = evaluate(*circle, split, 0.5, (0, 1))
    np.testing.assert_array_equal(theirs.tested, ours.tested)
    np.testing.assert_array_equal(theirs.n_train, ours.n_train)
    assert set(seeds) == {0, 1}
    assert theirs.estimate.value > 0.95 > 0.65 > ours.estimate.value
    assert np.isnan(theirs.brier).all() and np.isnan(theirs.C).all()


def test_it_is_fitted_to_z_scored_embeddings_and_scored_by_what_it_offers(circle):
    embeddings, targets, _ = circle
    space = StandardScaler().fit(embeddings)
    declare(svm)
    found = fit(*circle)
    alone = SVC().fit(space.transform(embeddings), targets)
    np.testing.assert_allclose(
        found.scores(embeddings), alone.decision_function(space.transform(embeddings)), atol=1e-5
    )
    assert np.isnan(found.probabilities(embeddings)).all()
    declare(lambda seed: make_pipeline(StandardScaler(), LogisticRegression()))
    found = fit(*circle)
    assert ((found.probabilities(embeddings) >= 0) & (found.probabilities(embeddings) <= 1)).all()
    np.testing.assert_array_equal(found.scores(embeddings), found.probabilities(embeddings))


def test_what_an_estimator_learnt_elsewhere_is_forgotten(circle):
    embeddings, targets, patients = circle
    shared = SVC().fit(embeddings, targets)
    declare(lambda seed: shared)
    first = fit(embeddings[:200], targets[:200], patients[:200])
    before = first.scores(embeddings)
    fit(embeddings[200:], ~targets[200:], patients[200:])
    np.testing.assert_array_equal(first.scores(embeddings), before)
    assert roc_auc_score(targets[200:], before[200:]) > 0.9


class Lost(SVC):
    def decision_function(self, X):
        return np.full(len(X), np.nan)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda seed: 1 / 0, r"cannot be fitted to 400 records \(ZeroDivisionError: "),
        (lambda seed: "text", r"cannot be fitted to 400 records \(TypeError: "),
        (lambda seed: StandardScaler(), "should have predict_proba or decision_function"),
        (lambda seed: SVC(C=-1.0), "C' parameter of SVC must be a float"),
        (lambda seed: Lost(), "should be one finite number a record"),
    ],
)
def test_a_probe_that_breaks_its_word_is_one_line(circle, make, message):
    declare(make)
    with pytest.raises(EcgfmError, match=message) as caught:
        fit(*circle).scores(circle[0])
    text = str(caught.value)
    assert text.startswith("test_own_probes.py:") and "probe 'mine.svm'" in text and "\n" not in text


@pytest.mark.parametrize("name", ["svm", "Mine.svm", "mine.", "mine.a.b", "mine.svm\n"])
def test_a_name_without_a_namespace_is_refused(name):
    with pytest.raises(EcgfmError, match=r"such as 'mine\.svm'"):
        declare(svm, name)


def test_a_clash_is_an_error():
    register_probe(ProbeKind("mine.svm", where="a.py:1"))
    with pytest.raises(EcgfmError, match=r"b\.py:1: a probe named 'mine\.svm' is already declared by a\.py:1"):
        register_probe(ProbeKind("mine.svm", where="b.py:1"))


def test_a_profile_chooses_it_by_name(tmp_path):
    profile = tmp_path / "mine.toml"
    profile.write_text('extends = "smoke"\n[grid]\nprobe = "mine.svm"\n')
    with pytest.raises(EcgfmError, match=r"grid\.probe: unknown probe 'mine\.svm'.* Valid: knn, logistic, mlp"):
        load_profile(str(profile))
    declare(svm)
    assert load_profile(str(profile)).grid.probe == "mine.svm"


@pytest.mark.parametrize(("run", "wanted"), [("", False), ('[run]\nmodels = ["m"]\n', True), ("run = 3\n", True)])
def test_a_profile_is_asked_for_its_models_before_what_others_declare_is_known(tmp_path, run, wanted):
    profile = tmp_path / "run.toml"
    profile.write_text(f'{run}[grid]\nprobe = "mine.svm"\n[[check]]\nname = "size.dimensions"\nmaximum = 3\n')
    assert names_models(str(profile)) is wanted


def test_scores_of_a_probe_whose_code_was_another_are_stale(rng, tmp_path):
    declare(svm)
    tree = xr.open_datatree(write_run(tmp_path / "old", scores(rng)) / "cube.nc", engine="h5netcdf").load()
    tree.close()
    for folder, code in (("same", PROBES["mine.svm"].code), ("other", "0" * 64)):
        (tmp_path / folder).mkdir()
        tree.attrs["profile"] = f'[grid]\nprobe = "mine.svm"\n[run]\nprobe_code = "{code}"\n'
        tree.to_netcdf(tmp_path / folder / "cube.nc", engine="h5netcdf")
    assert Baseline(tmp_path / "same").scores("one", "a", "AF", probe="mine.svm").records.size == 300
    with pytest.raises(EcgfmError, match=r"other is stale: the code of its probe mine\.svm was different"):
        Baseline(tmp_path / "other").scores("one", "a", "AF", probe="mine.svm")
