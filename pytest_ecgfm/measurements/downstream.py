"""Downstream performance of one encoder in one cell (docs/method.md#downstream)."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cards.identity import digest
from pytest_ecgfm.cards.whole_files import whole
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.groups import groups_of
from pytest_ecgfm.cohorts.quantities import units_of
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations.downstream import DownstreamResult, evaluate, paired_difference
from pytest_ecgfm.evaluations.macro import macro_auroc as mean_over_labels
from pytest_ecgfm.evaluations.measured import Cell, Estimated, Measured
from pytest_ecgfm.evaluations.probe_kinds import RIDGE
from pytest_ecgfm.evaluations.quantities import QuantityResult, evaluate_quantity, paired_r2
from pytest_ecgfm.evaluations.quantity_groups import quantity_groups
from pytest_ecgfm.evaluations.splits import Labelled, seeds_for, strata
from pytest_ecgfm.measurements.record_probes import fitted_once
from pytest_ecgfm.measurements.without_age import embeddings_for
from pytest_ecgfm.results.baseline import Scores, change
from pytest_ecgfm.results.checks import MINIMUM_POSITIVES, MINIMUM_RECORDS, Case, enough
from pytest_ecgfm.results.rounded import chosen, spanned
from pytest_ecgfm.run.run import Run


@dataclass(frozen=True)
class DownstreamCell:
    """What the downstream evaluation found for one encoder in one cell, with what the cube keeps of it.

    `result` is None where a class is too rare for any split. Of a quantity, the classes are the records above and below
    its median, `units` are its own, and `groups` says how it is read in each group of patients.
    """

    case: Case
    fraction: float
    encoder: str
    result: DownstreamResult | QuantityResult | None
    positives: int
    negatives: int
    probe: str
    split: str
    arrays: tuple[str, ...]
    units: str = ""
    groups: tuple[Cell, ...] = ()

    def over_seeds(self) -> Measured:
        """AUROC, or R2 of a quantity, over seeds, with its interval."""
        return self._measured(None if self.result is None else self.result.estimate, self.cells, self.arrays)

    def minus(self, other: "DownstreamCell") -> Measured:
        """AUROC, or R2 of a quantity, minus another encoder's on the same records, paired."""
        estimate: Estimated | None = None
        mine, theirs = self.result, other.result
        if isinstance(mine, DownstreamResult) and isinstance(theirs, DownstreamResult):
            estimate = paired_difference(mine, theirs)
        elif isinstance(mine, QuantityResult) and isinstance(theirs, QuantityResult):
            estimate = paired_r2(mine, theirs)
        return self._measured(estimate, (*self.cells, *other.cells), ())

    def changed(self, estimate: Estimated | None) -> Measured:
        """Put a difference to an earlier run beside what was found."""
        return self._measured(estimate, self.cells, ())

    def _measured(self, estimate: Estimated | None, cells: tuple[Cell, ...], arrays: tuple[str, ...]) -> Measured:
        # Without an estimate there are too few of a class for any split: their numbers say so.
        one = Measured.exact(math.nan) if estimate is None else Measured.of(estimate)
        one = replace(one, split=self.split, cells=cells, arrays=arrays)
        if self.probe == RIDGE:
            return replace(one, records=self.positives + self.negatives, note=self._errors())
        return replace(one, positives=self.positives, negatives=self.negatives)

    def _errors(self) -> str:
        """Say how large the errors of a quantity are, in its units, and how well its order is found."""
        if not isinstance(self.result, QuantityResult):
            return ""
        error, order = (self.result.agreement[name].mean for name in ("mae", "spearman"))
        return errors_in_words(error, order, self.units)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Values for the cube: one cell a seed, and one for what is summed over seeds."""
        if self.result is None:
            return ()
        quantity = isinstance(self.result, QuantityResult)
        group, named = ("quantities", "quantity") if quantity else ("downstream", "label")
        at: dict[str, str | float | int] = {
            "encoder": self.encoder,
            "cohort": self.case.cohort,
            named: self.case.label,
            "fraction": self.fraction,
        }
        at |= {} if quantity else {"probe": self.probe}
        dataset = self.result.to_dataset()
        whole = {str(name): float(array) for name, array in dataset.data_vars.items() if not array.dims}
        out = [Cell(group, at, whole)]
        for seed in dataset["seed"].values.tolist():
            one = dataset.sel(seed=seed)
            values = {str(name): float(one[name]) for name, array in dataset.data_vars.items() if array.dims}
            out.append(Cell(group, {**at, "seed": int(seed)}, values))
        return (*out, *self.groups)


def errors_in_words(error: Estimated, order: Estimated, units: str) -> str:
    """Say how large the errors of a quantity are, in its units, and how well its order is found."""
    value, low, high = (chosen(end, 3) for end in (error.value, error.low, error.high))
    size = f"mean absolute error {value} [{low}, {high}] {units}".rstrip()
    return f"{size}; Spearman {spanned(order.value, order.low, order.high)}"


def evaluated(run: Run, encoder: Encoder, case: Case, probe: str = "") -> DownstreamCell:
    """Evaluate the probe of one encoder in one cell, the profile's kind by default; once for all checks that ask.

    Quantities have a probe of their own.
    """
    kind = RIDGE if case.label in run.settings.quantities else probe or run.settings.profile.grid.probe
    key = ("downstream", encoder.card.name, case.cohort, case.label, case.fraction, kind)
    return run.once(key, lambda: _evaluate(run, encoder, case, kind))


def over_seeds(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC, or R2 of a quantity, over seeds, with its interval."""
    return evaluated(run, encoder, case).over_seeds()


def macro_auroc(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Mean AUROC over those labels of a set that have enough tested records of either class; the others are named."""
    cohort, kind = run.cohort(case.cohort), run.settings.profile.grid.probe
    each = {name: evaluated(run, encoder, replace(case, label=name)) for name in run.settings.sets[case.label]}
    used = {name: one for name, one in each.items() if one.result is not None and enough(one.positives, one.negatives)}
    at: dict[str, str | float | int] = {"encoder": encoder.card.name, "cohort": case.cohort, "set": case.label}
    at |= {"probe": kind, "fraction": 1.0 if case.fraction is None else case.fraction}
    cells = [Cell("sets", {**at, "label": name}, {"included": float(name in used)}) for name in each]
    cells += [cell for one in each.values() for cell in one.cells]
    left_out = [f"{name} ({_few(one)})" for name, one in each.items() if name not in used]
    note = f"mean over {len(used)} of {len(each)} labels"
    note += (
        f"; left out, with fewer than {MINIMUM_POSITIVES} tested records of a class: {', '.join(left_out)}"
        if left_out
        else ""
    )
    if len(used) < 2:
        return Measured.insufficient(
            f"fewer than two labels of the set have enough records in {cohort.name}", note=note
        )
    results = [one.result for one in used.values() if isinstance(one.result, DownstreamResult)]
    mean = mean_over_labels(results)
    values = {"macro_auroc": mean.value, "macro_auroc_low": mean.low, "macro_auroc_high": mean.high}
    cells.append(Cell("sets", at, {**values, "n_labels": float(len(used))}))
    # Few positives never block: it is the rarest label that counts.
    rarest = min(used.values(), key=lambda one: one.positives)
    about = {"positives": rarest.positives, "negatives": rarest.negatives, "split": rarest.split}
    return Measured.of(mean, cells=tuple(cells), note=note, **about)


def _few(one: DownstreamCell) -> str:
    return f"{one.positives} positive, {one.negatives} negative"


def gain(run: Run, encoder: Encoder, reference: Encoder, case: Case) -> Measured:
    """AUROC, or R2 of a quantity, minus that of a reference encoder, paired on the same records."""
    cohort = run.cohort(case.cohort)
    if lead := run.lacking(reference, cohort):
        why = f"not applicable: the reference reads lead {lead}, which the records of {cohort.name} lack"
        return Measured.insufficient(why)
    return evaluated(run, encoder, case).minus(evaluated(run, reference, case))


def change_since(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC, or R2 of a quantity, minus that of an earlier run, paired on the same records.

    Raises
    ------
    EcgfmError
        If the earlier run is stale: other records, labels or patients.
    """
    here = evaluated(run, encoder, case)
    result = here.result
    if result is None:
        return here.changed(None)
    then = run.settings.baselines[case.baseline].scores(
        encoder.card.name, case.cohort, case.label, probe=here.probe, renamed=len(run.settings.models) == 1
    )
    cohort = run.cohort(case.cohort)
    records = cohort.records[run.labelled(cohort, case.label).rows[result.tested]].to_numpy(dtype=str)
    # As in the cube: the mean over seeds, in single precision.
    scores = result.scores.mean(axis=0).astype(np.float32).astype(np.float64)
    targets = result.targets.astype(np.float32).astype(np.float64)
    now = Scores(records, result.patients.astype(str), scores, targets, quantity=here.probe == RIDGE)
    return here.changed(change(now, then, case.baseline))


def _evaluate(run: Run, encoder: Encoder, case: Case, probe: str) -> DownstreamCell:
    cohort = run.cohort(case.cohort)
    fraction = 1.0 if case.fraction is None else case.fraction
    labelled = run.labelled(cohort, case.label)
    name = encoder.card.name
    if labelled.split is None:
        return DownstreamCell(case, fraction, name, None, *labelled.counts, probe, "", ())
    embeddings = labelled.of(embeddings_for(run, encoder, cohort, case.label))
    seeds = seeds_for(fraction)[: run.settings.seeds]
    split = labelled.split
    fit = fitted_once(run, encoder, cohort, case.label)
    given = embeddings, labelled.targets, labelled.patients, split, fraction, seeds
    quantity = run.settings.quantities.get(case.label)
    result: DownstreamResult | QuantityResult
    result = evaluate(*given, probe=probe, fit=fit) if quantity is None else evaluate_quantity(*given, fit=fit)
    upper = strata(result.targets)
    arrays = (_keep(run, name, case, cohort, labelled, result),) if fraction == 1.0 else ()
    counts = int(upper.sum()), int((~upper).sum())
    units = "" if quantity is None else units_of(quantity, cohort)
    groups: tuple[Cell, ...] = ()
    if isinstance(result, QuantityResult) and fraction == 1.0:
        at = {"encoder": name, "cohort": case.cohort, "quantity": case.label}
        groups = _groups(run, cohort, labelled.rows[result.tested], result, at)
    return DownstreamCell(case, fraction, name, result, *counts, probe, split.kind, arrays, units, groups)


def columns_of_groups(run: Run, cohort: Cohort, rows: npt.NDArray[np.intp]) -> dict[str, npt.NDArray[np.str_]]:
    """Return the group of each of some records, by the columns that the profile names."""
    grid = run.settings.profile.grid
    return {column: names[rows] for column, names in groups_of(cohort, grid.subgroups, grid.age_bands).items()}


def _groups(
    run: Run, cohort: Cohort, rows: npt.NDArray[np.intp], result: QuantityResult, at: dict[str, str]
) -> tuple[Cell, ...]:
    """Say how a quantity is read in each group of patients, as the profile names them: reported, and never gated."""
    out = []
    for one in quantity_groups(result, columns_of_groups(run, cohort, rows), least=MINIMUM_RECORDS):
        values = {"judged": float(one.records >= MINIMUM_RECORDS), "n_test": float(one.records)}
        for name, found in one.found.items():
            values |= found.named(name)
        out.append(Cell("quantity_groups", {**at, "column": one.column, "group": one.name}, values))
    return tuple(out)


def _keep(
    run: Run,
    encoder: str,
    case: Case,
    cohort: Cohort,
    labelled: Labelled,
    result: DownstreamResult | QuantityResult,
) -> str:
    """Write per-record scores beside the rows; return the file's name."""
    rows = labelled.rows[result.tested]
    name = digest([encoder.encode(), case.cohort.encode(), case.label.encode()])[:24] + ".npz"
    with whole(run.folder / "arrays" / name, ending=".npz") as temporary:
        np.savez(
            temporary,
            record=cohort.records[rows].to_numpy(dtype=str),
            patient=result.patients.astype(str),
            fold=cohort.folds.fillna(-1).to_numpy(dtype=np.int32)[rows],
            score=result.scores.mean(axis=0).astype(np.float32),
            target=result.targets.astype(np.float32),
        )
    return f"arrays/{name}"
