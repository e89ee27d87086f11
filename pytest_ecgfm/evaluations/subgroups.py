"""How one probe serves groups of patients: the AUROC in each group, and how far it lies below that of all others.

A group that is worst among several looks worse than it is by chance alone. So the limit that says that *some* group is
too low, or lies too far below the rest, is corrected for the number of groups; the limit that says that *none* is
needs no correction, as it has to hold for each of them.

References
----------
.. [1] Zou, Donner (2008), Stat. Med. 27:1693-1702: interval of a difference from two intervals.
.. [2] Holm (1979), Scand. J. Stat. 6:65-70.
.. [3] Field, Welsh (2007), J. R. Stat. Soc. B 69:369-390: bootstrapping clustered data.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.measured import described
from pytest_ecgfm.evaluations.statistics import RESAMPLES, aurocs, delong_interval, seed_spread
from pytest_ecgfm.evaluations.statistics.bootstrap import UNDEFINED, Interval
from pytest_ecgfm.evaluations.statistics.variance import (
    Floats,
    bootstrap_aurocs,
    checked,
    contrast_variances,
    multiplicities,
    sample_design,
)

Booleans = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.str_]

LEVEL = 0.95

_UNIT, _DIFFERENCE = [0.0, 1.0], [-1.0, 1.0]
_AUROC = "Mann-Whitney with midranks, within the group; DeLong, or resampled patients where they repeat; logit scale"
_GAP = "AUROC of all others whose value of the column is known, minus that of the group"
_MOVER = "Zou, Donner, Stat. Med. 27:1693 (2008), from the limits of both, with their correlation"

METRICS = described(
    ("auroc", "AUROC within the group", _UNIT, True, _AUROC),
    ("auroc_low", "lower 95 % limit of auroc", _UNIT, True, _AUROC),
    ("auroc_high", "upper 95 % limit of auroc", _UNIT, True, _AUROC),
    ("gap", "how far the AUROC of the group lies below that of the rest", _DIFFERENCE, False, _GAP),
    ("gap_low", "lower 95 % limit of gap", _DIFFERENCE, False, _MOVER),
    ("gap_high", "upper 95 % limit of gap", _DIFFERENCE, False, _MOVER),
    ("below", "whether the group is shown to lie below the rest, 1 or 0", None, None, "Holm over the groups, 2.5 %"),
    ("judged", "whether the group has 10 tested records of either class, 1 or 0", None, None, "the rule of all suites"),
    ("n_test", "tested records of the group", None, None, "records with a known label"),
    ("n_test_positive", "positives among the tested records of the group", None, None, "records with a known label"),
    ("n_unknown", "tested records whose value of the column is unknown", None, None, "they are in none of its groups"),
)
"""Attributes of each variable in the cube; None where there is nothing to say."""


@dataclass(frozen=True)
class Side:
    """The AUROC of some records, and how it varies: of a group, or of the rest.

    Attributes
    ----------
    values : ndarray of float64, shape (k,)
        AUROC of each seed.
    variance : float
        Of their mean, from the test records.
    pairs : int
        As in `Estimate`.
    """

    values: Floats
    variance: float
    pairs: int

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the mean over seeds with its interval on the logit scale."""
        value, seeds = float(self.values.mean()), seed_spread(self.values)[1]
        limits = delong_interval(
            value, self.variance + seeds, level, pairs=self.pairs, degrees_of_freedom=max(self.pairs - 1, 1)
        )
        return Interval(value, *limits)


@dataclass(frozen=True)
class Group:
    """One group of patients.

    Attributes
    ----------
    column : str
        By which it is a group, such as ``"age"`` or ``"sex x age"``.
    name : str
        Such as ``"age 65 and above"``.
    records, positives : int
        Tested.
    own, rest : Side or None
        Of the group, and of all others whose value of the column is known; None where a class has too few records.
    correlation : float
        Of the two AUROCs: 0 unless patients have records in both.
    """

    column: str
    name: str
    records: int
    positives: int
    own: Side | None
    rest: Side | None
    correlation: float = 0.0

    def auroc(self, level: float = LEVEL) -> Interval:
        """Return its AUROC; NaN where there are too few records."""
        return UNDEFINED if self.own is None else self.own.interval(level)

    def gap(self, level: float = LEVEL) -> Interval:
        """Return the AUROC of the rest minus its own, from the intervals of both [1]_; NaN where either lacks one."""
        if self.own is None or self.rest is None:
            return UNDEFINED
        return _difference(self.rest.interval(level), self.own.interval(level), self.correlation)


def _difference(a: Interval, b: Interval, correlation: float) -> Interval:
    value = a.value - b.value
    return Interval(
        value,
        max(-1.0, value - _joined(a.value - a.low, b.high - b.value, correlation)),
        min(1.0, value + _joined(a.high - a.value, b.value - b.low, correlation)),
    )


def _joined(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(a * a + b * b - 2 * correlation * a * b, 0.0))


@dataclass(frozen=True)
class Subgroups:
    """All groups of one cell.

    Attributes
    ----------
    groups : tuple of Group
        In the order of their columns, then of their names; those with too few records are there, too.
    unknown : dict of str to int
        Tested records whose value of a column is unknown.
    """

    groups: tuple[Group, ...]
    unknown: Mapping[str, int]

    @property
    def judged(self) -> tuple[Group, ...]:
        """Groups with enough records of either class."""
        return tuple(one for one in self.groups if one.own is not None)

    @property
    def compared(self) -> tuple[Group, ...]:
        """Those of them whose rest has enough, too."""
        return tuple(one for one in self.judged if one.rest is not None)

    def lowest(self) -> Interval:
        """Return the lowest AUROC of a group.

        Its interval is that of the smallest of the true AUROCs: below the upper limit, at the level corrected for the
        number of groups, some group lies; above the lower limit, all do. NaN where no group is judged.
        """
        return _mirrored(_largest([_mirrored_limits(one.auroc) for one in self.judged]))

    def widest(self) -> Interval:
        """Return the largest gap of a group; its interval as that of `lowest`, the other way round."""
        return _largest([one.gap for one in self.compared])

    def shown_lower(self, bound: float) -> tuple[Group, ...]:
        """Return the groups whose AUROC is shown to be below a bound: Holm [2]_ over the groups, 2.5 % for all."""
        return _shown(self.judged, lambda one, level: one.auroc(level).high < bound)

    def shown_wider(self, bound: float) -> tuple[Group, ...]:
        """Return the groups whose gap is shown to be above a bound: Holm [2]_ over the groups, 2.5 % for all."""
        return _shown(self.compared, lambda one, level: one.gap(level).low > bound)


def corrected(groups: int) -> float:
    """Return the level of intervals of which several hold together: Bonferroni.

    >>> round(corrected(1), 4), round(corrected(5), 4)
    (0.95, 0.99)
    """
    return 1 - (1 - LEVEL) / max(groups, 1)


def _largest(each: Sequence[Callable[[float], Interval]]) -> Interval:
    if not each:
        return UNDEFINED
    found = [one(LEVEL) for one in each]
    low = max(one(corrected(len(each))).low for one in each)
    return Interval(max(one.value for one in found), low, max(one.high for one in found))


def _mirrored(found: Interval) -> Interval:
    return Interval(-found.value, -found.high, -found.low)


def _mirrored_limits(limits: Callable[[float], Interval]) -> Callable[[float], Interval]:
    return lambda level: _mirrored(limits(level))


def _shown(groups: Sequence[Group], holds: Callable[[Group, float], bool]) -> tuple[Group, ...]:
    """Go down the levels of Holm's procedure until no further group is shown."""
    shown: list[Group] = []
    while len(shown) < len(groups):
        further = [one for one in groups if one not in shown and holds(one, corrected(len(groups) - len(shown)))]
        if not further:
            break
        shown += further
    return tuple(one for one in groups if one in shown)


def subgroups(
    scores: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: npt.ArrayLike,
    columns: Mapping[str, npt.ArrayLike],
    *,
    least: int = 10,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Subgroups:
    """Return the AUROC of each group of records by one probe's scores, and its gap to the rest.

    Nothing is fitted: the scores are those of the probe that serves everybody.

    Parameters
    ----------
    scores : array_like, shape (k, n) or (n,)
        Test scores, one row a seed.
    targets : array_like of bool, shape (n,)
    patients : array_like, shape (n,)
        Where one repeats, variances and correlations come from resampling patients [3]_: the same resamples for every
        group and for its rest. Else they are DeLong's, and groups do not correlate with their rest.
    columns : mapping of str to array_like of str, shape (n,)
        By column, the name of each record's group; empty where it is unknown. Groups of one column exclude each other.
    least : int
        Records of either class that a group, and its rest, need to be judged.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    Subgroups

    Raises
    ------
    EcgfmError
        If shapes disagree.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> targets, old = rng.random(2000) < 0.3, rng.random(2000) < 0.4
    >>> scores = rng.normal(size=2000) + 2 * targets * ~old  # who is old is scored at random
    >>> found = subgroups(scores, targets, np.arange(2000), {"age": np.where(old, "old", "young")})
    >>> [group.name for group in found.shown_wider(0.0)], found.widest().low > 0.3
    (['old'], True)
    """
    rows, labels = checked(scores, targets)
    names = np.asarray(patients)
    groups = {column: np.asarray(given, dtype=np.str_) for column, given in columns.items()}
    for column, given in (("patients", names), *groups.items()):
        if given.shape != labels.shape:
            raise EcgfmError(f"{column}.shape={given.shape}, but should be {labels.shape} like targets.")
    masks = [
        (column, str(name), given == name, given != "")
        for column, given in groups.items()
        for name in dict.fromkeys(given.tolist())
        if name
    ]
    sides = [mask for _, _, own, known in masks for mask in (own, known & ~own)]
    found = _sides(rows, labels, names, sides, least, resamples, seed)
    made = [
        Group(column, name, int(own.sum()), int(labels[own].sum()), *pair)
        for (column, name, own, _), pair in zip(masks, found, strict=True)
    ]
    return Subgroups(tuple(made), {column: int((given == "").sum()) for column, given in groups.items()})


def _sides(
    rows: Floats,
    labels: Booleans,
    patients: npt.NDArray[np.generic],
    masks: Sequence[Booleans],
    least: int,
    resamples: int,
    seed: int,
) -> Iterator[tuple[Side | None, Side | None, float]]:
    """Yield each group's own side, its rest's, and the correlation of the two; `masks` alternates between them."""
    design = sample_design(labels, patients)
    enough = [min(int(labels[mask].sum()), int((~labels[mask]).sum())) >= least for mask in masks]
    values = [aurocs(rows[:, mask], labels[mask]) if there else None for mask, there in zip(masks, enough, strict=True)]
    drawn: list[Floats] = []
    clusters = design.clusters
    if clusters is not None:
        used = [mask for mask, there in zip(masks, enough, strict=True) if there]
        draws = multiplicities(int(clusters.max()) + 1, resamples, labels.size, seed)
        parts = [
            [bootstrap_aurocs(rows[:, mask], labels[mask], clusters[mask], [counts]).mean(axis=0) for mask in used]
            for counts in draws
        ]
        drawn = [np.concatenate(each) for each in zip(*parts, strict=True)]
    numbers = np.cumsum(enough) - 1

    def side(place: int) -> Side | None:
        value = values[place]
        if value is None:
            return None
        mask = masks[place]
        own = sample_design(labels[mask], patients[mask])
        if not np.isfinite(value).all():
            return Side(value, math.nan, own.pairs)
        if drawn:
            return Side(value, float(np.nanvar(drawn[numbers[place]], ddof=1)), own.pairs)
        mean = np.full((1, len(value)), 1 / len(value))
        return Side(value, float(contrast_variances(rows[:, mask], own, mean, resamples, seed)[0]), own.pairs)

    for place in range(0, len(masks), 2):
        pair = side(place), side(place + 1)
        correlation = 0.0
        if drawn and pair[0] is not None and pair[1] is not None:
            correlation = _correlation(drawn[numbers[place]], drawn[numbers[place + 1]])
        yield *pair, correlation


def _correlation(a: Floats, b: Floats) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    vary = known.any() and a[known].std() > 0 and b[known].std() > 0
    return float(np.corrcoef(a[known], b[known])[0, 1]) if vary else 0.0
