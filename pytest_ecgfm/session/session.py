"""The pytest plugin of a run with ``--ecgfm``: wiring between pytest and `Run`, nothing else."""

from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_ecgfm.cards import CohortCard, ModelCard
from pytest_ecgfm.cards.declarations import Declaration
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.own import own_cohort
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.sources import resolve_checkpoint
from pytest_ecgfm.errors import EcgfmError, blame, once_in_full
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.report.addresses import PAGE
from pytest_ecgfm.report.escape import terminal
from pytest_ecgfm.report.html import HtmlColumns, link_from
from pytest_ecgfm.report.junit import properties_of
from pytest_ecgfm.report.terminal import LETTERS
from pytest_ecgfm.results.checks import CHECKS, DECLARED, LAST, Case, family_of, is_declared
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.collected import Results
from pytest_ecgfm.results.profiles import require_reasons
from pytest_ecgfm.results.rows import PROPERTY, Row, expected_to_fail, failed_row, judged_row, received_row
from pytest_ecgfm.results.verdict import Verdict
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.run.settings import Settings
from pytest_ecgfm.run.watch import Watch
from pytest_ecgfm.session.collect import suites_folder
from pytest_ecgfm.session.declared import (
    declared_models,
    exported_fixture,
    judged_by,
    require_cells,
)
from pytest_ecgfm.session.ending import Ending
from pytest_ecgfm.session.known_labels import require_columns
from pytest_ecgfm.session.outputs import Outputs, RunFolder, new_run_id, unexpected
from pytest_ecgfm.session.progress import Progressing
from pytest_ecgfm.session.workers import share_cores
from pytest_ecgfm.signals.records import RecordBatch

CASE = "ecgfm_case"


class CheckFailed(AssertionError):
    """A blocking check did not reach its threshold."""


class Session(Ending):
    """Hooks and fixtures of a run."""

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        cards: dict[str, ModelCard],
        own_cohorts: dict[str, tuple[Any, Declaration, CohortCard]],
        loaded: dict[str, Cohort],
    ) -> None:
        self.config = config
        self.settings = settings
        self.cards = cards
        self.own_cohorts = own_cohorts
        self.results = Results()
        self._weights_asked: dict[str, Path] = {}
        self._said: set[str] = set()
        self.thresholds = settings.planned()
        require_cells(settings, self.thresholds)
        require_reasons(settings.profile, self.thresholds)
        self.has_declared = any(is_declared(case.check) for case in self.thresholds)
        self._members = Counter(family_of(case, threshold) for case, threshold in self.thresholds.items())
        worker = getattr(config, "workerinput", None)
        self.is_worker = worker is not None
        if worker:
            share_cores(int(worker["workercount"]))
        self.trouble = [
            f"{model}: the card expects {name} to fail, but no such check is part of this run"
            for model in settings.models
            for name in cards[model].expected_failures
            if name not in {case.name for case in self.thresholds if case.encoder == model}
        ]
        self.verdict: Verdict | None = None
        self.suites_collected = False
        self.run_id = worker["ecgfm_run_id"] if worker else new_run_id()
        self.folder = RunFolder(settings.out, self.run_id, worker["ecgfm_folder"] if worker else None)
        self.warnings: list[str] = []
        self.html: HtmlColumns | None = None
        self.outputs: Outputs | None = None
        if not self.is_worker and not config.option.collectonly:
            self._open_outputs()
        self.run = Run(settings, self.run_id, self.folder.path, Progressing(config))
        self._loaded = frozenset(loaded)
        self.run.loaded(loaded)
        self.run.watch = self.watch = Watch(settings.timeout, self._hung)
        self._sigterm: Any = None
        if not config.option.collectonly and (self.is_worker or not config.getoption("numprocesses", None)):
            self.run.connect()

    def _open_outputs(self) -> None:
        command = ("pytest", *map(str, self.config.invocation_params.args))
        self.outputs = Outputs(self.folder, self.run_id, self.settings, self.cards, command)
        self.warnings = unexpected(self.settings, self.folder, self.thresholds)
        if self.config.pluginmanager.hasplugin("html"):
            self.html = HtmlColumns()
            self.config.pluginmanager.register(self.html, "ecgfm-html")
            if not self.config.option.htmlpath:
                self.config.option.htmlpath = str(self.folder.path / "report.html")
                self.config.option.self_contained_html = True
            self.html.page = link_from(self.config.option.htmlpath, self.folder.path / PAGE)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Remember which check is at work, for a message about a batch that takes too long."""
        case = _case_of(item)
        self.watch.check, self.watch.cohort = (case.name, case.cohort) if case else (item.name, "")

    # Collection

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Make every chosen model's fixture visible to the suites, wherever its conftest is.

        A conftest's fixtures are visible only below its folder, and the suites are not below any user's folder.
        """
        holder = ModuleType("ecgfm_fixtures")
        declared = declared_models(self.config)
        for name in self.settings.encoders:
            fixture = declared[name][0] if name in declared else exported_fixture(name, self.settings.card_files[name])
            setattr(holder, name.replace(".", "_"), fixture)
        for name, (fixture, _, _) in self.own_cohorts.items():
            setattr(holder, f"cohort {name}", fixture)

        @pytest.fixture(scope="session")
        def ecgfm_checkpoint() -> Callable[[str], Path]:
            """Give a function of a model's name that finds its weights."""

            def find(name: str) -> Path:
                path = resolve_checkpoint(self.cards[name], self.settings.checkpoints)
                self._weights_asked[name] = path
                return path

            return find

        holder.ecgfm_checkpoint = ecgfm_checkpoint  # type: ignore[attr-defined]
        self.config.pluginmanager.register(holder, "ecgfm-fixtures")

    @pytest.hookimpl(tryfirst=True)
    def pytest_ignore_collect(self, collection_path: Any) -> bool | None:
        """Let no user's ignore rule hide the suites."""
        folder = suites_folder()
        return False if collection_path == folder or collection_path.parent == folder else None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrise a suite's test over the cells of its check."""
        marker = metafunc.definition.get_closest_marker("ecgfm_check")
        if marker is not None and CASE in metafunc.fixturenames:
            wanted = marker.args[0]
            theirs = wanted == DECLARED
            cases = [case for case in self.thresholds if (case.check == wanted) or (theirs and is_declared(case.check))]
            marks = {"advisory": [pytest.mark.ecgfm_advisory], "blocking": []}
            params = [
                pytest.param(
                    case, id=f"{case.check}-{case.id}" if theirs else case.id, marks=marks[self.thresholds[case].tier]
                )
                for case in cases
            ]
            metafunc.parametrize(CASE, params)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Drop what has no cell, and let a user's ``filterwarnings = error`` not reach the suites."""
        ours = [item for item in items if item.get_closest_marker("ecgfm_check")]
        # What looks back on the whole run comes last, whichever suites there are.
        last = [item for item in ours if (case := _case_of(item)) is not None and case.check == LAST]
        items[:] = [*(item for item in items if item not in last), *last]
        self.suites_collected = bool(ours)
        for item in ours:
            item.add_marker(pytest.mark.filterwarnings("default"))
        items[:] = [item for item in items if item not in ours or _case_of(item) is not None]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the planned checks that were taken out: not every plugin says what it deselects."""
        if self.suites_collected:
            kept = {case for item in session.items if (case := _case_of(item)) is not None}
            self.deselected = len(self.thresholds.keys() - kept)

    # Fixtures of the suites

    @pytest.fixture
    def ecgfm_run(self, request: pytest.FixtureRequest) -> Run:
        """Give cohorts, encoders, embeddings and results of this run."""
        for name, (_, declaration, card) in self.own_cohorts.items():
            if name in self._loaded:
                continue
            returned = request.getfixturevalue(name)
            self.run.add_cohort(name, partial(own_cohort, card, returned, where=declaration.where))
        if self.own_cohorts:
            # Once: it goes through the tables of all cohorts, and each check asks for this fixture.
            self.run.once(("columns of all cohorts",), partial(require_columns, self.run))
        return self.run

    @pytest.fixture
    def ecgfm_encoder(self, request: pytest.FixtureRequest, ecgfm_case: Case) -> Encoder:
        """Give the encoder under test."""
        encoder = self._encoder(request, ecgfm_case.encoder)
        if Case(LAST, ecgfm_case.encoder, ecgfm_case.cohort) in self.thresholds:
            # As early as anything is asked of the encoder. A refusal is judged where the whole cohort is embedded.
            with suppress(EcgfmError):
                request.getfixturevalue("ecgfm_run").remember(encoder, ecgfm_case.cohort)
        return encoder

    @pytest.fixture
    def ecgfm_encoders(self, request: pytest.FixtureRequest, ecgfm_run: Run) -> dict[str, Encoder]:
        """Give every encoder under test by name: for tests of your own beside the suites."""
        return {name: self._encoder(request, name) for name in self.settings.models}

    @pytest.fixture
    def ecgfm_declared(self, ecgfm_case: Case) -> Callable[..., Measured]:
        """Give the function of a check that a package or a conftest declares."""
        return judged_by(CHECKS[ecgfm_case.check])

    @pytest.fixture
    def ecgfm_reference(self, request: pytest.FixtureRequest, ecgfm_case: Case) -> Encoder:
        """Give the reference encoder of a check that compares."""
        name = ecgfm_case.reference
        return self._encoder(request, name)

    def _encoder(self, request: pytest.FixtureRequest, name: str) -> Encoder:
        try:
            model = request.getfixturevalue(name)
        except Exception as error:
            # Not our own errors: a checkpoint that is not there, or no checkpoint.
            if not isinstance(error, EcgfmError):
                blame(error, name)
            raise
        if name in self.settings.checkpoints and name not in self._weights_asked:
            unread = EcgfmError(
                f"--ecgfm-checkpoint: model {name!r} does not read {self.settings.checkpoints[name]}: its fixture "
                f"never calls ecgfm_checkpoint({name!r}), so other weights would be tested."
            )
            raise blame(unread, name)
        return self.run.encoder(self.cards[name], model, self._weights_asked.get(name))

    @pytest.fixture
    def ecgfm_sample(self, ecgfm_case: Case, ecgfm_run: Run) -> RecordBatch:
        """Give a few records of the cohort, as one batch."""
        return ecgfm_run.sample(ecgfm_case.cohort)

    @pytest.fixture
    def ecgfm_gate(self, request: pytest.FixtureRequest, ecgfm_case: Case) -> Any:
        """Record what was found, then judge it: a row exists even where the check fails."""

        def gate(found: Measured) -> None:
            __tracebackhide__ = True
            threshold = self.thresholds[ecgfm_case]
            row = judged_row(ecgfm_case, threshold, found, self._members[family_of(ecgfm_case, threshold)])
            expected = self.cards[ecgfm_case.encoder].expected_failures.get(row.check)
            row = row if expected is None else expected_to_fail(row, expected)
            request.node.user_properties.append((PROPERTY, row.to_json()))
            if row.blocks:
                raise CheckFailed(row.message())

        return gate

    # Reports

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give every check a row, also one that broke; show our own errors as one line."""
        if call.when == "setup":
            # A test that runs again must not be judged by what its first run found.
            item.user_properties[:] = [one for one in item.user_properties if one[0] != PROPERTY]
        report = yield
        case = _case_of(item)
        if case is None or call.excinfo is None:
            return report
        error = once_in_full(call.excinfo.value, self._said)
        if isinstance(error, EcgfmError | CheckFailed):
            report.longrepr = call.excinfo.getrepr(style="value") if error is call.excinfo.value else str(error)
            if (text := str(report.longrepr)) != terminal(text):
                report.longrepr = terminal(text)
        if call.when != "teardown" and not any(name == PROPERTY for name, _ in report.user_properties):
            row = failed_row(case, self.thresholds[case], error)
            for holder in (item, report):
                holder.user_properties.append((PROPERTY, row.to_json()))
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect rows where reports arrive: the only process, or the controller. A crashed worker's stay."""
        if self.is_worker:
            return
        held = [text for name, text in report.user_properties if name == PROPERTY]
        if not held:
            return
        row = received_row(str(held[-1]), where=report.nodeid)
        report.ecgfm_row = row  # type: ignore[attr-defined]
        # JUnit and HTML show what people read, not the whole row.
        others = [(name, value) for name, value in report.user_properties if name != PROPERTY]
        report.user_properties = [*others, *properties_of(row)]
        # A check that never ran (its setup failed, or it was skipped) has its row in the setup's report.
        if report.when == "call" or (report.when == "setup" and not report.passed):
            self.results.add(row)
            if self.outputs is not None:
                self.outputs.append(row)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Show outcomes that pytest does not have by their own words and letters."""
        row: Row | None = getattr(report, "ecgfm_row", None)
        if row is not None and row.outcome == "error" and report.outcome == "failed":
            return "error", "E", "ERROR"
        if row is None or report.when != "call" or not report.passed:
            return None
        if row.outcome in LETTERS:
            return row.outcome, LETTERS[row.outcome], row.outcome.upper()
        if row.outcome == "fail":
            return "advisory fail", "a", "ADVISORY FAIL"
        return None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell each xdist worker the run that it belongs to."""
        node.workerinput["ecgfm_run_id"] = self.run_id
        node.workerinput["ecgfm_folder"] = str(self.folder.path)

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Give all checks of an encoder on a cohort to one worker: they share embeddings, probes and neighbours."""
        from pytest_ecgfm.session.distribution import group_of, scheduler

        return scheduler(config, log, {case.id: group_of(case) for case in self.thresholds})

    def pytest_report_header(self) -> list[str]:
        """Say what is going to be evaluated."""
        settings = self.settings
        lines = [
            f"ecgfm: {', '.join(settings.models)} against profile {settings.profile.name}, "
            f"references {', '.join(settings.references) or 'none'}, {len(self.thresholds)} checks",
            f"ecgfm: cohorts {cohorts_from(cohort_order(settings.cohorts), self.own_cohorts, settings.data)}",
            *(f"ecgfm: {note}" for note in self.warnings),
        ]
        return [terminal(line) for line in lines]


def cohorts_from(names: Sequence[str], declared: Collection[str], data: Path | None) -> str:
    """Say where each cohort comes from: fixtures, and the data folder or the package."""
    own = [name for name in names if name in declared]
    others = [name for name in names if name not in declared]
    parts = [f"{', '.join(others)} from {data or 'the package (embedded)'}"] if others else []
    return "; ".join([*parts, *([f"{', '.join(own)} from @ecg_cohort"] if own else [])])


def _case_of(item: pytest.Item) -> Case | None:
    callspec = getattr(item, "callspec", None)
    case = callspec.params.get(CASE) if callspec is not None else None
    return case if isinstance(case, Case) else None
