"""Ranks of several models on the same records, with intervals that hold for all ranks at once.

A model's rank lies between one more than the number of models that are shown to be better, and the number of models
less those that are shown to be worse. Every pair is tested by the same resampled patients, at one common level for all
pairs (the largest studentised difference of each resample): Mogstad, Romano, Shaikh, Wilhelm, Review of Economic
Studies 91:476 (2024).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.evaluations.statistics import RESAMPLES
from pytest_ecgfm.evaluations.statistics.bootstrap import percentiles
from pytest_ecgfm.evaluations.statistics.variance import aurocs, bootstrap_aurocs, multiplicities

Floats = npt.NDArray[np.float64]
_TINY = 1e-12


class Scored(NamedTuple):
    """Test records of one cohort and label.

    Attributes
    ----------
    scores : ndarray of float64, shape (models, records)
    targets : ndarray of bool, shape (records,)
    patients : ndarray of str, shape (records,)
    """

    scores: Floats
    targets: npt.NDArray[np.bool_]
    patients: npt.NDArray[np.str_]


class Place(NamedTuple):
    """Where a model stands.

    Attributes
    ----------
    value, low, high : float
        Mean AUROC with its 95 % interval.
    rank : int
        One more than the number of models with a larger mean; equal means share a rank.
    best, worst : int
        The 95 % interval of the rank.
    """

    value: float
    low: float
    high: float
    rank: int
    best: int
    worst: int


def ranked(
    cells: Mapping[str, Sequence[Scored]], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> list[Place]:
    """Rank models by their mean AUROC over cells.

    Parameters
    ----------
    cells : mapping of str to sequence of Scored
        By cohort: a cell for each label, each with both classes, and with the same models in the same order. Patients
        are resampled once for all models and labels of a cohort.
    level : float
        At which all intervals of ranks hold at once.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    list of Place
        One a model, in the order of the rows.
    """
    count = sum(len(tested) for tested in cells.values())
    points: list[Floats] = []
    drawn: Floats | float = 0.0
    for number, cohort in enumerate(sorted(cells)):
        tested = cells[cohort]
        names, codes = np.unique(np.concatenate([one.patients for one in tested]), return_inverse=True)
        start = 0
        for one in tested:
            clusters = codes[start : start + one.targets.size].astype(np.intp)
            start += one.targets.size
            # The same sizes and seed give the same draws to every label of the cohort.
            draws = multiplicities(names.size, resamples, codes.size, seed + number)
            drawn = drawn + bootstrap_aurocs(one.scores, one.targets, clusters, draws) / count
            points.append(aurocs(one.scores, one.targets))
    return places(np.mean(points, axis=0), np.asarray(drawn), level=level)


def places(values: Floats, drawn: Floats, *, level: float = 0.95) -> list[Place]:
    """Return where each of several values stands.

    Parameters
    ----------
    values : ndarray of float64, shape (models,)
        Larger is better.
    drawn : ndarray of float64, shape (models, resamples)
        The same values over resamples that all models share. One that is not defined for a model does not count.
    level : float
        At which all intervals of ranks hold at once.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0, 0.01, (3, 500))
    >>> [one[3:] for one in places(np.array([0.8, 0.805, 0.9]), np.array([[0.8], [0.805], [0.9]]) + noise)]
    [(3, 2, 3), (2, 2, 3), (1, 1, 1)]
    """
    known = drawn[:, np.isfinite(drawn).all(axis=0)]
    better = _shown_better(values, known, level)
    out = []
    for row, value in enumerate(values.tolist()):
        found = percentiles(value, known[row])
        rank = 1 + int((values > value + _TINY).sum())
        best, worst = 1 + int(better[:, row].sum()), len(values) - int(better[row].sum())
        out.append(Place(found.value, found.low, found.high, rank, best, worst))
    return out


def _shown_better(values: Floats, drawn: Floats, level: float) -> npt.NDArray[np.bool_]:
    """Say of each pair whether the first is shown to be better than the second: shape (models, models)."""
    out = np.zeros((len(values), len(values)), dtype=bool)
    if drawn.shape[1] < 2:
        return out
    first, second = np.triu_indices(len(values), 1)
    differences = values[first] - values[second]
    spread = drawn[first] - drawn[second]
    errors = spread.std(axis=1, ddof=1)
    # Two that never differ, such as copies of a model, cannot be told apart.
    varies = errors > _TINY
    if not varies.any():
        return out
    first, second, differences, errors = first[varies], second[varies], differences[varies], errors[varies]
    largest = (np.abs(spread[varies] - differences[:, None]) / errors[:, None]).max(axis=0)
    bound = float(np.quantile(largest, level))
    if not math.isfinite(bound):
        return out
    out[first, second] = differences > bound * errors
    out[second, first] = -differences > bound * errors
    return out
