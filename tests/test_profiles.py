import pytest

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.results.profiles import load_profile, shipped

CHECK = '[[check]]\nname = "downstream.auroc"\nminimum = 0.6\n'


@pytest.fixture
def write(tmp_path):
    def make(text, name="mine.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return make


def case(**changes):
    return Case(
        **{"check": "downstream.auroc", "encoder": "m", "cohort": "a", "label": "AF", "fraction": 1.0, **changes}
    )


@pytest.mark.parametrize("name", shipped())
def test_shipped_profiles_are_valid_and_say_where_thresholds_come_from(name):
    profile = load_profile(name)
    assert profile.name == name
    assert all(rule.reason for rule in profile.check)


def test_the_last_entry_that_matches_decides(write):
    text = CHECK + CHECK.replace("0.6", "0.8") + 'labels = ["AF"]\nfractions = [1.0]\ntier = "advisory"\n'
    profile = load_profile(write(text))
    assert profile.threshold(case()).bound == 0.8
    assert profile.threshold(case()).tier == "advisory"
    assert profile.threshold(case(label="CD")).bound == 0.6
    assert profile.threshold(case(fraction=0.1)).bound == 0.6
    assert profile.threshold(case(check="downstream.auroc_gain")) is None


def test_extending_merges_the_grid_and_appends_checks(write):
    write(CHECK + '[grid]\nlabels = ["AF"]\nfractions = [1.0]\n', "base.toml")
    profile = load_profile(write('extends = "base.toml"\n[grid]\nlabels = ["CD"]\n' + CHECK.replace("0.6", "0.9")))
    assert profile.name == "mine"
    assert profile.grid.labels == ("CD",)
    assert profile.grid.fractions == (1.0,)
    assert [rule.minimum for rule in profile.check] == [0.6, 0.9]
    assert load_profile(write('extends = "default"\n')).check == load_profile("default").check


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "check: is missing"),
        ("check = []", "no [[check]] entry"),
        ("grid = 3\n" + CHECK, "grid = 3"),
        (CHECK + "minimun = 0.5", "check.0.minimun: no such key. Did you mean 'minimum'?"),
        (CHECK.replace("0.6", "1.5"), "check.0.minimum = 1.5"),
        (CHECK.replace("0.6", "nan"), "check.0.minimum = nan"),
        (CHECK + "maximum = 0.9", "should have either a minimum or a maximum"),
        (CHECK.replace("minimum = 0.6", ""), "should have either a minimum or a maximum"),
        (CHECK.replace("auroc", "aurok"), "unknown check 'downstream.aurok'. Did you mean 'downstream.auroc'?"),
        (CHECK + 'labels = ["AFIB"]', "unknown label 'AFIB'. Did you mean 'AF'?"),
        (CHECK.replace("downstream.auroc", "contract.batch") + 'labels = ["AF"]', "labels select nothing"),
        (CHECK + "fractions = [2]", "check.0.fractions.0 = 2"),
        (CHECK + '[grid]\nsuites = ["downstraem"]', "unknown suite 'downstraem'"),
        ('extends = "defalt"\n' + CHECK, "unknown profile 'defalt'. Did you mean 'default'?"),
        ('extends = "mine.toml"\n' + CHECK, "extends itself"),
        ("name = ", "mine.toml: "),
    ],
)
def test_a_bad_profile_is_one_line_that_names_file_and_key(write, text, message):
    with pytest.raises(EcgfmError) as caught:
        load_profile(write(text))
    assert message in str(caught.value)
    assert "mine.toml" in str(caught.value)
