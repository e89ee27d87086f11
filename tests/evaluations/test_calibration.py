"""Calibration: against statsmodels where it is installed, scikit-learn, closed forms and an independent bootstrap."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.calibration import POINTS, calibration


def drawn(rng, n=1200, slope=1.0, shift=0.0, repeats=1):
    """Probabilities, labels whose odds are those times `slope` plus `shift`, and patients whose records are alike."""
    patients = np.repeat(np.arange(n // repeats), repeats)
    odds = rng.normal(-1, 1.5, n // repeats)[patients]
    # One number a patient decides: all its records have one label.
    targets = (rng.random(n // repeats)[patients]) < expit(slope * odds + shift)
    return expit(odds), targets, patients


@pytest.mark.parametrize("repeats", [1, 3])
def test_slope_and_intercept_are_statsmodels(rng, repeats):
    statsmodels = pytest.importorskip("statsmodels.api")
    chances, targets, patients = drawn(rng, slope=0.7, shift=-0.4, repeats=repeats)
    found = calibration(chances, targets, patients)
    for name, design, offset in (
        ("slope", np.column_stack([np.ones(targets.size), logit(chances)]), None),
        ("intercept", np.ones((targets.size, 1)), logit(chances)),
    ):
        model = statsmodels.GLM(targets.astype(float), design, family=statsmodels.families.Binomial(), offset=offset)
        fitted = model.fit(cov_type="cluster", cov_kwds={"groups": patients}, tol=1e-12)
        mine = getattr(found, name)
        assert mine.value == pytest.approx(fitted.params[-1], abs=1e-7)
        # statsmodels corrects for the number of parameters, too: (n - 1) / (n - 2) of the variance.
        widened = math.sqrt((targets.size - 1) / (targets.size - design.shape[1]))
        assert (mine.high - mine.low) * widened == pytest.approx(np.diff(fitted.conf_int()[-1])[0], rel=1e-4)


def test_slope_is_scikit_learns_and_the_intercept_makes_the_mean_right(rng):
    chances, targets, _ = drawn(rng, slope=1.4, shift=0.3)
    found = calibration(chances, targets)
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(logit(chances)[:, None], targets)
    assert found.slope.value == pytest.approx(fitted.coef_[0, 0], abs=1e-4)
    assert expit(logit(chances) + found.intercept.value).mean() == pytest.approx(targets.mean(), abs=1e-10)
    assert found.note == ""


def test_the_index_and_the_curve_are_statsmodels_lowess(rng):
    smoothers = pytest.importorskip("statsmodels.nonparametric.smoothers_lowess")
    for n, allowed in ((200, 2e-4), (3000, 2e-3)):
        chances, targets, _ = drawn(rng, n, slope=0.6)
        smooth = smoothers.lowess(targets.astype(float), chances, frac=2 / 3, it=0, return_sorted=False)
        found = calibration(chances, targets)
        assert found.ici.value == pytest.approx(np.abs(np.clip(smooth, 0, 1) - chances).mean(), abs=allowed)
        order = np.argsort(chances)
        expected = np.interp(found.curve.predicted, chances[order], np.clip(smooth[order], 0, 1))
        assert found.curve.observed == pytest.approx(expected, abs=5 * allowed)


def test_the_curve_is_a_weighted_straight_line(rng):
    """At each point: least squares through the nearest two thirds, by numpy."""
    chances, targets, _ = drawn(rng, 50, slope=0.5)
    curve = calibration(chances, targets).curve
    knots = np.unique(chances)
    by_hand = []
    for at in knots:
        distance = np.abs(chances - at)
        reach = np.sort(distance)[int(50 * 2 / 3) - 1]
        weights = np.clip(1 - (distance / reach) ** 3, 0, None) ** 1.5
        by_hand.append(np.polyval(np.polyfit(chances, targets, 1, w=weights), at))
    expected = np.interp(curve.predicted, knots, np.clip(by_hand, 0, 1))
    assert curve.observed == pytest.approx(expected, abs=1e-9)


def test_intervals_are_those_of_an_independent_bootstrap_of_patients(rng):
    chances, targets, patients = drawn(rng, 1500, slope=0.8, repeats=3)
    found = calibration(chances, targets, patients, resamples=400)
    rows = [np.flatnonzero(patients == one) for one in range(500)]
    draws = []
    for _ in range(200):
        chosen = np.concatenate([rows[one] for one in rng.integers(0, 500, 500)])
        one = calibration(chances[chosen], targets[chosen], resamples=1)
        middle = one.curve.observed[POINTS // 2]
        draws.append((one.slope.value, one.intercept.value, middle))
    widths = 3.92 * np.std(draws, axis=0)
    for name, width in zip(("slope", "intercept"), widths, strict=False):
        interval = getattr(found, name)
        assert interval.high - interval.low == pytest.approx(width, rel=0.25), name
    assert found.curve.high[10] - found.curve.low[10] == pytest.approx(widths[2], rel=0.25)
    alone = calibration(chances, targets)
    assert alone.slope.high - alone.slope.low < 0.8 * (found.slope.high - found.slope.low)


@pytest.mark.parametrize("repeats", [1, 3])
def test_right_probabilities_show_no_more_than_chance(rng, repeats):
    found = [calibration(*drawn(rng, 600, repeats=repeats), resamples=50) for _ in range(30)]
    assert np.mean([one.ici.value for one in found]) == pytest.approx(np.mean([one.chance for one in found]), rel=0.2)
    assert sum(one.ici.low > 0 for one in found) <= 2


def test_the_interval_of_the_index_covers_what_is_true(rng):
    chances, _, _ = drawn(rng, 100_000)
    truth = np.abs(expit(0.6 * logit(chances) - 0.3) - chances).mean()
    found = [calibration(*drawn(rng, 600, 0.6, -0.3), resamples=100).ici for _ in range(40)]
    assert sum(one.low <= truth <= one.high for one in found) >= 34


def test_what_cannot_be_known_is_nan_with_a_reason(rng):
    chances, targets, _ = drawn(rng, 100)
    one_class = calibration(chances, np.ones(100, bool))
    assert math.isnan(one_class.slope.value) and math.isnan(one_class.ici.value) and one_class.curve is None
    assert one_class.note == "all tested records are of one class"
    assert "no probabilities" in calibration(np.full(100, np.nan), targets).note
    constant = calibration(np.full(100, 0.3), targets)
    assert math.isnan(constant.slope.value) and "the same" in constant.note
    assert expit(logit(0.3) + constant.intercept.value) == pytest.approx(targets.mean())
    assert constant.ici.value == pytest.approx(abs(targets.mean() - 0.3))
    for separated in (np.where(targets, 0.9, 0.1), np.where(targets, 0.1, 0.9), targets.astype(float)):
        found = calibration(separated, targets)
        assert math.isnan(found.slope.value) and "separate" in found.note and math.isfinite(found.intercept.value)
    lone = calibration(chances, targets, np.zeros(100))
    assert lone.slope.low == -math.inf and lone.slope.high == math.inf


def test_wrong_input_is_one_clear_error():
    with pytest.raises(EcgfmError, match=r"probabilities\.shape=\(2,\)"):
        calibration([0.1, 0.2], [True])
    with pytest.raises(EcgfmError, match=r"row 1 is 1\.5"):
        calibration([0.1, 1.5], [True, False])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30))
def test_any_records_in_any_order_give_numbers_within_their_ranges(pairs):
    found = calibration(*zip(*pairs, strict=True), resamples=5)
    pairs.sort()
    again = calibration(*zip(*pairs, strict=True), resamples=5)
    for name in ("slope", "intercept", "ici"):
        value, low, high = getattr(found, name)
        assert getattr(again, name).value == pytest.approx(value, abs=1e-6, nan_ok=True)
        assert math.isnan(value) or low <= value <= high
    assert math.isnan(found.ici.value) or 0 <= found.ici.low <= found.ici.value <= 1
    assert bool(found.note) == math.isnan(found.slope.value)
