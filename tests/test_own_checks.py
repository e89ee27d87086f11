"""Declarations of checks by others: validated, and clashes found."""

from types import ModuleType, SimpleNamespace

import pytest

from pytest_ecgfm import Measured, ecg_check
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.results.checks import CHECKS, CheckKind, Threshold, forget_declared, register, suites
from pytest_ecgfm.session.declared import register_declared

FIELDS = {"title": "Dimensions", "maximum": 100, "reason": "what our index holds"}


def config_of(*declarations):
    """Give what pytest knows after a module with some checks was imported."""
    modules = []
    for number, (name, fields) in enumerate(declarations):
        module = ModuleType(f"theirs_{number}")
        module.check = ecg_check(name, **fields)(lambda run, encoder, case: Measured.exact(1.0))
        modules.append(module)
    return SimpleNamespace(pluginmanager=SimpleNamespace(get_plugins=lambda: modules))


@pytest.fixture(autouse=True)
def forgotten():
    yield
    forget_declared()


def test_a_declared_check_is_one_of_the_table_until_its_run_ends():
    ours = dict(CHECKS)
    register_declared(
        config_of(("size.dimensions", {**FIELDS, "cells": ["cohort", "label"], "variables": {"d": "width"}}))
    )
    kind = CHECKS["size.dimensions"]
    assert kind.cells == ("cohort", "label") and kind.default == Threshold(100, "maximum", reason=FIELDS["reason"])
    assert kind.variables["d"]["long_name"] == "width" and kind.where.startswith("test_own_checks.py:")
    assert suites()[-1] == "size"
    forget_declared()
    assert ours == CHECKS


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("downstream.auroc", {}, "'downstream.auroc' is already declared by pytest-ecgfm itself"),
        ("downstream.mine", {}, "begins with the name of a suite of pytest-ecgfm; .* such as 'mine.mine'"),
        ("Size.dimensions", {}, "name = 'Size.dimensions'"),
        ("dimensions", {}, "name = 'dimensions'"),
        ("size.a.b", {}, "name = 'size.a.b'"),
        ("size.dimensions", {"minimum": 0}, "should have either a minimum or a maximum"),
        ("size.dimensions", {"maximum": None}, "should have either a minimum or a maximum"),
        ("size.dimensions", {"maximum": float("nan")}, "maximum = nan"),
        ("size.dimensions", {"limits": (0, 1)}, "its threshold 100 is outside its limits 0, 1"),
        ("size.dimensions", {"titel": "Dimensions"}, "Did you mean 'title'"),
        ("size.dimensions", {"cells": ("cohorts",)}, r"cells.0 = 'cohorts'"),
        ("size.dimensions", {"reason": " "}, "reason"),
        ("size.dimensions", {"tier": "loud"}, "tier = 'loud'"),
        ("size.dimensions", {"variables": {"a b": "text"}}, "variables"),
    ],
)
def test_a_wrong_declaration_is_one_line_that_names_place_and_field(name, change, message):
    with pytest.raises(EcgfmError, match=message) as caught:
        register_declared(config_of((name, {**FIELDS, **change})))
    assert "test_own_checks.py:" in str(caught.value) and "\n" not in str(caught.value)


def test_two_of_one_name_clash_in_one_module_and_in_two():
    with pytest.raises(EcgfmError, match=r"two checks are named 'size\.dimensions': test_own_checks\.py:"):
        register_declared(config_of(("size.dimensions", FIELDS), ("size.dimensions", FIELDS)))
    both = config_of(("size.dimensions", FIELDS))
    (module,) = both.pluginmanager.get_plugins()
    module.second = ecg_check("size.dimensions", **FIELDS)(lambda run, encoder, case: Measured.exact(2.0))
    with pytest.raises(EcgfmError, match=r"two declarations are named 'size\.dimensions'"):
        register_declared(both)
    module.second = module.check
    register_declared(both)


def test_only_declared_variables_of_its_own_suite_reach_the_cube():
    register_declared(config_of(("size.dimensions", {**FIELDS, "variables": {"d": "width"}})))
    CHECKS["size.dimensions"].require_declared("size", ["d"])
    with pytest.raises(EcgfmError, match=r"no variable 'width' in the cube\. Declared: d\."):
        CHECKS["size.dimensions"].require_declared("size", ["width"])
    with pytest.raises(EcgfmError, match=r"writes to the cube's group 'downstream', which is not its own"):
        CHECKS["size.dimensions"].require_declared("downstream", ["d"])


def test_the_same_door_refuses_a_second_check_of_the_package():
    with pytest.raises(EcgfmError, match="already declared"):
        register(CheckKind("contract.batch", "again", ""))
