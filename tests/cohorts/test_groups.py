import numpy as np
import pytest

from pytest_ecgfm.cohorts.groups import MOST_GROUPS, band_name, groups_of, require_groups
from pytest_ecgfm.errors import EcgfmError
from tests.memory_cohort import MemoryCohort


@pytest.fixture
def cohort():
    made = MemoryCohort(6)
    made.table["age"] = [12.0, 40.0, 64.9, 65.0, 90.0, np.nan]
    made.table["sex"] = ["F", "M", "F", "M", "", "F"]
    made.columns["device"] = ["CS-12   E", "AT-6", " CS-12 E ", "nan", "", "AT-6"]
    return made


def test_records_are_in_the_group_of_their_sex_age_and_device(cohort):
    found = groups_of(cohort, ("sex", "age", "device"), (40, 65))
    assert found["sex"].tolist() == ["sex F", "sex M", "sex F", "sex M", "", "sex F"]
    ages = ["age below 40", "age 40 to 64", "age 40 to 64", "age 65 and above", "age 65 and above", ""]
    assert found["age"].tolist() == ages
    # Cells differ in blanks only; what programs write for a missing value is missing.
    assert found["device"].tolist() == ["device CS-12 E", "device AT-6", "device CS-12 E", "", "", "device AT-6"]


def test_who_lacks_one_value_is_in_no_intersection(cohort):
    found = groups_of(cohort, ("sex x age",), (50,))["sex x age"]
    assert found.tolist() == ["sex F, age below 50", "sex M, age below 50", "sex F, age 50 and above",
                              "sex M, age 50 and above", "", ""]  # fmt: skip


def test_a_column_that_a_cohort_lacks_is_unknown_there(cohort):
    assert groups_of(cohort, ("site",), (40,))["site"].tolist() == [""] * 6


@pytest.mark.parametrize(("age", "name"), [(17.5, "below 18"), (18, "18 to below 40.5"), (40.5, "40.5 and above")])
def test_bands_say_what_they_hold(age, name):
    assert band_name(age, (18, 40.5)) == name


def test_columns_that_tell_no_groups_are_refused(cohort):
    require_groups(("sex", "age", "device x sex"), {"a": cohort, "b": MemoryCohort(3)})
    with pytest.raises(EcgfmError, match=r"grid\.subgroups: unknown column 'devise'\. Did you mean 'device'\?"):
        require_groups(("sex x devise",), {"a": cohort})
    many = MemoryCohort(MOST_GROUPS + 1)
    many.columns["height"] = [f"{150 + number}" for number in range(MOST_GROUPS + 1)]
    with pytest.raises(EcgfmError, match=r"cohort memory: grid.subgroups: column 'height' has 51 values"):
        require_groups(("height",), {"memory": many})
