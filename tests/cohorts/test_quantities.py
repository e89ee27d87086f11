"""Quantities and sets: columns with units, what is asked for, and values that cannot be."""

import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.cohorts.quantities import (
    AGE,
    HEART_RATE,
    QuantityDefinition,
    defined_quantity,
    is_measured,
    offered_quantities,
    quantity_of,
    quantity_values,
    require_one_scale,
    spelt,
    split_header,
    units_of,
)
from pytest_ecgfm.cohorts.targets import Definitions, canonical, chosen_targets, read_targets
from pytest_ecgfm.errors import EcgfmError
from tests.cohorts.stated_cohort import Stated


def table(ages=None, **columns):
    """Columns of a cohort without signals, as from a file."""
    count = len(ages or next(iter(columns.values())))
    frame = pd.DataFrame(columns, index=[f"r{number}" for number in range(count)], dtype=object)
    frame.attrs["file"] = "labels.csv"
    return Stated(columns=frame, ages=ages)


def quantity(name, **definition):
    found = {name: QuantityDefinition(**definition)} if definition else {}
    return quantity_of(f"quantity:{name}", found, where="--ecgfm-labels")


EF = [str(value) for value in range(25, 65, 2)]


def test_a_column_is_a_quantity_with_or_without_its_units():
    for header, units in (("EF", ""), ("EF [%]", "%"), ("EF(%)", "%"), ("EF  [ % ]", "%")):
        cohort = table(**{header: [*EF, "", "NA"]})
        values = quantity_values(quantity("EF"), cohort)
        assert values.dropna().tolist() == [float(one) for one in EF] and values.isna().sum() == 2
        assert units_of(quantity("EF"), cohort) == units
        assert units_of(quantity("EF", units="%"), cohort) == "%"
    assert split_header("T [Celsius] of the room") == ("T [Celsius] of the room", "")


def test_age_is_that_of_the_table():
    cohort = table(ages=[50.0, np.nan, 90.0])
    assert quantity_values(AGE, cohort).tolist()[::2] == [50.0, 90.0]
    assert units_of(AGE, cohort) == "years"
    assert {spelt(one) for one in ("age", "quantity:age")} == {AGE.name} and spelt("ageing") == ""


@pytest.mark.parametrize(
    ("columns", "definition", "message"),
    [
        (
            {"EF": [*EF, "0.35"]},
            {},
            r"record 'r20': EF '0\.35' .* of the size of all others, 25 to 63: are units mixed",
        ),
        ({"EF": [*EF, "0.35", "0.4"]}, {}, r"record 'r20'.*\(2 such records\).*\[quantity\.EF\], low"),
        ({"K": ["3.5", "4", "4.5"] * 5 + ["42"]}, {}, "record 'r15': K '42'"),
        ({"EF": [*EF, "normal"]}, {}, "record 'r20': EF 'normal' should be a number"),
        ({"EF": [*EF, "35,5"]}, {}, "record 'r20': EF '35,5' should be a number"),
        ({"EF": [*EF, "120"]}, {"low": 5, "high": 95}, "record 'r20': EF '120' should be a number from 5 to 95"),
        ({"EF": [*EF, "-3"]}, {"low": 0}, "record 'r20': EF '-3' should be a number from 0"),
        ({"EF [%]": EF}, {"units": "1"}, "column 'EF .%.': the units of quantity:EF should be '1'"),
        ({"EF": EF, "LVEF": EF[::-1]}, {"column": ["EF", "LVEF"]}, "record 'r0': two columns of quantity:EF disagree"),
    ],
)
def test_what_cannot_be_is_named_with_its_record(columns, definition, message):
    (name,) = {"K"} & set(columns) or {"EF"}
    with pytest.raises(EcgfmError, match=message):
        quantity_values(quantity(name, **definition), table(**columns))


def test_what_may_be_is_let_through():
    # A declared range says what is possible; what spans decades has no other units; few values say nothing of units.
    declared = quantity_values(quantity("EF", low=0, high=100), table(EF=[*EF, "0.35"]))
    assert declared.min() == 0.35
    rng = np.random.default_rng(0)
    wide = [f"{value:.1f}" for value in np.exp(rng.normal(6, 2, 200))]
    assert quantity_values(quantity("BNP"), table(BNP=wide)).notna().all()
    assert quantity_values(quantity("EF"), table(EF=["35", "0.35"])).size == 2
    zeros = table(score=["0"] * 50 + [str(one) for one in range(1, 20)])
    assert quantity_values(quantity("score"), zeros).eq(0).sum() == 50
    both = quantity("EF", column=["EF", "LVEF"])
    assert quantity_values(both, table(EF=[*EF, ""], LVEF=["", *EF[1:], "44"])).notna().all()


def test_nothing_stated_is_unknown():
    assert quantity_values(quantity("EF"), table(K=["4", "5", "6"])).isna().all()
    assert dict(offered_quantities(table(ages=[50.0, 60.0], **{"K [mmol/l]": ["4", ""], "LVH": ["1", "0"]}))) == {
        "quantity:age": "2 (50 to 60 years)",
        "quantity:heart_rate": "measured from the signals (bpm)",
    }
    cohort = table(**{"K [mmol/l]": ["4", "", "5", "6.5"], "notes": ["a", "", "1", "2"]})
    assert dict(offered_quantities(cohort))["quantity:K"] == "3 (4 to 6.5 mmol/l)"


RATES = ["60", "72.5", "", "110"]


def test_heart_rate_is_measured_where_no_column_states_it():
    assert quantity("heart_rate") == HEART_RATE
    measured, stated = table(K=["4", "5"]), table(**{"heart_rate [bpm]": RATES})
    assert is_measured(HEART_RATE, measured) and not is_measured(HEART_RATE, stated)
    assert not is_measured(quantity("K"), measured) and not is_measured(AGE, measured)
    assert quantity_values(HEART_RATE, stated).dropna().tolist() == [60.0, 72.5, 110.0]
    assert dict(offered_quantities(stated)) == {"quantity:heart_rate": "3 (60 to 110 bpm)"}
    named = quantity("heart_rate", column=["HR"], low=20)
    assert is_measured(named, stated) and not is_measured(named, table(HR=RATES))
    assert units_of(named, table(HR=RATES)) == units_of(HEART_RATE, measured) == "bpm"
    with pytest.raises(EcgfmError, match=r"quantity.heart_rate.units: heart_rate is in bpm, as it is measured"):
        quantity("heart_rate", units="Hz")


def cohorts(**columns):
    made = {name: table(**held) for name, held in columns.items()}
    for name, one in made.items():
        one.name = name
    return made.values()


@pytest.mark.parametrize(
    ("columns", "definition", "message"),
    [
        ({"a": {"K [mmol/l]": ["4", "5"]}, "b": {"K [mEq/l]": ["4", "5"]}}, {}, r"differ: a in mmol/l, b in mEq/l; tr"),
        (
            {"a": {"K [mmol/l]": ["4", "5"]}, "b": {"K": ["4", "5"]}},
            {},
            r"a in mmol/l, b in none; .*\[quantity\.K\], u",
        ),
        (
            {"a": {"K": ["4", "5"]}, "b": {"K": ["40", "50"]}},
            {},
            r"medians are far apart: a 4\.5, b 45; transfer needs",
        ),
        ({"a": {"K [mmol/l]": ["4", "5"]}, "b": {"K": ["4", "5"]}}, {"units": "mmol/l"}, ""),
        ({"a": {"K": ["4", "5"]}, "b": {"K": ["40", "50"]}}, {"low": 1, "high": 90}, ""),
        ({"a": {"K": ["4", "5"]}, "b": {"K [mmol/l]": ["", ""]}, "c": {"EF": ["60", "50"]}}, {}, ""),
    ],
)
def test_a_quantity_travels_in_one_unit(columns, definition, message):
    if not message:
        require_one_scale(quantity("K", **definition), cohorts(**columns))
        return
    with pytest.raises(EcgfmError, match=message):
        require_one_scale(quantity("K", **definition), cohorts(**columns))


# What is asked for


FILE = """
[label.LVH]
meaning = "left ventricular hypertrophy"
true = { column = ["LVH"], scp = ["LVH"] }

[quantity.EF]
meaning = "left ventricular ejection fraction"
units = "%"
column = ["EF", "LVEF"]
low = 5
high = 95

[set.superclasses]
labels = ["scp:MI", "scp:superclass:HYP", "AF", "LVH"]
"""


def test_names_are_quantities_then_sets_then_labels(tmp_path):
    (tmp_path / "labels.toml").write_text(FILE)
    definitions = read_targets(tmp_path / "labels.toml")
    assert definitions.names == ("LVH", "quantity:EF", "superclasses")
    found = chosen_targets(["quantity: EF", "age", "superclasses", "CD"], definitions, where="x")
    assert found.labels == ("CD", "AF", "scp:MI", "scp:HYP", "LVH")
    assert found.sets == {"superclasses": ("AF", "scp:MI", "scp:HYP", "LVH")}
    assert list(found.quantities) == ["quantity:EF", "quantity:age"]
    assert found.quantities["quantity:EF"].columns == ("EF", "LVEF")
    assert canonical("age", "x") == AGE.name and canonical("scp:superclass:MI", "x") == "scp:MI"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[quantity.age]\nunits = 'years'", "quantity.age: age is built in"),
        ("[quantity.EF]\nunit = '%'", "quantity.EF.unit: no such key. Did you mean 'units'"),
        ("[quantity.EF]\nlow = 9\nhigh = 5", "low = 9 should be below high = 5"),
        ("[set.few]\nlabels = ['AF']", "set.few.labels"),
        ("[set.few]\nlabels = ['AF', 'AF']", "should name at least two labels"),
        ("[set.AF]\nlabels = ['AF', 'CD']", "set.AF: a label or a quantity has this name"),
        ("[set.x]\nlabels = ['AF', 'scp:LHV']", "scp has no code 'LHV'"),
        ("[set.x]\nlabels = ['AF', 'age']", "'age' is not a label; a set may contain only labels"),
        ("", "label"),
    ],
)
def test_a_malformed_file_is_one_line(tmp_path, text, message):
    (tmp_path / "labels.toml").write_text(text)
    with pytest.raises(EcgfmError, match=message):
        read_targets(tmp_path / "labels.toml")


def test_a_quantity_needs_a_name():
    with pytest.raises(EcgfmError, match="needs the name of a column"):
        chosen_targets(["quantity:"], Definitions(), where="x")
    with pytest.raises(EcgfmError, match="below high"):
        defined_quantity("EF", QuantityDefinition(low=1, high=1), where="x")
