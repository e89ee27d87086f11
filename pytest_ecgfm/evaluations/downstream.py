"""Downstream performance: the AUROC of a probe on a frozen embedding, at each share of the training patients."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.efficiency import label_efficiency as label_efficiency
from pytest_ecgfm.evaluations.fold_probes import (
    Fit,
    FoldProbe,
    Prepared,
    each_fit,
    fit_fold,
    fold_probes,
    operating_threshold,
    prepared,
    score_scale,
)
from pytest_ecgfm.evaluations.measured import described
from pytest_ecgfm.evaluations.splits import Split, chosen_seeds
from pytest_ecgfm.evaluations.statistics import Estimate, auroc_estimates, mean_auroc, mean_auroc_difference
from pytest_ecgfm.evaluations.statistics.midranks import midranks

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

__all__ = [
    "METRICS",
    "DownstreamResult",
    "FoldProbe",
    "auroc",
    "evaluate",
    "fold_probes",
    "label_efficiency",
    "operating_threshold",
    "paired_difference",
    "score_scale",
]

_DELONG = "Mann-Whitney with midranks; DeLong et al., Biometrics 44:837 (1988), logit scale"
_LIMIT = f"{_DELONG}; bootstrap of patients where they repeat"
_MEAN_LIMIT = f"{_LIMIT}; plus the variance between seeds over their number"
_COUNT = "records with a known label; in cross-validation the rounded mean over folds"
_UNIT = [0.0, 1.0]

METRICS = described(
    ("auroc", "area under the ROC curve", _UNIT, True, _DELONG),
    ("auroc_low", "lower 95 % limit of auroc, test records varying", _UNIT, True, _LIMIT),
    ("auroc_high", "upper 95 % limit of auroc, test records varying", _UNIT, True, _LIMIT),
    ("auroc_mean", "mean over seeds of auroc", _UNIT, True, _DELONG),
    ("auroc_mean_low", "lower 95 % limit of auroc_mean, records and seeds varying", _UNIT, True, _MEAN_LIMIT),
    ("auroc_mean_high", "upper 95 % limit of auroc_mean, records and seeds varying", _UNIT, True, _MEAN_LIMIT),
    ("auroc_sd", "standard deviation over seeds of auroc", None, False, "ddof = 1; missing for one seed"),
    ("auprc", "area under the precision-recall curve", _UNIT, True, "average precision, sklearn.metrics"),
    ("brier", "Brier score of the probabilities", _UNIT, False, "Brier, Mon. Weather Rev. 78:1 (1950)"),
    ("C", "inverse strength of the L2 penalty", [1e-4, 10.0], None, "as scikit-learn's; median over folds"),
    ("n_train", "records in the training subset", None, None, _COUNT),
    ("n_train_positive", "positives in the training subset", None, None, _COUNT),
    ("n_test", "tested records", None, None, "records with a known label"),
    ("n_test_positive", "positives among the tested records", None, None, "records with a known label"),
)
"""Attributes of each variable in the cube; None where there is nothing to say."""


@dataclass(frozen=True)
class DownstreamResult:
    """What a probe of one kind reads about one label at one fraction.

    Attributes
    ----------
    probe : str
        Kind of probe.
    split : {"published", "holdout", "cv"}
        Kind of split.
    fraction : float
        Share of the training patients, in (0, 1].
    seeds : tuple of int, length k
        Which subsets were drawn.
    estimate : Estimate
        Mean AUROC over seeds; its interval holds the variance from test records and from seeds.
    auroc, auroc_low, auroc_high, auprc, brier, C : ndarray of float64, shape (k,)
        Of each seed; NaN where the tested records lack a class, or no subset held both.
    n_train, n_train_positive : ndarray of int, shape (k,)
        Records of the subset; in cross-validation the rounded mean over folds.
    tested : ndarray of int, shape (n,)
        Rows that were scored, ascending.
    targets : ndarray of bool, shape (n,)
    patients : ndarray, shape (n,)
    fold : ndarray of int, shape (n,)
        Fold of the split in which the row was tested; 0 without cross-validation.
    scores : ndarray of float64, shape (k, n)
        The probe's scores; in cross-validation their midranks within fold, in (0, 1).
    probabilities : ndarray of float64, shape (k, n)
        In [0, 1], never ranked.
    """

    probe: str
    split: str
    fraction: float
    seeds: tuple[int, ...]
    estimate: Estimate
    auroc: Floats
    auroc_low: Floats
    auroc_high: Floats
    auprc: Floats
    brier: Floats
    C: Floats
    n_train: Integers
    n_train_positive: Integers
    tested: Integers
    targets: Booleans
    patients: npt.NDArray[Any]
    fold: Integers
    scores: Floats
    probabilities: Floats

    @property
    def n_test(self) -> int:
        """Tested records."""
        return self.targets.size

    @property
    def n_test_positive(self) -> int:
        """Positives among them."""
        return int(self.targets.sum())

    def to_dataset(self) -> xr.Dataset:
        """Return the numbers as a dataset: what each seed gave along ``seed``, the rest without a dimension."""
        each = ("auroc", "auroc_low", "auroc_high", "auprc", "brier", "C", "n_train", "n_train_positive")
        values: dict[str, tuple[tuple[str, ...], Any]] = {name: (("seed",), getattr(self, name)) for name in each}
        once = {
            "n_test": self.n_test,
            "n_test_positive": self.n_test_positive,
            "auroc_mean": self.estimate.value,
            "auroc_mean_low": self.estimate.low,
            "auroc_mean_high": self.estimate.high,
            "auroc_sd": self.estimate.sd_seeds,
        }
        values |= {name: ((), value) for name, value in once.items()}
        dataset = _dataset(values)
        dataset.attrs.update(probe=self.probe, split=self.split, fraction=self.fraction)
        return dataset.assign_coords(seed=list(self.seeds))


def _dataset(values: Mapping[str, tuple[tuple[str, ...], Any]]) -> xr.Dataset:
    """Attach the attributes of `METRICS`; netCDF has no booleans, so `higher_is_better` is 1 or 0."""
    variables = {}
    for name, (dims, data) in values.items():
        known = {key: value for key, value in METRICS[name].items() if value is not None}
        attributes = {key: int(value) if isinstance(value, bool) else value for key, value in known.items()}
        variables[name] = xr.Variable(dims, np.asarray(data), attributes)
    return xr.Dataset(variables)


def auroc(
    scores: npt.ArrayLike, targets: npt.ArrayLike, patients: npt.ArrayLike | None = None, *, level: float = 0.95
) -> xr.Dataset:
    """Return the AUROC of scores with its interval.

    Parameters
    ----------
    scores : array_like, shape (n,) or (k, n)
        Higher means more likely. With k rows, one for each seed, the result is the mean of their AUROCs.
    targets : array_like of bool, shape (n,)
    patients : array_like, shape (n,), optional
        If a patient repeats, the interval comes from resampling patients; otherwise from DeLong's variance. Both are on
        the logit scale (see `pytest_ecgfm.evaluations.statistics.auroc_estimates`).
    level : float
        Nominal coverage, in (0, 1).

    Returns
    -------
    Dataset
        ``auroc``, ``auroc_low``, ``auroc_high`` in [0, 1] (NaN without both classes), ``n_test``, ``n_test_positive``.

    Raises
    ------
    EcgfmError
        If shapes disagree.

    Examples
    --------
    >>> found = auroc([0.9, 0.8, 0.4, 0.1], [True, False, True, False])
    >>> float(found["auroc"]), int(found["n_test"])
    (0.75, 4)
    """
    found = mean_auroc(scores, targets, patients, level=level)
    labels = np.asarray(targets, dtype=np.bool_)
    values = {"auroc": found.value, "auroc_low": found.low, "auroc_high": found.high}
    counts = {"n_test": labels.size, "n_test_positive": int(labels.sum())}
    return _dataset({name: ((), value) for name, value in {**values, **counts}.items()})


class _Scored(NamedTuple):
    """Arrays over all rows, NaN (fold -1) where not tested; counts and C of each fold and seed."""

    scores: Floats  # (k, n)
    probabilities: Floats  # (k, n)
    fold: Integers  # (n,)
    seen: Floats  # (folds, k, 2): records and positives of the subset
    penalties: Floats  # (folds, k)


def _score(
    kind: str,
    data: Prepared,
    split: Split,
    fraction: float,
    draws: Sequence[int],
    fit: Fit,
) -> _Scored:
    rows, labels = data.embeddings, data.targets
    k, folds = len(draws), len(split.folds)
    scores, probabilities = np.full((2, k, labels.size), np.nan)
    fold_of = np.full(labels.size, -1, dtype=np.intp)
    seen, penalties = np.zeros((folds, k, 2)), np.full((folds, k), np.nan)
    for f, i, fold, found, used in each_fit(kind, data, split, fraction, draws, fit):
        fold_of[fold.test] = f
        seen[f, i] = used.size, labels[used].sum()
        if found is None or not fold.test.size:
            continue
        penalties[f, i] = found.C
        raw = found.scores(rows[fold.test])
        scores[i, fold.test] = (midranks(raw) - 0.5) / raw.size if split.kind == "cv" else raw
        probabilities[i, fold.test] = found.likelihood(raw)
    both = (seen[..., 1] > 0) & (seen[..., 1] < seen[..., 0])
    unmeasured = ~both.any(axis=0)
    scores[unmeasured] = probabilities[unmeasured] = np.nan
    return _Scored(scores, probabilities, fold_of, seen, penalties)


def _average_precision(scores: Floats, targets: Booleans) -> float:
    from sklearn.metrics import average_precision_score

    if targets.all() or not targets.any() or np.isnan(scores).any():
        return math.nan
    return float(average_precision_score(targets, scores))


def log_median(values: Floats) -> float:
    """Return the median of what is known on a logarithmic scale; NaN where nothing is."""
    known = np.sort(values[~np.isnan(values)])
    # The geometric mean of the middle two, which leaves a C of the grid exactly as it is.
    return float(np.sqrt(known[(known.size - 1) // 2] * known[known.size // 2])) if known.size else math.nan


def evaluate(
    embeddings: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: npt.ArrayLike,
    split: Split,
    fraction: float,
    seeds: Sequence[int] | None = None,
    *,
    probe: str = "logistic",
    fit: Fit = fit_fold,
) -> DownstreamResult:
    """Fit a probe on a share of the training patients, once for each seed, and score each test record once.

    Nothing is fitted, scaled or chosen on test records. Probes of different folds share no scale; so in
    cross-validation, scores become midranks within each fold before they are pooled. The Brier score uses the
    probabilities.

    Intervals describe the AUROC of these particular probes on new records; in cross-validation, the mean over the
    probes of the folds (Bayle et al., NeurIPS 2020, say when such intervals are valid). They do not include what
    another draw of training patients would change.

    Parameters
    ----------
    embeddings : array_like of float32, shape (n, d)
        Finite.
    targets : array_like of bool, shape (n,)
        Of the records with a known label.
    patients : array_like of str, shape (n,)
    split : Split
        From `pytest_ecgfm.evaluations.splits.make_split`, with rows into these arrays.
    fraction : float
        Share of each fold's training patients, in (0, 1].
    seeds : sequence of int, optional
        Default: `pytest_ecgfm.evaluations.splits.seeds_for`.
    probe : str
        One of `pytest_ecgfm.evaluations.probe_kinds.PROBES`.
    fit : callable
        Fits the probe of a fold: `pytest_ecgfm.evaluations.fold_probes.fit_fold`, or a function that remembers its
        results.

    Returns
    -------
    DownstreamResult
        If a subset contains only one class, its probe gives every record the same score. If this is true for every fold
        of a seed, nothing was measured, and the seed's scores are NaN.

    Raises
    ------
    EcgfmError
        If shapes disagree, an embedding is not finite, `fraction` is outside (0, 1], or there is no seed.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.evaluations.splits import make_split
    >>> rng = np.random.default_rng(0)
    >>> targets = rng.random(400) < 0.5
    >>> embeddings = rng.normal(size=(400, 8)).astype(np.float32) + targets[:, None]
    >>> patients = np.arange(400).astype(str)
    >>> split = make_split(targets, patients)
    >>> result = evaluate(embeddings, targets, patients, split, fraction=0.5, seeds=[0, 1])
    >>> result.split, result.n_test, round(result.estimate.value, 2)
    ('cv', 400, 0.96)
    """
    data = prepared(embeddings, np.asarray(targets, dtype=np.bool_), patients)
    draws = chosen_seeds(fraction, seeds)
    scored = _score(probe, data, split, fraction, draws, fit)
    identity = {"probe": probe, "split": split.kind, "fraction": fraction, "seeds": draws}
    return _summary(identity, scored, data.targets, np.asarray(patients))


def _summary(
    identity: Mapping[str, Any], found: _Scored, labels: Booleans, names: npt.NDArray[Any]
) -> DownstreamResult:
    tested = np.flatnonzero(found.fold >= 0)
    scores, truth = found.scores[:, tested], labels[tested]
    probabilities = found.probabilities[:, tested]
    each, estimate = auroc_estimates(scores, truth, names[tested])
    counts = np.rint(found.seen.mean(axis=0)).astype(np.intp)
    return DownstreamResult(
        **identity,
        estimate=estimate,
        auroc=np.array([one.value for one in each]),
        auroc_low=np.array([one.low for one in each]),
        auroc_high=np.array([one.high for one in each]),
        auprc=np.array([_average_precision(row, truth) for row in scores]),
        brier=np.array([np.mean((row - truth) ** 2) if row.size else math.nan for row in probabilities]),
        C=np.array([log_median(column) for column in found.penalties.T]),
        n_train=counts[:, 0],
        n_train_positive=counts[:, 1],
        tested=tested,
        targets=truth,
        patients=names[tested],
        fold=found.fold[tested],
        scores=scores,
        probabilities=probabilities,
    )


def paired_difference(result: DownstreamResult, other: DownstreamResult) -> Estimate:
    """Return the mean AUROC of `result` minus that of `other`, paired on the same test records.

    Raises
    ------
    EcgfmError
        If the two did not test the same records with the same labels.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.evaluations.splits import make_split
    >>> rng = np.random.default_rng(0)
    >>> targets, patients = rng.random(400) < 0.5, np.arange(400).astype(str)
    >>> good = rng.normal(size=(400, 8)) + targets[:, None]
    >>> split = make_split(targets, patients)
    >>> one, other = (evaluate(rows, targets, patients, split, 1.0, [0]) for rows in (good, rng.normal(size=(400, 8))))
    >>> paired_difference(one, other).low > 0.2
    True
    """
    same = all(
        np.array_equal(getattr(result, name), getattr(other, name))
        for name in ("tested", "targets", "patients", "fold")
    )
    if not same:
        raise EcgfmError(
            f"a paired difference needs the same tested records, but there are {result.n_test} ({result.split}) "
            f"and {other.n_test} ({other.split}), or their labels, patients or folds differ."
        )
    return mean_auroc_difference(result.scores, other.scores, result.targets, result.patients)
