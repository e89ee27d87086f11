"""The mean AUROC over a named set of labels; for its interval, patients are resampled for all labels at once."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.downstream import DownstreamResult
from pytest_ecgfm.evaluations.measured import described
from pytest_ecgfm.evaluations.statistics import RESAMPLES, Estimate, auroc_estimate, aurocs
from pytest_ecgfm.evaluations.statistics.variance import (
    bootstrap_aurocs,
    multiplicities,
    resampled_variance,
    sample_design,
)

_MEAN = "mean over labels, then over seeds, of the Mann-Whitney statistic"
_LIMIT = "the same resampled patients for every label; plus the variance between seeds over their number"
_UNIT = [0.0, 1.0]

METRICS = described(
    ("macro_auroc", "mean AUROC over the labels of a set", _UNIT, True, _MEAN),
    ("macro_auroc_low", "lower 95 % limit of macro_auroc", _UNIT, True, _LIMIT),
    ("macro_auroc_high", "upper 95 % limit of macro_auroc", _UNIT, True, _LIMIT),
    ("n_labels", "labels in the mean", None, None, "those with 10 tested records of either class"),
    ("included", "whether a label of the set is in the mean, 1 or 0", None, None, "as n_labels"),
)
"""Attributes of each variable in the cube; None where there is nothing to say."""


def macro_auroc(
    results: Sequence[DownstreamResult], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Return the mean over labels of the mean over seeds of the AUROC.

    Labels share patients, so their AUROCs vary together: each resample draws patients once, for all labels. A label
    may be tested on other records than another one; of a patient drawn, each label takes the records that it tests.

    Parameters
    ----------
    results : sequence of DownstreamResult
        One a label, of the same cohort, fraction and seeds; each with both classes.
    level : float
        Nominal coverage, in (0, 1).
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    Estimate
        Its interval holds the variance from test records and from seeds, on the logit scale.

    Raises
    ------
    EcgfmError
        If there is no result, or the seeds differ.
    """
    if not results or len({one.seeds for one in results}) > 1:
        raise EcgfmError("a mean over labels needs results of the same seeds, one at least.")
    points = np.array([aurocs(one.scores, one.targets) for one in results])
    if not np.isfinite(points).all():
        nan = math.nan
        return Estimate(nan, nan, nan, nan, nan, points.shape[1])
    names, codes = np.unique(np.concatenate([one.patients for one in results]), return_inverse=True)
    drawn = np.zeros(resamples)
    start = 0
    for one in results:
        clusters: npt.NDArray[np.intp] = codes[start : start + one.targets.size].astype(np.intp)
        start += one.targets.size
        # The same sizes and seed give the same draws to every label.
        draws = multiplicities(names.size, resamples, codes.size, seed)
        drawn += bootstrap_aurocs(one.scores, one.targets, clusters, draws).mean(axis=0) / len(results)
    pairs = min(sample_design(one.targets, one.patients).pairs for one in results)
    return auroc_estimate(points.mean(axis=0), resampled_variance(drawn), pairs, level)
