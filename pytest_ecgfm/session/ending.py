"""How a run ends: by itself, by a batch that takes too long, by a signal, or worker by worker."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from traceback import walk_tb
from typing import Any

import pytest

from pytest_ecgfm.report.escape import terminal
from pytest_ecgfm.report.html import HtmlColumns
from pytest_ecgfm.report.junit import mark_outcomes
from pytest_ecgfm.report.summary import append_job_summary
from pytest_ecgfm.report.terminal import end_lines
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.collected import Results
from pytest_ecgfm.results.verdict import Verdict, corrected
from pytest_ecgfm.run.narrowing import selection
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.run.watch import Stopped, Watch, hangs, note_hang, on_sigterm, restore_sigterm, undisturbed
from pytest_ecgfm.session.declared import forget_all_declared
from pytest_ecgfm.session.outputs import Outputs, RunFolder

_STOPPED = "the run was stopped by SIGTERM"
_NO_FAILURE = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


class Ending:
    """The part of a session that writes what there is, whatever ends it."""

    config: pytest.Config
    is_worker: bool
    run: Run
    folder: RunFolder
    outputs: Outputs | None
    results: Results
    thresholds: Mapping[Case, Threshold]
    trouble: list[str]
    warnings: list[str]
    verdict: Verdict | None
    html: HtmlColumns | None
    suites_collected: bool
    watch: Watch
    session: pytest.Session | None = None
    _sigterm: Any = None
    _ended_by_hang = False
    deselected = 0
    """Planned checks that are not among the tests of this run, as an option or a plugin took them out."""

    def _hung(self, where: str) -> None:
        """Write what there is, from the watching thread: the process ends after this."""
        if self.is_worker:
            note_hang(self.folder.path, where)
            return
        self.trouble.append(where)
        capture: Any = self.config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.suspend_global_capture(in_=False)
        self._finish()
        reporter: Any = self.config.pluginmanager.getplugin("terminalreporter")
        self.pytest_terminal_summary(reporter)
        reporter.flush()

    def _stop(self) -> None:
        if _STOPPED not in self.trouble:
            self.trouble.append(_STOPPED)
        # Python drops an exception that is raised while it collects garbage, and a model may drop any. Then the next
        # batch, or the next check, ends the run.
        self.watch.stop = self._stop
        if self.session is not None:
            self.session.shouldstop = "stopped by SIGTERM"
        raise Stopped("stopped by SIGTERM")

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """From here on, whoever asks the run to end gets what there is."""
        self.session = session
        if not self.is_worker:
            self._sigterm = on_sigterm(self._stop)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        """Note whether a worker collected suites, and whether it died."""
        output = getattr(node, "workeroutput", {})
        self.suites_collected = self.suites_collected or bool(output.get("ecgfm_suites"))
        self.deselected = max(self.deselected, int(output.get("ecgfm_deselected", 0)))
        if error:
            hung = [one for one in hangs(self.folder.path) if one not in self.trouble]
            self.trouble += hung or [f"worker {node.gateway.id} crashed"]
            manager: Any = self.config.pluginmanager.getplugin("dsession")
            if hung and manager is not None:
                self._ended_by_hang = True
                # A new worker would only hang in its turn.
                manager.shouldstop = "a batch took too long"

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Iterator[None]:
        """Write the run, set the exit status; let no report of pytest-html take the verdict from the terminal."""
        self._end(session, exitstatus)
        try:
            return (yield)
        except OSError as error:
            names = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
            if self.outputs is None or not any(name.startswith("pytest_html") for name in names):
                raise
            path = self.config.option.htmlpath
            self.outputs.notes.append(f"{path} could not be written: {error.strerror or error}")

    def _end(self, session: pytest.Session, exitstatus: int) -> None:
        if self.is_worker:
            about: dict[str, Any] = self.config.workeroutput  # type: ignore[attr-defined]
            about |= {"ecgfm_suites": self.suites_collected, "ecgfm_deselected": self.deselected}
            return
        if self.outputs is None:
            return
        if exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR):
            self.trouble.append("the run was interrupted")
        if not self.suites_collected and not self.results.rows:
            self.trouble.append("no suite was collected: give no path, or `--pyargs pytest_ecgfm.suites` beside yours")
        with undisturbed():
            self._finish()
        if self._ended_by_hang:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.verdict is not None and self.verdict.outcome != "pass" and session.exitstatus in _NO_FAILURE:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _finish(self) -> None:
        """Decide, and write the run."""
        assert self.outputs is not None
        self.results.replace(corrected(self.results.rows))
        rows = self.results.rows
        done = {row.key for row in rows}
        missing = [case.name for case in self.thresholds if (case.encoder, case.name) not in done]
        chosen = selection(self.config, missing, self.deselected)
        self.verdict = self.outputs.finish(rows, list(self.thresholds), self.trouble, self.results.changed(), chosen)
        if self.html is not None:
            self.html.verdict = self.verdict
        if place := os.environ.get("GITHUB_STEP_SUMMARY"):
            self.outputs.notes += append_job_summary(Path(place), self.verdict, rows)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the verdict and where the run was written."""
        if self.verdict is None or self.outputs is None:
            return
        notes = (*self.verdict.notes, *self.outputs.notes, *self.warnings)
        terminalreporter.section("ECG foundation model conformance")
        for line in end_lines(self.verdict, self.results.rows, notes, [*self.trouble, *self.outputs.problems]):
            terminalreporter.write_line(terminal(line))
        colour = {"pass": "green", "fail": "red", "incomplete": "yellow"}[self.verdict.outcome]
        part = " OF A PART" if self.verdict.outcome == "pass" and self.verdict.identity.narrowed else ""
        terminalreporter.write_line(f"verdict: {self.verdict.outcome.upper()}{part}", **{colour: True, "bold": True})
        terminalreporter.write_line(terminal(f"run: {self.folder.path}"))

    def pytest_unconfigure(self) -> None:
        """Leave the cluster; put our outcomes into the JUnit file, which is written by now."""
        restore_sigterm(self._sigterm)
        self.run.close()
        forget_all_declared()
        path = getattr(self.config.option, "xmlpath", None)
        if path and not self.is_worker:
            mark_outcomes(Path(path))
