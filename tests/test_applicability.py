"""Whether a perturbation reaches an encoder at all, or only the scale that it takes out itself."""

from types import SimpleNamespace

import numpy as np
import pytest

from pytest_ecgfm.errors import NotApplicable
from pytest_ecgfm.measurements import applicability
from pytest_ecgfm.measurements.applicability import require_change, rescaled_away
from pytest_ecgfm.signals.perturbations import PERTURBATIONS, VARIANTS
from tests.memory_cohort import MemoryCohort, encoder_of, means

GAIN = PERTURBATIONS["gain"]
SEVERITIES = len(GAIN.severities)
COUNT = 12


@pytest.fixture(scope="module")
def cohort():
    return MemoryCohort(n=COUNT)


def run_of(embeddings=None):
    profile = SimpleNamespace(grid=SimpleNamespace(stability_records=COUNT))
    return SimpleNamespace(
        settings=SimpleNamespace(batch_size=8, profile=profile),
        once=lambda key, make: make(),
        embeddings=lambda encoder, cohort: embeddings,
    )


def asked(cohort, variant, **card):
    one, severity = VARIANTS[variant]
    require_change(run_of(), encoder_of(means, **card), cohort, np.arange(6), one, severity)


@pytest.mark.parametrize(
    ("variant", "card"),
    [
        ("gain@1.1", {}),
        ("gain@1.1", {"preprocessing": "model", "input": "records"}),
        ("muscle@24dB", {"normalize": "zscore-per-lead"}),
        ("lost_v2", {"leads": "I V2"}),
        ("lost_la", {"leads": "I"}),
        ("length@5s", {"seconds": 7}),
    ],
)
def test_what_reaches_the_encoder_is_judged(cohort, variant, card):
    asked(cohort, variant, **card)


@pytest.mark.parametrize(
    ("variant", "card"),
    [
        ("gain@1.1", {"normalize": "zscore-per-lead"}),
        ("lost_v2", {"leads": "II"}),
        ("length@5s", {"seconds": 5}),
    ],
)
def test_what_the_card_takes_away_is_not(cohort, variant, card):
    with pytest.raises(NotApplicable, match=f"^{variant} changes nothing that m reads in memory"):
        asked(cohort, variant, **card)


def test_one_record_that_changes_is_enough():
    quiet = MemoryCohort(n=COUNT)
    quiet.signals = {name: 0.1 * rows for name, rows in quiet.signals.items()}
    with pytest.raises(NotApplicable):
        asked(quiet, "clipping@2mV")
    quiet.signals["r4"] *= 30
    asked(quiet, "clipping@2mV")


class TestScale:
    @pytest.fixture
    def clean(self, rng):
        return rng.normal(size=(COUNT, 5))

    @pytest.fixture
    def say(self, cohort, clean, monkeypatch):
        rows = np.arange(0, COUNT, 2)
        monkeypatch.setattr(applicability, "chosen_rows", lambda run, cohort, count: rows)

        def said(move, *, one=GAIN, embeddings=clean, severities=SEVERITIES):
            perturbed = [embeddings[rows] + move] * severities
            return rescaled_away(run_of(embeddings.astype(np.float32)), encoder_of(means), cohort, one, perturbed)

        return said

    def test_an_encoder_that_no_gain_moves_scales_by_itself(self, say):
        assert "gain moves no record at any severity: m scales its input itself" in str(say(0.0))
        assert say(5e-4) is not None

    def test_one_that_moves_a_little_is_judged(self, say):
        assert say(3e-3) is None

    def test_one_record_that_moves_is_enough(self, say):
        move = np.zeros((COUNT // 2, 5))
        move[3] = 0.1
        assert say(move) is None

    def test_a_constant_dimension_beside_hides_no_move(self, say, clean):
        wide = np.concatenate([clean, np.full((COUNT, 500), 5000.0)], axis=1)
        move = np.concatenate([np.full((COUNT // 2, 5), 0.1), np.zeros((COUNT // 2, 500))], axis=1)
        assert say(move, embeddings=wide) is None
        assert say(0 * move, embeddings=wide) is not None

    def test_one_answer_for_all_records_looks_steady_and_is_not_excused(self, say):
        assert say(0.0, embeddings=np.full((COUNT, 5), 7.0)) is None

    def test_not_to_move_under_noise_is_an_achievement(self, say):
        assert say(0.0, one=PERTURBATIONS["muscle"]) is None

    def test_all_severities_have_to_be_known(self, say):
        assert say(0.0, severities=SEVERITIES - 1) is None
