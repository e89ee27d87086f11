"""AUROC by groups: against scikit-learn, an independent bootstrap, and what chance gives."""

import numpy as np
import pytest
from scipy.stats import norm, rankdata, t
from sklearn.metrics import roc_auc_score

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.subgroups import corrected, subgroups


def drawn(rng, n=1200, repeats=1, lost=0.0):
    """Scores of AUROC 0.85, for the old less; patients with several records, sex and age in bands."""
    patients = np.repeat(np.arange(n // repeats), repeats)
    sex = rng.choice(["F", "M"], n // repeats)[patients]
    age = rng.choice(["young", "middle", "old"], n // repeats, p=(0.2, 0.4, 0.4))[patients]
    targets = (rng.random(n // repeats) < 0.3)[patients]
    noise = np.sqrt(0.5) * (rng.normal(size=n // repeats)[patients] + rng.normal(size=n))
    apart = np.sqrt(2) * norm.ppf(np.where(age == "old", 0.85 - lost, 0.85))
    return noise + apart * targets, targets, patients, {"sex": sex, "age": age}


def by_ranks(scores, targets):
    positive = targets.sum()
    rank_sum = rankdata(scores)[targets].sum()
    return (rank_sum - positive * (positive + 1) / 2) / (positive * (targets.size - positive))


def by_name(found):
    return {group.name: group for group in found.groups}


def test_each_group_and_its_rest_are_scikit_learns(rng):
    scores, targets, patients, columns = drawn(rng)
    columns["age"][:40] = ""
    found = subgroups(scores, targets, patients, columns)
    assert found.unknown == {"sex": 0, "age": 40}
    assert set(by_name(found)) == {"F", "M", "young", "middle", "old"}
    for name, group in by_name(found).items():
        own = columns[group.column] == name
        rest = ~own & (columns[group.column] != "")
        expected = roc_auc_score(targets[own], scores[own])
        assert group.auroc().value == pytest.approx(expected, abs=1e-12)
        assert group.gap().value == pytest.approx(roc_auc_score(targets[rest], scores[rest]) - expected, abs=1e-12)
        assert (group.records, group.positives) == (own.sum(), targets[own].sum())
    assert found.lowest().value == min(one.auroc().value for one in found.groups)
    assert found.widest().value == max(one.gap().value for one in found.groups)


@pytest.mark.parametrize("by", ["patient", "visit"])
def test_intervals_are_those_of_an_independent_bootstrap_of_patients(rng, by):
    scores, targets, patients, columns = drawn(rng, 1600, repeats=2)
    if by == "visit":
        # A patient who was younger at one visit has records in both groups, which then vary together.
        columns = {"age": np.tile(["then", "now"], 800)}
    found = subgroups(scores, targets, patients, columns, resamples=2000)
    rows = [np.flatnonzero(patients == one) for one in range(800)]
    differences = {name: [] for name in by_name(found)}
    for _ in range(250):
        chosen = np.concatenate([rows[one] for one in rng.integers(0, 800, 800)])
        for name, group in by_name(found).items():
            own = columns[group.column][chosen] == name
            parts = [by_ranks(scores[chosen][part], targets[chosen][part]) for part in (~own, own)]
            differences[name].append(parts[0] - parts[1])
    for name, group in by_name(found).items():
        gap = group.gap()
        assert (gap.high - gap.low) / 2 == pytest.approx(1.96 * np.std(differences[name]), rel=0.15)
    if by == "visit":
        assert by_name(found)["now"].correlation > 0.2
        assert by_name(found)["now"].gap().low == pytest.approx(-by_name(found)["then"].gap().high, abs=1e-9)


def test_the_limit_that_accuses_a_group_is_corrected_for_their_number(rng):
    found = subgroups(*drawn(rng, lost=0.2))
    level = corrected(5)
    assert level == pytest.approx(0.99)
    assert found.widest().low == max(one.gap(level).low for one in found.groups)
    assert found.widest().high == max(one.gap().high for one in found.groups)
    assert found.lowest().high == min(one.auroc(level).high for one in found.groups)
    assert found.lowest().low == min(one.auroc().low for one in found.groups)
    old = by_name(found)["old"]
    assert old.gap(level).low < old.gap().low < old.gap().value < old.gap().high
    assert found.shown_wider(0.0) == (old,) == found.shown_lower(0.75)


def test_further_groups_are_shown_at_the_next_levels_of_holms_procedure(rng):
    scores, targets, patients, columns = drawn(rng)
    found = subgroups(scores, targets, patients, columns)
    # The bound at which only the lowest group is shown at once, and the next one by the second level.
    first, second = sorted(found.groups, key=lambda one: one.auroc(corrected(5)).high)[:2]
    for bound in np.linspace(first.auroc(corrected(5)).high, second.auroc(corrected(5)).high, 50)[1:-1]:
        shown = found.shown_lower(float(bound))
        assert (second in shown) == (second.auroc(corrected(4)).high < bound)
    assert found.shown_lower(first.auroc(corrected(5)).high) == ()


def test_a_group_that_is_too_small_is_there_and_not_judged(rng):
    scores, targets, patients, columns = drawn(rng)
    columns["age"][:] = "many"
    columns["age"][np.flatnonzero(targets)[:9]] = columns["age"][np.flatnonzero(~targets)[:30]] = "few"
    few = by_name(subgroups(scores, targets, patients, columns))["few"]
    assert (few.records, few.positives, few.own) == (39, 9, None)
    assert np.isnan([*few.auroc(), *few.gap()]).all()
    columns["age"][np.flatnonzero(targets)[9]] = "few"
    found = subgroups(scores, targets, patients, columns)
    assert by_name(found)["few"].own is not None and len(found.judged) == 4
    # All are in one group: it has an AUROC, and nobody to be compared with.
    alone = subgroups(scores, targets, patients, {"site": np.full(targets.size, "one")})
    assert alone.compared == () and np.isnan(alone.widest()).all() and len(alone.judged) == 1
    assert np.isnan(subgroups(scores, targets, patients, {}).lowest()).all()


def test_few_records_have_wider_intervals_by_students_t(rng):
    scores, targets, patients, _ = drawn(rng, 60)
    found = subgroups(scores, targets, patients, {"a": np.full(60, "all")}).groups[0]
    side = found.own
    odds = np.log(found.auroc().value / (1 - found.auroc().value))
    spread = np.sqrt(side.variance) / (found.auroc().value * (1 - found.auroc().value))
    high = 1 / (1 + np.exp(-(odds + t.ppf(0.975, targets.sum() - 1) * spread)))
    assert found.auroc().high == pytest.approx(high, abs=1e-9)


@pytest.mark.parametrize("repeats", [1, 2])
def test_without_a_gap_hardly_any_run_accuses_a_group(repeats):
    accused, lower = 0, 0
    for seed in range(60):
        scores, targets, patients, columns = drawn(np.random.default_rng(seed), 400, repeats)
        found = subgroups(scores, targets, patients, columns, resamples=200)
        accused += found.widest().low > 0
        lower += found.lowest().high < 0.85
    # 2.5 % of 60 are 1.5; more than 6 would be seen in 1 of 1000 such tests.
    assert accused <= 6 and lower <= 6


def test_a_perfect_probe_has_no_gap(rng):
    _, targets, patients, columns = drawn(rng)
    found = subgroups(targets.astype(float), targets, patients, columns)
    assert found.widest().low <= 0 <= found.widest().high and found.shown_wider(0.0) == ()


def test_bad_shapes(rng):
    scores, targets, patients, columns = drawn(rng)
    with pytest.raises(EcgfmError, match=r"sex.shape=\(3,\), but should be \(1200,\)"):
        subgroups(scores, targets, patients, {"sex": ["F", "M", "F"]})
    with pytest.raises(EcgfmError, match=r"patients\.shape"):
        subgroups(scores, targets, patients[:5], columns)
