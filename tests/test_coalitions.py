from itertools import combinations

import numpy as np
import pytest

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.coalitions import DEPENDENT, INDEPENDENT, Player, coalitions, complete, players, with_leads
from pytest_ecgfm.signals.records import LEADS, RecordBatch


def random_batch(rng, n=4, leads=LEADS, samples=20):
    """Records whose twelve leads are unrelated, so that a computed lead cannot be taken for a stored one."""
    signals = rng.normal(size=(n, len(leads), samples)).astype(np.float32)
    return RecordBatch(signals, tuple(leads), 500.0, tuple(f"r{i}" for i in range(n)))


def followers(i, ii):
    return {"III": ii - i, "aVR": -(i + ii) / 2, "aVL": i - ii / 2, "aVF": ii - i / 2}


def lead(batch, name):
    return batch.signals[:, batch.leads.index(name)]


def names(*args):
    return [one.name for one in players(*args)]


@pytest.mark.parametrize(
    "leads, grouping, wanted",
    [
        (LEADS, "independent", list(INDEPENDENT)),
        (LEADS[::-1], "independent", list(INDEPENDENT)),
        (("V1", "aVR"), "independent", ["I", "II", "V1"]),
        (("V5", "II"), "independent", ["II", "V5"]),
        (LEADS, "limb", ["limb", "V1", "V2", "V3", "V4", "V5", "V6"]),
        (("aVL",), "limb", ["limb"]),
        (("I", "V1"), "limb", ["I", "V1"]),
        (LEADS, "twelve", list(LEADS)),
        (("V1", "aVR"), "twelve", ["aVR", "V1"]),
        ((), "independent", []),
    ],
)
def test_players(leads, grouping, wanted):
    assert names(leads, grouping) == wanted


def test_limb_player_holds_both_leads():
    assert players(LEADS, "limb")[0] == Player("limb", ("I", "II"))
    assert all(one.leads == (one.name,) for one in players(LEADS))


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_coalitions_are_all_subsets_in_binary_order(count):
    found = coalitions(count)
    assert found.shape == (2**count, count) and found.dtype == bool
    assert (found @ 2 ** np.arange(count, dtype=int)).tolist() == list(range(2**count))
    subsets = {tuple(np.flatnonzero(row)) for row in found}
    assert subsets == {s for size in range(count + 1) for s in combinations(range(count), size)}


@pytest.mark.parametrize("grouping", ["independent", "limb", "twelve"])
def test_with_everybody_there_records_are_as_stored(rng, grouping):
    batch = random_batch(rng)
    cast = players(LEADS, grouping)
    found = with_leads(batch, np.zeros_like(batch.signals), cast, np.ones((4, len(cast)), bool))
    np.testing.assert_array_equal(found.signals, batch.signals)
    assert found.signals is not batch.signals


@pytest.mark.parametrize("leads", [LEADS, LEADS[::-1]])
def test_leads_go_record_by_record_and_limb_leads_follow(rng, leads):
    batch, background = random_batch(rng, leads=leads), random_batch(rng, leads=leads)
    before = batch.signals.copy()
    cast = players(leads)
    present = rng.random((4, 8)) < 0.5
    present[0] = [False, True] + [True] * 6
    present[1] = [True, True] + [False] * 6
    found = with_leads(batch, background.signals, cast, present)
    for column, one in enumerate(cast):
        wanted = np.where(present[:, column, None], lead(batch, one.name), lead(background, one.name))
        np.testing.assert_array_equal(lead(found, one.name), wanted)
    computed = followers(lead(found, "I"), lead(found, "II"))
    whole = present[:, :2].all(axis=1)[:, None]
    for name in DEPENDENT:
        np.testing.assert_allclose(
            lead(found, name), np.where(whole, lead(batch, name), computed[name]), atol=1e-6, err_msg=name
        )
    np.testing.assert_array_equal(batch.signals, before)


def test_limb_leads_go_together(rng):
    batch = random_batch(rng)
    cast = players(LEADS, "limb")
    present = np.ones((4, 7), bool)
    present[2, 0] = False
    found = with_leads(batch, np.zeros_like(batch.signals), cast, present)
    assert not found.signals[2, :6].any()
    np.testing.assert_array_equal(found.signals[2, 6:], batch.signals[2, 6:])
    np.testing.assert_array_equal(np.delete(found.signals, 2, axis=0), np.delete(batch.signals, 2, axis=0))


def test_twelve_players_contradict_each_other(rng):
    batch = random_batch(rng)
    present = np.ones((4, 12), bool)
    present[:, 0] = False
    found = with_leads(batch, np.zeros_like(batch.signals), players(LEADS, "twelve"), present)
    assert not lead(found, "I").any()
    np.testing.assert_array_equal(found.signals[:, 1:], batch.signals[:, 1:])


def test_leads_of_no_player_stay(rng):
    batch = random_batch(rng, leads=("V1", "V2", "V3"))
    found = with_leads(batch, np.zeros_like(batch.signals), players(("V2",)), np.zeros((4, 1), bool))
    assert not lead(found, "V2").any()
    np.testing.assert_array_equal(found.signals[:, [0, 2]], batch.signals[:, [0, 2]])


def test_nobody_there_is_the_baseline_and_its_limb_leads(rng):
    batch, background = random_batch(rng), random_batch(rng)
    found = with_leads(batch, background.signals, players(LEADS), np.zeros((4, 8), bool))
    for name in INDEPENDENT:
        np.testing.assert_array_equal(lead(found, name), lead(background, name))
    for name, wanted in followers(lead(background, "I"), lead(background, "II")).items():
        np.testing.assert_allclose(lead(found, name), wanted, atol=1e-6)


def test_player_without_its_lead_is_refused(rng):
    batch = random_batch(rng, leads=("I", "V1"))
    with pytest.raises(EcgfmError, match=r"lead 'II' is needed.* I, V1"):
        with_leads(batch, np.zeros_like(batch.signals), players(("I", "II")), np.ones((4, 2), bool))


@pytest.mark.parametrize(
    "stored, read, wanted",
    [
        (("V1", "II", "I"), LEADS, ("I", "II", "III", "aVR", "aVL", "aVF", "V1")),
        (("V1", "II", "I"), ("aVF",), ("I", "II", "aVF")),
        (("V1", "II", "I"), ("V1",), ("V1",)),
        (("II", "V1"), LEADS, ("II", "V1")),
        (LEADS[::-1], LEADS, LEADS),
        (LEADS, ("aVR", "V6"), ("I", "II", "aVR", "V6")),
    ],
)
def test_complete_has_the_leads_that_are_read_and_those_they_follow_from(rng, stored, read, wanted):
    batch = random_batch(rng, leads=stored)
    found = complete(batch, read)
    assert found.leads == wanted
    for name in wanted:
        if name in stored:
            np.testing.assert_array_equal(lead(found, name), lead(batch, name))
        else:
            computed = followers(lead(batch, "I"), lead(batch, "II"))[name]
            np.testing.assert_allclose(lead(found, name), computed, atol=1e-6)
    assert (found.records, found.sampling_rate) == (batch.records, batch.sampling_rate)
