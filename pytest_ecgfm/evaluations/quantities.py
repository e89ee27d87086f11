"""How well a ridge probe on a frozen embedding reads a quantity, at each share of the training patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.downstream import log_median
from pytest_ecgfm.evaluations.fold_probes import Fit, each_fit, fit_fold, prepared
from pytest_ecgfm.evaluations.measured import described
from pytest_ecgfm.evaluations.probe_kinds import RIDGE
from pytest_ecgfm.evaluations.splits import Split, chosen_seeds
from pytest_ecgfm.evaluations.statistics.bootstrap import Interval
from pytest_ecgfm.evaluations.statistics.regression import AGREEMENTS, Agreement, agreement_difference, agreements

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

OF_THE_QUANTITY = "units of the quantity"
"""In place of units, where they are those of the coordinate ``quantity``: its variable ``units`` says which."""

_R2 = "1 minus squared errors over squared deviations from the mean of the tested records"
_MAE = "mean of abs(prediction - value) over the tested records"
_RANKS = "Spearman, Am. J. Psychol. 15:72 (1904), with midranks"
_LIMIT = "patients resampled; plus the variance between seeds over their number"

METRICS = described(
    ("r2", "coefficient of determination", None, True, _R2),
    ("r2_mean", "mean over seeds of r2", None, True, _R2),
    ("r2_mean_low", "lower 95 % limit of r2_mean", None, True, _LIMIT),
    ("r2_mean_high", "upper 95 % limit of r2_mean", None, True, _LIMIT),
    ("mae", "mean absolute error", None, False, _MAE),
    ("mae_mean", "mean over seeds of mae", None, False, _MAE),
    ("mae_mean_low", "lower 95 % limit of mae_mean", None, False, _LIMIT),
    ("mae_mean_high", "upper 95 % limit of mae_mean", None, False, _LIMIT),
    ("spearman", "rank correlation of predictions and values", [-1.0, 1.0], True, _RANKS),
    ("spearman_mean", "mean over seeds of spearman", [-1.0, 1.0], True, _RANKS),
    ("spearman_mean_low", "lower 95 % limit of spearman_mean", [-1.0, 1.0], True, _LIMIT),
    ("spearman_mean_high", "upper 95 % limit of spearman_mean", [-1.0, 1.0], True, _LIMIT),
    ("alpha", "strength of the L2 penalty", [1.0, 1e6], None, "as scikit-learn's; median over folds"),
    ("n_train", "records in the training subset", None, None, "in cross-validation the mean over folds"),
    ("n_test", "tested records", None, None, "records with a known value"),
    units=dict.fromkeys(("mae", "mae_mean", "mae_mean_low", "mae_mean_high"), OF_THE_QUANTITY),
)
"""Attributes of each variable in the cube; None where there is nothing to say."""


@dataclass(frozen=True)
class QuantityResult:
    """What a ridge probe reads about one quantity at one fraction.

    Attributes
    ----------
    split : {"published", "holdout", "cv"}
        Kind of split.
    fraction : float
        Share of the training patients, in (0, 1].
    seeds : tuple of int, length k
        Which subsets were drawn.
    agreement : mapping of str to Agreement
        R2, mean absolute error (in the units of the quantity) and Spearman correlation.
    alpha : ndarray of float64, shape (k,)
        Penalty of each seed; NaN where no subset held two values.
    n_train : ndarray of int, shape (k,)
        Records of the subset; in cross-validation the rounded mean over folds.
    tested : ndarray of int, shape (n,)
        Rows that were predicted, ascending.
    targets : ndarray of float64, shape (n,)
        Their values.
    patients : ndarray, shape (n,)
    fold : ndarray of int, shape (n,)
        Fold of the split in which the row was tested; 0 without cross-validation.
    scores : ndarray of float64, shape (k, n)
        Predicted values, in the units of the quantity.
    """

    split: str
    fraction: float
    seeds: tuple[int, ...]
    agreement: Mapping[str, Agreement]
    alpha: Floats
    n_train: Integers
    tested: Integers
    targets: Floats
    patients: npt.NDArray[Any]
    fold: Integers
    scores: Floats

    @property
    def estimate(self) -> Interval:
        """Mean R2 over seeds, with its interval."""
        return self.agreement["r2"].mean

    def to_dataset(self) -> xr.Dataset:
        """Return the numbers as a dataset: what each seed gave along ``seed``, the rest without a dimension."""
        values: dict[str, tuple[tuple[str, ...], Any]] = {
            "alpha": (("seed",), self.alpha),
            "n_train": (("seed",), self.n_train),
            "n_test": ((), self.targets.size),
        }
        for name in AGREEMENTS:
            each, mean = self.agreement[name]
            values[name] = ("seed",), each
            for suffix, one in (("", mean.value), ("_low", mean.low), ("_high", mean.high)):
                values[f"{name}_mean{suffix}"] = (), one
        return xr.Dataset({name: xr.Variable(*held) for name, held in values.items()}, {"seed": list(self.seeds)})


def evaluate_quantity(
    embeddings: npt.ArrayLike,
    values: npt.ArrayLike,
    patients: npt.ArrayLike,
    split: Split,
    fraction: float,
    seeds: Sequence[int] | None = None,
    *,
    fit: Fit = fit_fold,
) -> QuantityResult:
    """Fit a ridge probe on a share of the training patients, once a seed, and predict the test records once each.

    As `pytest_ecgfm.evaluations.downstream.evaluate` does for labels, on the same splits, shares and seeds. Predictions
    have the units of the quantity in every fold, so those of cross-validation are pooled as they are.

    Parameters
    ----------
    embeddings : array_like of float32, shape (n, d)
        Finite.
    values : array_like of float, shape (n,)
        Of the records whose quantity is known.
    patients : array_like of str, shape (n,)
    split : Split
        From `pytest_ecgfm.evaluations.splits.make_split`, with rows into these arrays.
    fraction : float
        Share of each fold's training patients, in (0, 1].
    seeds : sequence of int, optional
        Default: `pytest_ecgfm.evaluations.splits.seeds_for`.
    fit : callable
        Fits the probe of a fold.

    Raises
    ------
    EcgfmError
        If shapes disagree, an embedding or a value is not finite, `fraction` lies outside (0, 1], or there is no seed.
    """
    data = prepared(embeddings, np.asarray(values, dtype=np.float64), patients)
    draws = chosen_seeds(fraction, seeds)
    count = data.targets.size
    predictions, fold_of = np.full((len(draws), count), np.nan), np.full(count, -1, dtype=np.intp)
    seen, penalties = np.zeros((2, len(split.folds), len(draws)))
    for f, i, fold, probe, used in each_fit(RIDGE, data, split, fraction, draws, fit):
        fold_of[fold.test] = f
        seen[f, i] = used.size
        penalties[f, i] = np.nan if probe is None else 1 / probe.C
        if probe is not None:
            predictions[i, fold.test] = probe.scores(data.embeddings[fold.test])
    tested = np.flatnonzero(fold_of >= 0)
    names = np.asarray(patients)[tested]
    return QuantityResult(
        split=split.kind,
        fraction=fraction,
        seeds=draws,
        agreement=agreements(predictions[:, tested], data.targets[tested], names),
        alpha=np.array([log_median(column) for column in penalties.T]),
        n_train=np.rint(seen.mean(axis=0)).astype(np.intp),
        tested=tested,
        targets=data.targets[tested],
        patients=names,
        fold=fold_of[tested],
        scores=predictions[:, tested],
    )


def paired_r2(result: QuantityResult, other: QuantityResult) -> Interval:
    """Return the mean R2 of `result` minus that of `other`, paired on the same tested records.

    Raises
    ------
    EcgfmError
        If the two did not test the same records with the same values.
    """
    if not all(np.array_equal(getattr(result, name), getattr(other, name)) for name in ("tested", "targets", "fold")):
        raise EcgfmError("a paired difference needs the same tested records, with the same values and folds.")
    return agreement_difference("r2", result.scores, other.scores, result.targets, result.patients)
