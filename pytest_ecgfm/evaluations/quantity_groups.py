"""How well the one probe of a quantity serves each group of patients: its R2, error and order within the group.

References
----------
.. [1] Field, Welsh (2007), J. R. Stat. Soc. B 69:369-390: bootstrapping clustered data.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.measured import described
from pytest_ecgfm.evaluations.quantities import OF_THE_QUANTITY, QuantityResult
from pytest_ecgfm.evaluations.statistics.bootstrap import UNDEFINED, Interval
from pytest_ecgfm.evaluations.statistics.regression import AGREEMENTS, agreements

_R2 = "1 minus squared errors over squared deviations from the mean of the group's tested records"
_MAE = "mean of abs(prediction - value) over the group's tested records"
_RANKS = "Spearman, Am. J. Psychol. 15:72 (1904), with midranks, within the group"
_LIMIT = "patients of the group resampled; plus the variance between seeds over their number"

METRICS = described(
    ("r2", "coefficient of determination within the group", None, True, _R2),
    ("r2_low", "lower 95 % limit of r2", None, True, _LIMIT),
    ("r2_high", "upper 95 % limit of r2", None, True, _LIMIT),
    ("mae", "mean absolute error within the group", None, False, _MAE),
    ("mae_low", "lower 95 % limit of mae", None, False, _LIMIT),
    ("mae_high", "upper 95 % limit of mae", None, False, _LIMIT),
    ("spearman", "rank correlation of predictions and values within the group", [-1.0, 1.0], True, _RANKS),
    ("spearman_low", "lower 95 % limit of spearman", [-1.0, 1.0], True, _LIMIT),
    ("spearman_high", "upper 95 % limit of spearman", [-1.0, 1.0], True, _LIMIT),
    ("judged", "whether the group has enough tested records, 1 or 0", None, None, "the rule of all quantities"),
    ("n_test", "tested records of the group", None, None, "records with a known value"),
    units=dict.fromkeys(("mae", "mae_low", "mae_high"), OF_THE_QUANTITY),
)
"""Attributes of each variable in the cube."""


class QuantityGroup(NamedTuple):
    """One group of patients: `found` has an interval for each of `AGREEMENTS`, NaN where the group is too small."""

    column: str
    name: str
    records: int
    found: Mapping[str, Interval]


def quantity_groups(
    result: QuantityResult, columns: Mapping[str, npt.NDArray[np.str_]], *, least: int
) -> tuple[QuantityGroup, ...]:
    """Return how well a probe of a quantity reads it in each group of patients.

    R2 compares with the mean of the group: where a group varies little, as age does within a band of ages, R2 is low
    though the errors are not larger. The mean absolute error says which of the two it is.

    Parameters
    ----------
    result : QuantityResult
        At all training patients.
    columns : mapping of str to ndarray of str, shape (n,)
        The group of each tested record, by column; empty where it is unknown.
    least : int
        Records below which a group has no numbers.

    Returns
    -------
    tuple of QuantityGroup
        In the order of the columns, then of the groups' names.

    Raises
    ------
    EcgfmError
        If a column has another number of records than were tested.

    Examples
    --------
    >>> from pytest_ecgfm.evaluations.quantities import evaluate_quantity
    >>> from pytest_ecgfm.evaluations.splits import make_split, strata
    >>> rng = np.random.default_rng(0)
    >>> values, patients = rng.normal(60, 10, 300), np.array([f"p{i}" for i in range(300)])
    >>> embeddings = np.stack([values, rng.normal(size=300)], axis=1).astype("f4")
    >>> split = make_split(strata(values), patients)
    >>> result = evaluate_quantity(embeddings, values, patients, split, 1.0)
    >>> sex = np.where(result.tested % 2 == 0, "F", "M")
    >>> [(one.name, one.found["r2"].value > 0.99) for one in quantity_groups(result, {"sex": sex}, least=20)]
    [('F', True), ('M', True)]
    """
    out = []
    for column, names in columns.items():
        if names.shape != result.targets.shape:
            raise EcgfmError(f"column {column!r} has {names.size} records, but {result.targets.size} were tested.")
        for name in np.unique(names[names != ""]).tolist():
            mine = names == name
            found = dict.fromkeys(AGREEMENTS, UNDEFINED)
            if mine.sum() >= least:
                held = agreements(result.scores[:, mine], result.targets[mine], result.patients[mine])
                found = {one: agreement.mean for one, agreement in held.items()}
            out.append(QuantityGroup(column, name, int(mine.sum()), found))
    return tuple(out)
