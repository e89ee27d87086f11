"""Relevance of embedding dimensions, and the space of those that are selected (docs/method.md#relevance)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations import features as evaluation
from pytest_ecgfm.evaluations.fold_probes import FoldProbe
from pytest_ecgfm.evaluations.measured import Cell, Measured
from pytest_ecgfm.evaluations.probes import fit_probe
from pytest_ecgfm.evaluations.statistics import mean_auroc
from pytest_ecgfm.evaluations.statistics.midranks import midranks
from pytest_ecgfm.measurements.record_probes import record_probes
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.run.run import Run


@dataclass(frozen=True)
class Relevance:
    """Relevance of each dimension for one label in one cohort, by fold, from training records alone.

    Attributes
    ----------
    relevance : ndarray of float64, shape (folds, d)
    selections : tuple of ndarray of int
        One a fold.
    """

    relevance: npt.NDArray[np.float64]
    selections: tuple[npt.NDArray[np.intp], ...]


def dimensions(run: Run, encoder: Encoder, cohort: Cohort, label: str) -> Relevance | None:
    """Look at the probes of the whole training set; None where a class is too rare for any."""

    def make() -> Relevance | None:
        probes = record_probes(run, encoder, cohort, label)
        if probes is None:
            return None
        embeddings = run.labelled(cohort, label).of(run.embeddings(encoder, cohort))
        each = [evaluation.dimension_relevance(one.probe, embeddings[one.train_rows]) for one in probes.fitted]
        return Relevance(np.stack(each), tuple(evaluation.selected(one) for one in each))

    return run.once(("dimensions", encoder.card.name, cohort.name, label), make)


def selected_in(run: Run, encoder: Encoder, cohorts: Sequence[Cohort], label: str) -> npt.NDArray[np.intp] | None:
    """Return the dimensions that a label selects in several cohorts together, ascending; None where any has no probe.

    Relevance comes from training records; each fold's, and then each cohort's, counts alike.
    """
    found = [dimensions(run, encoder, cohort, label) for cohort in cohorts]
    known = [one.relevance for one in found if one is not None]
    if len(known) < len(found):
        return None
    totals = [np.maximum(one.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny) for one in known]
    shares = [(one / total).mean(axis=0) for one, total in zip(known, totals, strict=True)]
    return evaluation.selected(np.mean(shares, axis=0))


def selected_auroc(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC of a probe on the dimensions that its fold's training records select."""
    cohort = run.cohort(case.cohort)
    probes, found = record_probes(run, encoder, cohort, case.label), dimensions(run, encoder, cohort, case.label)
    if probes is None or found is None:
        return Measured.insufficient(f"too few records of a class of {case.label} in {case.cohort}")
    labelled = run.labelled(cohort, case.label)
    embeddings = labelled.of(run.embeddings(encoder, cohort))
    scores, tested = [], []
    for fold, selection in zip(probes.fitted, found.selections, strict=True):
        scores.append(_scores(run, cohort, case.label, embeddings[:, selection], fold))
        tested.append(fold.test_rows)
    rows = np.concatenate(tested)
    estimate = mean_auroc(np.concatenate(scores), labelled.targets[rows], labelled.patients[rows])
    positives = int(labelled.targets[rows].sum())
    at = {"encoder": case.encoder, "cohort": case.cohort, "label": case.label}
    cells = (Cell("relevance", at, {"selected_auroc": estimate.value, **_summary(run, encoder, cohort, case, found)}),)
    arrays = (_keep(run, case, found),)
    split = "" if labelled.split is None else labelled.split.kind
    return Measured.of(
        estimate, positives=positives, negatives=rows.size - positives, split=split, cells=cells, arrays=arrays
    )


def _scores(run: Run, cohort: Cohort, label: str, embeddings: npt.NDArray[Any], fold: FoldProbe) -> npt.NDArray[Any]:
    """Fit a probe as the fold's own was, on fewer dimensions; in cross-validation, scores are ranked within fold."""
    labelled = run.labelled(cohort, label)
    if labelled.split is None:
        return np.full(fold.test_rows.size, np.nan)
    train, held = fold.train_rows, labelled.split.folds[fold.fold].validation
    probe = fit_probe(
        "logistic",
        embeddings[train],
        labelled.targets[train],
        labelled.patients[train],
        embeddings[held],
        labelled.targets[held],
    )
    scores = probe.scores(embeddings[fold.test_rows])
    if labelled.split.kind != "cv":
        return scores
    return np.asarray((midranks(scores) - 0.5) / scores.size)


def _summary(run: Run, encoder: Encoder, cohort: Cohort, case: Case, found: Relevance) -> dict[str, float]:
    elsewhere = [
        one
        for name in run.settings.cohorts
        if name != cohort.name and (one := dimensions(run, encoder, run.cohort(name), case.label)) is not None
    ]
    mine = evaluation.selected(found.relevance.mean(axis=0))
    theirs = [evaluation.selected(one.relevance.mean(axis=0)) for one in elsewhere]
    return {
        "dimensions_90": float(np.mean([evaluation.dimensions_for(one) for one in found.relevance])),
        "selection_overlap_folds": evaluation.mean_overlap(found.selections),
        "rank_agreement_folds": evaluation.mean_rank_agreement(list(found.relevance)),
        "selection_overlap_cohorts": float(np.mean([evaluation.jaccard(mine, one) for one in theirs]))
        if theirs
        else float("nan"),
    }


def _keep(run: Run, case: Case, found: Relevance) -> str:
    width = found.relevance.shape[1]
    chosen = np.mean([np.isin(np.arange(width), one) for one in found.selections], axis=0)
    dims = ("cohort", "label", "seed", "dimension")
    variables = {
        name: (dims, values[None, None, None].astype(np.float32), dict(evaluation.METRICS[name]))
        for name, values in (("shap", found.relevance.mean(axis=0)), ("selected", chosen))
    }
    coords = {"cohort": [case.cohort], "label": [case.label], "seed": [0], "dimension": np.arange(width)}
    dataset = xr.Dataset(variables, coords, attrs={"group": f"features/{case.encoder}"})
    return run.keep(("features", case.encoder, case.cohort, case.label), dataset)
