"""Finished runs as releases of one encoder: what each check gave, what changed, and what was lost little by little."""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from pytest_ecgfm.cohorts.quantities import spelt
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.report.compare import Difference, differences
from pytest_ecgfm.report.escape import table_cell
from pytest_ecgfm.report.loaded import Loaded, load
from pytest_ecgfm.report.words import Triple
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.results.profiles import demanded, held_profile
from pytest_ecgfm.results.rounded import chosen, rounded
from pytest_ecgfm.results.rows import Row, judged_row
from pytest_ecgfm.results.verdict import corrected

_SINCE = re.compile(r"since-[^,\]]+")


class Apart(NamedTuple):
    """A run, or several, that stand in no series, and why."""

    runs: tuple[str, ...]
    reason: str


class CheckedValue(NamedTuple):
    """What a check gave in one release."""

    outcome: str
    tier: str
    value: Triple
    threshold: float
    sense: str


class Loss(NamedTuple):
    """What one cell lost: against the first release, and against the one before, as `auroc_change` judges it.

    `slow` says that the loss against the first one blocks although no step up to here does.
    """

    cohort: str
    label: str
    release: int
    since_first: Row
    since_last: Row | None
    slow: bool

    @property
    def where(self) -> str:
        """Cohort and label."""
        return f"{self.cohort}, {self.label}"


@dataclass(frozen=True)
class Release:
    """One run of an encoder."""

    run: Loaded
    encoder: str

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.run.path.resolve().name

    @property
    def started(self) -> str:
        """When it began (UTC); empty where the verdict does not say."""
        return str(self.run.verdict.get("started", ""))

    @property
    def outcome(self) -> str:
        """The encoder's verdict."""
        return str(self.run.verdict["encoders"][self.encoder].get("outcome", ""))

    @property
    def made_with(self) -> dict[str, str]:
        """What a changed outcome may come from: weights, the card's version, the plugin's, the packages'."""
        one = self.run.identity.encoders.get(self.encoder)
        about = {f"package {name}": str(version) for name, version in self.run.packages.items()}
        about["plugin"] = self.run.identity.plugin_version
        if one is not None:
            about |= {"weights": one.weights_sha256, "version of the card": one.version}
        return about

    @cached_property
    def checks(self) -> dict[str, CheckedValue]:
        """Outcome and value by check; its only baseline has another name in each release, and none here."""
        table, out = self.run.checks, {}
        alone = len(self.run.identity.baselines) == 1
        for row in table[table["encoder"] == self.encoder].to_dict("records"):
            name = _SINCE.sub("since-its-baseline", str(row["check"])) if alone else str(row["check"])
            value = Triple(float(row["value"]), float(row["low"]), float(row["high"]))
            out[name] = CheckedValue(
                str(row["outcome"]), str(row["tier"]), value, float(row["threshold"]), str(row["sense"])
            )
        return out


@dataclass(frozen=True)
class Series:
    """Releases of one encoder that were asked the same, the oldest first."""

    encoder: str
    releases: tuple[Release, ...]
    _compared: dict[tuple[int, int], list[Difference]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def checks(self) -> list[str]:
        """Every check of any release, in the order in which they first came."""
        return list(dict.fromkeys(name for release in self.releases for name in release.checks))

    @property
    def changed(self) -> Iterator[tuple[str, int, CheckedValue, CheckedValue]]:
        """Each check whose outcome changed: its name, the later release's number, before and after."""
        for name in self.checks:
            for number, (before, after) in enumerate(pairwise(self.releases), 1):
                then, now = before.checks.get(name), after.checks.get(name)
                if then is not None and now is not None and then.outcome != now.outcome:
                    yield name, number, then, now

    def differs(self, number: int) -> list[str]:
        """Name what a release was made with otherwise than the one before it."""
        then, now = self.releases[number - 1].made_with, self.releases[number].made_with
        return [name for name in dict.fromkeys((*then, *now)) if then.get(name, "") != now.get(name, "")]

    @cached_property
    def losses(self) -> list[Loss]:
        """Test each release against the first one, by the statistics and the threshold of ``auroc_change``."""
        out: list[Loss] = []
        stepped: set[tuple[str, str]] = set()
        for number in range(1, len(self.releases)):
            first, last = (self._changes(then, number) for then in (0, number - 1))
            for cell, row in first.items():
                step = last.get(cell)
                if step is not None and step.blocks:
                    stepped.add(cell)
                out.append(Loss(*cell, number, row, step, row.blocks and cell not in stepped))
        return out

    @property
    def slow(self) -> list[Loss]:
        """Losses that no step showed, and that are there in the latest release of each cell."""
        latest = {(one.cohort, one.label): one for one in self.losses}
        return [one for one in latest.values() if one.slow]

    @property
    def problems(self) -> list[str]:
        """Why some cells cannot be compared with the first release."""
        return [
            f"{release.name}, {one.cohort}, {one.label}: {one.problem}"
            for number, release in enumerate(self.releases[1:], 1)
            for one in self._differences(0, number)
            if one.found is None
        ]

    def _differences(self, then: int, now: int) -> list[Difference]:
        """Compare two releases; once, as each pair is resampled."""
        if (then, now) not in self._compared:
            before, after = self.releases[then], self.releases[now]
            found = differences(before.run, after.run, before.encoder, after.encoder)
            self._compared[then, now] = found or []
        return self._compared[then, now]

    def _changes(self, then: int, now: int) -> dict[tuple[str, str], Row]:
        """Judge one release against an earlier one, corrected for the number of cells."""
        before, after = self.releases[then], self.releases[now]
        known = [one for one in self._differences(then, now) if one.found is not None]
        profile = held_profile(str(after.run.tree.attrs.get("profile", "")), f"run {after.name}: its profile")
        rows = []
        for one in known:
            kind = "downstream.r2_change" if spelt(one.label) else "downstream.auroc_change"
            case = Case(kind, after.encoder, one.cohort, one.label, baseline=before.name)
            members = sum(bool(spelt(other.label)) == bool(spelt(one.label)) for other in known)
            rows.append(judged_row(case, demanded(profile, case), _measured(one), members))
        return {(row.cohort, row.label): row for row in corrected(rows)}


def _measured(one: Difference) -> Measured:
    assert one.found is not None
    if spelt(one.label):
        return Measured.of(one.found, records=one.records)
    return Measured.of(one.found, positives=one.positives, negatives=one.records - one.positives)


def find_runs(places: Sequence[Path]) -> list[Path]:
    """Return the folders of all runs at some places or below them; links are not followed.

    Raises
    ------
    EcgfmError
        If a place is no folder, or there is no run.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            raise EcgfmError(f"{place}: no such folder; give folders of runs, or a folder that runs are below.")
        for folder, below, files in os.walk(place.resolve()):
            below.sort()
            if "verdict.json" in files:
                found[Path(folder)] = None
    if not found:
        raise EcgfmError(f"no run is below {', '.join(map(str, places))}: no verdict.json there.")
    return list(found)


def read_history(places: Sequence[Path], *, any_name: bool = False) -> tuple[list[Series], list[Apart]]:
    """Read all runs below some folders, and lay them side by side where they were asked the same.

    Parameters
    ----------
    places : sequence of Path
        Folders of runs, or folders that runs are below.
    any_name : bool
        Whether runs of a single encoder are releases of one, whatever its name.

    Returns
    -------
    list of Series
        Of at least two releases each, by encoder.
    list of Apart
        Everything else: runs that cannot be read, and those that no other run was asked the same as.

    Raises
    ------
    EcgfmError
        If a place is no folder, or there is no run.
    """
    groups: dict[tuple[Any, ...], list[Release]] = {}
    apart: list[Apart] = []
    for folder in find_runs(places):
        try:
            run = load(folder)
            held_profile(str(run.tree.attrs.get("profile", "")), "its profile")
        except EcgfmError as error:
            apart.append(Apart((folder.name,), f"it cannot be read: {error}"))
            continue
        if not run.identity.asked_digest:
            schema = run.verdict.get("schema")
            apart.append(Apart((folder.name,), f"verdict.json of schema {schema} does not say what was asked for"))
            continue
        for encoder in run.models:
            name = "" if any_name and len(run.models) == 1 else encoder
            groups.setdefault((name, *asked(run).values()), []).append(Release(run, encoder))
    series = []
    for releases in groups.values():
        releases.sort(key=lambda one: (one.started, one.name))
        if len(releases) > 1:
            series.append(Series(releases[-1].encoder, tuple(releases)))
    series.sort(key=lambda one: (one.encoder, one.releases[0].started))
    for releases in groups.values():
        if len(releases) == 1:
            apart.append(Apart((releases[0].name,), _why_alone(releases[0], groups.values())))
    return series, apart


def asked(run: Loaded) -> Mapping[str, Any]:
    """Return what two runs have to share to be compared: all that was asked for, and of which records."""
    identity = run.identity
    return {
        "the schema of verdict.json": run.verdict.get("schema"),
        "the profile": identity.profile_digest,
        "suites, labels, fractions, cohorts or limits": identity.asked_digest,
        "the records": tuple(sorted(identity.cohorts.items())),
        "what options left out": tuple(sorted(identity.narrowed.items())),
    }


def _why_alone(release: Release, groups: Any) -> str:
    """Say how a run differs from the one most like it, among those of its encoder."""
    mine, most = asked(release.run), None
    for others in groups:
        if others[0] is release or others[0].encoder != release.encoder:
            continue
        theirs = asked(others[0].run)
        differs = [name for name in mine if mine[name] != theirs[name]]
        if most is None or len(differs) < len(most[0]):
            most = differs, others[0].name
    if most is None:
        return f"no other run tests {release.encoder}"
    return f"no other run of {release.encoder} was asked the same: {', '.join(most[0])} differ from {most[1]}"


def written(value: Triple, bound: float = math.nan) -> str:
    """Write a value with its interval; nothing where there is none."""
    if math.isnan(value.value):
        return "-"
    text, low, high = (rounded(one, bound) for one in value)
    return text if value.low == value.high else f"{text} [{low}, {high}]"


def history_lines(series: Sequence[Series], apart: Sequence[Apart]) -> Iterator[str]:
    """Say everything as lines of Markdown: releases, losses, changed outcomes, and each check's values."""
    for one in series:
        yield from _series_lines(one)
    if apart:
        yield "# Set apart"
        yield ""
        yield from (f"- {', '.join(each.runs)}: {each.reason}" for each in apart)


def _series_lines(one: Series) -> Iterator[str]:
    first = one.releases[0]
    yield f"# {one.encoder}: {len(one.releases)} releases, {first.run.headline.partition(': ')[2]}"
    yield ""
    yield "| | run | started | verdict | changed since the one before |"
    yield "| --- | --- | --- | --- | --- |"
    for number, release in enumerate(one.releases):
        differs = ", ".join(one.differs(number)) or "nothing" if number else ""
        yield f"| {number + 1} | {table_cell(release.name)} | {release.started} | {release.outcome} | {differs} |"
    yield ""
    yield from loss_sentences(one)
    yield ""
    yield "| AUROC (R2 of a quantity) minus that of release 1 | release | difference | outcome |"
    yield "| --- | --- | --- | --- |"
    for loss in one.losses:
        row, word = loss.since_first, "slow loss" if loss.slow else loss.since_first.outcome
        found = written(Triple(row.value, row.low, row.high))
        yield f"| {table_cell(loss.where)} | {loss.release + 1} | {found} | {word} |"
    yield from (f"not comparable: {problem}" for problem in one.problems)
    yield ""
    changed = list(one.changed)
    yield f"{len(changed)} changed outcomes"
    for name, number, then, now in changed:
        differs = ", ".join(one.differs(number)) or "nothing that is known"
        before, after = (f"{one.outcome} ({written(one.value, one.threshold)})" for one in (then, now))
        yield f"- {name}, release {number + 1}: {before}, then {after}; changed: {differs}"
    yield ""
    yield f"| check | {' | '.join(str(number + 1) for number in range(len(one.releases)))} |"
    yield f"| --- |{' --- |' * len(one.releases)}"
    for name in one.checks:
        cells = [release.checks.get(name) for release in one.releases]
        told = (f"{written(found.value, found.threshold)} {found.outcome}" if found else "" for found in cells)
        yield f"| {table_cell(name)} | {' | '.join(told)} |"
    yield ""


def loss_sentences(one: Series) -> Iterator[str]:
    """Say which losses no step showed, and which blocked at once."""
    first = one.releases[0].name
    for loss in one.slow:
        row = loss.since_first
        quantity = "R2" if spelt(loss.label) else "AUROC"
        yield (
            f"SLOW LOSS in {loss.where}: {quantity} of release {loss.release + 1} minus that of release 1 ({first}) is "
            f"{written(Triple(row.value, row.low, row.high))}; each step was within the margin of "
            f"{chosen(row.threshold)}, all together are beyond it"
        )
    if not one.slow:
        yield "no slow loss: no cell is beyond the margin, unless a single step is"
