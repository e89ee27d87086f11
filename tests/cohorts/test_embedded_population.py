"""Whom the embedded cohorts consist of: labels, patients, folds, ages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ecgfm.cohorts.base import CONTINENTS, LABELS
from pytest_ecgfm.cohorts.synthetic import SPECS, EmbeddedCohort, load_embedded
from pytest_ecgfm.cohorts.synthetic.population import MODELLED, true_labels
from tests.cohorts.embedded_data import NAMES, usual_state

# ----------------------------------------------------------------------------------------------- table and labels


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("name", NAMES)
def test_labels_are_as_common_as_the_specification_says(name: str, seed: int) -> None:
    cohort = load_embedded(name, seed=seed)
    counts = cohort.labels.sum()
    assert len(cohort) == 1000
    assert list(cohort.labels.columns) == list(LABELS)
    assert not cohort.labels[list(MODELLED)].isna().to_numpy().any()
    for label in ("CD", "AF", "SB", "STach"):
        assert counts[label] >= 55, label
    for label, share in SPECS[name].prevalence.items():
        assert abs(counts[label] / 1000 - share) < 0.02 + 0.15 * share, label


@pytest.mark.parametrize("name", NAMES)
def test_rare_labels_are_enriched_and_common_ones_are_not(name: str) -> None:
    spec = SPECS[name]
    for label in ("CD", "AF", "SB", "STach"):
        published, aimed = spec.published_prevalence[label], spec.prevalence[label]
        assert aimed >= 0.08
        assert aimed >= published
        if published > 0.1:
            assert aimed == pytest.approx(published)


def test_one_cohort_a_continent_with_the_published_rates_and_mains() -> None:
    assert len({spec.continent for spec in SPECS.values()} & set(CONTINENTS)) == 4
    assert [SPECS[n].sampling_rate for n in NAMES] == [500, 500, 500, 400]
    assert [SPECS[n].device.mains for n in NAMES] == [50, 50, 60, 60]
    assert [SPECS[n].has_patients for n in NAMES] == [True, False, False, True]
    for spec in SPECS.values():
        assert sum(share for _, share in spec.lengths) == pytest.approx(1.0)
        assert len(set(spec.stored_leads)) == 12


def test_a_patient_is_in_one_fold_and_folds_are_alike(europe: EmbeddedCohort) -> None:
    assert (europe.folds.groupby(europe.patients).nunique() == 1).all()
    assert set(europe.folds) == set(range(1, 11))
    assert europe.split is not None
    assert sorted(europe.split.train + europe.split.validation + europe.split.test) == list(range(1, 11))
    sizes = europe.folds.value_counts()
    assert sizes.min() > 70
    assert sizes.max() < 130


@pytest.mark.parametrize(
    ("name", "low", "high"), [("synthetic-europe", 0.09, 0.15), ("synthetic-south-america", 0.06, 0.1)]
)
def test_some_patients_repeat_and_stay_themselves(name: str, low: float, high: float) -> None:
    cohort = load_embedded(name)
    visits = cohort.patients.value_counts()
    assert low < (visits > 1).mean() < high
    assert (cohort.table.groupby("patient")["sex"].nunique() == 1).all()
    repeats = cohort.labels[cohort.patients.isin(visits.index[visits > 1])]
    same = repeats["CD"].astype(float).groupby(cohort.patients).std() == 0
    assert same.mean() > 0.85


@pytest.mark.parametrize("name", ["synthetic-asia", "synthetic-north-america"])
def test_unpublished_patients_are_one_a_record(name: str) -> None:
    cohort = load_embedded(name)
    assert (cohort.patients == cohort.records).all()
    assert cohort.folds.isna().all()
    assert cohort.split is None


def test_age_says_something_about_labels_but_not_much(europe: EmbeddedCohort) -> None:
    age = europe.table["age"]
    for label in ("AF", "CD"):
        positive = europe.labels[label].to_numpy(bool)
        older = (age[positive].to_numpy()[:, None] > age[~positive].to_numpy()).mean()
        assert 0.55 < older < 0.80, label


def test_reader_errs_but_seldom(europe: EmbeddedCohort) -> None:
    truths = np.array([list(true_labels(state).values()) for state in europe._population.states])
    read = europe.labels[list(MODELLED)].to_numpy(bool)
    for column, label in enumerate(MODELLED):
        agree = (truths[:, column] == read[:, column]).mean()
        assert 0.90 < agree < 1.0, label


def test_labels_exclude_what_cannot_be(europe: EmbeddedCohort) -> None:
    labels = europe.labels
    assert not (labels["AF"] & (labels["SB"] | labels["STach"] | labels["1AVB"])).any()
    assert not (labels["SB"] & labels["STach"]).any()
    assert not (labels["LBBB"] & labels["RBBB"]).any()
    assert (labels["CD"] | ~(labels["LBBB"] | labels["RBBB"] | labels["1AVB"])).all()
    assert not (labels["NORM"] & labels.drop(columns="NORM").any(axis=1)).any()
    assert (labels["AF"] & labels["CD"]).any()


@given(
    rate=st.floats(35, 170),
    pr=st.floats(110, 320),
    qrs=st.floats(70, 190),
    block=st.sampled_from(["", "left", "right", "unspecific"]),
    rhythm=st.sampled_from(["sinus", "fibrillation", "flutter"]),
)
def test_truth_follows_the_published_limits(rate: float, pr: float, qrs: float, block: str, rhythm: str) -> None:
    truth = true_labels(usual_state(rate=rate, pr=pr, qrs=qrs, block=block, rhythm=rhythm))
    assert truth["SB"] == (rhythm == "sinus" and rate < 60)
    assert truth["STach"] == (rhythm == "sinus" and rate > 100)
    assert truth["1AVB"] == (rhythm == "sinus" and pr > 200)
    assert truth["LBBB"] == (block == "left" and qrs >= 120)
    assert truth["CD"] == (truth["1AVB"] or (block != "" and qrs >= 110))
    assert not (truth["NORM"] and (truth["CD"] or truth["AF"] or truth["SB"]))
