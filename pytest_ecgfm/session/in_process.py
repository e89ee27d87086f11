"""`evaluate`: the checks of a run, in this process, for a notebook or a script. No pytest run is needed."""

import importlib
import inspect
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pytest
import xarray as xr
from markupsafe import Markup, escape
from tqdm import tqdm

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cards.declarations import MODEL, Declaration
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.encoders.base import Encoder, require_device
from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.report.summary import in_words
from pytest_ecgfm.results.checks import CHECKS, LAST, SUITES, Case, Threshold, family_of, is_declared
from pytest_ecgfm.results.cube_files import open_run
from pytest_ecgfm.results.profiles import require_reasons
from pytest_ecgfm.results.rows import Row, expected_to_fail, failed_row, judged_row
from pytest_ecgfm.results.verdict import Verdict, corrected
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.run.settings import Settings, read_settings
from pytest_ecgfm.session.declared import also_declared, judged_by, require_cells
from pytest_ecgfm.session.known_labels import require_columns
from pytest_ecgfm.session.outputs import Outputs, RunFolder, new_run_id
from pytest_ecgfm.session.progress import bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = (
    *("check", "outcome", "tier", "value", "low", "high", "threshold", "sense", "reason", "suite"),
    *("encoder", "cohort", "label", "fraction", "reference", "source", "perturbation", "space"),
)


@dataclass(frozen=True)
class Result:
    """What `evaluate` found.

    Attributes
    ----------
    verdict : Verdict
        As in ``verdict.json``.
    rows : tuple of Row
        One for each check.
    folder : Path
        Where the results are: ``cube.nc``, ``verdict.json``, ``generalization.html`` and the other files.
    """

    verdict: Verdict
    rows: tuple[Row, ...]
    folder: Path

    @cached_property
    def checks(self) -> pd.DataFrame:
        """One row for each check: outcome, value with its interval, threshold, reason, and the cell's coordinates."""
        return pd.DataFrame([{name: getattr(row, name) for name in _COLUMNS} for row in self.rows])

    @cached_property
    def cube(self) -> xr.DataTree:
        """All results, as `pytest_ecgfm.open_run` reads them."""
        return open_run(self.folder)

    def figures(self) -> "dict[str, Figure]":
        """Draw the figures of the run, by name."""
        from pytest_ecgfm.report.figures import FIGURES
        from pytest_ecgfm.report.loaded import load

        run = load(self.folder)
        return {drawn.name: drawn.figure for draw in FIGURES for drawn in draw(run)}

    def __repr__(self) -> str:
        counts = Counter(row.outcome for row in self.rows)
        return f"<Result {self.verdict.outcome}: {', '.join(f'{n} {word}' for word, n in counts.items())}>"

    def _repr_html_(self) -> str:
        shown = [row for row in self.rows if row.blocks] or list(self.rows)
        lines = [
            Markup("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>").format(
                row.check, row.outcome, row.interval(), row.reason
            )
            for row in shown[:20]
        ]
        head = Markup("<p><b>{}</b>. {}</p>").format(self.verdict.outcome.upper(), in_words(self.verdict, self.rows))
        more = Markup("<p>{} more in <code>checks</code>.</p>").format(len(shown) - 20) if len(shown) > 20 else ""
        titles = Markup("").join(Markup("<th>{}</th>").format(name) for name in ("check", "outcome", "value", "reason"))
        table = Markup("<table><tr>{}</tr>{}</table>").format(titles, Markup("").join(lines))
        return str(head + table + escape(more))


class _Given:
    """Stands where pytest's configuration stands: keyword arguments as options, and no ini file."""

    inipath = None

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def getoption(self, name: str, default: Any = None) -> Any:
        return self._options.get(name, default)

    def getini(self, name: str) -> str:
        return ""


def _text(value: object) -> str | None:
    """Write an argument as its option would be written on the command line."""
    if value is None:
        return None
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, Sequence):
        return ",".join(map(str, value))
    return str(value)


def evaluate(
    model: Any,
    *,
    card: Mapping[str, Any] | None = None,
    cohorts: Sequence[str | Cohort] | None = None,
    labels: Sequence[str] | None = None,
    suites: Sequence[str] | None = None,
    fractions: Sequence[float] | None = None,
    seeds: int | None = None,
    profile: str | Path = "default",
    references: Sequence[str] | None = None,
    baselines: Sequence[str | Path] | None = None,
    data: str | Path | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    batch_size: int | str = "auto",
    precision: str = "float32",
    skip_bad_records: bool = False,
    declared: Sequence[Any] = (),
) -> Result:
    """Evaluate a model as ``pytest --ecgfm`` does, in this process.

    Parameters
    ----------
    model : Encoder, str, or what a model's fixture returns
        An `Encoder`, the name of a built-in model, a function that `ecg_model` decorates, or a `torch.nn.Module`, a
        callable or an object with ``embed(batch)``; the last three need a `card`.
    card : mapping, optional
        The fields of `pytest_ecgfm.cards.ModelCard`, and ``name``.
    cohorts : sequence of str or Cohort, optional
        Names, or cohorts of your own (`pytest_ecgfm.cohorts.own.own_cohort`); by default all cohorts in the data
        folder.
    labels, suites, fractions, seeds, profile, references, baselines, data, limit, cache
        As the options of the same names.
    device, batch_size, precision, skip_bad_records
        As the options of the same names.
    declared : sequence, optional
        Checks, perturbations and probes of your own: functions that `ecg_check`, `ecg_perturbation` or `ecg_probe`
        decorates, or modules that contain such functions. A pytest run finds them by itself; here you give them.
    out : path, optional
        Folder for the results; a new temporary folder by default.

    Returns
    -------
    Result
        The verdict, the checks as a data frame, the cube, and figures.

    Raises
    ------
    EcgfmError
        If an argument is not valid; the message says which one, and what would be valid.
    """
    own = {one.name: one for one in cohorts or () if isinstance(one, Cohort)}
    named = None if cohorts is None else [one if isinstance(one, str) else one.name for one in cohorts]
    encoder = _encoder(model, card, require_device(device), precision)
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="ecgfm-"))
    given = {
        "": encoder.card.name,
        "cohorts": named,
        "labels": labels,
        "suites": suites,
        "fractions": fractions,
        "seeds": seeds,
        "profile": profile,
        "reference": references,
        "baseline": baselines,
        "data": data,
        "limit": limit,
        "out": folder,
        "cache": cache,
        "device": device,
        "batch_size": batch_size,
        "precision": precision,
    }
    options = {f"ecgfm_{name}" if name else "ecgfm": _text(value) for name, value in given.items()}
    config = cast("pytest.Config", _Given({**options, "ecgfm_skip_bad_records": skip_bad_records}))
    with also_declared(declared):
        settings = read_settings(config, dict.fromkeys(own, ()))
        encoders = {encoder.card.name: encoder}
        for name in settings.references:
            if name not in encoders:
                encoders[name] = load_encoder(name, device=device)
        return _evaluated(settings, encoders, own)


def _encoder(model: Any, card: Mapping[str, Any] | None, device: str, precision: str) -> Encoder:
    if isinstance(model, Encoder):
        return model
    if isinstance(model, str):
        return load_encoder(model, device=device, precision=precision)
    declaration = getattr(model, MODEL, None)
    if isinstance(declaration, Declaration):
        if inspect.signature(declaration.function).parameters:
            raise EcgfmError(
                f"evaluate: the model {declaration.name!r} asks for other fixtures, which only a pytest run has; "
                "give what it returns, and its card."
            )
        about = parse_card(declaration.name, declaration.fields, where=declaration.where)
        return Encoder(about, declaration.function(), device=device, precision=precision)
    if card is None:
        raise EcgfmError("evaluate: a model of your own needs its card: card={'sampling_rate': 500, ...}.")
    fields = dict(card)
    name = str(fields.pop("name", "model"))
    return Encoder(parse_card(name, fields, where="evaluate"), model, device=device, precision=precision)


def _evaluated(settings: Settings, encoders: Mapping[str, Encoder], own: Mapping[str, Cohort]) -> Result:
    planned = settings.planned()
    require_cells(settings, planned)
    require_reasons(settings.profile, planned)
    run_id = new_run_id()
    folder = RunFolder(settings.out, run_id)
    cards = {name: encoder.card for name, encoder in encoders.items()}
    outputs = Outputs(folder, run_id, settings, cards, ("pytest_ecgfm.evaluate",))
    run = Run(settings, run_id, folder.path, bar)
    run.loaded(own)
    for encoder in encoders.values():
        run.add_encoder(encoder)
    try:
        require_columns(run)
        rows = tuple(corrected(judged(run, encoders, planned).values()))
    finally:
        run.close()
    verdict = outputs.finish(rows, list(planned), [])
    return Result(verdict, rows, folder.path)


def judged(
    run: Run,
    encoders: Mapping[str, Encoder],
    planned: Mapping[Case, Threshold],
    *,
    family: Mapping[Case, Threshold] | None = None,
) -> dict[Case, Row]:
    """Run the suites' tests for some cells, with what a session's fixtures would give them.

    Parameters
    ----------
    run : Run
        For cohorts and embeddings.
    encoders : mapping of str to Encoder
        The encoders under test, and the references.
    planned : mapping of Case to Threshold
        What to judge.
    family : mapping of Case to Threshold, optional
        Every cell of the run, where only a part of it is judged here.

    Returns
    -------
    dict of Case to Row
    """
    members = Counter(family_of(case, threshold) for case, threshold in (family or planned).items())
    rows: dict[Case, Row] = {}
    # As a session does: looked at first, and judged last.
    last = [case for case in planned if case.check == LAST]
    for case in last:
        with suppress(Exception):
            run.remember(encoders[case.encoder], case.cohort)
    ordered = [*(case for case in planned if case not in last), *last]
    for case in tqdm(ordered, desc="checks", unit="check", leave=False, delay=2.0):
        threshold = planned[case]
        found: list[Any] = []
        given = _fixtures(run, encoders, case, found.append)
        try:
            function = suite_tests()["*" if is_declared(case.check) else case.check]
            function(**{name: given[name]() for name in inspect.signature(function).parameters})
            row = judged_row(case, threshold, found[0], members[family_of(case, threshold)])
        except Exception as error:
            # Whatever a model raises is its row, as in a pytest run.
            row = failed_row(case, threshold, error)
        expected = encoders[case.encoder].card.expected_failures.get(row.check)
        rows[case] = row if expected is None else expected_to_fail(row, expected)
    return rows


def _fixtures(
    run: Run, encoders: Mapping[str, Encoder], case: Case, gate: Callable[[Any], None]
) -> dict[str, Callable[[], Any]]:
    """Return what a suite's test may ask for, by name, each made when it is asked for."""
    return {
        "ecgfm_case": lambda: case,
        "ecgfm_encoder": lambda: encoders[case.encoder],
        "ecgfm_reference": lambda: encoders[case.reference],
        "ecgfm_run": lambda: run,
        "ecgfm_sample": lambda: run.sample(case.cohort),
        "ecgfm_declared": lambda: judged_by(CHECKS[case.check]),
        "ecgfm_gate": lambda: gate,
    }


@cache
def suite_tests() -> dict[str, Callable[..., Any]]:
    """Return the suites' test functions, by the check that each evaluates; ``*``: what others declare."""
    found = {}
    for suite in (*SUITES, "declared"):
        module = importlib.import_module(f"pytest_ecgfm.suites.test_{suite}")
        for function in vars(module).values():
            for mark in getattr(function, "pytestmark", ()):
                if mark.name == "ecgfm_check":
                    found[mark.args[0]] = function
    return found
