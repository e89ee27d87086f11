import numpy as np
import pytest

from pytest_ecgfm.errors import NotApplicable
from pytest_ecgfm.signals.electrodes import (
    ELECTRODES,
    electrode_lost,
    lead_matrix,
    leads_of,
    reversed_precordials,
    swapped_arms,
)
from pytest_ecgfm.signals.records import LEADS, RecordBatch

CHEST = LEADS[6:]


def by_hand(potentials):
    """The twelve leads of the potentials of RA, LA, LL and V1 to V6, as a textbook defines them."""
    ra, la, ll = (potentials[:, e] for e in range(3))
    terminal = (ra + la + ll) / 3
    found = {
        "I": la - ra,
        "II": ll - ra,
        "III": ll - la,
        "aVR": ra - (la + ll) / 2,
        "aVL": la - (ra + ll) / 2,
        "aVF": ll - (ra + la) / 2,
    }
    return found | {lead: potentials[:, 3 + i] - terminal for i, lead in enumerate(CHEST)}


def batch_of(potentials, leads=LEADS):
    named = by_hand(potentials)
    signals = np.stack([named[lead] for lead in leads], axis=1).astype(np.float32)
    return RecordBatch(signals, tuple(leads), 500.0, tuple(f"r{i}" for i in range(len(signals))))


@pytest.fixture
def potentials(rng):
    return rng.normal(size=(3, 9, 50))


def assert_leads(found, named, leads):
    for row, lead in enumerate(leads):
        np.testing.assert_allclose(found[:, row], named[lead], atol=3e-6, err_msg=lead)


@pytest.mark.parametrize("leads", [LEADS, LEADS[::-1], ("V3", "aVF", "I")])
def test_leads_are_those_of_the_textbook(potentials, leads):
    found = leads_of(potentials, leads)
    assert found.shape == (3, len(leads), 50)
    assert_leads(found, by_hand(potentials), leads)


def test_matrix_has_no_offset_and_nine_electrodes():
    matrix = lead_matrix(LEADS)
    assert matrix.shape == (12, len(ELECTRODES)) == (12, 9)
    # Leads are differences: the same potential everywhere shows in none; and only eight of them are independent.
    np.testing.assert_allclose(matrix.sum(axis=1), 0, atol=1e-15)
    assert np.linalg.matrix_rank(matrix) == 8


@pytest.mark.parametrize("electrode", ["LA", "LL"])
@pytest.mark.parametrize("leads", [LEADS, LEADS[::-1], ("V2", "aVL", "aVF"), ("II", "III", "V1")])
def test_lost_limb_electrode_takes_the_right_arms_potential(potentials, electrode, leads):
    changed = potentials.copy()
    changed[:, ELECTRODES.index(electrode)] = potentials[:, 0]
    found = electrode_lost(batch_of(potentials, leads), electrode)
    assert_leads(found, by_hand(changed), leads)


def test_lost_left_arm_flattens_lead_i_and_leaves_ii(potentials):
    batch = batch_of(potentials)
    found = dict(zip(LEADS, electrode_lost(batch, "LA").swapaxes(0, 1), strict=True))
    stored = dict(zip(LEADS, batch.signals.swapaxes(0, 1).astype(float), strict=True))
    assert not found["I"].any()
    np.testing.assert_array_equal(found["II"], stored["II"])
    np.testing.assert_allclose(found["III"], stored["II"], atol=1e-6)
    np.testing.assert_allclose(found["aVR"], -stored["II"] / 2, atol=1e-6)
    np.testing.assert_allclose(found["aVL"], -stored["II"] / 2, atol=1e-6)
    np.testing.assert_allclose(found["aVF"], stored["II"], atol=1e-6)
    for lead in CHEST:
        np.testing.assert_allclose(found[lead], stored[lead] + stored["I"] / 3, atol=1e-6)


def test_lost_chest_electrode_is_flat_and_the_others_stay(potentials):
    batch = batch_of(potentials)
    before = batch.signals.copy()
    found = electrode_lost(batch, "V2")
    assert not found[:, LEADS.index("V2")].any()
    others = [row for row, lead in enumerate(LEADS) if lead != "V2"]
    np.testing.assert_array_equal(found[:, others], before[:, others])
    np.testing.assert_array_equal(batch.signals, before)


@pytest.mark.parametrize(
    "electrode, leads, match",
    [
        ("LA", CHEST, "two limb leads"),
        ("LL", ("I", *CHEST), "two limb leads"),
        ("V2", ("I", "II", "V1"), "V2"),
        ("RA", LEADS, "RA"),
    ],
)
def test_electrode_without_its_leads_is_not_applicable(potentials, electrode, leads, match):
    with pytest.raises(NotApplicable, match=match):
        electrode_lost(batch_of(potentials, leads), electrode)


@pytest.mark.parametrize("leads", [LEADS, LEADS[::-1], ("aVL", "V1", "II"), ("I", "V6"), CHEST])
def test_swapped_arms_are_the_leads_of_swapped_potentials(potentials, leads):
    swapped = potentials.copy()
    swapped[:, [0, 1]] = potentials[:, [1, 0]]
    batch = batch_of(potentials, leads)
    before = batch.signals.copy()
    assert_leads(swapped_arms(batch), by_hand(swapped), leads)
    np.testing.assert_array_equal(batch.signals, before)


@pytest.mark.parametrize("leads", [LEADS, LEADS[::-1], ("V5", "aVF", "V2")])
def test_reversed_precordials_are_the_leads_of_electrodes_in_reverse_order(potentials, leads):
    turned = potentials.copy()
    turned[:, 3:] = potentials[:, :2:-1]
    batch = batch_of(potentials, leads)
    before = batch.signals.copy()
    assert_leads(reversed_precordials(batch), by_hand(turned), leads)
    np.testing.assert_array_equal(batch.signals, before)


@pytest.mark.parametrize("leads", [LEADS[:6], ("I", "V1", "V2")])
def test_reversed_precordials_need_two_leads_that_change_places(potentials, leads):
    with pytest.raises(NotApplicable, match="no two chest leads change places"):
        reversed_precordials(batch_of(potentials, leads))


def test_arms_swapped_twice_are_as_stored(potentials):
    batch = batch_of(potentials)
    once = RecordBatch(swapped_arms(batch).astype(np.float32), LEADS, 500.0, batch.records)
    assert not np.allclose(once.signals, batch.signals)
    np.testing.assert_array_equal(swapped_arms(once), batch.signals)


@pytest.mark.parametrize("lead", ["II", "III", "aVR", "aVL"])
def test_swapped_arms_need_the_other_lead(potentials, lead):
    with pytest.raises(NotApplicable, match=f"two limb leads .* {lead}"):
        swapped_arms(batch_of(potentials, (lead, "V1")))


def test_what_a_stored_lead_deviates_by_stays_its_own(potentials):
    batch = batch_of(potentials)
    bent = batch.signals.copy()
    bent[:, LEADS.index("aVF")] += 0.25
    bent[:, LEADS.index("V5")] -= 0.5
    found = electrode_lost(RecordBatch(bent, LEADS, 500.0, batch.records), "LA")
    np.testing.assert_allclose(found - electrode_lost(batch, "LA"), bent - batch.signals, atol=1e-6)
