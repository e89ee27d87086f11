"""``--ecgfm-list``: what there is to choose from."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pytest_ecgfm.cards import ModelCard, parse_card
from pytest_ecgfm.cards.parity import parity_in_words
from pytest_ecgfm.cohorts import available_cohorts, load_cohort
from pytest_ecgfm.cohorts.endpoints import Endpoint, with_labels
from pytest_ecgfm.cohorts.targets import Definitions, Targets, chosen_targets, read_targets
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.probe_kinds import PROBES
from pytest_ecgfm.report.escape import terminal
from pytest_ecgfm.results.checks import CHECKS, suites
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.profiles import load_profile, shipped
from pytest_ecgfm.run.settings import Options
from pytest_ecgfm.session.counts import Counts, counts_of, embedded_counts
from pytest_ecgfm.session.declared import declared_cohorts, declared_models, register_declared
from pytest_ecgfm.signals.perturbations import PERTURBATIONS


class Listing:
    """Prints, instead of collecting."""

    def __init__(self, config: pytest.Config) -> None:
        data = Options(config).text("data") or os.environ.get("ECGFM_DATA")
        self._root = Path(data).expanduser().absolute() if data else None
        self._cohorts = available_cohorts(self._root)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        """Print the list; collect nothing."""
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        try:
            for line in self._lines(session.config):
                if reporter is not None:
                    reporter.write_line(terminal(line))
        except EcgfmError as error:
            raise pytest.UsageError(terminal(str(error))) from None
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> bool:
        """Run nothing."""
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Having listed is success."""
        if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    @staticmethod
    def _asked(config: pytest.Config) -> Targets:
        """Return what is defined and what was asked for, to be counted."""
        options = Options(config)
        profile, file = options.text("profile"), options.path("labels_file")
        definitions = load_profile(profile).definitions if profile else Definitions()
        definitions = definitions.and_those_of(read_targets(file)) if file else definitions
        return chosen_targets(
            (*definitions.names, *(options.names("labels") or ())), definitions, where="--ecgfm-labels"
        )

    def _counts(self, name: str, endpoints: Mapping[str, Endpoint]) -> Counts:
        """Return what a cohort has, counted unless it is an embedded one and no label of one's own was asked for."""
        if self._root is None and not endpoints:
            return embedded_counts()[name]
        return counts_of(with_labels(load_cohort(name, self._root), endpoints.values()), endpoints)

    def _lines(self, config: pytest.Config) -> Iterator[str]:
        register_declared(config)
        yield "models:"
        for name, (_, declaration) in sorted(declared_models(config).items()):
            yield f"  {name}: {declaration.fields.get('description', '')} ({declaration.where})"
            yield from _of_weights(parse_card(name, declaration.fields, where=declaration.where))
        endpoints = self._asked(config).endpoints
        yield f"cohorts ({self._root or 'embedded'}), with positives of known records for each label:"
        for name in cohort_order(self._cohorts):
            yield from _of_counts(name, self._counts(name, endpoints))
        for name, (_, declaration, card) in declared_cohorts(config).items():
            yield f"  {name} ({card.continent or 'no continent stated'}): declared in {declaration.where}"
        yield f"profiles: {', '.join(shipped())}"
        yield f"suites: {', '.join(suites())}"
        yield "perturbations:"
        for one in PERTURBATIONS.values():
            severities = ", ".join(f"{severity:g}" for severity in one.severities) if one.parameter else "on or off"
            whose = f" (theirs: declared in {one.where})" if one.where else ""
            units = "" if one.units == "1" else one.units
            yield f"  {one.name}: {one.imitates or one.parameter}; {severities} {units}".rstrip() + whose
        probes = [name + (f" (theirs: declared in {one.where})" if one.where else "") for name, one in PROBES.items()]
        yield f"probes: {', '.join(probes)}"
        yield "checks:"
        for kind in CHECKS.values():
            where = kind.definition if not kind.where else f"theirs: declared in {kind.where}"
            yield f"  {kind.name}: {kind.title} ({where})"


def _of_counts(name: str, counts: Counts) -> Iterator[str]:
    """Say what a cohort has."""
    patients = "no patient identifiers" if counts.patients is None else f"{counts.patients} patients"
    yield f"  {name} ({counts.continent}): {counts.records} records, {patients}"
    yield "    " + ", ".join(f"{label} {true}/{known}" for label, (true, known) in counts.labels.items())
    columns = [f"{column} {true}/{known}" for column, (true, known) in counts.columns.items()]
    if columns:
        yield f"    columns that are labels if you ask for them: {', '.join(columns)}"
    if named := [f"{quantity} {told}" for quantity, told in counts.quantities.items()]:
        yield f"    quantities, with the number of records that have them: {', '.join(named)}"
    codes = [f"{code} {positives}" for code, positives in counts.codes.items()]
    if codes:
        yield f"    codes that are labels if you ask for them, with the number of records: {', '.join(codes)}"


def _of_weights(card: ModelCard) -> Iterator[str]:
    """Say of a model with weights where they come from, under which licence, and what was verified."""
    if card.checkpoint:
        yield f"    weights: {card.checkpoint} from {card.source or 'nowhere stated'}"
        yield f"    licence: {card.licence or 'none stated'}"
        yield f"    verified: {parity_in_words(card.parity)}"
