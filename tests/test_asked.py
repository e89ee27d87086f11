"""What a verdict is about: profile, narrowing, weights; told alike by the verdict, the badge and the page."""

import json
import re
import tomllib
from dataclasses import replace

import pytest
import tomli_w

from pytest_ecgfm.cli import main
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.loaded import load
from pytest_ecgfm.report.page import render
from pytest_ecgfm.report.summary import badge, in_words, job_summary
from pytest_ecgfm.report.terminal import end_lines
from pytest_ecgfm.results.identity import Identity, digest_of, is_shipped, profile_digest, told_identity
from pytest_ecgfm.results.profiles import load_profile
from pytest_ecgfm.results.verdict import VerdictFile, decide
from pytest_ecgfm.run.narrowing import selection
from pytest_ecgfm.run.settings import read_settings
from pytest_ecgfm.session.identified import identify
from pytest_ecgfm.session.in_process import _Given
from pytest_ecgfm.session.outputs import _plain
from tests.made_rows import CASE, row
from tests.report.runs import write_run

NARROWING = {
    "suites": "contract",
    "cohorts": "synthetic-europe",
    "labels": "AF,LVH",
    "fractions": "1%,100%",
    "seeds": "1",
    "reference": "handcrafted",
    "limit": "200",
}


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.delenv("ECGFM_DATA", raising=False)


def settings_of(**options):
    return read_settings(_Given({"ecgfm": "handcrafted", **{f"ecgfm_{name}": one for name, one in options.items()}}))


def identity_of(settings, selected=None):
    verdict = decide([], [], models=settings.models)
    return identify(settings, {}, verdict.encoders, cohorts={}, weights={"handcrafted": "ab"}, selection=selected or {})


@pytest.mark.parametrize("option", NARROWING)
def test_an_option_that_leaves_something_out_narrows(option):
    found = settings_of(**{option: NARROWING[option]}).narrowed
    assert list(found) == [f"--ecgfm-{option}"], found
    assert found[f"--ecgfm-{option}"].startswith(("only ", "at most "))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"profile": "smoke"},
        {"profile": "release"},
        {"labels": "CD,AF,SB,STach,LBBB"},
        {"fractions": "100%,50%,25%,10%,5%,1%,2%"},
        {"reference": "random_conv,handcrafted"},
        {"seeds": "10"},
        {"profile": "smoke", "seeds": "1"},
        {"suites": "contract,downstream,transfer,stability,relevance,separability"},
    ],
)
def test_what_asks_for_all_or_more_does_not_narrow(options):
    if "suites" in options:
        options = {"suites": ",".join(load_profile("default").grid.suites)}
    assert settings_of(**options).narrowed == {}


def test_a_profile_of_ones_own_that_asks_for_less_is_named_and_does_not_narrow(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "default"\n[grid]\nlabels = ["AF"]\n')
    mine, shipped = identity_of(settings_of(profile=str(path))), identity_of(settings_of())
    assert mine.narrowed == {} and not mine.shipped and shipped.shipped
    assert mine.profile_digest != shipped.profile_digest
    assert mine.headline("pass") == f"pass: profile mine ({mine.profile_digest[:8]}, not shipped)"
    # It may call itself what it likes.
    path.write_text('extends = "default"\nname = "default"\n[grid]\nlabels = ["AF"]\n')
    posing = identity_of(settings_of(profile=str(path)))
    assert posing.profile == "default" and not posing.shipped and posing.profile_digest == mine.profile_digest


@pytest.mark.parametrize("options", [{}, {"suites": "contract"}, {"fractions": "1%"}, {"limit": "50"}])
def test_a_repeated_run_has_the_identity_of_the_first_unless_its_file_was_edited(tmp_path, options):
    first = settings_of(**options)
    path = tmp_path / "run.toml"
    path.write_text(tomli_w.dumps(_plain(first.resolved_profile().model_dump(mode="json"))))
    again = identity_of(read_settings(_Given({"ecgfm_profile": str(path)})))
    assert again == identity_of(first)
    text = path.read_text()
    held = tomllib.loads(text)
    held["check"][0]["maximum" if "maximum" in held["check"][0] else "minimum"] = 1e-6
    path.write_text(tomli_w.dumps(held))
    edited = identity_of(read_settings(_Given({"ecgfm_profile": str(path)})))
    assert edited.profile_digest != again.profile_digest and not edited.shipped
    assert edited.narrowed == again.narrowed
    # What the first run left out cannot be taken out of its file, nor can the file call its thresholds ours.
    whole = {**held, "check": tomllib.loads(text)["check"]}
    whole["run"] = {**held["run"], "narrowed": {}}
    path.write_text(tomli_w.dumps(whole))
    claims = identity_of(read_settings(_Given({"ecgfm_profile": str(path)})))
    assert claims.shipped == (not options) and claims.narrowed == {}
    forged = load_profile(str(path)).model_copy(update={"check": first.profile.check[1:]})
    signed = forged.run.model_copy(update={"asked_digest": digest_of(forged)})
    assert not is_shipped(forged.model_copy(update={"run": signed}))


def test_a_digest_is_of_what_is_demanded_and_of_nothing_else():
    profile = load_profile("default")
    assert digest_of(profile.model_copy(update={"name": "x"})) == digest_of(profile) == profile_digest(profile)
    stricter = profile.check[0].model_copy(update={"tier": "advisory"})
    assert digest_of(profile.model_copy(update={"check": (stricter, *profile.check[1:])})) != digest_of(profile)
    elsewhere = profile.model_copy(update={"run": profile.run.model_copy(update={"data": "a", "baselines": ("b",)})})
    assert digest_of(elsewhere) == digest_of(profile)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("-k", "gain"), "-k"),
        (("-m", "not ecgfm_stability"), "-m"),
        (("--deselect", "a.py::b"), "--deselect"),
        (("--ignore", "x"), "--ignore"),
        (("--lf",), "--last-failed"),
        (("--sw",), "--stepwise"),
        (("-x",), "--maxfail"),
        (("--maxfail=3",), "--maxfail"),
        (("--pyargs", "pytest_ecgfm.suites.test_contract"), "paths"),
        (("--pyargs", "pytest_ecgfm.suites::test_x"), "paths"),
    ],
)
def test_an_option_of_pytest_narrows_where_a_planned_check_was_not_evaluated(pytester, options, named):
    pytester.makepyfile(a="")
    config = pytester.parseconfig(*options)
    found = selection(config, ["downstream.auroc[x]"])
    assert list(found) == [named] and found[named].endswith("1 planned check not evaluated")
    # All was evaluated: the option left nothing out.
    assert selection(config, []) == {}


def test_a_plugin_that_deselects_narrows_and_a_crash_does_not(pytester):
    config = pytester.parseconfig()
    assert list(selection(config, ["a", "b"], 2)) == ["a plugin"]
    assert selection(config, ["a", "b"]) == {}


WHOLE = Identity(profile="default", profile_digest="0123456789", shipped=True, encoders={"m": {"version": "7"}})
PART = WHOLE.model_copy(update={"narrowed": {"--ecgfm-suites": "only contract; not transfer"}})


def made(identity, outcome="pass"):
    rows = [row(outcome)]
    return replace(decide(rows, [CASE], models=["m"]), identity=identity), rows


@pytest.mark.parametrize("outcome", ["pass", "fail"])
def test_every_output_tells_a_part_from_a_whole_by_one_line(tmp_path, outcome):
    folder, _ = write_run(tmp_path / "run")
    shown = {}
    for identity in (WHOLE, PART):
        verdict, rows = made(identity, outcome)
        held = json.loads((folder / "verdict.json").read_text()) | {"identity": identity.model_dump(mode="json")}
        (folder / "verdict.json").write_text(json.dumps({**held, "outcome": outcome}))
        page = render(load(folder))
        shown[bool(identity.narrowed)] = {
            "badge": badge(verdict)["message"],
            "page": re.sub("<[^>]+>", "", page.partition("<h1>")[2].partition("</h1>")[0]),
            "title": page.partition("<title>")[2].partition("</title>")[0],
            "summary": in_words(verdict, rows).partition(". ")[0],
            "job": job_summary(verdict, rows).partition("\n")[0],
        }
        # The first line and the window's title say it; the verdict below says what it means, and does not repeat it.
        assert page.partition("<nav")[0].count("narrowed by") == (2 if identity.narrowed else 0)
        assert told_identity(verdict.to_json()) == identity
        asked = "\n".join(end_lines(verdict, rows, (), ()))
        assert "asked: profile: default, as shipped, SHA-256 0123456789" in asked
        assert "asked: m: version 7 of the card, no weights, labels not gated in any cohort: none" in asked
    for place, part in shown[True].items():
        assert "of a part" in part and "suites" in part, place
        assert "of a part" not in shown[False][place] and "01234567" in shown[False][place], place
    colours = {badge(made(one)[0])["color"] for one in (WHOLE, PART)}
    assert colours == {"brightgreen", "yellowgreen"}


def test_the_schema_lets_later_keys_in_and_a_file_of_before_is_told_apart():
    schema = VerdictFile.model_json_schema(by_alias=True)
    objects = [schema, *schema["$defs"].values()]
    assert all(one.get("additionalProperties", True) is not False for one in objects)
    content = {**made(PART)[0].to_json(), "summary": "", "run_id": "x", "started": "", "finished": ""}
    content["later"] = content["identity"]["later"] = content["encoders"]["m"]["later"] = {"any": 1}
    assert VerdictFile.model_validate(content).identity == PART
    assert content["schema"] == 2
    assert told_identity({"schema": 1}).headline("pass") == "pass: which profile is not known"
    assert told_identity({"identity": {"narrowed": 3}}) == Identity()


def test_a_gate_may_ask_for_the_whole(tmp_path, capsys):
    content = {**made(PART)[0].to_json(), "started": "2026-01-01T00:00:00Z"}
    (tmp_path / "verdict.json").write_text(json.dumps(content))
    assert main(["gate", str(tmp_path)]) == 0
    assert (
        "pass of a part: profile default (01234567, as shipped), narrowed by --ecgfm-suites" in capsys.readouterr().out
    )
    assert main(["gate", str(tmp_path), "--whole"]) == 1
    assert "--whole takes no part for the whole" in capsys.readouterr().err
    content["identity"]["narrowed"] = {}
    (tmp_path / "verdict.json").write_text(json.dumps(content))
    assert main(["gate", str(tmp_path), "--whole"]) == 0


def test_cohorts_of_a_repeated_run_that_are_gone_are_named(tmp_path):
    profile = settings_of(cohorts="synthetic-europe").resolved_profile().model_dump(mode="json")
    profile["run"]["cohorts"] = ["georgia"]
    path = tmp_path / "run.toml"
    path.write_text(tomli_w.dumps(_plain(profile)))
    with pytest.raises(EcgfmError, match=r"run\.cohorts"):
        read_settings(_Given({"ecgfm_profile": str(path)}))
