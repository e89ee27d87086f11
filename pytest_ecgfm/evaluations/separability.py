"""Separability with the chance taken out: permutations, balanced neighbours, robustness to cohorts.

References
----------
.. [1] Ojala, Garriga, J. Mach. Learn. Res. 11:1833 (2010): permutation tests of what depends on labels.
.. [2] Kömen et al., arXiv 2507.17845 (2025): Robustness Index (`pytest_ecgfm.evaluations.robustness`).
.. [3] Phipson, Smyth, Stat. Appl. Genet. Mol. Biol. 9:39 (2010): a permutation's p-value is never zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.evaluations.clusters import METRICS as PAPER
from pytest_ecgfm.evaluations.clusters import Space, cluster_metrics, many_metrics
from pytest_ecgfm.evaluations.neighbours import neighbours_elsewhere
from pytest_ecgfm.evaluations.probes import fit_probe
from pytest_ecgfm.evaluations.robustness import Robustness, robustness_index
from pytest_ecgfm.evaluations.splits import patient_folds
from pytest_ecgfm.evaluations.statistics import mean_auroc
from pytest_ecgfm.evaluations.statistics.bootstrap import UNDEFINED, Interval, percentiles, resampled, wilson
from pytest_ecgfm.evaluations.statistics.midranks import midranks

__all__ = [
    "METRICS",
    "PERMUTATIONS",
    "Adjusted",
    "Robustness",
    "adjusted_metrics",
    "balanced_agreement",
    "cluster_metrics",
    "cohort_auroc",
    "neighbours_elsewhere",
    "robustness_index",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

PERMUTATIONS = 40
_BOOTSTRAP = 400

METRICS: Mapping[str, Mapping[str, Any]] = {
    "value": {"long_name": "the metric as the paper defines it", "units": "1"},
    "null_mean": {"long_name": "mean over permutations of the labels within cohort", "units": "1"},
    "null_sd": {"long_name": "standard deviation over permutations", "units": "1"},
    "adjusted": {"long_name": "value above chance; shares are rescaled so that perfect agreement is 1", "units": "1"},
    "adjusted_low": {"long_name": "lower 95 % limit of adjusted", "units": "1"},
    "adjusted_high": {"long_name": "upper 95 % limit of adjusted", "units": "1"},
    "robustness_index": {
        "long_name": "same label of the other cohort among {that, other label of the same cohort}, mean over pairs",
        "units": "1",
        "range": [0.0, 1.0],
        "higher_is_better": True,
        "reference": "[2]_",
    },
    "robustness_index_low": {"long_name": "lower 95 % limit of robustness_index", "units": "1"},
    "robustness_index_high": {"long_name": "upper 95 % limit of robustness_index", "units": "1"},
    "robustness_index_null_mean": {"long_name": "its mean over permutations of labels within cohort", "units": "1"},
    "robustness_index_null_sd": {"long_name": "its standard deviation over these permutations", "units": "1"},
    "robustness_index_cohorts": {
        "long_name": "cohorts in which the label separates: only their pairs count",
        "units": "1",
    },
    "cohort_auroc": {
        "long_name": "AUROC of a classifier of cohorts, mean over pairs",
        "units": "1",
        "range": [0.0, 1.0],
        "higher_is_better": False,
    },
    "intrinsic_dimension": {
        "long_name": "intrinsic dimension",
        "units": "1",
        "reference": "TwoNN, Facco et al. (2017)",
    },
}
"""Attributes of each variable in the cube."""

_SHARES = ("knn_agreement", "balanced_knn")
_UP_TO_ONE = ("silhouette", "spectral_ari", "spectral_ami", "gmm_ari", "gmm_ami")  # from -1 on


@dataclass(frozen=True)
class Adjusted:
    """A metric, and what is left of it above chance.

    Attributes
    ----------
    value : float
        As defined.
    null_mean, null_sd : float
        Over permutations.
    adjusted, low, high : float
        Value minus the mean under permutation; for shares of neighbours over one minus that, so that 1 is perfect.
    """

    value: float
    null_mean: float
    null_sd: float
    adjusted: float
    low: float
    high: float

    def values(self) -> dict[str, float]:
        """Return the cube's variables."""
        return {
            "value": self.value,
            "null_mean": self.null_mean,
            "null_sd": self.null_sd,
            "adjusted": self.adjusted,
            "adjusted_low": self.low,
            "adjusted_high": self.high,
        }


def _permuted(
    groups: npt.NDArray[Any], strata: npt.NDArray[Any], patients: npt.NDArray[Any], count: int, seed: int
) -> list[npt.NDArray[Any]]:
    """Permute groups within strata [1]_: patients whose records are alike in both are units, others' records are."""
    rng = np.random.default_rng(seed)
    _, first, inverse = np.unique(patients, return_index=True, return_inverse=True)
    alike = (groups == groups[first][inverse]) & (strata == strata[first][inverse])
    mixed = np.bincount(inverse, weights=~alike)[inverse] > 0
    unit = np.where(mixed, first.size + np.arange(groups.size), inverse)
    _, members, unit = np.unique(unit, return_index=True, return_inverse=True)
    where = strata[members]
    out = []
    for _ in range(count):
        units = groups[members].copy()
        for stratum in np.unique(where):
            mine = np.flatnonzero(where == stratum)
            units[mine] = units[mine][rng.permutation(mine.size)]
        out.append(units[unit])
    return out


def adjusted_metrics(
    space: Space,
    groups: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    strata: npt.ArrayLike | None = None,
    names: Sequence[str] = PAPER,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> dict[str, Adjusted]:
    """Return metrics of two groups, corrected for chance.

    Parameters
    ----------
    space : Space
    groups : array_like, shape (n,)
        Two different values.
    patients : array_like, shape (n,)
        Records of a patient are permuted together if they are all in one group.
    strata : array_like, shape (n,), optional
        Labels are permuted within each stratum, such as within each cohort.
    names : sequence of str
        Which of the paper's metrics.
    permutations, seed : int
        For the null distribution. The clusters do not depend on the groups, so each permutation is cheap.

    Returns
    -------
    dict of str to Adjusted
        The interval contains 0 if the value lies within 1.96 standard deviations of the mean under permutation. It
        never goes beyond the limits of the metric: it is Wilson's for metrics with two limits, and never below 0 for
        distances.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> groups = np.tile([0, 1], 100)
    >>> space = Space(rng.normal(size=(200, 4)) + 5 * groups[:, None])
    >>> round(adjusted_metrics(space, groups, np.arange(200))["gmm_ari"].adjusted, 1)
    1.0
    """
    labels, who = np.asarray(groups), np.asarray(patients)
    within = np.zeros(labels.size) if strata is None else np.asarray(strata)
    drawn = _permuted(labels, within, who, permutations, seed)
    found = many_metrics(space, [labels, *drawn], names)
    out = {}
    for name in names:
        value = found[0][name]
        null = np.array([one[name] for one in found[1:]])
        out[name] = _adjusted(name, value, null)
    return out


def _adjusted(name: str, value: float, null: Floats) -> Adjusted:
    # A permutation may leave a group too small for a metric.
    null = null[np.isfinite(null)]
    mean = float(null.mean()) if null.size else math.nan
    sd = float(null.std(ddof=1)) if null.size > 1 else math.nan
    scale = 1 - mean if name in _SHARES and mean < 1 else 1.0
    low, high = _limits(name, value, mean, sd)
    return Adjusted(value, mean, sd, (value - mean) / scale, (low - mean) / scale, (high - mean) / scale)


def _limits(name: str, value: float, mean: float, sd: float) -> tuple[float, float]:
    if name in _SHARES:
        return wilson(value, mean, sd)
    if name in _UP_TO_ONE:
        low, high = wilson((value + 1) / 2, (mean + 1) / 2, sd / 2)
        return 2 * low - 1, 2 * high - 1
    # Distances scatter in proportion to their size.
    return value / (1 + 1.96 * sd / mean) if mean > 0 else value, value + 1.96 * sd


def balanced_agreement(
    neighbours: npt.ArrayLike,
    targets: npt.ArrayLike,
    of_pool: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    places: npt.ArrayLike | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Adjusted:
    """Return the class-balanced agreement of records with their neighbours, above chance.

    A neighbour is weighted by one over the prevalence of its class, and both classes of records count alike. So the
    agreement without any structure is one half at every prevalence; the plain share of agreeing neighbours would be
    0.91 at 5 %.

    Parameters
    ----------
    neighbours : array_like of int, shape (m, k)
        Rows of the pool; -1 for none.
    targets : array_like of bool, shape (m,)
        Of the records.
    of_pool : array_like of bool, shape (n,)
        Of the records among which neighbours were searched.
    patients : array_like, shape (m,)
        Resampled for the interval.
    places : array_like of int, shape (m,), optional
        The records' own rows in the pool; left out if the pool contains none of them.
    permutations, seed : int
        For the null distribution: the labels of the records are permuted, also in the pool if they are in it.

    Returns
    -------
    Adjusted
        0 without structure, 1 if all neighbours agree. The interval comes from a patient bootstrap. It is at least as
        wide as Wilson's for the standard deviation under permutation, because with few positives all resamples may be
        alike. Records without any neighbour are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.evaluations.neighbours import neighbours_elsewhere
    >>> rng = np.random.default_rng(0)
    >>> targets = np.tile([True, False], 100)
    >>> embeddings = rng.normal(size=(200, 4)) + 5 * targets[:, None]
    >>> patients = np.arange(200)
    >>> neighbours = neighbours_elsewhere(embeddings, embeddings, patients, patients)
    >>> round(balanced_agreement(neighbours, targets, targets, patients, places=patients).adjusted, 1)
    1.0
    """
    near, labels, pool = np.asarray(neighbours), np.asarray(targets, bool), np.asarray(of_pool, bool)
    some = (near >= 0).any(axis=1) if near.size else np.zeros(len(near), bool)
    near, labels, who = near[some], labels[some], np.asarray(patients)[some]
    own = None if places is None else np.asarray(places)[some]
    share = float(pool.mean()) if pool.size else math.nan
    if not 0 < share < 1 or labels.all() or not labels.any():
        return Adjusted(*[math.nan] * 6)
    toward = _toward(near, pool, share)
    value = float(_balanced(toward, labels[None])[0])
    null = []
    for drawn in _permuted(labels, np.zeros(labels.size), who, permutations, seed):
        others = toward
        if own is not None:
            permuted = pool.copy()
            permuted[own] = drawn
            others = _toward(near, permuted, share)
        null.append(float(_balanced(others, drawn[None])[0]))
    mean, sd = float(np.mean(null)), float(np.std(null, ddof=1))
    weights = resampled(who, _BOOTSTRAP, seed)
    draws = ((weights * labels) @ toward) / _positive((weights * labels).sum(axis=1)) / 2
    draws = draws + ((weights * ~labels) @ (1 - toward)) / _positive((weights * ~labels).sum(axis=1)) / 2
    limits = percentiles(value, draws)
    scale = 1 - mean
    widest = wilson(value, mean, sd)
    low, high = min(limits.low, widest[0]), max(limits.high, widest[1])
    return Adjusted(value, mean, sd, (value - mean) / scale, (low - mean) / scale, (high - mean) / scale)


def _toward(near: Integers, pool: npt.NDArray[np.bool_], share: float) -> Floats:
    """Return the share of each record's neighbours that are positive, both classes weighted to be as common."""
    there = near >= 0
    positive = (pool[near] & there).sum(axis=1) / share
    negative = (~pool[near] & there).sum(axis=1) / (1 - share)
    return np.asarray(positive / (positive + negative))


def _positive(values: Floats) -> Floats:
    return np.where(values > 0, values, np.nan)


def _balanced(toward: Floats, labels: npt.NDArray[np.bool_]) -> Floats:
    """Return the mean over classes of the mean agreement, for each row of labels."""
    ones = (labels @ toward) / labels.sum(axis=1)
    return np.asarray((ones + (~labels @ (1 - toward)) / (~labels).sum(axis=1)) / 2)


def cohort_auroc(
    embeddings: npt.ArrayLike, cohorts: npt.ArrayLike, patients: npt.ArrayLike, *, most: int = 300, seed: int = 0
) -> Interval:
    """Return the AUROC of a logistic classifier of cohorts, cross-validated by patient, mean over pairs of cohorts.

    Parameters
    ----------
    embeddings : array_like, shape (n, d)
    cohorts, patients : array_like, shape (n,)
    most : int
        Records of each cohort, at most.
    seed : int
        Of the sample and the folds.

    Returns
    -------
    Interval
        0.5 if cohorts cannot be told apart. The limits are the means of the pairs' limits: this interval is wider than
        that of the mean.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cohorts = np.repeat(["here", "there"], 100)
    >>> cohort_auroc(rng.normal(size=(200, 4)) + 5 * (cohorts == "here")[:, None], cohorts, np.arange(200)).value > 0.99
    True
    """
    rows, homes, who = np.asarray(embeddings), np.asarray(cohorts), np.asarray(patients)
    rng = np.random.default_rng(seed)
    members = {home: rng.permutation(np.flatnonzero(homes == home))[:most] for home in np.unique(homes)}
    found = []
    for a, b in combinations(members, 2):
        chosen = np.concatenate([members[a], members[b]])
        targets = homes[chosen] == b
        names = np.array([f"{homes[row]} {who[row]}" for row in chosen])
        people = min(np.unique(names[targets]).size, np.unique(names[~targets]).size)
        if min(targets.sum(), (~targets).sum()) < 10 or people < 5:
            continue
        scores = _cross_validated(rows[chosen], targets, names, seed)
        found.append(mean_auroc(scores, targets, names))
    if not found:
        return UNDEFINED
    return Interval(*(float(np.mean([getattr(one, name) for one in found])) for name in ("value", "low", "high")))


def _cross_validated(
    rows: npt.NDArray[Any], targets: npt.NDArray[np.bool_], patients: npt.NDArray[Any], seed: int
) -> Floats:
    """Return ranks within fold of scores by probes that did not see the record's patient."""
    folds = patient_folds(targets, patients, 5, seed)
    scores = np.full(targets.size, np.nan)
    for fold in range(5):
        test, held = folds == fold, folds == (fold + 1) % 5
        train = ~test & ~held
        probe = fit_probe("logistic", rows[train], targets[train], patients[train], rows[held], targets[held])
        raw = probe.scores(rows[test])
        scores[test] = (midranks(raw) - 0.5) / raw.size
    return scores
