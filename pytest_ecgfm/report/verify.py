"""Does a verdict belong to its run? Digests, thresholds, outcomes and the verdict itself are found again."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydantic import ValidationError

from pytest_ecgfm.cards.bounded_files import read_bounded, read_json
from pytest_ecgfm.cards.statement import Statement
from pytest_ecgfm.errors import EcgfmError, utf8
from pytest_ecgfm.report.loaded import load, read_verdict
from pytest_ecgfm.report.made import provenance_problems
from pytest_ecgfm.report.summary import badge, in_words
from pytest_ecgfm.results.checks import CHECKS, Case, Threshold
from pytest_ecgfm.results.cube import cells_of, checks_of
from pytest_ecgfm.results.identity import digest_of
from pytest_ecgfm.results.profiles import Profile, held_profile
from pytest_ecgfm.results.rejudged import row_problems
from pytest_ecgfm.results.rows import Row, parse_row
from pytest_ecgfm.results.verdict import SCHEMA, VerdictFile, decide
from pytest_ecgfm.results.versions import installed

_MOST_BYTES = 2_000_000_000
_DIGESTED = ("cube.nc", "rows.jsonl", "run.toml")


@dataclass(frozen=True)
class _Told:
    """A planned cell as a finished run names it."""

    encoder: str
    name: str
    label: str = ""

    @property
    def check(self) -> str:
        return self.name.partition("[")[0]


def verify(folder: Path) -> list[str]:
    """Say what of a run does not fit together.

    Parameters
    ----------
    folder : Path
        Of a finished run.

    Returns
    -------
    list of str
        One line a problem, that names the file, and the check where it is one; empty where all fits.

    Raises
    ------
    EcgfmError
        If there is no verdict of this schema.
    """
    verdict = _verdict(folder)
    problems = list(_digest_problems(folder, verdict))
    try:
        rows = _rows(folder)
    except EcgfmError as error:
        return [*problems, str(error)]
    try:
        tree = load(folder).tree
    except EcgfmError as error:
        return [*problems, str(error)]
    problems += _belongs(verdict, tree)
    problems += provenance_problems(folder, verdict, tree)
    problems += _same_rows(rows, tree)
    profile, told = _profile(folder, tree, verdict)
    problems += told
    if profile is not None:
        problems += row_problems(rows, lambda row: _threshold(profile, row), _expected_failures(tree))
    problems += _verdict_problems(folder, verdict, rows)
    made, here = verdict.identity.plugin_version, installed("pytest-ecgfm")
    if problems and made != here:
        problems.append(f"pytest-ecgfm {made} made the run, and {here} verifies it: its rules may be others")
    return problems


def _verdict(folder: Path) -> VerdictFile:
    held = read_verdict(folder)
    schema = held.get("schema")
    if schema != SCHEMA:
        raise EcgfmError(f"run {folder}: verdict.json has schema {schema}, but this release verifies {SCHEMA}.")
    try:
        return VerdictFile.model_validate(held)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise EcgfmError(f"run {folder}: verdict.json: {where}: {error.errors()[0]['msg']}.") from None


def _digest_problems(folder: Path, verdict: VerdictFile) -> Iterator[str]:
    for name in dict.fromkeys((*_DIGESTED, *verdict.digests)):
        told = verdict.digests.get(name)
        if Path(name).name != name:
            yield f"verdict.json: digests: {name!r} is no file of the run"
            continue
        if told is None:
            yield f"verdict.json states no digest of {name}: the run did not end, or could not write it"
            continue
        try:
            with (folder / name).open("rb") as handle:
                found = hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            yield f"{name} cannot be read ({error.strerror})"
            continue
        if found != told:
            yield f"{name} is not what the verdict is about: its SHA-256 is {found}, verdict.json states {told}"


def _rows(folder: Path) -> list[Row]:
    try:
        text = read_bounded(folder / "rows.jsonl", _MOST_BYTES).decode("utf-8")
    except (OSError, ValueError, EcgfmError) as error:
        raise EcgfmError(f"rows.jsonl cannot be read ({error})") from None
    lines = enumerate(text.split("\n"), 1)
    return [parse_row(line, where=f"rows.jsonl, line {number}") for number, line in lines if line]


def _belongs(verdict: VerdictFile, tree: xr.DataTree) -> Iterator[str]:
    """Compare what the verdict says of the run with what the cube says."""
    about, identity = tree.attrs, verdict.identity
    pairs: dict[str, tuple[object, object]] = {
        "run_id": (verdict.run_id, about.get("run_id", "")),
        "started": (verdict.started, about.get("started", "")),
        "outcome": (verdict.outcome, about.get("outcome", "")),
        "complete": (int(verdict.complete), int(about.get("complete", -1))),
        "plugin_version": (identity.plugin_version, about.get("plugin_version", "")),
    }
    encoders, cohorts = (json.loads(str(about.get(name, "{}"))) for name in ("encoders", "cohorts"))
    for name, one in identity.encoders.items():
        held = encoders.get(name, {})
        pairs[f"weights of {name}"] = (one.weights_sha256, held.get("weights_sha256", ""))
        pairs[f"card's version of {name}"] = (one.version, held.get("card", {}).get("version", ""))
        pairs[f"what the card says of {name}"] = (one.statement.model_dump(mode="json"), _statement(held.get("card")))
    for name, digest in identity.cohorts.items():
        pairs[f"records of {name}"] = (digest, cohorts.get(name, {}).get("digest", ""))
    for name, (told, found) in pairs.items():
        if told != found:
            yield f"verdict.json is not of this cube: {name} is {told!r} there, and {found!r} in cube.nc"


def _statement(card: object) -> object:
    try:
        return Statement.model_validate(card or {}).model_dump(mode="json")
    except ValidationError as error:
        return f"no statement: {error.errors()[0]['msg']}"


def _same_rows(rows: Sequence[Row], tree: xr.DataTree) -> Iterator[str]:
    """Compare the rows with what the cube holds of them: checks, and the values behind them."""
    try:
        wanted = checks_of(rows)
    except EcgfmError as error:
        yield f"rows.jsonl: {error}"
        return
    held = tree["checks"].to_dataset() if "checks" in tree else xr.Dataset()
    names, there = (list(map(str, one["check"].values)) if "check" in one else [] for one in (wanted, held))
    yield from (f"{name}: in rows.jsonl, but not in cube.nc" for name in names if name not in set(there))
    yield from (f"{name}: in cube.nc, but not in rows.jsonl" for name in there if name not in set(names))
    place = {name: number for number, name in enumerate(there)}
    for column in wanted.data_vars:
        mine = wanted[column].values
        theirs = held[column].values if column in held else np.full(len(there), "")
        for number, name in enumerate(names):
            if name in place and not _alike(mine[number], theirs[place[name]]):
                yield f"{name}: {column} is {mine[number]} in rows.jsonl, and {theirs[place[name]]} in cube.nc"
    for group, dataset in cells_of(rows).items():
        whole = tree[group].to_dataset() if group in tree else xr.Dataset()
        for variable in dataset.data_vars:
            if variable not in whole or not dataset[variable].equals(whole[variable]):
                yield f"{variable} in /{group} of cube.nc is not what rows.jsonl holds"


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float | np.floating):
        try:
            return bool(one == other) or (math.isnan(one) and math.isnan(float(other)))
        except (TypeError, ValueError):
            return False
    return str(one) == str(other)


def _profile(folder: Path, tree: xr.DataTree, verdict: VerdictFile) -> tuple[Profile | None, list[str]]:
    """Read the profile that the run held its checks against, and say whether somebody changed it."""
    profile, problems = None, []
    try:
        in_file = read_bounded(folder / "run.toml", 50_000_000).decode("utf-8", "replace")
    except (OSError, EcgfmError) as error:
        in_file = ""
        problems.append(f"run.toml cannot be read ({error})")
    for name, text in (("run.toml", in_file), ("profile in cube.nc", str(tree.attrs.get("profile", "")))):
        try:
            found = held_profile(text, name)
        except EcgfmError as error:
            problems.append(str(error))
            continue
        for whose, told in (("verdict.json", verdict.identity.asked_digest), (name, found.run.asked_digest)):
            if digest_of(found) != told:
                problems.append(f"{name}: not what the run was asked for: its digest is not the one in {whose}")
        if found.run.profile_digest != verdict.identity.profile_digest:
            problems.append(f"{name}: its profile is not the one that verdict.json names")
        if found.run.narrowed.keys() - verdict.identity.narrowed.keys():
            problems.append(f"{name}: options narrowed the run, but verdict.json does not say so")
        profile = found
    return profile, problems


def _threshold(profile: Profile, row: Row) -> Threshold | None:
    """Return what the profile demands of a row's cell; None for a check of somebody else's that it does not name."""
    kind = row.check.partition("[")[0]
    fraction = None if math.isnan(row.fraction) else row.fraction
    where = {name: getattr(row, name) for name in ("cohort", "label", "reference", "source", "perturbation", "space")}
    case = Case(kind, row.encoder, fraction=fraction, **where)
    if kind not in CHECKS and not any(rule.holds_for(case) for rule in profile.check):
        return None
    return profile.threshold(case)


def _expected_failures(tree: xr.DataTree) -> dict[str, set[str]]:
    encoders: Mapping[str, Any] = json.loads(str(tree.attrs.get("encoders", "{}")))
    return {name: set(one.get("card", {}).get("expected_failures", {})) for name, one in encoders.items()}


def _verdict_problems(folder: Path, told: VerdictFile, rows: Sequence[Row]) -> Iterator[str]:
    """Decide again, and compare."""
    planned = [_Told(row.encoder, row.check, row.label) for row in rows]
    planned += [_Told(name, check) for name, one in told.encoders.items() for check in one.not_evaluated]
    models = list(told.encoders)
    once = decide(rows, planned, models=models)
    # What else went wrong in the run (a crash, an interruption) is in no row.
    trouble = [one for one in told.reasons if one not in utf8(list(once.reasons))]
    found = replace(decide(rows, planned, models=models, trouble=trouble, notes=told.notes), identity=told.identity)
    strangers = sorted({row.encoder for row in rows} - set(models))
    if strangers:
        yield f"verdict.json has no verdict on {', '.join(strangers)}"
    whole: tuple[tuple[str, object, object], ...] = (
        ("outcome", found.outcome, told.outcome),
        ("complete", found.complete, told.complete),
        ("reasons", utf8(list(found.reasons)), told.reasons),
        ("summary", utf8(in_words(found, rows)), told.summary),
    )
    for name, mine, theirs in whole:
        if mine != theirs:
            yield f"verdict.json: {name} is {theirs!r}, but the rows give {mine!r}"
    for one in found.encoders:
        part = told.encoders[one.encoder]
        basis = part.basis.model_dump(mode="json") if part.basis else {}
        parts: tuple[tuple[str, object, object], ...] = (
            ("outcome", one.outcome, part.outcome),
            ("counts", one.counts, part.counts),
            ("reasons", utf8(list(one.reasons)), part.reasons),
            ("basis", _decided(one.basis.to_json()), _decided(basis)),
            ("labels gated nowhere", list(basis.get("gated_nowhere", {})), _nowhere(told, one.encoder)),
        )
        for what, mine, theirs in parts:
            if mine != theirs:
                yield f"verdict.json: {what} of {one.encoder} is {theirs!r}, but the rows give {mine!r}"
    try:
        shown = read_json(folder / "badge.json")
    except (OSError, EcgfmError) as error:
        yield f"badge.json cannot be read ({error})"
        return
    if shown != utf8(badge(found)):
        yield "badge.json shows another verdict"


def _decided(basis: Mapping[str, Any]) -> dict[str, Any]:
    """Return where something was decided: of what was not, a check that never ran leaves a trace in the file alone."""
    labels = {label: {suite: c for suite, c in by.items() if c} for label, by in basis.get("labels", {}).items()}
    suites = {suite: found for suite, found in basis.get("suites", {}).items() if found}
    return {"labels": {label: by for label, by in labels.items() if by}, "suites": suites}


def _nowhere(told: VerdictFile, encoder: str) -> list[str]:
    one = told.identity.encoders.get(encoder)
    return list(one.gated_nowhere) if one is not None else []
