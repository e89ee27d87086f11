"""What the embedded cohorts know of their records: beats, rhythms, evidence."""

import numpy as np
import pytest

from pytest_ecgfm.cohorts.base import LABELS
from pytest_ecgfm.cohorts.synthetic import EmbeddedCohort, load_embedded
from pytest_ecgfm.cohorts.synthetic.population import true_labels
from pytest_ecgfm.signals.records import LEADS
from tests.cohorts.embedded_data import NAMES


def with_truth(cohort: EmbeddedCohort, label: str, n: int = 8) -> list[str]:
    states = zip(cohort.records, cohort._population.states, strict=True)
    return [record for record, state in states if true_labels(state)[label]][:n]


# -------------------------------------------------------------------------------------------------- truth, rhythms


def test_rates_come_from_the_beats(europe: EmbeddedCohort) -> None:
    for label, holds in (("SB", lambda rate: rate < 62), ("STach", lambda rate: rate > 97)):
        records = with_truth(europe, label, 20)
        assert len(records) == 20
        for record in records:
            truth = europe.truth(record)
            if truth.state.ectopics or truth.state.variability > 0.06:
                continue
            rr = np.diff(truth.r_peaks) / europe.sampling_rate
            assert holds(60 / rr.mean()), record
            assert 60 / rr.mean() == pytest.approx(truth.rate, rel=0.05)


def test_r_peaks_are_where_the_signal_is_steep(cohorts: dict[str, EmbeddedCohort]) -> None:
    cohort = cohorts["synthetic-europe"]
    hits = []
    for record in cohort.records[:30]:
        truth, signals = cohort.truth(record), cohort.read(record).signals
        slope = np.abs(np.diff(signals[6:], axis=1)).sum(axis=0)
        around = [slope[max(p - 30, 0) : p + 60].max() for p in truth.r_peaks]
        hits.append(np.mean(np.array(around) > 3 * np.median(slope)))
    assert np.mean(hits) > 0.97


def test_fibrillation_is_less_regular_than_sinus_rhythm_on_the_whole(europe: EmbeddedCohort) -> None:
    def spread(records: list[str]) -> np.ndarray:
        intervals = [np.diff(europe.truth(r).r_peaks) for r in records]
        return np.array([i.std() / i.mean() for i in intervals])

    sinus = [r for r, s in zip(europe.records, europe._population.states, strict=True) if s.rhythm == "sinus"][:60]
    irregular, regular = spread(with_truth(europe, "AF", 40)), spread(sinus)
    assert np.median(irregular) > 3 * np.median(regular)
    # Overlap is intended: irregularity alone must not settle the diagnosis.
    assert regular.max() > irregular.min()


@pytest.mark.parametrize("name", NAMES)
def test_fibrillation_shows_most_in_v1_then_ii(name: str) -> None:
    cohort = load_embedded(name)
    shares = [cohort.truth(r).labels["AF"].leads for r in with_truth(cohort, "AF", 30)]
    mean = {lead: np.mean([share[lead] for share in shares]) for lead in LEADS}
    assert sorted(mean, key=lambda lead: -mean[lead])[:2] == ["V1", "II"]


@pytest.mark.parametrize(("label", "leads"), [("LBBB", {"V1", "V5", "V6", "V2"}), ("RBBB", {"V1", "V2"})])
def test_blocks_show_in_the_leads_that_look_at_them(europe: EmbeddedCohort, label: str, leads: set[str]) -> None:
    shares = [europe.truth(r).labels[label].leads for r in with_truth(europe, label, 15)]
    mean = {lead: np.mean([share[lead] for share in shares]) for lead in LEADS}
    assert sorted(mean, key=lambda lead: -mean[lead])[0] in leads
    assert sum(mean[lead] for lead in leads) > len(leads) / 12 * 1.3


@pytest.mark.parametrize("label", list(LABELS))
def test_evidence_is_complete_and_inside_the_record(europe: EmbeddedCohort, label: str) -> None:
    records = with_truth(europe, label)
    assert records
    for record in records:
        truth = europe.truth(record)
        evidence = truth.labels[label]
        assert list(evidence.leads) == list(LEADS)
        assert sum(evidence.leads.values()) == pytest.approx(1.0)
        assert min(evidence.leads.values()) >= 0
        assert evidence.intervals
        assert all(0 <= a < b <= truth.state.samples for a, b in evidence.intervals)
        assert truth.labels.keys() == {name for name, present in true_labels(truth.state).items() if present}
        if label in ("SB", "STach", "NORM"):
            assert list(evidence.leads.values()) == pytest.approx([1 / 12] * 12)


def test_intervals_cover_what_their_label_means(europe: EmbeddedCohort) -> None:
    block = europe.truth(with_truth(europe, "LBBB")[0])
    widths = [b - a for a, b in block.labels["LBBB"].intervals][1:-1]
    assert np.median(widths) * 2 == pytest.approx(block.qrs, abs=3)
    delayed = europe.truth(with_truth(europe, "1AVB")[0])
    widths = [b - a for a, b in delayed.labels["1AVB"].intervals][1:-1]
    assert np.median(widths) * 2 == pytest.approx(delayed.pr, abs=3)
    assert delayed.pr > 200
    silent = europe.truth(with_truth(europe, "AF")[0])
    assert np.isnan(silent.pr)
    assert not any(a <= peak < b for a, b in silent.labels["AF"].intervals for peak in silent.r_peaks)
