"""Rows to an `xarray.DataTree`, and to its file; `cube_files` reads it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pytest_ecgfm.cards.whole_files import whole
from pytest_ecgfm.errors import EcgfmError, utf8
from pytest_ecgfm.evaluations import (
    downstream,
    features,
    macro,
    operating,
    quantities,
    quantity_groups,
    quantity_transfer,
    relevance,
    separability,
    stability,
    subgroups,
    transfer,
)
from pytest_ecgfm.evaluations.measured import Cell
from pytest_ecgfm.results.checks import CHECKS
from pytest_ecgfm.results.cohort_order import cohort_order
from pytest_ecgfm.results.cube_files import SCHEMA_VERSION
from pytest_ecgfm.results.rows import Row

_DIMENSIONS = {
    "downstream": ("encoder", "cohort", "label", "probe", "fraction", "seed"),
    "quantities": ("encoder", "cohort", "quantity", "fraction", "seed"),
    "quantity_groups": ("encoder", "cohort", "quantity", "column", "group"),
    "sets": ("encoder", "cohort", "set", "probe", "fraction", "label"),
    "subgroups": ("encoder", "cohort", "label", "column", "group"),
    "transfer": ("encoder", "source", "target", "label"),
    "quantity_transfer": ("encoder", "source", "target", "quantity"),
    "operating": ("encoder", "source", "target", "label", "point"),
    "stability": ("encoder", "cohort", "label", "perturbation", "severity"),
    "relevance": ("encoder", "cohort", "label", "fraction", "baseline", "removed", "lead"),
    "separability": ("encoder", "space", "grouping", "cohort", "label", "metric"),
}
_OF_COHORTS = ("cohort", "source", "target")
_METRICS = {
    "downstream": downstream.METRICS,
    "quantities": quantities.METRICS,
    "quantity_groups": quantity_groups.METRICS,
    "sets": macro.METRICS,
    "subgroups": subgroups.METRICS,
    "transfer": transfer.METRICS,
    "quantity_transfer": quantity_transfer.METRICS,
    "operating": operating.METRICS,
    "stability": stability.METRICS,
    "relevance": {**relevance.METRICS, **features.METRICS},
    "separability": separability.METRICS,
}
_CHECK_COLUMNS = {
    "encoder": "encoder that was judged",
    "suite": "suite that evaluated it",
    "cohort": "cohort",
    "label": "label, quantity or set of labels",
    "reference": "reference encoder of a difference, or empty",
    "source": "cohort that a probe comes from, or empty",
    "perturbation": "perturbation with its severity, or empty",
    "space": "space of a separability, or empty",
    "outcome": "pass, fail, inconclusive, insufficient or error",
    "tier": "blocking or advisory",
    "sense": "whether threshold is a minimum or a maximum",
    "reason": "why this outcome",
    "why": "why this threshold, as the profile says",
    "split": "published, holdout or cv: how training and test records were told apart",
}
_SCORE = "test score, of a quantity its prediction; mean over seeds, at the whole training set"
_TARGET = "label, 1 or 0; of a quantity its value"
_CHECK_NUMBERS = {
    "fraction": "share of the training patients",
    "value": "estimate",
    "low": "lower end of the 95 % interval",
    "high": "upper end of the 95 % interval",
    "threshold": "bound that the profile demands",
}


def build_cube(rows: Iterable[Row], folder: Path, attributes: Mapping[str, Any]) -> xr.DataTree:
    """Build the cube of a run.

    Parameters
    ----------
    rows : iterable of Row
        In any order: the cube is laid out by sorted coordinates.
    folder : Path
        Where the rows' array files are.
    attributes : mapping
        Root attributes: strings and numbers.

    Returns
    -------
    xarray.DataTree
        Groups as described in ``docs/cube.md``.

    Raises
    ------
    EcgfmError
        If two rows share a name, or two cells disagree; the message names them.
    """
    ordered = sorted(rows, key=lambda row: row.key)
    for before, after in pairwise(ordered):
        if before.key == after.key:
            raise EcgfmError(f"two results for {after.check} of {after.encoder}.")
    tree: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs={"schema_version": SCHEMA_VERSION, **attributes})}
    tree |= {f"/{group}": dataset for group, dataset in cells_of(ordered).items()}
    for group in ("/transfer", "/quantity_transfer"):
        if group in tree:
            tree[group] = _with_exposure(tree[group], attributes)
    for group, of in (
        ("/quantities", "cohort"),
        ("/quantity_groups", "cohort"),
        ("/quantity_transfer", "target"),
    ):
        if group in tree:
            tree[group] = _with_units(tree[group], attributes, of)
    files = [(row, folder / Path(name).name) for row in ordered for name in row.arrays]
    if scores := [(row, path) for row, path in files if path.suffix == ".npz"]:
        tree["/scores"] = _scores(scores)
    tree |= _larger(sorted({path for _, path in files if path.suffix == ".nc"}))
    tree["/checks"] = checks_of(ordered)
    return xr.DataTree.from_dict(tree)


def cells_of(rows: Iterable[Row]) -> dict[str, xr.Dataset]:
    """Lay out the values behind some rows, which are in the order of their keys: one dataset a group.

    Raises
    ------
    EcgfmError
        If two cells disagree.
    """
    groups: dict[str, list[Cell]] = defaultdict(list)
    for row in rows:
        for cell in row.cells:
            groups[cell.group].append(cell)
    return {group: _group(group, cells) for group, cells in sorted(groups.items())}


def _group(name: str, cells: Sequence[Cell]) -> xr.Dataset:
    """Lay cells out along the group's dimensions; a variable has the dimensions that its cells name."""
    dimensions = _dimensions(name)
    found = {dim: {cell.coordinates[dim] for cell in cells if dim in cell.coordinates} for dim in dimensions}
    labels: dict[str, list[Any]] = {dim: sorted(found[dim]) for dim in dimensions}
    labels |= {dim: list(cohort_order(map(str, found[dim]))) for dim in dimensions if dim in _OF_COHORTS}
    where = {dim: {label: number for number, label in enumerate(labels[dim])} for dim in dimensions}
    arrays: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
    dims_of: dict[str, tuple[str, ...]] = {}
    for cell in cells:
        dims = tuple(dim for dim in dimensions if dim in cell.coordinates)
        index = tuple(where[dim][cell.coordinates[dim]] for dim in dims)
        for variable, value in cell.values.items():
            if variable not in arrays:
                arrays[variable] = np.full([len(labels[dim]) for dim in dims], np.nan)
                dims_of[variable] = dims
            held = arrays[variable][index]
            # A reference encoder's cell comes with every check that uses it; equal values are one result.
            if not np.isnan(held) and held != value and not np.isclose(held, value, rtol=1e-9, atol=1e-12):
                raise EcgfmError(f"two results for {variable} at {dict(cell.coordinates)}: {held} and {value}.")
            arrays[variable][index] = value
    data = {
        variable: xr.Variable(dims_of[variable], array, _attributes(name, variable))
        for variable, array in sorted(arrays.items())
    }
    return xr.Dataset(data, coords={dim: labels[dim] for dim in dimensions if labels[dim]})


def _dimensions(group: str) -> tuple[str, ...]:
    """Return the dimensions of a group: those of a suite of somebody else's are what its checks are evaluated for."""
    if group in _DIMENSIONS:
        return _DIMENSIONS[group]
    return ("encoder", *dict.fromkeys(cell for kind in CHECKS.values() if kind.suite == group for cell in kind.cells))


def _with_exposure(transfer: xr.Dataset, attributes: Mapping[str, Any]) -> xr.Dataset:
    """Say of each encoder and target whether it was seen in pretraining, as the cards do."""
    about = "whether the target was seen in pretraining: seen, unseen or unknown"
    words = _told(transfer, ("encoder", "target"), attributes.get("encoders", "{}"), "exposure", "unknown", about)
    return transfer.assign(exposure=words)


def _with_units(held: xr.Dataset, attributes: Mapping[str, Any], of: str) -> xr.Dataset:
    """Say in which units each cohort, or each target, states each quantity; empty where nothing says it."""
    about = "units of the quantity in the cohort, as stated"
    return held.assign(units=_told(held, (of, "quantity"), attributes.get("cohorts", "{}"), "units", "", about))


def _told(held: xr.Dataset, dims: tuple[str, str], text: str, field: str, missing: str, about: str) -> xr.Variable:
    """Return what an attribute of the run, which is JSON, says under `field` of each pair along two dimensions."""
    told = json.loads(text)
    first, second = (held[dim].values for dim in dims)
    words = [[str(told.get(one, {}).get(field, {}).get(other, missing)) for other in second] for one in first]
    return xr.Variable(dims, np.array(words, dtype=np.str_), {"long_name": about, "units": "1"})


def _larger(paths: Sequence[Path]) -> dict[str, xr.Dataset]:
    """Lay what came as whole arrays side by side; each file's attribute `group` says where it belongs."""
    parts: dict[str, list[xr.Dataset]] = defaultdict(list)
    for path in paths:
        with xr.open_dataset(path, engine="h5netcdf") as held:
            # Without the encoding of its file, by which all names would be cut to the length of the first.
            parts[str(held.attrs["group"])].append(_texts(held.load().drop_encoding(), object))
    merged = {}
    for group, datasets in sorted(parts.items()):
        whole = xr.merge(datasets, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")
        whole.attrs.pop("group", None)
        merged[f"/{group}"] = _texts(whole, np.str_)
    return merged


def _texts(dataset: xr.Dataset, kind: type) -> xr.Dataset:
    """Hold texts as objects, or as text: merged as text, all would be cut to the length of the first file's."""
    names = [name for name, array in dataset.variables.items() if array.dtype.kind in "OUS"]
    coords = {name: dataset[name].astype(kind) for name in names if name in dataset.coords}
    return dataset.assign_coords(coords).assign({n: dataset[n].astype(kind) for n in names if n not in coords})


def _attributes(group: str, variable: str) -> dict[str, Any]:
    """Describe a variable; netCDF has no booleans, so `higher_is_better` is 1 or 0."""
    declared = {
        name: about for kind in CHECKS.values() if kind.suite == group for name, about in kind.variables.items()
    }
    known = _METRICS.get(group, declared)
    if variable not in known:
        raise EcgfmError(f"the cube's group {group} has no variable {variable!r} that a check declares.")
    found = known[variable]
    return {key: int(value) if isinstance(value, bool) else value for key, value in found.items() if value is not None}


def _scores(files: Sequence[tuple[Row, Path]]) -> xr.Dataset:
    """Per-record test scores at the whole training set; records are named ``cohort/record``."""
    parts = []
    for row, path in files:
        with np.load(path, allow_pickle=False) as held:
            parts.append((row, {key: held[key] for key in held.files}))
    about: dict[str, tuple[str, str, int]] = {}
    for row, part in parts:
        for record, patient, fold in zip(part["record"], part["patient"], part["fold"], strict=True):
            about[f"{row.cohort}/{record}"] = (row.cohort, str(patient), int(fold))
    records = sorted(about)
    encoders = sorted({row.encoder for row, _ in files})
    labels = sorted({row.label for row, _ in files})
    position = {record: number for number, record in enumerate(records)}
    score = np.full((len(encoders), len(labels), len(records)), np.nan, np.float32)
    target = np.full((len(labels), len(records)), np.nan, np.float32)
    for row, part in parts:
        columns = [position[f"{row.cohort}/{record}"] for record in part["record"]]
        score[encoders.index(row.encoder), labels.index(row.label), columns] = part["score"]
        target[labels.index(row.label), columns] = part["target"]
    return xr.Dataset(
        {
            "score": (
                ("encoder", "label", "record"),
                score,
                {"long_name": _SCORE, "units": "1"},
            ),
            "target": (("label", "record"), target, {"long_name": _TARGET, "units": "1"}),
            "cohort": (("record",), np.array([about[r][0] for r in records]), {"long_name": "cohort", "units": "1"}),
            "patient": (("record",), np.array([about[r][1] for r in records]), {"long_name": "patient", "units": "1"}),
            "fold": (
                ("record",),
                np.array([about[r][2] for r in records], np.int32),
                {"long_name": "published fold, -1 where there is none", "units": "1"},
            ),
        },
        coords={"encoder": encoders, "label": labels, "record": records},
    )


def checks_of(rows: Sequence[Row]) -> xr.Dataset:
    """Tabulate rows as the cube's group ``/checks``."""
    data: dict[str, xr.Variable] = {}
    for column, text in _CHECK_COLUMNS.items():
        values = np.array([str(getattr(row, column)) for row in rows], dtype=np.str_)
        data[column] = xr.Variable(("check",), values, {"long_name": text, "units": "1"})
    for column, text in _CHECK_NUMBERS.items():
        numbers = np.array([getattr(row, column) for row in rows], dtype=np.float64)
        data[column] = xr.Variable(("check",), numbers, {"long_name": text, "units": "1"})
    names = np.array([f"{row.encoder}: {row.check}" for row in rows], dtype=np.str_)
    return xr.Dataset(data, coords={"check": names})


def write_cube(tree: xr.DataTree, path: Path) -> None:
    """Write as netCDF4, whole or not at all."""
    with whole(path) as temporary:
        # In memory first: on a full disk, the library that writes to it crashes the process.
        temporary.write_bytes(_as_text(tree).to_netcdf(engine="h5netcdf"))


def _as_text(tree: xr.DataTree) -> xr.DataTree:
    """Show what no file can hold (bytes that are no UTF-8, NUL) as escapes, in every text of a cube."""

    def shown(dataset: xr.Dataset) -> xr.Dataset:
        odd = {name: one for name, one in dataset.variables.items() if one.dtype.kind in "UO" and not _is_text(one)}
        # By a new index, as one cannot be changed in place.
        return dataset.assign({name: (one.dims, utf8(one.values.tolist()), one.attrs) for name, one in odd.items()})

    return xr.map_over_datasets(shown, tree)


def _is_text(held: xr.Variable) -> bool:
    text = "".join(map(str, held.values.ravel().tolist()))
    return bool(text == utf8(text))
