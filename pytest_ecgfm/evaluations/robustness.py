"""Robustness Index: whether neighbours share the label or the cohort, over pairs of cohorts.

References
----------
.. [1] Kömen et al., arXiv 2507.17845 (2025): Robustness Index SO / (SO + OS) over pairs of centres. Their code
   normalises each row to length 1; here dimensions are z-scored, as for every other quantity of separability.
.. [2] de Jong, Marcus, Teuwen, arXiv 2501.18055 (2025): another index of that name, the ratio of two neighbour counts.
.. [3] Davison, Hinkley, *Bootstrap Methods and their Application* (1997), ch. 2: percentile limits keep to a range.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from pytest_ecgfm.evaluations.clusters import Space
from pytest_ecgfm.evaluations.statistics.bootstrap import percentiles, resampled, wilson

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

LEAST = 5
"""Patients of each class that a cohort needs: fewer leave its pairs out."""

_DRAWS, _MOST_DRAWS = 5, 20
_BOOTSTRAP = 400
_PERMUTATIONS = 100


class Robustness(NamedTuple):
    """A Robustness Index with its 95 % interval, and what it is when labels are permuted within cohort.

    Attributes
    ----------
    value, low, high : float
        In [0, 1]; NaN where no pair of cohorts has enough patients of each class, or no neighbour says anything.
    null_mean, null_sd : float
        Over permutations of the labels: one half where cohorts do not separate either, less where they do.
    """

    value: float
    low: float
    high: float
    null_mean: float
    null_sd: float


UNDEFINED = Robustness(*[math.nan] * 5)


@dataclass(frozen=True)
class _Sample:
    """One balanced sample of a pair of cohorts, each patient once.

    Attributes
    ----------
    rows : ndarray of int, shape (n,)
    near : ndarray of int, shape (n, k)
        Nearest others of each, as places in `rows`.
    """

    rows: Integers
    near: Integers


def robustness_index(
    embeddings: npt.ArrayLike,
    targets: npt.ArrayLike,
    cohorts: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    most: int = 200,
    seed: int = 0,
) -> Robustness:
    """Return the Robustness Index [1]_: do neighbours share the label, or the cohort? Mean over pairs of cohorts.

    In each pair of cohorts, both classes of both cohorts have the same number of patients, and each patient counts
    once. Among the 10 nearest others of each record, SO have the same label and the other cohort, OS the other label
    and the same cohort. The index is SO / (SO + OS). 1: labels decide. 0: cohorts decide. One half: both weigh alike,
    or neither has any weight. Each sample contains equally many of both kinds of neighbour. So for an embedding without
    any structure the expectation is exactly one half, at any number of cohorts, prevalence, size and dimension.

    This is not the ratio of de Jong et al. [2]_. The authors of [1]_ normalise each row; here dimensions are z-scored.

    Parameters
    ----------
    embeddings : array_like, shape (n, d)
        z-scored here, over each balanced sample.
    targets : array_like of bool, shape (n,)
    cohorts, patients : array_like, shape (n,)
        A patient who has records of both classes counts for the rarer class of the cohort.
    most : int
        Patients of each cohort and class, at most.
    seed : int
        For the 5 to 20 samples of each pair; their counts are pooled.

    Returns
    -------
    Robustness
        The interval comes from a bootstrap of patients, as records and as neighbours [3]_. It is at least as wide as
        Wilson's for the standard deviation under permutation, and stays in [0, 1]. A pair is left out if one of its
        cohorts has fewer than 5 patients of a class.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> targets, cohorts = np.tile([True, False], 100), np.repeat(["here", "there"], 100)
    >>> embeddings = rng.normal(size=(200, 4)) + 5 * targets[:, None]  # labels decide, cohorts do not
    >>> robustness_index(embeddings, targets, cohorts, np.arange(200)).value > 0.9
    True
    """
    rows, labels = np.asarray(embeddings), np.asarray(targets, bool)
    homes, who = np.asarray(cohorts), np.asarray(patients)
    _, people = np.unique(np.array([f"{a} {b}" for a, b in zip(homes, who, strict=True)]), return_inverse=True)
    cells = {home: _cells(labels, people, homes == home) for home in np.unique(homes).tolist()}
    large = [home for home, both in cells.items() if min(len(one) for one in both) >= LEAST]
    pairs = [
        list(_samples(rows, [*cells[a], *cells[b]], most, [seed, number]))
        for number, (a, b) in enumerate(combinations(large, 2))
    ]
    if not pairs:
        return UNDEFINED
    value = _index(pairs, labels, homes, np.ones((1, labels.size)))[0]
    weights = _weights(homes, people, seed)
    draws = _index(pairs, labels, homes, weights)
    null = _null(pairs, homes, people, seed)
    return _with_limits(value, draws, null, min(len(one[0].rows) for one in pairs))


def _cells(labels: Booleans, people: Integers, here: Booleans) -> list[list[Integers]]:
    """Return the records of each patient, class by class; who has both counts for the class of fewer patients."""
    negative, positive = (np.unique(people[here & (labels == label)]) for label in (False, True))
    both = np.intersect1d(negative, positive)
    # As many of them as make the classes alike; then in turn.
    more = int(np.clip((negative.size - positive.size + both.size + 1) // 2, 0, both.size))
    sides = [np.setdiff1d(negative, both[:more]), np.setdiff1d(positive, both[more:])]
    out = []
    for label, side in zip((False, True), sides, strict=True):
        mine = np.flatnonzero(here & (labels == label) & np.isin(people, side))
        order = np.argsort(people[mine], kind="stable")
        _, starts = np.unique(people[mine][order], return_index=True)
        out.append(np.split(mine[order], starts[1:]) if mine.size else [])
    return out


def _samples(rows: npt.NDArray[Any], cells: list[list[Integers]], most: int, seed: list[int]) -> Iterator[_Sample]:
    """Draw balanced samples of a pair of cohorts, each patient once, and find the neighbours in them."""
    rng = np.random.default_rng(seed)
    size = min(most, *(len(cell) for cell in cells))
    # The more patients of a class each sample leaves out, the more samples it takes to hear them.
    draws = min(_MOST_DRAWS, _DRAWS * math.ceil(max(len(cell) for cell in cells) / size))
    for _ in range(draws):
        chosen = np.array(
            [rng.choice(cell[one]) for cell in cells for one in rng.choice(len(cell), size, replace=False)]
        )
        # In any order: records at the same place are each other's neighbours in the order in which they stand.
        chosen = rng.permutation(chosen)
        yield _Sample(chosen, Space(rows[chosen]).neighbours)


def _index(pairs: list[list[_Sample]], labels: Booleans, homes: npt.NDArray[Any], weights: Floats) -> Floats:
    """Return the index for each row of record weights: a neighbour counts by its own weight times the record's."""
    shares = []
    for samples in pairs:
        wanted, unwanted = np.zeros((2, len(weights)))
        for sample in samples:
            label, home = labels[sample.rows], homes[sample.rows]
            same_label = label[sample.near] == label[:, None]
            same_home = home[sample.near] == home[:, None]
            mine = weights[:, sample.rows]
            wanted += _counted(mine, sample.near, same_label & ~same_home)
            unwanted += _counted(mine, sample.near, ~same_label & same_home)
        total = wanted + unwanted
        shares.append(np.where(total > 0, wanted / np.where(total > 0, total, 1), np.nan))
    # A pair of which no neighbour says anything is left out.
    known = np.isfinite(shares)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, shares, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _counted(weights: Floats, near: Integers, wanted: Booleans) -> Floats:
    starts = np.concatenate([[0], np.cumsum(wanted.sum(axis=1))])
    graph = csr_array((np.ones(int(wanted.sum())), near[wanted], starts), shape=(len(near), len(near)))
    return np.asarray(((weights @ graph) * weights).sum(axis=1))


def _weights(homes: npt.NDArray[Any], people: Integers, seed: int) -> Floats:
    """Return how often each record is drawn in each resample: patients within their cohort."""
    out = np.empty((_BOOTSTRAP, homes.size))
    for number, home in enumerate(np.unique(homes)):
        here = homes == home
        out[:, here] = resampled(people[here], _BOOTSTRAP, seed + number)
    return out


def _null(pairs: list[list[_Sample]], homes: npt.NDArray[Any], people: Integers, seed: int) -> Floats:
    """Return the index under permutations of the labels within cohort, the same ones in each sample.

    In each sample, the half of each cohort's patients with the largest of their random numbers are called positive.
    """
    keys = np.random.default_rng([seed, 1]).random((_PERMUTATIONS, int(people.max()) + 1))
    shares = []
    for samples in pairs:
        counts = np.zeros((_PERMUTATIONS, 2))
        for sample in samples:
            home, mine = homes[sample.rows], keys[:, people[sample.rows]]
            same_home = home[sample.near] == home[:, None]
            drawn = np.zeros(mine.shape, bool)
            for one in np.unique(home):
                here = home == one
                drawn[:, here] = mine[:, here] > np.median(mine[:, here], axis=1, keepdims=True)
            same_label = drawn[:, sample.near] == drawn[:, :, None]
            counts[:, 0] += (same_label & ~same_home).sum(axis=(1, 2))
            counts[:, 1] += (~same_label & same_home).sum(axis=(1, 2))
        total = counts.sum(axis=1)
        shares.append(np.where(total > 0, counts[:, 0] / np.where(total > 0, total, 1), np.nan))
    known = np.isfinite(shares)
    count = known.sum(axis=0)
    null = np.where(known, shares, 0).sum(axis=0)[count > 0] / count[count > 0]
    return np.asarray(null)


def _with_limits(value: float, draws: Floats, null: Floats, records: int) -> Robustness:
    mean = float(null.mean()) if null.size else math.nan
    sd = float(null.std(ddof=1)) if null.size > 1 else math.nan
    if not math.isfinite(value):
        return UNDEFINED
    percentile = percentiles(float(value), draws)
    # With few records all resamples may be alike: never narrower than chance scatters, nor than as many records do.
    limits = [
        (percentile.low, percentile.high),
        wilson(float(value), mean, sd),
        wilson(float(value), 0.5, 0.5 / math.sqrt(records))
        if value in (0.0, 1.0)
        else (percentile.low, percentile.high),
    ]
    low, high = np.nanmin([one[0] for one in limits]), np.nanmax([one[1] for one in limits])
    return Robustness(float(value), float(low), float(high), mean, sd)
