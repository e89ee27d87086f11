"""Docs against the code. Whole recipes are run in `end_to_end/test_recipes.py`."""

import importlib.util
import inspect
import json
import re
import tomllib
from collections import defaultdict
from types import ModuleType
from unittest.mock import create_autospec

import pytest
import yaml

import pytest_ecgfm
from pytest_ecgfm.cards import COHORTS, ModelCard, parse_card, parse_cohort_card
from pytest_ecgfm.cards.declarations import COHORT, declared_in
from pytest_ecgfm.cli import COMMANDS, _parser
from pytest_ecgfm.cohorts.base import LABELS
from pytest_ecgfm.cohorts.endpoints import of_code
from pytest_ecgfm.cohorts.facts import folder_facts
from pytest_ecgfm.cohorts.layouts import LAYOUTS
from pytest_ecgfm.cohorts.quantities import PREFIX, spelt
from pytest_ecgfm.cohorts.targets import read_targets
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.exported import read_card_file
from pytest_ecgfm.encoders.registry import builtin_models
from pytest_ecgfm.encoders.sources import parse_checkpoints
from pytest_ecgfm.evaluations.clusters import METRICS as CLUSTER_METRICS
from pytest_ecgfm.evaluations.clusters import NEIGHBOURS
from pytest_ecgfm.evaluations.probe_kinds import PROBES, ProbeKind
from pytest_ecgfm.evaluations.probes import C_GRID, FALLBACK_C
from pytest_ecgfm.evaluations.separability import PERMUTATIONS
from pytest_ecgfm.evaluations.statistics.bootstrap import RESAMPLES
from pytest_ecgfm.measurements.relevance import SHUFFLES
from pytest_ecgfm.plugin import OPTIONS, SWITCHES
from pytest_ecgfm.report.sections import SECTIONS
from pytest_ecgfm.results import cube, cube_files
from pytest_ecgfm.results.checks import CHECKS, GATED_POSITIVES, MINIMUM_POSITIVES, SUITES
from pytest_ecgfm.results.profiles import load_profile, shipped
from pytest_ecgfm.results.verdict import SCHEMA
from pytest_ecgfm.signals.perturbations import VARIANTS
from tests.doc_blocks import PAGES, ROOT, blocks, commands, commands_of

DOCS = ROOT / "docs"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_models_page_is_made_from_the_cards():
    spec = importlib.util.spec_from_file_location("make_models", DOCS / "make_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert text_of("docs/models.md") == module.render()


# Links, and pages of the site


def anchors(text):
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {heading.lower().replace(" ", "-").replace("`", "") for heading in headings} | ids(text)


def ids(text):
    return set(re.findall(r'<a id="([^"]+)">', text))


@every_page
def test_links_between_pages_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = page.parent / file if file else page
        assert found.is_file(), target
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), target


def test_every_page_is_in_the_site_once():
    # Whether the site is built without a warning, links and anchors included, is for `mkdocs build --strict`.
    named = [file for entry in yaml.safe_load(text_of("mkdocs.yml"))["nav"] for file in entry.values()]
    assert sorted(named) == sorted(page.name for page in DOCS.glob("*.md"))


# Names and defaults


@every_page
def test_options_named_in_the_pages_exist(page):
    known = {"--ecgfm", "--ecgfm-list"}
    known |= {f"--ecgfm-{name.replace('_', '-')}" for name in (*OPTIONS, *SWITCHES) if name}
    assert set(re.findall(r"--ecgfm(?:-[a-z]+)*", page.read_text(encoding="utf-8"))) <= known


@every_page
def test_commands_named_in_the_pages_exist(page):
    known = {command.name for command in COMMANDS}
    assert set(re.findall(r"`ecgfm ([a-z]+)", page.read_text(encoding="utf-8"))) <= known


@every_page
def test_checks_named_in_the_pages_exist(page):
    for name in re.findall(rf"`((?:{'|'.join(SUITES)})\.[a-z0-9_]+)", page.read_text(encoding="utf-8")):
        assert name in CHECKS or name.endswith(".py") or is_evaluation(name), name


def is_evaluation(name):
    module, _, attribute = name.partition(".")
    return hasattr(importlib.import_module(f"pytest_ecgfm.evaluations.{module}"), attribute)


def test_every_option_is_in_the_readme():
    text = text_of("README.md")
    for name in OPTIONS:
        assert (f"--ecgfm-{name.replace('_', '-')}" if name else "--ecgfm=") in text


def test_the_readme_states_the_defaults_of_the_profile():
    text = " ".join(text_of("README.md").split())
    grid = load_profile("default").grid
    assert ", ".join(f"{100 * fraction:g}" for fraction in grid.fractions) + " %" in text
    assert all(f"`{label}`" in text for label in grid.labels)
    assert f"`{grid.references[0]}` by default" in text


def test_the_adapter_page_has_every_field_of_a_card_with_its_default():
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|", text_of("docs/adapter.md"), flags=re.MULTILINE)
    stated = {name: default for names, default in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(ModelCard.model_fields) <= set(stated)
    for name, field in ModelCard.model_fields.items():
        if name not in ("name", "leads"):
            default = field.get_default(call_default_factory=True)
            assert stated[name].strip("`") == json.dumps(default) or stated[name].strip("`") == repr(default), name


def test_the_method_page_defines_each_check_once():
    found = re.findall(r'<a id="([a-z_]+\.[a-z0-9_]+)">', text_of("docs/method.md"))
    assert sorted(found) == sorted(CHECKS)


def rows_of(name):
    """The cells of every table row of a page."""
    return [line.strip("|").split("|") for line in text_of(name).splitlines() if line.startswith("| ")]


def test_the_method_page_states_the_severities_of_each_perturbation():
    expected = defaultdict(list)
    for variant in VARIANTS:
        name, _, severity = variant.partition("@")
        expected[name] += re.findall(r"[\d.]+", severity)
    stated = {
        name: re.findall(r"[\d.]+", cells[2])
        for cells in rows_of("docs/method.md")
        if len(cells) == 3
        for name in re.findall(r"`(\w+)`", cells[0])
        if name in expected
    }
    assert stated == expected


def test_the_method_page_states_the_bounds_of_the_contract():
    bounds = {rule.name: rule.bound for rule in load_profile("default").check if rule.name.startswith("contract.")}
    stated = {cells[0].split("`")[1]: cells[2] for cells in rows_of("docs/method.md") if "`contract." in cells[0]}
    assert {name: float(re.sub(r"at (most|least)", "", text)) for name, text in stated.items()} == bounds


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("method", f"{load_profile('default').grid.stability_records} records of each cohort are perturbed"),
        ("method", f"At most {load_profile('default').grid.mapped_records:,} records"),
        ("method", f"a bootstrap over patients ({RESAMPLES} resamples"),
        ("method", f"mean over {SHUFFLES} shuffles"),
        ("method", f"C from {C_GRID[0]:.0e} to {C_GRID[-1]:g}".replace("e-0", "e-")),
        ("method", f"else {FALLBACK_C:g}"),
        ("method", f"fewer than {MINIMUM_POSITIVES} positives or negatives"),
        ("method", f"With {MINIMUM_POSITIVES} to {GATED_POSITIVES - 1} positives"),
        ("method", f"agreement of the {NEIGHBOURS} nearest neighbours"),
        ("formulas", f"over {PERMUTATIONS} permutations"),
    ],
)
def test_numbers_in_the_pages_are_those_of_the_code(page, sentence):
    assert sentence in " ".join(text_of(f"docs/{page}.md").split())


def test_the_page_of_quantities_has_every_variable_of_the_cube():
    text = text_of("docs/formulas.md")
    first = " ".join(re.findall(r"^\| (.+?) \|", text, flags=re.MULTILINE))
    named = set(re.findall(r"`([\w.]+)`", first))
    variables = {name for group in cube._METRICS.values() for name in group}
    assert {name.removesuffix("_low").removesuffix("_high") for name in variables} | set(CLUSTER_METRICS) <= named


def test_the_cube_page_has_every_column_of_checks():
    row = next(line for line in text_of("docs/cube.md").splitlines() if line.startswith("| `/checks` |"))
    named = {name.strip() for name in row.split("|")[3].split(",")}
    assert {*cube._CHECK_COLUMNS, *cube._CHECK_NUMBERS} == named


def test_the_pages_of_cohorts_have_every_label_and_layout():
    own, published = text_of("docs/own_cohort.md"), text_of("docs/cohorts.md")
    assert all(f"`{label}`" in own for label in LABELS)
    names = {name for layout in LAYOUTS for name in layout.names}
    assert names <= set(COHORTS), "a card cannot say that its model saw these"
    assert all(f"`{name}`" in published for name in names)


def test_the_page_on_the_report_explains_each_section():
    # By its title, or the first words of it.
    named = re.findall(r"\*\*(.+?)\*\*", text_of("docs/report.md"))
    assert [one.title for one in SECTIONS if not any(one.title.startswith(name) for name in named)] == []


@every_page
def test_prose_is_wrapped_at_a_width_that_can_be_reviewed(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    prose = [line for line in text.splitlines() if not line.startswith("|")]
    longest = max(len(re.sub(r"\]\(\S+\)|`[^`]+`", "", line)) for line in prose)
    assert longest <= 120


def test_the_page_of_versions_states_the_numbers():
    text = text_of("docs/migration.md")
    assert f"| `cube.nc` | root attribute `schema_version` | {cube_files.SCHEMA_VERSION} |" in text
    assert f"[JSON Schema](verdict.schema.json) | {SCHEMA} |" in text


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load(text_of("CITATION.cff"))
    assert cited["version"] == PYPROJECT["project"]["version"]
    assert cited["license"] == PYPROJECT["project"]["license"]
    assert "2601.21830" in cited["preferred-citation"]["url"]
    assert f"version {cited['version']}" in text_of("docs/cite.md")


# Code blocks


@every_page
def test_every_block_says_what_it_is(page):
    # `text` is output. Everything else is run, or parsed by what would run it.
    assert {block.language for block in blocks(page)} <= {"python", "sh", "toml", "yaml", "text"}


def check_command(command, config, page):
    program, *words = command
    if program == "ecgfm":
        _parser().parse_args(words)
    elif program == "pytest":
        known, unknown = config._parser.parse_known_and_unknown_args(words)
        assert not unknown
        check_values(known, page)
    elif program == "pip":
        extras = {name for word in words for name in re.findall(r"^\.\[(.+)\]$", word)}
        assert words[0] == "install" and extras <= set(PYPROJECT["project"]["optional-dependencies"])
        assert "-c" not in words or (ROOT / words[words.index("-c") + 1]).is_file()
    elif program == "rm":
        assert words == ["-rf", "run"]
    elif program.startswith("python"):
        assert words[:2] == ["-m", "venv"] or (ROOT / words[0]).is_file()
    else:
        assert (program in {"ruff", "mypy"} and words[0:1] <= ["format"]) or program in {"ruff", "mypy"}


NARROWED = ("suites", "labels", "cohorts", "reference")


def check_values(known, page):
    declared = set(re.findall(r"^def (\w+)\(", page.read_text(encoding="utf-8"), flags=re.MULTILINE))
    models = {*builtin_models(), *declared, "my_model"}
    assert all(name in models or name == "card.toml" for name in known.ecgfm or ())
    assert set(parse_checkpoints(known.ecgfm_checkpoint or ())) <= models
    assert known.ecgfm_profile in {None, *shipped(), "run.toml"}
    text = page.read_text(encoding="utf-8")
    # Folders that the page makes are cohorts, and columns and definitions of the page are labels.
    cohorts = {*COHORTS, *re.findall(r'Path\("data/([\w-]+)"\)', text)}
    asked = {option: set(",".join(getattr(known, f"ecgfm_{option}") or []).split(",")) - {""} for option in NARROWED}
    for option, valid in (("suites", set(SUITES)), ("cohorts", cohorts), ("reference", models)):
        assert asked[option] <= valid, option
    for label in asked["labels"] - set(LABELS):
        plain = spelt(label).removeprefix(PREFIX) or label
        stated = f'"{plain}": ', f'"{plain} [', f"`{plain}` is", f"[set.{plain}]"
        assert label == "age" or any(one in text for one in stated) or of_code(label, where=page.name)


@every_page
def test_shell_blocks_are_accepted_by_what_they_call(page, pytestconfig):
    for command in commands_of(page):
        check_command(command, pytestconfig, page)


@every_page
def test_workflows_call_what_exists(page, pytestconfig):
    for block in blocks(page, "yaml"):
        jobs = yaml.safe_load(block.body)
        text = json.dumps(jobs)
        assert "pytest --ecgfm" in text
        for job in jobs.get("jobs", jobs).values():
            lines = [*job.get("script", []), *(step["run"] for step in job.get("steps", []) if "run" in step)]
            assert lines
            for command in (one for line in lines for one in commands(line)):
                check_command(command, pytestconfig, page)


@every_page
def test_profiles_and_cards_in_the_pages_are_valid(page, tmp_path, monkeypatch):
    for block in blocks(page, "toml"):
        path = tmp_path / (block.file or "profile.toml")
        path.write_text(block.body, encoding="utf-8")
        (tmp_path / "model.onnx").touch()
        if block.file in ("labels.toml", "quantities.toml", "sets.toml"):
            assert read_targets(path)
        elif block.file == "cohort.toml":
            assert folder_facts(tmp_path).country
        elif block.file:
            assert read_card_file(path)[0].name == "card"
        else:
            for name in re.findall(r'^probe = "(.+\..+)"', block.body, re.MULTILINE):
                monkeypatch.setitem(PROBES, name, ProbeKind(name))
            assert load_profile(str(path)).check[-1].reason


@every_page
def test_python_blocks_compile_and_cards_are_valid(page):
    for block in blocks(page, "python"):
        code = compile(block.body, f"{page.name}:{block.line}", "exec")
        if "@ecg_model" not in block.body and "@ecg_cohort" not in block.body:
            continue
        module = ModuleType("conftest")
        exec(code, vars(module))
        models, cohorts = declared_in(module).items(), declared_in(module, COHORT).items()
        assert models or cohorts
        for name, (_, _, declaration) in models:
            parse_card(name, declaration.fields, where=declaration.where)
        for name, (_, _, declaration) in cohorts:
            parse_cohort_card(name, declaration.fields, where=declaration.where)


def test_the_models_page_calls_loaders_by_their_signatures(monkeypatch):
    # The weights are not at hand: the calls are held against the real signatures.
    encoder = create_autospec(Encoder, instance=True)
    load = create_autospec(pytest_ecgfm.load_encoder, return_value=encoder)
    monkeypatch.setattr(pytest_ecgfm, "load_encoder", load, raising=False)
    block, _ = blocks(DOCS / "models.md", "python")
    exec(block.body, {"signal": object()})
    assert load.call_args.args[0] in builtin_models()
    inspect.signature(Encoder.embed).bind(encoder, *encoder.embed.call_args.args, **encoder.embed.call_args.kwargs)
