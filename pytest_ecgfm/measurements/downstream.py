"""Downstream performance of one encoder in one cell (docs/method.md#downstream)."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from uuid import uuid4

import numpy as np

from pytest_ecgfm.cards.identity import digest
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations.downstream import DownstreamResult, evaluate, paired_difference, seeds_for
from pytest_ecgfm.evaluations.measured import Cell, Measured
from pytest_ecgfm.evaluations.splits import Labelled
from pytest_ecgfm.evaluations.statistics import Estimate
from pytest_ecgfm.measurements.record_probes import fitted_once
from pytest_ecgfm.results.baseline import Scores, change
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.run.run import Run


@dataclass(frozen=True)
class DownstreamCell:
    """What the downstream evaluation found for one encoder in one cell, with what the cube keeps of it.

    `result` is None where a class is too rare for any split.
    """

    case: Case
    fraction: float
    encoder: str
    result: DownstreamResult | None
    positives: int
    negatives: int
    probe: str
    split: str
    arrays: tuple[str, ...]

    def auroc(self) -> Measured:
        """AUROC over seeds, with its interval."""
        return self._measured(None if self.result is None else self.result.estimate, self.cells, self.arrays)

    def minus(self, other: "DownstreamCell") -> Measured:
        """AUROC minus another encoder's on the same records, paired."""
        estimate = None
        if self.result is not None and other.result is not None:
            estimate = paired_difference(self.result, other.result)
        return self._measured(estimate, (*self.cells, *other.cells), ())

    def changed(self, estimate: Estimate | None) -> Measured:
        """Put a difference to an earlier run beside what was found."""
        return self._measured(estimate, self.cells, ())

    def _measured(self, estimate: Estimate | None, cells: tuple[Cell, ...], arrays: tuple[str, ...]) -> Measured:
        # Without an estimate there are too few of a class for any split: their numbers say so.
        return replace(
            Measured.exact(math.nan) if estimate is None else Measured.of(estimate),
            positives=self.positives,
            negatives=self.negatives,
            split=self.split,
            cells=cells,
            arrays=arrays,
        )

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Values for the cube: one cell a seed, and one for what is summed over seeds."""
        if self.result is None:
            return ()
        at: dict[str, str | float | int] = {
            "encoder": self.encoder,
            "cohort": self.case.cohort,
            "label": self.case.label,
            "probe": self.probe,
            "fraction": self.fraction,
        }
        dataset = self.result.to_dataset()
        whole = {str(name): float(array) for name, array in dataset.data_vars.items() if not array.dims}
        out = [Cell("downstream", at, whole)]
        for seed in dataset["seed"].values.tolist():
            one = dataset.sel(seed=seed)
            values = {str(name): float(one[name]) for name, array in dataset.data_vars.items() if array.dims}
            out.append(Cell("downstream", {**at, "seed": int(seed)}, values))
        return tuple(out)


def evaluated(run: Run, encoder: Encoder, case: Case, probe: str = "") -> DownstreamCell:
    """Evaluate the probe of one encoder in one cell, the profile's kind by default; once for all checks that ask."""
    kind = probe or run.settings.profile.grid.probe
    key = ("downstream", encoder.card.name, case.cohort, case.label, case.fraction, kind)
    return run.once(key, lambda: _evaluate(run, encoder, case, kind))


def auroc(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC over seeds, with its interval."""
    return evaluated(run, encoder, case).auroc()


def auroc_gain(run: Run, encoder: Encoder, reference: Encoder, case: Case) -> Measured:
    """AUROC minus that of a reference encoder, paired on the same records."""
    cohort = run.cohort(case.cohort)
    if lead := run.lacking(reference, cohort):
        why = f"not applicable: the reference reads lead {lead}, which the records of {cohort.name} lack"
        return Measured.insufficient(why)
    return evaluated(run, encoder, case).minus(evaluated(run, reference, case))


def auroc_change(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC minus that of an earlier run, paired on the same records.

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
    now = Scores(records, result.patients.astype(str), scores, result.targets.astype(np.float64))
    return here.changed(change(now, then, case.baseline))


def _evaluate(run: Run, encoder: Encoder, case: Case, probe: str) -> DownstreamCell:
    cohort = run.cohort(case.cohort)
    fraction = 1.0 if case.fraction is None else case.fraction
    labelled = run.labelled(cohort, case.label)
    name = encoder.card.name
    if labelled.split is None:
        return DownstreamCell(case, fraction, name, None, *labelled.counts, probe, "", ())
    embeddings = run.embeddings(encoder, cohort)[labelled.known]
    seeds = seeds_for(fraction)[: run.settings.seeds]
    split = labelled.split
    fit = fitted_once(run, encoder, cohort, case.label)
    result = evaluate(embeddings, labelled.targets, labelled.patients, split, fraction, seeds, probe=probe, fit=fit)
    tested = result.targets
    arrays = (_keep(run, name, case, cohort, labelled, result),) if fraction == 1.0 else ()
    return DownstreamCell(
        case, fraction, name, result, int(tested.sum()), int((~tested).sum()), probe, split.kind, arrays
    )


def _keep(run: Run, encoder: str, case: Case, cohort: Cohort, labelled: Labelled, result: DownstreamResult) -> str:
    """Write per-record scores beside the rows; return the file's name."""
    rows = labelled.rows[result.tested]
    name = digest([encoder.encode(), case.cohort.encode(), case.label.encode()])[:24] + ".npz"
    arrays = run.folder / "arrays"
    temporary = arrays / f".{uuid4().hex}.npz"
    np.savez(
        temporary,
        record=cohort.records[rows].to_numpy(dtype=str),
        patient=result.patients.astype(str),
        fold=cohort.folds.fillna(-1).to_numpy(dtype=np.int32)[rows],
        score=result.scores.mean(axis=0).astype(np.float32),
        target=result.targets.astype(np.float32),
    )
    temporary.replace(arrays / name)
    return f"arrays/{name}"
