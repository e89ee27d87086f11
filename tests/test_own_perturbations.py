"""Perturbations that others declare: one door, held to their word, and part of the cache's key."""

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from pytest_ecgfm import ecg_perturbation
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.session.declared import register_declared
from pytest_ecgfm.signals.perturbations import PERTURBATIONS, VARIANTS, forget_declared_perturbations
from pytest_ecgfm.signals.records import RecordBatch

FIELDS = {"parameter": "offset of every lead", "units": "mV", "severities": (0.5, 1.0)}


def declare(function=lambda batch, severity, generator: batch.signals + severity, name="mine.offset", **change):
    module = ModuleType("theirs")
    module.perturbation = ecg_perturbation(name, **{**FIELDS, **change})(function)
    register_declared(SimpleNamespace(pluginmanager=SimpleNamespace(get_plugins=lambda: [module])))


@pytest.fixture(autouse=True)
def forgotten():
    yield
    forget_declared_perturbations()


@pytest.fixture
def batch(rng):
    return RecordBatch(rng.normal(size=(2, 3, 100)).astype(np.float32), ("I", "II", "V1"), 100.0, ("a", "b"))


def test_a_declared_perturbation_is_one_of_the_table_until_its_run_ends(batch):
    ours, variants = dict(PERTURBATIONS), dict(VARIANTS)
    declare()
    one, severity = VARIANTS["mine.offset@0.5mV"]
    assert set(VARIANTS) - set(variants) == {"mine.offset@0.5mV", "mine.offset@1mV"}
    assert one.where.startswith("test_own_perturbations.py:") and len(one.code) == 64
    np.testing.assert_array_equal(one.apply(batch, severity).signals, batch.signals + np.float32(0.5))
    forget_declared_perturbations()
    assert ours == PERTURBATIONS and variants == VARIANTS


def test_noise_is_a_records_own_whatever_the_batch(batch):
    declare(lambda batch, _, generator: np.stack([generator(r).normal(size=(3, 100)) for r in batch.records]))
    one = PERTURBATIONS["mine.offset"]
    np.testing.assert_array_equal(one.apply(batch, 1.0).signals[1:], one.apply(batch.rows([1]), 1.0).signals)


def test_a_function_that_writes_into_its_batch_changes_no_record(batch):
    def spoil(batch, severity, generator):
        batch.signals[:] = 0
        return batch.signals

    before = batch.signals.copy()
    declare(spoil)
    assert not PERTURBATIONS["mine.offset"].apply(batch, 1.0).signals.any()
    np.testing.assert_array_equal(batch.signals, before)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda b, s, g: b.signals[:1], r"float32 of shape \(1, 3, 100\), but should return \(2, 3\) and samples"),
        (lambda b, s, g: b.signals * np.nan, "values that are not finite"),
        (lambda b, s, g: "text", "returned <U4 of shape"),
        (lambda b, s, g: b.signals * 1j, "returned complex"),
    ],
)
def test_what_is_no_signal_is_one_line(batch, function, message):
    declare(function)
    where = r"test_own_perturbations\.py:\d+: perturbation mine\.offset@1mV: .*"
    with pytest.raises(EcgfmError, match=where + message):
        PERTURBATIONS["mine.offset"].apply(batch, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "muscle"}, "name = 'muscle'"),
        ({"severities": ()}, "severities"),
        ({"severities": (float("nan"),)}, "severities"),
        ({"units": "m V"}, "units = 'm V'"),
        ({"severity": 1}, "Did you mean 'severities'"),
        ({"expected": "loud"}, "expected = 'loud'"),
    ],
)
def test_a_wrong_declaration_is_one_line(change, message):
    with pytest.raises(EcgfmError, match=message):
        declare(**change)
