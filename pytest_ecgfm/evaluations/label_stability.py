"""What a probe makes of perturbed records: calls that flip, and AUROC that is lost."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.evaluations.statistics import aurocs
from pytest_ecgfm.evaluations.statistics.bootstrap import (
    RESAMPLES,
    UNDEFINED,
    Interval,
    mean_interval,
    percentiles,
    resampled,
    weighted_auroc,
)

Floats = npt.NDArray[np.float64]

MINIMUM_CLASS = 10
"""Records of each class below which a label says nothing about an AUROC."""


@dataclass(frozen=True)
class LabelStability:
    """What a probe makes of perturbed records; see `pytest_ecgfm.evaluations.stability.METRICS`.

    Counts are those of records with a known label.
    """

    flip_rate: Interval
    auroc_drop: Interval
    positives: int
    negatives: int


def label_stability(
    clean: npt.ArrayLike,
    perturbed: npt.ArrayLike,
    targets: npt.ArrayLike,
    cuts: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[list[LabelStability], LabelStability]:
    """Compare a probe's scores of clean and perturbed records, for each label and over all labels.

    Parameters
    ----------
    clean, perturbed : array_like, shape (labels, m)
        Scores; NaN where a record has no score.
    targets : array_like, shape (labels, m)
        1, 0, or NaN where the label is unknown.
    cuts : array_like, shape (labels, m)
        A record is called positive above this score.
    patients : array_like, shape (m,)
    resamples, seed : int
        Of the patient bootstrap: the same patients are drawn for clean and perturbed records, and for every label.

    Returns
    -------
    list of LabelStability
        One for each label; the drop of AUROC is NaN if a class has fewer than 10 records.
    LabelStability
        Mean over the labels that have enough records of both classes, with the smallest counts among them.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> targets = np.tile([1.0, 0.0], 30)[None]
    >>> clean = targets + 0.1 * rng.normal(size=(1, 60))
    >>> noisy = rng.normal(size=(1, 60))
    >>> (one,), over_labels = label_stability(clean, noisy, targets, np.full((1, 60), 0.5), np.arange(60))
    >>> one.positives, one.auroc_drop.low > 0.2
    (30, True)
    """
    before, after = np.asarray(clean, dtype=np.float64), np.asarray(perturbed, dtype=np.float64)
    truth, limits = np.asarray(targets, dtype=np.float64), np.asarray(cuts, dtype=np.float64)
    weights = resampled(np.asarray(patients), resamples, seed)
    each, drop_draws, flip_draws = [], [], []
    for one in range(len(before)):
        use = np.isfinite(before[one]) & np.isfinite(after[one]) & np.isfinite(truth[one])
        labels = truth[one, use] > 0.5
        flips = ((before[one] > limits[one]) != (after[one] > limits[one]))[use].astype(np.float64)
        part = weights[:, use]
        positives, negatives = int(labels.sum()), int((~labels).sum())
        drop, draws = UNDEFINED, np.full(len(weights), np.nan)
        if min(positives, negatives) >= MINIMUM_CLASS:
            value = float(np.subtract(*aurocs(np.stack([before[one, use], after[one, use]]), labels)))
            draws = weighted_auroc(before[one, use], labels, part) - weighted_auroc(after[one, use], labels, part)
            drop = percentiles(value, draws)
            drop_draws.append(draws)
            totals = part.sum(axis=1)
            flip_draws.append(part @ flips / np.where(totals > 0, totals, np.nan))
        each.append(LabelStability(mean_interval(flips, part), drop, positives, negatives))
    return each, _over_labels(each, drop_draws, flip_draws)


def _over_labels(each: list[LabelStability], drops: list[Floats], flips: list[Floats]) -> LabelStability:
    enough = [one for one in each if math.isfinite(one.auroc_drop.value)]
    if not enough:
        best = max(each, key=lambda one: min(one.positives, one.negatives), default=None)
        counts = (best.positives, best.negatives) if best else (0, 0)
        return LabelStability(UNDEFINED, UNDEFINED, *counts)
    drop = percentiles(float(np.mean([one.auroc_drop.value for one in enough])), np.mean(drops, axis=0))
    flip = percentiles(float(np.mean([one.flip_rate.value for one in enough])), np.mean(flips, axis=0))
    return LabelStability(flip, drop, min(one.positives for one in enough), min(one.negatives for one in enough))
