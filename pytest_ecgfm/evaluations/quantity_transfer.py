"""Transfer of a quantity: what a ridge probe that was fitted in one cohort is worth in another."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.evaluations.measured import described
from pytest_ecgfm.evaluations.probes import Probe
from pytest_ecgfm.evaluations.quantities import OF_THE_QUANTITY, QuantityResult
from pytest_ecgfm.evaluations.statistics.bootstrap import Interval
from pytest_ecgfm.evaluations.statistics.regression import agreement_difference, agreements

_LIMIT = "patients of the target resampled"
_PAIRED = "paired on the same records: the same patients resampled for both"

METRICS = described(
    ("r2", "R2 in the target of a probe of the source", None, True, "see /quantities"),
    ("r2_low", "lower 95 % limit of r2", None, True, _LIMIT),
    ("r2_high", "upper 95 % limit of r2", None, True, _LIMIT),
    ("mae", "mean absolute error in the target of a probe of the source", None, False, "see /quantities"),
    ("mae_low", "lower 95 % limit of mae", None, False, _LIMIT),
    ("mae_high", "upper 95 % limit of mae", None, False, _LIMIT),
    ("spearman", "rank correlation in the target of a probe of the source", [-1.0, 1.0], True, "see /quantities"),
    ("spearman_low", "lower 95 % limit of spearman", [-1.0, 1.0], True, _LIMIT),
    ("spearman_high", "upper 95 % limit of spearman", [-1.0, 1.0], True, _LIMIT),
    ("r2_drop", "R2 of the target's own probe minus r2", None, False, _PAIRED),
    ("r2_drop_low", "lower 95 % limit of r2_drop", None, False, _PAIRED),
    ("r2_drop_high", "upper 95 % limit of r2_drop", None, False, _PAIRED),
    ("spearman_drop", "Spearman correlation of the target's own probe minus spearman", [-2.0, 2.0], False, _PAIRED),
    ("spearman_drop_low", "lower 95 % limit of spearman_drop", [-2.0, 2.0], False, _PAIRED),
    ("spearman_drop_high", "upper 95 % limit of spearman_drop", [-2.0, 2.0], False, _PAIRED),
    units=dict.fromkeys(("mae", "mae_low", "mae_high"), OF_THE_QUANTITY),
)
"""Attributes of each variable in the cube; None where there is nothing to say."""


@dataclass(frozen=True)
class QuantityTransferResult:
    """What a foreign probe of a quantity is worth, on the records on which the target's own probe is tested.

    Attributes
    ----------
    r2, mae, spearman : Interval
        Of the foreign probe; the error in the units of the quantity.
    r2_drop, spearman_drop : Interval
        What the target's own probe reaches, minus that.
    """

    r2: Interval
    mae: Interval
    spearman: Interval
    r2_drop: Interval
    spearman_drop: Interval

    def values(self) -> dict[str, float]:
        """Return the cube's variables."""
        return {
            f"{one.name}{suffix}": float(getattr(getattr(self, one.name), field))
            for one in fields(self)
            for suffix, field in (("", "value"), ("_low", "low"), ("_high", "high"))
        }


def transfer_quantity(probe: Probe, embeddings: npt.ArrayLike, own: QuantityResult) -> QuantityTransferResult:
    """Predict a cohort's tested records by a foreign probe.

    Predictions are in the units of the quantity in every cohort, and are taken as they are. R2 and the error see values
    that are all too large in the target, or spread too much; Spearman's correlation does not, as the AUROC of a label
    would not.

    Parameters
    ----------
    probe : Probe
        From `pytest_ecgfm.evaluations.transfer.fit_source`, of other cohorts that state the quantity in the same units.
    embeddings : array_like, shape (n, d)
        Of the target's records with a known value.
    own : QuantityResult
        What the target's own probes gave at the whole training set, in one seed or several.

    Returns
    -------
    QuantityTransferResult

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.evaluations.quantities import evaluate_quantity
    >>> from pytest_ecgfm.evaluations.splits import make_split
    >>> from pytest_ecgfm.evaluations.transfer import Source, fit_source
    >>> rng = np.random.default_rng(0)
    >>> values, patients = rng.normal(60, 10, 400), np.arange(400).astype(str)
    >>> here, there = (rng.normal(size=(400, 8)) + sign * (values[:, None] - 60) / 10 for sign in (1, -1))
    >>> split = make_split(values, patients)
    >>> probe = fit_source([Source(here, values, patients, split)])
    >>> own = evaluate_quantity(there, values, patients, split, 1.0, [0])
    >>> found = transfer_quantity(probe, there, own)  # the same quantity, the other way round
    >>> found.r2.high < 0 < 1 < found.spearman_drop.low
    True
    """
    predictions = probe.scores(np.asarray(embeddings)[own.tested])
    found = agreements(predictions, own.targets, own.patients)
    paired = own.scores, predictions, own.targets, own.patients
    drops = agreement_difference("r2", *paired), agreement_difference("spearman", *paired)
    return QuantityTransferResult(found["r2"].mean, found["mae"].mean, found["spearman"].mean, *drops)
