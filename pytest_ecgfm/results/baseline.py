"""Earlier runs as baselines: the same records, scored then and now."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from pytest_ecgfm.cards.toml_files import parse_toml
from pytest_ecgfm.cohorts.quantities import spelt
from pytest_ecgfm.errors import EcgfmError, StaleBaseline
from pytest_ecgfm.evaluations.probe_kinds import PROBES
from pytest_ecgfm.evaluations.statistics import Estimate, mean_auroc_difference
from pytest_ecgfm.evaluations.statistics.bootstrap import Interval
from pytest_ecgfm.evaluations.statistics.regression import agreement_difference
from pytest_ecgfm.results.cube_files import open_run, read_into_memory

_SHOWN = 3
_DIMENSIONS = {
    "score": ("encoder", "label", "record"),
    "target": ("label", "record"),
    "cohort": ("record",),
    "patient": ("record",),
    "encoder": ("encoder",),
    "label": ("label",),
    "record": ("record",),
}


@dataclass(frozen=True)
class Scores:
    """Test scores of one encoder, cohort and label, at the whole training set.

    Attributes
    ----------
    records, patients : ndarray of str, shape (n,)
    scores, targets : ndarray of float64, shape (n,)
        Mean over seeds; 1 or 0. Of a quantity, predictions and values.
    quantity : bool
        Whether they are those of a quantity.
    """

    records: npt.NDArray[Any]
    patients: npt.NDArray[Any]
    scores: npt.NDArray[np.float64]
    targets: npt.NDArray[np.float64]
    quantity: bool = False

    def in_order(self) -> "Scores":
        """Return the same with records in the order of their names."""
        order = np.argsort(self.records, kind="stable")
        held = self.records[order], self.patients[order], self.scores[order], self.targets[order]
        return Scores(*held, quantity=self.quantity)


class Baseline:
    """A finished run.

    Parameters
    ----------
    run : Path
        Its folder, or its cube.
    tree : DataTree, optional
        Its cube, where that is read already.

    Raises
    ------
    EcgfmError
        If there is no cube, it cannot be read, or its schema is another.
    """

    def __init__(self, run: Path, tree: xr.DataTree | None = None) -> None:
        self.path = run.resolve()
        self.name = _plain(self.path.name if self.path.is_dir() else self.path.parent.name)
        self._tree = open_run(self.path) if tree is None else tree

    @cached_property
    def _scores(self) -> xr.Dataset:
        if "scores" not in self._tree:
            raise EcgfmError(f"baseline {self.name} has no test scores: its run had no downstream suite.")
        held = read_into_memory(self._tree["scores"].to_dataset(), self.path)
        for name, dimensions in _DIMENSIONS.items():
            if name not in held or held[name].dims != dimensions:
                raise EcgfmError(f"baseline {self.name}: its cube has no {name} by {', '.join(dimensions)} in /scores.")
        for name in ("score", "target"):
            if held[name].dtype.kind not in "fiu":
                raise EcgfmError(f"baseline {self.name}: {name} in /scores holds no numbers.")
        return held

    @property
    def run_id(self) -> str:
        """Identity of its run, as the cube states it."""
        return str(self._tree.attrs.get("run_id", ""))

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders that have scores."""
        return tuple(str(name) for name in self._scores["encoder"].values)

    @cached_property
    def _profile(self) -> dict[str, dict[str, Any]]:
        held = parse_toml(str(self._tree.attrs.get("profile", "")), f"baseline {self.name}: its profile cannot be read")
        tables = {name: held.get(name, {}) for name in ("grid", "run")}
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise EcgfmError(f"baseline {self.name}: its profile cannot be read: {name} is no table.")
        return tables

    @property
    def probe(self) -> str:
        """Kind of its probes."""
        return str(self._profile["grid"].get("probe", "logistic"))

    @property
    def probe_code(self) -> str:
        """Digest of the file that declared its probe; empty for the package's own."""
        return str(self._profile["run"].get("probe_code", ""))

    def scores(
        self,
        encoder: str,
        cohort: str,
        label: str,
        *,
        probe: str = "logistic",
        probe_code: str | None = None,
        renamed: bool = False,
    ) -> Scores:
        """Return what an encoder scored; with `renamed`, the run's only encoder stands for one of another name.

        The probe is one that this run knows, unless the digest of its file is given.

        Raises
        ------
        EcgfmError
            If the run has no such scores, or they are of another kind of probe, or of one whose code was another.
        """
        held = self._scores
        quantity = bool(spelt(label))
        # A quantity has the package's own ridge probe, whatever the profile names for labels.
        if not quantity:
            self._require_probe(probe, PROBES[probe].code if probe_code is None else probe_code)
        names = self.encoders
        chosen = encoder if encoder in names else names[0] if renamed and len(names) == 1 else ""
        if not chosen:
            raise StaleBaseline(f"baseline {self.name} is stale: it tests {', '.join(names)}, but not {encoder}.")
        labels = [str(name) for name in held["label"].values]
        if label not in labels:
            raise StaleBaseline(f"baseline {self.name} is stale: it has no label {label}, but {', '.join(labels)}.")
        here = held.sel(encoder=chosen, label=label)
        use = (here["cohort"].values.astype(str) == cohort) & np.isfinite(here["score"].values)
        if not use.any():
            raise StaleBaseline(f"baseline {self.name} is stale: it has no scores of {label} in {cohort}.")
        return Scores(
            np.array([str(one).partition("/")[2] for one in here["record"].values[use]]),
            here["patient"].values[use].astype(str),
            here["score"].values[use].astype(np.float64),
            here["target"].values[use].astype(np.float64),
            quantity=quantity,
        )

    def _require_probe(self, probe: str, code: str) -> None:
        if self.probe != probe:
            raise StaleBaseline(
                f"baseline {self.name} is stale: its probes are {self.probe}, but this run's are {probe}."
            )
        if self.probe_code != code:
            raise StaleBaseline(f"baseline {self.name} is stale: the code of its probe {probe} was different.")


def _plain(name: str) -> str:
    """Return a folder's name without what has a meaning in the name of a check."""
    return "".join(one if one.isalnum() or one in "-_." else "-" for one in name) or "baseline"


def load_baselines(runs: Sequence[Path]) -> dict[str, Baseline]:
    """Open baselines; those of the same name get a number.

    Raises
    ------
    EcgfmError
        If one cannot be read.
    """
    out: dict[str, Baseline] = {}
    for run in runs:
        one = Baseline(run)
        number = sum(name.partition("#")[0] == one.name for name in out)
        out[f"{one.name}#{number + 1}" if number else one.name] = one
    return out


def change(now: Scores, then: Scores, name: str) -> Estimate | Interval:
    """Return AUROC, or R2 of a quantity, now minus that of then, paired on the same records.

    Raises
    ------
    EcgfmError
        If records, their labels or their patients differ: what differs, and how often.
    """
    here, there = now.in_order(), then.in_order()
    problems = []
    for what, extra in (
        ("are new", np.setdiff1d(here.records, there.records)),
        ("are gone", np.setdiff1d(there.records, here.records)),
    ):
        if extra.size:
            problems.append(f"{extra.size} records {what}, such as {', '.join(map(str, extra[:_SHOWN]))}")
    if not problems:
        for what, differs in (
            ("values" if now.quantity else "labels", here.targets != there.targets),
            ("patients", here.patients != there.patients),
        ):
            if differs.any():
                such = ", ".join(map(str, here.records[differs][:_SHOWN]))
                problems.append(f"{int(differs.sum())} {what} differ, such as that of {such}")
    if problems:
        raise StaleBaseline(f"baseline {name} is stale: {'; '.join(problems)}.")
    if now.quantity:
        return agreement_difference("r2", here.scores, there.scores, here.targets, here.patients)
    return mean_auroc_difference(here.scores, there.scores, here.targets > 0.5, here.patients)
