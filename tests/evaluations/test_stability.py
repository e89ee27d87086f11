"""How far embeddings move where their records change: displacement, retrieval, cosine, retest."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations import stability as module
from pytest_ecgfm.evaluations.geometry import distinct_weights
from pytest_ecgfm.evaluations.stability import (
    METRICS,
    centred_cosine,
    label_stability,
    pairs_of_patients,
    raw_values,
    reference,
    retest,
    retrieved,
    stability,
)
from pytest_ecgfm.evaluations.standardise import standard
from pytest_ecgfm.evaluations.statistics.bootstrap import UNDEFINED, Interval, median_interval
from tests.evaluations.intervals import holds


def cohort(rng, n=120, d=6, per_patient=1, offset=3.0):
    patients = np.array([f"p{i // per_patient}" for i in range(n)])
    return rng.normal(size=(n, d)) + offset, patients


def test_reference_has_mean_and_median_distance_between_patients(rng):
    rows, patients = cohort(rng, n=60, per_patient=3)
    rows += rng.normal(size=(20, 1)).repeat(3, axis=0) * 4
    found = reference(rows.astype(np.float32), patients)
    apart = [
        np.linalg.norm(a - b)
        for a, p in zip(rows, patients, strict=True)
        for b, q in zip(rows, patients, strict=True)
        if p != q
    ]
    assert found.typical == pytest.approx(np.median(apart), rel=0.03)
    assert reference(rows, patients).typical == reference(rows, patients, seed=0).typical
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), atol=1e-6)
    assert found.embeddings.dtype == np.float32 and reference(rows, patients).embeddings.dtype == np.float64


def test_distances_within_a_patient_do_not_count():
    rows = np.array([[0.0], [100.0], [1.0], [101.0]])
    patients = np.array(["a", "b", "a", "b"])
    # Between the patients 99, 100, 100 and 101; within them 1.
    assert reference(rows, patients).typical == pytest.approx(100.0)
    assert math.isnan(reference(rows, np.full(4, "a")).typical)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_encoder_of_constants_does_not_look_stable(rng, value):
    rows, patients = np.full((40, 5), value, np.float32), np.arange(40).astype(str)
    against = reference(rows, patients)
    assert against.typical == 0
    found = stability(against, np.arange(40), rows)
    assert found.retrieval == Interval(0.0, 0.0, 0.0)
    for name in ("cosine", "displacement", "cka"):
        assert all(math.isnan(one) for one in getattr(found, name))
    assert all(math.isnan(one) for one in retest(against, rows, rows, patients))


def test_constants_that_differ_by_rounding_do_not_look_stable(rng):
    rows = 1e4 * (1 + 1e-12 * rng.normal(size=(40, 5)))
    found = stability(reference(rows, np.arange(40).astype(str)), np.arange(40), rows)
    assert math.isnan(found.displacement.value)
    assert found.retrieval == Interval(0.0, 0.0, 0.0)


def test_records_that_do_not_move_are_stable(rng):
    rows, patients = cohort(rng)
    chosen = np.arange(0, 120, 2)
    found = stability(reference(rows, patients), chosen, rows[chosen])
    assert found.displacement == Interval(0.0, 0.0, 0.0)
    assert found.retrieval == Interval(1.0, 1.0, 1.0)
    assert found.cosine.value == pytest.approx(1) and found.cosine.low == pytest.approx(1)
    assert found.cka.value == pytest.approx(1) and found.cka.low == pytest.approx(1)


@pytest.mark.parametrize("times", [0.25, 2.0])
def test_displacement_is_in_units_of_the_distance_between_patients(rng, times):
    rows, patients = cohort(rng)
    against = reference(rows, patients)
    direction = rng.normal(size=rows.shape)
    direction *= times * against.typical / np.linalg.norm(direction, axis=1, keepdims=True)
    found = stability(against, np.arange(120), rows + direction)
    assert found.displacement.value == pytest.approx(times)
    for size in (1000, 1e-9):
        scaled = stability(reference(size * rows, patients), np.arange(120), size * (rows + direction))
        assert scaled.displacement.value == pytest.approx(times)
        assert scaled.retrieval == found.retrieval


def test_copies_of_steady_dimensions_hide_none_that_move(rng):
    steady, moving = rng.normal(size=(200, 3)), rng.normal(size=(200, 40))
    rows = np.column_stack([np.repeat(steady, 200, axis=1), moving])
    other = np.column_stack([np.repeat(steady, 200, axis=1), moving + rng.normal(size=moving.shape)])
    patients, chosen = np.arange(200).astype(str), np.arange(200)
    assert stability(reference(rows, patients), chosen, other).displacement.value < 0.25
    found = stability(reference(rows, patients, weights=distinct_weights(rows)), chosen, other)
    assert found.displacement.value > 0.6
    even = stability(reference(rows, patients, weights=np.ones(640)), chosen, other)
    plain = stability(reference(rows, patients), chosen, other)
    assert even.displacement == pytest.approx(plain.displacement) and even.retrieval == plain.retrieval


@pytest.mark.parametrize("tail", [0.01, 1, 3, 10])
def test_heavy_tails_hide_no_movement(rng, tail):
    steady, base = rng.normal(size=(300, 4)), rng.normal(size=(300, 60))

    def embedded(change):
        return np.column_stack([steady, np.sinh(tail * (base + change))]).astype(np.float32)

    clean, other = embedded(0), embedded(rng.normal(size=base.shape))
    space = standard(clean)
    against = reference(space(clean), np.arange(300), weights=distinct_weights(space(clean)))
    assert stability(against, np.arange(60), space(other)[:60]).displacement.low > 0.5


def test_what_is_raw_is_named_so(rng):
    rows, patients = cohort(rng)
    against = reference(rows, patients)
    found = raw_values(against, np.arange(120), rows + 0.1)
    moved = stability(against, np.arange(120), rows + 0.1)
    assert found["raw_displacement"] == moved.displacement.value and found["raw_retrieval_low"] == moved.retrieval.low
    assert found.keys() <= METRICS.keys()
    constant = raw_values(reference(np.ones((40, 5)), np.arange(40)), np.arange(40), np.ones((40, 5)))
    assert math.isnan(constant["raw_displacement"]) and constant["raw_retrieval"] == 0


def test_displacement_is_a_median_that_few_records_do_not_move(rng):
    rows, patients = cohort(rng)
    moved = rows + 0.01
    moved[:10] += 1e6
    assert stability(reference(rows, patients), np.arange(120), moved).displacement.value < 0.02


def test_more_noise_is_less_stable(rng):
    rows, patients = cohort(rng)
    against, noise = reference(rows, patients), rng.normal(size=rows.shape)
    found = [stability(against, np.arange(120), rows + s * noise) for s in (0.05, 0.3, 1.0, 4.0)]
    for name, sign in (("cosine", -1), ("retrieval", -1), ("cka", -1), ("displacement", 1)):
        values = np.array([getattr(one, name).value for one in found])
        assert (sign * np.diff(values) > 0).all(), name
        assert all(holds(getattr(one, name)) for one in found)
    assert found[0].values().keys() <= METRICS.keys()
    assert found[0].values()["cka_low"] == found[0].cka.low


def test_stability_refuses_wrong_shapes_and_what_is_not_finite(rng):
    rows, patients = cohort(rng, n=10)
    against = reference(rows, patients)
    with pytest.raises(EcgfmError, match=r"perturbed.shape=\(3, 6\).*\(2, 6\)"):
        stability(against, [0, 1], rows[:3])
    spoilt = rows.copy()
    spoilt[4, 2] = np.inf
    with pytest.raises(EcgfmError, match="row 4 is not finite"):
        stability(against, np.arange(10), spoilt)
    with pytest.raises(EcgfmError, match=r"patients.shape=\(9,\)"):
        reference(rows, patients[:9])


def test_centred_cosine_by_hand(rng):
    mean = np.array([10.0, 10.0])
    clean = mean + np.array([[1, 0], [1, 0], [1, 0], [0, 0]])
    other = mean + np.array([[3, 0], [-2, 0], [1, 1], [1, 1]])
    np.testing.assert_allclose(centred_cosine(clean, other, mean), [1, -1, math.sqrt(0.5), np.nan])
    # What a common offset would hide: unrelated rows, whose plain cosine is near 1.
    a, b = rng.normal(size=(2, 500, 8)) + 100
    plain = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert plain.min() > 0.99
    assert abs(centred_cosine(a, b, np.full(8, 100.0)).mean()) < 0.06


def test_retrieved_is_the_nearest_of_all(rng, monkeypatch):
    rows, patients = cohort(rng, n=80, d=3, offset=50)
    chosen = rng.permutation(80)[:40]
    moved = rows[chosen] + 0.4 * rng.normal(size=(40, 3))
    distance = np.linalg.norm(moved[:, None] - rows[None], axis=2)
    wanted = distance.argmin(axis=1) == chosen
    assert 5 < wanted.sum() < 35
    against = reference(rows, patients)
    np.testing.assert_array_equal(retrieved(against, chosen, moved), wanted)
    assert stability(against, chosen, moved).retrieval.value == wanted.mean()
    monkeypatch.setattr(module, "_BLOCK", 7 * 80)
    np.testing.assert_array_equal(retrieved(against, chosen, moved), wanted)


def test_a_tie_is_no_success(rng):
    rows, patients = cohort(rng, n=20)
    rows[1] = rows[0]
    found = retrieved(reference(rows, patients), np.arange(20), rows)
    np.testing.assert_array_equal(found, np.arange(20) > 1)


@given(hnp.arrays(float, (25, 3), elements=st.floats(-5, 5, width=32)), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_intervals_hold_their_values(moved, seed):
    rows, patients = cohort(np.random.default_rng(seed), n=25, d=3, per_patient=2)
    found = stability(reference(rows, patients), np.arange(25), rows + moved, resamples=60, seed=seed)
    for name, (low, high) in {"cosine": (-1, 1), "displacement": (0, np.inf), "retrieval": (0, 1)}.items():
        one = getattr(found, name)
        assert low - 1e-9 <= one.low <= one.value <= one.high <= high + 1e-9
    assert math.isnan(found.cka.value) or holds(found.cka)


def test_retest_is_the_median_distance_over_that_between_patients(rng):
    rows, patients = cohort(rng)
    against = reference(rows, patients)
    second = rows + rng.normal(size=rows.shape) * 0.2
    found = retest(against, rows, second, patients)
    wanted = np.median(np.linalg.norm(rows - second, axis=1)) / against.typical
    assert found.value == pytest.approx(wanted) and holds(found) and found.low < found.high
    assert retest(against, second, rows, patients) == found
    strangers = retest(against, rows, np.roll(rows, 1, axis=0), patients)
    assert strangers.value == pytest.approx(1, abs=0.15)
    assert retest(against, np.empty((0, 6)), np.empty((0, 6)), []) is UNDEFINED


def test_retest_sees_the_typical_distance_whatever_its_size(rng):
    rows, patients = cohort(rng, n=20)
    second = rows + 0.2
    wanted = retest(reference(rows, patients), rows, second, patients)
    for size in (1e-9, 1e6):
        found = retest(reference(size * rows, patients), size * rows, size * second, patients)
        assert found == pytest.approx(wanted)


def test_cosine_does_not_mind_the_size_of_embeddings(rng):
    a, b = rng.normal(size=(2, 10, 4))
    for size in (1e-12, 1e12):
        found = centred_cosine(size * a, size * b, np.zeros(4))
        np.testing.assert_allclose(found, centred_cosine(a, b, np.zeros(4)))


def test_cosine_of_what_an_offset_hides_is_undefined(rng):
    # A thousandfold offset leaves ten digits of a part of 0.01, and eight of one of 0.0001.
    mean, a, b = np.full(2, 1000.0), np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]])
    assert centred_cosine(mean + 0.01 * a, mean + 0.01 * b, mean) == pytest.approx(0.6, abs=1e-6)
    assert np.isnan(centred_cosine(mean + 0.0001 * a, mean + 0.0001 * b, mean)).all()


def test_nothing_that_moves_is_undefined(rng):
    rows, patients = cohort(rng)
    against = reference(rows, patients)
    assert median_interval(np.empty(0), np.empty((3, 0))) is UNDEFINED
    spoilt = rows.copy()
    spoilt[3, 1] = np.nan
    assert retest(against, rows, spoilt, patients) is UNDEFINED
    _, whole = label_stability(*np.empty((4, 0, 3)), ["a", "b", "c"])
    assert (whole.flip_rate, whole.positives, whole.negatives) == (UNDEFINED, 0, 0)


def test_two_records_are_as_far_apart_as_they_are():
    assert reference([[0.0, 0.0], [3.0, 4.0]], ["a", "b"]).typical == pytest.approx(5.0)


def test_pairs_are_the_first_two_records_of_each_patient_who_has_two():
    first, second = pairs_of_patients(["b", "a", "c", "b", "a", "b"])
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 3), (1, 4)]
    assert [len(one) for one in pairs_of_patients(["a", "b"])] == [0, 0]


def test_constants_with_rounding_in_many_dimensions_have_no_distance(rng):
    rows = np.float32(3.3) * (1 + np.float32(1e-7) * rng.integers(-1, 2, (100, 512)))
    assert module.reference(rows.astype(np.float32), np.arange(100).astype(str)).typical == 0.0


def test_nothing_to_compare_with_is_an_error():
    with pytest.raises(EcgfmError, match="no embedding"):
        module.reference(np.empty((0, 3)), [])
