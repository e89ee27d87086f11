"""Which records a probe may see: splits by patient, and nested subsets of training patients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError

Integers = npt.NDArray[np.intp]

HOLDOUT_PARTS = 10
"""Parts of a holdout split: 7 train, 1 validation, 2 test."""


class Fold(NamedTuple):
    """Rows (sorted integers) into the records with a known label."""

    train: Integers
    validation: Integers
    test: Integers


@dataclass(frozen=True)
class Split:
    """How the records with a known label are divided.

    Attributes
    ----------
    kind : {"published", "holdout", "cv"}
        The authors' folds; a seeded 70/10/20; or cross-validation, where each record is tested once.
    folds : tuple of Fold
        One for published and holdout, as many as cross-validation has folds else.
    """

    kind: Literal["published", "holdout", "cv"]
    folds: tuple[Fold, ...]


class FoldNumbers(Protocol):
    """The published fold numbers of each part, as a cohort declares them."""

    @property
    def train(self) -> tuple[int, ...]:
        """Folds to fit on."""

    @property
    def validation(self) -> tuple[int, ...]:
        """Folds to choose C on."""

    @property
    def test(self) -> tuple[int, ...]:
        """Folds to score once."""


class _Patients(NamedTuple):
    codes: Integers  # patient of each record
    positive: npt.NDArray[np.bool_]  # whether the patient has any positive record
    sizes: Integers  # records of the patient


def strata(targets: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return the two groups by which splits and subsets are stratified, shape (n,).

    Parameters
    ----------
    targets : array_like of bool or float, shape (n,)
        A label is its own two groups. Real numbers are those of a quantity: its values above the median, and the
        others; or from the median on, where values repeat and that divides more evenly.
    """
    values = np.asarray(targets)
    if values.dtype.kind != "f":
        return np.asarray(values, dtype=np.bool_)
    middle = np.median(values) if values.size else 0.0
    above, upwards = values > middle, values >= middle
    # How far each is from half of the records, in halves of a record.
    return above if values.size - 2 * above.sum() <= 2 * upwards.sum() - values.size else upwards


def _grouped(targets: npt.ArrayLike, patients: npt.ArrayLike | Sequence[str]) -> _Patients:
    # Here alone: a session imports this module also where nothing is split.
    import pandas as pd

    labels = strata(targets)
    names = np.asarray(patients)
    if labels.ndim != 1 or names.shape != labels.shape:
        raise EcgfmError(
            f"targets.shape={labels.shape} and patients.shape={names.shape}, but both should be (records,)."
        )
    # Sorted, so that a patient's part depends on the seed and not on the order of the records.
    codes = np.asarray(pd.factorize(names, sort=True)[0], dtype=np.intp)
    units = int(codes.max(initial=-1)) + 1
    return _Patients(codes, np.bincount(codes[labels], minlength=units) > 0, np.bincount(codes, minlength=units))


def patient_folds(
    targets: npt.ArrayLike, patients: npt.ArrayLike | Sequence[str], parts: int, seed: int = 0
) -> Integers:
    """Deal patients into parts, stratified by whether they have a positive record, balanced in records.

    Parameters
    ----------
    targets : array_like of bool, shape (n,)
    patients : array_like of str, shape (n,)
        Every record of a patient lands in the same part.
    parts : int
        How many; with fewer patients, some stay empty.
    seed : int
        Any integer >= 0.

    Returns
    -------
    ndarray of int, shape (n,)
        Part of each record, 0 to `parts` - 1. Patients with a positive differ by at most one between parts, those
        without by at most two.

    Notes
    -----
    scikit-learn's StratifiedGroupKFold solves the same task by a greedy search over every (patient, part) in Python,
    which takes minutes for cohorts of 10^5 patients, and its stratified splitters warn or refuse where a class has
    fewer members than there are parts. Dealing sorted patients round robin is how its StratifiedKFold works.
    """
    group = _grouped(targets, patients)
    rng = np.random.default_rng(seed)
    units = group.sizes.size
    # Positives first, large before small: neighbours in this order are alike, and each block of them is dealt out.
    order = np.lexsort((rng.random(units), -group.sizes, ~group.positive))
    blocks = -(-units // parts)
    dealt = rng.permuted(np.tile(np.arange(parts), (blocks, 1)), axis=1).ravel()[:units]
    part = np.empty(units, dtype=np.intp)
    part[order] = dealt
    return part[group.codes]


def _rows(mask: npt.NDArray[np.bool_]) -> Integers:
    return np.flatnonzero(mask).astype(np.intp)


def _published(patients: Integers, numbers: npt.ArrayLike, parts: FoldNumbers) -> Fold | None:
    """Return the authors' split, or None where a part of it is empty."""
    import pandas as pd

    folds = np.asarray(pd.array(np.asarray(numbers).tolist(), dtype="Int64").to_numpy(dtype=np.float64, na_value=-1.0))
    if folds.shape != patients.shape:
        raise EcgfmError(f"published_folds.shape={folds.shape}, but should be {patients.shape} like targets.")
    fold = Fold(*(_rows(np.isin(folds, part)) for part in (parts.train, parts.validation, parts.test)))
    if not all(rows.size for rows in fold):
        return None
    seen = [set(patients[rows].tolist()) for rows in fold]
    if seen[2] & (seen[0] | seen[1]) or seen[0] & seen[1]:
        raise EcgfmError("the published folds put one patient into two parts of the split; a split must be by patient.")
    return fold


def make_split(
    targets: npt.ArrayLike,
    patients: npt.ArrayLike | Sequence[str],
    published_folds: npt.ArrayLike | None = None,
    published: FoldNumbers | None = None,
    *,
    seed: int = 0,
    minimum_test_positives: int = 50,
    folds: int = 5,
) -> Split:
    """Divide the records with a known label by patient.

    If the authors' folds are given, and no part is empty, they are used; otherwise a stratified 70/10/20. If the test
    part contains too few positives, it is cross-validation: fold i is tested, fold i + 1 validates, the others train.

    Parameters
    ----------
    targets : array_like of bool or float, shape (n,)
        Only of the records with a known label, or a known quantity (`strata`).
    patients : array_like of str, shape (n,)
    published_folds : array_like of int, shape (n,), optional
        Fold of each record; missing (None, NaN, NA) if it has none.
    published : object with ``train``, ``validation`` and ``test``, optional
        Fold numbers of each part.
    seed : int
        Any integer >= 0; the same seed gives the same split.
    minimum_test_positives, folds : int
        If a single test part has fewer positives, it is too small; then the number of folds of cross-validation, at
        least 3.

    Returns
    -------
    Split
        Parts may be empty if there are fewer patients than parts.

    Raises
    ------
    EcgfmError
        If shapes disagree, `folds` is below 3, or the published folds divide a patient.

    Examples
    --------
    >>> import numpy as np
    >>> targets = np.arange(1000) % 4 == 0
    >>> patients = np.arange(1000) // 2  # two records a patient
    >>> split = make_split(targets, patients)
    >>> fold = split.folds[0]
    >>> split.kind, set(patients[fold.train]) & set(patients[fold.test])
    ('holdout', set())
    """
    labels = strata(targets)
    codes = _grouped(labels, patients).codes
    if folds < 3:
        raise EcgfmError(f"folds={folds}, but cross-validation with a validation fold needs at least 3.")
    kind: Literal["published", "holdout"] = "published"
    single = None
    if published is not None and published_folds is not None:
        single = _published(codes, published_folds, published)
    if single is None:
        kind = "holdout"
        part = patient_folds(labels, patients, HOLDOUT_PARTS, seed)
        single = Fold(_rows(part < 7), _rows(part == 7), _rows(part > 7))
    if labels[single.test].sum() >= minimum_test_positives:
        return Split(kind, (single,))
    part = patient_folds(labels, patients, folds, seed)
    rounds = []
    for i in range(folds):
        test, validation = part == i, part == (i + 1) % folds
        rounds.append(Fold(_rows(~test & ~validation), _rows(validation), _rows(test)))
    return Split("cv", tuple(rounds))


def seeds_for(fraction: float) -> tuple[int, ...]:
    """Return the seeds of a fraction: ten at 1 % and below, five at 10 % and below, three above, one at 100 %."""
    if fraction >= 1:
        return (0,)
    return tuple(range(10 if fraction <= 0.01 else 5 if fraction <= 0.1 else 3))


def chosen_seeds(fraction: float, seeds: Sequence[int] | None) -> tuple[int, ...]:
    """Return the seeds that were given, or those of the fraction.

    Raises
    ------
    EcgfmError
        If there is none.
    """
    chosen = tuple(seeds_for(fraction) if seeds is None else seeds)
    if not chosen:
        raise EcgfmError("no seed to evaluate.")
    return chosen


def nested_subset(
    train: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: npt.ArrayLike | Sequence[str],
    fraction: float,
    seed: int = 0,
) -> Integers:
    """Draw a share of the training patients; a larger share of the same seed contains each smaller one.

    Patients with a positive record and patients without one are permuted separately. From each group the first
    ``ceil(fraction * count)`` are taken, so neither group is ever lost.

    Parameters
    ----------
    train : array_like of int, shape (t,)
        Rows of the training part.
    targets : array_like of bool or float, shape (n,)
        Those of the training part are divided into `strata`.
    patients : array_like of str, shape (n,)
    fraction : float
        In (0, 1].
    seed : int
        Any integer >= 0.

    Returns
    -------
    ndarray of int
        Sorted rows: every training record of the chosen patients.

    Raises
    ------
    EcgfmError
        If `fraction` is outside (0, 1], or shapes disagree.

    Examples
    --------
    >>> import numpy as np
    >>> targets, patients = np.arange(100) % 4 == 0, np.arange(100)
    >>> small, large = (nested_subset(np.arange(100), targets, patients, share) for share in (0.1, 0.5))
    >>> len(small), len(large), set(small) <= set(large)
    (11, 51, True)
    """
    if not 0 < fraction <= 1:
        raise EcgfmError(f"fraction={fraction}, but should be in (0, 1].")
    rows = np.sort(np.asarray(train, dtype=np.intp))
    group = _grouped(np.asarray(targets)[rows], np.asarray(patients)[rows])
    rng = np.random.default_rng(seed)
    chosen = np.zeros(group.sizes.size, dtype=np.bool_)
    for stratum in (group.positive, ~group.positive):
        order = rng.permutation(np.flatnonzero(stratum))
        # 0.07 * 100 is a little more than 7 in floating point, and 7 patients are meant.
        chosen[order[: math.ceil(fraction * order.size - 1e-9)]] = True
    return rows[chosen[group.codes]]


@dataclass(frozen=True)
class Labelled:
    """The records of a cohort whose label, or whose quantity, is known, and how they are split.

    Attributes
    ----------
    known : ndarray of bool, shape (all records of the cohort,)
        Which ones they are; the arrays below have a row for each of them, in the cohort's order.
    targets : ndarray of bool or float64, shape (records,)
        A label, or the values of a quantity.
    patients : ndarray of str, shape (records,)
    split : Split or None
        None where a class has fewer than five records: five folds need both classes in each. The classes of a quantity
        are its two `strata`.
    """

    known: npt.NDArray[np.bool_]
    targets: npt.NDArray[Any]
    patients: npt.NDArray[np.str_]
    split: Split | None

    @property
    def counts(self) -> tuple[int, int]:
        """Positives and negatives; of a quantity, records of either stratum."""
        upper = strata(self.targets)
        return int(upper.sum()), int((~upper).sum())

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        """Rows of the cohort."""
        return np.flatnonzero(self.known)

    def of(self, held: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return these records' rows of an array with a row for each record of the cohort, not to be written to.

        Where every record's label is known, that is the array itself: a copy is as large as the embedding.
        """
        return held if self.known.all() else held[self.known]
