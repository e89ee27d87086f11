"""The files of a run: written whole or not at all, never over a complete run."""

import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import tomli_w

from pytest_ecgfm.cards import ModelCard
from pytest_ecgfm.cards.bounded_files import read_json
from pytest_ecgfm.cards.whole_files import whole
from pytest_ecgfm.errors import EcgfmError, utf8
from pytest_ecgfm.report.addresses import PAGE, PREDICTIONS
from pytest_ecgfm.report.summary import badge, in_words
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.results.profiles import idle
from pytest_ecgfm.results.provenance import PROVENANCE, provenance, told_command
from pytest_ecgfm.results.rows import Row
from pytest_ecgfm.results.verdict import Verdict, VerdictFile, decide
from pytest_ecgfm.results.versions import installed
from pytest_ecgfm.run.settings import Settings
from pytest_ecgfm.session.identified import identify

if TYPE_CHECKING:
    import xarray as xr

PACKAGES = ("pytest-ecgfm", "pytest", "numpy", "scipy", "scikit-learn", "torch", "xarray", "wfdb", "pandas")
_WHERE_INSTALLED = ("umap-learn", "h5py", "h5netcdf", "onnxruntime", "openecg", "safetensors", "distributed")
_DIGESTED = ("cube.nc", "rows.jsonl", "run.toml", PREDICTIONS)
"""Files whose SHA-256 the verdict states: by them ``ecgfm verify`` says whether it belongs to them."""

_LATEST = "latest"
_RESERVE, _RESERVED = ".reserve", 1 << 20
"""A file that is removed before the end is written: on a disk that filled up meanwhile, the verdict has room."""


def new_run_id() -> str:
    """Return eight random hexadecimal digits."""
    return uuid4().hex[:8]


class RunFolder:
    """Where a run's files go.

    Parameters
    ----------
    out : Path or None
        What was asked for; by default a new folder below ``ecgfm-results``.
    run_id : str
        Part of that folder's name.
    given : str, optional
        The controller's folder, for an xdist worker.
    """

    def __init__(self, out: Path | None, run_id: str, given: str | None = None) -> None:
        self.default_place = out is None
        if given is not None:
            self.path = Path(given)
        elif out is None:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            self.path = Path.cwd() / "ecgfm-results" / f"{stamp}-{run_id}"
        elif any((out / name).exists() for name in ("verdict.json", "rows.jsonl", "arrays")):
            # An earlier run, finished or not, lives there and stays: this one goes below it, and says so at the end.
            self.path = out / f"run-{run_id}"
        else:
            self.path = out

    def make(self) -> None:
        """Create the folder.

        Raises
        ------
        EcgfmError
            If that is impossible.
        """
        try:
            (self.path / "arrays").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EcgfmError(f"--ecgfm-out: cannot write {self.path}: {error.strerror}.") from None

    def point_latest(self, complete: bool) -> None:
        """Let ``ecgfm-results/latest`` name this run, unless that would hide a complete one behind an incomplete."""
        if not self.default_place:
            return
        link = self.path.parent / _LATEST
        try:
            held = read_json(link / "verdict.json")
            if isinstance(held, dict) and held.get("complete") and not complete:
                return
        except (OSError, EcgfmError):
            pass
        temporary = link.with_name(f".{_LATEST}-{uuid4().hex}")
        try:
            temporary.symlink_to(self.path.name, target_is_directory=True)
            temporary.replace(link)
        except OSError:
            # Some file systems have no links; the run itself is there all the same.
            temporary.unlink(missing_ok=True)


def unexpected(settings: Settings, folder: RunFolder, planned: Iterable[Case]) -> list[str]:
    """Say what whoever asked for a run may not expect of it: where it goes, and which thresholds apply to nothing."""
    out = []
    if settings.out is not None and folder.path != settings.out:
        out.append(f"--ecgfm-out={settings.out} holds an earlier run, which stays; this one goes to {folder.path}")
    profile = settings.profile
    return out + [f"profile {profile.name}: {rule} applies to no cell of this run" for rule in idle(profile, planned)]


class Outputs:
    """Writes rows as they come, and everything else at the end."""

    def __init__(
        self,
        folder: RunFolder,
        run_id: str,
        settings: Settings,
        cards: dict[str, ModelCard],
        command: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.command = told_command(command)
        self.run_id = run_id
        self.settings = settings
        self.cards = cards
        self.started = _now()
        self.notes: list[str] = []
        self._selection: Mapping[str, str] = {}
        self._cohorts: dict[str, Any] = {}
        self._weights: dict[str, str] = {}
        self._checkpoints: dict[str, str] = {}
        self._devices: set[str] = set()
        folder.make()
        self._rows = folder.path / "rows.jsonl"
        self._reserve = folder.path / f"{_RESERVE}-{uuid4().hex}"
        self._rows.unlink(missing_ok=True)
        self.problems: list[str] = []
        # From now on, a process that ends without a word leaves a run that is incomplete, and says so.
        begun = self._decide((), (), ["the run has not ended"], ())
        self._write_verdict(replace(begun, reasons=begun.reasons[:1]), ())
        if self.problems:
            raise EcgfmError(f"--ecgfm-out: {self.problems[0]}.")
        with suppress(OSError):
            self._reserve.write_bytes(bytes(_RESERVED))

    def append(self, row: Row) -> None:
        """Add one line: what was measured before a crash is kept. All are written again at the end."""
        with suppress(OSError), self._rows.open("a", encoding="utf-8") as handle:
            handle.write(row.to_json() + "\n")

    def finish(
        self,
        rows: Sequence[Row],
        planned: Sequence[Case],
        trouble: Sequence[str],
        notes: Sequence[str] = (),
        selection: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Decide, and write cube, verdict and what was asked for.

        Verdict and rows come first, and the verdict once more at the end, with the digests of what was written. A
        problem with any file is a reason in the verdict, and takes no other file. `selection` has the options of pytest
        for which planned checks were not evaluated.
        """
        self._reserve.unlink(missing_ok=True)
        self._selection = selection or {}
        self._read_identities()
        problems = [*trouble, *self.problems]
        verdict = self._decide(rows, planned, problems, notes)
        self._write_verdict(verdict, rows)
        stands = "" if any(one.startswith("verdict.json") for one in self.problems) else verdict.outcome
        self._write("rows.jsonl", "".join(row.to_json() + "\n" for row in sorted(rows, key=lambda row: row.key)))
        profile = self.settings.resolved_profile().model_dump(mode="json")
        self._write("run.toml", tomli_w.dumps(_plain(profile)))
        try:
            # Here, and not above: it imports all evaluations, which nothing else of a session needs before.
            from pytest_ecgfm.results.cube import build_cube, write_cube

            about = utf8(self._attributes(verdict))
            cube = build_cube(rows, self.folder.path / "arrays", about)
            write_cube(cube, self.folder.path / "cube.nc")
            self._write_predictions(cube)
            made = provenance(about, verdict.identity, self._digests())
            self._write(PROVENANCE, made.model_dump_json(by_alias=True, indent=2) + "\n")
            shutil.rmtree(self.folder.path / "arrays", ignore_errors=True)
        except Exception as error:
            # Whatever it is, a damaged file or a full disk: verdict and rows are written by now.
            self.problems.append(f"the cube could not be written: {type(error).__name__}: {error}")
        if self.problems:
            verdict = self._decide(rows, planned, [*trouble, *dict.fromkeys(self.problems)], notes)
        written = len(self.problems)
        self._write_verdict(verdict, rows, self._digests((*_DIGESTED, PROVENANCE)))
        if len(self.problems) > written:
            if stands == "pass":
                # It no longer holds.
                with suppress(OSError):
                    (self.folder.path / "verdict.json").unlink(missing_ok=True)
            verdict = self._decide(rows, planned, [*trouble, *dict.fromkeys(self.problems)], notes)
        self._write("badge.json", json.dumps(badge(verdict)) + "\n")
        self._write_page()
        self.folder.point_latest(verdict.complete)
        return verdict

    def _write_predictions(self, cube: "xr.DataTree") -> None:
        from pytest_ecgfm.report.predictions import write_predictions

        try:
            write_predictions(cube, self.folder.path / PREDICTIONS)
        except OSError as error:
            self.problems.append(f"{PREDICTIONS} could not be written: {error.strerror}")

    def _write_page(self) -> None:
        """Write the page; a problem with it is told, and takes nothing from the run, which is written by now."""
        from pytest_ecgfm.report.loaded import load
        from pytest_ecgfm.report.page import write_page

        baselines = []
        for one in self.settings.baselines.values():
            try:
                baselines.append(load(one.path))
            except EcgfmError as error:
                self.notes.append(f"{PAGE} does not compare the checks of baseline {one.name}: {error}")
        try:
            write_page(self.folder.path, baselines)
        except Exception as error:
            self.notes.append(f"{PAGE} could not be written: {type(error).__name__}: {error}")

    def _decide(
        self, rows: Sequence[Row], planned: Sequence[Case], problems: Sequence[str], notes: Sequence[str]
    ) -> Verdict:
        verdict = decide(rows, planned, models=self.settings.models, trouble=problems, notes=notes)
        identity = identify(
            self.settings,
            self.cards,
            verdict.encoders,
            cohorts={name: str(about.get("digest", "")) for name, about in self._cohorts.items()},
            weights=self._weights,
            selection=self._selection,
        )
        return replace(verdict, identity=identity)

    def _digests(self, names: Sequence[str] = _DIGESTED) -> dict[str, str]:
        """Return the SHA-256 of the files that the verdict is about; of those that could be written."""
        found = {}
        for name in names:
            with suppress(OSError), (self.folder.path / name).open("rb") as handle:
                found[name] = hashlib.file_digest(handle, "sha256").hexdigest()
        return found

    def _write_verdict(self, verdict: Verdict, rows: Sequence[Row], digests: Mapping[str, str] | None = None) -> None:
        content = {
            **verdict.to_json(),
            "summary": in_words(verdict, rows),
            "run_id": self.run_id,
            "started": self.started,
            "finished": _now(),
            "digests": digests or {},
        }
        model = VerdictFile.model_validate(utf8(content))
        self._write("verdict.json", model.model_dump_json(by_alias=True, indent=2) + "\n")

    def _write(self, name: str, text: str) -> None:
        """Write a file whole or not at all; what went wrong is a problem of the run."""
        try:
            with whole(self.folder.path / name) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self.problems.append(f"{name} could not be written: {error.strerror}")

    def _attributes(self, verdict: Verdict) -> dict[str, Any]:
        settings = self.settings
        return {
            "plugin_version": installed("pytest-ecgfm"),
            "run_id": self.run_id,
            "started": self.started,
            "finished": _now(),
            "outcome": verdict.outcome,
            "complete": int(verdict.complete),
            "profile": tomli_w.dumps(_plain(settings.resolved_profile().model_dump(mode="json"))),
            "packages": json.dumps(_packages()),
            "command": json.dumps(self.command),
            "python": platform.python_version(),
            "platform": f"{platform.platform()}, Python {platform.python_version()}",
            "device": ", ".join(sorted(self._devices)) or settings.device,
            "git_commit": _git_commit(),
            "encoders": json.dumps(
                {
                    name: {
                        "card": card.model_dump(mode="json"),
                        "weights_sha256": self._weights.get(name, ""),
                        "checkpoint_sha256": self._checkpoints.get(name, ""),
                        "exposure": {cohort: card.exposure(cohort) for cohort in settings.cohorts},
                    }
                    for name, card in self.cards.items()
                }
            ),
            "cohorts": json.dumps(self._cohorts),
        }

    def _read_identities(self) -> None:
        """Read what each process wrote down about cohorts, weights and devices."""
        for path in sorted((self.folder.path / "arrays").glob("*.json")):
            try:
                note = json.loads(path.read_text(encoding="utf-8"))
                if note.pop("kind") == "cohort":
                    self._cohorts[note["name"]] = note
                else:
                    self._weights[note["name"]] = note["weights_sha256"]
                    self._checkpoints[note["name"]] = note.get("checkpoint_sha256", "")
                    self._devices.add(note["device"])
            except (OSError, ValueError, KeyError) as error:
                self.problems.append(f"{path.name} cannot be read: {type(error).__name__}: {error}")
        self._cohorts = dict(sorted(self._cohorts.items()))
        self.notes = [note for cohort in self._cohorts.values() for note in _cohort_notes(cohort)]


def _cohort_notes(cohort: dict[str, Any]) -> list[str]:
    """Say what a reader of the results has to know about a cohort's records."""
    about = []
    if cohort["patients"] is None:
        about.append("no patient identifiers are published, each record counts as a patient")
    if cohort["excluded"]:
        record, reason = next(iter(cohort["excluded"].items()))
        about.append(f"{len(cohort['excluded'])} records left out, such as {record}: {reason}")
    if cohort["unmapped"]:
        about.append(f"codes without a row in our tables: {', '.join(sorted(cohort['unmapped'])[:10])}")
    if cohort["caution"]:
        about.append(cohort["caution"])
    return [f"{cohort['name']}: {note}" for note in about]


def _plain(value: Any) -> Any:
    """Drop what TOML cannot say: absent values."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _packages() -> dict[str, str]:
    """Return the versions of what decides numbers."""
    found = {name: installed(name) for name in (*PACKAGES, *_WHERE_INSTALLED)}
    return {name: version for name, version in found.items() if version or name in PACKAGES}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _git_commit() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.strip() if done.returncode == 0 else ""
