"""Lead relevance: profiles of Shapley values, how they agree, and whether they mean anything.

References
----------
.. [1] Adebayo et al., NeurIPS 2018 (arXiv 1810.03292): sanity checks, with shuffled labels among them.
.. [2] Samek et al., IEEE Trans. Neural Netw. Learn. Syst. 28:2660 (2017): remove what is relevant first.
.. [3] Surawicz et al., Circulation 119:e235 (2009): criteria of bundle branch blocks.
.. [4] Hindricks et al., Eur. Heart J. 42:373 (2021): no P waves, and fibrillation, best seen in V1 and II.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from pytest_ecgfm.cohorts.label_table import EVERY_LEAD, built_in_labels
from pytest_ecgfm.evaluations.statistics import auroc
from pytest_ecgfm.evaluations.statistics.bootstrap import (
    RESAMPLES,
    UNDEFINED,
    Interval,
    percentiles,
    resampled,
    weighted_auroc,
)
from pytest_ecgfm.evaluations.statistics.midranks import midranks

Floats = npt.NDArray[np.float64]

MINIMUM_PLAYERS = 4
"""Fewer ranks than this agree by chance too often for a rank correlation to say anything."""

_SHAPLEY = "exact Shapley values, Lundberg and Lee (2017)"


def _one(text: str, limits: list[float] | None = None, higher: bool | None = None, source: str = "") -> dict[str, Any]:
    return {"long_name": text, "units": "1", "range": limits, "higher_is_better": higher, "reference": source}


_UNIT = [0.0, 1.0]
METRICS: Mapping[str, Mapping[str, Any]] = {
    "relevance": _one("mean absolute Shapley value of a lead, over the sum of all leads", _UNIT, None, _SHAPLEY),
    "relevance_low": _one("lower 95 % limit of relevance, patients resampled", _UNIT, None, _SHAPLEY),
    "relevance_high": _one("upper 95 % limit of relevance, patients resampled", _UNIT, None, _SHAPLEY),
    "efficiency_error": _one("largest difference between sum of Shapley values and change of logit", None, False),
    "entropy": _one("entropy of the lead profile over its maximum", _UNIT),
    "seed_agreement": _one("mean rank correlation of the profiles of pairs of seeds", [-1.0, 1.0], True),
    "fraction_agreement": _one("rank correlation with the profile at the largest fraction", [-1.0, 1.0], True),
    "deletion_auroc": _one("AUROC after so many leads were removed, the most relevant first", _UNIT, None, "[2]_"),
    "random_auroc": _one("AUROC after so many leads were removed, in random order", _UNIT, None, "[2]_"),
    "prior": _one(
        "relevance of the leads where cardiologists look, divided by their share of all leads", None, True, "[3]_, [4]_"
    ),
    "shuffled_percentile": _one(
        "share of probes of shuffled labels whose profile lies nearer to their common mean than the real one's",
        _UNIT,
        True,
        "[1]_",
    ),
}
"""Attributes of each variable in the cube; None where there is nothing to say."""

PRIORS: Mapping[str, tuple[str, ...]] = {
    name: one.leads for name, one in built_in_labels().items() if one.leads and one.leads != (EVERY_LEAD,)
}
"""Players in whose leads a label shows [3]_, [4]_; aVL follows from I and II. None for pooled labels."""

UNIFORM = tuple(name for name, one in built_in_labels().items() if one.leads == (EVERY_LEAD,))
"""Labels of rate alone, which every lead shows."""


@dataclass(frozen=True)
class Profile:
    """How relevant each player is, mean over records of the absolute Shapley value, normalised to a sum of 1.

    Attributes
    ----------
    share, low, high : ndarray of float64, shape (players,)
        With 95 % limits, patients resampled; NaN where no record depends on any player.
    """

    share: Floats
    low: Floats
    high: Floats

    @property
    def entropy(self) -> float:
        """Between 0 (one player) and 1 (all alike); NaN for one player."""
        if self.share.size < 2 or not np.isfinite(self.share).all():
            return math.nan
        known = self.share[self.share > 0]
        return float(-(known * np.log(known)).sum() / math.log(self.share.size))


def _shares(phi: Floats, weights: Floats) -> Floats:
    totals = weights @ np.abs(phi)
    whole = totals.sum(axis=1, keepdims=True)
    return np.asarray(totals / np.where(whole > 0, whole, np.nan))


def lead_profile(phi: npt.ArrayLike, patients: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Profile:
    """Summarise Shapley values.

    Parameters
    ----------
    phi : array_like, shape (records, players) or (seeds, records, players)
        Of the logit; their absolute values are first averaged over seeds.
    patients : array_like, shape (records,)
    resamples, seed : int
        Of the bootstrap.

    Examples
    --------
    >>> import numpy as np
    >>> phi = np.array([[3.0, -1.0], [-6.0, 2.0]])  # two records, two leads
    >>> lead_profile(phi, ["a", "b"]).share
    array([0.75, 0.25])
    """
    values = np.abs(np.asarray(phi, dtype=np.float64))
    each = values.mean(axis=0) if values.ndim == 3 else values
    share = _shares(each, np.ones((1, len(each))))[0]
    draws = _shares(each, resampled(np.asarray(patients), resamples, seed))
    if not np.isfinite(share).all():
        nothing = np.full(share.shape, np.nan)
        return Profile(nothing, nothing, nothing)
    low, high = np.nanquantile(draws, (0.025, 0.975), axis=0)
    return Profile(share, np.minimum(low, share), np.maximum(high, share))


def rank_agreement(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return Spearman's rank correlation of two profiles; NaN with fewer than four players, or if one is constant.

    Examples
    --------
    >>> round(rank_agreement([4, 3, 2, 1], [0.4, 0.3, 0.2, 0.1]), 6)
    1.0
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.size < MINIMUM_PLAYERS or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return math.nan
    first, second = midranks(x), midranks(y)
    first, second = first - first.mean(), second - second.mean()
    size = math.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / size) if size else math.nan


def mean_agreement(profiles: Sequence[npt.ArrayLike]) -> float:
    """Return the mean rank correlation over pairs of profiles; NaN where no pair has one."""
    found = [rank_agreement(a, b) for a, b in combinations(profiles, 2)]
    known = [one for one in found if math.isfinite(one)]
    return float(np.mean(known)) if known else math.nan


def background_agreement(a: npt.ArrayLike, b: npt.ArrayLike, patients: npt.ArrayLike, *, seed: int = 0) -> Interval:
    """Return how well the profiles of the same records agree over two backgrounds, with a patient bootstrap.

    This is the cosine of the shares, not of the ranks: leads of nearly equal relevance change places by chance.

    Parameters
    ----------
    a, b : array_like, shape (records, players)
    patients : array_like, shape (records,)

    Examples
    --------
    >>> import numpy as np
    >>> phi = np.random.default_rng(0).normal(size=(50, 8))
    >>> round(background_agreement(phi, 5 * phi, np.arange(50)).value, 6)
    1.0
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    weights = resampled(np.asarray(patients), RESAMPLES, seed)
    ones = np.ones((1, len(x)))
    return percentiles(
        float(_cosines(_shares(x, ones), _shares(y, ones))[0]), _cosines(_shares(x, weights), _shares(y, weights))
    )


def _cosines(a: Floats, b: Floats) -> Floats:
    size = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(axis=-1) / size)


def cohort_agreement(phis: Sequence[npt.ArrayLike], patients: Sequence[npt.ArrayLike], *, seed: int = 0) -> Interval:
    """Return how the profiles of several cohorts agree: mean cosine of shares over pairs, patients resampled in each.

    Parameters
    ----------
    phis : sequence of array_like, shape (records, players) each
        Of one label; the same players in all.
    patients : sequence of array_like
    """
    arrays = [np.asarray(one, dtype=np.float64) for one in phis]
    if len(arrays) < 2:
        return UNDEFINED
    whole = [_shares(one, np.ones((1, len(one)))) for one in arrays]
    draws = [
        _shares(one, resampled(np.asarray(names), RESAMPLES, seed + number))
        for number, (one, names) in enumerate(zip(arrays, patients, strict=True))
    ]
    value = np.mean([_cosines(a, b) for a, b in combinations(whole, 2)], axis=0)[0]
    return percentiles(float(value), np.mean([_cosines(a, b) for a, b in combinations(draws, 2)], axis=0))


def concentration(phi: npt.ArrayLike, patients: npt.ArrayLike, *, seed: int = 0) -> Interval:
    """Return the share of the most relevant player, with a patient bootstrap: near 1 if one lead is a shortcut.

    Examples
    --------
    >>> import numpy as np
    >>> concentration(np.array([[3.0, -1.0], [-6.0, 2.0]]), ["a", "b"]).value
    0.75
    """
    values = np.asarray(phi, dtype=np.float64)
    share = _shares(values, np.ones((1, len(values))))[0]
    draws = _shares(values, resampled(np.asarray(patients), RESAMPLES, seed)).max(axis=1)
    return percentiles(float(share.max()), draws)


def shuffled_agreement(
    phi: npt.ArrayLike, shuffled: npt.ArrayLike, patients: npt.ArrayLike, *, seed: int = 0
) -> Interval:
    """Return how much the Shapley values of a probe are those of probes whose labels were shuffled [1]_.

    The correlation over records and players of signed values, in absolute value, mean over shuffles. It is 1 where
    relevance does not depend on what the labels are. Profiles (mean absolute values) would not do: leads to which an
    encoder is most sensitive are the most relevant for any direction, a probe's or a random one's.

    Parameters
    ----------
    phi : array_like, shape (records, players)
    shuffled : array_like, shape (shuffles, records, players)
    patients : array_like, shape (records,)
    """
    real, chance = np.asarray(phi, dtype=np.float64), np.asarray(shuffled, dtype=np.float64)
    weights = resampled(np.asarray(patients), RESAMPLES, seed)
    return percentiles(
        float(_signed(real, chance, np.ones((1, len(real))))[0]),
        _signed(real, chance, weights),
    )


def _signed(real: Floats, chance: Floats, weights: Floats) -> Floats:
    """Return the mean over shuffles of the absolute cosine of signed values, for each row of record weights."""
    cross = np.abs(np.einsum("bn,snp,np->bs", weights, chance, real, optimize=True))
    size = np.sqrt((weights @ (real**2).sum(axis=1))[:, None] * (weights @ (chance**2).sum(axis=2).T))
    with np.errstate(invalid="ignore", divide="ignore"):
        each: Floats = np.where(size > 0, cross / size, np.nan)
    return np.asarray(each.mean(axis=1))


def shuffled_percentile(phi: npt.ArrayLike, shuffled: npt.ArrayLike) -> float:
    """Return where the real profile lies among those of shuffled labels: 1 if it is further from their mean than any.

    A probe that was itself fitted to shuffled labels lies anywhere between 0 and 1.

    Parameters
    ----------
    phi : array_like, shape (records, players)
    shuffled : array_like, shape (shuffles, records, players)
    """
    real = np.abs(np.asarray(phi, dtype=np.float64)).mean(axis=0)
    chance = np.abs(np.asarray(shuffled, dtype=np.float64)).mean(axis=1)
    if len(chance) < 2 or not (real.sum() > 0 and (chance.sum(axis=1) > 0).all()):
        return math.nan
    real, chance = real / real.sum(), chance / chance.sum(axis=1, keepdims=True)
    total = chance.sum(axis=0)
    own = np.array([np.abs(one - (total - one) / (len(chance) - 1)).sum() for one in chance])
    return float(np.mean(np.abs(real - chance.mean(axis=0)).sum() > own))


@dataclass(frozen=True)
class Deletion:
    """AUROC as leads are removed.

    Attributes
    ----------
    relevant, random : ndarray of float64, shape (steps,)
        By the number removed: the most relevant first, and the mean over random orders.
    extra_loss : Interval
        `random` minus `relevant`, mean over steps: positive where relevance knows what matters.
    positives, negatives : int
    """

    relevant: Floats
    random: Floats
    extra_loss: Interval
    positives: int
    negatives: int


def deletion(
    relevant: npt.ArrayLike, random: npt.ArrayLike, targets: npt.ArrayLike, patients: npt.ArrayLike, *, seed: int = 0
) -> Deletion:
    """Compare removing leads in order of relevance with removing them in random orders [2]_.

    Parameters
    ----------
    relevant : array_like, shape (steps, records)
        Scores after 1, 2, ... leads were removed.
    random : array_like, shape (orders, steps, records)
    targets : array_like, shape (records,)
        1 or 0.
    patients : array_like, shape (records,)
        Resampled, the same ones for every score.
    """
    first, others = np.asarray(relevant, dtype=np.float64), np.asarray(random, dtype=np.float64)
    labels = np.asarray(targets, dtype=np.float64) > 0.5
    weights = resampled(np.asarray(patients), RESAMPLES, seed)
    ours = np.array([auroc(one, labels) for one in first])
    chance = np.array([[auroc(one, labels) for one in order] for order in others]).mean(axis=0)
    draws = np.mean([weighted_auroc(one, labels, weights) for order in others for one in order], axis=0)
    draws = draws - np.mean([weighted_auroc(one, labels, weights) for one in first], axis=0)
    loss = percentiles(float((chance - ours).mean()), draws)
    return Deletion(ours, chance, loss, int(labels.sum()), int((~labels).sum()))


def prior_agreement(phi: npt.ArrayLike, names: Sequence[str], label: str, patients: npt.ArrayLike) -> Interval:
    """Return how relevance agrees with where cardiology looks; undefined for labels without such a place.

    For the labels of `PRIORS`, the relevance of their players over what it would be if all players were alike (above 1:
    more). For `UNIFORM`, the entropy of the profile over its maximum.

    Parameters
    ----------
    phi : array_like, shape (records, players)
    names : sequence of str
        Of the players.
    label : str
    patients : array_like, shape (records,)
    """
    values = np.asarray(phi, dtype=np.float64)
    draws = _shares(values, resampled(np.asarray(patients), RESAMPLES, 0))
    share = _shares(values, np.ones((1, len(values))))
    if len(names) < 2 or (label not in PRIORS and label not in UNIFORM):
        return UNDEFINED
    if label in UNIFORM:

        def measure(rows: Floats) -> Floats:
            return np.asarray(-xlogy(rows, rows).sum(axis=1) / math.log(len(names)))
    else:
        inside = np.array([name in PRIORS[label] for name in names])
        if not inside.any() or inside.all():
            return UNDEFINED

        def measure(rows: Floats) -> Floats:
            return np.asarray(rows[:, inside].sum(axis=1) / inside.mean())

    return percentiles(float(measure(share)[0]), measure(draws))
