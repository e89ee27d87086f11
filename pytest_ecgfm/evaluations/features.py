"""Relevance of embedding dimensions: exact linear SHAP of a probe's logit, and the dimensions that it selects.

References
----------
.. [1] Lundberg, Lee, NeurIPS 2017 (arXiv 1705.07874), corollary 1: of a linear model with independent inputs, the
   Shapley value of an input is its coefficient times its distance from the background's mean.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.evaluations.probes import Probe
from pytest_ecgfm.evaluations.relevance import rank_agreement

Floats = npt.NDArray[np.float64]

METRICS: Mapping[str, Mapping[str, Any]] = {
    "shap": {
        "long_name": "mean absolute linear SHAP value of a dimension for the logit, training records, mean over folds",
        "units": "1",
        "reference": "exact linear SHAP, Lundberg and Lee (2017)",
    },
    "selected": {"long_name": "share of folds that select the dimension", "units": "1", "range": [0.0, 1.0]},
    "dimensions_90": {"long_name": "dimensions that hold 90 % of the relevance, mean over folds", "units": "1"},
    "selection_overlap_folds": {
        "long_name": "mean Jaccard index of the dimensions selected in different folds or seeds",
        "units": "1",
        "range": [0.0, 1.0],
        "higher_is_better": True,
    },
    "rank_agreement_folds": {
        "long_name": "mean rank correlation of the relevance of dimensions between folds or seeds",
        "units": "1",
        "range": [-1.0, 1.0],
        "higher_is_better": True,
    },
    "selection_overlap_cohorts": {
        "long_name": "mean Jaccard index of the dimensions selected in this and in other cohorts",
        "units": "1",
        "range": [0.0, 1.0],
        "higher_is_better": True,
    },
    "selected_auroc": {
        "long_name": "AUROC on the selected dimensions alone",
        "units": "1",
        "range": [0.0, 1.0],
        "higher_is_better": True,
    },
}
"""Attributes of each variable in the cube."""


def linear_shap(probe: Probe, embeddings: npt.ArrayLike) -> Floats:
    """Return the exact SHAP values of a logistic probe's logit, shape (records, d).

    The background is the mean of the probe's training records [1]_; the probe standardises with this mean, too.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.evaluations.probes import fit_probe
    >>> rng = np.random.default_rng(0)
    >>> targets = rng.random(100) < 0.5
    >>> embeddings = rng.normal(size=(100, 3))
    >>> embeddings[:, 1] += 3 * targets
    >>> probe = fit_probe("logistic", embeddings, targets, np.arange(100), embeddings[:0], [])
    >>> values = linear_shap(probe, embeddings)
    >>> values.shape, int(np.abs(values).mean(axis=0).argmax())
    ((100, 3), 1)
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    return np.asarray(probe.coefficients * (rows - probe.mean) / probe.scale)


def dimension_relevance(probe: Probe, training: npt.ArrayLike) -> Floats:
    """Return the mean absolute SHAP value of each dimension over training records, shape (d,).

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.evaluations.probes import fit_probe
    >>> rng = np.random.default_rng(0)
    >>> targets = rng.random(100) < 0.5
    >>> embeddings = rng.normal(size=(100, 3))
    >>> embeddings[:, 1] += 3 * targets
    >>> probe = fit_probe("logistic", embeddings, targets, np.arange(100), embeddings[:0], [])
    >>> int(dimension_relevance(probe, embeddings).argmax())
    1
    """
    return np.asarray(np.abs(linear_shap(probe, training)).mean(axis=0))


def selected(relevance: npt.ArrayLike, share: float = 0.1) -> npt.NDArray[np.intp]:
    """Return the dimensions of highest relevance, ascending: a tenth of them, one at least; ties go to the first."""
    values = np.asarray(relevance, dtype=np.float64)
    count = max(1, round(share * values.size))
    return np.sort(np.argsort(-values, kind="stable")[:count])


def dimensions_for(relevance: npt.ArrayLike, share: float = 0.9) -> int:
    """Return how many dimensions hold `share` of the relevance; 0 where there is none."""
    values = np.sort(np.asarray(relevance, dtype=np.float64))[::-1]
    if not values.sum() > 0:
        return 0
    return int(np.searchsorted(np.cumsum(values) / values.sum(), share - 1e-12) + 1)


def jaccard(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the size of the common part over that of the union, in [0, 1]; NaN for two empty sets."""
    x, y = set(np.asarray(a).tolist()), set(np.asarray(b).tolist())
    return len(x & y) / len(x | y) if x | y else math.nan


def mean_overlap(selections: Sequence[npt.ArrayLike]) -> float:
    """Return the mean Jaccard index over pairs; NaN for fewer than two."""
    found = [jaccard(a, b) for a, b in combinations(selections, 2)]
    return float(np.mean(found)) if found else math.nan


def mean_rank_agreement(relevances: Sequence[npt.ArrayLike]) -> float:
    """Return the mean rank correlation over pairs; NaN for fewer than two."""
    found = [rank_agreement(a, b) for a, b in combinations(relevances, 2)]
    return float(np.mean(found)) if found else math.nan
