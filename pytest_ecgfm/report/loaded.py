"""A finished run as its reports see it: the cube in memory, the verdict, and in which order things are shown."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from pytest_ecgfm.cards.bounded_files import read_json
from pytest_ecgfm.cohorts.base import LABELS
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.results.checks import CHECKS, SUITES
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.cube_files import open_run, read_into_memory
from pytest_ecgfm.results.identity import Identity, told_identity

_Name = TypeVar("_Name")

TEXTS = (
    "encoder",
    "suite",
    "cohort",
    "label",
    "reference",
    "source",
    "perturbation",
    "space",
    "outcome",
    "tier",
    "sense",
    "reason",
    "why",
    "split",
)
NUMBERS = ("fraction", "value", "low", "high", "threshold")


@dataclass(frozen=True)
class Loaded:
    """One run.

    Attributes
    ----------
    path : Path
        Its folder.
    tree : xarray.DataTree
        The cube, in memory; its file is closed.
    verdict : mapping
        Content of ``verdict.json``.
    baselines : tuple of Loaded
        Earlier runs to compare with, beside what the cube says of them.
    """

    path: Path
    tree: xr.DataTree
    verdict: Mapping[str, Any]
    baselines: tuple["Loaded", ...] = ()

    @cached_property
    def identity(self) -> Identity:
        """What was asked for; it says nothing of a run of before `verdict.json` held it."""
        return told_identity(self.verdict)

    @property
    def headline(self) -> str:
        """Outcome, profile and narrowing in one line."""
        return self.identity.headline(str(self.verdict["outcome"]))

    def group(self, name: str) -> xr.Dataset | None:
        """Return a group of the cube, or None where the run has no such group, or an empty one."""
        if name not in self.tree:
            return None
        dataset = self.tree[name].to_dataset()
        return dataset if dataset.data_vars else None

    def children(self, name: str) -> dict[str, xr.Dataset]:
        """Return the groups below a group: one an encoder, the models under test first."""
        if name not in self.tree:
            return {}
        found = {str(key): node.to_dataset() for key, node in self.tree[name].children.items()}
        return {key: found[key] for key in in_order(found, self.models)}

    @cached_property
    def checks(self) -> pd.DataFrame:
        """All checks: columns `TEXTS`, `NUMBERS`, `check` (without the encoder) and `kind` (without its cell)."""
        dataset = self.group("checks")
        count = 0 if dataset is None else dataset.sizes["check"]
        columns: dict[str, Any] = {}
        for name in TEXTS:
            held = dataset is not None and name in dataset
            columns[name] = dataset[name].values.astype(str) if held else np.full(count, "", dtype=np.str_)  # type: ignore[index]
        for name in NUMBERS:
            held = dataset is not None and name in dataset
            columns[name] = dataset[name].values.astype(np.float64) if held else np.full(count, np.nan)  # type: ignore[index]
        frame = pd.DataFrame(columns).astype(dict.fromkeys(TEXTS, object))
        whole = [] if dataset is None else dataset["check"].values.astype(str).tolist()
        frame["check"] = [
            name.removeprefix(f"{encoder}: ") for name, encoder in zip(whole, frame["encoder"], strict=True)
        ]
        frame["kind"] = [name.partition("[")[0] for name in frame["check"]]
        return frame

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The encoders under test, in the order of the verdict."""
        return tuple(str(name) for name in self.verdict["encoders"])

    @cached_property
    def references(self) -> tuple[str, ...]:
        """Encoders that have downstream results beside those of the models under test."""
        dataset = self.group("downstream")
        names = [] if dataset is None else dataset["encoder"].values.astype(str).tolist()
        return tuple(name for name in names if name not in self.models)

    @cached_property
    def cohort_notes(self) -> dict[str, dict[str, Any]]:
        """What the cube says about each cohort."""
        return _json_attribute(self.tree, "cohorts", self.path)

    @cached_property
    def encoder_notes(self) -> dict[str, dict[str, Any]]:
        """What the cube says about each encoder."""
        return _json_attribute(self.tree, "encoders", self.path)

    @cached_property
    def packages(self) -> dict[str, Any]:
        """Versions of packages."""
        return _json_attribute(self.tree, "packages", self.path)

    @cached_property
    def cohorts(self) -> tuple[str, ...]:
        """Names of the cohorts, in the one order in which everything shows them: that of their names."""
        seen: list[str] = list(self.cohort_notes)
        for group, dimension in (("downstream", "cohort"), ("transfer", "target"), ("stability", "cohort")):
            dataset = self.group(group)
            if dataset is not None and dimension in dataset.coords:
                seen += dataset[dimension].values.astype(str).tolist()
        seen += [name for name in self.checks["cohort"] if name]
        return cohort_order(seen)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that were evaluated, in their customary order; neither quantities nor sets."""
        pairs = zip(self.checks["label"], self.checks["kind"], strict=True)
        seen: list[str] = [name for name, kind in pairs if name and (kind not in CHECKS or CHECKS[kind].of == "label")]
        for group in ("downstream", "transfer", "relevance"):
            dataset = self.group(group)
            if dataset is not None and "label" in dataset.coords:
                seen += dataset["label"].values.astype(str).tolist()
        return in_order(dict.fromkeys(seen), LABELS)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Names of all that has checks by label: labels, quantities and sets."""
        return tuple(dict.fromkeys((*self.labels, *(name for name in self.checks["label"] if name))))

    @cached_property
    def suites(self) -> tuple[str, ...]:
        """Suites that left a check, in the order in which they run."""
        return in_order(dict.fromkeys(self.checks["suite"]), SUITES)

    def continent(self, cohort: str) -> str:
        """Return a cohort's continent, or nothing where the cube does not say."""
        return str(self.cohort_notes.get(cohort, {}).get("continent") or "")

    def exposure(self, encoder: str, cohort: str) -> str:
        """Say whether a cohort was ``seen``, ``unseen`` or ``unknown`` in an encoder's pretraining."""
        transfer = self.group("transfer")
        if transfer is not None and "exposure" in transfer:
            held = at(transfer["exposure"], encoder=encoder, target=cohort)
            if str(held) in ("seen", "unseen"):
                return str(held)
        told = self.encoder_notes.get(encoder, {}).get("exposure")
        word = told.get(cohort) if isinstance(told, dict) else None
        return word if word in ("seen", "unseen") else "unknown"


def in_order(names: Iterable[_Name], customary: Iterable[_Name]) -> tuple[_Name, ...]:
    """Return names in their customary order; what has none comes last, as it came."""
    given, known = list(names), list(customary)
    return tuple([name for name in known if name in given] + [name for name in given if name not in known])


def at(array: xr.DataArray, **where: Any) -> Any:
    """Return one value of an array; NaN where it holds no such cell. Numbers match up to rounding."""
    place: list[Any] = [slice(None)] * array.ndim
    for name, wanted in where.items():
        if name not in array.dims:
            return float("nan")
        # Straight from the index: xarray's own selection takes a hundred times as long for one value.
        labels = array.get_index(name).to_numpy()
        hits = np.isclose(labels, wanted) if isinstance(wanted, float) else labels.astype(str) == str(wanted)
        found = np.flatnonzero(hits)
        if not found.size:
            return float("nan")
        place[array.dims.index(name)] = int(found[0])
    value = array.values[tuple(place)]
    return value.item() if np.ndim(value) == 0 else float("nan")


def numbers(dataset: xr.Dataset, names: Sequence[str], **where: Any) -> tuple[float, ...]:
    """Return several variables at one cell; NaN for a variable that the run has not."""
    return tuple(float(at(dataset[name], **where)) if name in dataset else float("nan") for name in names)


def estimate(dataset: xr.Dataset, name: str, **where: Any) -> tuple[float, float, float]:
    """Return a variable with its interval, which is called ``name_low`` and ``name_high``."""
    value, low, high = numbers(dataset, (name, f"{name}_low", f"{name}_high"), **where)
    return value, low, high


def load(run: str | Path) -> Loaded:
    """Read a run's cube and verdict.

    Parameters
    ----------
    run : path
        The run's folder, or its ``cube.nc``.

    Raises
    ------
    EcgfmError
        If a file is missing or damaged; the message names the run and the file.
    """
    path = Path(run)
    tree = open_run(path)
    folder = path if path.is_dir() else path.parent
    try:
        read_into_memory(tree, folder)
    finally:
        tree.close()
    loaded = Loaded(folder, tree, read_verdict(folder))
    # Damaged attributes are found here, not halfway through a page.
    _ = loaded.cohort_notes, loaded.encoder_notes, loaded.packages
    return loaded


def read_verdict(folder: Path) -> dict[str, Any]:
    """Read what a run's ``verdict.json`` holds.

    Raises
    ------
    EcgfmError
        If it is missing, damaged, or no verdict.
    """
    try:
        held = read_json(folder / "verdict.json")
    except FileNotFoundError:
        raise EcgfmError(f"run {folder}: no verdict.json there; it is written when a run ends.") from None
    except (OSError, EcgfmError) as error:
        raise EcgfmError(f"run {folder}: verdict.json cannot be read ({error}).") from None
    if not isinstance(held, dict) or held.get("outcome") not in ("pass", "fail", "incomplete"):
        raise EcgfmError(f"run {folder}: verdict.json holds no outcome (pass, fail or incomplete).")
    encoders = held.get("encoders")
    if not isinstance(encoders, dict) or not all(isinstance(one, dict) for one in encoders.values()):
        raise EcgfmError(f"run {folder}: verdict.json holds no verdict by encoder.")
    return held


def _json_attribute(tree: xr.DataTree, name: str, folder: Path) -> dict[str, Any]:
    text = tree.attrs.get(name, "{}")
    try:
        held = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise EcgfmError(f"run {folder}: cube.nc: attribute {name} is no JSON ({error}).") from None
    if not isinstance(held, dict):
        raise EcgfmError(f"run {folder}: cube.nc: attribute {name} should be an object.")
    return held
